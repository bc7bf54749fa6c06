"""Sessions against a dictionary, with tables so small that they evict and delete all the time."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumlog._core.bridge.testing_engine import SESSIONS_LIMIT_MAX, SessionTable


class Model:
    """The same rules, with a dict and a minimum."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.known: dict[int, tuple[int, int]] = {}

    def admit(self, session: int, sequence: int, index: int) -> str:
        if session == 0:
            return "apply"
        if session not in self.known:
            if sequence != 1:
                return "expired"
            if len(self.known) == self.limit:
                del self.known[min(self.known, key=lambda s: self.known[s][1])]
        else:
            last = self.known[session][0]
            if sequence <= last:
                return "repeated"
            if sequence != last + 1:
                return "gap"
        self.known[session] = (sequence, index)
        return "apply"


LOGS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 12), st.sampled_from([2**64 - 1, 2**63, 2**32])),
        st.one_of(st.integers(0, 5), st.just(2**64 - 1)),
        st.integers(1, 1000),
    ),
    max_size=120,
)


def play(table, log):
    index, said = 0, []
    for session, sequence, count in log:
        index += count
        said.append(table.admit(session, sequence, index))
    return said


@given(st.integers(1, 8), LOGS)
def test_against_the_model(limit, log):
    table, model = SessionTable(limit), Model(limit)
    assert play(table, log) == play(model, log)
    assert table.contents() == model.known
    assert table.count() == len(model.known)
    for session in range(13):
        assert table.last(session) == model.known.get(session, (0, 0))[0]


@given(st.integers(1, 8), LOGS)
def test_a_function_of_the_log_alone(limit, log):
    first, second = SessionTable(limit), SessionTable(limit)
    assert play(first, log) == play(second, log)
    assert first.contents() == second.contents()


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 3, 31, 32, 33, 100]))
def test_long_runs_with_many_evictions(seed, limit):
    """Every known session stays findable behind each deletion: backward shift moves it."""
    chance = random.Random(seed)
    table, model = SessionTable(limit), Model(limit)
    for index in range(1, 2000):
        session = chance.randrange(1, 3 * limit + 2)
        known = model.known.get(session, (0, 0))[0]
        sequence = max(0, known + chance.choice([1, 1, 1, 1, 0, 2]))
        assert table.admit(session, sequence, index) == model.admit(session, sequence, index)
        for other, (last, _used) in model.known.items():
            assert table.last(other) == last
    assert table.contents() == model.known


def test_the_largest_table_fills_and_turns_over():
    table = SessionTable(SESSIONS_LIMIT_MAX)
    for session in range(1, 2 * SESSIONS_LIMIT_MAX + 1):
        assert table.admit(session, 1, session) == "apply"
    assert table.count() == SESSIONS_LIMIT_MAX
    assert table.last(SESSIONS_LIMIT_MAX) == 0
    assert table.last(SESSIONS_LIMIT_MAX + 1) == 1
    assert table.admit(SESSIONS_LIMIT_MAX, 2, 10**6) == "expired"


def test_in_order_and_exactly_once():
    table = SessionTable(4)
    said = [table.admit(9, n, i) for i, n in enumerate([1, 1, 3, 2, 3, 2, 4, 6, 5], start=1)]
    assert said == [
        "apply", "repeated", "gap", "apply", "apply", "repeated", "apply", "gap", "apply",
    ]
    assert table.last(9) == 5


@pytest.mark.parametrize("limit", [0, SESSIONS_LIMIT_MAX + 1, 2**32 - 1])
def test_limits_are_checked(limit):
    with pytest.raises(ValueError, match="1"):
        SessionTable(limit)


def test_a_forgotten_session_can_only_begin_again():
    """The hole of docs/adr/0003: the first batch of a session that was forgotten; any other is expired."""
    table = SessionTable(4)
    assert table.admit(9, 1, 1) == "apply"
    assert table.admit(9, 2, 2) == "apply"
    for index, session in enumerate([10, 11, 12, 13], start=3):
        assert table.admit(session, 1, index) == "apply"
    assert table.last(9) == 0
    assert table.admit(9, 2, 7) == "expired"
    assert table.admit(9, 3, 8) == "expired"
    assert table.admit(9, 1, 9) == "apply"
