"""Helpers for `StateMachine.snapshot`: views that stay as they are."""

from __future__ import annotations

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quorumlog as ql

KEYS = st.one_of(st.binary(max_size=4), st.text(max_size=3), st.integers(-50, 50))


@given(st.lists(st.one_of(st.tuples(KEYS, st.integers()), KEYS, st.just(None))))
def test_frozen_items_stay_as_they_were(steps: list[object]) -> None:
    """Against a dict that is copied whole."""
    table: ql.CowDict = ql.CowDict()
    model: dict = {}
    frozen = []
    for step in steps:
        if step is None:
            frozen.append((table.freeze(), dict(model)))
        elif isinstance(step, tuple):
            table[step[0]] = step[1]
            model[step[0]] = step[1]
        else:
            table.pop(step, None)
            model.pop(step, None)
    for items, as_it_was in frozen:
        assert dict(items) == as_it_was
        assert len(items) == len(as_it_was)
    assert dict(table) == model
    assert len(table) == len(model)
    assert all(key in table for key in model)


def test_the_order_is_that_of_one_that_begins_from_a_snapshot() -> None:
    table = ql.CowDict((b"%d" % number, b"x") for number in range(5000))
    del table[b"77"]
    again = ql.CowDict(ql.unpack_items(ql.pack_items(table.freeze())))
    assert list(again) == list(table)
    for one in (table, again):
        one[b"new"] = b"y"
    assert list(again) == list(table)


def test_a_shard_is_copied_once_after_a_freeze() -> None:
    table = ql.CowDict((number, number) for number in range(10_000))
    before = list(table._shards)
    table.freeze()
    table[1] = 5
    table[1] = 6
    changed = [place for place, shard in enumerate(table._shards) if shard is not before[place]]
    assert changed == [1]
    owned = table._shards[1]
    table[1025] = 7
    assert table._shards[1] is owned


@given(st.dictionaries(st.binary(), st.binary()), st.integers(1, 40))
def test_packed_items_come_back_however_they_are_cut(items: dict[bytes, bytes], cut: int) -> None:
    packed = b"".join(ql.pack_items(items.items()))
    pieces = [packed[at : at + cut] for at in range(0, len(packed), cut)]
    assert dict(ql.unpack_items(pieces)) == items
    if packed:
        with pytest.raises(ql.UsageError):
            dict(ql.unpack_items([packed[:-1]]))


def test_large_items_come_in_pieces() -> None:
    pieces = list(ql.pack_items((b"%d" % number, bytes(1000)) for number in range(5000)))
    assert len(pieces) >= 4
    assert max(map(len, pieces)) < (1 << 20) + 2000


def test_a_frozen_copy_is_of_the_moment_it_was_asked_for() -> None:
    balances = numpy.arange(400_000, dtype=numpy.int64)
    view = ql.frozen_copy(balances)
    balances[:] = 0
    pieces = list(view)
    assert len(pieces) == 4
    assert numpy.array_equal(numpy.frombuffer(b"".join(pieces), numpy.int64), numpy.arange(400_000))


def test_keys_of_other_kinds_are_refused() -> None:
    table: ql.CowDict = ql.CowDict()
    with pytest.raises(ql.UsageError):
        table[1.5] = 1
    assert 1.5 not in table
    with pytest.raises(KeyError):
        del table[b"nothing"]
