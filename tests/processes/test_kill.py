"""kill -9 in a loop: nothing acknowledged is lost, nothing is doubled, all replicas agree."""

from __future__ import annotations

import os
import random
import threading

import pytest

from quorumlog.processes.channel import RemoteError, WorkerGone
from quorumlog.processes.fleet import Fleet

pytestmark = pytest.mark.processes

ROUNDS = int(os.environ.get("QUORUMLOG_ROUNDS", "3"))
PER_ROUND = 150


class Proposer(threading.Thread):
    """Proposes numbered commands through one node after another; never the same one twice."""

    def __init__(self, fleet: Fleet, name: str, count: int) -> None:
        super().__init__()
        self.fleet, self.label, self.count = fleet, name, count
        self.acknowledged: list[str] = []
        self.refused: list[str] = []  # said to have surely not happened

    def run(self) -> None:
        for number in range(self.count):
            command = f"{self.label}.{number}"
            worker = self.fleet.workers[self.fleet.names[number % 3]]
            try:
                worker.call("propose", payload=command, seconds=5, timeout=30)
                self.acknowledged.append(command)
            except RemoteError as error:
                if error.definite:
                    self.refused.append(command)
            except (WorkerGone, TimeoutError):
                pass


def settled(fleet: Fleet) -> dict[str, list[str]]:
    """All commands of all replicas, once they have applied the same."""
    leader = fleet.leader()
    fleet.workers[leader].call("propose", payload="the end", seconds=30)
    commit = fleet.workers[leader].call("status")["commit"]
    for name in fleet.names:
        fleet.workers[name].call("wait_applied", index=commit, seconds=60, timeout=90)
    return {name: fleet.workers[name].call("commands") for name in fleet.names}


@pytest.mark.timeout(0)
def test_killing_nodes_loses_nothing_acknowledged(fleet: Fleet) -> None:
    draw = random.Random(7)
    acknowledged: list[str] = []
    refused: list[str] = []
    for turn in range(ROUNDS):
        leader = fleet.leader()
        victims = [leader] if turn % 3 == 0 else [draw.choice(fleet.names)]
        if turn % 3 == 2:
            victims = list(fleet.names)  # all at once: only what is on disk is left
        proposers = [Proposer(fleet, f"r{turn}p{number}", PER_ROUND) for number in range(3)]
        for proposer in proposers:
            proposer.start()
        while sum(len(proposer.acknowledged) for proposer in proposers) < PER_ROUND // 2:
            proposers[0].join(0.005)
        for victim in victims:
            fleet.kill(victim)
        for victim in victims:
            fleet.restart(victim)
        for proposer in proposers:
            proposer.join()
            acknowledged += proposer.acknowledged
            refused += proposer.refused
    held = settled(fleet)
    reference = held[fleet.names[0]]
    assert all(commands == reference for commands in held.values())
    assert len(reference) == len(set(reference)), "a command was applied twice"
    lost = set(acknowledged) - set(reference)
    assert not lost, f"{len(lost)} acknowledged commands are lost: {sorted(lost)[:5]}"
    ghosts = set(refused) & set(reference)
    assert not ghosts, f"said to have surely not happened, and did: {sorted(ghosts)[:5]}"
    assert len(acknowledged) > ROUNDS * PER_ROUND // 2
