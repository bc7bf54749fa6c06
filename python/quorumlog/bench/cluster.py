"""`quorumlog bench cluster`: a real cluster under load on loopback, and what came of it."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from quorumlog.bench.measured import load_acknowledged
from quorumlog.bench.modes import load_mode
from quorumlog.bench.options import BenchOptions
from quorumlog.bench.verify import verify_run
from quorumlog.bench.worker import BenchWorker, run_load
from quorumlog.cluster import free_addresses
from quorumlog.processes.fleet import Fleet, FleetError, create_nodes

GROUP = "bench"
CATCH_UP_SECONDS = 60.0
FILL_SECONDS = 300.0


def run_cluster(options: BenchOptions, said: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """One run; its JSON object.  The nodes' data is removed, unless it is not as it must be."""
    if options.directory is not None:
        options.directory.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="quorumlog-bench-", dir=options.directory))
    keep = False
    try:
        result = _run_in(root, options, said)
        keep = "problem" in result
    finally:
        if not keep:
            shutil.rmtree(root, ignore_errors=True)
    return {**result, "data": str(root)} if keep else result


def _run_in(root: Path, options: BenchOptions, said: Callable[[str], None]) -> dict[str, Any]:
    acknowledged = root / "acknowledged"
    run = _run_processes if options.shape == "processes" else _run_threads
    load, names, states = run(options, root, acknowledged, said)
    said("reading all logs back")
    verdict = verify_run(
        [root / name for name in names],
        GROUP,
        load_acknowledged(acknowledged),
        options.payload,
        options.entries_per_batch,
    )
    problem = verdict.problem
    if any(state != states[0] for state in states):
        problem = problem or f"the state machines differ: {states}"
    if not load["entries"]:
        problem = problem or "nothing was acknowledged in the measured time"
    return _result(options, load, verdict.acknowledged_entries, problem)


def _run_processes(
    options: BenchOptions, root: Path, acknowledged: Path, said: Callable[[str], None]
) -> tuple[dict[str, Any], list[str], list[list[int]]]:
    with Fleet(
        root,
        options.nodes,
        "quorumlog.bench.worker",
        group=GROUP,
        machine=options.machine,
        options={"writer": options.writer, "spare_segments": options.fresh_segments},
    ) as fleet:
        said(f"filling {options.fresh_segments} segments on each node")
        for worker in fleet.workers.values():
            worker.call("wait_spares", timeout=FILL_SECONDS, count=options.fresh_segments)
        leader = fleet.leader()
        said(f"{leader} leads; loading it for {options.seconds:g} s")
        before = fleet.statuses()
        load: dict[str, Any] = fleet.workers[leader].call(
            "load",
            timeout=options.seconds * 4 + 120,
            options=asdict(options.load),
            acknowledged=str(acknowledged),
        )
        after = fleet.statuses()
        load["cpu_by_process"] = {
            name: round(after[name]["cpu_seconds"] - before[name]["cpu_seconds"], 3) for name in after
        }
        load["writer"] = after[leader]["writer"]
        said("waiting for the followers")
        for worker in fleet.workers.values():
            worker.call(
                "wait_flushed",
                timeout=CATCH_UP_SECONDS + 10,
                seconds=CATCH_UP_SECONDS,
                index=load["last_acknowledged"],
            )
        states = [worker.call("state") for worker in fleet.workers.values()]
    return load, fleet.names, states


def _run_threads(
    options: BenchOptions, root: Path, acknowledged: Path, said: Callable[[str], None]
) -> tuple[dict[str, Any], list[str], list[list[int]]]:
    """The same nodes in this one process: real sockets, real disk, one interpreter."""
    names = [f"n{number}" for number in range(1, options.nodes + 1)]
    create_nodes(root, names)
    addresses = dict(zip(names, free_addresses(options.nodes), strict=True))
    workers = {name: BenchWorker() for name in names}
    try:
        for name, worker in workers.items():
            worker.open(
                str(root / name),
                addresses[name],
                addresses,
                GROUP,
                options.machine,
                {"writer": options.writer, "spare_segments": options.fresh_segments},
            )
        said(f"filling {options.fresh_segments} segments on each node")
        for worker in workers.values():
            worker.wait_spares(options.fresh_segments)
        leader = _leader_of(workers)
        said(f"{leader} leads; loading it for {options.seconds:g} s")
        before = time.process_time()
        load = run_load(workers[leader], options.load, acknowledged)
        load["cpu_by_process"] = {"all": round(time.process_time() - before, 3)}
        load["writer"] = workers[leader].status()["writer"]
        for worker in workers.values():
            worker.wait_flushed(load["last_acknowledged"], CATCH_UP_SECONDS)
        states = [worker.state() for worker in workers.values()]
    finally:
        for worker in workers.values():
            worker.close()
    return load, names, states


def _leader_of(workers: dict[str, BenchWorker], timeout: float = 30.0) -> str:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for name, worker in workers.items():
            if worker.status()["leader"] == name:
                return name
        time.sleep(0.005)
    raise FleetError(f"no leader within {timeout} s: {[w.status() for w in workers.values()]}")


def _result(options: BenchOptions, load: dict[str, Any], acknowledged: int, problem: str) -> dict[str, Any]:
    seconds = load["seconds"]
    result: dict[str, Any] = {
        "protocol": options.protocol,
        "mode": options.mode,
        "nodes": options.nodes,
        "shape": options.shape,
        "machine": options.machine,
        "payload_bytes": options.payload,
        "batch_entries": options.entries_per_batch,
        "window": load["window"],
        "fresh": options.fresh,
        **({"open_loop": load["open_loop"]} if load["open_loop"] else {}),
        **({"loop": options.loop, "tasks": options.tasks} if options.mode == "aio" else {}),
        **({"callers": options.callers} if options.mode == "submit" else {}),
        "seconds": round(seconds, 3),
        "entries": load["entries"],
        "entries_per_second": round(load["entries"] / seconds, 1),
        "latency_us": load["latency_us"],
        "latency_samples": load["latency_samples"],
        "latency_means": load_mode(options.load).latency_means,
        "syncs_per_second": round(load["syncs"] / seconds, 1),
        "bytes_per_second": round(load["bytes_written"] / seconds, 1),
        "cpu_seconds": round(sum(load["cpu_by_process"].values()), 3),
        "cpu_by_process": load["cpu_by_process"],
        "writer": load["writer"],
        "refused": load["refused"],
        "unknown": load["unknown"],
        "acknowledged_entries": acknowledged,
        "verified": not problem,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
    }
    if problem:
        result["problem"] = problem
    return result
