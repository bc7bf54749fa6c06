"""Snapshot files (docs/format.md 9): the bytes, damage, crashes at every call, and what comes in from a peer."""

from __future__ import annotations

import errno
import random
import struct
from collections.abc import Iterator

import google_crc32c
import pytest
from crash_workload import fates_of

from quorumlog._core.bridge import testing_snapshot as snapshots
from quorumlog._core.bridge.testing_disk import VirtualDisk
from quorumlog._core.bridge.testing_snapshot import Inflow, SnapshotRefused

NAME = "wal/snapshot-0000000000000007-{:016x}.qlsn"
CORRUPT = 42


def fresh() -> VirtualDisk:
    disk = VirtualDisk(3)
    disk.make_directory("wal")
    disk.sync_directory("/")
    return disk


def state_of(index: int, size: int) -> bytes:
    return random.Random(index).randbytes(size)


def replace(disk: VirtualDisk, index: int, data: bytes) -> None:
    path = NAME.format(index)
    if path.removeprefix("wal/") in disk.list("wal"):
        disk.remove(path)
    disk.put(path, data)


def crc(data: bytes) -> int:
    return int(google_crc32c.value(data))


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def test_the_bytes_are_those_of_the_document() -> None:
    disk = fresh()
    state = state_of(9, 200)
    snapshots.write(disk, 9, 4, [state[:90], b"", state[90:]], number=77, writer=5, membership=b"members",
                    membership_index=3, sessions=b"sessions+", chunk_bytes=64)
    data = disk.content(NAME.format(9))
    records = padded(b"members") + padded(b"sessions+")
    header = struct.pack("<IIIQQQQQQIIQQQQ24x", 0x4E534C51, 1, 64, 7, 9, 4, 5, 77, 3, 7, crc(records),
                         9, 200, len(data), 1234)
    assert data[:128] == struct.pack("<I", crc(header)) + header
    at, digest = 128 + len(records), b""
    assert data[128:at] == records
    for offset in range(0, 200, 64):
        piece = state[offset : offset + 64]
        chunk = struct.pack("<IQ", len(piece), offset) + padded(piece)
        assert data[at : at + 4 + len(chunk)] == struct.pack("<I", crc(chunk)) + chunk
        digest += struct.pack("<I", crc(chunk))
        at += 4 + len(chunk)
    footer = struct.pack("<IQQII", 0x45534C51, 200, 4, crc(digest), crc(header))
    assert data[at:] == struct.pack("<I", crc(footer)) + footer


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 128, 1000])
def test_what_is_written_is_read(size: int) -> None:
    disk = fresh()
    state = state_of(size, size)
    told = snapshots.write(disk, 5, 2, [state], sessions=b"s" * 13)
    found = snapshots.read(disk, 5)
    assert found["state"] == state
    assert found["sessions"] == b"s" * 13
    assert found["id"] == told
    assert found["state_bytes"] == size


def test_the_newest_stays_and_leftovers_go() -> None:
    disk = fresh()
    for index in (3, 8, 5):
        snapshots.write(disk, index, 1, [b"x"], drop_older=False)
    disk.put("wal/snapshot-0000000000000007-0000000000000009.making", b"half")
    disk.put("wal/snapshot-0000000000000008-0000000000000009.coming", b"half")
    disk.put("wal/snapshot-0000000000000008-0000000000000009.qlsn", b"another group's")
    assert snapshots.indexes(disk) == [8, 5, 3]
    snapshots.clean(disk)
    assert not [name for name in disk.list("wal") if not name.endswith("qlsn")]
    snapshots.write(disk, 11, 1, [b"y"])
    assert snapshots.indexes(disk) == [11]
    assert "snapshot-0000000000000008-0000000000000009.qlsn" in disk.list("wal")


def test_every_flipped_bit_is_found() -> None:
    disk = fresh()
    snapshots.write(disk, 6, 3, [state_of(6, 150)], membership=b"m" * 5, membership_index=2, sessions=b"s" * 7)
    good = disk.content(NAME.format(6))
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1 << (at % 8)
        replace(disk, 6, bytes(bad))
        with pytest.raises(SnapshotRefused) as raised:
            snapshots.read(disk, 6)
        assert raised.value.args == (CORRUPT,), f"byte {at}"


def test_cut_lengthened_and_misdirected_files_are_found() -> None:
    disk = fresh()
    snapshots.write(disk, 6, 3, [state_of(6, 150)])
    good = disk.content(NAME.format(6))
    for bad in (b"", good[:100], good[:-8], good + bytes(8), good[:128] * 3):
        replace(disk, 6, bad)
        with pytest.raises(SnapshotRefused):
            snapshots.read(disk, 6)
    replace(disk, 7, good)          # whole, under another's name
    with pytest.raises(SnapshotRefused):
        snapshots.read(disk, 7)


def states_after_crashes(base: VirtualDisk, workload: VirtualDisk) -> Iterator[VirtualDisk]:
    """What may be left when the power goes after any of the recorded calls."""
    chooser = random.Random(1)
    for count in range(workload.recorded_count + 1):
        disk = base.clone()
        for i in range(count):
            disk.replay(workload, i)
        for fates in fates_of(disk, chooser, 5, 12):
            for changes in {0, chooser.randint(0, disk.pending_changes), disk.pending_changes}:
                state = disk.clone(chooser.randrange(1 << 30))
                state.cut_as(fates, changes, chooser.randrange(1 << 30))
                yield state


def test_a_crash_anywhere_leaves_the_old_or_the_new_one_whole() -> None:
    workload = fresh()
    snapshots.write(workload, 4, 2, [state_of(4, 300)])
    base = workload.clone()
    workload.record()
    snapshots.write(workload, 9, 3, [state_of(9, 500)], number=2)
    seen = set()
    for state in states_after_crashes(base, workload):
        snapshots.clean(state)
        newest = snapshots.indexes(state)[0]
        found = snapshots.read(state, newest)
        assert found["state"] == state_of(newest, {4: 300, 9: 500}[newest])
        seen.add(newest)
    assert seen == {4, 9}


def test_a_failing_disk_leaves_the_old_one() -> None:
    failures = (("write", 0), ("write", 4), ("sync", 0), ("rename", 0), ("sync_directory", 0), ("create", 0))
    for operation, after in failures:
        disk = fresh()
        snapshots.write(disk, 4, 2, [state_of(4, 300)])
        disk.fail(operation, errno.EIO, after=after)
        with pytest.raises(SnapshotRefused):
            snapshots.write(disk, 9, 3, [state_of(9, 500)], number=2)
        assert snapshots.read(disk, 4)["state"] == state_of(4, 300)


def sent(disk: VirtualDisk, size: int = 300) -> tuple[tuple[int, ...], bytes]:
    told = snapshots.write(disk, 9, 3, [state_of(9, size)], number=2, writer=6)
    return told, disk.content(NAME.format(9))


def test_a_snapshot_comes_in_by_pieces() -> None:
    told, data = sent(fresh())
    disk = fresh()
    inflow = Inflow(disk)
    for at in range(0, len(data), 56):
        inflow.add(told, at, data[at : at + 56])
    assert snapshots.indexes(disk) == []
    inflow.finish()
    assert snapshots.read(disk, 9)["id"] == told
    disk.power_cut(8)
    assert snapshots.read(disk, 9)["state"] == state_of(9, 300)


def test_pieces_out_of_order_and_of_other_files_are_refused() -> None:
    told, data = sent(fresh())
    other = (*told[:3], 99, told[4])
    inflow = Inflow(fresh())
    with pytest.raises(SnapshotRefused):
        inflow.add(told, 56, data[56:112])          # nothing before it
    inflow.add(told, 0, data[:56])
    for identity, at in ((told, 112), (told, 40), (other, 56)):
        with pytest.raises(SnapshotRefused):
            inflow.add(identity, at, data[at : at + 56])
    inflow.add(told, 56, data[56:])
    inflow.finish()


@pytest.mark.parametrize("at", [5, 60, 130, 200, 350])
def test_what_is_not_what_it_said_is_not_installed(at: int) -> None:
    told, data = sent(fresh())
    disk = fresh()
    bad = bytearray(data)
    bad[at] ^= 4
    inflow = Inflow(disk)
    inflow.add(told, 0, bytes(bad))
    with pytest.raises(SnapshotRefused) as raised:
        inflow.finish()
    assert raised.value.args == (CORRUPT,)
    assert disk.list("wal") == []


def test_a_snapshot_that_says_it_is_another_is_not_installed() -> None:
    told, data = sent(fresh())
    disk = fresh()
    inflow = Inflow(disk)
    inflow.add((10, *told[1:]), 0, data)
    with pytest.raises(SnapshotRefused):
        inflow.finish()
    assert snapshots.indexes(disk) == []


def test_a_crash_anywhere_in_an_install_leaves_nothing_or_all() -> None:
    told, data = sent(fresh())
    workload = fresh()
    base = workload.clone()
    workload.record()
    inflow = Inflow(workload)
    for at in range(0, len(data), 160):
        inflow.add(told, at, data[at : at + 160])
    inflow.finish()
    outcomes = set()
    for state in states_after_crashes(base, workload):
        snapshots.clean(state)
        there = snapshots.indexes(state)
        outcomes.add(tuple(there))
        if there:
            assert snapshots.read(state, 9)["state"] == state_of(9, 300)
    assert outcomes == {(), (9,)}
