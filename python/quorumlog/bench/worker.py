"""The child process of `bench cluster --processes`: a node, and the load when it leads."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import quorumlog as ql
from quorumlog.bench.load import LoadRun
from quorumlog.bench.machines import make_machine, state_of
from quorumlog.bench.measured import Measured, save_acknowledged
from quorumlog.bench.modes import load_mode
from quorumlog.bench.options import MACHINES, LoadOptions
from quorumlog.processes.channel import serve
from quorumlog.processes.node import NodeWorker


def run_load(worker: NodeWorker, options: LoadOptions, acknowledged: Path) -> dict[str, Any]:
    """Drives the worker's group; a summary, with the list of what was acknowledged in a file."""
    marks: list[dict[str, Any]] = []

    def mark() -> None:
        marks.append(worker.status())

    run = LoadRun(worker.group, options, at_start=mark, at_end=mark)
    load_mode(options).drive(run)
    measured = run.measured
    rows = measured.acknowledged()
    save_acknowledged(acknowledged, rows)
    before, after = marks
    return {
        "entries": measured.entries,
        "unknown": measured.unknown,
        "refused": measured.refused,
        "seconds": measured.seconds,
        "latency_us": measured.latency_us(),
        "latency_samples": len(measured.latencies_ns),
        "open_loop": _open_loop(options, measured),
        "syncs": after["syncs"] - before["syncs"],
        "bytes_written": after["bytes_written"] - before["bytes_written"],
        "last_acknowledged": int((rows["index"] + rows["count"]).max(initial=1)) - 1,
        "terms": [before["term"], after["term"]],
        "window": options.window_of(),
    }


def _open_loop(options: LoadOptions, measured: Measured) -> dict[str, Any]:
    """What an open loop says of itself; nothing in a closed one."""
    if not options.rate:
        return {}
    return {
        "offered_per_second": options.rate,
        "not_started": measured.not_started,
        "generator_late_us": measured.lateness_us(),
    }


class BenchWorker(NodeWorker):
    def __init__(self) -> None:
        super().__init__({name: partial(make_machine, name) for name in MACHINES})

    def open(
        self,
        directory: str,
        listen: str,
        peers: dict[str, str],
        group: str,
        machine: str,
        options: dict[str, Any],
    ) -> dict[str, Any]:
        """With `recycling` among the options the group's log is compacted as it grows, and its segments used again;
        else all of it is kept, to be read back."""
        settings = dict(options)
        if not settings.pop("recycling", False):
            self._raft = ql.RaftOptions(snapshot_log_bytes=0)
        return super().open(directory, listen, peers, group, machine, settings)

    def load(self, options: dict[str, Any], acknowledged: str) -> dict[str, Any]:
        """`options` are the fields of LoadOptions, `acknowledged` the file that the list is left in."""
        return run_load(self, LoadOptions(**options), Path(acknowledged))

    def wait_spares(self, count: int) -> int:
        """Waits until so many segments are filled ahead of use."""
        while (ready := self.node.status().wal.spare_segments) < count:
            time.sleep(0.05)
        return ready

    def state(self) -> list[int]:
        return state_of(self.machine)


def main() -> None:
    worker = BenchWorker()
    serve(
        {**worker.handlers(), "load": worker.load, "state": worker.state, "wait_spares": worker.wait_spares}
    )
    worker.close()


if __name__ == "__main__":
    main()
