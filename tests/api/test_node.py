"""Opening, closing, refusing: what a node says when it is used wrongly."""

from __future__ import annotations

import gc
import os
import secrets
import signal
import threading
import uuid
import warnings
from pathlib import Path

import pytest

import quorumlog as ql

SMALL = ql.NodeOptions(segment_bytes=1 << 20, spare_segments=1)
TOKEN = secrets.token_bytes(32)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=TOKEN)
    return tmp_path / "n1"


class Sum(ql.StateMachine):
    def __init__(self) -> None:
        self.total = 0

    def apply(self, batch: ql.Batch) -> list[int]:
        results = []
        for payload in batch:
            self.total += int(payload)
            results.append(self.total)
        return results

    def query(self, question: object) -> int:
        return self.total


def test_a_single_node_remembers(directory: Path) -> None:
    with ql.Node.open(directory, options=SMALL) as node:
        group = node.raft("sum", Sum())
        assert [group.propose(b"%d" % number).result for number in (1, 2, 3)] == [1, 3, 6]
    with ql.Node.open(directory, options=SMALL) as node:
        group = node.raft("sum", Sum())
        assert group.read(None) == 6
        assert group.propose(b"4").result == 10
        assert node.recovery.corrupt_records == 0


def test_many_reopenings_lose_nothing(directory: Path) -> None:
    for turn in range(8):
        with ql.Node.open(directory, options=SMALL) as node:
            group = node.raft("sum", Sum())
            assert group.read(None) == turn * 100
            applied = group.submit_many([b"1"] * 100).result(10)
            assert applied.result[-1] == (turn + 1) * 100


def test_several_groups_share_one_log(directory: Path) -> None:
    with ql.Node.open(directory, options=SMALL) as node:
        groups = [node.raft(f"g{number}", Sum()) for number in range(10)]
        for number, group in enumerate(groups):
            group.submit_many([b"%d" % number] * 5).result(10)
        assert [group.read(None) for group in groups] == [5 * number for number in range(10)]
    with ql.Node.open(directory, options=SMALL) as node:
        groups = [node.raft(f"g{number}", Sum()) for number in range(10)]
        assert [group.read(None) for group in groups] == [5 * number for number in range(10)]


def test_opening_what_is_no_data_directory(tmp_path: Path) -> None:
    with pytest.raises(ql.UsageError, match="quorumlog init"):
        ql.Node.open(tmp_path)


def test_creating_twice(directory: Path) -> None:
    with pytest.raises(ql.UsageError, match="data directory already"):
        ql.Node.create(directory, "n1", cluster=uuid.uuid4(), token=TOKEN)


def test_opening_twice(directory: Path) -> None:
    with ql.Node.open(directory, options=SMALL), pytest.raises(ql.UsageError, match="another process"):
        ql.Node.open(directory, options=SMALL)
    ql.Node.open(directory, options=SMALL).close()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.0.0.1:x",
        ":7101",
        "127.0.0.1:70000",
        "127.0.0.1:\u00b2",
        "0.0.0.0:0",
        "10.1.2.3:1",
    ],
)
def test_bad_addresses(directory: Path, address: str) -> None:
    with pytest.raises(ql.UsageError, match="address"):
        ql.Node.open(directory, listen=address)


def test_a_peer_needs_a_port(directory: Path) -> None:
    with pytest.raises(ql.UsageError, match=r"'n2'.*names no port"):
        ql.Node.open(directory, peers={"n2": "127.0.0.1:0"})


def test_a_closed_node_says_so(directory: Path) -> None:
    node = ql.Node.open(directory, options=SMALL)
    group = node.raft("sum", Sum())
    group.propose(b"1")
    node.close()
    node.close()
    for call in (
        lambda: group.propose(b"1"),
        lambda: group.submit(b"1"),
        lambda: group.read(1),
        group.status,
    ):
        with pytest.raises(ql.Closed):
            call()
    with pytest.raises(ql.Closed):
        node.raft("other", Sum())


def test_a_forgotten_close_warns(directory: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        node = ql.Node.open(directory, options=SMALL)
        del node
        gc.collect()
    assert any(
        issubclass(one.category, ResourceWarning) and "never closed" in str(one.message) for one in caught
    )
    ql.Node.open(directory, options=SMALL).close()


def test_closing_lets_waiting_calls_out(tmp_path: Path) -> None:
    """A node without its quorum never settles anything; close must not hang nor lose a waiter."""
    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=TOKEN)
    node = ql.Node.open(tmp_path / "n1", peers={"n2": "127.0.0.1:1", "n3": "127.0.0.1:2"}, options=SMALL)
    group = node.raft("sum", Sum())
    submission = group.submit(b"1")
    outcomes: list[BaseException] = []

    def wait(call: object) -> None:
        try:
            call()  # type: ignore[operator]
        except ql.QuorumlogError as error:
            outcomes.append(error)

    calls = [
        lambda: group.propose(b"2", timeout=60),
        lambda: submission.result(60),
        lambda: group.wait_applied(1, timeout=60),
        lambda: group.read(None, timeout=60),
    ]
    threads = [threading.Thread(target=wait, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    with pytest.raises(ql.ProposalTimeout):
        submission.result(0.2)
    node.close()
    for thread in threads:
        thread.join(20)
    assert len(outcomes) == 4
    assert isinstance(submission.exception(0), ql.QuorumlogError)


def test_a_timeout_is_a_timeout_error_and_indefinite(tmp_path: Path) -> None:
    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=TOKEN)
    with ql.Node.open(
        tmp_path / "n1", peers={"n2": "127.0.0.1:1", "n3": "127.0.0.1:2"}, options=SMALL
    ) as node:
        group = node.raft("sum", Sum())
        while True:
            with pytest.raises(TimeoutError) as caught:
                group.propose(b"1", timeout=0.2)
            if not isinstance(caught.value, ql.Withdrawn):     # a busy machine: the node had not taken it
                break
        assert isinstance(caught.value, ql.ProposalTimeout)
        assert not caught.value.definite


def test_what_the_node_had_not_taken_is_withdrawn_and_definite(tmp_path: Path) -> None:
    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=TOKEN)
    with ql.Node.open(
        tmp_path / "n1", peers={"n2": "127.0.0.1:1", "n3": "127.0.0.1:2"}, options=SMALL
    ) as node:
        group = node.raft("sum", Sum())
        for _ in range((1 << 16) + 1):          # one more than a node takes before any is settled
            group.submit_many([b"1"])
        while True:
            with pytest.raises(TimeoutError) as caught:
                group.propose(b"1", timeout=0.05)
            if isinstance(caught.value, ql.Withdrawn):
                break
        assert caught.value.definite


def test_overload_is_refused_and_definite(tmp_path: Path) -> None:
    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=TOKEN)
    options = ql.RaftOptions(in_flight_bytes=1 << 16)
    with ql.Node.open(
        tmp_path / "n1", peers={"n2": "127.0.0.1:1", "n3": "127.0.0.1:2"}, options=SMALL
    ) as node:
        group = node.raft("sum", Sum(), options=options)
        taken = []

        def submit_many_times() -> None:
            for _ in range(1000):
                taken.append(group.submit(b"x" * 1000))

        with pytest.raises(ql.Overloaded) as caught:
            submit_many_times()
        assert caught.value.definite
        assert caught.value.retryable
        assert caught.value.limit == 1 << 16
        assert 60 <= len(taken) <= 66
        with pytest.raises(ql.Overloaded):
            group.propose(b"x" * 1000, timeout=0.1)


def test_not_leader_names_the_leader(tmp_path: Path) -> None:
    raft = ql.RaftOptions(election_timeout=0.15, heartbeat=0.03, forward=False)
    with ql.LocalCluster(3, Sum, options=SMALL, raft=raft, path=tmp_path) as cluster:
        leader = cluster.leader()
        follower = next(group for group in cluster.groups if group is not leader)
        follower.wait_leader()
        with pytest.raises(ql.NotLeader) as caught:
            follower.propose(b"1")
        assert caught.value.definite
        assert caught.value.leader == leader.status().leader
        assert leader.propose(b"1").result == 1


def test_an_exception_in_apply_stops_that_replica_with_a_report(directory: Path) -> None:
    with ql.Node.open(directory, options=SMALL) as node:
        group = node.raft("sum", Sum())
        assert group.propose(b"1").result == 1
        with pytest.raises(ql.QuorumlogError) as caught:
            group.propose(b"not a number")
        assert not caught.value.definite
        with pytest.raises(ql.ReplicaStopped, match="index 3") as stopped:
            group.propose(b"2")
        assert stopped.value.index == 3
        with pytest.raises(ql.ReplicaStopped):
            group.read(None)


def test_results_must_be_one_per_entry(directory: Path) -> None:
    class Wrong(ql.StateMachine):
        def apply(self, batch: ql.Batch) -> list[int]:
            return [1, 2, 3]

    with ql.Node.open(directory, options=SMALL) as node:
        group = node.raft("wrong", Wrong())
        with pytest.raises(ql.QuorumlogError):
            group.propose(b"1")
        with pytest.raises(ql.ReplicaStopped, match="3 results for 1"):
            group.propose(b"1")


def test_ctrl_c_ends_a_wait(tmp_path: Path) -> None:
    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=TOKEN)
    with ql.Node.open(
        tmp_path / "n1", peers={"n2": "127.0.0.1:1", "n3": "127.0.0.1:2"}, options=SMALL
    ) as node:
        group = node.raft("sum", Sum())
        for call in (
            lambda: group.propose(b"1", timeout=60),
            lambda: group.submit(b"1").result(60),
            lambda: group.wait_applied(5, timeout=60),
            lambda: group.read(None, timeout=60),
        ):
            timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                call()
            timer.join()


def test_a_forked_child_is_told(directory: Path) -> None:
    with ql.Node.open(directory, options=SMALL) as node:
        group = node.raft("sum", Sum())
        group.propose(b"1")
        pid = os.fork()
        if pid == 0:
            try:
                group.propose(b"1", timeout=5)
            except ql.UsageError as error:
                os._exit(0 if "forked" in str(error) else 2)
            except BaseException:
                os._exit(3)
            os._exit(4)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert group.propose(b"1").result == 2


def test_views_outlive_their_batch_and_are_read_only(directory: Path) -> None:
    kept = []

    class Keeper(ql.StateMachine):
        def apply(self, batch: ql.Batch) -> None:
            kept.append((batch.first, batch.payload, batch.offsets))

    with ql.Node.open(directory, options=SMALL) as node:
        group = node.raft("keep", Keeper())
        for number in range(100):
            group.submit_many([b"%04d" % number] * 4)
        group.propose(b"end")
        gc.collect()
        assert node.status().pinned_bytes >= 0
    entries = [view.tobytes() for _, view, _ in kept]
    assert b"".join(entries) == b"".join(b"%04d" % number * 4 for number in range(100)) + b"end"
    for _, payload, offsets in kept:
        assert not payload.flags.writeable
        assert not offsets.flags.writeable
        assert offsets[0] == 0
        assert offsets[-1] == len(payload)
