"""`quorumlog bench log`: the log alone, in segments filled ahead of the clock and in recycled ones.

The steady state of a log whose head is compacted: no file is made or filled any more, segments that
nobody needs are written again as they are. One process, one disk, no network.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import quorumlog as ql

MIB = 1 << 20
SEGMENT_BYTES = 64 * MIB
SPARE_SEGMENTS = 8
FRESH_SEGMENTS = 7  # of the spares, so that none has to be made meanwhile
KEPT_SEGMENTS = 2  # behind which the log is compacted
BATCHES_A_SYNC = 12  # of 4,096 × 16 B: about a MiB


@dataclass(frozen=True)
class LogOptions:
    payload: int = 16
    batch: int = 4096
    pairs: int = 5
    directory: Path | None = None


class Writer:
    def __init__(self, log: ql.Log, options: LogOptions) -> None:
        self._log, self._batch = log, options.batch
        self._buffer = np.arange(options.payload * options.batch, dtype=np.uint64).astype(np.uint8)
        self._offsets = np.arange(options.batch + 1, dtype=np.uint32) * np.uint32(options.payload)
        batch_bytes = self._buffer.nbytes + self._offsets.nbytes
        self._kept = KEPT_SEGMENTS * SEGMENT_BYTES // batch_bytes * options.batch
        self.batches_a_segment = SEGMENT_BYTES // batch_bytes

    def write(self, segments: int, *, compact: bool) -> float:
        """So many segments' worth, synced a MiB at a time; entries a second."""
        began, before = time.perf_counter(), self._log.last
        for number in range(segments * self.batches_a_segment):
            self._log.append_many((self._buffer, self._offsets))
            if number % BATCHES_A_SYNC == 0:
                self._log.sync()
            if compact and number % self.batches_a_segment == 0 and len(self._log) > self._kept:
                self._log.compact(self._log.last - self._kept + 1)
        self._log.sync()
        return (self._log.last - before) / (time.perf_counter() - began)

    def check(self) -> bool:
        """What is kept reads back as it was written."""
        return all(np.array_equal(batch.payload, self._buffer) for batch in self._log)


def run_log(options: LogOptions, said: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    runs = []
    for pair in range(options.pairs):
        said(f"pair {pair + 1} of {options.pairs}")
        with tempfile.TemporaryDirectory(prefix="quorumlog-bench-", dir=options.directory) as root:
            runs.append(_one(Path(root), options))
    return {
        "payload_bytes": options.payload,
        "batch_entries": options.batch,
        "fresh_entries_per_second": round(statistics.median(fresh for fresh, _, _ in runs), 1),
        "recycled_entries_per_second": round(statistics.median(recycled for _, recycled, _ in runs), 1),
        "recycled_to_fresh": round(statistics.median(recycled / fresh for fresh, recycled, _ in runs), 4),
        "pairs": [round(recycled / fresh, 4) for fresh, recycled, _ in runs],
        "verified": all(good for _, _, good in runs),
    }


def _one(root: Path, options: LogOptions) -> tuple[float, float, bool]:
    with ql.Log.open(root / "log", segment_bytes=SEGMENT_BYTES, spare_segments=SPARE_SEGMENTS) as log:
        while log.status().spare_segments < SPARE_SEGMENTS:
            time.sleep(0.01)
        writer = Writer(log, options)
        fresh = writer.write(FRESH_SEGMENTS, compact=False)
        writer.write(2 * SPARE_SEGMENTS, compact=True)  # until what is written was written before
        recycled = writer.write(2 * FRESH_SEGMENTS, compact=True)
        return fresh, recycled, writer.check()
