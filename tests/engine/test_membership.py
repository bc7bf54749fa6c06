"""Slots agree on all nodes, whatever the order in which voters were named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumlog._core.bridge.testing_engine import membership_asked, membership_of

OK, ERR_USAGE = 0, 1
NODES = st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=16, unique=True)


@given(NODES, st.randoms())
def test_slots_follow_node_ids(voters, random):
    shuffled = list(voters)
    random.shuffle(shuffled)
    bits = (1 << len(voters)) - 1
    expected = (OK, sorted(voters), bits, 0, bits)
    assert membership_of(voters) == expected
    assert membership_of(shuffled) == expected


@given(NODES, st.integers(0, 2**64 - 1))
def test_slot_of(voters, other):
    for slot, node in enumerate(sorted(voters)):
        assert membership_asked(voters, node) == (slot, True)
    if other not in voters:
        assert membership_asked(voters, other) == (-1, False)


@pytest.mark.parametrize("voters", [[], [0], [1, 0], [7, 7], [1, 2, 3, 2], list(range(1, 18))])
def test_refused(voters):
    assert membership_of(voters)[0] == ERR_USAGE


@given(NODES, st.data())
def test_twice_the_same_is_refused(voters, data):
    again = data.draw(st.sampled_from(voters))
    if len(voters) < 16:
        assert membership_of([*voters, again])[0] == ERR_USAGE
