"""`bench memory`: what a node takes in memory while one follower is slow.

The leader's process proposes at a fixed rate; one follower's process is stopped (SIGSTOP) and continued
in turns, so that it gets a share of the time only and falls behind. Ten times a second each process's
memory is read from /proc: `rss`, all that is resident (the code of Python and of its libraries too),
and `anonymous`, what of it no file backs. The page cache is in neither: the kernel takes it back when
somebody needs it. Beside them stands the node's own count of its batches, `used_bytes`, where the
process isn't stopped. Afterwards the follower runs freely and must catch up.
"""

from __future__ import annotations

import os
import platform
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import quorumlog as ql
from quorumlog.bench.machines import make_machine, state_of
from quorumlog.bench.options import MACHINES, BadOptions, Machine
from quorumlog.processes.channel import serve
from quorumlog.processes.fleet import Fleet
from quorumlog.processes.node import NodeWorker

GROUP = "bench"
MIB = 1 << 20
SAMPLE_SECONDS = 0.1
CYCLE_SECONDS = 2.0
ANSWER_SECONDS = 60.0
CATCH_UP_SECONDS = 300.0
BOUND_MIB = 256
KINDS = {"VmRSS": "rss", "RssAnon": "anonymous"}


@dataclass(frozen=True)
class MemoryOptions:
    """`rate` MiB a second in batches of `batch` entries of `payload` bytes; the slow follower runs for
    1 - `stopped` of each two seconds."""

    nodes: int = 3
    payload: int = 1024
    batch: int = 256
    rate: float = 64.0
    stopped: float = 0.9
    seconds: float = 60.0
    machine: Machine = "python"
    directory: Path | None = None

    def __post_init__(self) -> None:
        for fine, otherwise in (
            (3 <= self.nodes <= 9, f"--nodes {self.nodes}: 3 to 9"),
            (1 <= self.payload <= MIB, f"--payload {self.payload}: 1 to {MIB} bytes"),
            (1 <= self.batch <= 1 << 16, f"--batch {self.batch}: 1 to {1 << 16}"),
            (self.payload * self.batch <= 8 * MIB, "--payload × --batch: at most 8 MiB"),
            (0 < self.rate <= 4096, f"--rate {self.rate}: above 0, at most 4096 MiB/s"),
            (0 <= self.stopped <= 1, f"--stopped {self.stopped}: 0 to 1"),
            (0 < self.seconds <= 3600, f"--seconds {self.seconds}: above 0, at most 3600"),
        ):
            if not fine:
                raise BadOptions(otherwise)


def memory_of(pid: int) -> dict[str, int]:
    """Bytes of a process that are resident, and those of them that no file backs."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in KINDS:
            found[KINDS[name]] = int(rest.split()[0]) * 1024
    return found


class MemoryWorker(NodeWorker):
    def __init__(self) -> None:
        super().__init__({name: partial(make_machine, name) for name in MACHINES})

    def used(self) -> int:
        return self.node.status().used_bytes

    def state(self) -> list[int]:
        return state_of(self.machine)

    def propose(self, payload: int, batch: int, rate: float, seconds: float) -> dict[str, float]:
        """A batch at each of its intended times; what can't be taken is tried again until it is."""
        group, clock = self.group, time.perf_counter
        buffer = np.random.default_rng(payload).integers(0, 256, payload * batch, np.uint8)
        offsets = np.arange(batch + 1, dtype=np.uint32) * np.uint32(payload)
        apart = payload * batch / (rate * MIB)
        began = clock()
        submission: ql.Submission | None = None
        refused = 0
        for number in range(max(1, int(seconds / apart))):
            time.sleep(max(0.0, began + number * apart - clock()))
            while True:
                try:
                    submission = group.submit_many((buffer, offsets))
                    break
                except ql.Overloaded:
                    refused += 1
                    time.sleep(apart / 4)
        assert submission is not None
        took = clock() - began
        applied = submission.result(ANSWER_SECONDS)
        return {
            "rate_mib": round((number + 1) * payload * batch / MIB / took, 2),
            "refused": refused,
            "last": applied.index + batch - 1,
        }


class Sampler:
    """Reads all processes' memory until it is ended; keeps the most of each kind, in bytes, by node."""

    def __init__(self, fleet: Fleet, slow: str) -> None:
        self._fleet, self._slow = fleet, slow
        self._end = threading.Event()
        self.samples = 0
        self.most: dict[str, dict[str, int]] = {"rss": {}, "anonymous": {}, "used": {}}
        self._thread = threading.Thread(target=self._run, name="memory sampler", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(SAMPLE_SECONDS):
            self.samples += 1
            for name, worker in self._fleet.workers.items():
                sizes = memory_of(worker.pid)
                if name != self._slow:
                    sizes["used"] = worker.call("used", timeout=ANSWER_SECONDS)
                for kind, size in sizes.items():
                    self.most[kind][name] = max(size, self.most[kind].get(name, 0))

    def end(self) -> None:
        self._end.set()
        self._thread.join()


def _slow_down(pid: int, stopped: float, end: threading.Event) -> None:
    """Stops and continues a process in turns; leaves it running."""
    try:
        while not end.is_set():
            os.kill(pid, signal.SIGSTOP)
            end.wait(CYCLE_SECONDS * stopped)
            os.kill(pid, signal.SIGCONT)
            end.wait(CYCLE_SECONDS * (1 - stopped))
    finally:
        os.kill(pid, signal.SIGCONT)


def _in_mib(sizes: dict[str, int]) -> dict[str, float]:
    return {name: round(size / MIB, 1) for name, size in sizes.items()}


def run_memory(options: MemoryOptions, said: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="quorumlog-bench-", dir=options.directory) as root,
        Fleet(
            Path(root), options.nodes, "quorumlog.bench.memory_load", group=GROUP, machine=options.machine
        ) as fleet,
    ):
        leader = fleet.leader()
        slow = next(name for name in fleet.names if name != leader)
        before = {name: memory_of(worker.pid)["rss"] for name, worker in fleet.workers.items()}
        sampler = Sampler(fleet, slow)
        end = threading.Event()
        braking = threading.Thread(
            target=_slow_down, args=(fleet.workers[slow].pid, options.stopped, end)
        )
        said(f"{leader} leads, {slow} is slow; {options.rate:g} MiB/s for {options.seconds:g} s")
        if options.stopped:
            braking.start()
        try:
            load = fleet.workers[leader].call(
                "propose",
                timeout=options.seconds * 3 + 2 * ANSWER_SECONDS,
                payload=options.payload,
                batch=options.batch,
                rate=options.rate,
                seconds=options.seconds,
            )
        finally:
            end.set()
            if options.stopped:
                braking.join()
        behind = load["last"] - fleet.workers[slow].call("status")["last"]
        said(f"{slow} is {behind} entries behind")
        began = time.monotonic()
        for worker in fleet.workers.values():
            worker.call(
                "wait_flushed",
                timeout=CATCH_UP_SECONDS + 10,
                index=load["last"],
                seconds=CATCH_UP_SECONDS,
            )
        caught_up = time.monotonic() - began
        sampler.end()
        states = [worker.call("state") for worker in fleet.workers.values()]
    equal = all(state == states[0] for state in states)
    most = {kind: _in_mib(sizes) for kind, sizes in sampler.most.items()}

    return {
        "protocol": "raft",
        "mode": "memory",
        "nodes": options.nodes,
        "payload_bytes": options.payload,
        "batch_entries": options.batch,
        "machine": options.machine,
        "seconds": options.seconds,
        "rate_mib": load["rate_mib"],
        "refused": load["refused"],
        "leader": leader,
        "slow": slow,
        "stopped": options.stopped,
        "rss_mib_before": _in_mib(before),
        **{f"{kind}_mib_most": sizes for kind, sizes in most.items()},
        "bound_mib": BOUND_MIB,
        "within_bound": max(most["rss"].values()) < BOUND_MIB,
        "behind_entries": behind,
        "caught_up_seconds": round(caught_up, 2),
        "samples": sampler.samples,
        "verified": equal,
        **({} if equal else {"problem": f"the state machines differ: {states}"}),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
    }


def main() -> None:
    worker = MemoryWorker()
    serve({**worker.handlers(), "used": worker.used, "state": worker.state, "propose": worker.propose})
    worker.close()


if __name__ == "__main__":
    main()
