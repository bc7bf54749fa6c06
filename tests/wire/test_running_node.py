"""Hostile bytes at the port of a running node: closed, counted, and nothing else (P8, DESIGN 11).

The transport's own tests drive it by hand; here its threads run, a group works behind it, and the enemy
is on a plain socket.  The enemy knows the token only where a test says so.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import stat
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wire_oracle import DIALER, RAFT, Body, Frame, Hello, body, proof

import quorumlog as ql
from quorumlog.names import id_of

CLUSTER = uuid.uuid4()
SECRET = secrets.token_bytes(32)
TOKEN = hashlib.sha256(SECRET).digest()
SMALL = ql.NodeOptions(segment_bytes=4 << 20, spare_segments=1)
ME, ENEMY, GROUP = id_of("n1"), id_of("n2"), id_of("sum")
VOTE, APPEND, HEARTBEAT, FORWARD = 3, 5, 7, 100
PAUSE = threading.Event()


class Sum(ql.StateMachine):
    def __init__(self) -> None:
        self.total = 0

    def apply(self, batch: ql.Batch) -> None:
        self.total += sum(int(one) for one in batch)

    def query(self, question: object) -> int:
        return self.total


def until(true: Callable[[], object], what: str) -> None:
    """The bound only ends a test that has failed."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, what
        PAUSE.wait(0.002)


class Target:
    """A node with a group of its own; it knows n2, who never runs: the tests play n2."""

    def __init__(self, path: Path) -> None:
        ql.Node.create(path, "n1", cluster=CLUSTER, token=SECRET)
        self.path = path
        self.node = ql.Node.open(path, peers={"n2": "127.0.0.1:1"}, options=SMALL)
        self.group = self.node.raft("sum", Sum(), voters=["n1"])
        self.port = int(self.node.address.rpartition(":")[2])
        self.sent = 0
        self.epoch = 0
        self.works()

    def works(self) -> None:
        """The group goes on in its term, and holds what was proposed and nothing else."""
        self.sent += 1
        term = self.group.propose(b"1", timeout=20).term
        assert self.group.read(None, timeout=20) == self.sent
        status = self.group.status()
        assert (status.role, status.term) == ("leader", term) == ("leader", 1)

    def counters(self) -> ql.TransportStatus:
        return self.node.status().transport

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def hello(self, **changes: Any) -> Hello:
        self.epoch += 1
        fields = {"cluster": CLUSTER.bytes, "incarnation": 7, "epoch": self.epoch, "nonce": os.urandom(16)}
        return Hello(DIALER, changes.pop("sender", ENEMY), changes.pop("target", ME), **{**fields, **changes})

    def opened(self, token: bytes = TOKEN, **changes: Any) -> socket.socket:
        """Opens as n2 would; whether it was let in shows when it speaks."""
        mine = self.hello(**changes).encode()
        peer = self.connect()
        peer.sendall(mine)
        answer = received(peer, 128)
        if answer:
            peer.sendall(proof(token, DIALER, mine, answer))
            received(peer, 48)
        return peer


def received(peer: socket.socket, count: int) -> bytes:
    """So many bytes, or b"" when the node closed instead."""
    got = b""
    while len(got) < count:
        try:
            piece = peer.recv(count - len(got))
        except ConnectionResetError:
            return b""
        if not piece:
            return b""
        got += piece
    return got


def closed(peer: socket.socket) -> bool:
    """Waits for the node to close (a timeout of the socket fails the test)."""
    try:
        while peer.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    peer.close()
    return True


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    made = Target(tmp_path / "n1")
    yield made
    made.works()
    made.node.close()


# ---- who does not know the token

BEFORE_THE_PROOF: dict[str, Callable[[Target], bytes]] = {
    "noise": lambda t: os.urandom(4096),
    "zeros": lambda t: bytes(4096),
    "http": lambda t: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(128),
    "tls": lambda t: bytes.fromhex("1603010200010001fc0303") + os.urandom(200),
    "a pickle": lambda t: b"\x80\x04\x95" + b"cos\nsystem\n(S'true'\ntR." * 10,
    "a frame": lambda t: frame().encode() + bytes(128),
    "a frame length bomb": lambda t: frame(length=0xFFFFFFFF).encode() + bytes(128),
    "another cluster": lambda t: t.hello(cluster=b"x" * 16).encode(),
    "another node's port": lambda t: t.hello(target=id_of("n3")).encode(),
    "the node itself": lambda t: t.hello(sender=ME).encode(),
    "another version": lambda t: t.hello(version=2).encode(),
}


def frame(kind: int = HEARTBEAT, **changes: Any) -> Frame:
    fields: dict[str, Any] = {"group": GROUP, "sender": ENEMY, "target": ME, "term": 99, "fields": (0,) * 8}
    return Frame(kind, **{**fields, **changes})


def harmless() -> bytes:
    """Is read by whom it is sent to, and for a group that is not there."""
    return frame(group=id_of("other")).encode()


@pytest.mark.parametrize("name", BEFORE_THE_PROOF)
def test_strangers_are_closed_and_counted(target: Target, name: str) -> None:
    before = target.counters()
    for _ in range(3):
        peer = target.connect()
        peer.sendall(BEFORE_THE_PROOF[name](target))
        assert closed(peer)
    until(
        lambda: target.counters().refused_openings >= before.refused_openings + 3,
        "each refused opening is counted",
    )
    after = target.counters()
    assert after.received_frames == before.received_frames
    assert after.refused_frames == before.refused_frames


@pytest.mark.parametrize("token", [b"\0" * 32, SECRET, hashlib.sha256(SECRET + b"x").digest()])
def test_no_token_no_frame(target: Target, token: bytes) -> None:
    peer = target.opened(token)
    assert closed(peer)
    until(lambda: target.counters().refused_openings == 1, "counted")
    assert target.counters().received_frames == 0


def test_an_unknown_node_with_the_token_is_refused(target: Target) -> None:
    """Not one of the cluster's nodes: the token alone makes nobody a member."""
    assert closed(target.opened(sender=id_of("n9")))
    until(lambda: target.counters().refused_openings == 1, "counted")


def test_another_incarnation_of_a_known_node_is_refused_after_a_restart_too(tmp_path: Path) -> None:
    """A-R28: who lost its disk comes back under its name as somebody else, and has no say."""
    target = Target(tmp_path / "n1")
    first = target.opened(incarnation=7)
    first.sendall(harmless())
    until(lambda: target.counters().received_frames == 1, "the first incarnation is let in")
    assert closed(target.opened(incarnation=8))
    target.node.close()
    first.close()
    node = ql.Node.open(target.path, peers={"n2": "127.0.0.1:1"}, options=SMALL)
    target.node, target.port = node, int(node.address.rpartition(":")[2])
    assert closed(target.opened(incarnation=8))
    assert target.counters().refused_openings == 1
    again = target.opened(incarnation=7)
    again.sendall(harmless())
    until(lambda: target.counters().received_frames == 1, "the first incarnation is let in again")
    again.close()
    node.close()


def test_half_openings_neither_take_all_places_nor_stop_the_group(target: Target) -> None:
    """A-X8: more of them than a node accepts, each with a few bytes; known peers still get in."""
    crowd = []
    for number in range(400):
        one = target.connect()
        one.sendall(target.hello().encode()[: 1 + number % 100])
        crowd.append(one)
    target.works()
    assert target.counters().connections <= 256 + 2
    until(lambda: target.counters().refused_openings >= 400 - 256, "those above the bound are refused")
    peer = target.opened()
    peer.sendall(harmless())
    until(lambda: target.counters().received_frames == 1, "a known peer gets in")
    for one in [*crowd, peer]:
        one.close()


# ---- who knows the token, and is not to be believed all the same

BEHIND_THE_PROOF: dict[str, Callable[[], bytes]] = {
    "noise": lambda: os.urandom(4096),
    "zeros": lambda: bytes(4096),
    "a length of 2**32 - 1": lambda: frame(length=0xFFFFFFFF).encode(),
    "a length above 32 MiB": lambda: frame(APPEND, length=(32 << 20) + 8).encode(),
    "a batch that says 4 GiB": lambda: frame(
        APPEND, bodies=(Body(GROUP, 1, 1, 1, body([b"x"]), body_bytes=0xFFFFFFF8),)
    ).encode(),
    "2**32 - 1 entries": lambda: frame(
        APPEND, bodies=(Body(GROUP, 1, 1, 0xFFFFFFFF, body([b"x"])),)
    ).encode(),
    "65,535 batches": lambda: frame(APPEND, batch_count=65535).encode(),
    "another target": lambda: frame(target=id_of("n3")).encode(),
    "another sender": lambda: frame(sender=id_of("n3")).encode(),
    "the node as sender": lambda: frame(sender=ME).encode(),
    "a flipped byte in the header": lambda: flipped(frame().encode(), 40),
    "a flipped byte in an identity": lambda: flipped(append().encode(), 120 + 33),
    "a flipped byte in a body": lambda: flipped(append().encode(), -3),
    "offsets that fall": lambda: frame(
        APPEND, bodies=(Body(GROUP, 1, 1, 2, struct.pack("<4I", 0, 9, 4, 0) + b"12345678"),)
    ).encode(),
}


def append() -> Frame:
    return frame(APPEND, bodies=(Body(GROUP, 99, 1, 1, body([b"1000000"]), session=5, sequence=1),))


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("name", BEHIND_THE_PROOF)
def test_wrong_frames_close_the_connection_and_are_counted(target: Target, name: str) -> None:
    before = target.node.status()
    peer = target.opened()
    peer.sendall(BEHIND_THE_PROOF[name]())
    assert closed(peer)
    until(lambda: target.counters().refused_frames == 1, "counted")
    assert target.counters().received_frames == 0
    assert target.node.status().used_bytes <= before.used_bytes + (1 << 20)


FOREIGN: dict[str, Frame] = {
    "another group": frame(group=id_of("other")),
    "another protocol": frame(protocol=RAFT + 1),
    "a kind of the runtime that is not there": frame(199),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_frames_for_nobody_here_are_dropped_and_counted(target: Target, name: str) -> None:
    """A-X9: they don't reach a protocol; the connection may stay, another group may be opened later."""
    peer = target.opened()
    peer.sendall(FOREIGN[name].encode())
    until(lambda: target.counters().dropped_messages + target.counters().refused_frames >= 1, "counted")
    target.works()
    peer.close()


@pytest.mark.parametrize("kind", range(1, 13))
def test_a_node_that_is_no_voter_of_the_group_has_no_say_in_it(target: Target, kind: int) -> None:
    """n2 belongs to the cluster and not to the group: no term, no entry, no read of its is taken."""
    peer = target.opened()
    peer.sendall(frame(kind, fields=(1, 2, 3, 4, 5, 6, 7, 8)).encode())
    if kind == APPEND:
        peer.sendall(append().encode())
    until(lambda: target.counters().received_frames >= 1, "it arrived")
    target.works()
    peer.close()


# ---- files and addresses


def test_what_lies_on_disk_is_for_the_owner_alone(target: Target) -> None:
    assert stat.S_IMODE(target.path.stat().st_mode) == 0o700
    files = sorted(target.path.iterdir())
    assert {"identity", "lock"} <= {file.name for file in files}
    assert any(file.name.startswith("segment-") for file in files)
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file.name


def test_the_token_is_told_to_nobody(target: Target) -> None:
    told = (target.node, target.node.status(), target.node.recovery, target.group, target.group.status())
    said = repr(told)
    for form in (SECRET, TOKEN):
        assert form.hex() not in said
        assert repr(form)[2:-1] not in said
    # What is sent holds a proof of the token, never the token.
    peer = target.connect()
    mine = target.hello().encode()
    peer.sendall(mine)
    answer = received(peer, 128)
    peer.sendall(proof(TOKEN, DIALER, mine, answer))
    assert TOKEN not in answer + received(peer, 48)
    peer.close()


def test_loopback_unless_plaintext_is_asked_for(target: Target, tmp_path: Path) -> None:
    assert target.node.address.startswith("127.0.0.1:")
    ql.Node.create(tmp_path / "n5", "n5", cluster=CLUSTER, token=SECRET)
    for listen, peers in (("0.0.0.0:0", {}), ("[::]:0", {}), ("127.0.0.1:0", {"n2": "192.0.2.1:7101"})):
        with pytest.raises(ql.UsageError, match="allow_plaintext"):
            ql.Node.open(tmp_path / "n5", listen=listen, peers=peers, options=SMALL)
    asked = ql.NodeOptions(segment_bytes=4 << 20, spare_segments=1, allow_plaintext=True)
    with ql.Node.open(tmp_path / "n5", listen="0.0.0.0:0", options=asked) as node:
        assert node.address.startswith("0.0.0.0:")
