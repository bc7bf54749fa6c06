"""Clients' sessions: what is retried is applied once, from any node, and gets its first result."""

from __future__ import annotations

import asyncio
import secrets
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quorumlog as ql
from quorumlog.results import decode_results, encode_results

SMALL = ql.NodeOptions(segment_bytes=8 << 20, spare_segments=1)
LONG = 60.0                            # a test never fails for want of time


class Counter(ql.StateMachine):
    """Each command adds one; its result is the count and the command."""

    def __init__(self) -> None:
        self.count = 0
        self.gate: threading.Event | None = None

    def apply_one(self, index: int, payload: bytes) -> Any:
        if self.gate is not None and payload == b"wait":
            self.gate.wait(LONG)
        self.count += 1
        return [self.count, payload]

    def query(self, question: Any) -> int:
        return self.count


@pytest.fixture(scope="module")
def cluster() -> Iterator[ql.LocalCluster]:
    with ql.LocalCluster(3, Counter, options=SMALL) as made:
        made.leader(timeout=LONG)
        yield made


def assert_applied(outcome: ql.Outcome, done: ql.Applied) -> None:
    """An outcome has the results of all commands of a batch, of which there is one here."""
    assert outcome.state == "applied"
    assert outcome.applied is not None
    assert (outcome.applied.index, outcome.applied.result) == (done.index, [done.result])


def test_a_repetition_gets_the_first_result_from_every_node(cluster: ql.LocalCluster) -> None:
    first, second, third = cluster.groups
    session = first.session(timeout=LONG)
    done = session.propose(b"a", LONG, sequence=2)     # not over as long as the first is not
    before = first.read(0, timeout=LONG)
    for group in (second, third, first):
        resumed = group.session(session.id, timeout=LONG)
        assert (resumed.id, resumed.next_sequence) == (session.id, 3)
        again = resumed.propose(b"a", LONG, sequence=2)
        assert (again, again.result) == (done, done.result)
    assert third.read(0, timeout=LONG) == before


def test_a_lost_answer_is_asked_for_again(cluster: ql.LocalCluster) -> None:
    """The proposal is under way when its time is up; the same sequence finds what became of it."""
    group = cluster.groups[0]
    machine = cluster.machines["n1"]
    assert isinstance(machine, Counter)
    session = group.session(timeout=LONG)
    machine.gate = threading.Event()
    with pytest.raises(ql.ProposalTimeout) as caught:
        session.propose(b"wait", 0.05)
    assert caught.value.proposal_id == (session.id, 1)
    other = session.through(cluster.groups[1])
    done = other.propose(b"wait", LONG, sequence=1)    # another node's machine is not held up
    machine.gate.set()
    machine.gate = None
    group.wait_applied(done.index, LONG)
    count = group.read(0, timeout=LONG)
    assert done.result == [count, b"wait"]
    assert cluster.groups[2].read(0, timeout=LONG) == count


def test_batches_and_their_results(cluster: ql.LocalCluster) -> None:
    session = cluster.groups[0].session(timeout=LONG)
    done = session.propose_many([b"x", b"y"], LONG)
    assert done.count == 2
    assert [one[1] for one in done.result] == [b"x", b"y"]
    again = cluster.groups[1].session(session.id, timeout=LONG).propose_many([b"x", b"y"], LONG, sequence=1)
    assert again == done


def test_a_sequence_is_for_one_payload(cluster: ql.LocalCluster) -> None:
    session = cluster.groups[0].session(timeout=LONG)
    session.propose(b"a", LONG)
    later = cluster.groups[1].session(session.id, timeout=LONG)
    with pytest.raises(ql.UsageError, match="used for another proposal"):
        later.propose(b"b", LONG, sequence=1)


def test_what_is_settled_as_not_applied_never_is(cluster: ql.LocalCluster) -> None:
    group = cluster.groups[0]
    session = group.session(timeout=LONG)
    assert session.outcome(1, LONG) == ql.Outcome("not applied")
    later = cluster.groups[1].session(session.id, timeout=LONG)
    with pytest.raises(ql.Fenced) as caught:
        later.propose(b"late", LONG, sequence=1)
    assert caught.value.definite
    done = later.propose(b"next", LONG)
    assert_applied(cluster.groups[2].outcome((session.id, 2), LONG), done)


def test_what_an_earlier_process_has_under_way_is_fenced(cluster: ql.LocalCluster) -> None:
    earlier = cluster.groups[0].session(timeout=LONG)
    earlier.propose(b"a", LONG)
    later = cluster.groups[1].session(earlier.id, timeout=LONG)
    with pytest.raises(ql.Fenced):
        earlier.propose(b"b", LONG)
    assert later.next_sequence == 2
    done = later.propose(b"c", LONG)
    assert_applied(cluster.groups[2].outcome((later.id, 2), LONG), done)


def test_a_closed_session_is_forgotten(cluster: ql.LocalCluster) -> None:
    group = cluster.groups[0]
    session = group.session(timeout=LONG)
    session.propose(b"a", LONG)
    session.close(LONG)
    session.close(LONG)
    with pytest.raises(ql.SessionExpired) as caught:
        session.propose(b"b", LONG)
    assert not caught.value.definite
    with pytest.raises(ql.SessionExpired):
        group.session(session.id, timeout=LONG)
    assert group.outcome((session.id, 1), LONG) == ql.Outcome("unknown")


def test_a_session_unused_for_its_lifetime_is_forgotten(cluster: ql.LocalCluster) -> None:
    """In the log's time: another session's proposals move it."""
    group = cluster.groups[0]
    short = group.session(lifetime=1e-6, timeout=LONG)
    other = group.session(timeout=LONG)
    other.propose(b"time goes by", LONG)
    with pytest.raises(ql.SessionExpired):
        short.propose(b"late", LONG)


def test_too_many_without_an_outcome_are_refused(cluster: ql.LocalCluster) -> None:
    session = cluster.groups[0].session(timeout=LONG)
    with pytest.raises(ql.Overloaded, match="lies more than 256 behind 1"):
        session.propose(b"a", LONG, sequence=257)
    with pytest.raises(ql.UsageError, match="is over"):
        session.propose(b"a", LONG, sequence=0)


def test_the_outcome_of_a_plain_proposal(cluster: ql.LocalCluster) -> None:
    group = cluster.groups[0]
    submission = group.submit(b"plain")
    submission.result(LONG)
    session, sequence = submission.proposal_id
    assert cluster.groups[1].outcome((session, sequence), LONG) == ql.Outcome("applied")
    assert cluster.groups[1].outcome((session, sequence + 1000), LONG) == ql.Outcome("unknown")
    with pytest.raises(ql.UsageError, match="names no proposal"):
        group.outcome((0, 1))


def test_it_survives_a_restart_of_all_nodes_and_a_change_of_leader() -> None:
    with ql.LocalCluster(3, Counter, options=SMALL) as cluster:
        leader = cluster.leader(timeout=LONG)
        session = leader.session(timeout=LONG)
        done = session.propose(b"a", LONG, sequence=2)
        cluster.stop(leader.node_name)
        group = cluster.leader(timeout=LONG)
        assert group.session(session.id, timeout=LONG).propose(b"a", LONG, sequence=2) == done
        cluster.start(leader.node_name)
        for name in cluster.names:
            cluster.stop(name)
        for name in cluster.names:
            cluster.start(name)
        again = cluster.leader(timeout=LONG).session(session.id, timeout=LONG).propose(b"a", LONG, sequence=2)
        assert again == done
        assert cluster.leader(timeout=LONG).read(0, timeout=LONG) == 1


def test_a_group_without_a_state_machine_answers_with_the_index(tmp_path: Path) -> None:
    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=secrets.token_bytes(32))
    with ql.Node.open(tmp_path / "n1", options=SMALL) as node:
        group = node.raft("log")
        session = group.session(timeout=LONG)
        done = session.propose(b"a", LONG, sequence=2)
        assert group.session(session.id, timeout=LONG).propose(b"a", LONG, sequence=2) == done
        assert session.outcome(2, LONG) == ql.Outcome("applied", done)


def test_a_result_that_cannot_be_kept_stops_the_replica(tmp_path: Path) -> None:
    class Bad(Counter):
        def apply_one(self, index: int, payload: bytes) -> Any:
            return object()

    ql.Node.create(tmp_path / "n1", "n1", cluster=uuid.uuid4(), token=secrets.token_bytes(32))
    with ql.Node.open(tmp_path / "n1", options=SMALL) as node:
        group = node.raft("log", Bad())
        assert group.propose(b"plain", LONG).result is not None
        session = group.session(timeout=LONG)
        with pytest.raises(ql.Unknown):
            session.propose(b"a", LONG)
        with pytest.raises(ql.ReplicaStopped, match="its result is kept"):
            group.read(0, timeout=LONG)


def test_coroutines_have_sessions_too(cluster: ql.LocalCluster) -> None:
    first, second = (ql.aio.Group(group) for group in cluster.groups[:2])

    async def check() -> None:
        session = await first.session(timeout=LONG)
        done = await session.propose(b"a", LONG, sequence=2)
        resumed = await second.session(session.id, timeout=LONG)
        assert await resumed.propose(b"a", LONG, sequence=2) == done
        assert_applied(await second.outcome((session.id, 2), LONG), done)
        assert (await resumed.outcome(9, LONG)).state == "not applied"
        assert (await resumed.propose_many([b"x", b"y"], LONG)).count == 2
        await resumed.close(LONG)
        with pytest.raises(ql.SessionExpired):
            await resumed.propose(b"late", LONG)

    asyncio.run(check())


@pytest.mark.parametrize(
    "value",
    [None, [None], [True, False, 1, -(1 << 80), 0.5, "ä", b"\0", [1, (2, "x")]], (), np.int64(7), [np.float32(0.5)]],
)
def test_results_come_back_as_they_were(value: Any) -> None:
    back = decode_results(encode_results(value))
    assert back == value
    assert type(back) is type(value)


def test_arrays_come_back_as_they_were() -> None:
    for array in (np.arange(6).reshape(2, 3), np.zeros(0, "<u2"), np.array(["a", "bc"]), np.array([1.5])):
        back = decode_results(encode_results(array))
        assert back.dtype == array.dtype
        assert (back == array).all()
        assert back.shape == array.shape


@pytest.mark.parametrize("data", [b"x", b"l\xff\xff\xff\xff", b"b\x05\x00\x00\x00a", b"nn", b"a\x02\x00\x00\x00|O"])
def test_other_bytes_are_no_results(data: bytes) -> None:
    with pytest.raises(ql.UsageError):
        decode_results(data)


@pytest.mark.parametrize("value", [object(), {"a": 1}, np.array([object()]), [[[[[[[[[[1]]]]]]]]]]])
def test_what_cannot_be_kept_is_refused(value: Any) -> None:
    with pytest.raises(ql.UsageError, match="client's session"):
        encode_results(value)
