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
        self.forgotten = 0

    def admit(self, session: int, sequence: int, index: int, begins: bool) -> str:
        if session == 0:
            return "apply"
        if session not in self.known:
            if not begins or not self.forgotten <= sequence - 1 < index:
                return "expired"
            if len(self.known) == self.limit:
                longest = min(self.known, key=lambda s: self.known[s][1])
                self.forgotten = max(self.forgotten, self.known.pop(longest)[1])
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
        st.booleans(),
    ),
    max_size=120,
)


def play(table, log, index=0):
    said = []
    for session, sequence, count, begins in log:
        index += count
        said.append(table.admit(session, sequence, index, begins))
    return said


@given(st.integers(1, 8), LOGS)
def test_against_the_model(limit, log):
    table, model = SessionTable(limit), Model(limit)
    assert play(table, log) == play(model, log)
    assert table.contents() == model.known
    assert table.count() == len(model.known)
    assert table.forgotten() == model.forgotten
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
        begins = known == 0
        if begins:
            sequence = chance.randrange(max(0, index - 50), index + 2)
        assert table.admit(session, sequence, index, begins) == model.admit(session, sequence, index, begins)
        for other, (last, _used) in model.known.items():
            assert table.last(other) == last
    assert table.contents() == model.known


def test_the_largest_table_fills_and_turns_over():
    table = SessionTable(SESSIONS_LIMIT_MAX)
    for session in range(1, 2 * SESSIONS_LIMIT_MAX + 1):
        assert table.admit(session, session, session, True) == "apply"
    assert table.count() == SESSIONS_LIMIT_MAX
    assert table.last(SESSIONS_LIMIT_MAX) == 0
    assert table.last(SESSIONS_LIMIT_MAX + 1) == SESSIONS_LIMIT_MAX + 1
    assert table.admit(SESSIONS_LIMIT_MAX, SESSIONS_LIMIT_MAX + 1, 10**6, False) == "expired"


def test_in_order_and_exactly_once():
    table = SessionTable(4)
    said = [table.admit(9, n, i, n == 1) for i, n in enumerate([1, 1, 3, 2, 3, 2, 4, 6, 5], start=1)]
    assert said == [
        "apply", "repeated", "gap", "apply", "apply", "repeated", "apply", "gap", "apply",
    ]
    assert table.last(9) == 5


@pytest.mark.parametrize("limit", [0, SESSIONS_LIMIT_MAX + 1, 2**32 - 1])
def test_limits_are_checked(limit):
    with pytest.raises(ValueError, match="1"):
        SessionTable(limit)


def test_a_forgotten_session_never_begins_again():
    """ADR 21: a copy of its first batch is no beginning, wherever in the log it comes."""
    table = SessionTable(4)
    assert table.admit(9, 1, 1, True) == "apply"
    assert table.admit(9, 2, 2, False) == "apply"
    for index, session in enumerate([10, 11, 12, 13], start=3):
        assert table.admit(session, index, index, True) == "apply"
    assert table.last(9) == 0
    assert table.forgotten() == 2
    assert [table.admit(9, n, 7 + n, n == 1) for n in (1, 2, 3)] == ["expired"] * 3
    assert table.admit(14, 2, 11, True) == "expired", "it may have been forgotten"
    assert table.admit(14, 3, 12, True) == "apply", "born at or behind all that was forgotten"


def test_a_birth_lies_before_its_batch():
    table = SessionTable(4)
    assert table.admit(9, 6, 5, True) == "expired"
    assert table.admit(9, 0, 5, True) == "expired"
    assert table.admit(9, 5, 5, True) == "apply"


@given(st.integers(1, 8), LOGS)
def test_what_is_encoded_decides_alike(limit, log):
    table, again = SessionTable(limit), SessionTable(limit)
    play(table, log)
    data = table.encoded()
    assert again.decode(data) == 0
    assert again.contents() == table.contents()
    assert again.forgotten() == table.forgotten()
    end = sum(count for _, _, count, _ in log)
    assert play(again, log, end) == play(table, log, end)


def test_bytes_that_are_no_table_are_refused():
    table = SessionTable(4)
    table.admit(9, 1, 1, True)
    data = table.encoded()
    for wrong in (b"", data[:-1], data + b"\0", b"\2" + data[1:], data[:8] + b"\xff" * 8 + data[16:]):
        assert SessionTable(4).decode(wrong) != 0
