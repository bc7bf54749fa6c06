"""`bench read`: reads of a table, one call at a time from each caller."""

from __future__ import annotations

import os
import platform
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

import quorumlog as ql
from quorumlog.bench.options import BadOptions
from quorumlog.processes.channel import serve
from quorumlog.processes.fleet import Fleet
from quorumlog.processes.node import NodeWorker

GROUP = "bench"
VARIANTS = 16  # question lists made beforehand
FILL_BATCH = 4096
LATENCY_MEANS = "from before the call of read or read_many to its return, every call of the measured time"


class TableMachine(ql.StateMachine):
    """A table of int64 by key; a command sets one: key and value, 8 bytes each.

    `query` answers one key, `query_many` an array of keys with one NumPy call.
    """

    KEYS = 1 << 16
    COMMAND = np.dtype([("key", "<u8"), ("value", "<i8")])

    def __init__(self) -> None:
        self.values = np.zeros(self.KEYS, np.int64)

    def apply(self, batch: ql.Batch) -> None:
        if batch.is_entries:
            commands = batch.payload.view(self.COMMAND)
            self.values[commands["key"]] = commands["value"]

    def query(self, question: Any) -> int:
        return int(self.values[question])

    def query_many(self, questions: Any) -> Any:
        return self.values[questions]


class EachMachine(TableMachine):
    """The same, asked one key at a time."""

    query_many = ql.StateMachine.query_many


CLOCK_DRIFT = 0.01
MAX_LAG_SECONDS = 10.0  # of bounded reads: never what they wait for

MACHINES = {"many": TableMachine, "each": EachMachine}


@dataclass(frozen=True)
class ReadOptions:
    """`batch` questions in a `read_many`, 1 for `read`; `query` says which method of the machine answers;
    `via` which node is asked, `callers` by how many threads.  Leases are on, whether or not they are read by."""

    batch: int = 4096
    seconds: float = 3.0
    callers: int = 1
    via: Literal["leader", "follower"] = "leader"
    query: Literal["many", "each"] = "many"
    consistency: Literal["linearizable", "lease", "bounded", "stale"] = "linearizable"
    nodes: int = 3
    directory: Path | None = None

    def __post_init__(self) -> None:
        for fine, otherwise in (
            (1 <= self.batch <= 1 << 20, f"--batch {self.batch}: 1 to {1 << 20}"),
            (0 < self.seconds <= 3600, f"--seconds {self.seconds}: above 0, at most 3600"),
            (1 <= self.callers <= 256, f"--callers {self.callers}: 1 to 256"),
            (1 <= self.nodes <= 9, f"--nodes {self.nodes}: 1 to 9"),
            (self.via == "leader" or self.nodes > 1, "--via follower: one node has none"),
        ):
            if not fine:
                raise BadOptions(otherwise)


def expected_values(keys: int) -> Any:
    return np.arange(keys, dtype=np.int64) * 7 + 3


def fill(group: ql.Group) -> None:
    """Gives every key its value, acknowledged when this returns."""
    commands = np.zeros(TableMachine.KEYS, TableMachine.COMMAND)
    commands["key"] = np.arange(TableMachine.KEYS)
    commands["value"] = expected_values(TableMachine.KEYS)
    offsets = np.arange(FILL_BATCH + 1, dtype=np.uint32) * np.uint32(TableMachine.COMMAND.itemsize)
    for first in range(0, TableMachine.KEYS, FILL_BATCH):
        group.propose_many((commands[first : first + FILL_BATCH], offsets), timeout=30)


class Reader:
    """One thread's questions; all answers are compared with what the table must hold."""

    def __init__(self, group: ql.Group, batch: int, consistency: Any, seed: int) -> None:
        self._group, self._batch = group, batch
        self._how: dict[str, Any] = {"consistency": consistency}
        if consistency == ql.BOUNDED:
            self._how["max_lag"] = MAX_LAG_SECONDS
        random = np.random.default_rng(seed)
        self._questions = [random.integers(0, TableMachine.KEYS, batch) for _ in range(VARIANTS)]
        self._expected = [expected_values(TableMachine.KEYS)[asked] for asked in self._questions]
        self.latencies_ns: list[int] = []
        self.wrong = 0

    def run(self, start: float, end: float) -> None:
        """Reads from now on; counts the calls that began at `start` or later and ended before `end`."""
        clock, latencies_ns = time.perf_counter_ns, self.latencies_ns
        start_ns, end_ns = int(start * 1e9), int(end * 1e9)
        ask = self._ask_one if self._batch == 1 else self._ask_many
        number = 0
        while True:
            before = clock()
            right = ask(number % VARIANTS)
            after = clock()
            if after >= end_ns:
                return
            self.wrong += not right
            if before >= start_ns:
                latencies_ns.append(after - before)
            number += 1

    def _ask_one(self, variant: int) -> bool:
        answer = self._group.read(int(self._questions[variant][0]), **self._how)
        return bool(answer == self._expected[variant][0])

    def _ask_many(self, variant: int) -> bool:
        answers = self._group.read_many(self._questions[variant], **self._how)
        return bool(np.array_equal(answers, self._expected[variant]))


class ReadWorker(NodeWorker):
    def __init__(self) -> None:
        super().__init__(
            {name: partial(machine) for name, machine in MACHINES.items()},
            ql.RaftOptions(clock_drift=CLOCK_DRIFT),
        )

    def fill(self) -> None:
        fill(self.group)

    def read(self, batch: int, seconds: float, callers: int, consistency: str) -> dict[str, Any]:
        readers = [Reader(self.group, batch, consistency, seed) for seed in range(callers)]
        self.group.read(0)  # by a round: whatever is read from here on, it sees the whole table
        while self.group.status().lag is None:  # nothing to bound yet
            self.group.read(0)
        start = time.perf_counter() + min(0.5, seconds / 5)
        threads = [threading.Thread(target=one.run, args=(start, start + seconds)) for one in readers]
        before = self.node.status()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = self.node.status()
        latencies_us = np.concatenate([np.asarray(one.latencies_ns) for one in readers]) / 1000
        calls = len(latencies_us)
        return {
            "calls": calls,
            "entries": calls * batch,
            "latency_us": {
                name: round(float(np.percentile(latencies_us, percent)), 1) if calls else 0.0
                for name, percent in (("p50", 50), ("p99", 99), ("p999", 99.9))
            },
            "wrong": sum(one.wrong for one in readers),
            "turns": after.turns - before.turns,
            "wakes": after.wakes - before.wakes,
        }


def run_reads(options: ReadOptions) -> dict[str, Any]:
    """One run in processes of their own; its JSON object."""
    with (
        tempfile.TemporaryDirectory(prefix="quorumlog-bench-", dir=options.directory) as root,
        Fleet(
            Path(root), options.nodes, "quorumlog.bench.read_load", group=GROUP, machine=options.query
        ) as fleet,
    ):
        leader = fleet.leader()
        fleet.workers[leader].call("fill", timeout=60)
        asked = leader if options.via == "leader" else next(n for n in fleet.names if n != leader)
        before = fleet.statuses()
        load = fleet.workers[asked].call(
            "read",
            timeout=options.seconds * 2 + 60,
            batch=options.batch,
            seconds=options.seconds,
            callers=options.callers,
            consistency=options.consistency,
        )
        after = fleet.statuses()
    wrong = load.pop("wrong")
    return {
        "protocol": "raft",
        "mode": "read",
        "nodes": options.nodes,
        "via": options.via,
        "query": options.query,
        "consistency": options.consistency,
        "callers": options.callers,
        "batch_entries": options.batch,
        "seconds": options.seconds,
        "entries_per_second": round(load["entries"] / options.seconds, 1),
        **load,
        "latency_means": LATENCY_MEANS,
        "cpu_by_process": {n: round(after[n]["cpu_seconds"] - before[n]["cpu_seconds"], 3) for n in after},
        "verified": wrong == 0 and load["entries"] > 0,
        **({"problem": f"{wrong} calls got wrong answers"} if wrong else {}),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
    }


def main() -> None:
    worker = ReadWorker()
    serve({**worker.handlers(), "fill": worker.fill, "read": worker.read})
    worker.close()


if __name__ == "__main__":
    main()
