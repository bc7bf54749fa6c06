"""The child process of `bench cluster --processes`: a node, and the load when it leads."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from quorumlog.bench.aio_load import AioShape
from quorumlog.bench.load import Load, LoadOptions, save_acknowledged
from quorumlog.bench.machines import make_machine, state_of
from quorumlog.bench.options import MACHINES, Loop, Mode
from quorumlog.processes.channel import serve
from quorumlog.processes.node import NodeWorker


def run_load(worker: NodeWorker, options: LoadOptions, acknowledged: Path) -> dict[str, Any]:
    """Drives the worker's group; a summary, with the list of what was acknowledged in a file."""
    marks: list[dict[str, Any]] = []
    times: list[float] = []

    def mark() -> None:
        marks.append(worker.status())
        times.append(time.time())

    measured = Load(worker.group, options, at_start=mark, at_end=mark).run()
    rows = measured.acknowledged()
    save_acknowledged(acknowledged, rows)
    before, after = marks
    return {
        "entries": measured.entries,
        "unknown": measured.unknown,
        "refused": measured.refused,
        "seconds": measured.seconds,
        "latency_us": measured.latency_us(),
        "syncs": after["syncs"] - before["syncs"],
        "bytes_written": after["bytes_written"] - before["bytes_written"],
        "last_acknowledged": int((rows["index"] + rows["count"]).max(initial=1)) - 1,
        "terms": [before["term"], after["term"]],
        "window": options.window_of(),
    }


class BenchWorker(NodeWorker):
    def __init__(self) -> None:
        super().__init__({name: partial(make_machine, name) for name in MACHINES})

    def load(
        self,
        mode: Mode,
        payload: int,
        batch: int,
        seconds: float,
        window: int,
        acknowledged: str,
        loop: Loop,
        tasks: int,
    ) -> dict[str, Any]:
        options = LoadOptions(mode, payload, batch, seconds, window, AioShape(loop, tasks, window))
        return run_load(self, options, Path(acknowledged))

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
