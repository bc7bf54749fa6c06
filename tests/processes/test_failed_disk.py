"""The leader's disk fails: it stops acknowledging, the others elect, nothing is lost (A-R20, A-W5, P5)."""

from __future__ import annotations

import resource

import pytest

from quorumlog.processes.channel import RemoteError
from quorumlog.processes.fleet import Fleet

pytestmark = pytest.mark.processes


def fail_writes(pid: int, behind_bytes: int) -> None:
    """From now on that process's writes behind that place in a file fail with EFBIG."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (behind_bytes, hard))


def propose_until_it_fails(fleet: Fleet, name: str, acknowledged: list[str]) -> RemoteError:
    for number in range(10_000):
        command = f"while it fails {number}"
        try:
            fleet.workers[name].call("propose", payload=command, seconds=20)
        except RemoteError as error:
            return error
        acknowledged.append(command)
    raise AssertionError("the disk does not fail")


def test_a_leader_whose_disk_fails_is_replaced(fleet: Fleet) -> None:
    leader = fleet.leader()
    others = [name for name in fleet.names if name != leader]
    acknowledged = [f"before {number}" for number in range(20)]
    for command in acknowledged:
        fleet.workers[leader].call("propose", payload=command, seconds=20)
    fail_writes(fleet.workers[leader].pid, 16 << 10)
    told = propose_until_it_fails(fleet, leader, acknowledged)
    assert not told.definite
    assert told.kind == "Unknown"
    successor = fleet.leader(other_than=leader)
    for number in range(50):
        command = f"after {number}"
        fleet.workers[others[number % 2]].call("propose", payload=command, seconds=20)
        acknowledged.append(command)
    # It hears of no more, claims no more, and refuses its own callers.
    with pytest.raises(RemoteError):
        fleet.workers[leader].call("propose", payload="on the failed node", seconds=5)
    fleet.workers[leader].close()
    fleet.restart(leader)
    commit = fleet.workers[successor].call("status")["commit"]
    held = []
    for name in fleet.names:
        fleet.workers[name].call("wait_applied", index=commit, seconds=60, timeout=90)
        held.append(fleet.workers[name].call("commands"))
    assert held[0] == held[1] == held[2]
    assert len(held[0]) == len(set(held[0]))
    assert set(acknowledged) <= set(held[0])
    assert "on the failed node" not in held[0]
