"""Both checkers of histories against brute force: every order of the operations that real time allows."""

from __future__ import annotations

import itertools
import json
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings

from quorumlog._core.bridge.testing_simulation import history_holds, run
from quorumlog.testing.linearizability import (
    Model,
    Operation,
    is_linearizable,
    porcupine_lines,
    register_operations,
    registers,
)

NEVER = 2**63 - 1
Row = tuple[int, str, int, int, int, int | None]


def brute_force(rows: list[Row]) -> bool:
    """Whether some subset of the unanswered writes, with all answered operations, has an order that works."""
    answered = [row for row in rows if row[5] is not None]
    unknown = [row for row in rows if row[5] is None and row[1] == "write"]
    for count in range(len(unknown) + 1):
        for chosen in itertools.combinations(unknown, count):
            if any(order_works(order) for order in itertools.permutations([*answered, *chosen])):
                return True
    return False


def order_works(order: tuple[Row, ...]) -> bool:
    values: dict[int, int] = {}
    for position, (_, kind, key, value, call_ns, _) in enumerate(order):
        if any(later[5] is not None and later[5] < call_ns for later in order[position + 1 :]):
            return False
        if kind == "write":
            values[key] = value
        elif values.get(key, 0) != value:
            return False
    return True


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    """A handful of operations on one or two registers; written values differ."""
    rows: list[Row] = []
    count = draw(st.integers(1, 6))
    written = [0]
    for number in range(count):
        call = draw(st.integers(1, 8))
        unanswered = draw(st.integers(0, 5)) == 0
        end = None if unanswered else call + draw(st.integers(0, 6))
        key = draw(st.integers(0, 1)) if count > 4 else 0
        if draw(st.booleans()):
            written.append(number + 1)
            rows.append((number, "write", key, number + 1, call, end))
        else:
            rows.append((number, "read", key, draw(st.sampled_from(range(count + 1))), call, end))
    return rows


@given(histories())
@settings(max_examples=600, deadline=None)
def test_both_checkers_agree_with_brute_force(rows: list[Row]) -> None:
    expected = brute_force(rows)
    assert history_holds(rows) == expected
    assert is_linearizable(registers, register_operations(rows)) == expected


def test_what_a_register_can_and_cannot_have_done() -> None:
    write: Row = (0, "write", 0, 1, 10, 20)
    assert history_holds([write, (1, "read", 0, 1, 15, 16)])           # seen while it was written
    assert history_holds([write, (1, "read", 0, 0, 15, 16)])
    assert not history_holds([write, (1, "read", 0, 0, 21, 22)])       # stale
    assert not history_holds([write, (1, "read", 0, 1, 1, 5)])         # from the future
    assert not history_holds([write, (1, "read", 0, 7, 30, 31)])       # nobody wrote it
    assert not history_holds([write, (1, "read", 0, 1, 11, 12), (2, "read", 0, 0, 13, 14)])    # back again
    lost: Row = (0, "write", 0, 2, 30, None)
    assert history_holds([write, lost, (1, "read", 0, 1, 40, 41), (1, "read", 0, 2, 50, 51)])
    assert not history_holds([write, lost, (1, "read", 0, 2, 40, 41), (1, "read", 0, 1, 50, 51)])


def test_keys_are_independent() -> None:
    rows: list[Row] = [(0, "write", 0, 1, 1, 2), (0, "write", 1, 2, 3, 4), (1, "read", 0, 1, 5, 6)]
    assert history_holds(rows)
    assert is_linearizable(registers, register_operations(rows))


def test_any_object_can_be_checked() -> None:
    """A queue: what went in first comes out first."""

    def step(state: tuple[Any, ...], asked: str, answer: Any) -> tuple[Any, ...] | None:
        if asked == "take":
            return state[1:] if state and state[0] == answer else None
        return (*state, asked)

    queue = Model(initial=(), step=step, unknown=lambda state, asked: (*state, asked))
    two = [Operation(0, "a", None, 1, 2), Operation(0, "b", None, 3, 4)]
    assert is_linearizable(queue, [*two, Operation(1, "take", "a", 5, 6)])
    assert not is_linearizable(queue, [*two, Operation(1, "take", "b", 5, 6)])


def test_the_simulations_histories_hold_for_both_checkers_and_a_changed_one_does_not() -> None:
    rows = run(2, nodes=3, profile="hot", safety_ms=6000, healed_ms=20_000, history=True)["history"]
    assert sum(row[1] == "read" and row[5] is not None for row in rows) > 10
    assert sum(row[5] is None for row in rows) > 0
    assert history_holds(rows)
    assert is_linearizable(registers, register_operations(rows))
    reads = [i for i, row in enumerate(rows) if row[1] == "read" and row[5] is not None and row[3] != 0]
    last = rows[reads[-1]]
    rows[reads[-1]] = (*last[:3], 0, *last[4:])        # the newest read sees nothing
    assert not history_holds(rows)


def test_porcupine_gets_its_fields() -> None:
    rows: list[Row] = [(3, "write", 1, 9, 10, None), (4, "read", 1, 9, 11, 12), (4, "read", 1, 9, 13, None)]
    lines = [json.loads(line) for line in porcupine_lines(rows)]
    assert lines == [
        {"ClientId": 3, "Input": {"Op": "write", "Key": 1, "Value": 9}, "Call": 10, "Output": {"Value": 9},
         "Return": NEVER},
        {"ClientId": 4, "Input": {"Op": "read", "Key": 1, "Value": 0}, "Call": 11, "Output": {"Value": 9},
         "Return": 12},
    ]
