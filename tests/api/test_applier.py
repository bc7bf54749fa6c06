"""The applier thread survives whatever a state machine does, and a stopped replica costs nothing."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path

import pytest

import quorumlog as ql

TOKEN = b"a token of enough bytes"
SMALL = ql.NodeOptions(segment_bytes=8 << 20, spare_segments=1)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=TOKEN)
    return tmp_path / "n1"


class Echo(ql.StateMachine):
    def apply(self, batch: ql.Batch) -> list[bytes]:
        return list(batch)

    def query(self, question: object) -> object:
        if isinstance(question, BaseException):
            raise question
        return question


class Unspeakable(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


class Raises(ql.StateMachine):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def apply(self, batch: ql.Batch) -> None:
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), ValueError("no")])
def test_what_a_query_raises_reaches_its_reader_and_nobody_else(
    directory: Path, error: BaseException
) -> None:
    with ql.Node.open(directory, options=SMALL) as node:
        group = node.raft("main", Echo())
        with pytest.raises(type(error)):
            group.read(error, timeout=20)
        assert group.read("next", timeout=20) == "next"
        assert group.propose(b"1", timeout=20).result == b"1"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), Unspeakable()])
def test_whatever_apply_raises_stops_that_group_alone(directory: Path, error: BaseException) -> None:
    with ql.Node.open(directory, options=SMALL) as node:
        other = node.raft("other", Echo())
        group = node.raft("main", Raises(error))
        with pytest.raises(ql.Unknown):
            group.propose(b"1", timeout=20)
        with pytest.raises(ql.ReplicaStopped, match="index 2"):
            group.read(None, timeout=20)
        assert other.propose(b"1", timeout=20).result == b"1"


def test_a_read_that_waits_when_the_replica_stops_is_told(directory: Path) -> None:
    inside, leave = threading.Event(), threading.Event()

    class Stops(Echo):
        def apply(self, batch: ql.Batch) -> list[bytes]:
            inside.set()
            leave.wait(20)
            raise ValueError("no")

    with ql.Node.open(directory, options=SMALL) as node:
        group = node.raft("main", Stops())
        group.submit(b"1")
        assert inside.wait(20)
        caught: list[BaseException] = []

        def read() -> None:
            try:
                group.read(None, timeout=None)
            except ql.QuorumlogError as error:
                caught.append(error)

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        leave.set()
        for thread in threads:
            thread.join(20)
        assert [type(one) for one in caught] == [ql.ReplicaStopped] * 8


def test_a_stopped_replica_lets_the_reactor_sleep(directory: Path) -> None:
    with ql.Node.open(directory, options=SMALL) as node:
        group = node.raft("main", Raises(ValueError("no")))
        with pytest.raises(ql.Unknown):
            group.propose(b"1", timeout=20)
        threading.Event().wait(0.8)  # past the next retry of proposals
        before = node.status().turns
        threading.Event().wait(0.2)
        assert node.status().turns - before < 500  # a reactor that spins makes 100,000


def test_more_unsettled_batches_than_there_are_places_let_the_reactor_sleep(tmp_path: Path) -> None:
    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=TOKEN)
    nobody = {"n2": "127.0.0.1:1", "n3": "127.0.0.1:2"}
    with ql.Node.open(tmp_path / "n1", peers=nobody, options=SMALL) as node:
        group = node.raft("main")
        taken = [group.submit_many([b"x"]) for _ in range((1 << 16) + 100)]
        node.status()
        group.submit_many([b"x"])  # behind those that wait for a place
        before = node.status().turns
        threading.Event().wait(0.3)
        assert node.status().turns - before < 500
    assert all(isinstance(one.exception(0), ql.Closed) for one in taken)


def test_more_unsettled_batches_than_there_are_places_are_all_applied_in_order(directory: Path) -> None:
    applied: list[bytes] = []
    leave = threading.Event()

    class Slow(ql.StateMachine):
        def apply(self, batch: ql.Batch) -> None:
            leave.wait(20)
            applied.extend(batch)

    with ql.Node.open(directory, options=SMALL) as node:
        group = node.raft("main", Slow())
        payloads = [b"%d" % number for number in range((1 << 16) + 5000)]
        taken = [group.submit_many([payload]) for payload in payloads]
        leave.set()
        taken[-1].result(60)
        assert applied == payloads
