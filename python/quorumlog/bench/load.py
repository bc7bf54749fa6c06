"""The frame of a load: its group, its options, its clock, and what came of it.

A driver (the table is in `modes.py`) gets a `LoadRun` and makes the load: it warms up, says `begin()`,
loads for `options.seconds`, says `end()`, and then waits for what is still in flight. A driver whose
load is one small step after another leaves all of that but the last to `timed(step)`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import quorumlog as ql
from quorumlog.bench.measured import Measured
from quorumlog.bench.options import LoadOptions

ANSWER_SECONDS = 30.0


class LoadRun:
    """One load on one group; `at_start` and `at_end` are called around the measured time."""

    def __init__(
        self,
        group: ql.Group,
        options: LoadOptions,
        *,
        at_start: Callable[[], None] = lambda: None,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self.group = group
        self.options = options
        self.measured = Measured()
        self._at_start, self._at_end = at_start, at_end
        self._began = 0

    @property
    def began_ns(self) -> int:
        """When the measured time began (`time.perf_counter_ns`); 0 before and after it."""
        return self._began

    def begin(self) -> int:
        """The warm-up is over: from here on counts.  Returns the time, ns."""
        self._at_start()
        self._began = time.perf_counter_ns()
        return self._began

    def end(self) -> None:
        """The measured time is over: what is still in flight is awaited, but not counted."""
        self.measured.seconds = (time.perf_counter_ns() - self._began) / 1e9
        self._at_end()
        self._began = 0

    def timed(self, step: Callable[[], None]) -> None:
        """`step` again and again: through the warm-up, then for the measured time."""
        _repeat(step, time.perf_counter_ns() + int(self.options.warmup_seconds * 1e9))
        began = self.begin()
        _repeat(step, began + int(self.options.seconds * 1e9))
        self.end()

    def acknowledge(self, before_ns: int, after_ns: int, stamp: int, index: int, count: int) -> None:
        """`count` entries from `index` on, proposed at `before_ns` under `stamp`, were answered at `after_ns`."""
        measured = self.measured
        if self._began and after_ns >= self._began:
            measured.entries += count
            measured.latencies_ns.append(after_ns - before_ns)
        measured.stamps.append(stamp)
        measured.indexes.append(index)
        measured.counts.append(count)

    def lateness(self, ns: int) -> None:
        """A call of an open loop came so long after it could have."""
        if self._began:
            self.measured.lateness_ns.append(ns)

    def not_started(self, due_ns: int, end_ns: int) -> None:
        """A proposal of an open loop that was due, and never made: it would have taken longer than this."""
        self.measured.not_started += 1
        self.measured.latencies_ns.append(end_ns - due_ns)


def _repeat(step: Callable[[], None], end_ns: int) -> None:
    while time.perf_counter_ns() < end_ns:
        step()
