"""The virtual disk keeps what was synced, and only that for certain."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumlog._core.bridge.testing_disk import GARBAGE, KEPT, OLD, VirtualDisk

READ, WRITE, CREATE, DIRECT, SYNCED = 1, 2, 4, 8, 16
SECTOR = 512


def disk_with_file(content: bytes = b"") -> VirtualDisk:
    disk = VirtualDisk(7)
    disk.make_directory("d")
    disk.sync_directory("/")
    disk.put("d/f", content)
    return disk


def test_a_write_through_a_synced_descriptor_is_durable_and_another_is_not() -> None:
    disk = disk_with_file(bytes(4 * SECTOR))
    plain, synced = disk.open("d/f", WRITE), disk.open("d/f", WRITE | SYNCED)
    disk.write(synced, b"s" * SECTOR, SECTOR)
    disk.write(plain, b"p" * SECTOR, 0)
    assert disk.fates() == [(1, 0)]
    disk.cut_as(bytes([OLD]), 0)
    assert disk.content("d/f") == bytes(SECTOR) + b"s" * SECTOR + bytes(2 * SECTOR)


def test_each_sector_is_kept_lost_or_spoilt_by_itself() -> None:
    disk = disk_with_file(b"o" * (3 * SECTOR))
    disk.write(disk.open("d/f", WRITE), b"n" * (3 * SECTOR), 0)
    assert disk.content("d/f") == b"n" * (3 * SECTOR)
    disk.cut_as(bytes([KEPT, OLD, GARBAGE]), 0)
    content = disk.content("d/f")
    assert content[: 2 * SECTOR] == b"n" * SECTOR + b"o" * SECTOR
    assert len(set(content[2 * SECTOR :])) > 50
    assert disk.fates() == []


def test_a_new_size_is_pending_until_a_sync() -> None:
    disk = disk_with_file(b"a" * 100)
    fd = disk.open("d/f", WRITE)
    disk.write(fd, b"b" * 4096, 100)
    sector_fates = [sector for _, sector in disk.fates()]
    assert sector_fates == [*range(8), 8, None]
    lost, grown = disk.clone(), disk.clone()
    lost.cut_as(bytes([KEPT] * 9 + [OLD]), 0)
    assert lost.content("d/f") == b"a" * 100
    grown.cut_as(bytes([OLD] * 9 + [KEPT]), 0)
    assert grown.content("d/f") == b"a" * 100 + bytes(4096)
    disk.sync(fd)
    assert disk.fates() == []


def test_names_are_pending_until_their_directory_is_synced() -> None:
    disk = disk_with_file()
    disk.close(disk.open("d/new", CREATE))
    disk.rename("d/f", "d/g")
    assert disk.list("d") == ["g", "new"]
    assert disk.pending_changes == 2
    for kept, names in ((0, ["f"]), (1, ["f", "new"]), (2, ["g", "new"])):
        state = disk.clone()
        state.cut_as(b"", kept)
        assert state.list("d") == names
    disk.sync_directory("d")
    disk.power_cut(1)
    assert disk.list("d") == ["g", "new"]


def test_a_file_in_a_directory_that_was_never_synced_is_gone() -> None:
    disk = VirtualDisk(1)
    disk.make_directory("a")
    disk.make_directory("a/b")
    disk.close(disk.open("a/b/f", CREATE))
    disk.sync_directory("a/b")
    disk.sync_directory("a")
    disk.cut_as(b"", 0)
    assert disk.paths() == []
    with pytest.raises(FileNotFoundError):
        disk.list("a")


def test_a_removed_name_comes_back_with_its_content() -> None:
    disk = disk_with_file(b"content")
    disk.remove("d/f")
    with pytest.raises(FileNotFoundError):
        disk.open("d/f", READ)
    disk.cut_as(b"", 0)
    assert disk.content("d/f") == b"content"


def test_after_a_failed_sync_the_cache_lies_and_a_later_sync_saves_nothing() -> None:
    disk = disk_with_file(b"o" * SECTOR)
    fd = disk.open("d/f", WRITE)
    disk.write(fd, b"n" * SECTOR, 0)
    disk.fail("sync", errno.EIO)
    with pytest.raises(OSError) as failed:
        disk.sync(fd)
    assert failed.value.errno == errno.EIO
    disk.sync(fd)
    disk.process_crash()
    assert disk.read(disk.open("d/f", READ), SECTOR, 0) == b"n" * SECTOR
    assert disk.read(disk.open("d/f", READ | DIRECT), SECTOR, 0) == b"o" * SECTOR
    assert disk.fates() == [(1, 0)]
    disk.cut_as(bytes([OLD]), 0)
    assert disk.content("d/f") == b"o" * SECTOR


def test_faults_come_when_they_were_asked_for() -> None:
    disk = disk_with_file(bytes(SECTOR))
    fd = disk.open("d/f", WRITE)
    disk.fail("write", errno.ENOSPC, after=1)
    disk.write(fd, b"1", 0)
    with pytest.raises(OSError) as failed:
        disk.write(fd, b"2", 1)
    assert failed.value.errno == errno.ENOSPC
    disk.write(fd, b"3", 2)
    disk.fail("read", errno.EIO, forever=True)
    for _ in range(3):
        with pytest.raises(OSError, match="Input/output"):
            disk.read(fd, 1, 0)
    disk.fail("read", 0)
    assert disk.read(fd, 3, 0)[::2] == b"13"


def test_a_full_disk_takes_overwrites_but_no_growth() -> None:
    disk = disk_with_file(bytes(8192))
    disk.capacity_bytes = 8192 + 100
    fd = disk.open("d/f", WRITE)
    disk.write(fd, b"x" * 8192, 0)
    with pytest.raises(OSError) as failed:
        disk.write(fd, b"y" * 4096, 8192)
    assert failed.value.errno == errno.ENOSPC
    assert 8192 <= disk.size(fd) <= 8192 + 100


def test_a_halted_disk_does_nothing_more() -> None:
    disk = disk_with_file(bytes(SECTOR))
    fd = disk.open("d/f", WRITE)
    disk.halt_after(1)
    disk.write(fd, b"a", 0)
    for call in (
        lambda: disk.write(fd, b"b", 0),
        lambda: disk.sync(fd),
        lambda: disk.remove("d/f"),
        lambda: disk.read(fd, 1, 0),
    ):
        with pytest.raises(OSError):
            call()
    disk.halt_after(None)
    assert disk.read(fd, 1, 0) == b"a"


def test_a_lock_is_held_until_it_is_closed_or_the_process_dies() -> None:
    disk = disk_with_file()
    fd = disk.lock("d/lock")
    with pytest.raises(BlockingIOError):
        disk.lock("d/lock")
    disk.close(fd)
    disk.lock("d/lock")
    disk.process_crash()
    disk.lock("d/lock")


def test_direct_calls_must_be_aligned() -> None:
    disk = disk_with_file(bytes(8192))
    fd = disk.open("d/f", WRITE | DIRECT)
    with pytest.raises(OSError) as failed:
        disk.read(fd, 100, 0)
    assert failed.value.errno == errno.EINVAL


def test_a_snapshot_holds_everything() -> None:
    disk = disk_with_file(b"f" * 5000)
    disk.make_directory("d/e")
    disk.sync_directory("d")
    disk.put("d/e/empty", b"")
    copy = VirtualDisk.restore(disk.snapshot())
    assert copy.paths() == ["d/e/empty", "d/f"]
    assert copy.content("d/f") == b"f" * 5000
    copy.power_cut(3)
    assert copy.snapshot() == disk.snapshot()


step = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 12000), st.binary(min_size=1, max_size=3000)),
    st.tuples(st.just("sync")),
    st.tuples(st.just("cut"), st.integers(0, 2**32)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(step, max_size=25))
def test_content_agrees_with_a_slow_model(steps: list[tuple[object, ...]]) -> None:
    """The cache is a byte array; after a cut every sector is one of its versions since the last sync."""
    disk = disk_with_file()
    fd = disk.open("d/f", WRITE)
    cached, synced = bytearray(), b""
    for name, *arguments in steps:
        if name == "write":
            offset, data = arguments
            assert isinstance(offset, int)
            assert isinstance(data, bytes)
            disk.write(fd, data, offset)
            cached.extend(bytes(max(0, offset + len(data) - len(cached))))
            cached[offset : offset + len(data)] = data
        elif name == "sync":
            disk.sync(fd)
            synced = bytes(cached)
        else:
            disk.power_cut(arguments[0])
            fd = disk.open("d/f", WRITE)
            after = disk.content("d/f")
            assert min(len(synced), len(cached)) <= len(after) <= len(cached)
            cached, synced = bytearray(after), after
        assert disk.content("d/f") == bytes(cached)


@settings(max_examples=60, deadline=None)
@given(st.lists(step, max_size=20), st.integers(0, 1000))
def test_a_replayed_record_gives_the_same_disk(steps: list[tuple[object, ...]], seed: int) -> None:
    base = disk_with_file()
    disk = base.clone()
    disk.record()
    fd = disk.open("d/f", WRITE)
    for name, *arguments in steps:
        if name == "write":
            disk.write(fd, arguments[1], arguments[0])
        elif name == "sync":
            disk.sync(fd)
    again = base.clone()
    for number in range(disk.recorded_count):
        again.replay(disk, number)
    assert again.fates() == disk.fates()
    again.power_cut(seed)
    disk.power_cut(seed)
    assert again.snapshot() == disk.snapshot()
