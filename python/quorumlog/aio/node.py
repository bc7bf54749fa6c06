"""A node in an event loop."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Self

from quorumlog import node as blocking_node
from quorumlog._core.bridge.aio import node_status
from quorumlog.aio.group import Group
from quorumlog.aio.thread import Opening, in_thread
from quorumlog.machine import StateMachine
from quorumlog.node import NodeStatus, Recovery
from quorumlog.options import NodeOptions, RaftOptions

__all__ = ["Node"]


class Node:
    """An open node for coroutines: the verbs of quorumlog.Node, awaitable.

    Several event loops may use it.  Close it (any loop) or use it in `async with`.

    Attributes:
        blocking: the same node with blocking verbs.
    """

    create = staticmethod(blocking_node.Node.create)

    def __init__(self, node: blocking_node.Node) -> None:
        self.blocking = node
        self._groups: dict[str, Group] = {}

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        listen: str = "127.0.0.1:0",
        peers: Mapping[str, str] | None = None,
        options: NodeOptions | None = None,
    ) -> Opening[Self]:
        """Opens a node: `node = await Node.open(...)`, or `async with Node.open(...) as node`.

        Recovery of the log runs in a thread.  Arguments and errors as in quorumlog.Node.open.  When the
        await is cancelled, the node is closed again as soon as it is open.
        """
        call = partial(blocking_node.Node.open, path, listen=listen, peers=peers, options=options)

        async def opener() -> Self:
            return cls(await in_thread(call, blocking_node.Node.close))

        return Opening(opener)

    async def raft(
        self,
        name: str,
        machine: StateMachine | None = None,
        *,
        voters: Iterable[str] | None = None,
        options: RaftOptions | None = None,
    ) -> Group:
        """Opens a Raft group on this node.  Arguments and errors as in quorumlog.Node.raft.

        Cancelling the await doesn't stop the opening: the group will be among `groups`.
        """
        call = partial(self.blocking.raft, name, machine, voters=voters, options=options)
        await in_thread(call)
        return self.groups[name]

    @property
    def name(self) -> str:
        """Its name in the cluster."""
        return self.blocking.name

    @property
    def path(self) -> str:
        """Its data directory."""
        return self.blocking.path

    @property
    def address(self) -> str:
        """host:port it listens on."""
        return self.blocking.address

    @property
    def groups(self) -> Mapping[str, Group]:
        """The groups open on this node, by name."""
        for name, group in self.blocking.groups.items():
            if name not in self._groups:
                self._groups[name] = Group(group)
        return dict(self._groups)

    @property
    def recovery(self) -> Recovery:
        """What opening the log found."""
        return self.blocking.recovery

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self.blocking.closed

    async def status(self, timeout: float | None = 5.0) -> NodeStatus:
        """Counters of the log, the connections and the reactor."""
        return blocking_node.status_of(await node_status(self.blocking._core, timeout))

    async def close(self, *, hand_over: float = 0.0) -> None:
        """Stops the node, in a thread; idempotent.  Every await on it ends: unsettled proposals get
        `Unknown`, or fail if they never left.  Waits for the `apply` that is running; cancelling the
        await doesn't stop the closing.  `hand_over`: see quorumlog.Node.close."""
        await in_thread(partial(self.blocking.close, hand_over=hand_over))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<aio.Node {self.name!r} at {self.path!r}{' (closed)' if self.closed else ''}>"
