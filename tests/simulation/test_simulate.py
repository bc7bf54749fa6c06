"""Users' state machines in the simulation: a good one holds, and each kind of bad one is found and named."""

from __future__ import annotations

import random as global_random
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

import quorumlog as ql
from quorumlog.testing import Simulation, SimulationFailed, simulate

ROOT = Path(__file__).resolve().parents[2]


class Sum(ql.StateMachine):
    """Adds numbers up, and answers each with the sum so far."""

    def __init__(self) -> None:
        self.total = 0
        self.applied = 0

    def apply_one(self, index: int, payload: bytes) -> bytes:
        self.total += int(payload)
        self.applied += 1
        return b"%d" % self.total


def numbers(random: Random) -> list[bytes]:
    return [b"%d" % random.randrange(100) for _ in range(1 + random.randrange(3))]


@simulate(seeds=10)
def test_a_deterministic_machine_holds(simulation: Simulation) -> None:
    result = simulation.run(Sum, numbers, nodes=3, seconds=5)
    assert result.commands > 10
    totals = {(m.applied, m.total) for m in result.machines.values()}
    by_applied = dict(totals)
    assert len(by_applied) == len(totals), "machines that applied as much hold the same"


@simulate(seeds=3)
def test_fixtures_come_behind_the_simulation(simulation: Simulation, tmp_path: Any) -> None:
    assert tmp_path.is_dir()
    assert simulation.seed < 3


class Forgetful(Sum):
    """Answers with something that is not in the log."""

    def apply_one(self, index: int, payload: bytes) -> bytes:
        return b"%d" % global_random.getrandbits(60)


class Choosy(Sum):
    def apply_one(self, index: int, payload: bytes) -> bytes:
        if int(payload) == 7:
            raise RuntimeError("no sevens")
        return super().apply_one(index, payload)


def failure_of(machine: type[Sum], **options: Any) -> SimulationFailed:
    for seed in range(20):
        try:
            Simulation(seed, "\nagain: X").run(machine, numbers, seconds=5, **options)
        except SimulationFailed as failed:
            return failed
    raise AssertionError(f"nothing was found wrong with {machine.__name__}")


def test_a_machine_that_depends_on_chance_is_found() -> None:
    assert "state machines differ" in str(failure_of(Forgetful))


def test_a_machine_that_raises_is_named_with_what_it_raised() -> None:
    failed = failure_of(Choosy)
    assert "the state machine raised" in str(failed)
    assert "no sevens" in str(failed)
    assert "again: X" in str(failed)
    assert isinstance(failed.__cause__, RuntimeError)


def test_a_check_of_the_users_is_asked_after_every_batch() -> None:
    def small(machine: Sum) -> None:
        assert machine.total < 500, "the sum grows"

    assert "the sum grows" in str(failure_of(Sum, check=small))


def test_commands_that_make_no_sense_are_told() -> None:
    with pytest.raises(SimulationFailed, match="at least one"):
        Simulation(1).run(Sum, lambda random: [], seconds=2)


def test_the_same_seed_is_the_same_run() -> None:
    first, second = (Simulation(5).run(Sum, numbers, seconds=3) for _ in range(2))
    assert first.event_hash == second.event_hash
    assert {n: m.total for n, m in first.machines.items()} == {n: m.total for n, m in second.machines.items()}


def test_one_seed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    @simulate(seeds=5, first=10)
    def watch(simulation: Simulation) -> None:
        seen.append(simulation.seed)

    watch()
    monkeypatch.setenv("QUORUMLOG_SEED", "77")
    watch()
    assert seen == [10, 11, 12, 13, 14, 77]


def test_the_how_to_runs_as_printed(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "simulate-a-state-machine.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    (tmp_path / "test_ledger.py").write_text(code.replace("seeds=200", "seeds=5"))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stdout


def test_wrong_use_is_told() -> None:
    with pytest.raises(ql.UsageError, match="at least one seed"):
        simulate(seeds=0)
    with pytest.raises(ql.UsageError, match="first argument"):

        @simulate()
        def takes_nothing() -> None:
            pass

    with pytest.raises(ql.UsageError, match="nodes"):
        Simulation(1).run(Sum, numbers, nodes=9)
