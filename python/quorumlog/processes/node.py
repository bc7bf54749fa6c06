"""A child process that holds one node with one Raft group, and answers its parent's questions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import quorumlog as ql

POLL_SECONDS = 0.005


class NodeWorker:
    """Handlers for `channel.serve`; a role (bench, demo) adds its own by subclassing.

    `machines` names the state machines this role knows; the parent chooses one by name.  `raft` is how its
    group behaves.
    """

    def __init__(
        self, machines: Mapping[str, Callable[[], ql.StateMachine | None]], raft: ql.RaftOptions | None = None
    ) -> None:
        self._machines = machines
        self._raft = raft
        self._node: ql.Node | None = None
        self._group: ql.Group | None = None
        self.machine: ql.StateMachine | None = None

    @property
    def node(self) -> ql.Node:
        if self._node is None:
            raise RuntimeError("`open` comes first")
        return self._node

    @property
    def group(self) -> ql.Group:
        if self._group is None:
            raise RuntimeError("`open` comes first")
        return self._group

    def handlers(self) -> dict[str, Callable[..., Any]]:
        return {
            "open": self.open,
            "status": self.status,
            "wait_applied": self.wait_applied,
            "wait_flushed": self.wait_flushed,
        }

    def open(
        self,
        directory: str,
        listen: str,
        peers: dict[str, str],
        group: str,
        machine: str,
        options: dict[str, Any],
    ) -> dict[str, Any]:
        self.machine = self._machines[machine]()
        self._node = ql.Node.open(directory, listen=listen, peers=peers, options=ql.NodeOptions(**options))
        self._group = self._node.raft(group, self.machine, options=self._raft)
        return {"name": self._node.name, "address": self._node.address}

    def status(self) -> dict[str, Any]:
        group, node = self.group.status(), self.node.status()
        return {
            "name": self.node.name,
            "role": str(group.role),
            "leader": group.leader,
            "term": group.term,
            "commit": group.commit,
            "applied": group.applied,
            "last": group.last,
            "syncs": node.wal.syncs,
            "bytes_written": node.wal.bytes_written,
            "writer": node.writer,
            "cpu_seconds": time.process_time(),
        }

    def wait_applied(self, index: int, seconds: float) -> int:
        self.group.wait_applied(index, seconds)
        return self.group.status().applied

    def wait_flushed(self, index: int, seconds: float) -> int:
        """Applied and on this node's own disk: a follower may apply what only the others have flushed yet."""
        deadline = time.monotonic() + seconds
        self.group.wait_applied(index, seconds)
        while (flushed := self.group.status().flushed) < index:
            if time.monotonic() > deadline:
                raise TimeoutError(f"flushed up to {flushed} after {seconds} s, {index} was waited for")
            time.sleep(POLL_SECONDS)
        return flushed

    def close(self) -> None:
        if self._node is not None:
            self._node.close()
            self._node = self._group = None
