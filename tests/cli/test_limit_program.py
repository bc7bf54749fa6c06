"""The limit program: it runs, checks itself, ends, leaves nothing behind, and refuses what it can't do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from quorumlog.bench import limit
from quorumlog.bench.limit import LimitUnavailable

KEYS = {"entries_per_second", "latency_us", "syncs_per_second", "bytes_per_second", "verified"}


@pytest.mark.parametrize("mode", ["batch", "single"])
@pytest.mark.parametrize("variant", limit.VARIANTS)
def test_each_variant_runs_and_finds_every_batch_on_every_disk(
    variant: limit.Variant, mode: str, tmp_path: Path
) -> None:
    try:
        result = limit.run_variant(
            variant, mode=mode, seconds=0.2, payload=100, batch=100, file_mib=64, directory=tmp_path
        )
    except LimitUnavailable as why:
        if variant != "uring" or "io_uring_setup" not in str(why):
            raise
        pytest.skip(str(why))
    assert set(result) >= KEYS
    assert result["verified"] is True
    assert result["entries"] > 0
    assert result["batch_entries"] == (1 if mode == "single" else 100)
    assert list(tmp_path.iterdir()) == []


def test_threads_and_other_numbers_of_nodes(tmp_path: Path) -> None:
    for nodes in (1, 5):
        result = limit.run_variant(
            "thread", seconds=0.2, nodes=nodes, threads=True, file_mib=64, directory=tmp_path
        )
        assert result["shape"] == "threads"
        assert result["nodes"] == nodes
        assert result["verified"] is True


def test_the_best_variant_is_reported(tmp_path: Path) -> None:
    said: list[str] = []
    result = limit.run_limit(
        said=lambda one: said.append(one["variant"]),
        variants=("thread", "direct"),
        seconds=0.2,
        file_mib=64,
        directory=tmp_path,
    )
    assert said == ["thread", "direct"]
    best = max(result["variants"], key=lambda one: one["entries_per_second"])
    assert result["variant"] == best["variant"]


def test_a_full_file_ends_the_run_without_wrapping(tmp_path: Path) -> None:
    """An hour is asked for, but the file takes 256 MiB."""
    ran = subprocess.run(
        [
            str(limit.compiled()),
            *("--variant", "thread", "--payload", "1024", "--batch", "1024", "--seconds", "600"),
            *("--file-mib", "256", "--directory", str(tmp_path)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    # On a fast machine the file may be full before the warm-up ends: then that is what it says.
    if ran.returncode == 2:
        assert "nothing was measured" in ran.stderr
    else:
        result = json.loads(ran.stdout)
        assert result["verified"] is True
        assert result["seconds"] < 600
        assert result["entries"] * 1024 < 256 << 20
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--variant", "mmap"], "--variant is"),
        (["--nodes", "0"], "--nodes must be a number from 1 to 9"),
        (["--seconds", "5x"], "--seconds must be a number"),
        (["--payload", "1048576", "--batch", "4096"], "at most 16 MiB"),
        (["--payload", "1024", "--file-mib", "1"], "--file-mib is too small"),
        ([], "--directory DIR is required"),
    ],
)
def test_wrong_options_are_refused_in_words(arguments: list[str], said: str, tmp_path: Path) -> None:
    if arguments:
        arguments = [*arguments, "--directory", str(tmp_path)]
    ran = subprocess.run([str(limit.compiled()), *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert said in ran.stderr


def test_a_directory_that_is_not_there_is_an_error_not_a_result(tmp_path: Path) -> None:
    ran = subprocess.run(
        [str(limit.compiled()), "--directory", str(tmp_path / "missing")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "missing" in ran.stderr
    assert ran.stdout == ""


def test_without_a_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(LimitUnavailable, match="no C compiler: looked for cc, gcc and clang"):
        limit.compiled()


def test_it_is_compiled_once_and_anew_when_the_flags_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = limit.compiled()
    made = first.stat().st_mtime_ns
    assert limit.compiled() == first
    assert first.stat().st_mtime_ns == made
    monkeypatch.setattr(limit, "FLAGS", (*limit.FLAGS, "-g"))
    assert limit.compiled() != first


def test_a_cache_others_can_write_to_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "quorumlog"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert limit.cache_directory() != folder
    folder.chmod(0o700)
    assert limit.cache_directory() == folder
