"""Three real nodes in one process, for coroutines."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from quorumlog import cluster as blocking_cluster
from quorumlog import node as blocking_node
from quorumlog.aio.group import POLL_SECONDS, Group
from quorumlog.aio.node import Node
from quorumlog.aio.thread import in_thread
from quorumlog.errors import ReadTimeout, UsageError
from quorumlog.machine import StateMachine
from quorumlog.options import NodeOptions, RaftOptions

__all__ = ["LocalCluster"]


class LocalCluster:
    """Real nodes on loopback, for tests and first steps: `async with LocalCluster(3, Ledger) as cluster`.

    The nodes start when the `async with` begins.  Arguments as of quorumlog.LocalCluster.
    """

    def __init__(
        self,
        count: int = 3,
        machine: Callable[[], StateMachine] | None = None,
        *,
        group: str = "main",
        path: str | os.PathLike[str] | None = None,
        options: NodeOptions | None = None,
        raft: RaftOptions | None = None,
    ) -> None:
        self._opener = partial(
            blocking_cluster.LocalCluster, count, machine, group=group, path=path, options=options, raft=raft
        )
        self._cluster: blocking_cluster.LocalCluster | None = None
        self._group = group
        self._nodes: dict[str, Node] = {}

    @property
    def blocking(self) -> blocking_cluster.LocalCluster:
        """The same cluster with blocking verbs."""
        if self._cluster is None:
            raise UsageError("the cluster is not open: use it in `async with`")
        return self._cluster

    async def start(self, name: str) -> Group:
        """Opens a node that is not running (again: after `stop`)."""
        await in_thread(partial(self.blocking.start, name))
        return self.group(name)

    async def stop(self, name: str, *, hand_over: float = 0.0) -> None:
        """Closes one node; the others go on.  `hand_over`: see quorumlog.Node.close."""
        self._nodes.pop(name, None)
        await in_thread(partial(self.blocking.stop, name, hand_over=hand_over))

    @property
    def names(self) -> list[str]:
        """Of all nodes, running or not."""
        return self.blocking.names

    @property
    def machines(self) -> dict[str, StateMachine]:
        """The state machines of the first group, by node."""
        return self.blocking.machines

    @property
    def nodes(self) -> list[Node]:
        """The running nodes, in order of their names."""
        return [self._node(node) for node in self.blocking.nodes]

    @property
    def groups(self) -> list[Group]:
        """The group on each running node, in the same order."""
        return [node.groups[self._group] for node in self.nodes]

    def group(self, name: str) -> Group:
        """The cluster's group on the node of that name."""
        found = [node for node in self.nodes if node.name == name]
        if not found:
            raise UsageError(f"{name!r} is not running")
        return found[0].groups[self._group]

    async def raft(
        self,
        name: str,
        machine: Callable[[], StateMachine] | None = None,
        *,
        options: RaftOptions | None = None,
    ) -> list[Group]:
        """Opens one more Raft group on all running nodes; `machine` is called once for each."""
        await in_thread(partial(self.blocking.raft, name, machine, options=options))
        return [node.groups[name] for node in self.nodes]

    async def leader(self, *, timeout: float = 10.0) -> Group:
        """The group on the node that leads it; waits for an election."""
        deadline = time.monotonic() + timeout
        while True:
            leaders = [
                (status.term, group)
                for group in self.groups
                if (status := await group.status()).role == "leader"
            ]
            if leaders:
                return max(leaders, key=lambda found: found[0])[1]
            if time.monotonic() >= deadline:
                raise ReadTimeout(f"no leader among {[node.name for node in self.nodes]} after {timeout} s")
            await asyncio.sleep(POLL_SECONDS)

    async def close(self) -> None:
        """Closes all nodes and removes a temporary directory.  Idempotent."""
        if self._cluster is not None:
            await in_thread(self._cluster.close)

    def _node(self, node: blocking_node.Node) -> Node:
        known = self._nodes.get(node.name)
        if known is None or known.blocking is not node:
            known = self._nodes[node.name] = Node(node)
        return known

    async def __aenter__(self) -> Self:
        self._cluster = await in_thread(self._opener, blocking_cluster.LocalCluster.close)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()
