"""Figures of series: latency against offered load, and the fraction of the limit against payload."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from quorumlog.bench.series import size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = (7.0, 4.2)
DOTS_PER_INCH = 110
# Answered less than this share of what was offered: the queue grew for as long as the run took.
SATURATED = 0.95


class PlotUnavailable(RuntimeError):
    """matplotlib is missing; the text says what to do."""


def plot(result: dict[str, Any], file: Path) -> None:
    """Draws a series into a PNG."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as why:
        raise PlotUnavailable("matplotlib is missing: pip install 'quorumlog[bench]'") from why
    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(True, which="major", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if result["series"] == "sweep":
        _latency(axes, result)
    else:
        _fractions(axes, result)
    machine = result["machine"]
    sync = machine["disk_sync_us"]["p50"]
    figure.supxlabel(
        f"{machine['cpus']} × {machine['cpu']}, Linux {machine['kernel']}, one block written and synced in"
        f" {sync:.0f} µs (p50); revision {machine['revision']}",
        fontsize=7,
        color="#666666",
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="png")


def _latency(axes: Axes, result: dict[str, Any]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    runs = result["runs"]
    rates = [run["open_loop"]["offered_per_second"] for run in runs]
    for name, label, color, marker in (("p50", "p50", "#1f6fb4", "o"), ("p99", "p99", "#c1440e", "s")):
        axes.plot(rates, [run["latency_us"][name] / 1000 for run in runs], marker=marker, color=color, label=label)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(lambda value, position: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    first = saturated_from(runs)
    if first is not None:
        axes.axvspan(first, max(rates) * 1.05, color="#eeeeee", zorder=0, label="more than it answers")
    axes.xaxis.set_major_formatter(lambda value, position: count(value))
    axes.set_xlim(0, max(rates) * 1.05)
    axes.set_xlabel("offered load, entries/s")
    axes.set_ylabel("latency from when it was due, ms")
    one = runs[0]
    what = f"batches of {one['batch_entries']:,}" if one["batch_entries"] > 1 else "one entry a call"
    axes.set_title(
        f"Latency under open-loop load: {one['nodes']} nodes, {what} × {one['payload_bytes']} B, mode {one['mode']}",
        fontsize=10,
        loc="left",
    )
    axes.legend(loc="best", fontsize=8, framealpha=0.9, edgecolor="white")


def saturated_from(runs: list[dict[str, Any]]) -> float | None:
    """The rate from which on no run answered what it was offered; None if the last one did."""
    first = None
    for run in reversed(runs):
        offered = run["open_loop"]["offered_per_second"]
        if run["entries_per_second"] >= SATURATED * offered:
            break
        first = float(offered)
    return first


def _fractions(axes: Axes, result: dict[str, Any]) -> None:
    runs = result["runs"]
    payloads = sorted({run["payload_bytes"] for run in runs})
    styles = zip(("o", "s", "^", "D", "v"), ("#1f6fb4", "#c1440e", "#3a8a3a", "#7a4fa0", "#8a6d1f"), strict=True)
    for nodes, (marker, color) in zip(sorted({run["nodes"] for run in runs}), styles, strict=False):
        mine = sorted((run for run in runs if run["nodes"] == nodes), key=lambda run: run["payload_bytes"])
        x = [run["payload_bytes"] for run in mine]
        axes.plot(
            x,
            [run["fraction_of_limit"] for run in mine],
            marker=marker,
            color=color,
            label="1 node" if nodes == 1 else f"{nodes} nodes",
        )
        spreads = [run["spread"]["entries_per_second"] for run in mine]
        axes.vlines(x, [one[0] for one in spreads], [one[2] for one in spreads], color=color, alpha=0.4)
    axes.set_xscale("log", base=2)
    axes.set_xticks(payloads, [size(payload) for payload in payloads], rotation=0, fontsize=8)
    axes.minorticks_off()
    axes.set_ylim(0, max(1.0, *(run["fraction_of_limit"] * 1.05 for run in runs)))
    axes.set_xlabel("payload of an entry")
    axes.set_ylabel("entries/s, as a fraction of the limit's")
    axes.set_title("Throughput beside the bare C program of the same shape", fontsize=10, loc="left")
    axes.legend(loc="best", fontsize=8, framealpha=0.9, edgecolor="white")


def count(value: float) -> str:
    """1.5M, 300k, 20."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"
