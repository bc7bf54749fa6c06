"""Limit and cluster in turn, so that both see the same machine: medians, and how far the pairs lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from quorumlog.bench.cluster import run_cluster
from quorumlog.bench.limit import run_limit
from quorumlog.bench.options import BenchOptions

LIMIT_SECONDS_MAX = 3.0
# The limit's files of all nodes together, and of one: what is written before its clock starts.
LIMIT_FILES_MIB = 6144
LIMIT_FILE_MIB_MAX = 2048
LIMIT_KEYS = ("variant", "entries_per_second", "latency_us", "syncs_per_second", "cpu_seconds", "seconds")


def run_with_limit(
    options: BenchOptions, pairs: int, said: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Limit and cluster in turn, `pairs` times: the run in the middle, and the ratios of all pairs.

    The first limit run tries all variants, the others repeat the best of them: most entries a second,
    or one at a time the lowest p50.
    """
    clusters: list[dict[str, Any]] = []
    limits: list[dict[str, Any]] = []
    common = limit_shape(options)
    for pair in range(pairs):
        said(f"pair {pair + 1} of {pairs}: the limit")
        if limits:
            common["variants"] = (limits[0]["variant"],)
        limits.append(run_limit(**common))
        said(f"pair {pair + 1} of {pairs}: the cluster")
        clusters.append(run_cluster(options, said))
    return compared(clusters, limits, single=options.mode == "single")


def limit_shape(options: BenchOptions) -> dict[str, Any]:
    """The limit program's options for the same shape."""
    single = options.mode == "single"
    return {
        "nodes": options.nodes,
        "payload": options.payload,
        "seconds": min(options.seconds, LIMIT_SECONDS_MAX),
        "mode": "single" if single else "batch",
        "threads": options.shape == "threads",
        "directory": options.directory,
        "batch": 1 if single else options.batch,
        "file_mib": min(LIMIT_FILE_MIB_MAX, LIMIT_FILES_MIB // options.nodes),
    }


def compared(clusters: list[dict[str, Any]], limits: list[dict[str, Any]], single: bool) -> dict[str, Any]:
    """One object for all pairs.  A spread is [least, median, most] of the pairs' ratios."""
    result = middle_run(clusters, single)
    limit = middle_run(limits, single)
    result["limit"] = {key: limit[key] for key in LIMIT_KEYS}
    result["limit"]["variants"] = {one["variant"]: one["entries_per_second"] for one in limits[0]["variants"]}
    result["fraction_of_limit"] = round(result["entries_per_second"] / limit["entries_per_second"], 4)
    both = list(zip(clusters, limits, strict=True))
    result["pairs"] = [
        round(one["entries_per_second"] / other["entries_per_second"], 4) for one, other in both
    ]
    result["spread"] = {"entries_per_second": spread(result["pairs"])}
    if single:
        for name in ("p50", "p99"):
            ratios = [round(one["latency_us"][name] / other["latency_us"][name], 4) for one, other in both]
            result[f"{name}_ratio"] = round(statistics.median(ratios), 4)
            result["spread"][f"{name}_ratio"] = spread(ratios)
    result["verified"] = all(one["verified"] for one in clusters)
    for one in clusters:
        if "problem" in one:
            result["problem"] = one["problem"]
    return result


def spread(ratios: list[float]) -> list[float]:
    """[least, median, most]."""
    return [min(ratios), round(statistics.median(ratios), 4), max(ratios)]


def middle_run(runs: list[dict[str, Any]], single: bool) -> dict[str, Any]:
    """The run in the middle by what its mode is about: its figures belong together."""

    def figure(run: dict[str, Any]) -> float:
        return float(run["latency_us"]["p50"] if single else run["entries_per_second"])

    middle = statistics.median_low(figure(run) for run in runs)
    return dict(next(run for run in runs if figure(run) == middle))
