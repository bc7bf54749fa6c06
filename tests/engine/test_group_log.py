"""The group log against a list of batches that does everything the slow way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from quorumlog._core.bridge.testing_log import BATCH_BYTES, Log

COMPACTED, NOT_FOUND, USAGE = 12, 52, 1


class SlowLog:
    def __init__(self) -> None:
        self.first, self.term_before = 1, 0
        self.batches: list[dict[str, int]] = []  # first, last, term, wsn
        self.flushed_wsn = 0

    @property
    def last(self) -> int:
        return self.batches[-1]["last"] if self.batches else self.first - 1

    @property
    def flushed(self) -> int:
        done = self.first - 1
        for batch in self.batches:
            if batch["wsn"] > self.flushed_wsn:
                break
            done = batch["last"]
        return done

    def term(self, index: int) -> int:
        if index == self.first - 1:
            return self.term_before
        return next(b["term"] for b in self.batches if b["first"] <= index <= b["last"])


class GroupLogMachine(RuleBasedStateMachine):
    @initialize(limit=st.sampled_from([0, 5 * BATCH_BYTES, 1 << 20]))
    def open(self, limit: int) -> None:
        self.fast, self.slow = Log(limit), SlowLog()
        self.limit = limit
        self.wsn = self.term = 1
        self.pinned = 1

    @rule(count=st.integers(1, 5), newer=st.integers(0, 2), gap=st.integers(1, 3))
    def append(self, count: int, newer: int, gap: int) -> None:
        self.term += newer
        self.wsn += gap
        first = self.slow.last + 1
        self.fast.append(first, count, self.term, self.wsn)
        self.slow.batches.append(
            {"first": first, "last": first + count - 1, "term": self.term, "wsn": self.wsn}
        )

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        firsts = [b["first"] for b in self.slow.batches if b["first"] >= self.pinned]
        if firsts:
            first = data.draw(st.sampled_from(firsts))
            self.fast.truncate(first)
            self.slow.batches = [b for b in self.slow.batches if b["first"] < first]

    @rule(back=st.integers(0, 6))
    def flush(self, back: int) -> None:
        before = self.slow.flushed
        self.slow.flushed_wsn = max(self.slow.flushed_wsn, self.wsn - back)
        assert self.fast.flush(self.slow.flushed_wsn) == (self.slow.flushed > before)

    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        ends = [b["last"] + 1 for b in self.slow.batches]
        if ends:
            first = data.draw(st.sampled_from(ends))
            self.fast.pin(first)
            self.pinned = max(self.pinned, first)

    @precondition(lambda self: self.slow.flushed >= self.slow.first)
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        ends = [b["last"] + 1 for b in self.slow.batches if b["last"] <= self.slow.flushed]
        first = data.draw(st.sampled_from(ends))
        before = self.slow.term(first - 1)
        self.fast.compact(first)
        self.slow.batches = [b for b in self.slow.batches if b["first"] >= first]
        self.slow.first, self.slow.term_before = first, before
        self.pinned = max(self.pinned, first)

    @invariant()
    def cursors_agree(self) -> None:
        fast, slow = self.fast.cursors, self.slow
        assert (fast["first"], fast["last"], fast["flushed"]) == (
            slow.first,
            slow.last,
            slow.flushed,
        )
        assert fast["last_term"] == slow.term(slow.last)

    @invariant()
    def terms_agree(self) -> None:
        slow = self.slow
        for index in range(slow.first - 1, slow.last + 1):
            assert self.fast.term(index) == (0, slow.term(index))
        assert self.fast.term(slow.last + 1)[0] == NOT_FOUND
        if slow.first >= 2:
            assert self.fast.term(slow.first - 2)[0] == COMPACTED
        for index in range(slow.first, slow.last + 1):
            run = index
            while run > slow.first and slow.term(run - 1) == slow.term(index):
                run -= 1
            assert self.fast.run_first(index) == run
        for term in range(self.term + 2):
            below = [i for i in range(slow.first, slow.last + 1) if slow.term(i) <= term]
            assert self.fast.last_of_term(term) == max(below, default=slow.first - 1)

    @invariant()
    def memory_holds_a_suffix(self) -> None:
        cached = self.fast.cursors["cached_first"]
        kept = 0
        for batch in self.slow.batches:
            expected = (batch["first"], batch["last"]) if batch["first"] >= cached else None
            kept += BATCH_BYTES if expected else 0
            for index in range(batch["first"], batch["last"] + 1):
                assert self.fast.batch(index) == expected
            if not expected:
                assert batch["last"] < self.pinned, "what is pinned stays"
                assert batch["last"] <= self.slow.flushed, "what is not flushed stays"
        assert self.fast.cursors["cached_bytes"] == kept
        assert self.fast.batch(self.slow.last + 1) is None

    @invariant()
    def wsns_cover(self) -> None:
        for batch in self.slow.batches:
            expected = batch["wsn"] if batch["last"] > self.slow.flushed else 0
            assert self.fast.wsn(batch["last"]) == expected


GroupLogMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestGroupLog = GroupLogMachine.TestCase


def test_a_late_completion_of_a_truncated_write_moves_nothing() -> None:
    log = Log()
    log.append(1, 1, 1, 10)
    log.truncate(1)
    log.append(1, 1, 2, 12)
    assert not log.flush(11)
    assert log.cursors["flushed"] == 0
    assert log.flush(12)


def test_what_is_not_flushed_stays_in_memory_even_when_it_is_applied() -> None:
    """It is committed by others' disks: the log could not read it back yet."""
    log = Log(0)
    for index in range(1, 5):
        log.append(index, 1, 1, index)
    log.flush(2)
    log.pin(4)
    assert [log.batch(index) is not None for index in range(1, 5)] == [False, False, True, True]
    log.flush(4)
    assert [log.batch(index) is not None for index in range(1, 5)] == [False, False, False, True]


@pytest.mark.parametrize(
    ("first", "before", "last", "runs"),
    [
        (0, 0, 0, []),  # no index 0
        (1, 0, 5, []),  # terms missing
        (1, 0, 0, [(1, 1)]),  # terms of nothing
        (5, 3, 9, [(6, 3)]),  # begins too late
        (5, 3, 9, [(5, 2)]),  # falls behind the term before
        (1, 0, 9, [(1, 2), (5, 1)]),  # falls
        (1, 0, 9, [(1, 1), (1, 2)]),  # twice the same place
        (1, 0, 9, [(1, 1), (10, 2)]),  # behind the end
        (1, 0, 9, [(1, 0)]),  # no term
    ],
)
def test_runs_that_make_no_log_are_refused(
    first: int, before: int, last: int, runs: list[tuple[int, int]]
) -> None:
    assert Log().restore(first, before, last, runs) == USAGE


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), min_size=1, max_size=8))
def test_restored_terms(parts: list[tuple[int, int]]) -> None:
    runs, terms, term = [], [], 1
    for length, newer in parts:
        term += newer
        runs.append((len(terms) + 1, term))
        terms += [term] * length
    log = Log()
    assert log.restore(1, 0, len(terms), runs) == 0
    assert [log.term(i)[1] for i in range(1, len(terms) + 1)] == terms
    assert log.cursors["flushed"] == len(terms)
    assert log.batch(1) is None
    log.append(len(terms) + 1, 2, term, 1)
    assert log.batch(len(terms) + 2) == (len(terms) + 1, len(terms) + 2)
