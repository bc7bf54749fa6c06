"""Signals end every call that waits, however long it was told to wait (Ctrl-C)."""

from __future__ import annotations

import secrets
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

import quorumlog as ql

SMALL = ql.NodeOptions(segment_bytes=2 << 20, spare_segments=1)


class Interrupted(Exception):
    pass


class Slow(ql.StateMachine):
    """Answers no question before it is told to."""

    def __init__(self) -> None:
        self.answer = threading.Event()

    def apply(self, batch: ql.Batch) -> None:
        pass

    def query(self, question: object) -> bool:
        return self.answer.wait(60)


class Stuck:
    """One of three nodes, alone: nothing of the group `all` is ever decided; `own` works."""

    def __init__(self, path: Path) -> None:
        ql.Node.create(path, "n1", cluster=uuid.uuid4(), token=secrets.token_bytes(32))
        self.node = ql.Node.open(path, peers={"n2": "127.0.0.1:1", "n3": "127.0.0.1:2"}, options=SMALL)
        self.slow = Slow()
        self.all = self.node.raft("all", Slow(), options=ql.RaftOptions(in_flight_bytes=1 << 16))
        self.own = self.node.raft("own", self.slow, voters=["n1"])
        self.submission = self.all.submit(b"x" * 65_000)


@pytest.fixture
def stuck(tmp_path: Path) -> Iterator[Stuck]:
    made = Stuck(tmp_path / "n1")
    yield made
    made.slow.answer.set()
    made.node.close()


WAITS: dict[str, Callable[[Stuck], object]] = {
    "propose": lambda s: s.all.propose(b"x", None),
    "propose without room": lambda s: s.all.propose(b"x" * 60_000, None),
    "propose_many": lambda s: s.all.propose_many([b"x"], None),
    "result": lambda s: s.submission.result(None),
    "exception": lambda s: s.submission.exception(None),
    "read": lambda s: s.all.read(None, timeout=None),
    "read of a slow machine": lambda s: s.own.read(None, timeout=None),
    "read_barrier": lambda s: s.all.read_barrier(None),
    "wait_applied": lambda s: s.all.wait_applied(99, None),
    "wait_leader": lambda s: s.all.wait_leader(1e6),
}


@pytest.mark.parametrize("name", WAITS)
def test_a_signal_ends_the_wait(stuck: Stuck, name: str) -> None:
    with pytest.raises(Interrupted):
        wait_interrupted(stuck, name)
    stuck.slow.answer.set()
    # And nothing is broken by it.
    assert stuck.own.propose(b"y", timeout=20).index > 0


def wait_interrupted(stuck: Stuck, name: str) -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        WAITS[name](stuck)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
