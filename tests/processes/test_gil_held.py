"""A Python thread that holds the GIL stalls nobody's consensus (P9)."""

from __future__ import annotations

import pytest

from quorumlog.processes.fleet import Fleet

pytestmark = pytest.mark.processes

HOLD_SECONDS = 10


def test_a_leader_whose_gil_is_held_stays_leader_and_serves_the_others(fleet: Fleet) -> None:
    leader = fleet.leader()
    others = [name for name in fleet.names if name != leader]
    fleet.workers[others[0]].call("propose", payload="before", seconds=10)
    before = {name: fleet.workers[name].call("status") for name in fleet.names}
    held = fleet.workers[leader].start_call("hold_gil", seconds=HOLD_SECONDS)
    during = 0
    while not held.done():
        name = others[during % 2]
        fleet.workers[name].call("propose", payload=f"during {during}", seconds=HOLD_SECONDS)
        during += 1
    assert held.result() == 0
    after = {name: fleet.workers[name].call("status") for name in fleet.names}
    # Hundreds fit into ten seconds even on a slow disk; a stalled leader would have let one through.
    assert during > 100
    assert {status["term"] for status in after.values()} == {before[leader]["term"]}
    assert fleet.leader() == leader
    fleet.workers[leader].call("wait_applied", index=after[others[0]]["commit"], seconds=20)
    assert len({tuple(fleet.workers[name].call("commands")) for name in fleet.names}) == 1
