"""A second reader of the log, written from docs/format.md alone, slow and plain.

`read_log` takes the files of a log's directory and lists what lies in them with a
verdict each; `conclude` says what recovery must find of every log group.  It
shares no code with the product: struct for the layout, google_crc32c for sums.
"""

from __future__ import annotations

import itertools
import re
import struct
from dataclasses import dataclass, field

import google_crc32c

BLOCK = 4096
RECORD_MAGIC, GROUP_MAGIC, TAIL_MAGIC = 0x43524C51, 0x47534C51, 0x54534C51
ENTRIES, BLANK, HARD_STATE, TRUNCATE, OPEN, DROP, COMPACT, CHECKPOINT, FOOTER, MEMBERSHIP = range(1, 11)
BATCH_KINDS = (ENTRIES, BLANK, MEMBERSHIP)
COPY, MOVED = 1, 2
SEGMENT_NAME = re.compile(r"segment-([0-9a-f]{16})\.qlog")
MAX_BODY = 16 << 20


def crc(data: bytes) -> int:
    return int(google_crc32c.value(data))


@dataclass
class Listed:
    """One line of a sync group's list: what must lie where."""

    group: int
    wsn: int
    last: int
    term: int
    offset: int
    length_kind: int
    segment: int
    boot: int

    @property
    def kind(self) -> int:
        return self.length_kind >> 28


@dataclass
class SyncGroup:
    segment: int
    offset: int
    boot: int
    wsn_first: int
    wsn_last: int
    flushed: int
    length: int
    kind: int
    header_valid: bool
    tail_valid: bool
    listed: list[Listed]


@dataclass
class Record:
    segment: int
    offset: int
    boot: int
    wsn: int
    previous_wsn: int
    flags: int
    kind: int
    group: int
    term: int
    first: int
    count: int
    session: int
    sequence: int
    body: bytes

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    def entries(self) -> list[bytes]:
        offsets = struct.unpack_from(f"<{self.count + 1}I", self.body)
        start = (4 * (self.count + 1) + 7) // 8 * 8
        return [self.body[start + a : start + b] for a, b in itertools.pairwise(offsets)]


@dataclass
class CheckpointGroup:
    group: int
    last_wsn: int
    first: int
    last: int
    term_before_first: int
    last_term: int
    hard_state_term: int
    vote: int
    truncated_wsn: int
    faulty_first: int
    faulty_last: int
    unproved_last: int
    unproved_term: int
    mode: int
    damaged: bool
    name: str


@dataclass
class Log:
    groups: list[SyncGroup] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    checkpoints: list[tuple[Record, list[CheckpointGroup], list[tuple[int, int]]]] = field(default_factory=list)

    def flushed(self, boot: int | None = None) -> int:
        """F: the largest `flushed` in any valid header (of one boot)."""
        return max((g.flushed for g in self.groups if g.header_valid and boot in (None, g.boot)), default=0)


@dataclass
class Conclusion:
    """What recovery must find of a log group."""

    group: int
    mode: int = 1
    name: str = ""
    first: int = 1
    last: int = 0
    term_before_first: int = 0
    entries: dict[int, tuple[int, bytes]] = field(default_factory=dict)  # index: (term, payload), intact only
    hard_state: tuple[int, int] = (0, 0)
    hard_state_damaged: bool = False
    faulty: tuple[int, int] | None = None  # corrupt entries, first and last index (0: not known)
    unproved_last: int = 0


# --- reading ------------------------------------------------------------------------------------


def parse_list(data: bytes, count: int, segment: int, boot: int) -> list[Listed]:
    return [Listed(*struct.unpack_from("<QQQQII", data, 40 * i), segment, boot) for i in range(count)]


def parse_header(data: bytes, segment: int, at: int) -> SyncGroup | None:
    if len(data) < at + 80:
        return None
    (sum_, magic, seg, offset, boot, first, last, flushed, length, count, _, kind) = struct.unpack_from(
        "<IIQQQQQQIIIB", data, at
    )
    if magic != GROUP_MAGIC or seg != segment or offset != at or count > 512 or not 1 <= kind <= 4:
        return None
    if length % BLOCK or length < 80 + 80 * count + 48 or at + length > len(data):
        return None
    end = at + 80 + 40 * count
    if crc(data[at + 4 : end]) != sum_ or any(data[at + 69 : at + 80]):
        return None
    tail = parse_tail(data, segment, at + length)
    tail_valid = tail is not None and tail.offset == at and tail.boot == boot
    return SyncGroup(
        segment,
        at,
        boot,
        first,
        last,
        flushed,
        length,
        kind,
        True,
        tail_valid,
        parse_list(data[at + 80 : end], count, segment, boot),
    )


def parse_tail(data: bytes, segment: int, end: int) -> SyncGroup | None:
    """The group that a valid tail in the 48 bytes before `end` tells of."""
    (sum_, magic, seg, offset, boot, first, length, count) = struct.unpack_from("<IIQQQQII", data, end - 48)
    if magic != TAIL_MAGIC or seg != segment or offset % BLOCK or offset + length != end or count > 512:
        return None
    begin = end - 48 - 40 * count
    if begin < offset + 80 or crc(data[begin : end - 48] + data[end - 44 : end]) != sum_:
        return None
    return SyncGroup(
        segment,
        offset,
        boot,
        first,
        first - 1,
        0,
        length,
        0,
        False,
        True,
        parse_list(data[begin : end - 48], count, segment, boot),
    )


def parse_record(data: bytes, segment: int, at: int) -> Record | None:
    if at % 8 or len(data) < at + 144:
        return None
    (sum_, magic, seg, offset, boot, wsn, previous, _, identity_crc, length, flags) = struct.unpack_from(
        "<IIQQQQQIIII", data, at
    )
    if magic != RECORD_MAGIC or seg != segment or offset != at or crc(data[at + 4 : at + 64]) != sum_:
        return None
    identity = data[at + 64 : at + 144]
    (
        crc_,
        version,
        kind,
        flags_,
        group,
        term,
        _,
        first,
        count,
        body_bytes,
        session,
        sequence,
        _,
        body_crc,
        zero,
    ) = struct.unpack("<IBBHQQQQIIQQQII", identity)
    if crc(identity[4:]) != crc_ or crc_ != identity_crc or version != 1 or flags_ or zero:
        return None
    if length != 144 + body_bytes or body_bytes > MAX_BODY or at + length > len(data):
        return None
    body = data[at + 144 : at + length]
    if crc(body) != body_crc:
        return None
    return Record(segment, at, boot, wsn, previous, flags, kind, group, term, first, count, session, sequence, body)


def parse_checkpoint(body: bytes) -> tuple[list[CheckpointGroup], list[tuple[int, int]]]:
    _, _, groups, tombstones = struct.unpack_from("<QQII", body)
    at, found = 24, []
    for _ in range(groups):
        fields = struct.unpack_from("<14QBBB", body, at)
        name = body[at + 120 : at + 120 + fields[16]].decode()
        found.append(
            CheckpointGroup(*fields[:9], *fields[10:14], mode=fields[14], damaged=bool(fields[15] & 1), name=name)
        )
        at += (120 + fields[16] + 7) // 8 * 8
    return found, [struct.unpack_from("<QQ", body, at + 16 * i) for i in range(tombstones)]


def read_segment(log: Log, segment: int, data: bytes) -> None:
    at = 0
    while at + BLOCK <= len(data):
        group = parse_header(data, segment, at)
        if group is not None:
            log.groups.append(group)
        at += group.length if group is not None else BLOCK
    for end in range(BLOCK, len(data) + 1, BLOCK):
        tail = parse_tail(data, segment, end)
        if tail is not None and not any(g.segment == segment and g.offset == tail.offset for g in log.groups):
            log.groups.append(tail)
    # Every record validates alone: look wherever its magic stands.
    magic = struct.pack("<I", RECORD_MAGIC)
    at = data.find(magic)
    while at >= 0:
        record = parse_record(data, segment, at - 4) if at >= 4 else None
        if record is not None:
            log.records.append(record)
        at = data.find(magic, at + 1)


def read_log(files: dict[str, bytes]) -> Log:
    log = Log()
    for name in sorted(files):
        match = SEGMENT_NAME.fullmatch(name.rpartition("/")[2])
        if match:
            read_segment(log, int(match[1], 16), files[name])
    for record in log.records:
        if record.kind == CHECKPOINT:
            log.checkpoints.append((record, *parse_checkpoint(record.body)))
    log.checkpoints.sort(key=lambda checkpoint: checkpoint[0].segment)
    return log


# --- concluding ---------------------------------------------------------------------------------


def is_corrupt(log: Log, group: int, wsn: int, boot: int) -> bool:
    """A bad record is corrupt if it was known flushed, by its own boot or by a later recovery that had it."""
    if wsn <= log.flushed(boot):
        return True
    return any(
        record.boot > boot and entry.group == group and entry.last_wsn >= wsn
        for record, entries, _ in log.checkpoints
        for entry in entries
    )


def missing_of(log: Log, group: int, floor: int) -> dict[int, tuple[list[Listed], int]]:
    """WSNs above `floor` that belong to the group and have no valid record: (what lists say, boot)."""
    valid = {record.wsn for record in log.records if record.group == group}
    missing: dict[int, tuple[list[Listed], int]] = {}
    for sync_group in log.groups:
        for line in sync_group.listed:
            if line.group == group and line.wsn not in valid and line.wsn > floor:
                missing.setdefault(line.wsn, ([], line.boot))[0].append(line)
    for record in log.records:
        if record.group == group and record.previous_wsn > floor and record.previous_wsn not in valid:
            missing.setdefault(record.previous_wsn, ([], record.boot))
    return missing


def conclude_group(log: Log, group: int, base: CheckpointGroup | None) -> Conclusion:
    found = Conclusion(group)
    if base is not None:
        found.mode, found.name = base.mode, base.name
        found.first, found.term_before_first = base.first, base.term_before_first
        found.last = base.first - 1
        found.hard_state = (base.hard_state_term, base.vote)
    floor = base.last_wsn if base is not None else 0
    records = {record.wsn: record for record in log.records if record.group == group}
    missing = missing_of(log, group, floor)
    hard_state_wsn = floor
    end = found.last  # of the log with its holes
    tainted: tuple[int, bool] | None = None  # (intact up to here, corrupt)
    for wsn in sorted(set(records) | set(missing)):
        record = records.get(wsn)
        if record is None:
            lines, boot = missing[wsn]
            if len({line.offset for line in lines}) >= 2 and all(line.last == 0 for line in lines):
                hard_state_wsn = -wsn  # damaged, unless a later one follows
                continue
            corrupt = is_corrupt(log, group, wsn, boot)
            if tainted is None:
                tainted = (end, corrupt)
            end = max([end, *(line.last for line in lines)])
            continue
        if record.kind == HARD_STATE:
            found.hard_state = (record.term, struct.unpack_from("<Q", record.body)[0])
            hard_state_wsn = wsn
        elif record.kind == OPEN:
            found.mode = record.body[0]
            found.name = record.body[2 : 2 + record.body[1]].decode()
        elif record.kind == COMPACT:
            found.first = max(found.first, record.first)
            (found.term_before_first,) = struct.unpack_from("<Q", record.body)
            found.entries = {i: e for i, e in found.entries.items() if i >= found.first}
            end = max(end, found.first - 1)
            if tainted is not None and tainted[0] < found.first - 1:
                tainted = (found.first - 1, tainted[1]) if end >= found.first else None
        elif record.kind == TRUNCATE or (record.kind in BATCH_KINDS and record.first <= end):
            found.entries = {i: e for i, e in found.entries.items() if i < record.first}
            end = min(end, record.first - 1)
            if record.kind == TRUNCATE and tainted is not None and tainted[0] >= record.first - 1:
                tainted = None
        if record.kind in BATCH_KINDS and record.last >= found.first:
            if record.first > max(end + 1, found.first) and tainted is None:
                tainted = (end, is_corrupt(log, group, wsn - 1, record.boot))
            found.entries.update({record.first + i: (record.term, e) for i, e in enumerate(record.entries())})
            end = record.last
    if base is not None and end < base.last and not any(r.kind == TRUNCATE for r in records.values()):
        tainted = tainted or (end, True)  # a checkpoint promised more
        end = base.last
    found.last = max(end, found.first - 1)
    found.hard_state_damaged = hard_state_wsn < 0
    if tainted is not None:
        found.last = min(tainted[0], found.last)
        found.entries = {i: e for i, e in found.entries.items() if i <= found.last}
        if tainted[1]:
            found.faulty = (found.last + 1, end)
        else:
            found.unproved_last = end
    return found


def conclude(files: dict[str, bytes]) -> dict[int, Conclusion]:
    """What recovery must find, by log group; groups that were dropped are absent."""
    log = read_log(files)
    base: dict[int, CheckpointGroup] = {}
    if log.checkpoints:
        base = {entry.group: entry for entry in log.checkpoints[0][1]}
    dropped = {record.group: record.wsn for record in log.records if record.kind == DROP}
    for _, _, tombstones in log.checkpoints:
        dropped.update(dict(tombstones))
    groups = {record.group for record in log.records} | {line.group for g in log.groups for line in g.listed}
    groups |= set(base)
    return {group: conclude_group(log, group, base.get(group)) for group in sorted(groups - {0} - set(dropped))}
