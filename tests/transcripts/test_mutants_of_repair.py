"""Each wrong behaviour of repair and admission is seen by their plays (docs/testing.md).

Needs the build profile `mutants`, as tests/simulation/test_mutants.py does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from quorumlog._core.bridge.testing_simulation import has_mutants

HERE = Path(__file__).parent
PLAYS = (HERE / "test_raft_repair.py", HERE / "test_raft_admission.py")
MUTANTS = {
    "acknowledge-what-is-faulty": PLAYS,
    "repair-with-anything": PLAYS,
    "campaign-while-faulty": PLAYS,
    "vote-without-the-faulty": PLAYS,
    "vote-while-listening": PLAYS,
    "acknowledge-while-listening": PLAYS,
    "barrier-at-once": PLAYS,
}


@pytest.mark.skipif(not has_mutants(), reason="not the build profile `mutants`")
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_plays_see(mutant: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *map(str, MUTANTS[mutant])],
        capture_output=True, text=True, check=False, env={**os.environ, "QUORUMLOG_MUTANT": mutant},
    )
    seen = [line for line in run.stdout.splitlines() + run.stderr.splitlines() if "Error" in line or "Violat" in line]
    print(f"{mutant}: {seen[:1]}")
    assert run.returncode != 0, f"{mutant} survives"


@pytest.mark.skipif(has_mutants(), reason="the build profile `mutants`")
def test_other_builds_have_none_of_them() -> None:
    import quorumlog._core.protocols as protocols
    import quorumlog._core.storage as storage

    for package in (protocols, storage):
        for module in Path(next(iter(package.__path__))).glob("*.so"):
            content = module.read_bytes()
            assert not [name for name in MUTANTS if name.encode() in content], module.name
