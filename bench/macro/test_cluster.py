"""Whole clusters in this process (LocalCluster: real sockets, real disk, one interpreter).

`quorumlog bench cluster` measures processes; these are for comparing revisions quickly.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import quorumlog as ql
from quorumlog.bench.machines import SumMachine

BATCHES = 256
WINDOW = 64


class Cluster:
    """The leader's group, and its node's syncs."""

    def __init__(self, cluster: ql.LocalCluster) -> None:
        self.group = cluster.leader(timeout=30)
        leader = self.group.status().leader
        self._node = next(node for node in cluster.nodes if node.name == leader)

    @property
    def syncs(self) -> int:
        return self._node.status().wal.syncs


@pytest.fixture(params=[(1, "none"), (3, "none"), (3, "python")], ids=lambda shape: f"{shape[0]}-{shape[1]}")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """So many nodes, and what applies: nothing, or a NumPy state machine in Python."""
    nodes, machine = request.param
    with ql.LocalCluster(nodes, SumMachine if machine == "python" else None, options=ql.NodeOptions()) as opened:
        yield Cluster(opened)


@pytest.mark.parametrize(("count", "payload"), [(64, 16), (4096, 16)])
def test_batches(benchmark: Any, cluster: Cluster, count: int, payload: int) -> None:
    """Batches with a window of them in flight, to the last answer."""
    buffer = np.zeros(count * payload, np.uint8)
    offsets = np.arange(count + 1, dtype=np.uint32) * np.uint32(payload)

    def load() -> None:
        flying: deque[ql.Submission] = deque()
        for _ in range(BATCHES):
            if len(flying) == WINDOW:
                flying.popleft().result(30)
            flying.append(cluster.group.submit_many((buffer, offsets)))
        for one in flying:
            one.result(30)

    load()
    before = cluster.syncs
    benchmark.pedantic(load, rounds=10)
    benchmark.extra_info.update(entries=BATCHES * count, syncs=(cluster.syncs - before) / 10)


def test_propose(benchmark: Any, cluster: Cluster) -> None:
    """One entry at a time, blocking."""
    for _ in range(50):
        cluster.group.propose(b"x" * 16, timeout=30)
    before = cluster.syncs
    benchmark.pedantic(cluster.group.propose, args=(b"x" * 16,), kwargs={"timeout": 30}, rounds=1000)
    benchmark.extra_info.update(entries=1, syncs=(cluster.syncs - before) / 1000)
