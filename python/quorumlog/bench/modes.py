"""The load modes: which driver makes a mode's load, and what its figures mean.

A new mode is a driver in a file of its own, its name in `options.Mode` and `options.MODES`, and a line
here. Options of its own are fields of `LoadOptions`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quorumlog.bench.aio_load import drive_aio
from quorumlog.bench.closed_loop import drive_batch, drive_single
from quorumlog.bench.load import LoadRun
from quorumlog.bench.open_loop import drive_open
from quorumlog.bench.options import LoadOptions, Mode
from quorumlog.bench.waves import drive_waves

CLOSED_LOOP = "closed loop: from before the proposing call to the answer seen by the one loading thread"
WAVES = "closed loop: of a wave of 256 calls, from before its first to its last answer seen, for each of them"
AIO = "closed loop: from before the call to the coroutine with its answer; with a window, by waves of 256"
OPEN_LOOP = (
    "open loop: from when the proposal was due to the answer seen by the loading thread, for all that fell due"
)


@dataclass(frozen=True)
class LoadMode:
    """`drive` runs in the leader's process and returns when nothing is in flight any more."""

    drive: Callable[[LoadRun], None]
    latency_means: str


LOAD_MODES: dict[Mode, LoadMode] = {
    "batch": LoadMode(drive_batch, CLOSED_LOOP),
    "submit": LoadMode(drive_waves, WAVES),
    "single": LoadMode(drive_single, CLOSED_LOOP),
    "aio": LoadMode(drive_aio, AIO),
}


def load_mode(options: LoadOptions) -> LoadMode:
    """By name; a rate makes an open loop of those that can (`options.OPEN_LOOP_MODES`)."""
    if options.rate:
        return LoadMode(drive_open, OPEN_LOOP)
    return LOAD_MODES[options.mode]
