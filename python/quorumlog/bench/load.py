"""The load of a benchmark: one Python thread beside the leader, a bounded number in flight.

It is a closed loop: a new proposal is made when an older one has been answered. Each latency begins
before the call that proposes and ends when the thread has seen the answer, and every proposal of
the measured time is counted, so a stall shows in as many latencies as proposals were waiting (mode
single: exactly one). What a closed loop can't show is the queue that callers who don't wait for one
another would have formed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import quorumlog as ql
from quorumlog.bench.options import Mode

# What was acknowledged: the number stamped into a proposal, its first index, how many entries.
ACKNOWLEDGED = np.dtype([("stamp", "<u8"), ("index", "<u8"), ("count", "<u4")])
ANSWER_SECONDS = 30.0
WINDOW_BYTES = 4 << 20
SUBMIT_WINDOW = 16384


@dataclass(frozen=True)
class LoadOptions:
    mode: Mode
    payload: int
    batch: int
    seconds: float
    window: int = 0

    def window_of(self) -> int:
        """Submissions in flight: as asked, or what fills 4 MiB (4 to 1,024 batches)."""
        if self.mode == "single":
            return 1
        if self.window:
            return self.window
        if self.mode == "submit":
            return SUBMIT_WINDOW
        return max(4, min(1024, WINDOW_BYTES // (self.payload * self.batch)))

    @property
    def warmup_seconds(self) -> float:
        return min(0.5, self.seconds / 10)


@dataclass
class Measured:
    """What the measured part of a run came to; the acknowledged list covers the warm-up too."""

    entries: int = 0
    unknown: int = 0
    refused: int = 0
    seconds: float = 0.0
    latencies_ns: list[int] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def acknowledged(self) -> npt.NDArray[Any]:
        rows = np.empty(len(self.stamps), ACKNOWLEDGED)
        rows["stamp"], rows["index"], rows["count"] = self.stamps, self.indexes, self.counts
        return rows

    def latency_us(self) -> dict[str, float]:
        if not self.latencies_ns:
            return {"p50": 0.0, "p99": 0.0, "p999": 0.0}
        values = np.percentile(np.asarray(self.latencies_ns), [50, 99, 99.9]) / 1000
        return dict(zip(("p50", "p99", "p999"), (round(float(v), 1) for v in values), strict=True))


def template(payload: int, count: int) -> npt.NDArray[np.uint8]:
    """The bytes of `count` entries, the same in every proposal but for the stamp in front."""
    return np.random.default_rng(payload * 1_000_003 + count).integers(0, 256, payload * count, np.uint8)


def stamp_bytes(stamp: int, payload: int) -> bytes:
    return stamp.to_bytes(8, "little")[:payload]


class Load:
    """Drives one group; `at_start` and `at_end` are called around the measured time."""

    def __init__(
        self,
        group: ql.Group,
        options: LoadOptions,
        *,
        at_start: Callable[[], None] = lambda: None,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._group = group
        self._options = options
        self._at_start, self._at_end = at_start, at_end
        self._measured = Measured()
        self._stamp = 0
        self._flying: deque[tuple[int, int, ql.Submission]] = deque()
        self._began = 0

    def run(self) -> Measured:
        options = self._options
        if options.mode == "single":
            step = self._single()
        elif options.mode == "submit":
            step = self._pipelined(self._submit_one(), 64, 1)
        else:
            step = self._pipelined(self._submit_batch(), 1, options.batch)
        now = time.perf_counter_ns()
        start = now + int(options.warmup_seconds * 1e9)
        while now < start:
            step()
            now = time.perf_counter_ns()
        self._at_start()
        self._began = now = time.perf_counter_ns()
        end = now + int(options.seconds * 1e9)
        while now < end:
            step()
            now = time.perf_counter_ns()
        self._measured.seconds = (now - self._began) / 1e9
        self._at_end()
        self._began = 0  # what is still in flight is awaited, but not counted
        while self._flying:
            self._settle(self._options.batch if options.mode == "batch" else 1)
        return self._measured

    # ---- one at a time ----

    def _single(self) -> Callable[[], None]:
        group, options, measured = self._group, self._options, self._measured
        rest = template(options.payload, 1).tobytes()[8:]

        def step() -> None:
            payload = stamp_bytes(self._stamp, options.payload) + rest
            before = time.perf_counter_ns()
            try:
                applied = group.propose(payload, timeout=ANSWER_SECONDS)
            except ql.Rejected:
                measured.refused += 1
            except ql.QuorumlogError:
                measured.unknown += 1
            else:
                self._acknowledge(before, time.perf_counter_ns(), self._stamp, applied.index, 1)
            self._stamp += 1

        return step

    # ---- with a window ----

    def _submit_one(self) -> Callable[[], ql.Submission]:
        submit, payload = self._group.submit, self._options.payload
        rest = template(payload, 1).tobytes()[8:]
        return lambda: submit(stamp_bytes(self._stamp, payload) + rest)

    def _submit_batch(self) -> Callable[[], ql.Submission]:
        submit_many, options = self._group.submit_many, self._options
        buffer = template(options.payload, options.batch)
        offsets = np.arange(options.batch + 1, dtype=np.uint32) * np.uint32(options.payload)
        room = buffer.data
        length = min(8, options.payload)

        def submit() -> ql.Submission:
            # The call copies before it returns, so the buffer can be stamped again next time.
            room[:length] = stamp_bytes(self._stamp, options.payload)
            return submit_many((buffer, offsets))

        return submit

    def _pipelined(self, submit: Callable[[], ql.Submission], turn: int, count: int) -> Callable[[], None]:
        """Up to `turn` submissions, then takes in the answers that are there; waits if full."""
        flying, window, clock = self._flying, self._options.window_of(), time.perf_counter_ns

        def step() -> None:
            for _ in range(min(turn, window - len(flying))):
                before = clock()
                try:
                    submission = submit()
                except ql.Overloaded:
                    self._measured.refused += 1
                    break
                flying.append((before, self._stamp, submission))
                self._stamp += 1
            else:
                if len(flying) < window and not flying[0][2].done:
                    return
            if flying:
                self._settle(count)
            while flying and flying[0][2].done:
                self._settle(count)

        return step

    def _settle(self, count: int) -> None:
        """Waits for the oldest in flight and takes its answer in."""
        before, stamp, submission = self._flying.popleft()
        try:
            applied = submission.result(ANSWER_SECONDS)
        except ql.Rejected:
            self._measured.refused += 1
        except ql.QuorumlogError:
            self._measured.unknown += 1
        else:
            self._acknowledge(before, time.perf_counter_ns(), stamp, applied.index, count)

    def _acknowledge(self, before: int, after: int, stamp: int, index: int, count: int) -> None:
        measured = self._measured
        if self._began and after >= self._began:
            measured.entries += count
            measured.latencies_ns.append(after - before)
        measured.stamps.append(stamp)
        measured.indexes.append(index)
        measured.counts.append(count)


def save_acknowledged(path: Path, rows: npt.NDArray[Any]) -> None:
    rows.tofile(path)


def load_acknowledged(path: Path) -> npt.NDArray[Any]:
    return np.fromfile(path, ACKNOWLEDGED)
