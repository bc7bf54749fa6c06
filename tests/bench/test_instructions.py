"""Counting instructions: what callgrind wrote is read, kept by compiler and flags, and growth is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from quorumlog.bench import instructions
from quorumlog.bench.hot_paths import HOT_PATHS
from quorumlog.bench.instruction_paths import TURNS
from quorumlog.bench.instructions import Count, InstructionsUnavailable, find_kept, grown, keep, load_kept, read_counts
from quorumlog.cli import bench_instructions as command
from quorumlog.cli import main

KEY = {"compiler": "gcc 12.2.0", "flags": "-O3", "python": "3.11", "libc": "glibc 2.36"}
KEPT = {"seal": Count(1000.0, 4), "old": Count(5.0, 1)}


def test_dumps_belong_to_the_lines_in_order(tmp_path: Path) -> None:
    (tmp_path / "out.1").write_text(f"events: Ir\ntotals: {TURNS * 10}\n")
    (tmp_path / "out.2").write_text(f"events: Ir\ntotals: {TURNS * 7 + TURNS // 2}\n")
    assert read_counts("64\tone\n1\tthe other\n", tmp_path) == {"one": Count(10.0, 64), "the other": Count(7.5, 1)}


def test_nothing_counted_is_no_figure(tmp_path: Path) -> None:
    (tmp_path / "out.1").write_text("events: Ir\ntotals: 0\n")
    with pytest.raises(InstructionsUnavailable, match="ql_measured"):
        read_counts("64\tone\n", tmp_path)


def test_one_set_is_kept_for_each_key(tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    assert load_kept(file) == []
    other = {**KEY, "flags": "-O2"}
    keep(file, KEY, {"seal": Count(1.0, 1)})
    keep(file, other, {"seal": Count(2.0, 1)})
    keep(file, KEY, {"seal": Count(3.0, 1)})
    kept = load_kept(file)
    assert len(kept) == 2
    assert find_kept(kept, KEY) == {"seal": Count(3.0, 1)}
    assert find_kept(kept, other) == {"seal": Count(2.0, 1)}
    assert find_kept(kept, {**KEY, "compiler": "clang 17"}) is None


def test_growth_is_more_than_a_tenth() -> None:
    assert grown(KEPT, {"seal": Count(1099.0, 4), "new": Count(9.0, 1)}) == []
    assert grown(KEPT, {"seal": Count(1101.0, 4)}) == ["seal"]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The command with counts of the test's choosing: {"now", "file"}."""
    chosen: dict[str, Any] = {"now": {"seal": Count(1000.0, 4)}, "file": tmp_path / "kept.json"}
    monkeypatch.setattr(command, "count_instructions", lambda: chosen["now"])
    monkeypatch.setattr(command, "key", lambda: chosen.get("key", KEY))
    return chosen


def run(counted: dict[str, Any], *options: str) -> Any:
    return CliRunner().invoke(main, ["bench", "instructions", "--kept", str(counted["file"]), *options])


def test_the_check_fails_only_for_growth_under_the_same_key(counted: dict[str, Any]) -> None:
    first = run(counted, "--check")
    assert first.exit_code == 0
    assert "nothing is kept for gcc 12.2.0" in first.output
    keep(counted["file"], KEY, KEPT)
    assert run(counted, "--check").exit_code == 0
    assert "gone" in run(counted).output
    counted["now"] = {"seal": Count(1200.0, 4)}
    grew = run(counted, "--check")
    assert grew.exit_code == 1
    assert "GREW by more than 10%: seal." in grew.output
    assert run(counted).exit_code == 0
    counted["key"] = {**KEY, "flags": "-O0"}
    assert run(counted, "--check").exit_code == 0


def test_an_update_keeps_what_was_counted(counted: dict[str, Any]) -> None:
    assert run(counted, "--update").exit_code == 0
    assert find_kept(load_kept(counted["file"]), KEY) == counted["now"]
    told = run(counted, "--json")
    assert json.loads(told.stdout)["paths"] == {"seal": {"instructions": 1000.0, "entries": 4}}


def test_without_valgrind_a_check_is_skipped_aloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    kept = str(tmp_path / "kept.json")
    checked = CliRunner().invoke(main, ["bench", "instructions", "--kept", kept, "--check"])
    assert checked.exit_code == 0
    assert "instructions: skipped, valgrind is not installed" in checked.output
    assert CliRunner().invoke(main, ["bench", "instructions"]).exit_code == 1
    assert CliRunner().invoke(main, ["bench", "instructions", "--check"]).exit_code == 2


def test_the_key_names_compiler_flags_and_processor() -> None:
    key = instructions.key()
    assert key["compiler"].split()[0] in ("gcc", "clang")
    assert key["flags"]
    assert key["flags"] != "unknown"
    assert key["target"][0] in ("x86_64", "aarch64")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_two_runs_count_the_same() -> None:
    """Exactly, where addresses can be fixed; elsewhere alignment decides over a few instructions."""
    first, second = instructions.count_instructions(), instructions.count_instructions()
    assert list(first) == list(HOT_PATHS)
    for name, count in first.items():
        assert second[name].instructions == pytest.approx(count.instructions, rel=0.02), name
        assert second[name].entries == count.entries
