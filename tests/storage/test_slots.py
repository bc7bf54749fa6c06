"""A group of slots in the log (docs/format.md 6.3): written in any order, each superseding its own slot, holes allowed.

Over the virtual disk, so that a power cut takes any unsynced sectors; the oracle is a dictionary.
"""

from __future__ import annotations

import itertools
import random

import pytest

from quorumlog._core.bridge.testing_disk import VirtualDisk
from quorumlog._core.bridge.testing_disk_log import DiskLog

GROUP = 5
OTHER = 6
SLOTS = 2
OK, COMPACTED, CORRUPT, NOT_FOUND = 0, 12, 42, 52


def blank_disk(seed: int) -> VirtualDisk:
    disk = VirtualDisk(seed=seed)
    disk.make_directory("wal")
    disk.sync_directory("/")
    return disk


def fresh() -> tuple[VirtualDisk, DiskLog]:
    disk = blank_disk(1)
    log = DiskLog(disk, segment_bytes=64 << 10)
    log.open_group(GROUP, "slots", SLOTS)
    return disk, log


def reopened(disk: VirtualDisk, log: DiskLog) -> DiskLog:
    log.abandon()
    return DiskLog(disk, segment_bytes=64 << 10)


def terms(log: DiskLog) -> dict[int, int]:
    """Round by slot, as recovery tells it; holes left out."""
    found = log.groups[GROUP]
    runs = [*found["runs"], (found["last"] + 1, 0)]
    of: dict[int, int] = {}
    for (first, term), (end, _) in itertools.pairwise(runs):
        of |= dict.fromkeys(range(first, end), term) if term else {}
    return of


def test_slots_in_any_order_with_holes_and_successors() -> None:
    disk, log = fresh()
    for round_, slot in [(3, 7), (1, 2), (1, 4), (2, 2), (1, 3), (5, 7), (4, 3)]:
        log.accept(GROUP, round_, 9, slot, [b"%d in %d" % (slot, round_), b"second entry"])
    log.hard_state(GROUP, 6, 2)
    log.settle(mark=True)
    log = reopened(disk, log)
    assert terms(log) == {2: 2, 3: 4, 4: 1, 7: 5}
    found = log.groups[GROUP]
    assert (found["mode"], found["last"], found["chosen"], found["hard_state"]) == (SLOTS, 7, 0, (6, 2))
    assert (found["faulty"], found["unproved_last"]) == ((0, 0), 0)
    for slot, round_ in terms(log).items():
        status, _, term, first, entries = log.read(GROUP, slot)
        assert (status, term, first, entries[0]) == (OK, round_, slot, b"%d in %d" % (slot, round_))
        assert len(entries) == 2
    log.abandon()


def test_chosen_marks_come_back_and_outlive_their_segment() -> None:
    disk, log = fresh()
    for slot in range(1, 200):
        log.accept(GROUP, 1, 1, slot, [bytes(900)])
        if slot % 50 == 0:
            log.chosen(GROUP, slot + 1)
        if slot % 8 == 0:
            log.settle()
            log.prepare()
    log.settle(mark=True)
    log = reopened(disk, log)
    assert log.groups[GROUP]["chosen"] == 150
    assert terms(log) == dict.fromkeys(range(1, 200), 1)
    log.compact(GROUP, 170, 1)
    log.settle(mark=True)
    log = reopened(disk, log)
    found = log.groups[GROUP]
    assert (found["first"], found["chosen"], found["last"]) == (170, 169, 199)
    assert log.read(GROUP, 169)[0] == COMPACTED
    assert log.read(GROUP, 170)[0] == OK
    log.abandon()


class Oracle:
    """What was accepted, in order; what of it is known to be durable."""

    def __init__(self) -> None:
        self.accepts: list[tuple[int, int, int]] = []  # slot, round, wsn
        self.promises: list[tuple[int, int]] = [(0, 0)]  # round, wsn
        self.marks: list[tuple[int, int]] = [(0, 0)]

    def of(self, slot: int) -> list[tuple[int, int]]:
        return [(round_, wsn) for s, round_, wsn in self.accepts if s == slot]

    def check(self, log: DiskLog, flushed: int) -> None:
        """Of each slot the newest flushed accept, or a later one that was written; nothing else."""
        found = log.groups.get(GROUP)
        have = terms(log) if found else {}
        for slot in {s for s, _, _ in self.accepts}:
            said = [i for i, (_, wsn) in enumerate(self.of(slot)) if wsn <= flushed]
            allowed = [round_ for round_, _ in self.of(slot)[said[-1] if said else 0:]]
            assert (slot in have) or not said, f"slot {slot} is lost"
            assert slot not in have or have[slot] in allowed, f"slot {slot} went back to round {have[slot]}"
            if slot in have:
                assert log.read(GROUP, slot)[2] == have[slot]
        assert set(have) <= {s for s, _, _ in self.accepts}
        if found:
            assert found["faulty"] == (0, 0)
            assert not found["hard_state_damaged"]
            assert found["hard_state"][0] >= max(round_ for round_, wsn in self.promises if wsn <= flushed)
            assert found["chosen"] >= max(slot for slot, wsn in self.marks if wsn <= flushed)

    def forget(self, log: DiskLog) -> None:
        """What the power cut took never was."""
        have = terms(log) if GROUP in log.groups else {}
        found = log.groups.get(GROUP, {"hard_state": (0, 0), "chosen": 0})
        self.accepts = [(slot, round_, 0) for slot, round_ in have.items()]
        self.promises = [(found["hard_state"][0], 0)]
        self.marks = [(found["chosen"], 0)]


@pytest.mark.parametrize("seed", range(12))
def test_power_cuts_never_lose_what_was_said(seed: int) -> None:
    """Torn accepts, torn again in the segment of the recovery: what a recovery has judged stays judged."""
    random_ = random.Random(seed)
    disk = blank_disk(seed)
    oracle = Oracle()
    round_ = 0
    flushed = 0
    for life in range(6):
        log = DiskLog(disk, segment_bytes=64 << 10, direct=bool(seed & 1))
        if life:
            oracle.check(log, flushed)
        oracle.forget(log)
        log.open_group(GROUP, "slots", SLOTS)
        for _ in range(random_.randrange(5, 40)):
            kind = random_.random()
            if kind < 0.15:
                round_ += 1
                oracle.promises.append((round_, log.hard_state(GROUP, round_, 1)))
            elif kind < 0.2:
                slot = max(slot for slot, _ in oracle.marks) + 1
                oracle.marks.append((slot, log.chosen(GROUP, slot + 1)))
            elif kind < 0.9:
                slot = random_.randrange(1, 30)
                wsn = log.accept(GROUP, max(round_, 1), 1, slot, [bytes(random_.randrange(1, 3000))])
                oracle.accepts.append((slot, max(round_, 1), wsn))
            elif random_.random() < 0.7:
                log.settle(mark=random_.random() < 0.3)
                log.prepare()
        number = log.plan()
        if number is not None:
            log.write(number)          # in the cache, not synced
        flushed = log.flushed
        log.abandon()
        disk.power_cut(random_.randrange(1 << 30))
    log = DiskLog(disk, segment_bytes=64 << 10)
    oracle.check(log, flushed)
    log.abandon()


def test_a_rotten_accept_below_f_is_faulty_unless_it_is_superseded() -> None:
    """An acceptor that forgot what it said has to know it (rule 4)."""
    for superseded in (False, True):
        disk, log = fresh()
        log.accept(GROUP, 1, 1, 3, [b"the one that rots" * 40])
        log.settle(mark=True)
        log.accept(GROUP, 1, 1, 5, [b"another"])
        if superseded:
            log.accept(GROUP, 2, 2, 3, [b"a later ballot"])
        log.settle(mark=True)
        log.abandon()
        path, offset = where(disk, b"the one that rots")
        disk.overwrite(path, offset + 30, b"T")
        log = DiskLog(disk, segment_bytes=64 << 10)
        assert log.groups[GROUP]["faulty"] == ((0, 0) if superseded else (3, 3))
        assert terms(log) == ({3: 2, 5: 1} if superseded else {5: 1})
        assert log.read(GROUP, 3)[0] == (OK if superseded else CORRUPT)
        log.abandon()


def where(disk: VirtualDisk, text: bytes) -> tuple[str, int]:
    """Path and offset of these bytes on the disk."""
    for path in disk.paths():
        content = disk.content(path)
        if text in content:
            return path, content.index(text)
    raise AssertionError("not on the disk")
