"""bench/compare.py: pairs in turn, ratios of what both revisions have, and who begins alternates."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "compare.py"


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    found = importlib.util.spec_from_file_location("bench_compare", SCRIPT)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


def test_pairs_alternate_and_only_common_figures_count(compare: ModuleType) -> None:
    base, this = Path("base"), Path("this")
    ran: list[tuple[str, str]] = []

    def run(tree: Path, names: Sequence[str]) -> dict[str, float]:
        ran.append((tree.name, names[0]))
        if tree == base:
            return {f"{names[0]}: entries/s": 100.0, "only in the base": 1.0}
        return {f"{names[0]}: entries/s": 100.0 + 10 * len(ran), "only in this": 1.0}

    compared = compare.compare(base, this, ["batch", "single"], 3, run=run)
    assert [tree for tree, _ in ran] == ["base", "this", "this", "base", "base", "this"] * 2
    assert set(compared.base) == {"batch: entries/s", "single: entries/s"}
    assert compared.ratios("batch: entries/s") == [1.2, 1.3, 1.6]


def test_the_table_says_where_pairs_disagree(compare: ModuleType) -> None:
    compared = compare.Compared()
    for base, this in ((100.0, 110.0), (100.0, 90.0), (100.0, 120.0)):
        before = {"single: p50 µs": base, "batch: entries/s": base}
        compared.add(before, {"single: p50 µs": this, "batch: entries/s": 150.0})
    lines = {line.split("|")[1].strip(): line for line in compare.table(compared).splitlines()[2:]}
    assert lines["single: p50 µs"] == "| single: p50 µs | 100.0 | 110.0 | 1.100 | 0.900 to 1.200 | ~ |"
    assert lines["batch: entries/s"] == "| batch: entries/s | 100.0 | 150.0 | 1.500 | 1.500 to 1.500 |  |"


def test_an_unknown_shape_is_refused(
    compare: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare.py", "HEAD", "bath"])
    with pytest.raises(SystemExit) as ended:
        compare.main()
    assert ended.value.code == 2
    assert "unknown: bath" in capsys.readouterr().err


def test_a_revision_that_is_not_there_is_said(
    compare: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare.py", "no-such-revision", "batch"])
    assert compare.main() == 1
    assert "bench-compare: git rev-parse" in capsys.readouterr().err
