"""Closed loops: one Python thread beside the leader, a bounded number of proposals in flight.

A new proposal is made when an older one has been answered. Each latency begins before the call that
proposes and ends when the thread has seen the answer, and every proposal of the measured time is
counted, so a stall shows in as many latencies as proposals were waiting (mode single: exactly one).
What a closed loop can't show is the queue that callers who don't wait for one another would have
formed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np

import quorumlog as ql
from quorumlog.bench.load import ANSWER_SECONDS, LoadRun
from quorumlog.bench.payloads import stamp_bytes, template


def drive_single(run: LoadRun) -> None:
    """propose(bytes), one after the other."""
    group, measured, payload = run.group, run.measured, run.options.payload
    rest = template(payload, 1).tobytes()[8:]
    stamp = 0

    def step() -> None:
        nonlocal stamp
        data = stamp_bytes(stamp, payload) + rest
        before = time.perf_counter_ns()
        try:
            applied = group.propose(data, timeout=ANSWER_SECONDS)
        except ql.Rejected:
            measured.refused += 1
        except ql.QuorumlogError:
            measured.unknown += 1
        else:
            run.acknowledge(before, time.perf_counter_ns(), stamp, applied.index, 1)
        stamp += 1

    run.timed(step)


def drive_batch(run: LoadRun) -> None:
    """submit_many((buffer, offsets)), a window of batches in flight."""
    Pipeline(run, submit_batch(run), 1, run.options.batch).drive()


def submit_one(run: LoadRun) -> Callable[[int], ql.Submission]:
    """Submits one entry under a stamp."""
    submit, payload = run.group.submit, run.options.payload
    rest = template(payload, 1).tobytes()[8:]
    return lambda stamp: submit(stamp_bytes(stamp, payload) + rest)


def submit_batch(run: LoadRun) -> Callable[[int], ql.Submission]:
    """Submits a batch, the first entry of which bears the stamp."""
    submit_many, options = run.group.submit_many, run.options
    buffer = template(options.payload, options.batch)
    offsets = np.arange(options.batch + 1, dtype=np.uint32) * np.uint32(options.payload)
    room = buffer.data
    length = min(8, options.payload)

    def submit(stamp: int) -> ql.Submission:
        # The call copies before it returns, so the buffer can be stamped again next time.
        room[:length] = stamp_bytes(stamp, options.payload)
        return submit_many((buffer, offsets))

    return submit


class Pipeline:
    """Up to `turn` submissions of `count` entries each, then takes in the answers that are there; waits if full."""

    def __init__(self, run: LoadRun, submit: Callable[[int], ql.Submission], turn: int, count: int) -> None:
        self._run = run
        self._submit = submit
        self._turn = turn
        self._count = count
        self._window = run.options.window_of()
        self._stamp = 0
        self._flying: deque[tuple[int, int, ql.Submission]] = deque()

    def drive(self) -> None:
        self._run.timed(self._step)
        while self._flying:
            self._settle()

    def _step(self) -> None:
        flying, submit, clock = self._flying, self._submit, time.perf_counter_ns
        for _ in range(min(self._turn, self._window - len(flying))):
            before = clock()
            try:
                submission = submit(self._stamp)
            except ql.Overloaded:
                self._run.measured.refused += 1
                break
            flying.append((before, self._stamp, submission))
            self._stamp += 1
        else:
            if len(flying) < self._window and not flying[0][2].done:
                return
        if flying:
            self._settle()
        while flying and flying[0][2].done:
            self._settle()

    def _settle(self) -> None:
        """Waits for the oldest in flight and takes its answer in."""
        before, stamp, submission = self._flying.popleft()
        try:
            applied = submission.result(ANSWER_SECONDS)
        except ql.Rejected:
            self._run.measured.refused += 1
        except ql.QuorumlogError:
            self._run.measured.unknown += 1
        else:
            self._run.acknowledge(before, time.perf_counter_ns(), stamp, applied.index, self._count)
