"""Series: every shape is run once, what came of it is kept as it goes, and tables and figures are made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from quorumlog.bench import series
from quorumlog.bench.options import BenchOptions
from quorumlog.bench.plots import count, plot, saturated_from
from quorumlog.cli import main


def pair(nodes: int, payload: int, fraction: float) -> dict[str, Any]:
    return {
        "nodes": nodes,
        "payload_bytes": payload,
        "batch_entries": series.batch_for(payload),
        "entries_per_second": 1000.0 * fraction,
        "limit": {"entries_per_second": 1000.0},
        "fraction_of_limit": fraction,
        "spread": {"entries_per_second": [fraction - 0.1, fraction, fraction + 0.1]},
        "verified": True,
    }


def loop(offered: float, answered: float) -> dict[str, Any]:
    return {
        "nodes": 3,
        "payload_bytes": 16,
        "batch_entries": 64,
        "mode": "batch",
        "entries_per_second": answered,
        "latency_us": {"p50": 200.0, "p90": 300.0, "p99": 900.0, "p999": 1500.0},
        "open_loop": {"offered_per_second": offered, "generator_late_us": {"p99": 50.0}},
        "verified": True,
    }


MACHINE = {"cpu": "a processor", "cpus": 2, "kernel": "6", "disk_sync_us": {"p50": 70.0}, "revision": "0123456789ab"}


def test_a_batch_is_a_mebibyte_or_what_is_left_of_it() -> None:
    assert [series.batch_for(payload) for payload in (16, 256, 1024, 65536, 1 << 20)] == [4096, 4096, 1024, 16, 4]
    for payload in series.PAYLOADS:
        BenchOptions(payload=payload, batch=series.batch_for(payload))


def test_scaling_runs_each_shape_and_keeps_it_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "made" / "scaling.json"
    kept: list[int] = []

    def run(options: BenchOptions, pairs: int, said: Any) -> dict[str, Any]:
        kept.append(len(json.loads(file.read_text())["runs"]) if file.exists() else 0)
        assert pairs == 2
        return pair(options.nodes, options.payload, 0.5)

    monkeypatch.setattr(series, "run_with_limit", run)
    result = series.scaling(BenchOptions(), [16, 1 << 20], [1, 3], 2, file)
    assert [(run["nodes"], run["payload_bytes"]) for run in result["runs"]] == [
        *((1, 16), (1, 1 << 20), (3, 16), (3, 1 << 20)),
    ]
    assert kept == [0, 1, 2, 3]
    assert json.loads(file.read_text()) == result
    table = series.markdown(result).splitlines()
    assert len(table) == 2 + 4
    assert table[2] == "| 1 | 16 B | 4,096 | 500 | 0 | 1,000 | 0.50 | 0.40 to 0.60 |"


def test_a_sweep_without_rates_takes_shares_of_a_closed_loop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[float] = []

    def run(options: BenchOptions, said: Any) -> dict[str, Any]:
        asked.append(options.rate)
        return loop(options.rate, options.rate or 1000.0)

    monkeypatch.setattr(series, "run_cluster", run)
    result = series.sweep(BenchOptions(batch=64), [], tmp_path / "sweep.json")
    assert asked == [0.0, *(1000 * share for share in series.LOAD_SHARES)]
    assert len(result["runs"]) == len(series.LOAD_SHARES)
    assert "| 500 | 500 | 200 | 300 | 900 | 1,500 | 50 |" in series.markdown(result)


def test_saturated_is_where_no_higher_rate_was_answered() -> None:
    """A stall at a low rate is no saturation."""
    assert saturated_from([loop(10, 9), loop(20, 20), loop(30, 28), loop(40, 28)]) == 30
    assert saturated_from([loop(10, 10), loop(20, 20)]) is None


@pytest.mark.parametrize("kind", ["scaling", "sweep"])
def test_each_series_is_drawn_small(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    if kind == "scaling":
        runs = [pair(nodes, payload, 0.6) for nodes in series.NODES for payload in series.PAYLOADS]
    else:
        runs = [loop(rate, min(rate, 700)) for rate in range(100, 1100, 100)]
    image = tmp_path / "image.png"
    plot({"series": kind, "machine": MACHINE, "runs": runs}, image)
    assert image.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert image.stat().st_size < 100_000


def test_counts_are_short() -> None:
    assert [count(value) for value in (20, 1500, 2.5e6)] == ["20", "1.5k", "2.5M"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scaling", "--output", "x", "--payloads", "16,none"], "is no list of numbers"),
        (["scaling", "--output", "x", "--payloads", "16,9999999"], "--payload 9999999"),
        (["scaling", "--output", "x", "--pairs", "0"], "--pairs 0"),
        (["sweep", "--output", "x", "--rates", "5,0"], "a rate above 0"),
        (["sweep", "--output", "x", "--seconds", "0"], "--seconds 0"),
    ],
)
def test_bad_options_are_refused_before_anything_runs(arguments: list[str], said: str) -> None:
    ran = CliRunner().invoke(main, ["bench", *arguments])
    assert ran.exit_code == 2
    assert said in ran.stderr


def test_what_is_no_series_is_not_drawn(tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    data.write_text("[]")
    ran = CliRunner().invoke(main, ["bench", "plot", str(data), str(tmp_path / "image.png")])
    assert ran.exit_code == 1
    assert "is not what" in ran.stderr


@pytest.mark.processes
def test_a_small_scaling_from_end_to_end(tmp_path: Path) -> None:
    output = tmp_path / "scaling.json"
    ran = CliRunner().invoke(
        main,
        [
            *("bench", "scaling", "--nodes", "1,3", "--payloads", "1024", "--seconds", "0.3", "--pairs", "1"),
            *("--directory", str(tmp_path), "--output", str(output)),
        ],
        catch_exceptions=False,
    )
    assert ran.exit_code == 0, ran.output
    result = json.loads(output.read_text())
    assert [run["nodes"] for run in result["runs"]] == [1, 3]
    assert series.verified(result)
    assert output.with_suffix(".md").read_text() in ran.output
