"""Lengths and counts that lie, under checksums that agree (A-W10), and zeros (A-W11).

A checksum finds accidents.  A field that a bug wrote, or an enemy, has a right one: so no length is
believed before it is compared with what is there.
"""

from __future__ import annotations

import resource
import struct
from pathlib import Path

import google_crc32c
import pytest

from quorumlog._core.bridge.testing_storage import StepLog

MIB = 1 << 20
GROUP = 7
OK, CORRUPT, NOT_FOUND = 0, 42, 52
FIRST = "segment-0000000000000001.qlog"
HEADER, ENTRY, PLACEMENT, IDENTITY = 80, 40, 64, 80
LIES_32 = [0, 2, 4095, 1 << 20, (1 << 28) - 8, 0x7FFFFFF8, 0xFFFFF000, 0xFFFFFFFF]


def crc(data: bytes) -> int:
    return int(google_crc32c.value(data))


def reference(path: Path) -> tuple[bytearray, int]:
    """A log of four batches, one to a sync group; and where the second one's group begins."""
    log = StepLog(str(path), segment_bytes=MIB, spares=0)
    log.open_group(GROUP, b"a")
    log.settle()
    at = 0
    for index in range(1, 5):
        log.append(GROUP, 1, index, [b"entry %d" % index])
        status, number, offset, *_ = log.plan()
        assert status == OK
        log.execute(number)
        log.complete(number)
        if index == 2:
            at = offset
    log.settle(mark=True)
    log.close()
    return bytearray((path / FIRST).read_bytes()), at


def seal_header(data: bytearray, at: int, listed: int = 1) -> None:
    struct.pack_into("<I", data, at, crc(bytes(data[at + 4 : at + HEADER + ENTRY * listed])))


def seal_record(data: bytearray, at: int) -> None:
    record = at + HEADER + ENTRY
    identity = record + PLACEMENT
    struct.pack_into("<I", data, identity, crc(bytes(data[identity + 4 : identity + IDENTITY])))
    data[record + 52 : record + 56] = data[identity : identity + 4]
    struct.pack_into("<I", data, record, crc(bytes(data[record + 4 : record + PLACEMENT])))


def tail_of(data: bytearray, at: int) -> int:
    return at + struct.unpack_from("<I", data, at + 56)[0] - 48


def seal_tail(data: bytearray, at: int, tail: int) -> None:
    struct.pack_into("<I", data, tail, crc(bytes(data[tail - ENTRY : tail] + data[tail + 4 : tail + 48])))


FIELDS = {
    "header length": lambda at, tail: at + 56,
    "header record_count": lambda at, tail: at + 60,
    "list offset": lambda at, tail: at + HEADER + 32,
    "list length": lambda at, tail: at + HEADER + 36,
    "tail length": lambda at, tail: tail + 40,
    "tail record_count": lambda at, tail: tail + 44,
    "record length": lambda at, tail: at + HEADER + ENTRY + 56,
    "identity count": lambda at, tail: at + HEADER + ENTRY + PLACEMENT + 40,
    "identity body_bytes": lambda at, tail: at + HEADER + ENTRY + PLACEMENT + 44,
    "body offsets": lambda at, tail: at + HEADER + ENTRY + PLACEMENT + IDENTITY + 4,
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("lie", LIES_32)
def test_a_length_is_not_believed(tmp_path: Path, field: str, lie: int) -> None:
    data, at = reference(tmp_path)
    tail = tail_of(data, at)
    place = FIELDS[field](at, tail)
    if field == "list length":
        lie = 1 << 28 | lie & 0x0FFFFFFF           # its upper bits are the kind
    assert struct.unpack_from("<I", data, place)[0] != lie
    struct.pack_into("<I", data, place, lie)
    if field == "body offsets":
        identity = at + HEADER + ENTRY + PLACEMENT
        size = struct.unpack_from("<I", data, identity + 44)[0]
        struct.pack_into("<I", data, identity + 72, crc(bytes(data[identity + 80 : identity + 80 + size])))
    seal_record(data, at)
    seal_header(data, at)
    seal_tail(data, at, tail)
    (tmp_path / FIRST).write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(2):
        log = StepLog(str(tmp_path), segment_bytes=MIB, spares=0)
        found = log.report()["groups"][GROUP]
        assert found["last"] in (1, 4)
        for index in range(1, 5):
            status, _, _, payloads, _ = log.read(GROUP, index)
            assert (status, payloads) == (OK, [b"entry %d" % index]) or status in (CORRUPT, NOT_FOUND)
        if found["last"] == 1:
            # Below F: the entries behind it are faulty, not forgotten.
            assert found["faulty"] == (2, 4)
        log.close()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_zeros_never_validate(tmp_path: Path) -> None:
    """A-W11: a zeroed group is no group, a zeroed record no record, and a file of zeros an empty segment."""
    data, at = reference(tmp_path)
    length = struct.unpack_from("<I", data, at + 56)[0]
    data[at : at + length] = bytes(length)
    (tmp_path / FIRST).write_bytes(data)
    log = StepLog(str(tmp_path), segment_bytes=MIB, spares=0)
    found = log.report()["groups"][GROUP]
    assert (found["last"], found["faulty"]) == (1, (2, 4))
    assert log.read(GROUP, 2)[0] == CORRUPT
    log.close()
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / FIRST).write_bytes(bytes(MIB))
    log = StepLog(str(empty), segment_bytes=MIB, spares=0)
    assert log.report()["groups"] == {}
    assert log.report()["corrupt"] == 0
    log.close()


def test_a_lost_segment_in_the_middle_is_no_gap_that_is_skipped(tmp_path: Path) -> None:
    """A-W6: what lay in it is faulty, and all that follows stays out of reach."""
    log = StepLog(str(tmp_path), segment_bytes=MIB, spares=0)
    log.open_group(GROUP, b"a")
    index = 0
    while len(list(tmp_path.glob("segment-*"))) < 4:
        index += 1
        log.append(GROUP, 1, index, [b"x" * 100_000])
        assert log.settle()
    log.settle(mark=True)
    log.close()
    (tmp_path / "segment-0000000000000002.qlog").unlink()
    for _ in range(2):
        log = StepLog(str(tmp_path), segment_bytes=MIB, spares=0)
        found = log.report()["groups"][GROUP]
        assert 0 < found["last"] < index
        assert found["faulty"] == (found["last"] + 1, index)
        assert log.read(GROUP, found["last"])[0] == OK
        assert log.read(GROUP, index)[0] == CORRUPT
        log.close()
