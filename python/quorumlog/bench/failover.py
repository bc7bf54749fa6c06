"""How long a group is without a leader after kill -9: the leader's process is killed again and again."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import quorumlog as ql
from quorumlog.bench.machine_facts import machine_facts
from quorumlog.bench.options import BadOptions
from quorumlog.processes.channel import serve
from quorumlog.processes.fleet import Fleet
from quorumlog.processes.node import NodeWorker

SECONDS = 60.0
POLL_SECONDS = 0.0002
MODULE = "quorumlog.bench.failover"


@dataclass(frozen=True)
class FailoverOptions:
    """`samples`: a file of one JSON line per kill; what lies in it counts, and this run's are appended."""

    kills: int
    nodes: int = 3
    election_timeout: float = 0.1
    heartbeat: float = 0.02
    directory: Path | None = None
    samples: Path | None = None

    def __post_init__(self) -> None:
        if self.kills < 1:
            raise BadOptions("at least one kill")
        if self.nodes < 3:
            raise BadOptions("with fewer than 3 nodes nobody leads once one is killed")


class FailoverWorker(NodeWorker):
    """A node that watches for its group's next leader."""

    def handlers(self) -> dict[str, Callable[..., Any]]:
        return {**super().handlers(), "propose": self.propose, "watch": self.watch}

    def open(
        self,
        directory: str,
        listen: str,
        peers: dict[str, str],
        group: str,
        machine: str,
        options: dict[str, Any],
    ) -> dict[str, Any]:
        raft = ql.RaftOptions(**options.pop("raft"))
        self._node = ql.Node.open(directory, listen=listen, peers=peers, options=ql.NodeOptions(**options))
        self._group = self._node.raft(group, options=raft)
        return {"name": self._node.name, "address": self._node.address}

    def propose(self) -> int:
        """The time (of the machine's monotonic clock) at which a new proposal was acknowledged here."""
        self.group.propose(b"after the kill", timeout=SECONDS)
        return time.monotonic_ns()

    def watch(self, old: str) -> int:
        """The time at which this node knows of another leader than `old`."""
        while (leader := self.group.status(SECONDS).leader) in (None, old):
            time.sleep(POLL_SECONDS)
        assert leader is not None
        return time.monotonic_ns()


def kill_once(fleet: Fleet) -> dict[str, float]:
    """Kills the leader; milliseconds until a survivor knew the next one, and until a proposal was acknowledged."""
    leader = fleet.leader(SECONDS)
    term = fleet.workers[leader].call("status")["term"]
    survivors = [fleet.workers[name] for name in fleet.names if name != leader]
    watches = [worker.start_call("watch", old=leader) for worker in survivors]
    survivors[0].call("status")  # it has read what it was asked before: both look by now, or within a moment
    survivors[1].call("status")
    began = time.monotonic_ns()
    fleet.kill(leader)
    proposal = survivors[0].start_call("propose")
    known = min(watch.result(SECONDS) for watch in watches)
    served = proposal.result(SECONDS)
    successor = fleet.leader(SECONDS, other_than=leader)
    status = fleet.workers[successor].call("status")
    fleet.restart(leader)
    fleet.workers[leader].call("wait_flushed", index=status["commit"], seconds=SECONDS, timeout=2 * SECONDS)
    return {"known_ms": (known - began) / 1e6, "served_ms": (served - began) / 1e6, "terms": status["term"] - term}


def percentiles(values: list[float]) -> dict[str, float]:
    found = np.percentile(values, [50, 90, 99])
    return {
        **{name: round(float(value), 1) for name, value in zip(("p50", "p90", "p99"), found, strict=True)},
        "max": round(max(values), 1),
    }


def run_failover(options: FailoverOptions, said: Callable[[str], None]) -> dict[str, Any]:
    kept: list[dict[str, float]] = []
    if options.samples is not None and options.samples.exists():
        kept = [json.loads(line) for line in options.samples.read_text().splitlines()]
    with tempfile.TemporaryDirectory(prefix="quorumlog-", dir=options.directory) as root:
        node = {
            "segment_bytes": 4 << 20,
            "spare_segments": 1,
            "raft": {"election_timeout": options.election_timeout, "heartbeat": options.heartbeat},
        }
        with Fleet(Path(root), options.nodes, MODULE, group="failover", machine="none", options=node) as fleet:
            for number in range(options.kills):
                said(f"kill {number + 1} of {options.kills}")
                kept.append(kill_once(fleet))
    if options.samples is not None:
        options.samples.write_text("".join(json.dumps(one) + "\n" for one in kept))
    known = percentiles([one["known_ms"] for one in kept])
    return {
        "benchmark": "failover",
        "nodes": options.nodes,
        "kills": len(kept),
        "election_timeout_ms": options.election_timeout * 1000,
        "heartbeat_ms": options.heartbeat * 1000,
        "without_leader_ms": known,
        "until_served_ms": percentiles([one["served_ms"] for one in kept]),
        "elections_of_one_term": sum(one["terms"] == 1 for one in kept),
        "goal_ms": 2 * options.election_timeout * 1000,
        "goal_met": known["p99"] < 2 * options.election_timeout * 1000,
        "verified": all(one["served_ms"] > 0 for one in kept),
        **machine_facts(options.directory),
    }


if __name__ == "__main__":
    worker = FailoverWorker({"none": lambda: None})
    serve(worker.handlers())
    worker.close()
