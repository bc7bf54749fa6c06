"""The table of mutants is whole, and no other build has any of them.  What sees each: `make mutants`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from quorumlog._core.bridge.testing_simulation import has_mutants

sys.path.insert(0, str(Path(__file__).parent))
from mutants import MUTANTS, ROOT, Death, in_rotation

CORE = ROOT / "core" / "quorumlog" / "_core"
CALL = re.compile(r"\bmutant\(b\"([a-z-]+)\"\)")


def test_every_mutant_of_the_core_is_in_the_table() -> None:
    """And the other way round; so many of them, and so many in storage."""
    built = {name for path in CORE.rglob("*.p[yx][xd]") for name in CALL.findall(path.read_text())}
    assert built == {mutant.name for mutant in MUTANTS}
    assert len(MUTANTS) >= 30
    assert sum(mutant.area == "storage" for mutant in MUTANTS) >= 8


def test_the_tests_named_for_mutants_are_there() -> None:
    named = {test for mutant in MUTANTS for test in mutant.tests.split()}
    assert [test for test in named if not (ROOT / test).exists()] == []


def test_the_rotation_meets_all() -> None:
    met = {mutant.name for day in range(len(MUTANTS)) for mutant in in_rotation(5, day)}
    assert met == {mutant.name for mutant in MUTANTS}
    assert all(len(in_rotation(5, day)) == 5 for day in range(30))


def test_a_crash_is_no_proper_death() -> None:
    assert Death(MUTANTS[0], "seed 1 of hot: two leaders in one term", 1.0).is_proper
    assert not Death(MUTANTS[0], "seed 1 of hot: aborted: Segmentation fault", 1.0).is_proper
    assert not Death(MUTANTS[0], "", 1.0).is_proper


@pytest.mark.skipif(has_mutants(), reason="the build profile `mutants`")
def test_other_builds_have_no_mutants() -> None:
    """The names would stand in the compiled modules if the branches did."""
    import quorumlog._core.protocols as protocols
    import quorumlog._core.storage as storage

    for package in (protocols, storage):
        for module in Path(next(iter(package.__path__))).glob("*.so"):
            content = module.read_bytes()
            assert not [mutant.name for mutant in MUTANTS if mutant.name.encode() in content], module.name
