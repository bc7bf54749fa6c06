"""Every byte flipped and every sector zeroed, swapped or aged in a reference directory: never a silent loss.

The real recovery is compared with the truth (what was written and flushed) and
with the oracle, which reads the damaged bytes by docs/format.md alone.  CI looks
at every sector and at a sample of the bytes; `make crash` (QUORUMLOG_DEPTH=deep)
at every byte.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator
from functools import cache

import format_oracle
import pytest
from crash_workload import Workload

from quorumlog._core.bridge.testing_disk import VirtualDisk
from quorumlog._core.bridge.testing_disk_log import DiskLog, LogRefused

SECTOR = 512
DEEP = os.environ.get("QUORUMLOG_DEPTH") == "deep"
CORRUPT = 42


class Reference:
    """A directory with several boots, groups, votes, truncations and a compaction; all of it flushed and marked."""

    def __init__(self) -> None:
        w = Workload(77)
        for group in (1, 2, 3):
            w.open_group(group)
        w.append(3, 40)
        w.vote(3)
        w.append(1, 300, 3)
        w.append(2, 60)
        w.settle(mark=True)
        w.vote(1)
        w.append(1, 900, 2)
        w.append(1, 30)
        w.truncate(1)
        w.append(1, 50, 2)
        w.settle(mark=True)
        w.log.abandon()
        w.log = DiskLog(w.disk, **w.options)  # a second boot
        w.append(2, 2500, 2)
        w.vote(2)
        w.append(1, 10)
        w.settle(mark=True)
        w.compact(1)
        w.append(2, 10)
        w.vote(1)
        w.settle(mark=True)
        assert w.log.flushed == w.log.next - 1
        w.log.abandon()
        self.model = w.model
        self.disk = w.disk
        self.flushed_disk = w.disk.clone()
        self.files = {path: w.disk.content(path) for path in w.disk.paths()}

    def used(self) -> Iterator[tuple[str, int]]:
        """All sectors that hold something."""
        for path, content in self.files.items():
            for at in range(0, len(content), SECTOR):
                if any(content[at : at + SECTOR]):
                    yield path, at

    def zero_neighbours(self) -> Iterator[tuple[str, int]]:
        """Sectors of zeros just behind used ones: padding, and where the next group would lie."""
        used = set(self.used())
        for path, at in used:
            if (path, at + SECTOR) not in used and at + SECTOR < len(self.files[path]):
                yield path, at + SECTOR


@cache
def reference() -> Reference:
    return Reference()


def damaged(path: str, at: int, data: bytes) -> VirtualDisk:
    disk = reference().flushed_disk.clone()
    disk.overwrite(path, at, data)
    return disk


def conclusions(disk: VirtualDisk) -> dict[int, format_oracle.Conclusion]:
    return format_oracle.conclude({path: disk.content(path) for path in disk.paths()})


def judge(disk: VirtualDisk, what: str, *, oracle: bool = True, place: bool = True) -> str:
    """'intact', 'told' or 'refused'; fails on a silent loss or on anything that was never written."""
    expected = conclusions(disk) if oracle else None
    try:
        log = DiskLog(disk, prepare=False)
    except LogRefused as refused:
        status, detail = refused.args
        assert status == CORRUPT, f"{what}: refused with {status}"
        assert ".qlog" in detail, f"{what}: the refusal names no file: {detail}"
        return "refused"
    groups = log.groups
    verdict = "intact"
    for group, states in reference().model.states.items():
        truth = states[-1]
        assert group in groups, f"{what}: group {group} is gone without a word"
        found = groups[group]
        told = found["faulty"] != (0, 0) or found["hard_state_damaged"] or found["unproved_last"] > found["last"]
        entries = log.entries(group)
        wrong = {i for i, e in entries.items() if truth.entries.get(i) != e and i >= truth.first}
        assert not wrong, f"{what}: group {group} serves {sorted(wrong)[:3]}, which is not what was written there"
        missing = set(truth.entries) - set(entries)
        if missing:
            last = max(found["faulty"][1], found["unproved_last"])
            assert told, f"{what}: group {group} lost {sorted(missing)[:3]} silently"
            assert last >= max(missing), f"{what}: group {group} tells of losses up to {last}, lost {max(missing)}"
        if found["hard_state"] != truth.hard_state:
            assert found["hard_state_damaged"], (
                f"{what}: group {group} says {found['hard_state']}, promised was {truth.hard_state}"
            )
        if told:
            verdict = "told"
            assert log.detail or not place, f"{what}: damage without a place"
        if (
            expected is not None
            and group in expected
            and expected[group].faulty is None
            and not expected[group].hard_state_damaged
            and not expected[group].unproved_last
        ):
            # The document says that nothing is lost: then nothing may be given up.
            assert expected[group].entries.items() >= truth.entries.items(), (
                f"{what}: the oracle disagrees with the truth"
            )
            assert not told, f"{what}: group {group} is given up, though every record can be found"
    log.abandon()
    again = DiskLog(disk, prepare=False)
    assert {g: dict(f.items()) for g, f in again.groups.items()} == groups, f"{what}: the second opening differs"
    return verdict


def test_the_reference_is_read_alike_by_both() -> None:
    disk = reference().flushed_disk.clone()
    expected = conclusions(disk)
    assert judge(disk, "undamaged") == "intact"
    for group, states in reference().model.states.items():
        truth = states[-1]
        assert expected[group].entries == truth.entries
        assert expected[group].hard_state == truth.hard_state
        assert (expected[group].first, expected[group].last) == (truth.first, truth.last)


def test_every_sector_zeroed() -> None:
    verdicts = [judge(damaged(path, at, bytes(SECTOR)), f"{path} zeroed at {at}") for path, at in reference().used()]
    assert verdicts.count("told") > 5


def test_every_sector_of_garbage() -> None:
    chooser = random.Random(1)
    for path, at in [*reference().used(), *sorted(reference().zero_neighbours())]:
        judge(damaged(path, at, chooser.randbytes(SECTOR)), f"{path} garbage at {at}")


def test_every_sector_aged() -> None:
    """A lost write: the sector holds what it held before its last write, zeros or the segment's former life."""
    old = Workload(78)
    old.open_group(9)
    old.settle(mark=True)
    for _ in range(6):  # each boot writes another segment, of a higher id
        old.log.abandon()
        old.log = DiskLog(old.disk, **old.options)
    for _ in range(8):
        old.append(9, 1500, 2)
        old.vote(9)
        old.settle(mark=True)
    path = max(path for path in old.disk.paths() if any(old.disk.content(path)))
    assert path not in reference().files
    aged = old.disk.content(path)
    for path, at in reference().used():
        judge(damaged(path, at, aged[at : at + SECTOR]), f"{path} aged at {at}")


def test_every_sector_swapped_with_the_next_and_with_a_distant_one() -> None:
    """Misdirected writes: each record says where it lies."""
    sectors = list(reference().used())
    for (path, at), (other, there) in [
        *itertools.pairwise(sectors),
        *zip(sectors, sectors[len(sectors) // 2 :], strict=False),
    ]:
        disk = reference().flushed_disk.clone()
        first, second = reference().files[path][at : at + SECTOR], reference().files[other][there : there + SECTOR]
        disk.overwrite(path, at, second)
        disk.overwrite(other, there, first)
        judge(disk, f"{path} {at} swapped with {other} {there}", oracle=False)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flip", "zero", "ones"])
def test_every_byte(how: str) -> None:
    chooser = random.Random(how)
    for path, sector in reference().used():
        for at in range(sector, sector + SECTOR):
            if not DEEP and chooser.randrange(4 if at % 4096 < 1024 or at % 4096 >= 3584 else 30):
                continue
            old = reference().files[path][at]
            new = {"flip": old ^ (1 << chooser.randrange(8)), "zero": 0, "ones": 0xFF}[how]
            if new != old:
                judge(damaged(path, at, bytes([new])), f"{path} byte {at} {old:#x} -> {new:#x}", oracle=not at % 8)


def test_a_segment_that_is_gone_is_told() -> None:
    """But for the newest one: nothing that is left knows of it."""
    used = [path for path in reference().files if any(reference().files[path])]
    for path in sorted(used)[:-1]:
        disk = reference().flushed_disk.clone()
        disk.remove(path)
        disk.sync_directory("wal")
        judge(disk, f"{path} removed", oracle=False, place=False)


def test_random_heaps_of_damage_never_crash_nor_serve_what_was_not_written() -> None:
    chooser = random.Random(5)
    sectors = list(reference().used())
    for number in range(400 if DEEP else 60):
        disk = reference().flushed_disk.clone()
        for path, at in chooser.sample(sectors, chooser.randint(2, 12)):
            disk.overwrite(path, at + chooser.randrange(SECTOR), bytes([chooser.randrange(256)]))
        judge(disk, f"heap {number}", oracle=False)
