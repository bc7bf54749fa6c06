"""Whether a history of concurrent operations could have come from one object, one operation at a time.

The algorithm is that of Wing and Gong with Lowe's memory of visited states ("Testing for
linearizability", 2017), as in porcupine: take operations out of the history in every order
that real time allows, and never visit the same (set of operations taken, state) twice.
Histories are checked key by key where the object is a map of independent ones (P-compositionality:
Herlihy and Wing 1990, theorem 1).  The simulation checks its own histories of registers by a
faster method (simulation/history.pyx); this one takes any object.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Model", "Operation", "is_linearizable", "porcupine_lines", "register_operations", "registers"]

# porcupine's stand-in for "no answer": the largest int64.
NEVER_NS = 2**63 - 1


@dataclass(frozen=True)
class Operation:
    """One call and its answer.

    `return_ns` is None when nobody knows the outcome: it may have happened at any time after `call_ns`,
    or never; `output` is then not looked at.
    """

    client: int
    input: Any
    output: Any
    call_ns: int
    return_ns: int | None


@dataclass(frozen=True)
class Model:
    """The object, one operation at a time.

    Args:
        initial: the state before all operations.
        step: `step(state, input, output)` gives the state afterwards, or `None` if that input can't have
            that output in that state.  For an operation without an answer it is called with `unknown`.
        unknown: `unknown(state, input)`: the state after an operation whose output nobody saw.
        key: operations with different keys are independent objects, checked apart.
    """

    initial: Hashable
    step: Callable[[Any, Any, Any], Hashable | None]
    unknown: Callable[[Any, Any], Hashable]
    key: Callable[[Operation], Hashable] = lambda operation: None


def is_linearizable(model: Model, history: Iterable[Operation]) -> bool:
    """True if some order of the operations agrees with real time and with the model."""
    parts: dict[Hashable, list[Operation]] = {}
    for operation in history:
        parts.setdefault(model.key(operation), []).append(operation)
    return all(_part_is_linearizable(model, part) for part in parts.values())


def _part_is_linearizable(model: Model, operations: Sequence[Operation]) -> bool:
    ordered = sorted(operations, key=lambda operation: operation.call_ns)
    ends = [NEVER_NS if o.return_ns is None else o.return_ns for o in ordered]
    needed = sum(1 << i for i, o in enumerate(ordered) if o.return_ns is not None)
    seen: set[tuple[int, Hashable]] = set()
    path: list[tuple[int, Hashable, Iterator[int]]] = [(0, model.initial, _candidates(ordered, ends, 0))]
    while path:
        taken, state, left = path[-1]
        if taken & needed == needed:
            return True
        for i in left:
            after = _apply(model, state, ordered[i])
            if after is None:
                continue
            visit = (taken | 1 << i, after)
            if visit not in seen:
                seen.add(visit)
                path.append((*visit, _candidates(ordered, ends, visit[0])))
                break
        else:
            path.pop()
    return False


def _apply(model: Model, state: Any, operation: Operation) -> Hashable | None:
    if operation.return_ns is None:
        return model.unknown(state, operation.input)
    return model.step(state, operation.input, operation.output)


def _candidates(ordered: Sequence[Operation], ends: Sequence[int], taken: int) -> Iterator[int]:
    """Operations that may come next: called before any other one that is left has returned."""
    first_end = min((end for i, end in enumerate(ends) if not taken >> i & 1), default=NEVER_NS)
    for i, operation in enumerate(ordered):
        if operation.call_ns > first_end:
            return
        if not taken >> i & 1:
            yield i


# Registers: what the simulation's clients use


def _register_step(state: int, asked: tuple[str, int, int], output: int) -> int | None:
    kind, _, value = asked
    if kind == "write":
        return value
    return state if state == output else None


def _register_unknown(state: int, asked: tuple[str, int, int]) -> int:
    return asked[2] if asked[0] == "write" else state


def _register_key(operation: Operation) -> Hashable:
    key: Hashable = operation.input[1]
    return key


registers = Model(initial=0, step=_register_step, unknown=_register_unknown, key=_register_key)


def register_operations(history: Iterable[tuple[Any, ...]]) -> list[Operation]:
    """The simulation's history (client, kind, key, value, call_ns, return_ns) for the model `registers`.

    Reads without an answer say nothing and are left out, as are looks, which may see what is old.
    """
    return [
        Operation(client, (kind, key, value if kind == "write" else 0), value, call_ns, return_ns)
        for client, kind, key, value, call_ns, return_ns in history
        if kind == "write" or (kind == "read" and return_ns is not None)
    ]


def porcupine_lines(history: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    """The history as JSON lines with the fields of porcupine's `Operation`.

    `ClientId`, `Input` {Op, Key, Value}, `Call`, `Output` {Value}, `Return`; times in nanoseconds.  An operation
    without an answer returns at the largest int64, as porcupine wants it; reads of that kind are left out.
    """
    for operation in register_operations(history):
        kind, key, value = operation.input
        yield json.dumps({
            "ClientId": operation.client,
            "Input": {"Op": kind, "Key": key, "Value": value},
            "Call": operation.call_ns,
            "Output": {"Value": operation.output},
            "Return": NEVER_NS if operation.return_ns is None else operation.return_ns,
        })
