"""Mode aio: the load of a benchmark as coroutines of one event loop beside the leader.

Three shapes: `tasks` long-lived tasks that each await `propose` in a loop; with a window, as many tasks
that each keep so many `submit` futures and await each of them; with no tasks, one new task per
command, `window` of them alive at a time. Latencies as in load.py: from before the call until the
coroutine has its answer (of windows by the wave of 256, see waves.py).
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import quorumlog as ql
from quorumlog.bench.options import Loop
from quorumlog.bench.waves import WAVE, Payloads, Wave

TASKS = 10_000
ANSWER_SECONDS = 30.0


class NoUvloop(RuntimeError):
    """uvloop was asked for and is not installed."""


@dataclass(frozen=True)
class AioShape:
    """`tasks` long-lived ones (0: one per command) and what each keeps in flight (0: one proposal)."""

    loop: Loop = "asyncio"
    tasks: int = TASKS
    window: int = 0

    def in_flight(self) -> int:
        return max(1, self.tasks) * max(1, self.window) if self.tasks else self.window or TASKS


@dataclass
class AioMeasured:
    """What came of it; the three arrays cover the warm-up too, `latencies_ns` doesn't."""

    entries: int = 0
    refused: int = 0
    unknown: int = 0
    seconds: float = 0.0
    latencies_ns: array[int] = field(default_factory=lambda: array("Q"))
    stamps: array[int] = field(default_factory=lambda: array("Q"))
    indexes: array[int] = field(default_factory=lambda: array("Q"))


class AioLoad:
    def __init__(self, group: ql.Group, shape: AioShape, payload: int, rest: bytes) -> None:
        self._group = ql.aio.Group(group)
        self._shape = shape
        self._payload, self._rest = payload, rest
        self._stamp = 0
        self._began = 0  # 0: what is answered now is not counted
        self._running = True
        self._measured = AioMeasured()

    def run(
        self, warmup: float, seconds: float, at_start: Callable[[], None], at_end: Callable[[], None]
    ) -> AioMeasured:
        """Blocks until all is answered; `at_start` and `at_end` are called around the measured time."""
        run = asyncio.run
        if self._shape.loop == "uvloop":
            try:
                import uvloop
            except ImportError as why:
                raise NoUvloop("--loop uvloop: pip install uvloop") from why
            run = uvloop.run
        run(self._main(warmup, seconds, at_start, at_end))
        return self._measured

    async def _main(
        self, warmup: float, seconds: float, at_start: Callable[[], None], at_end: Callable[[], None]
    ) -> None:
        async with asyncio.TaskGroup() as tasks:
            for coroutine in self._coroutines(tasks):
                tasks.create_task(coroutine)
            await asyncio.sleep(warmup)
            at_start()
            self._began = time.perf_counter_ns()
            await asyncio.sleep(seconds)
            self._measured.seconds = (time.perf_counter_ns() - self._began) / 1e9
            self._began = 0
            at_end()
            self._running = False

    def _coroutines(self, tasks: asyncio.TaskGroup) -> list[Coroutine[Any, Any, None]]:
        if not self._shape.tasks:
            return [self._task_per_command(tasks)]
        if self._shape.window:
            return [self._keep_window(Payloads(self._payload, self._rest, first)) for first in self._lanes()]
        return [self._propose_for_ever() for _ in range(self._shape.tasks)]

    def _lanes(self) -> list[int]:
        """Stamps for each task to start from, far enough apart."""
        return [lane << 40 for lane in range(self._shape.tasks)]

    def _next(self) -> tuple[int, bytes]:
        stamp = self._stamp
        self._stamp += 1
        return stamp, stamp.to_bytes(8, "little")[: self._payload] + self._rest

    # ---- long-lived tasks that propose ----

    async def _propose_for_ever(self) -> None:
        while self._running:
            await self._propose()

    async def _propose(self) -> None:
        stamp, payload = self._next()
        before = time.perf_counter_ns()
        try:
            applied = await self._group.propose(payload, ANSWER_SECONDS)
        except ql.Rejected:
            self._measured.refused += 1
        except ql.QuorumlogError:
            self._measured.unknown += 1
        else:
            self._acknowledge(before, stamp, applied.index)

    # ---- one task per command ----

    async def _task_per_command(self, tasks: asyncio.TaskGroup) -> None:
        room = asyncio.Semaphore(self._shape.window or TASKS)

        async def once() -> None:
            await self._propose()
            room.release()

        while self._running:
            await room.acquire()
            tasks.create_task(once())

    # ---- windows of submissions ----

    async def _keep_window(self, payloads: Payloads) -> None:
        waves = max(1, self._shape.window // WAVE)
        flying: deque[Wave] = deque()
        while self._running:
            if len(flying) >= waves:
                await self._settle(flying.popleft())
            stamp, commands = payloads.next_wave()
            wave = Wave(time.perf_counter_ns(), stamp, [])
            try:
                wave.submissions.extend(map(self._group.submit, commands))
            except ql.Overloaded:
                self._measured.refused += WAVE - len(wave.submissions)
                await asyncio.sleep(0)
            flying.append(wave)
        while flying:
            await self._settle(flying.popleft())

    async def _settle(self, wave: Wave) -> None:
        try:
            indexes = [(await submission).index for submission in wave.submissions]
        except ql.QuorumlogError:
            await self._settle_singly(wave)
            return
        measured, count = self._measured, len(indexes)
        if self._began:
            measured.entries += count
            measured.latencies_ns.extend(array("Q", [time.perf_counter_ns() - wave.began_ns]) * count)
        measured.stamps.extend(range(wave.stamp, wave.stamp + count))
        measured.indexes.extend(indexes)

    async def _settle_singly(self, wave: Wave) -> None:
        for number, submission in enumerate(wave.submissions):
            try:
                applied = await submission
            except ql.Rejected:
                self._measured.refused += 1
            except ql.QuorumlogError:
                self._measured.unknown += 1
            else:
                self._acknowledge(wave.began_ns, wave.stamp + number, applied.index)

    def _acknowledge(self, before: int, stamp: int, index: int) -> None:
        measured = self._measured
        if self._began:
            measured.entries += 1
            measured.latencies_ns.append(time.perf_counter_ns() - before)
        measured.stamps.append(stamp)
        measured.indexes.append(index)


def as_arrays(measured: AioMeasured) -> dict[str, Any]:
    """The columns that load.Measured wants."""
    return {
        "latencies_ns": np.asarray(measured.latencies_ns),
        "stamps": np.asarray(measured.stamps),
        "indexes": np.asarray(measured.indexes),
        "counts": np.ones(len(measured.stamps), np.uint32),
    }
