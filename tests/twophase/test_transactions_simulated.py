"""Two-phase commit in the virtual world: real log code, crashes, power cuts, a lossy network.

How many seeds: QUORUMLOG_TRANSACTION_SEEDS (600).  One again: quorumlog sim --protocol twophase --seed N
"""

from __future__ import annotations

import os

import pytest
from click.testing import CliRunner

from quorumlog._core.bridge.testing_transactions import FAULT_NAMES, MARK_NAMES, run
from quorumlog.cli import main
from quorumlog.testing.campaign import Campaign

SEEDS = int(os.environ.get("QUORUMLOG_TRANSACTION_SEEDS", "600"))
DRAWN_BY_NETWORK = {"loss", "duplication", "delay", "reordering", "late_write"}
# That failed once, each for a reason of its own: an adopted transaction's low, NO of one phase, a forgotten
# outcome, an acknowledgement before its flush.
PERMANENT = (15, 94, 388, 1833, 3490, 5978)


def test_many_seeds_hold_and_take_the_rare_paths() -> None:
    campaign = Campaign(0, SEEDS, protocol="twophase")
    assert sum(1 for _ in campaign.results()) == SEEDS
    assert not campaign.failures, [(v.seed, v.failure) for v in campaign.failures]
    if SEEDS >= 500:
        assert {name for name in MARK_NAMES if not campaign.marks[name]} == set()
        assert {name for name in FAULT_NAMES if not campaign.faults[name]} <= DRAWN_BY_NETWORK


@pytest.mark.parametrize("seed", PERMANENT)
def test_seeds_that_failed_once(seed: int) -> None:
    assert run(seed)["failure"] == ""


def test_the_same_seed_is_the_same_run() -> None:
    assert run(3) == run(3)
    assert run(3)["hash"] != run(4)["hash"]


@pytest.mark.parametrize("coordinators", [1, 3])
def test_without_faults_nobody_is_in_doubt(coordinators: int) -> None:
    told = run(11, profile="quiet", coordinators=coordinators)
    assert (told["failure"], told["in_doubt"], told["resolutions"]) == ("", 0, 0)
    assert told["acked"] > 50


def test_the_command() -> None:
    done = CliRunner().invoke(main, ["sim", "--protocol", "twophase", "--seed", "5", "--json"])
    assert done.exit_code == 0, done.output
    refused = CliRunner().invoke(main, ["sim", "--protocol", "twophase", "--seed", "5", "--nodes", "3"])
    assert refused.exit_code == 2
