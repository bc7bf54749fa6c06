"""read and read_many: many questions of one state, what an exception costs, and who is told at the end."""

from __future__ import annotations

import secrets
import threading
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quorumlog as ql

SMALL = ql.NodeOptions(segment_bytes=8 << 20, spare_segments=1)
NOBODY = {"n2": "127.0.0.1:1", "n3": "127.0.0.1:2"}  # a quorum that is never there


class Counter(ql.StateMachine):
    """The number of entries applied so far; `query` adds it to the question."""

    def __init__(self) -> None:
        self.count = 0

    def apply(self, batch: ql.Batch) -> None:
        self.count += batch.count if batch.is_entries else 0

    def query(self, question: Any) -> Any:
        if question == "count":
            return self.count
        return question + self.count


class Vectorised(Counter):
    """Answers arrays, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    def query_many(self, questions: Collection[Any]) -> Any:
        self.asked.append(questions)
        return np.asarray(questions) + self.count


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=secrets.token_bytes(32))
    return tmp_path / "n1"


@pytest.fixture
def node(directory: Path) -> Iterator[ql.Node]:
    with ql.Node.open(directory, options=SMALL) as opened:
        yield opened


def test_answers_come_in_the_order_of_the_questions(node: ql.Node) -> None:
    group = node.raft("main", Counter())
    group.propose_many([b"x"] * 10)
    assert group.read_many([3, 1, 2]) == [13, 11, 12]
    assert group.read_many((0, 1), consistency=ql.STALE) == [10, 11]
    assert group.read_many([]) == []
    assert group.read_many(iter([5])) == [15]  # type: ignore[arg-type]


def test_query_many_gets_the_questions_and_its_answer_is_handed_on_as_they_are(node: ql.Node) -> None:
    machine = Vectorised()
    group = node.raft("main", machine)
    group.propose_many([b"x"] * 10)
    questions = np.arange(1000)
    answers = group.read_many(questions)
    assert machine.asked[0] is questions
    assert isinstance(answers, np.ndarray)
    assert (answers == questions + 10).all()


def test_a_machine_that_derives_from_nothing_is_asked_one_by_one(node: ql.Node) -> None:
    class Plain:
        def apply(self, batch: ql.Batch) -> None:
            pass

        def query(self, question: int) -> int:
            return -question

    group = node.raft("main", Plain())  # type: ignore[arg-type]
    assert group.read_many([1, 2]) == [-1, -2]


def test_all_are_answered_from_one_state(node: ql.Node) -> None:
    group = node.raft("main", Counter())
    done = threading.Event()

    def propose() -> None:
        while not done.is_set():
            group.propose(b"x")

    thread = threading.Thread(target=propose)
    thread.start()
    try:
        for _ in range(200):
            assert len(set(group.read_many(["count"] * 50))) == 1
    finally:
        done.set()
        thread.join()


def test_an_exception_of_one_query_takes_nobody_elses_answer(node: ql.Node) -> None:
    group = node.raft("main", Counter())
    group.propose(b"x")
    with pytest.raises(ql.QueriesFailed, match=r"2 of 4 .* the first of them \(number 1\) TypeError") as caught:
        group.read_many([1, None, 3, None])
    failed = caught.value
    assert failed.positions == (1, 3)
    assert [failed.answers[0], failed.answers[2]] == [2, 4]
    assert isinstance(failed.answers[1], TypeError)
    assert isinstance(failed.answers[3], TypeError)
    assert failed.__cause__ is failed.answers[1]
    assert (failed.definite, failed.retryable) == (True, False)
    assert group.read(1) == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (KeyError("none"), KeyError),
        ([1], ql.UsageError),  # one answer to two questions
        (None, TypeError),
    ],
)
def test_what_query_many_does_wrong_goes_to_its_reader(node: ql.Node, answer: Any, error: type[Exception]) -> None:
    class Wrong(Counter):
        def query_many(self, questions: Collection[Any]) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

    group = node.raft("main", Wrong())
    with pytest.raises(error):
        group.read_many([1, 2])
    assert group.read(1) == 1


@pytest.mark.parametrize("questions", ["text", b"bytes", 5])
def test_what_is_no_sequence_of_questions_is_refused(node: ql.Node, questions: Any) -> None:
    group = node.raft("main", Counter())
    with pytest.raises((ql.UsageError, TypeError)):
        group.read_many(questions)


def test_a_group_without_a_machine_has_barriers_and_no_answers(node: ql.Node) -> None:
    group = node.raft("main")
    applied = group.propose(b"x")
    assert group.read_barrier() >= applied.index
    for ask in (group.read, group.read_many):
        with pytest.raises(ql.UsageError, match="no state machine"):
            ask([1])


def test_an_unknown_consistency_is_refused(node: ql.Node) -> None:
    group = node.raft("main", Counter())
    for ask in (group.read, group.read_many):
        with pytest.raises(ql.UsageError, match="'eventual'"):
            ask([1], consistency="eventual")  # type: ignore[arg-type]


def test_many_threads_share_confirmations_and_all_are_answered(node: ql.Node) -> None:
    group = node.raft("main", Counter())
    seen: list[list[int]] = []

    def read() -> None:
        mine = []
        for _ in range(100):
            index = group.propose(b"x").index
            count = group.read("count")
            mine.append(count)
            assert group.read_barrier() >= index
        seen.append(mine)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    # Each sees at least its own writes, and never fewer than before.
    for mine in seen:
        assert all(count > number for number, count in enumerate(mine))
        assert mine == sorted(mine)


def test_a_read_waits_for_a_leader_and_says_so_when_there_is_none(directory: Path) -> None:
    with ql.Node.open(directory, peers=NOBODY, options=SMALL) as node:
        group = node.raft("main", Counter())
        for ask in (lambda: group.read(1, timeout=0.05), lambda: group.read_many([1], timeout=0.05)):
            with pytest.raises(ql.ReadTimeout, match=r"not confirmed within 0\.05 s: no leader is known"):
                ask()
        with pytest.raises(ql.ReadTimeout):
            group.read_barrier(timeout=0)
        assert group.read(1, consistency=ql.STALE) == 1


def test_reads_that_were_given_up_leave_room_for_others(directory: Path) -> None:
    """Without a leader nothing ends them but their callers: those that left don't count for ever."""
    with ql.Node.open(directory, peers=NOBODY, options=SMALL) as node:
        group = node.raft("main", Counter())
        for _ in range(70_000):
            with pytest.raises((ql.ReadTimeout, ql.Overloaded)):
                group.read_barrier(timeout=0)
        # They are let go of within 50 ms: whoever comes then is taken again.
        outcome: type[Exception] = ql.Overloaded
        while outcome is ql.Overloaded:
            with pytest.raises((ql.ReadTimeout, ql.Overloaded)) as caught:
                group.read_barrier(timeout=0.01)
            outcome = caught.type


class Stuck(Counter):
    """Stands in `query` until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.go_on = threading.Event(), threading.Event()

    def query(self, question: Any) -> Any:
        self.inside.set()
        self.go_on.wait(20)
        return question


def test_a_read_that_runs_out_of_time_at_the_machine_says_so(node: ql.Node) -> None:
    machine = Stuck()
    group = node.raft("main", machine)
    group.propose(b"x")
    with pytest.raises(ql.ReadTimeout, match="the state machine did not answer within"):
        group.read(1, timeout=0.2)
    machine.go_on.set()
    assert group.read(2) == 2


def test_more_reads_than_the_bound_are_refused_and_room_comes_back(node: ql.Node) -> None:
    machine = Stuck()
    group = node.raft("main", machine)
    first = threading.Thread(target=group.read, args=(1, ql.STALE, 20))
    first.start()
    assert machine.inside.wait(20)
    # All behind it wait for the applier, given up by their callers or not.
    for _ in range(65_535):
        with pytest.raises(ql.ReadTimeout):
            group.read(1, consistency=ql.STALE, timeout=0)
    with pytest.raises(ql.Overloaded, match="65536 reads") as caught:
        group.read(1, consistency=ql.STALE, timeout=0)
    assert caught.value.limit == 65_536
    machine.go_on.set()
    first.join()
    while True:
        try:
            assert group.read(3) == 3
            break
        except ql.Overloaded:
            continue


def test_closing_ends_reads_at_every_place_they_may_be_at(directory: Path) -> None:
    machine = Stuck()
    node = ql.Node.open(directory, peers=NOBODY, options=SMALL)
    lonely = node.raft("lonely", Counter())  # for ever without a leader
    own = node.raft("own", machine, voters=["n1"])
    own.propose(b"x")
    ended: dict[str, BaseException | None] = {}

    def ask(name: str, call: Any, *arguments: Any) -> None:
        try:
            call(*arguments)
            ended[name] = None
        except BaseException as error:
            ended[name] = error

    calls = {
        "answering": (own.read, 1, ql.LINEARIZABLE, None),
        "unconfirmed": (lonely.read_many, [1, 2], ql.LINEARIZABLE, None),
        "barrier": (lonely.read_barrier, None),
        "behind it": (own.read_many, [1, 2], ql.STALE, None),
    }
    threads = []
    for name, (call, *arguments) in calls.items():
        threads.append(threading.Thread(target=ask, args=(name, call, *arguments)))
        threads[-1].start()
        if name == "answering":
            assert machine.inside.wait(20)
    closing = threading.Thread(target=node.close)
    closing.start()
    for name in ("unconfirmed", "barrier"):
        threads[list(calls).index(name)].join(20)
        assert isinstance(ended[name], ql.Closed), ended
    machine.go_on.set()
    for thread in (*threads, closing):
        thread.join(20)
    assert set(ended) == set(calls)
    assert ended["answering"] is None
    assert isinstance(ended["behind it"], ql.Closed) or ended["behind it"] is None
    with pytest.raises(ql.Closed):
        own.read(1)


def test_a_read_of_a_stopped_replica_is_told_why(node: ql.Node) -> None:
    class Failing(Stuck):
        def apply(self, batch: ql.Batch) -> None:
            if batch.is_entries:
                self.inside.set()
                self.go_on.wait(20)
                raise ValueError("broken")

    machine = Failing()
    group = node.raft("main", machine)
    submission = group.submit(b"x")
    assert machine.inside.wait(20)
    ended: list[BaseException] = []

    def ask() -> None:
        with pytest.raises(ql.ReplicaStopped) as caught:
            group.read_many([1, 2], timeout=None)
        ended.append(caught.value)

    thread = threading.Thread(target=ask)
    thread.start()
    machine.go_on.set()
    thread.join(20)
    assert submission.exception(20) is not None
    assert [error.index for error in ended if isinstance(error, ql.ReplicaStopped)] == [2]


def test_a_follower_reads_what_was_acknowledged_by_the_leader() -> None:
    with ql.LocalCluster(3, options=SMALL) as cluster:
        groups = cluster.raft("reads", Vectorised)
        for number in range(1, 20):
            groups[number % 3].propose(b"x")
            for group in groups:
                assert list(group.read_many([0, 1])) == [number, number + 1]
