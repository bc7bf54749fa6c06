"""Reads the files of a log without opening it: segments, sync groups, records, each checksum verified.

For looking at a data directory (`quorumlog log inspect`) and for checking it after a run.  Nothing is
repaired or concluded here: what a node would make of damage, recovery decides (docs/format.md 6).  A
segment is read whole, one at a time.
"""

from __future__ import annotations

import os
import re
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from quorumlog._core.bridge.checksum import crc32c_of

BLOCK_BYTES = 4096
GROUP_MAGIC, RECORD_MAGIC, TAIL_MAGIC = 0x47534C51, 0x43524C51, 0x54534C51
IDENTITY_MAGIC, PEERS_MAGIC = 0x44494C51, 0x49504C51
GROUP_HEADER, RECORD_HEADER = struct.Struct("<IIQQQQQQIIIB11x"), struct.Struct("<IIQQQQQIIII")
IDENTITY_HEADER, TAIL = struct.Struct("<IBBHQQQQIIQQQII"), struct.Struct("<IIQQQQII")
LIST_ENTRY = struct.Struct("<QQQQII")
LENGTH_MASK = (1 << 28) - 1  # a list entry's last field has the record's kind above its length
PLACEMENT_BYTES, HEADERS_BYTES = 64, 144
CHECKPOINT_HEADER_BYTES, CHECKPOINT_GROUP_BYTES, CHECKPOINT_MODE_AT = 24, 120, 112
SEGMENT_NAME = re.compile(r"segment-([0-9a-f]{16})\.qlog")

KINDS = {
    1: "entries",
    2: "blank",
    3: "hard state",
    4: "truncate",
    5: "open",
    6: "drop",
    7: "compact",
    8: "checkpoint",
    9: "footer",
    10: "membership",
}
GROUP_KINDS = {1: "data", 2: "mark", 3: "checkpoint", 4: "footer"}
BATCH_KINDS = ("entries", "blank", "membership")


@dataclass(frozen=True)
class Record:
    """A valid record.  `offset` is that of its placement header in the segment's file."""

    path: Path
    offset: int
    boot: int
    wsn: int
    flags: int
    kind: str
    group: int
    term: int
    first: int
    count: int
    session: int
    sequence: int
    body_bytes: int
    body_crc: int

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    def body(self) -> bytes:
        """Read again, and checked again."""
        with self.path.open("rb") as file:
            body = os.pread(file.fileno(), self.body_bytes, self.offset + HEADERS_BYTES)
        if len(body) != self.body_bytes or crc32c_of(body) != self.body_crc:
            raise ValueError(f"{self.path}: the record at {self.offset} has changed meanwhile")
        return body


@dataclass(frozen=True)
class Damage:
    """Something that does not validate.  `wsn` is 0 where nothing says whose it was."""

    path: Path
    offset: int
    boot: int
    wsn: int
    what: str


@dataclass
class SyncGroup:
    path: Path
    segment: int
    offset: int
    boot: int
    kind: str
    wsn_first: int
    wsn_last: int
    flushed: int
    length: int
    crc: int
    previous_crc: int
    records: list[Record] = field(default_factory=list)


@dataclass
class Segment:
    path: Path
    number: int
    size: int
    groups: list[SyncGroup]
    damage: list[Damage]

    @property
    def used_bytes(self) -> int:
        return sum(group.length for group in self.groups)


def segment_paths(directory: Path) -> list[Path]:
    """The segment files, oldest first: their ids rise."""
    return sorted(path for path in directory.iterdir() if SEGMENT_NAME.fullmatch(path.name))


def read_segments(directory: Path) -> Iterator[Segment]:
    for path in segment_paths(directory):
        yield read_segment(path)


def read_segment(path: Path) -> Segment:
    found = SEGMENT_NAME.fullmatch(path.name)
    if found is None:
        raise ValueError(f"{path} is not named like a segment")
    return _Reader(path, int(found[1], 16)).read()


class _Reader:
    """One segment's bytes, and what has been found in them so far."""

    def __init__(self, path: Path, number: int) -> None:
        self._path = path
        self._number = number
        self._data = memoryview(path.read_bytes())
        self._groups: list[SyncGroup] = []
        self._damage: list[Damage] = []

    def read(self) -> Segment:
        whole = len(self._data) // BLOCK_BYTES * BLOCK_BYTES
        words = np.frombuffer(self._data[:whole], "<u4").reshape(-1, BLOCK_BYTES // 4)
        end = 0
        for block in np.flatnonzero(words[:, 1] == GROUP_MAGIC).tolist():
            offset = block * BLOCK_BYTES
            if offset >= end:  # otherwise it is payload that looks like a header
                end = self._header(offset) or end
        covered = {group.offset for group in self._groups}
        for block in np.flatnonzero(words[:, -11] == TAIL_MAGIC).tolist():
            self._lonely_tail((block + 1) * BLOCK_BYTES, covered)
        return Segment(self._path, self._number, len(self._data), self._groups, self._damage)

    def _harm(self, offset: int, boot: int, wsn: int, what: str) -> None:
        self._damage.append(Damage(self._path, offset, boot, wsn, what))

    def _header(self, offset: int) -> int:
        """Reads the sync group at `offset`; its end, or 0 if there is none of this segment."""
        fields = GROUP_HEADER.unpack_from(self._data, offset)
        crc, _, segment, at, boot, first, last, flushed, length, count, previous, kind = fields
        if segment != self._number:
            return 0  # left from an earlier use of the file, or not a header at all
        list_end = offset + GROUP_HEADER.size + count * LIST_ENTRY.size
        if count > 512 or crc != crc32c_of(self._data[offset + 4 : list_end]):
            self._harm(offset, boot, 0, "sync group header: checksum")
            return 0
        fits = length % BLOCK_BYTES == 0 and list_end <= offset + length <= len(self._data)
        if at != offset or not fits or kind not in GROUP_KINDS:
            self._harm(offset, boot, first, "sync group header: place or length")
            return 0
        group = SyncGroup(
            path=self._path,
            segment=segment,
            offset=offset,
            boot=boot,
            kind=GROUP_KINDS[kind],
            wsn_first=first,
            wsn_last=last,
            flushed=flushed,
            length=length,
            crc=crc,
            previous_crc=previous,
        )
        self._groups.append(group)
        end = offset + group.length
        if self._tail(end) is None:
            self._harm(end - TAIL.size, boot, last, "sync group tail: checksum")
        self._records(group.records, offset, boot, offset + GROUP_HEADER.size, count)
        return end

    def _tail(self, end: int) -> tuple[int, int, int, int] | None:
        """(group's offset, boot, records, where the second list begins) by the tail before `end`."""
        begin = end - TAIL.size
        crc, magic, segment, offset, boot, _, length, count = TAIL.unpack_from(self._data, begin)
        list_begin = begin - count * LIST_ENTRY.size
        if magic != TAIL_MAGIC or segment != self._number or count > 512:
            return None
        if offset % BLOCK_BYTES or offset + length != end or list_begin < offset:
            return None
        if crc != crc32c_of(self._data[begin + 4 : end], crc32c_of(self._data[list_begin:begin])):
            return None
        return offset, boot, count, list_begin

    def _lonely_tail(self, end: int, covered: set[int]) -> None:
        """A group whose header is gone, but whose tail says what it held."""
        tail = self._tail(end)
        if tail is None or tail[0] in covered:
            return
        offset, boot, count, list_begin = tail
        if any(group.offset < offset < group.offset + group.length for group in self._groups):
            return
        rescued: list[Record] = []
        self._records(rescued, offset, boot, list_begin, count)
        last = max((record.wsn for record in rescued), default=0)
        self._harm(offset, boot, last, "sync group header: gone")

    def _records(self, into: list[Record], group_offset: int, boot: int, list_at: int, count: int) -> None:
        for number in range(count):
            entry = LIST_ENTRY.unpack_from(self._data, list_at + number * LIST_ENTRY.size)
            _, wsn, _, _, offset, length_kind = entry
            record = self._record(group_offset + offset, length_kind & LENGTH_MASK)
            if isinstance(record, str):
                self._harm(group_offset + offset, boot, wsn, f"record: {record}")
            elif record.wsn != wsn:
                self._harm(group_offset + offset, boot, wsn, "record: not the one that was listed")
            else:
                into.append(record)

    def _record(self, offset: int, length: int) -> Record | str:
        """The record at `offset`, or what is wrong with it."""
        data = self._data
        if length < HEADERS_BYTES or offset + length > len(data):
            return "does not fit in its segment"
        crc, magic, segment, at, boot, wsn, _, _, identity_crc, size, flags = RECORD_HEADER.unpack_from(
            data, offset
        )
        if magic != RECORD_MAGIC or crc != crc32c_of(data[offset + 4 : offset + PLACEMENT_BYTES]):
            return "placement checksum"
        if segment != self._number or at != offset or size != length:
            return "placed elsewhere"
        identity = offset + PLACEMENT_BYTES
        stored, _, kind, _, group, term, _, first, count, body_bytes, session, sequence, _, body_crc, _ = (
            IDENTITY_HEADER.unpack_from(data, identity)
        )
        if stored != identity_crc or stored != crc32c_of(data[identity + 4 : identity + 80]):
            return "identity checksum"
        if HEADERS_BYTES + body_bytes != length or kind not in KINDS:
            return "body length or kind"
        if body_crc != crc32c_of(data[offset + HEADERS_BYTES : offset + length]):
            return "body checksum"
        return Record(
            path=self._path,
            offset=offset,
            boot=boot,
            wsn=wsn,
            flags=flags,
            kind=KINDS[kind],
            group=group,
            term=term,
            first=first,
            count=count,
            session=session,
            sequence=sequence,
            body_bytes=body_bytes,
            body_crc=body_crc,
        )


def broken_chain(groups: list[SyncGroup]) -> list[Damage]:
    """Sync groups whose predecessor is missing: each names the header checksum of the one before it.

    `groups` are all that are valid, in the order of their files; the first may have lost its predecessor
    to the dropping of old segments.
    """
    found: list[Damage] = []
    for before, group in pairwise(groups):
        wanted = before.crc if before.boot == group.boot else 0
        if group.previous_crc != wanted:
            what = "the sync group before this one is missing"
            found.append(Damage(group.path, group.offset, group.boot, group.wsn_first - 1, what))
    return found


def group_names(record: Record) -> dict[int, str]:
    """Ids and names of log groups that an open record or a checkpoint tells."""
    body = record.body()
    if record.kind == "open":
        return {record.group: body[2 : 2 + body[1]].decode(errors="replace")}
    names: dict[int, str] = {}
    at = CHECKPOINT_HEADER_BYTES
    for _ in range(struct.unpack_from("<I", body, 16)[0]):
        length = body[at + CHECKPOINT_MODE_AT + 2]
        name_at = at + CHECKPOINT_GROUP_BYTES
        names[struct.unpack_from("<Q", body, at)[0]] = body[name_at : name_at + length].decode(
            errors="replace"
        )
        at = name_at + (length + 7) // 8 * 8
    return names


@dataclass(frozen=True)
class Identity:
    name: str
    node: int
    cluster: str
    incarnation: int


def read_identity(directory: Path) -> Identity:
    """Raises ValueError when the file's checksum does not agree, OSError when it is not there."""
    path = directory / "identity"
    data = path.read_bytes()
    if len(data) != BLOCK_BYTES or struct.unpack_from("<II", data) != (
        crc32c_of(data[4:]),
        IDENTITY_MAGIC,
    ):
        raise ValueError(f"{path}: checksum")
    node, incarnation, length = struct.unpack_from("<QQB", data, 32)
    return Identity(data[49 : 49 + length].decode(), node, str(uuid.UUID(bytes=data[16:32])), incarnation)
