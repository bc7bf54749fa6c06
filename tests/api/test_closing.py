"""Closing from everywhere: a state machine, a signal handler, two threads, the middle of a call."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import quorumlog as ql

TOKEN = b"a token of enough bytes"
SMALL = ql.NodeOptions(segment_bytes=8 << 20, spare_segments=1)
NOBODY = {"n2": "127.0.0.1:1", "n3": "127.0.0.1:2"}  # a quorum that is never there


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=TOKEN)
    return tmp_path / "n1"


def reopens(directory: Path) -> None:
    """Only a node that was closed to the end gives its directory back."""
    ql.Node.open(directory, options=SMALL).close()


def test_a_state_machine_may_close_its_node(directory: Path) -> None:
    node = ql.Node.open(directory, options=SMALL)

    class Closer(ql.StateMachine):
        def apply(self, batch: ql.Batch) -> None:
            node.close()

    group = node.raft("main", Closer())
    assert group.submit(b"1").exception(20) is None or node.closed
    node.close()  # waits for the one under way
    reopens(directory)


def test_a_forgotten_node_collected_on_the_applier_is_closed(directory: Path) -> None:
    """Its objects form a cycle, so the collector may find it on any thread, the applier too."""
    collected = threading.Event()
    go = threading.Event()

    class Collector(ql.StateMachine):
        def apply(self, batch: ql.Batch) -> None:
            go.wait(20)
            gc.collect()
            collected.set()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.disable()
        try:
            node = ql.Node.open(directory, options=SMALL)
            node.raft("main", Collector()).submit(b"1")
            del node
            go.set()
            assert collected.wait(20)
        finally:
            gc.enable()
        for thread in threading.enumerate():
            if thread.name.startswith("quorumlog-"):
                thread.join(20)
    reopens(directory)


@pytest.mark.parametrize("call", ["propose", "wait_applied", "read", "propose_overloaded"])
def test_a_signal_handler_may_close_while_a_call_waits(directory: Path, call: str) -> None:
    options = ql.RaftOptions(in_flight_bytes=1 << 16)
    node = ql.Node.open(directory, peers=NOBODY, options=SMALL)
    group = node.raft("main", ql.StateMachine(), options=options)
    if call == "propose_overloaded":
        group.submit(b"x" * 70_000)
    calls: dict[str, Callable[[], object]] = {
        "propose": lambda: group.propose(b"1", timeout=60),
        "wait_applied": lambda: group.wait_applied(9, timeout=60),
        "read": lambda: group.read(None, timeout=60),
        "propose_overloaded": lambda: group.propose(b"x" * 70_000, timeout=60),
    }
    before = signal.signal(signal.SIGUSR1, lambda *_: node.close())
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(ql.QuorumlogError):
            calls[call]()
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert node.closed
    reopens(directory)


def test_a_second_close_waits_for_the_first(directory: Path) -> None:
    inside, leave = threading.Event(), threading.Event()

    class Slow(ql.StateMachine):
        def apply(self, batch: ql.Batch) -> None:
            inside.set()
            leave.wait(20)

    node = ql.Node.open(directory, options=SMALL)
    node.raft("main", Slow()).submit(b"1")
    assert inside.wait(20)
    first = threading.Thread(target=node.close)
    first.start()
    while not node.closed:
        threading.Event().wait(0.001)
    returned = threading.Event()

    def again() -> None:
        node.close()
        returned.set()

    second = threading.Thread(target=again)
    second.start()
    assert not returned.wait(0.05)
    leave.set()
    first.join(20)
    second.join(20)
    assert returned.is_set()
    reopens(directory)


def test_ctrl_c_during_close_leaves_it_to_be_finished(directory: Path) -> None:
    inside, leave = threading.Event(), threading.Event()

    class Slow(ql.StateMachine):
        def apply(self, batch: ql.Batch) -> None:
            inside.set()
            leave.wait(20)

    node = ql.Node.open(directory, options=SMALL)
    node.raft("main", Slow()).submit(b"1")
    assert inside.wait(20)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        node.close()
    timer.join()
    leave.set()
    node.close()
    reopens(directory)


def test_payloads_that_close_the_node_while_they_are_listed(directory: Path) -> None:
    node = ql.Node.open(directory, options=SMALL)
    group = node.raft("main")

    def payloads() -> Iterator[bytes]:
        yield b"1"
        node.close()
        yield b"2"

    with pytest.raises(ql.Closed):
        group.submit_many(payloads())  # type: ignore[arg-type]


def test_a_command_that_closes_the_node_while_it_is_converted(directory: Path) -> None:
    node = ql.Node.open(directory, options=SMALL)
    group = node.raft("main")

    class Closing(bytes):
        def __bytes__(self) -> bytes:
            node.close()
            return b"1"

    with pytest.raises(ql.Closed):
        group.submit(Closing(b"1"))


def run_until_closed(node: ql.Node, call: Callable[[], object], threads_count: int) -> list[type[Exception]]:
    """Repeats a call in threads, closes the node, and gives what ended each of them."""
    ended: list[type[Exception]] = []
    begun = threading.Barrier(threads_count + 1)

    def work() -> None:
        begun.wait()
        try:
            while True:
                with contextlib.suppress(ql.Overloaded):
                    call()
        except ql.QuorumlogError as error:
            ended.append(type(error))

    threads = [threading.Thread(target=work) for _ in range(threads_count)]
    for thread in threads:
        thread.start()
    begun.wait()
    node.close()
    for thread in threads:
        thread.join(20)
    return ended


def test_closing_while_other_threads_submit_large_batches(directory: Path) -> None:
    """The checksum of a large batch is computed without the GIL: close may come in between."""
    payloads = [b"x" * 1000] * 3000
    for _ in range(10):
        node = ql.Node.open(directory, options=SMALL)
        group = node.raft("main")
        assert len(run_until_closed(node, functools.partial(group.submit_many, payloads), 3)) == 3


def test_a_query_asked_while_the_node_closes_is_answered(directory: Path) -> None:
    class Machine(ql.StateMachine):
        def query(self, question: object) -> object:
            return question

    for _ in range(10):
        node = ql.Node.open(directory, options=SMALL)
        group = node.raft("main", Machine())
        ask = functools.partial(group.read, 1, consistency=ql.STALE, timeout=None)
        assert run_until_closed(node, ask, 4) == [ql.Closed] * 4
