"""group.explain() on real nodes: idle, cut off, without a leader, with a machine that is late or stopped."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import quorumlog as ql
from quorumlog.explanation import REASONS

SMALL = ql.NodeOptions(segment_bytes=1 << 20, spare_segments=1)
FAST = ql.RaftOptions(election_timeout=0.15, heartbeat=0.03)
SECONDS = 60.0


def until(group: ql.Group, true: Callable[[ql.Explanation], bool], what: str) -> ql.Explanation:
    """Asks until it is so; the last answer is what a failure says."""
    deadline = time.monotonic() + SECONDS
    while True:
        told = group.explain(SECONDS)
        if true(told):
            return told
        assert time.monotonic() < deadline, f"{what}; the last answer:\n{told}"
        threading.Event().wait(0.01)


def reasons(told: ql.Explanation) -> set[str]:
    return {finding.reason for finding in told.findings}


@pytest.fixture
def cluster() -> Iterator[ql.LocalCluster]:
    with ql.LocalCluster(3, options=SMALL, raft=FAST) as made:
        made.leader(timeout=SECONDS)
        yield made


def test_an_idle_group(cluster: ql.LocalCluster) -> None:
    leader = cluster.leader(timeout=SECONDS)
    leader.propose(b"x", timeout=SECONDS)
    told = until(leader, lambda told: reasons(told) == {"nothing_proposed"}, "idle")
    assert not told.blocked
    assert told.status.commit == told.status.last
    assert "everything in the log is committed" in str(told)
    assert asyncio.run(ql.aio.Group(leader).explain(SECONDS)).group == "main"


def test_a_follower_names_the_leader(cluster: ql.LocalCluster) -> None:
    for group in cluster.groups:
        told = until(group, lambda told: told.status.leader is not None, "a leader is known")
        if told.status.role == "follower":
            (finding,) = [one for one in told.findings if one.reason == "follows"]
            assert finding.node == told.status.leader


def test_a_leader_that_loses_its_followers_says_whom_it_waits_for(cluster: ql.LocalCluster) -> None:
    leader = cluster.leader(timeout=SECONDS)
    name = leader.node_name
    others = [node.name for node in cluster.nodes if node.name != name]
    for other in others:
        cluster.stop(other)
    future = leader.submit(b"nobody else hears of this")
    told = until(leader, lambda told: "no_quorum" in reasons(told), "no quorum")
    assert told.blocked
    assert told.findings[0].reason == "no_quorum"
    assert told.findings[0].number == 1
    # It steps down when its quorum was silent for an election timeout; then nobody leads.
    told = until(leader, lambda told: "no_leader" in reasons(told), "it steps down")
    assert "proposals" in reasons(told)
    assert not future.done
    cluster.start(others[0])
    assert future.result(SECONDS).count == 1
    # Who leads now does say who is missing, and is not blocked by him.
    leader = cluster.leader(timeout=SECONDS)
    told = until(leader, lambda told: not told.blocked and "peer_cut" in reasons(told), "one is missing")
    (cut,) = [finding for finding in told.findings if finding.reason == "peer_cut"]
    assert cut.node == others[1]
    assert others[1] in cut.text


class Slow(ql.StateMachine):
    """Waits for the gate before it applies; raises when told so."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.fail = False

    def apply(self, batch: ql.Batch) -> None:
        self.gate.wait()
        if self.fail:
            raise ValueError("told so")


@pytest.mark.parametrize("fail", [False, True])
def test_committed_and_not_applied(fail: bool) -> None:
    slow = Slow()
    slow.fail = fail
    with ql.LocalCluster(1, lambda: slow, options=SMALL, raft=FAST) as cluster:
        try:
            group = cluster.leader(timeout=SECONDS)
            group.submit(b"x")
            told = until(group, lambda told: "applying" in reasons(told), "not applied")
            assert not told.blocked
            slow.gate.set()
            wanted = "machine_stopped" if fail else "nothing_proposed"
            until(group, lambda told: wanted in reasons(told) and "applying" not in reasons(told), wanted)
        finally:
            slow.gate.set()


def test_a_closed_node_says_so(cluster: ql.LocalCluster) -> None:
    group = cluster.groups[0]
    cluster.stop("n1")
    with pytest.raises(ql.UsageError, match="closed"):
        group.explain()


def test_reasons_are_words_of_their_own() -> None:
    words = [reason for reason, _, _ in REASONS.values()]
    assert len(set(words)) == len(words)
    assert list(REASONS) == list(range(1, len(REASONS) + 1))
