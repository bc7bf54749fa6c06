"""`bench gil`: what the other processes get through a leader whose process has its GIL held.

The followers propose (their batches are forwarded), and the leader's process meanwhile does one of
four things for the measured time, in turn:

- `idle`: nothing;
- `asleep`: one C call that sleeps and keeps the GIL: the GIL's part alone;
- `free`: a C loop that burns a core with the GIL released;
- `held`: the same loop, keeping the GIL.

`held` against `idle` mixes two things, since where cores are few the burning alone costs a share of
them; `asleep` against `idle` and `held` against `free` compare what differs by the GIL only.
"""

from __future__ import annotations

import ctypes
import os
import platform
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import quorumlog as ql
from quorumlog.bench.machines import make_machine
from quorumlog.bench.options import MACHINES, BadOptions, Machine
from quorumlog.processes.channel import serve
from quorumlog.processes.fleet import Fleet
from quorumlog.processes.node import NodeWorker

GROUP = "bench"
WORKS = ("idle", "asleep", "free", "held")
RATIOS = {"asleep_to_idle": ("asleep", "idle"), "held_to_free": ("held", "free"), "held_to_idle": ("held", "idle")}
ANSWER_SECONDS = 30.0
CALL_SECONDS = 0.05  # of one call that burns
FILL_SECONDS = 300.0


@dataclass(frozen=True)
class GilOptions:
    """`batch` entries of `payload` bytes in each `submit_many` of a follower, `window` of them in flight
    (batch 1: `propose`, one after the other); each of the four works for `seconds`, `pairs` times."""

    nodes: int = 3
    payload: int = 16
    batch: int = 4096
    window: int = 32
    seconds: float = 2.0
    pairs: int = 1
    machine: Machine = "none"
    directory: Path | None = None

    def __post_init__(self) -> None:
        for fine, otherwise in (
            (2 <= self.nodes <= 9, f"--nodes {self.nodes}: 2 to 9"),
            (1 <= self.payload <= 1 << 20, f"--payload {self.payload}: 1 to {1 << 20} bytes"),
            (1 <= self.batch <= 1 << 16, f"--batch {self.batch}: 1 to {1 << 16}"),
            (self.payload * self.batch <= 8 << 20, "--payload × --batch: at most 8 MiB"),
            (1 <= self.window <= 4096, f"--window {self.window}: 1 to 4096"),
            (0 < self.seconds <= 600, f"--seconds {self.seconds}: above 0, at most 600"),
            (1 <= self.pairs <= 100, f"--pairs {self.pairs}: 1 to 100"),
        ):
            if not fine:
                raise BadOptions(otherwise)

    @property
    def fresh_segments(self) -> int:
        """Of 64 MiB, filled before the clock starts, for all four works."""
        return 4 if self.batch == 1 else max(4, min(48, int(self.seconds * 30)))


def burner(held: bool) -> Callable[[], None]:
    """About CALL_SECONDS of one core in one C call, with the GIL kept or released.

    libc's linear search compares the same two strings again and again when elements have no width: a long
    loop in C without memory traffic.  ctypes keeps the GIL in a PyDLL's functions and releases it in a CDLL's.
    """
    library = ctypes.PyDLL(None) if held else ctypes.CDLL(None)
    compare = ctypes.cast(library.strcmp, ctypes.c_void_p)

    def run(rounds: int) -> None:
        library.lfind(b"a", b"b", ctypes.byref(ctypes.c_size_t(rounds)), ctypes.c_size_t(0), compare)

    rounds = 1 << 20
    before = time.perf_counter()
    run(rounds)
    return partial(run, int(rounds * CALL_SECONDS / (time.perf_counter() - before)))


class GilWorker(NodeWorker):
    def __init__(self) -> None:
        super().__init__({name: partial(make_machine, name) for name in MACHINES})

    def wait_spares(self, count: int) -> None:
        while self.node.status().wal.spare_segments < count:
            time.sleep(0.05)

    def work(self, kind: str, seconds: float) -> None:
        """What the leader's process does meanwhile.  While the GIL is held it can answer nobody."""
        if kind == "asleep":
            ctypes.PyDLL(None).usleep(int(seconds * 1e6))
        elif kind in ("free", "held"):
            call = burner(kind == "held")
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                call()
        else:
            time.sleep(seconds)

    def propose(self, payload: int, batch: int, window: int, seconds: float) -> dict[str, Any]:
        """Proposes for so long; entries that were applied here in the second half-open interval
        [seconds / 10, seconds), and the latencies of what they came in."""
        group, clock = self.group, time.perf_counter
        buffer = np.random.default_rng(payload).integers(0, 256, payload * batch, np.uint8)
        offsets = np.arange(batch + 1, dtype=np.uint32) * np.uint32(payload)
        one = buffer.tobytes()
        flying: deque[tuple[float, ql.Submission]] = deque()
        latencies: list[float] = []
        began = clock()
        start, end = began + seconds / 10, began + seconds
        while (now := clock()) < end:
            if batch == 1:
                group.propose(one, ANSWER_SECONDS)
                before = now
            else:
                while len(flying) < window:
                    flying.append((clock(), group.submit_many((buffer, offsets))))
                before, submission = flying.popleft()
                submission.result(ANSWER_SECONDS)
            now = clock()
            if start <= now < end:
                latencies.append(now - before)
        for _, submission in flying:
            submission.result(ANSWER_SECONDS)
        return {"entries_per_second": len(latencies) * batch / (end - start),
                "p50_us": round(float(np.median(latencies)) * 1e6, 1) if latencies else 0.0}


def _one_work(fleet: Fleet, leader: str, kind: str, options: GilOptions) -> dict[str, float]:
    """Load from the followers while the leader's process works; entries a second of all followers."""
    working = fleet.workers[leader].start_call("work", kind=kind, seconds=options.seconds + 0.5)
    time.sleep(0.25)
    asked = [
        fleet.workers[name].start_call(
            "propose",
            payload=options.payload,
            batch=options.batch,
            window=options.window,
            seconds=options.seconds,
        )
        for name in fleet.names
        if name != leader
    ]
    answers = [future.result(options.seconds + 2 * ANSWER_SECONDS) for future in asked]
    working.result(options.seconds + ANSWER_SECONDS)
    return {
        "entries_per_second": sum(answer["entries_per_second"] for answer in answers),
        "p50_us": statistics.median(answer["p50_us"] for answer in answers),
    }


def _one_pair(options: GilOptions, number: int, said: Callable[[str], None]) -> tuple[dict[str, Any], bool]:
    """All four on one cluster, every other time in reverse; and whether nobody lost the lead."""
    measured = {}
    with (
        tempfile.TemporaryDirectory(prefix="quorumlog-bench-", dir=options.directory) as root,
        Fleet(
            Path(root),
            options.nodes,
            "quorumlog.bench.gil_load",
            group=GROUP,
            machine=options.machine,
            options={"spare_segments": options.fresh_segments},
        ) as fleet,
    ):
        said(f"pair {number + 1}: filling {options.fresh_segments} segments on each node")
        for worker in fleet.workers.values():
            worker.call("wait_spares", timeout=FILL_SECONDS, count=options.fresh_segments)
        leader = fleet.leader()
        terms = {status["term"] for status in fleet.statuses().values()}
        said(f"pair {number + 1}: warming up")
        _one_work(fleet, leader, "idle", options)
        for kind in WORKS if number % 2 == 0 else WORKS[::-1]:
            said(f"pair {number + 1}: {kind}")
            measured[kind] = _one_work(fleet, leader, kind, options)
        kept = {status["term"] for status in fleet.statuses().values()} == terms
    return measured, kept


def run_gil(options: GilOptions, said: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """All pairs; medians of the figures and of the pairs' ratios."""
    pairs, kept = zip(*(_one_pair(options, number, said) for number in range(options.pairs)), strict=True)

    def rate(pair: dict[str, Any], kind: str) -> float:
        return float(pair[kind]["entries_per_second"])

    return {
        "protocol": "raft",
        "mode": "gil",
        "nodes": options.nodes,
        "payload_bytes": options.payload,
        "batch_entries": options.batch,
        "window": options.window,
        "machine": options.machine,
        "seconds": options.seconds,
        "entries_per_second": {
            kind: round(statistics.median(rate(pair, kind) for pair in pairs), 1) for kind in WORKS
        },
        "p50_us": {kind: statistics.median(pair[kind]["p50_us"] for pair in pairs) for kind in WORKS},
        "ratios": {
            name: {
                "median": round(statistics.median(rate(pair, over) / rate(pair, under) for pair in pairs), 4),
                "pairs": [round(rate(pair, over) / rate(pair, under), 4) for pair in pairs],
            }
            for name, (over, under) in RATIOS.items()
        },
        "verified": all(kept),
        **({} if all(kept) else {"problem": "the term changed: somebody took the leader for dead"}),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
    }


def main() -> None:
    worker = GilWorker()
    serve(
        {
            **worker.handlers(),
            "wait_spares": worker.wait_spares,
            "work": worker.work,
            "propose": worker.propose,
        }
    )
    worker.close()


if __name__ == "__main__":
    main()
