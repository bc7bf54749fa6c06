"""`quorumlog bench cluster` on real nodes: each mode and shape verifies and says what it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from quorumlog.bench.options import BadOptions, BenchOptions
from quorumlog.cli import main

KEYS = {
    *("protocol", "mode", "nodes", "payload_bytes", "batch_entries", "entries_per_second"),
    *("latency_us", "syncs_per_second", "cpu_seconds", "verified"),
}


def bench(*arguments: str) -> tuple[str, dict[str, Any]]:
    """The whole output and the object of its last line, from a process as a user would start it."""
    ran = subprocess.run(
        [sys.executable, "-m", "quorumlog", "bench", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    return ran.stdout, json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.processes
@pytest.mark.parametrize(
    ("mode", "shape", "machine"),
    [
        ("batch", "--processes", "python"),
        ("list", "--threads", "none"),
        ("submit", "--processes", "none"),
        ("single", "--processes", "none"),
        ("batch", "--threads", "none"),
        ("submit", "--threads", "python"),
        ("single", "--threads", "python"),
        ("aio", "--processes", "python"),
        ("aio", "--threads", "none"),
    ],
)
def test_each_mode_and_shape_verifies(mode: str, shape: str, machine: str, tmp_path: Path) -> None:
    output, result = bench(
        *("cluster", "--mode", mode, shape, "--machine", machine, "--seconds", "1"),
        *("--batch", "64", "--payload", "24", "--directory", str(tmp_path), "--json"),
    )
    assert output.count("\n") == 1
    assert set(result) >= KEYS
    assert result["verified"] is True, result
    assert result["mode"] == mode
    assert "--" + result["shape"] == shape
    assert result["machine"] == machine
    assert result["batch_entries"] == (64 if mode in ("batch", "list") else 1)
    assert set(result["latency_us"]) - {"p9999"} == {"p50", "p90", "p99", "p999"}
    assert ("p9999" in result["latency_us"]) == (result["latency_samples"] >= 100_000)
    assert "open_loop" not in result
    assert 0 < result["entries"] <= result["acknowledged_entries"]
    assert result["syncs_per_second"] > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_threads_that_submit_verify(tmp_path: Path) -> None:
    _, result = bench(
        *("cluster", "--threads", "--mode", "submit", "--callers", "3", "--seconds", "0.3"),
        *("--directory", str(tmp_path), "--json"),
    )
    assert result["verified"] is True, result
    assert result["callers"] == 3
    assert 0 < result["entries"] <= result["acknowledged_entries"]


@pytest.mark.processes
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(("tasks", "window"), [(1, 2048), (3, 512), (0, 300), (300, 0)])
def test_coroutines_in_each_shape_verify(loop: str, tasks: int, window: int, tmp_path: Path) -> None:
    _, result = bench(
        *("cluster", "--mode", "aio", "--threads", "--nodes", "1", "--loop", loop, "--seconds", "0.3"),
        *("--tasks", str(tasks), "--window", str(window), "--directory", str(tmp_path), "--json"),
    )
    assert result["verified"] is True, result
    assert (result["loop"], result["tasks"]) == (loop, tasks)
    assert result["window"] == max(1, tasks) * (window or 1)
    assert result["unknown"] == 0
    assert 0 < result["entries"] <= result["acknowledged_entries"]


@pytest.mark.processes
def test_with_limit_adds_the_fraction(tmp_path: Path) -> None:
    _, result = bench(
        *("cluster", "--with-limit", "--seconds", "0.5", "--mode", "single"),
        *("--directory", str(tmp_path)),
    )
    assert result["verified"] is True
    assert result["fraction_of_limit"] == pytest.approx(
        result["entries_per_second"] / result["limit"]["entries_per_second"], abs=1e-3
    )
    assert len(result["pairs"]) == 1
    assert result["p50_ratio"] == pytest.approx(
        result["latency_us"]["p50"] / result["limit"]["latency_us"]["p50"], abs=1e-3
    )
    assert result["spread"]["p99_ratio"] == [result["p99_ratio"]] * 3


@pytest.mark.processes
@pytest.mark.parametrize("mode", ["batch", "submit", "single"])
def test_a_rate_makes_an_open_loop(mode: str, tmp_path: Path) -> None:
    output, result = bench(
        *("cluster", "--mode", mode, "--rate", "640", "--batch", "64", "--seconds", "0.5"),
        *("--directory", str(tmp_path)),
    )
    assert "the generator was late" in output.replace("\n", " ")
    assert result["verified"] is True, result
    assert result["open_loop"]["offered_per_second"] == 640
    due = 5 if mode == "batch" else 320
    assert result["latency_samples"] + result["refused"] + result["unknown"] == due
    assert "due" in result["latency_means"]


def test_limit_prints_a_table_and_the_object() -> None:
    output, result = bench("limit", "--seconds", "0.2", "--mode", "single", "--variant", "thread")
    assert "thread" in output.splitlines()[0] + output
    assert result["variant"] == "thread"
    assert result["verified"] is True


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"protocol": "paxos"}, "only raft"),
        ({"nodes": 0}, "--nodes 0"),
        ({"payload": 1 << 20, "batch": 4096}, "a batch holds at most 16777216"),
        ({"seconds": 0}, "--seconds 0"),
        ({"writer": "mmap"}, "--writer mmap"),
        ({"window": -1}, "--window -1"),
        ({"rate": -2.0}, "--rate -2.0"),
        ({"rate": 9.0, "window": 2}, "choose one"),
        ({"tasks": -1}, "--tasks -1"),
        ({"callers": 0, "mode": "submit"}, "--callers 0"),
        ({"callers": 2}, "--callers is for --mode submit"),
    ],
)
def test_options_out_of_bounds_are_refused_before_anything_starts(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadOptions, match=said):
        BenchOptions(**options)
    arguments = [f"--{name}={value}" for name, value in options.items()]
    ran = CliRunner().invoke(main, ["bench", "cluster", *arguments])
    assert ran.exit_code == 2
    assert said in ran.stderr


def test_a_rate_has_no_limit_beside_it() -> None:
    ran = CliRunner().invoke(main, ["bench", "cluster", "--rate=5", "--with-limit"])
    assert ran.exit_code == 2
    assert "the limit program knows no rate" in ran.stderr
