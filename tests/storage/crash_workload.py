"""Workloads on the real log over a recording virtual disk, and what recovery may say after a crash in them.

A workload knows the model: for every group the log and the hard state behind each
record, by WSN.  After a crash, recovery must give one of those behind the records
that were flushed: acknowledged is within recovered, recovered within issued.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from quorumlog._core.bridge.testing_disk import GARBAGE, KEPT, OLD, VirtualDisk
from quorumlog._core.bridge.testing_disk_log import DiskLog, LogRefused

Entries = dict[int, tuple[int, bytes]]
MODEL_GROUPS = (1, 2, 3)


@dataclass
class State:
    """A group behind a record."""

    wsn: int
    first: int
    last: int
    entries: Entries
    hard_state: tuple[int, int]
    firsts: tuple[int, ...] = ()  # of the batches


@dataclass
class Model:
    states: dict[int, list[State]] = field(default_factory=dict)

    def at(self, group: int) -> State:
        return self.states[group][-1]

    def add(self, group: int, wsn: int, **changes: object) -> None:
        old = self.states[group][-1] if group in self.states else State(0, 1, 0, {}, (0, 0))
        self.states.setdefault(group, [old]).append(State(**{**vars(old), **changes, "wsn": wsn}))  # type: ignore[arg-type]


class Workload:
    """Drives a log; every call is recorded by the disk, every moved `flushed` noted with the record's length."""

    def __init__(self, seed: int, *, direct: bool = True, group_bytes: int = 1 << 20) -> None:
        self.random = random.Random(seed)
        self.options = {"direct": direct, "group_bytes": group_bytes}
        self.disk = VirtualDisk(seed)
        self.disk.make_directory("wal")
        self.disk.sync_directory("/")
        self.base = self.disk.clone(seed)
        self.disk.record()
        self.model = Model()
        self.notes: list[tuple[int, int]] = [(0, 0)]
        self.log = DiskLog(self.disk, **self.options)
        self.flying: list[int] = []
        self.note()

    def note(self) -> None:
        self.notes.append((self.disk.recorded_count, self.log.flushed))

    def acknowledged(self, recorded: int) -> int:
        """The WSN that was flushed when so many calls had been made."""
        return max(flushed for count, flushed in self.notes if count <= recorded)

    # --- records

    def open_group(self, group: int) -> None:
        self.model.add(group, self.log.open_group(group, f"group {group}"))

    def append(self, group: int, size: int, count: int = 1) -> None:
        state = self.model.at(group)
        first = state.last + 1
        payloads = [self.random.randbytes(self.random.randint(size // 2, size)) for _ in range(count)]
        term = max(1, state.hard_state[0])
        wsn = self.log.append(group, term, first, payloads)
        entries = {**state.entries, **{first + i: (term, p) for i, p in enumerate(payloads)}}
        self.model.add(group, wsn, last=first + count - 1, entries=entries, firsts=(*state.firsts, first))

    def vote(self, group: int) -> None:
        term, _ = self.model.at(group).hard_state
        hard_state = (term + self.random.randint(1, 3), self.random.randint(1, 3))
        self.model.add(group, self.log.hard_state(group, *hard_state), hard_state=hard_state)

    def truncate(self, group: int, batches: int = 1) -> None:
        """Drops the newest batches, at least one and not all."""
        state = self.model.at(group)
        batches = min(batches, len(state.firsts) - 1)
        if batches < 1:
            return
        first = state.firsts[-batches]
        wsn = self.log.truncate(group, max(1, state.hard_state[0]), first)
        kept = {i: e for i, e in state.entries.items() if i < first}
        self.model.add(group, wsn, last=first - 1, entries=kept, firsts=state.firsts[:-batches])

    def compact(self, group: int, batches: int = 1) -> None:
        """Drops the oldest batches, not all."""
        state = self.model.at(group)
        batches = min(batches, len(state.firsts) - 1)
        if batches < 1:
            return
        first = state.firsts[batches]
        wsn = self.log.compact(group, first, state.entries[first - 1][0])
        kept = {i: e for i, e in state.entries.items() if i >= first}
        self.model.add(group, wsn, first=first, entries=kept, firsts=state.firsts[batches:])

    # --- the writer

    def start(self, *, mark: bool = False) -> None:
        number = self.log.plan(mark)
        if number is not None:
            assert self.log.write(number) == 0
            self.flying.append(number)

    def end(self, position: int = 0) -> None:
        if self.flying:
            assert self.log.finish(self.flying.pop(position)) == 0
            self.note()
            self.log.prepare()

    def settle(self, *, mark: bool = False) -> None:
        while True:
            while self.flying:
                self.end()
            self.start(mark=mark)
            if not self.flying:
                return


def small(seed: int) -> Workload:
    """A few groups, small records, hard states, truncations, two writes in flight in either order."""
    w = Workload(seed)
    for group in (1, 2):
        w.open_group(group)
    w.append(1, 40, 3)
    w.settle()
    w.vote(1)
    w.start()
    w.append(1, 100, 2)
    w.append(2, 30)
    w.start()
    w.end(1)
    w.end()
    w.truncate(1)
    w.append(1, 60)
    w.start()
    w.vote(2)
    w.vote(1)
    w.start()
    w.settle(mark=True)
    w.append(2, 700, 3)
    w.truncate(2)
    w.vote(2)
    w.append(2, 20)
    w.settle()
    w.compact(1)
    w.append(1, 10)
    w.settle(mark=True)
    w.append(1, 10)
    w.append(2, 2000)
    w.start()
    return w


def rolling(seed: int) -> Workload:
    """Large records roll segments; the head is dropped, a slow group is moved forward, segments are used again."""
    w = Workload(seed, direct=seed % 2 == 0, group_bytes=(1 << 20) if seed % 3 else (64 << 10))
    for group in MODEL_GROUPS:
        w.open_group(group)
    w.append(3, 50, 2)  # the slow group
    w.vote(3)
    for turn in range(14):
        w.append(1, 150_000, 2)
        w.append(2, 300, 2)
        if turn % 3 == 1:
            w.vote(1 + turn % 2)
        w.start()
        if turn % 4 == 2:
            w.truncate(2)
            w.append(2, 90)
            w.start()
        w.end(-1)
        if turn % 4 == 3:
            w.settle(mark=True)
            w.compact(1, 6)
    w.settle(mark=True)
    w.append(1, 100)
    w.start()
    return w


def random_mix(seed: int) -> Workload:
    """Any order of anything."""
    w = Workload(seed, direct=seed % 2 == 0)
    for group in MODEL_GROUPS:
        w.open_group(group)
    for _ in range(60):
        group = w.random.choice(MODEL_GROUPS)
        drawn = w.random.random()
        if drawn < 0.45:
            w.append(group, w.random.choice((10, 60, 900, 5000)), w.random.randint(1, 3))
        elif drawn < 0.55:
            w.vote(group)
        elif drawn < 0.65:
            w.truncate(group, w.random.randint(1, 3))
        elif drawn < 0.70 and not w.flying:
            w.settle()
            w.compact(group, w.random.randint(1, 3))
        elif drawn < 0.9:
            w.start(mark=w.random.random() < 0.3)
        else:
            w.end(w.random.randrange(len(w.flying)) if w.flying else 0)
    return w


# --- crash states -------------------------------------------------------------------------------


def fates_of(disk: VirtualDisk, chooser: random.Random, exhaustive: int, samples: int) -> Iterator[bytes]:
    """Fates for all that is pending: every subset up to `exhaustive` pieces, else adversarial and drawn ones."""
    every = disk.fates()
    matter = disk.fates_that_matter()
    sizes = [i for i, (_, sector) in enumerate(every) if sector is None]

    def fates(kept: set[int]) -> bytes:
        return bytes(KEPT if i in kept else OLD for i in range(len(every)))

    if len(matter) <= exhaustive:
        for subset in range(1 << len(matter)):
            yield fates({position for k, position in enumerate(matter) if subset >> k & 1} | set(sizes))
        if sizes:
            yield fates(set(matter) - set(sizes))
        return
    yield fates(set())
    yield fates(set(matter))
    yield fates(set(sizes))
    for alone in {matter[0], matter[-1], chooser.choice(matter)}:
        yield fates({alone, *sizes})  # the header only, the last only
        yield fates(set(matter) - {alone})  # all but one
    for _ in range(samples):
        share = chooser.choice((0.1, 0.5, 0.9))
        yield fates({i for i in matter if chooser.random() < share} | set(sizes))
    spoilt = bytearray(fates(set(matter)))
    for i in chooser.sample(matter, min(len(matter), 3)):
        if every[i][1] is not None:
            spoilt[i] = GARBAGE
    yield bytes(spoilt)


def prefixes(workload: Workload) -> Iterator[tuple[int, VirtualDisk]]:
    """(calls made, the disk after them), for all prefixes of the record.  The disk is the walker's: clone it."""
    disk = workload.base.clone()
    for recorded in range(workload.disk.recorded_count + 1):
        yield recorded, disk
        if recorded < workload.disk.recorded_count:
            disk.replay(workload.disk, recorded)


def terms_of(found: dict[str, object]) -> dict[int, int]:
    """Terms by index, as the runs of the report have them."""
    terms = {}
    for index in range(int(str(found["first"])), int(str(found["last"])) + 1):
        terms[index] = [term for first, term in found["runs"] if first <= index][-1]  # type: ignore[attr-defined]
    return terms


def judge(workload: Workload, acknowledged: int, log: DiskLog) -> None:
    """Acknowledged is within recovered, recovered within issued, votes never go back, a crash is no corruption."""
    groups = log.groups
    assert log.flushed_found <= max(s.wsn for states in workload.model.states.values() for s in states)
    for group, states in workload.model.states.items():
        binding = [s for s in states if s.wsn >= acknowledged]
        older = [s for s in states if s.wsn < acknowledged]
        if older:
            binding.insert(0, older[-1])
        if group not in groups:
            assert binding[0].wsn == 0, f"group {group} is gone"
            continue
        found = groups[group]
        entries = log.entries(group)
        assert terms_of(found) == {i: term for i, (term, _) in entries.items()}, f"group {group}: wrong term runs"
        assert not found["hard_state_damaged"], f"group {group}: a torn hard state is called damaged"
        assert found["faulty"] == (0, 0), f"group {group}: a torn record is called corrupt: {log.detail}"
        assert found["hard_state"] in [s.hard_state for s in binding], (
            f"group {group}: hard state {found['hard_state']}, promised {binding[0].hard_state}"
        )
        where = (found["first"], found["last"])
        exact = any(where == (s.first, s.last) and entries == s.entries for s in binding)
        assert exact or cut_by_a_lost_truncation(found, entries, binding), (
            f"group {group}: {where} (unproved to {found['unproved_last']}) is not the log behind any record from "
            f"{acknowledged} on: {[(s.wsn, s.first, s.last, s.firsts) for s in binding]}"
        )


def cut_by_a_lost_truncation(found: dict[str, object], entries: Entries, binding: list[State]) -> bool:
    """A truncation that is lost while what replaced it is known of: the intact log ends at a batch end before
    the replacement, which is unproved (or truncated in turn).  Never before what the truncation kept."""
    last = found["last"]
    assert isinstance(last, int)
    unproved = found["unproved_last"]
    assert isinstance(unproved, int)
    if unproved <= last and not any(s.last == last for s in binding):
        return False
    if last < min(s.last for s in binding) or binding[0].last <= min(s.last for s in binding):
        return False
    return any(
        found["first"] == s.first
        and last < s.last
        and last + 1 in s.firsts
        and entries == {i: e for i, e in s.entries.items() if i <= last}
        for s in binding
    )


VERDICTS = (
    "hard_state",
    "hard_state_damaged",
    "first",
    "last",
    "term_before_first",
    "runs",
    "unproved_last",
    "faulty",
    "name",
    "mode",
)


def verdicts(log: DiskLog) -> dict[int, dict[str, object]]:
    return {group: {key: found[key] for key in VERDICTS} for group, found in log.groups.items()}


def recover_and_judge(
    workload: Workload, recorded: int, state: VirtualDisk, chooser: random.Random, nested: int
) -> None:
    """Recovers twice, and `nested` times after a crash inside the recovery."""
    acknowledged = workload.acknowledged(recorded)
    broken = [state.clone(chooser.randrange(1 << 30)) for _ in range(nested)]
    before = state.operations
    log = DiskLog(state, prepare=False, **workload.options)
    operations = state.operations - before
    judge(workload, acknowledged, log)
    first = verdicts(log)
    log.abandon()
    log = DiskLog(state, prepare=False, **workload.options)
    judge(workload, acknowledged, log)
    assert verdicts(log) == first, "the second opening finds something else"
    log.abandon()
    for disk in broken:
        disk.halt_after(chooser.randrange(max(operations, 1)))
        with contextlib.suppress(LogRefused):
            DiskLog(disk, prepare=False, **workload.options).abandon()
        disk.halt_after(None)
        if chooser.random() < 0.8:
            disk.power_cut(chooser.randrange(1 << 30))
        log = DiskLog(disk, prepare=False, **workload.options)
        judge(workload, acknowledged, log)
        log.abandon()
