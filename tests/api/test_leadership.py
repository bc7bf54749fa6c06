"""Moving leadership: asked for on any node, by priority, when a node is closed; under load."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from conftest import FAST, SMALL, Recorder

import quorumlog as ql

PATIENT = 60.0


def others(cluster: ql.LocalCluster, leader: str) -> list[str]:
    return [name for name in cluster.names if name != leader]


def test_it_goes_where_it_is_asked_to(cluster: ql.LocalCluster) -> None:
    leader = cluster.leader(timeout=PATIENT).node_name
    target = others(cluster, leader)[0]
    assert cluster.group(leader).transfer(target, PATIENT) == target
    assert cluster.group(target).propose(b"on", PATIENT).result == b"no"


def test_any_node_may_be_asked(cluster: ql.LocalCluster) -> None:
    leader = cluster.leader(timeout=PATIENT).node_name
    asked, target = others(cluster, leader)
    assert cluster.group(asked).transfer(target, PATIENT) == target
    assert cluster.group(target).transfer(asked, PATIENT) == asked


def test_with_nobody_named_somebody_else_leads(cluster: ql.LocalCluster) -> None:
    leader = cluster.leader(timeout=PATIENT).node_name
    assert cluster.group(leader).transfer(timeout=PATIENT) in others(cluster, leader)


def test_to_whom_leads_already_is_done_at_once(cluster: ql.LocalCluster) -> None:
    leader = cluster.leader(timeout=PATIENT).node_name
    assert cluster.group(leader).transfer(leader, PATIENT) == leader


def test_it_is_awaitable(cluster: ql.LocalCluster) -> None:
    async def move() -> str:
        group = ql.aio.Group(cluster.leader(timeout=PATIENT))
        return await group.transfer(timeout=PATIENT)

    assert asyncio.run(move()) in cluster.names


def test_nobody_unknown_may_lead(cluster: ql.LocalCluster) -> None:
    with pytest.raises(ql.UsageError, match="no voter"):
        cluster.leader(timeout=PATIENT).transfer("nobody", PATIENT)


def test_a_single_node_says_that_nobody_can_take_over() -> None:
    with ql.LocalCluster(1, Recorder, options=SMALL, raft=FAST) as alone:
        group = alone.leader(timeout=PATIENT)
        with pytest.raises(ql.TransferFailed) as failed:
            group.transfer(timeout=0.1)
        assert failed.value.retryable
        assert not failed.value.definite
        assert group.status().transfers == 0


def test_no_proposal_is_lost_or_doubled_while_leadership_wanders() -> None:
    with ql.LocalCluster(3, Recorder, options=SMALL, raft=FAST) as cluster:
        group = cluster.leader(timeout=PATIENT)
        done: list[int] = []
        enough = threading.Event()

        def load() -> None:
            while not enough.is_set():
                number = len(done)
                group.propose(b"%d" % number, None)
                done.append(number)

        thread = threading.Thread(target=load)
        thread.start()
        try:
            for _ in range(6):
                group.transfer(timeout=PATIENT)
                reached = len(done) + 3
                deadline = time.monotonic() + PATIENT
                while len(done) < reached and time.monotonic() < deadline:
                    threading.Event().wait(0.001)
                assert len(done) >= reached
        finally:
            enough.set()
            thread.join()
        index = group.propose(b"end", PATIENT).index
        for one in cluster.groups:
            one.wait_applied(index, PATIENT)
        expected = [b"%d" % number for number in done] + [b"end"]
        for machine in cluster.machines.values():
            assert isinstance(machine, Recorder)
            assert machine.payloads == expected


def test_the_highest_priority_leads_in_the_end() -> None:
    with ql.LocalCluster(3, Recorder, options=SMALL, raft=FAST) as cluster:
        leader = cluster.leader(timeout=PATIENT).node_name
        preferred = others(cluster, leader)[1]
        cluster.stop(preferred)
        cluster._raft = ql.RaftOptions(election_timeout=0.15, heartbeat=0.03, priority=5)
        cluster.start(preferred)
        deadline = time.monotonic() + PATIENT
        while cluster.group(preferred).status().role != "leader" and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        assert cluster.leader(timeout=PATIENT).node_name == preferred
        assert cluster.group(preferred).status().priority == 5


def test_a_leader_that_is_closed_hands_over_first() -> None:
    with ql.LocalCluster(3, Recorder, options=SMALL, raft=FAST) as cluster:
        leader = cluster.leader(timeout=PATIENT)
        leader.propose(b"a", PATIENT)
        term = leader.status().term
        cluster.stop(leader.node_name, hand_over=PATIENT)
        group = cluster.leader(timeout=PATIENT)
        assert group.status().term > term
        assert group.propose(b"b", PATIENT).result == b"b"


def test_handing_over_ends_where_nobody_is_there() -> None:
    with ql.LocalCluster(1, Recorder, options=SMALL, raft=FAST) as alone:
        alone.leader(timeout=PATIENT)
        alone.stop("n1", hand_over=PATIENT)
        assert alone.nodes == []
