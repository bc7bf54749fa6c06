"""Whether anything was lost, doubled or differs at the end of the demo, in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from quorumlog.demo.lines import Digest, entry_of


@dataclass(frozen=True)
class NodeState:
    """What one node's state machine said at the end."""

    name: str
    order: list[int]
    passed_over: int
    hash: str


def problems(states: list[NodeState], acknowledged: list[int], lines: list[bytes]) -> list[str]:
    found: list[str] = []
    for state in states:
        times = Counter(state.order)
        lost = [line_id for line_id in acknowledged if line_id not in times]
        doubled = [line_id for line_id, count in times.items() if count > 1]
        foreign = [line_id for line_id in times if line_id >= len(lines)]
        if lost:
            found.append(f"{state.name} lost {len(lost)} acknowledged lines, first id {lost[0]}")
        if doubled:
            found.append(f"{state.name} has {len(doubled)} lines twice, first id {doubled[0]}")
        if foreign:
            found.append(f"{state.name} has {len(foreign)} lines nobody proposed")
        elif state.hash != _expected_hash(state.order, lines):
            found.append(f"{state.name} has other bytes than were proposed")
    for state in states[1:]:
        if state.order != states[0].order:
            found.append(f"{states[0].name} and {state.name} have different orders")
        if state.hash != states[0].hash:
            found.append(f"{states[0].name} and {state.name} have different state hashes")
    return found


def _expected_hash(order: list[int], lines: list[bytes]) -> str:
    digest = Digest()
    digest.add(entry_of(line_id, lines[line_id]) for line_id in order)
    return digest.text()
