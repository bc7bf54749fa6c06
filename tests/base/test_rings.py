"""Rings of pointers: order, bound, and two threads."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumlog._core.bridge.testing_base import ring_between_threads, ring_play


@pytest.mark.parametrize("capacity", [1, 2, 64, 1024])
def test_two_threads_lose_and_reorder_nothing(capacity):
    wrong, got, most, empty = ring_between_threads(capacity, 200_000)
    assert wrong == 0
    assert got == 200_000
    assert most <= capacity
    assert empty


@given(
    st.sampled_from([1, 2, 4, 8]),
    st.lists(st.one_of(st.none(), st.integers(1, 2**63)), max_size=60),
)
def test_against_a_deque(capacity, steps):
    model: deque[int] = deque()
    expected: list[object] = []
    for step in steps:
        if step is None:
            expected.append(model.popleft() if model else None)
        elif len(model) < capacity:
            model.append(step)
            expected.append(True)
        else:
            expected.append(False)
    assert ring_play(capacity, steps) == [*expected, len(model)]
