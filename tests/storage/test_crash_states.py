"""Every state that a crash could have left of a recorded workload is recovered from, rightly and twice.

`make crash` takes many more (QUORUMLOG_DEPTH=deep).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from crash_workload import Workload, fates_of, prefixes, random_mix, recover_and_judge, rolling, small

SCALE = 8 if os.environ.get("QUORUMLOG_DEPTH") == "deep" else int(os.environ.get("QUORUMLOG_CRASH", "1"))


def crash_everywhere(workload: Workload, seed: int, *, exhaustive: int, samples: int, every: int = 1) -> int:
    """Judges the crash states of all prefixes (or of one in `every`); returns how many there were."""
    chooser = random.Random(seed)
    states = 0
    for recorded, disk in prefixes(workload):
        if chooser.randrange(every):
            continue
        for fates in fates_of(disk, chooser, exhaustive, samples):
            for changes in {0, disk.pending_changes, chooser.randint(0, disk.pending_changes)}:
                state = disk.clone(chooser.randrange(1 << 30))
                state.cut_as(fates, changes, chooser.randrange(1 << 30))
                try:
                    recover_and_judge(workload, recorded, state, chooser, nested=int(states % 3 == 0))
                except BaseException as error:
                    error.add_note(f"after {recorded} calls, fates {fates.hex()}, {changes} changes of names")
                    raise
                states += 1
    return states


def test_all_subsets_of_pending_sectors_of_small_records() -> None:
    workload = small(1)
    states = crash_everywhere(workload, 1, exhaustive=6 if SCALE == 1 else 12, samples=40 * SCALE)
    assert states > 300


@pytest.mark.parametrize("seed", range(2, 2 + 4 * SCALE))
def test_large_records_rolls_and_a_dropped_head(seed: int) -> None:
    workload = rolling(seed)
    assert any("segment-0000000000000004" in workload.disk.recorded(i)[5]
               for i in range(workload.disk.recorded_count)), "the workload rolls"
    states = crash_everywhere(workload, seed, exhaustive=5, samples=8, every=1 if SCALE > 1 else 2)
    assert states > 50


@pytest.mark.parametrize("seed", range(10, 10 + 16 * SCALE))
def test_random_mixes(seed: int) -> None:
    workload = random_mix(seed)
    assert crash_everywhere(workload, seed, exhaustive=6, samples=30) > 50


@pytest.mark.parametrize("make", [small, random_mix])
def test_a_crash_of_the_process_alone_loses_nothing_that_was_written(make: Callable[[int], Workload]) -> None:
    workload = make(5)
    for recorded, disk in prefixes(workload):
        state = disk.clone()
        state.process_crash()
        recover_and_judge(workload, recorded, state, random.Random(recorded), nested=0)
