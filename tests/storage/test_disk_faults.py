"""Failed syncs, full disks, short writes and second openings, on the real log over the virtual disk."""

from __future__ import annotations

import contextlib
import errno

import pytest

from quorumlog._core.bridge.testing_disk import VirtualDisk
from quorumlog._core.bridge.testing_disk_log import DiskLog, LogRefused


def fresh() -> VirtualDisk:
    disk = VirtualDisk(3)
    disk.make_directory("wal")
    disk.sync_directory("/")
    return disk


def opened(disk: VirtualDisk, **options: bool) -> DiskLog:
    log = DiskLog(disk, **options)
    log.open_group(1, "ledger")
    log.append(1, 1, 1, [b"first"])
    log.settle()
    return log


def append_behind(log: DiskLog, payload: bytes) -> None:
    """As a leader of a later term would: what is unproved is truncated first."""
    found = log.groups[1]
    if found["unproved_last"] > found["last"]:
        log.truncate(1, 2, found["last"] + 1)
    log.append(1, 2, found["last"] + 1, [payload])
    log.settle()


@pytest.mark.parametrize("direct", [True, False])
def test_a_failed_sync_is_final_and_what_it_held_is_unproved(direct: bool) -> None:
    """P5, and fsyncgate: the page cache keeps what the platter never got, and calls it clean."""
    disk = fresh()
    log = opened(disk, direct=direct)
    flushed = log.flushed
    log.append(1, 1, 2, [b"second"])
    number = log.plan()
    assert log.write(number) == 0
    disk.fail("sync", errno.EIO)
    assert log.finish(number) == errno.EIO
    assert log.poisoned
    assert log.flushed == flushed
    with pytest.raises(LogRefused):
        log.plan()
    log.abandon()
    # Only a recovery reads on; whatever it then counts as there must survive the loss of the cache.
    log = DiskLog(disk, direct=direct)
    entries = log.entries(1)
    assert entries[1] == (1, b"first")
    assert set(entries) <= {1, 2}
    log.abandon()
    disk.power_cut(5)
    again = DiskLog(disk, direct=direct)
    assert again.entries(1) == entries


@pytest.mark.parametrize("failing", ["sync", "write"])
@pytest.mark.parametrize("after", range(12))
def test_an_error_anywhere_in_the_recovery_loses_nothing(failing: str, after: int) -> None:
    disk = fresh()
    log = opened(disk)
    log.hard_state(1, 4, 2)
    log.settle()
    log.abandon()
    disk.fail(failing, errno.EIO, after=after)
    with contextlib.suppress(LogRefused):
        DiskLog(disk, prepare=False).abandon()
    disk.fail(failing, 0)
    disk.power_cut(after)
    log = DiskLog(disk)
    assert log.entries(1) == {1: (1, b"first")}
    assert log.groups[1]["hard_state"] == (4, 2)
    assert not log.groups[1]["hard_state_damaged"]


def test_a_full_disk_poisons_and_then_everything_acknowledged_is_there() -> None:
    disk = fresh()
    log = opened(disk)
    size = sum(len(disk.content(path)) for path in disk.paths())
    disk.capacity_bytes = size + 4096
    entries = {1: (1, b"first")}
    payload = b"p" * 200_000

    def fill() -> None:
        for index in range(2, 60):
            wsn = log.append(1, 1, index, [payload])
            number = log.plan()
            while number is not None:
                log.finish(number, log.write(number))
                if log.flushed >= wsn:
                    entries[index] = (1, payload)
                log.prepare()
                number = log.plan()

    with pytest.raises(LogRefused):
        fill()
    log.abandon()
    disk.capacity_bytes = 0
    log = DiskLog(disk)
    assert {i: e for i, e in log.entries(1).items() if i in entries} == entries
    append_behind(log, b"after")
    assert log.flushed == log.next - 1


def test_a_short_write_is_a_failed_write() -> None:
    disk = fresh()
    log = opened(disk)
    log.append(1, 1, 2, [b"x" * 3000])
    number = log.plan()
    disk.fail("write", errno.ENOSPC)
    assert log.finish(number, log.write(number)) == errno.ENOSPC
    assert log.poisoned
    log.abandon()
    log = DiskLog(disk)
    assert log.entries(1)[1] == (1, b"first")
    append_behind(log, b"later")
    log.abandon()
    assert DiskLog(disk).entries(1)[1] == (1, b"first")


def test_the_first_opening_of_a_full_disk_is_refused_with_a_reason_and_works_later() -> None:
    disk = fresh()
    disk.capacity_bytes = 100_000
    with pytest.raises(LogRefused) as refused:
        DiskLog(disk)
    assert refused.value.args[0] != 0
    disk.capacity_bytes = 0
    opened(disk)


def test_openings_without_writing_change_nothing() -> None:
    disk = fresh()
    opened(disk).abandon()
    for _ in range(5):
        log = DiskLog(disk)
        assert log.entries(1) == {1: (1, b"first")}
        assert log.groups[1]["unproved_last"] == 0
        log.abandon()


def test_two_owners_of_a_directory_exclude_each_other() -> None:
    disk = fresh()
    held = disk.lock("wal/lock")
    with pytest.raises(BlockingIOError):
        disk.lock("wal/lock")
    disk.close(held)
    disk.close(disk.lock("wal/lock"))


def test_a_segment_that_cannot_be_read_is_neither_empty_nor_a_spare() -> None:
    """Blocks that give EIO are not zeros: taking them for a spare would delete what was acknowledged."""
    disk = fresh()
    opened(disk).abandon()
    before = {path: disk.content(path) for path in disk.paths()}
    disk.fail("read", errno.EIO, forever=True)
    with pytest.raises(LogRefused):
        DiskLog(disk)
    disk.fail("read", 0)
    assert {path: disk.content(path) for path in disk.paths()} == before
    log = DiskLog(disk)
    assert log.entries(1) == {1: (1, b"first")}
    log.abandon()
