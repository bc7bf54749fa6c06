"""`quorumlog bench read`, `gil` and `memory` on real nodes: short runs that verify and say what they promise."""

from __future__ import annotations

import json
import mmap
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from quorumlog.bench.memory_load import memory_of
from quorumlog.cli import main


def bench(*arguments: str) -> dict[str, Any]:
    ran = CliRunner().invoke(main, ["bench", *arguments, "--json"])
    assert ran.exit_code == 0, f"{ran.output}\n{ran.exception!r}"
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert result["verified"] is True, result
    return result


@pytest.mark.processes
@pytest.mark.parametrize(
    ("batch", "arguments"),
    [
        (64, ("--callers", "2")),
        (1, ("--via", "follower")),
        (16, ("--query", "each")),
        (1, ("--consistency", "lease")),
        (64, ("--consistency", "bounded", "--via", "follower")),
    ],
)
def test_reads_are_counted_and_right(batch: int, arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = bench(
        *("read", "--seconds", "0.3", "--batch", str(batch), "--directory", str(tmp_path), *arguments)
    )
    assert result["entries"] == result["calls"] * batch > 0
    assert set(result["latency_us"]) == {"p50", "p99", "p999"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_followers_propose_while_the_leaders_gil_is_held(tmp_path: Path) -> None:
    result = bench("gil", "--seconds", "0.4", "--batch", "1", "--directory", str(tmp_path))
    assert set(result["entries_per_second"]) == {"idle", "asleep", "free", "held"}
    assert all(rate > 0 for rate in result["entries_per_second"].values())
    rates, ratios = result["entries_per_second"], result["ratios"]
    assert ratios["held_to_free"]["median"] == pytest.approx(rates["held"] / rates["free"], rel=0.01)
    assert ratios["asleep_to_idle"]["pairs"] == [pytest.approx(rates["asleep"] / rates["idle"], rel=0.01)]


@pytest.mark.processes
def test_a_slow_follower_catches_up_and_memory_is_told(tmp_path: Path) -> None:
    result = bench(
        *("memory", "--seconds", "2", "--rate", "8", "--batch", "64", "--directory", str(tmp_path))
    )
    assert result["slow"] != result["leader"]
    assert set(result["rss_mib_most"]) == {"n1", "n2", "n3"}
    assert set(result["used_mib_most"]) == {"n1", "n2", "n3"} - {result["slow"]}
    for name, resident in result["rss_mib_most"].items():
        assert resident > result["anonymous_mib_most"][name] > 0
    assert result["within_bound"] == (max(result["rss_mib_most"].values()) < result["bound_mib"])


def test_a_process_knows_its_memory() -> None:
    before = memory_of(os.getpid())
    with mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as fresh:
        fresh.write(b"x" * len(fresh))
        after = memory_of(os.getpid())
    assert after["anonymous"] - before["anonymous"] >= 16 << 20
    assert after["rss"] > after["anonymous"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("read", "--batch", "0"), "--batch 0"),
        (("read", "--nodes", "1", "--via", "follower"), "one node has none"),
        (("gil", "--nodes", "1"), "--nodes 1"),
        (("gil", "--payload", "1048576"), "at most 8 MiB"),
        (("memory", "--stopped", "1.5"), "--stopped 1.5"),
        (("memory", "--nodes", "2"), "--nodes 2"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments: tuple[str, ...], said: str) -> None:
    ran = CliRunner().invoke(main, ["bench", *arguments])
    assert ran.exit_code == 2
    assert said in ran.output


@pytest.mark.processes
def test_a_recycled_log_reads_back(tmp_path: Path) -> None:
    result = bench("log", "--pairs", "1", "--directory", str(tmp_path))
    assert result["verified"] is True
    assert result["recycled_entries_per_second"] > 0
    assert not list(tmp_path.iterdir()), "nothing is left behind"
