"""The open loop: everything that falls due is counted once, from when it was due, whatever the group does."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

import quorumlog as ql
from quorumlog.bench.load import LoadRun
from quorumlog.bench.measured import Measured
from quorumlog.bench.modes import LOAD_MODES, OPEN_LOOP, load_mode
from quorumlog.bench.open_loop import Schedule
from quorumlog.bench.options import MODES, OPEN_LOOP_MODES, BadOptions, BenchOptions, LoadOptions, Mode


class Answered:
    """A submission that was answered at once."""

    done = True

    def __init__(self, index: int) -> None:
        self._index = index

    def result(self, timeout: float | None = None) -> Any:
        return SimpleNamespace(index=self._index)

    def exception(self, timeout: float | None = None) -> None:
        return None


class FakeGroup:
    """Takes all proposals but each `refuse_every`-th; `at_call` is called in front of each."""

    def __init__(self, refuse_every: int = 0, at_call: Callable[[], None] = lambda: None) -> None:
        self.calls = 0
        self._refuse_every = refuse_every
        self._at_call = at_call

    def submit(self, payload: object) -> Answered:
        self._at_call()
        self.calls += 1
        if self._refuse_every and self.calls % self._refuse_every == 0:
            raise ql.Overloaded("full", 1)
        return Answered(self.calls)

    submit_many = submit

    def propose(self, payload: bytes, timeout: float | None) -> Any:
        return self.submit(payload).result()


def drive(group: FakeGroup, mode: Mode, rate: float, seconds: float = 0.01, batch: int = 4) -> Measured:
    options = LoadOptions(mode, 16, batch, seconds, rate=rate)
    run = LoadRun(cast(ql.Group, group), options)
    load_mode(options).drive(run)
    return run.measured


@pytest.mark.parametrize("mode", OPEN_LOOP_MODES)
@pytest.mark.parametrize("refuse_every", [0, 7])
def test_each_proposal_that_falls_due_is_counted_once(mode: Mode, refuse_every: int) -> None:
    """10 ms at 100,000 calls a second, and at a rate that no generator keeps up with."""
    for calls_per_second in (1e5, 1e8):
        count = 4 if mode == "batch" else 1
        measured = drive(FakeGroup(refuse_every), mode, calls_per_second * count)
        due = round(0.01 * calls_per_second)
        assert len(measured.latencies_ns) + measured.refused == due
        assert measured.entries == (len(measured.latencies_ns) - measured.not_started) * count
        assert (measured.refused > 0) == (refuse_every > 0)
        assert measured.unknown == 0
    assert measured.not_started > 0


def test_a_stall_shows_in_everything_that_fell_due_in_it() -> None:
    """One call takes 5 ms (by the clock, without sleeping): the others are late by what was left of it."""
    stall_ns = 5_000_000
    began = 0

    def stall_once() -> None:
        nonlocal began
        if group.calls == 200:
            began = time.perf_counter_ns()
            while time.perf_counter_ns() < began + stall_ns:
                pass

    group = FakeGroup(at_call=stall_once)
    measured = drive(group, "single", 1e5)
    late = [ns for ns in measured.latencies_ns if ns > stall_ns // 2]
    # 500 fell due in those 5 ms, and half of them waited for more than half of it.
    assert len(late) >= 249


def test_times_are_counted_from_the_beginning() -> None:
    schedule = Schedule(1_000, 1.0, 3.0, 1)
    due = []
    while not schedule.over:
        due.append(schedule.due_ns)
        schedule.next()
    assert due == [1_000, 333_334_333, 666_667_666]


def test_a_window_and_a_rate_are_not_for_one_run() -> None:
    with pytest.raises(BadOptions, match="choose one"):
        BenchOptions(rate=100.0, window=3)
    with pytest.raises(BadOptions, match="--rate -1"):
        BenchOptions(rate=-1.0)


def test_each_mode_has_a_driver_and_a_rate_chooses_the_open_loop() -> None:
    assert tuple(LOAD_MODES) == MODES
    for mode in OPEN_LOOP_MODES:
        assert load_mode(LoadOptions(mode, 16, 4, 1.0, rate=5.0)).latency_means == OPEN_LOOP
        assert load_mode(LoadOptions(mode, 16, 4, 1.0)) is LOAD_MODES[mode]
