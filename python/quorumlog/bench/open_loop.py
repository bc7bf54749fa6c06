"""Open loops: proposals are due at times fixed beforehand, whatever became of the earlier ones.

Callers who don't wait for one another are many small ones that come at a rate. So each latency counts
from when its proposal was *due*, not from when the loading thread got round to it: a stall shows in all
that fell due in it (no coordinated omission). How late the thread was in calling, apart from waiting for
an answer, is measured too: it is an upper bound of what the generator added by itself.

Everything due in the measured time counts, answered within it or after it; what the thread had not even
called when the time was over is `not_started`, and its latency is the least that it can have become.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import quorumlog as ql
from quorumlog.bench.closed_loop import submit_batch, submit_one
from quorumlog.bench.load import ANSWER_SECONDS, LoadRun
from quorumlog.bench.payloads import stamp_bytes, template

# How many overdue proposals are made before the answers are looked at again.
CALLS_PER_TURN = 64


class Schedule:
    """When the proposals are due: one every `interval_ns` from `began_ns` on, until `end_ns`."""

    def __init__(self, began_ns: int, seconds: float, entries_per_second: float, count: int) -> None:
        self._began = began_ns
        self._interval_ns = count * 1e9 / entries_per_second
        self._made = 0
        self.end_ns = began_ns + int(seconds * 1e9)
        self.due_ns = began_ns

    def next(self) -> None:
        """The next one; counted from the beginning each time, so that nothing adds up."""
        self._made += 1
        self.due_ns = self._began + int(self._made * self._interval_ns)

    @property
    def over(self) -> bool:
        return self.due_ns >= self.end_ns


def drive_open(run: LoadRun) -> None:
    """The load of `--rate`, for the modes batch, submit and single."""
    options = run.options
    sleep_finely()
    drive: SingleCaller | ManyCallers
    if options.mode == "single":
        drive = SingleCaller(run)
    elif options.mode == "submit":
        drive = ManyCallers(run, submit_one(run), 1)
    else:
        drive = ManyCallers(run, submit_batch(run), options.batch)
    drive.follow(_schedule(run, time.perf_counter_ns(), options.warmup_seconds))
    drive.finish()
    run.measured.refused = run.measured.unknown = 0  # nothing of the warm-up counts here
    schedule = _schedule(run, run.begin(), options.seconds)
    drive.follow(schedule)
    drive.finish()
    while not schedule.over:
        run.not_started(schedule.due_ns, schedule.end_ns)
        schedule.next()
    run.end()


def _schedule(run: LoadRun, began_ns: int, seconds: float) -> Schedule:
    return Schedule(began_ns, seconds, run.options.rate, run.options.entries_per_call)


def sleep_finely() -> None:
    """Timers of this thread fire when they are due, not up to 50 us later (the kernel's default slack)."""
    with contextlib.suppress(OSError):  # not everywhere, and not needed for the figures to be true
        Path(f"/proc/{threading.get_native_id()}/timerslack_ns").write_text("1")


def _sleep_until(due_ns: int) -> None:
    left = due_ns - time.perf_counter_ns()
    if left > 0:
        time.sleep(left / 1e9)


class SingleCaller:
    """One blocking caller: what falls due while it waits is proposed late, and counts from when it was due."""

    def __init__(self, run: LoadRun) -> None:
        self._run = run
        self._rest = template(run.options.payload, 1).tobytes()[8:]
        self._stamp = 0

    def follow(self, schedule: Schedule) -> None:
        run, clock = self._run, time.perf_counter_ns
        free = clock()
        while not schedule.over and free < schedule.end_ns:
            _sleep_until(schedule.due_ns)
            called = clock()
            run.lateness(called - max(schedule.due_ns, free))
            self._propose(schedule.due_ns)
            free = clock()
            schedule.next()

    def _propose(self, due_ns: int) -> None:
        run, stamp = self._run, self._stamp
        self._stamp += 1
        try:
            applied = run.group.propose(
                stamp_bytes(stamp, run.options.payload) + self._rest, timeout=ANSWER_SECONDS
            )
        except ql.Rejected:
            run.measured.refused += 1
        except ql.QuorumlogError:
            run.measured.unknown += 1
        else:
            run.acknowledge(due_ns, time.perf_counter_ns(), stamp, applied.index, 1)

    def finish(self) -> None:
        """Nothing is in flight between two calls."""


class ManyCallers:
    """As many in flight as the rate makes; what the group refuses (its bytes in flight are bounded) is counted."""

    def __init__(self, run: LoadRun, submit: Callable[[int], ql.Submission], count: int) -> None:
        self._run = run
        self._submit = submit
        self._count = count
        self._stamp = 0
        self._flying: deque[tuple[int, int, ql.Submission]] = deque()

    def follow(self, schedule: Schedule) -> None:
        clock = time.perf_counter_ns
        while not schedule.over and (now := clock()) < schedule.end_ns:
            calls = 0
            while schedule.due_ns <= now and not schedule.over and calls < CALLS_PER_TURN:
                self._call(schedule.due_ns)
                schedule.next()
                calls += 1
                now = clock()
            self._take_answers()
            if not calls:
                self._wait(schedule.due_ns)

    def finish(self) -> None:
        """Waits for all that is in flight, the oldest first."""
        while self._flying:
            self._flying[0][2].exception(ANSWER_SECONDS)
            self._settle()
            self._take_answers()

    def _call(self, due_ns: int) -> None:
        run = self._run
        run.lateness(time.perf_counter_ns() - due_ns)
        try:
            self._flying.append((due_ns, self._stamp, self._submit(self._stamp)))
        except ql.Overloaded:
            run.measured.refused += 1
        else:
            self._stamp += 1

    def _wait(self, due_ns: int) -> None:
        """Until the next one is due, or the oldest in flight is answered."""
        if self._flying:
            left = due_ns - time.perf_counter_ns()
            if left > 0:
                self._flying[0][2].exception(left / 1e9)
        else:
            _sleep_until(due_ns)

    def _take_answers(self) -> None:
        flying = self._flying
        while flying and flying[0][2].done:
            self._settle()

    def _settle(self) -> None:
        """Takes in the answer of the oldest, which is there, or was waited for long enough."""
        due, stamp, submission = self._flying.popleft()
        try:
            applied = submission.result(0)
        except ql.Rejected:
            self._run.measured.refused += 1
        except ql.QuorumlogError:
            self._run.measured.unknown += 1
        else:
            self._run.acknowledge(due, time.perf_counter_ns(), stamp, applied.index, self._count)
