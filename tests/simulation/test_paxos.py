"""Multi-Paxos in the simulation: the same faults, the ledger of slots and ballots, linearizable histories.

How many seeds: QUORUMLOG_PAXOS_SEEDS (300).  One seed again: quorumlog sim --protocol paxos --seed n.
"""

from __future__ import annotations

import os

import pytest

from quorumlog._core.bridge.testing_simulation import run
from quorumlog.testing.campaign import Campaign, faults_wanted, marks_wanted

SEEDS = int(os.environ.get("QUORUMLOG_PAXOS_SEEDS", "300"))
# Each once failed: 1091, 1763 and 1846 by a torn open record, and by a footer that listed what was torn.
# 1763 again, by a client's retry that two leaders proposed in the same slot: equal bytes at different times.
PERMANENT = [("swarm", 1091), ("swarm", 1763), ("swarm", 1846)]
TIMEOUTS_TO_PROGRESS = 20


def campaign(first: int, count: int, profile: str = "swarm") -> Campaign:
    made = Campaign(first, count, protocol="paxos", profile=profile)
    assert sum(1 for _ in made.results()) == count
    assert not made.failures, "\n".join(
        f"seed {v.seed}: {v.failure}   again: quorumlog sim --protocol paxos --profile {profile} --seed {v.seed}"
        for v in made.failures
    )
    return made


def test_the_same_seed_is_the_same_run() -> None:
    for seed in (2, 7, 20):
        first = run(seed, protocol="paxos", safety_ms=10_000)
        assert first == run(seed, protocol="paxos", safety_ms=10_000)
        assert first["hash"] != run(seed, safety_ms=10_000)["hash"]


@pytest.mark.parametrize("nodes", [1, 3, 5])
def test_without_faults_one_phase_1_is_enough(nodes: int) -> None:
    result = run(99, protocol="paxos", nodes=nodes, profile="quiet", safety_ms=20_000)
    assert result["failure"] == ""
    assert result["acked"] > 100
    assert result["leader_changes"] == 1


def test_a_trace_names_the_messages() -> None:
    told = run(5, protocol="paxos", safety_ms=5000, trace=True)
    sent = {line["message"] for line in told["trace"] if line["event"] == "sent"}
    assert {"canvass", "prepare", "promise", "accept", "accepted", "heartbeat"} <= sent
    assert {"entries", "hard_state", "chosen"} <= {line["kind"] for line in told["trace"] if line["event"] == "wrote"}


@pytest.mark.parametrize(("profile", "seed"), PERMANENT)
def test_a_seed_that_once_failed(profile: str, seed: int) -> None:
    campaign(seed, 1, profile)


@pytest.mark.slow
def test_hundreds_of_seeds() -> None:
    """Every invariant held, every fault drawn, every path of a Paxos group taken."""
    made = campaign(1, SEEDS)
    assert made.timeouts_to_progress <= TIMEOUTS_TO_PROGRESS
    if SEEDS >= 1000:
        assert [name for name in faults_wanted("paxos") if not made.faults[name]] == []
        assert [name for name in marks_wanted("paxos") if not made.marks[name]] == []


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["hot", "reference", "beyond"])
def test_the_other_profiles(profile: str) -> None:
    campaign(1, SEEDS // 10, profile)
