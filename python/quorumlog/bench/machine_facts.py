"""What a figure was measured on: kernel, processor, revision, and how long this disk takes to sync."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

BLOCK_BYTES = 4096
SYNCS = 200


def cpu_flags() -> set[str]:
    """The processor's extensions as Linux names them."""
    for line in _cpuinfo():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(value.split())
    return set()


def cpu_model() -> str:
    for line in _cpuinfo():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []


def revision(directory: Path) -> str:
    """The git revision that `directory` is at, with `+` behind it when files differ; "unknown" outside of git."""
    command = ["git", "-C", str(directory), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return ran.stdout.strip() if ran.returncode == 0 else "unknown"


def sync_latency_us(directory: Path | None = None) -> dict[str, float]:
    """p50 and p99 of writing and syncing one block of a file that is there already: what one commit can't go below."""
    taken = []
    with tempfile.NamedTemporaryFile(dir=directory, prefix="quorumlog-sync-") as file:
        descriptor = file.fileno()
        os.write(descriptor, bytes(SYNCS * BLOCK_BYTES))
        os.fsync(descriptor)
        block = b"\1" * BLOCK_BYTES
        for number in range(SYNCS):
            before = time.perf_counter_ns()
            os.pwrite(descriptor, block, number * BLOCK_BYTES)
            os.fdatasync(descriptor)
            taken.append((time.perf_counter_ns() - before) / 1000)
    shares = statistics.quantiles(taken, n=100)
    return {"p50": round(shares[49], 1), "p99": round(shares[98], 1)}


def machine_facts(directory: Path | None = None) -> dict[str, Any]:
    """All of it; `directory` is where the data lies (default: the temporary directory)."""
    return {
        "kernel": platform.release(),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "disk_sync_us": sync_latency_us(directory),
        "revision": revision(Path(__file__).parent),
    }
