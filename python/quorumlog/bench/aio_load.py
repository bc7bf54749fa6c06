"""Mode aio: the load of a benchmark as coroutines of one event loop beside the leader.

Three shapes: `tasks` long-lived tasks that each await `propose` in a loop; with a window, as many tasks
that each keep so many `submit` futures and await each of them; with no tasks, one new task per
command, `window` of them alive at a time. Latencies: from before the call until the
coroutine has its answer (of windows by the wave of 256, see waves.py).
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Coroutine
from typing import Any

import numpy as np

import quorumlog as ql
from quorumlog.bench.load import ANSWER_SECONDS, LoadRun
from quorumlog.bench.options import AIO_TASKS_ALIVE
from quorumlog.bench.payloads import template
from quorumlog.bench.waves import WAVE, Payloads, Wave


class NoUvloop(RuntimeError):
    """uvloop was asked for and is not installed."""


def drive_aio(run: LoadRun) -> None:
    load = AioLoad(run)
    loop_run = asyncio.run
    if run.options.loop == "uvloop":
        try:
            import uvloop
        except ImportError as why:
            raise NoUvloop("--loop uvloop: pip install uvloop") from why
        loop_run = uvloop.run
    loop_run(load.main())
    measured = run.measured
    measured.latencies_ns = np.asarray(load.latencies_ns)
    measured.stamps, measured.indexes = np.asarray(load.stamps), np.asarray(load.indexes)
    measured.counts = np.ones(len(load.stamps), np.uint32)


class AioLoad:
    """`stamps` and `indexes` cover the warm-up too, `latencies_ns` doesn't."""

    def __init__(self, run: LoadRun) -> None:
        self._run, self._options, self._measured = run, run.options, run.measured
        self._group = ql.aio.Group(run.group)
        self._rest = template(self._options.payload, 1).tobytes()[8:]
        self._stamp = 0
        self._running = True
        self.latencies_ns: array[int] = array("Q")
        self.stamps: array[int] = array("Q")
        self.indexes: array[int] = array("Q")

    async def main(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for coroutine in self._coroutines(tasks):
                tasks.create_task(coroutine)
            await asyncio.sleep(self._options.warmup_seconds)
            self._run.begin()
            await asyncio.sleep(self._options.seconds)
            self._run.end()
            self._running = False

    def _coroutines(self, tasks: asyncio.TaskGroup) -> list[Coroutine[Any, Any, None]]:
        if not self._options.tasks:
            return [self._task_per_command(tasks)]
        if self._options.window:
            return [self._keep_window(Payloads(self._options.payload, self._rest, first)) for first in self._lanes()]
        return [self._propose_for_ever() for _ in range(self._options.tasks)]

    def _lanes(self) -> list[int]:
        """Stamps for each task to start from, far enough apart."""
        return [lane << 40 for lane in range(self._options.tasks)]

    def _next(self) -> tuple[int, bytes]:
        stamp = self._stamp
        self._stamp += 1
        return stamp, stamp.to_bytes(8, "little")[: self._options.payload] + self._rest

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
        room = asyncio.Semaphore(self._options.window or AIO_TASKS_ALIVE)

        async def once() -> None:
            await self._propose()
            room.release()

        while self._running:
            await room.acquire()
            tasks.create_task(once())

    # ---- windows of submissions ----

    async def _keep_window(self, payloads: Payloads) -> None:
        waves = max(1, self._options.window // WAVE)
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
        count = len(indexes)
        if self._run.began_ns:
            self._measured.entries += count
            self.latencies_ns.extend(array("Q", [time.perf_counter_ns() - wave.began_ns]) * count)
        self.stamps.extend(range(wave.stamp, wave.stamp + count))
        self.indexes.extend(indexes)

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
        if self._run.began_ns:
            self._measured.entries += 1
            self.latencies_ns.append(time.perf_counter_ns() - before)
        self.stamps.append(stamp)
        self.indexes.append(index)
