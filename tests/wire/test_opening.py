"""Openings: the right one opens, every wrong one is closed and counted and does nothing else."""

import dataclasses
import os
from typing import Any

import pytest
from fake_peer import SECOND, TOKEN, World, dial, dialer_hello
from wire_oracle import ACCEPTOR, DIALER, Frame, Hello, proof

HEARTBEAT = Frame(1, 7, 2, 1, 3, tuple(range(8)))


@pytest.fixture
def node(world: World) -> Any:
    made = world.node(1)
    made.add_peer(2, 1)  # nobody listens there
    made.add_peer(3, 1)
    return made


def test_the_right_opening_lets_frames_in(world: World, node: Any) -> None:
    peer = dial(world, node, dialer_hello())
    world.send(peer, HEARTBEAT.encode())
    world.pump(lambda: node.messages)
    assert node.messages == [HEARTBEAT.delivered()]
    assert node.incarnations == {2: 1}
    assert node.status()["refused_openings"] == 0
    assert node.status()["received_bytes"] == 120


def test_the_acceptors_hello_says_who_it_is(world: World) -> None:
    node = world.node(1, incarnation=77)
    node.add_peer(2, 1)
    peer = world.connect(node.port)
    hello = dialer_hello(epoch=12345)
    world.send(peer, hello.encode())
    answer = Hello.decode(world.receive(peer, 128))
    assert dataclasses.replace(answer, nonce=b"") == Hello(
        ACCEPTOR, 1, 2, incarnation=77, epoch=12345, nonce=b""
    )
    other = world.connect(node.port)
    world.send(other, hello.encode())
    assert Hello.decode(world.receive(other, 128)).nonce != answer.nonce


WRONG_HELLOS = {
    "magic": {"magic": 1},
    "version": {"version": 2},
    "role": {"role": ACCEPTOR},
    "role unknown": {"role": 9},
    "features": {"features": 1},
    "cluster": {"cluster": b"x" * 16},
    "target": {"target": 4},
    "sender unknown": {"sender": 9},
    "sender is the node itself": {"sender": 1},
    "sender nobody": {"sender": 0},
    "incarnation zero": {"incarnation": 0},
    "reserved": {"reserved": b"\1" + bytes(43)},
}


@pytest.mark.parametrize("name", WRONG_HELLOS)
def test_wrong_hellos_are_refused(world: World, node: Any, name: str) -> None:
    peer = dial(world, node, dataclasses.replace(dialer_hello(), **WRONG_HELLOS[name]))
    world.closed(peer)
    assert node.status()["refused_openings"] == 1
    assert node.incarnations == {}


def test_a_hello_with_a_wrong_crc_is_refused(world: World, node: Any) -> None:
    peer = world.connect(node.port)
    data = bytearray(dialer_hello().encode())
    data[-1] ^= 1
    world.send(peer, bytes(data))
    world.closed(peer)
    assert node.status()["refused_openings"] == 1


@pytest.mark.parametrize(
    ("token", "role"),
    [(b"x" * 32, DIALER), (TOKEN[:31] + b"\0", DIALER), (TOKEN, ACCEPTOR), (TOKEN, 0)],
)
def test_wrong_proofs_are_refused(world: World, node: Any, token: bytes, role: int) -> None:
    peer = dial(world, node, dialer_hello(), token, role)
    world.send(peer, HEARTBEAT.encode())
    world.closed(peer)
    assert node.status()["refused_openings"] == 1
    assert node.messages == []
    assert node.incarnations == {}  # nothing is remembered of somebody unproved


@pytest.mark.parametrize("at", [0, 4, 8, 39, 40, 47])
def test_a_proof_with_a_flipped_bit_is_refused(world: World, node: Any, at: int) -> None:
    peer = world.connect(node.port)
    hello = dialer_hello().encode()
    world.send(peer, hello)
    data = bytearray(proof(TOKEN, DIALER, hello, world.receive(peer, 128)))
    data[at] ^= 16
    world.send(peer, bytes(data))
    world.closed(peer)
    assert node.status()["refused_openings"] == 1


def test_a_replayed_opening_is_refused(world: World, node: Any) -> None:
    hello = dialer_hello().encode()
    heard = world.connect(node.port)
    world.send(heard, hello)
    recorded = proof(TOKEN, DIALER, hello, world.receive(heard, 128))
    replayed = world.connect(node.port)
    world.send(replayed, hello)
    world.receive(replayed, 128)
    world.send(replayed, recorded)
    world.closed(replayed)
    assert node.status()["refused_openings"] == 1
    world.send(heard, recorded)  # where it belongs it is good
    assert len(world.receive(heard, 48)) == 48


def test_the_nodes_own_hello_sent_back_is_refused(world: World, node: Any) -> None:
    """The node dials us; we send its hello back on a connection of our own."""
    listener = world.listen()
    node.add_peer(2, listener.getsockname()[1])
    dialed = world.accept(listener, SECOND)
    hello = world.receive(dialed, 128)
    ours = world.connect(node.port)
    world.send(ours, hello)
    world.closed(ours)
    assert node.status()["refused_openings"] == 1


def test_another_incarnation_is_refused(world: World, node: Any) -> None:
    dial(world, node, dialer_hello(incarnation=5))
    assert node.incarnations == {2: 5}
    world.closed(dial(world, node, dialer_hello(incarnation=6)))
    assert node.status()["refused_openings"] == 1
    assert len(node.incarnations) == 1


@pytest.mark.parametrize("count", [0, 1, 127, 128, 140, 175])
def test_a_cut_opening_is_refused(world: World, node: Any, count: int) -> None:
    peer = world.connect(node.port)
    hello = dialer_hello().encode()
    world.send(peer, hello[:count])
    if count >= 128:
        answer = world.receive(peer, 128)
        world.send(peer, proof(TOKEN, DIALER, hello, answer)[: count - 128])
    peer.close()
    world.pump(lambda: node.status()["refused_openings"] == 1)
    world.pump(lambda: node.status()["connections"] <= 2)  # its own dials may be under way


def test_garbage_is_refused(world: World, node: Any) -> None:
    for number in range(20):
        peer = world.connect(node.port)
        world.send(peer, os.urandom(300))
        world.closed(peer)
        assert node.status()["refused_openings"] == number + 1


def test_an_opening_byte_by_byte_succeeds(world: World, node: Any) -> None:
    peer = world.connect(node.port)
    hello = dialer_hello().encode()
    for byte in hello:
        world.send(peer, bytes([byte]))
        world.turn()
    answer = world.receive(peer, 128)
    for byte in proof(TOKEN, DIALER, hello, answer) + HEARTBEAT.encode():
        world.send(peer, bytes([byte]))
        world.turn()
    world.pump(lambda: node.messages)
    assert node.messages == [HEARTBEAT.delivered()]


@pytest.mark.parametrize("count", [0, 60, 128])
def test_an_opening_has_five_seconds(world: World, node: Any, count: int) -> None:
    peer = world.connect(node.port)
    world.send(peer, dialer_hello().encode()[:count])
    world.settle()
    world.now_ns += 5 * SECOND - 1
    world.settle()
    assert node.status()["refused_openings"] == 0
    world.now_ns += 1
    world.closed(peer)
    assert node.status()["refused_openings"] == 1


def test_a_newer_connection_replaces_an_older_one(world: World, node: Any) -> None:
    older = dial(world, node, dialer_hello(epoch=10))
    newer = dial(world, node, dialer_hello(epoch=11))
    world.closed(older)
    for epoch in (10, 11):
        world.closed(dial(world, node, dialer_hello(epoch=epoch)))
    assert node.status()["refused_openings"] == 2
    world.send(newer, HEARTBEAT.encode())
    world.pump(lambda: node.messages)


def answer_dial(world: World, node: Any, peer: Any, token: bytes = TOKEN, **changes: Any) -> None:
    """Acts as the acceptor that the node dialed."""
    hello = Hello.decode(world.receive(peer, 128))
    answer = dataclasses.replace(
        Hello(ACCEPTOR, hello.target, hello.sender, epoch=hello.epoch), **changes
    ).encode()
    world.send(peer, answer)
    got = world.receive(peer, 48)
    if not got:
        return
    assert got == proof(TOKEN, DIALER, hello.encode(), answer)
    world.send(peer, proof(token, ACCEPTOR, hello.encode(), answer))


def dialed(world: World) -> tuple[Any, Any]:
    listener = world.listen()
    node = world.node(1)
    node.add_peer(2, listener.getsockname()[1])
    return node, world.accept(listener)


def test_a_dialed_peer_that_proves_itself_is_reachable(world: World) -> None:
    node, peer = dialed(world)
    assert not node.reachable(2)
    answer_dial(world, node, peer)
    world.pump(lambda: node.reachable(2))
    assert node.changes == [(2, True)]
    frame = Frame(1, 7, 1, 2, 3, tuple(range(8)))
    assert node.send(frame.native()) == 0
    assert world.receive(peer, 120) == frame.encode()
    peer.close()
    world.pump(lambda: not node.reachable(2))
    assert node.changes == [(2, True), (2, False)]


@pytest.mark.parametrize(
    "changes",
    [
        {"token": b"x" * 32},
        {"role": DIALER},
        {"sender": 3},
        {"target": 3},
        {"epoch": 1},
        {"cluster": b"x" * 16},
        {"version": 0},
        {"incarnation": 0},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_dialed_peer_that_is_wrong_is_refused(world: World, changes: dict[str, Any]) -> None:
    node, peer = dialed(world)
    answer_dial(world, node, peer, **changes)
    world.closed(peer)
    assert node.status()["refused_openings"] == 1
    assert node.changes == []
    assert node.incarnations == {}


def test_a_dialed_peer_that_says_more_than_its_proof_is_closed(world: World) -> None:
    node, peer = dialed(world)
    answer_dial(world, node, peer)
    world.send(peer, b"x")
    world.closed(peer)
    assert node.status()["refused_frames"] == 1
