"""Each wrong behaviour of docs/testing.md is seen by the simulation.

Needs the build profile `mutants`:

    QUORUMLOG_BUILD=mutants python setup.py build --build-base build/mutants \
        --build-lib build/mutants/lib
    PYTHONPATH=build/mutants/lib python -m pytest tests/simulation/test_mutants.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from quorumlog._core.bridge.testing_simulation import has_mutants

HERE = Path(__file__).parent
SEEDS = int(os.environ.get("QUORUMLOG_MUTANT_SEEDS", "1500"))
CHUNK = 25
MUTANTS = (
    "commit-by-counting-alone", "own-append-counts-at-once", "vote-not-saved", "speak-before-saved",
    "commit-beyond-verified", "truncate-on-match", "ack-the-last-index", "ack-before-flushed",
    "read-on-a-fresh-leader", "read-without-a-round", "vote-for-any-log", "vote-twice",
    "flushed-is-the-newest", "trust-the-page-cache", "apply-repeated",
)


def first_failure(mutant: str) -> str | None:
    """The first seed that sees it, and how."""
    for first in range(1, SEEDS + 1, CHUNK):
        run = subprocess.run(
            [sys.executable, str(HERE / "run_seeds.py"), str(first), str(CHUNK)],
            capture_output=True, text=True, check=False, env={**os.environ, "QUORUMLOG_MUTANT": mutant},
        )
        lines = [json.loads(line) for line in run.stdout.splitlines()]
        assert lines, run.stderr
        for line in lines:
            if line.get("failure"):
                return f"seed {line['seed']}: {line['failure']}"
        if "begins" in lines[-1]:
            said = [text for text in run.stderr.splitlines() if "InvariantViolation" in text]
            return f"seed {lines[-1]['begins']}: {said[-1] if said else run.stderr[-300:]}"
    return None


@pytest.mark.skipif(not has_mutants(), reason="not the build profile `mutants`")
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_simulation_sees(mutant: str) -> None:
    seen = first_failure(mutant)
    print(f"{mutant}: {seen}")
    assert seen is not None, f"{mutant} survives {SEEDS} seeds"


@pytest.mark.skipif(has_mutants(), reason="the build profile `mutants`")
def test_other_builds_have_no_mutants() -> None:
    """The names would stand in the compiled modules if the branches did."""
    import quorumlog._core.protocols as protocols
    import quorumlog._core.storage as storage

    for package in (protocols, storage):
        for module in Path(next(iter(package.__path__))).glob("*.so"):
            content = module.read_bytes()
            assert not [name for name in MUTANTS if name.encode() in content], module.name
