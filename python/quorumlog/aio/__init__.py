"""The same verbs awaitable: quorumlog in an event loop (asyncio's own, or uvloop).

    async with ql.aio.Node.open("var/n1", listen=..., peers=...) as node:
        ledger = await node.raft("ledger", Ledger())
        done = await ledger.propose(b"...", timeout=2.0)

A thin face on the same core: nothing runs in helper threads but opening and closing, no call takes
the event loop's time by waiting, and what has been settled reaches a loop in batches, through one
eventfd that it watches.  Any number of loops in any number of threads may use one node.

Cancelling an await never undoes a proposal; see `Group`.
"""

from __future__ import annotations

from quorumlog.aio.cluster import LocalCluster
from quorumlog.aio.group import Group
from quorumlog.aio.node import Node

__all__ = ["Group", "LocalCluster", "Node"]
