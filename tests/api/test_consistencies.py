"""Reads by lease and of bounded staleness, on real nodes."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import quorumlog as ql

SMALL = ql.NodeOptions(segment_bytes=8 << 20, spare_segments=1)
LEASING = ql.RaftOptions(election_timeout=1.0, heartbeat=0.02, clock_drift=0.05)
LONG = 60.0                            # a test never fails for want of time


class Counter(ql.StateMachine):
    def __init__(self) -> None:
        self.count = 0

    def apply(self, batch: ql.Batch) -> None:
        self.count += batch.count if batch.is_entries else 0

    def query(self, question: Any) -> Any:
        return question + self.count


@pytest.fixture(scope="module")
def cluster() -> Iterator[ql.LocalCluster]:
    with ql.LocalCluster(3, Counter, options=SMALL, raft=LEASING) as made:
        made.leader(timeout=LONG)
        yield made


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[ql.Node]:
    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=secrets.token_bytes(32))
    with ql.Node.open(tmp_path / "n1", options=SMALL, peers={"n2": "127.0.0.1:1", "n3": "127.0.0.1:2"}) as opened:
        yield opened


def test_every_node_answers_by_lease_what_was_acknowledged_anywhere(cluster: ql.LocalCluster) -> None:
    for turn in range(20):
        proposer = cluster.groups[turn % 3]
        proposer.propose(b"x", timeout=LONG)
        for group in cluster.groups:
            assert group.read(0, consistency=ql.LEASE, timeout=LONG) >= turn + 1
            assert group.read_many([0, 1], consistency=ql.LEASE, timeout=LONG)[1] >= turn + 2
        assert cluster.groups[0].read_barrier(LONG, consistency=ql.LEASE) >= turn + 1


def test_the_leader_says_that_it_holds_a_lease(cluster: ql.LocalCluster) -> None:
    """Or its round came too late on a busy machine; then the next one may be in time."""
    leader = cluster.leader(timeout=LONG)
    seen = 0.0
    while not seen:
        leader.read(0, timeout=LONG)
        seen = leader.status(LONG).lease_left
    assert seen <= LEASING.election_timeout
    followers = [group for group in cluster.groups if not group.is_leader]
    assert all(group.status(LONG).lease_left == 0 for group in followers)


def test_a_bounded_read_asks_nobody_and_says_how_old_it_would_be(cluster: ql.LocalCluster) -> None:
    cluster.groups[0].propose(b"x", timeout=LONG)
    for group in cluster.groups:
        while group.status(LONG).lag is None:
            group.read(0, timeout=LONG)
        assert group.read(0, consistency=ql.BOUNDED, max_lag=LONG, timeout=LONG) >= 1
        assert group.read_many([0], consistency=ql.BOUNDED, max_lag=LONG, timeout=LONG)[0] >= 1
    follower = next(group for group in cluster.groups if not group.is_leader)
    with pytest.raises(ql.TooStale, match="more than the 1e-09 s asked for") as caught:
        follower.read(0, consistency=ql.BOUNDED, max_lag=1e-9)
    assert caught.value.lag is not None
    assert caught.value.lag > 0
    assert caught.value.retryable
    assert caught.value.definite


def test_a_node_that_has_heard_nothing_is_too_stale_for_any_bound(alone: ql.Node) -> None:
    group = alone.raft("main", Counter())
    with pytest.raises(ql.TooStale, match="nothing is known here") as caught:
        group.read(0, consistency=ql.BOUNDED, max_lag=1e6)
    assert caught.value.lag is None
    assert group.status(LONG).lag is None
    assert group.read(0, consistency=ql.STALE, timeout=LONG) == 0


def test_what_does_not_go_together_is_refused(alone: ql.Node) -> None:
    group = alone.raft("main", Counter())
    with pytest.raises(ql.UsageError, match="reads by lease are off"):
        group.read(0, consistency=ql.LEASE)
    with pytest.raises(ql.UsageError, match="reads by lease are off"):
        group.read_barrier(consistency=ql.LEASE)
    with pytest.raises(ql.UsageError, match="BOUNDED takes it"):
        group.read(0, consistency=ql.BOUNDED)
    with pytest.raises(ql.UsageError, match="BOUNDED takes it"):
        group.read(0, max_lag=1.0)
    with pytest.raises(ql.UsageError, match="above 0"):
        group.read(0, consistency=ql.BOUNDED, max_lag=0)
    with pytest.raises(ql.UsageError, match="must be LINEARIZABLE, LEASE, BOUNDED or STALE"):
        group.read(0, consistency="eventual")  # type: ignore[arg-type]
    with pytest.raises(ql.UsageError, match="a barrier is LINEARIZABLE or LEASE"):
        group.read_barrier(consistency="stale")  # type: ignore[arg-type]
    with pytest.raises(ql.UsageError, match="clock_drift"):
        ql.RaftOptions(clock_drift=0.6)


def test_a_single_voter_reads_by_lease(alone: ql.Node) -> None:
    group = alone.raft("own", Counter(), voters=["n1"], options=ql.RaftOptions(clock_drift=0.01))
    group.propose(b"x", timeout=LONG)
    assert group.read(0, consistency=ql.LEASE, timeout=LONG) == 1
    assert group.read(0, consistency=ql.BOUNDED, max_lag=LONG, timeout=LONG) == 1


def test_coroutines_have_the_same(cluster: ql.LocalCluster) -> None:
    groups = [ql.aio.Group(group) for group in cluster.groups]

    async def check() -> None:
        applied = await groups[0].propose(b"x", timeout=LONG)
        for group in groups:
            assert await group.read(0, ql.LEASE, LONG) >= 1
            assert len(await group.read_many([0, 1], ql.LEASE, LONG)) == 2
            assert await group.read_barrier(LONG, consistency=ql.LEASE) >= applied.index
            while (await group.status(LONG)).lag is None:
                await group.read(0, timeout=LONG)
            assert await group.read(0, ql.BOUNDED, LONG, max_lag=LONG) >= 1
        with pytest.raises(ql.TooStale):
            await next(g for g in groups if not g.blocking.is_leader).read(0, ql.BOUNDED, max_lag=1e-9)
        with pytest.raises(ql.UsageError):
            await groups[0].read(0, max_lag=1.0)

    asyncio.run(check())
