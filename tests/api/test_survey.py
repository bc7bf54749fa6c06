"""The control socket: what a running node tells another process, and what it refuses."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import quorumlog as ql

SMALL = ql.NodeOptions(segment_bytes=1 << 20, spare_segments=1)
FAST = ql.RaftOptions(election_timeout=0.15, heartbeat=0.03)
SECONDS = 60.0
MAGIC = 0x51434C51


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    # Longer than the 107 bytes that a socket's address has room for.
    path = tmp_path / ("a directory with a long name " * 6)
    ql.Node.create(path, "n1", cluster=uuid.uuid4(), token=b"a token of enough bytes")
    return path


@pytest.fixture
def node(directory: Path) -> Iterator[ql.Node]:
    with ql.Node.open(directory, options=SMALL) as made:
        yield made


@contextlib.contextmanager
def connected(directory: Path) -> Iterator[socket.socket]:
    at = os.open(directory, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
            made.settimeout(SECONDS)
            made.connect(f"/proc/self/fd/{at}/control")
            yield made
    finally:
        os.close(at)


def everything(connection: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            data += part
    return data


def test_a_node_without_groups(directory: Path, node: ql.Node) -> None:
    told = ql.survey(directory, SECONDS)
    assert (told.name, told.pid, told.groups, told.peers) == ("n1", os.getpid(), (), ())
    assert told.port == int(node.address.rpartition(":")[2])
    assert told.status.boot == node.status().boot
    assert told.status.wal.segments >= 1
    assert told.segment_bytes == 1 << 20


def test_groups_and_what_they_say(directory: Path, node: ql.Node) -> None:
    group = node.raft("ledger", options=FAST)
    node.raft("other", options=FAST)
    done = group.propose(b"x" * 1000, timeout=SECONDS)
    first, second = ql.survey(directory, SECONDS).groups
    assert (first.name, second.name, first.has_machine) == ("ledger", "other", False)
    assert first.explanation.status.commit >= done.index
    assert first.explanation.status.leader == "n1"
    assert first.log_bytes > 1000
    assert second.log_bytes < 1000
    assert first.sessions == 1
    assert first.outstanding_bytes == 0


def test_three_nodes_see_each_other(tmp_path: Path) -> None:
    with ql.LocalCluster(3, path=tmp_path, options=SMALL, raft=FAST) as cluster:
        leader = cluster.leader(timeout=SECONDS)
        for name in cluster.names:
            cluster.group(name).propose(b"hello", timeout=SECONDS)
        told = {name: ql.survey(tmp_path / name, SECONDS) for name in cluster.names}
        assert len({one.cluster for one in told.values()}) == 1
        for name, one in told.items():
            assert {peer.name for peer in one.peers} == set(cluster.names) - {name}
            assert one.groups[0].explanation.status.term >= 1
        (group,) = told[leader.node_name].groups
        assert {peer.name for peer in group.explanation.status.peers} <= set(cluster.names)


def test_it_answers_while_the_process_holds_its_gil(tmp_path: Path) -> None:
    """C code keeps the GIL for as long as this process lets it: the answer comes meanwhile."""
    program = """
import ctypes, sys, uuid, quorumlog as ql
path = sys.argv[1]
ql.Node.create(path, "n1", cluster=uuid.uuid4(), token=b"a token of enough bytes")
with ql.Node.open(path, options=ql.NodeOptions(segment_bytes=1 << 20, spare_segments=1)) as node:
    node.raft("held")
    print("holding", flush=True)
    ctypes.PyDLL(None).read(0, ctypes.create_string_buffer(1), 1)
"""
    path = tmp_path / "n1"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "holding\n"
        told = ql.survey(path, SECONDS)
        assert told.pid == child.pid
        assert [group.name for group in told.groups] == ["held"]
        child.communicate("x", timeout=SECONDS)
    assert child.returncode == 0
    with pytest.raises(ql.UsageError, match="no control socket"):
        ql.survey(path)


def test_only_its_user_may_ask(directory: Path, node: ql.Node) -> None:
    found = (directory / "control").stat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_crashed_node_says_that_it_has_ended(directory: Path) -> None:
    """What a crash leaves: a socket without a listener.  The next opening takes its place."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        at = os.open(directory, os.O_PATH)
        left.bind(f"/proc/self/fd/{at}/control")
        os.close(at)
    with pytest.raises(ql.UsageError, match="its process has ended"):
        ql.survey(directory)
    with ql.Node.open(directory, options=SMALL):
        assert ql.survey(directory, SECONDS).name == "n1"
    assert not (directory / "control").exists()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"x",
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("<IIII", MAGIC, 2, 1, 0),
        struct.pack("<IIII", MAGIC, 1, 2, 0),
        struct.pack("<IIII", MAGIC, 1, 1, 1),
        struct.pack("<IIII", MAGIC ^ 1, 1, 1, 0),
    ],
)
def test_anything_else_is_closed_without_a_word(directory: Path, node: ql.Node, request_bytes: bytes) -> None:
    with connected(directory) as connection:
        connection.sendall(request_bytes)
        connection.shutdown(socket.SHUT_WR)
        assert everything(connection) == b""
    assert ql.survey(directory, SECONDS).name == "n1"


def test_many_askers_at_once_are_answered_in_turn(directory: Path, node: ql.Node) -> None:
    node.raft("ledger", options=FAST)
    told: list[str] = []

    def ask() -> None:
        for _ in range(5):
            told.append(ql.survey(directory, SECONDS).groups[0].name)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["ledger"] * 20


def test_one_who_asks_and_does_not_listen_is_left(directory: Path) -> None:
    """He goes while the answer is on its way; the node closes at once and is none the worse."""
    with ql.Node.open(directory, options=SMALL) as node:
        for number in range(100):
            node.raft(f"g{number}", options=FAST)
        with connected(directory) as connection:
            connection.sendall(struct.pack("<IIII", MAGIC, 1, 1, 0))
            assert len(connection.recv(16)) == 16
        assert len(ql.survey(directory, SECONDS).groups) == 100
        with connected(directory) as connection:
            connection.sendall(struct.pack("<IIII", MAGIC, 1, 1, 0))
            assert len(connection.recv(16)) == 16
            node.close()


def test_another_build_is_told_apart(directory: Path) -> None:
    at = os.open(directory, os.O_PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"/proc/self/fd/{at}/control")
        os.close(at)
        listener.listen()

        def answer(head: bytes) -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(16)
                connection.sendall(head)

        for head, said in [
            (struct.pack("<IIII", 0x41434C51, 1, 7, 7), "another build"),
            (struct.pack("<IIII", 1, 1, 7, 7), "no node"),
            (b"short", "went away"),
        ]:
            thread = threading.Thread(target=answer, args=(head,))
            thread.start()
            with pytest.raises(ql.UsageError, match=said):
                ql.survey(directory, SECONDS)
            thread.join()


def test_a_silent_node_is_a_timeout(directory: Path) -> None:
    at = os.open(directory, os.O_PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(f"/proc/self/fd/{at}/control")
        os.close(at)
        listener.listen()
        with pytest.raises(ql.ReadTimeout, match="did not answer"):
            ql.survey(directory, 0.05)
