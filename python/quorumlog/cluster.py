"""Three real nodes in one process: the embedded default, for tests and first steps."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Callable
from threading import Event
from types import TracebackType
from typing import Self

from quorumlog.errors import ReadTimeout, UsageError
from quorumlog.group import Group
from quorumlog.machine import StateMachine
from quorumlog.node import Node
from quorumlog.options import NodeOptions, RaftOptions

__all__ = ["LocalCluster", "free_addresses"]

_POLL = Event()


def free_addresses(count: int) -> list[str]:
    """Loopback addresses nobody listens on now; held together meanwhile, so that they differ."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in held]


class LocalCluster:
    """Real nodes on loopback, with real sockets and real disk in a temporary directory.

    Args:
        count: how many nodes, named n1, n2, ...
        machine: called once per node (and again at a restart) for its state machine; None for a bare log.
        group: name of the Raft group that is opened on all of them.
        path: where the data lies; by default a temporary directory that is removed at the end.
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
        if not 1 <= count <= 15:
            raise UsageError(f"{count} nodes; a local cluster has 1 to 15")
        self._machine = machine
        self._group = group
        self._options = options or NodeOptions(segment_bytes=16 << 20, spare_segments=1)
        self._raft = raft
        self._temporary = None if path is not None else tempfile.mkdtemp(prefix="quorumlog-")
        self.path = os.fspath(path) if path is not None else str(self._temporary)
        self.names = [f"n{number}" for number in range(1, count + 1)]
        self._addresses = dict(zip(self.names, free_addresses(count), strict=True))
        self._nodes: dict[str, Node] = {}
        self._groups: dict[str, Group] = {}
        self.machines: dict[str, StateMachine] = {}
        cluster, token = uuid.uuid4(), secrets.token_bytes(32)
        try:
            for name in self.names:
                Node.create(os.path.join(self.path, name), name, cluster=cluster, token=token)
            for name in self.names:
                self.start(name)
        except BaseException:
            self.close()
            raise

    def start(self, name: str) -> Group:
        """Opens a node that is not running (again: after `stop`)."""
        if name in self._nodes or name not in self._addresses:
            raise UsageError(f"{name!r} is running, or is none of {self.names}")
        node = Node.open(
            os.path.join(self.path, name),
            listen=self._addresses[name],
            peers=self._addresses,
            options=self._options,
        )
        self._nodes[name] = node
        machine = self._machine() if self._machine is not None else None
        if machine is not None:
            self.machines[name] = machine
        group = node.raft(self._group, machine, options=self._raft)
        self._groups[name] = group
        return group

    def stop(self, name: str, *, hand_over: float = 0.0) -> None:
        """Closes one node; the others go on.  `hand_over`: see Node.close."""
        if name not in self._nodes:
            raise UsageError(f"{name!r} is not running")
        self._groups.pop(name, None)
        self._nodes.pop(name).close(hand_over=hand_over)

    @property
    def nodes(self) -> list[Node]:
        """The running nodes, in order of their names."""
        return [self._nodes[name] for name in self.names if name in self._nodes]

    @property
    def groups(self) -> list[Group]:
        """The group on each running node, in the same order."""
        return [self._groups[name] for name in self.names if name in self._groups]

    def group(self, name: str) -> Group:
        """The cluster's group on the node of that name."""
        return self._groups[name]

    def raft(
        self,
        name: str,
        machine: Callable[[], StateMachine] | None = None,
        *,
        options: RaftOptions | None = None,
    ) -> list[Group]:
        """Opens one more Raft group on all running nodes; `machine` is called once for each."""
        return [
            node.raft(name, machine() if machine is not None else None, options=options or self._raft)
            for node in self.nodes
        ]

    def leader(self, *, timeout: float = 10.0) -> Group:
        """The group on the node that leads it; waits for an election."""
        deadline = time.monotonic() + timeout
        while True:
            leaders = [
                (status.term, group) for group in self.groups if (status := group.status()).role == "leader"
            ]
            if leaders:
                return max(leaders, key=lambda found: found[0])[1]
            if time.monotonic() >= deadline:
                raise ReadTimeout(f"no leader among {[node.name for node in self.nodes]} after {timeout} s")
            _POLL.wait(0.005)

    def close(self) -> None:
        """Closes all nodes and removes a temporary directory.  Idempotent."""
        for node in list(self._nodes.values()):
            node.close()
        self._nodes.clear()
        self._groups.clear()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
