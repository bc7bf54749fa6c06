"""Mode submit: one `submit(bytes)` call per command, in waves.

The loop's own work must stay small beside what it measures, so it reads the clock once a wave of
256 commands and not once a command. Still every command is a call of its own, with bytes of its own
(its stamp in front), and every future is asked for its result. A command's latency is taken for its
whole wave: from before the wave's first call until its last result was seen, which is never less
than the command's own.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import deque
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import quorumlog as ql
from quorumlog.bench.load import ANSWER_SECONDS, LoadRun
from quorumlog.bench.payloads import template

WAVE = 256


class Wave(NamedTuple):
    began_ns: int
    stamp: int
    submissions: list[ql.Submission]


class Payloads:
    """Commands with a stamp of their own in front, a wave at a time."""

    def __init__(self, payload: int, rest: bytes, first_stamp: int = 0) -> None:
        self._split = struct.Struct(f"{payload}s" * WAVE).unpack
        self._rows = np.empty((WAVE, payload), np.uint8)
        self._rows[:] = np.frombuffer(bytes(payload - len(rest)) + rest, np.uint8)
        self._stamped = min(8, payload)
        self._stamp = first_stamp

    def next_wave(self) -> tuple[int, tuple[bytes, ...]]:
        """The first one's stamp, which the others count on from, and the commands."""
        stamp = self._stamp
        self._stamp += WAVE
        stamps = np.arange(stamp, stamp + WAVE, dtype="<u8")
        self._rows[:, : self._stamped] = stamps.view(np.uint8).reshape(WAVE, 8)[:, : self._stamped]
        return stamp, self._split(self._rows.data)


def drive_waves(run: LoadRun) -> None:
    """submit(bytes), one entry a call, a window of them in flight; `callers` threads share the window."""
    options, measured = run.options, run.measured
    rest = template(options.payload, 1).tobytes()[8:]
    window = options.window_of() // options.callers
    loads = [WaveLoad(run, rest, window, caller << 40) for caller in range(options.callers)]
    over = threading.Event()
    others = [threading.Thread(target=load.until, args=(over,)) for load in loads[1:]]
    for other in others:
        other.start()
    try:
        run.timed(loads[0].step)
    finally:
        over.set()
        for other in others:
            other.join()
    loads[0].finish()
    measured.refused = sum(load.refused for load in loads)
    measured.unknown = sum(load.unknown for load in loads)
    measured.entries = sum(load.entries for load in loads)
    measured.latencies_ns = np.concatenate([load.latencies_ns() for load in loads])
    acknowledged = [load.acknowledged() for load in loads]
    measured.stamps = np.concatenate([stamps for stamps, _ in acknowledged])
    measured.indexes = np.concatenate([indexes for _, indexes in acknowledged])
    measured.counts = np.ones(len(measured.stamps), np.uint32)


class WaveLoad:
    """Submits and settles waves; `window` commands are in flight at most.

    Attributes:
        entries: settled in the run's measured time.
        refused, unknown: commands since the start with that outcome.
    """

    def __init__(self, run: LoadRun, rest: bytes, window: int, first_stamp: int = 0) -> None:
        self._run = run
        self._submit = run.group.submit
        self._payloads = Payloads(run.options.payload, rest, first_stamp)
        self._waves = max(1, window // WAVE)
        self._flying: deque[Wave] = deque()
        self.entries = self.refused = self.unknown = 0
        self._latencies: list[tuple[int, int]] = []
        self._indexes: list[tuple[int, npt.NDArray[np.uint64]]] = []

    def step(self) -> None:
        """One more wave, then all that is settled; waits for the oldest when the window is full."""
        flying = self._flying
        if len(flying) >= self._waves:
            self._settle(flying.popleft())
        while flying and flying[0].submissions[-1].done:
            self._settle(flying.popleft())
        wave = self._next_wave()
        if wave.submissions:
            flying.append(wave)

    def until(self, over: threading.Event) -> None:
        """The whole load of one more calling thread."""
        while not over.is_set():
            self.step()
        self.finish()

    def finish(self) -> None:
        while self._flying:
            self._settle(self._flying.popleft())

    def latencies_ns(self) -> npt.NDArray[np.int64]:
        """Of every counted command."""
        pairs = np.asarray(self._latencies, np.int64).reshape(-1, 2)
        return np.repeat(pairs[:, 0], pairs[:, 1])

    def acknowledged(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """Stamps of all acknowledged commands since the start, and their indexes."""
        none = [np.empty(0, np.uint64)]
        stamps = [np.arange(stamp, stamp + len(some), dtype=np.uint64) for stamp, some in self._indexes]
        return np.concatenate(stamps + none), np.concatenate([some for _, some in self._indexes] + none)

    def _next_wave(self) -> Wave:
        stamp, payloads = self._payloads.next_wave()
        began_ns = time.perf_counter_ns()
        submissions: list[ql.Submission] = []
        try:
            submissions.extend(map(self._submit, payloads))     # what was taken before a refusal is in the list
        except ql.Overloaded:
            self.refused += WAVE - len(submissions)
        return Wave(began_ns, stamp, submissions)

    def _settle(self, wave: Wave) -> None:
        try:
            indexes = [submission.result(ANSWER_SECONDS).index for submission in wave.submissions]
        except ql.QuorumlogError:
            self._settle_singly(wave)
            return
        self._acknowledge(wave, wave.stamp, indexes)

    def _settle_singly(self, wave: Wave) -> None:
        for number, submission in enumerate(wave.submissions):
            try:
                applied = submission.result(ANSWER_SECONDS)
            except ql.Rejected:
                self.refused += 1
            except ql.QuorumlogError:
                self.unknown += 1
            else:
                self._acknowledge(wave, wave.stamp + number, [applied.index])

    def _acknowledge(self, wave: Wave, stamp: int, indexes: list[int]) -> None:
        if self._run.began_ns and indexes:
            self.entries += len(indexes)
            self._latencies.append((time.perf_counter_ns() - wave.began_ns, len(indexes)))
        self._indexes.append((stamp, np.asarray(indexes, np.uint64)))
