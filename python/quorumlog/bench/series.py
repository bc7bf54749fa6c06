"""Series of runs: over payloads and nodes beside the limit (`scaling`), over offered load (`sweep`).

What a series found is one JSON object, written again behind each run, so that an interrupted one keeps
what it has; tables and plots are made of that file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from quorumlog.bench.cluster import run_cluster
from quorumlog.bench.machine_facts import machine_facts
from quorumlog.bench.options import BenchOptions
from quorumlog.bench.pairs import run_with_limit

Said = Callable[[str], None]

PAYLOADS = (16, 256, 1024, 4096, 65536, 1 << 20)
NODES = (1, 3, 5, 7)
BODY_BYTES = 1 << 20
BATCH_ENTRIES_MAX = 4096
BATCH_ENTRIES_MIN = 4
# Of the highest rate that the cluster kept up with in a closed loop.
LOAD_SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def batch_for(payload: int) -> int:
    """Entries of a batch: 4,096 small ones, a MiB of larger ones, four of the largest."""
    return max(BATCH_ENTRIES_MIN, min(BATCH_ENTRIES_MAX, BODY_BYTES // payload))


def scaling(
    options: BenchOptions,
    payloads: Iterable[int],
    nodes: Iterable[int],
    pairs: int,
    file: Path,
    said: Said = lambda text: None,
) -> dict[str, Any]:
    """Each shape beside the limit program at the same shape."""
    shapes = [(count, payload) for count in nodes for payload in payloads]
    result = _started("scaling", options)
    result["pairs"] = pairs
    for number, (count, payload) in enumerate(shapes, 1):
        shape = replace(options, mode="batch", nodes=count, payload=payload, batch=batch_for(payload))
        where = f"{number} of {len(shapes)}: {count} nodes, {payload} B"
        result["runs"].append(run_with_limit(shape, pairs, _prefixed(said, where)))
        save(file, result)
    return result


def sweep(
    options: BenchOptions,
    rates: Iterable[float],
    file: Path,
    said: Said = lambda text: None,
) -> dict[str, Any]:
    """Open loops at rising rates; without `rates`, shares of what a closed loop reached just before."""
    result = _started("sweep", options)
    chosen = list(rates)
    if not chosen:
        said("a closed loop, for the highest rate")
        closed = run_cluster(options, said)
        result["closed_loop"] = closed
        chosen = [round(closed["entries_per_second"] * share, 1) for share in LOAD_SHARES]
    for number, rate in enumerate(sorted(chosen), 1):
        where = f"{number} of {len(chosen)}: {rate:,.0f} entries/s"
        result["runs"].append(run_cluster(replace(options, rate=rate, window=0), _prefixed(said, where)))
        save(file, result)
    return result


def _started(series: str, options: BenchOptions) -> dict[str, Any]:
    return {"series": series, "machine": machine_facts(options.directory), "runs": []}


def _prefixed(said: Said, where: str) -> Said:
    return lambda text: said(f"{where}: {text}")


def save(file: Path, result: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    made = file.with_name(f"{file.name}.new")
    made.write_text(json.dumps(result, indent=1) + "\n")
    made.replace(file)


def verified(result: dict[str, Any]) -> bool:
    return all(run["verified"] for run in result["runs"])


# Tables -------------------------------------------------------------------------------------------------


def markdown(result: dict[str, Any]) -> str:
    """The table of a series, for a document."""
    rows = scaling_rows(result) if result["series"] == "scaling" else sweep_rows(result)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines) + "\n"


def scaling_rows(result: dict[str, Any]) -> list[list[str]]:
    rows = [["nodes", "payload", "batch", "entries/s", "MB/s", "the limit's entries/s", "fraction", "of the pairs"]]
    for run in result["runs"]:
        least, _, most = run["spread"]["entries_per_second"]
        rows.append([
            f"{run['nodes']}",
            size(run["payload_bytes"]),
            f"{run['batch_entries']:,}",
            f"{run['entries_per_second']:,.0f}",
            f"{run['entries_per_second'] * run['payload_bytes'] / 1e6:,.0f}",
            f"{run['limit']['entries_per_second']:,.0f}",
            f"{run['fraction_of_limit']:.2f}",
            f"{least:.2f} to {most:.2f}",
        ])
    return rows


def sweep_rows(result: dict[str, Any]) -> list[list[str]]:
    latencies = ("p50 µs", "p90 µs", "p99 µs", "p99.9 µs")
    rows = [["offered entries/s", "answered entries/s", *latencies, "generator late p99 µs"]]
    for run in result["runs"]:
        latency = run["latency_us"]
        rows.append([
            f"{run['open_loop']['offered_per_second']:,.0f}",
            f"{run['entries_per_second']:,.0f}",
            *(f"{latency[name]:,.0f}" for name in ("p50", "p90", "p99", "p999")),
            f"{run['open_loop']['generator_late_us']['p99']:,.0f}",
        ])
    return rows


def size(payload: int) -> str:
    if payload >= 1 << 20:
        return f"{payload >> 20} MiB"
    return f"{payload >> 10} KiB" if payload >= 1024 else f"{payload} B"
