"""A look at a running node from another process of the same machine and user, through its control socket."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass

from quorumlog._core.bridge import control
from quorumlog.explanation import Explanation
from quorumlog.group import explanation_of
from quorumlog.node import NodeStatus, status_of

__all__ = ["GroupSurvey", "NodeSurvey", "PeerSurvey", "survey"]


@dataclass(frozen=True, slots=True)
class PeerSurvey:
    """A node that this one was told of, and whether messages can be sent to it now."""

    name: str
    connected: bool


@dataclass(frozen=True, slots=True)
class GroupSurvey:
    """A group that is open on the node.

    Attributes:
        has_machine: whether a state machine applies its entries there.
        log_bytes: of its records in all files of the log, those among them that nobody needs any more.
        cached_bytes: of its log, in memory.
        outstanding_bytes: proposed on this node and not settled.
        sessions: proposers that are remembered, so that what they retry is applied once.
        explanation: why commit does or doesn't move, and the group's status at the same moment.
    """

    name: str
    has_machine: bool
    log_bytes: int
    cached_bytes: int
    outstanding_bytes: int
    sessions: int
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class NodeSurvey:
    """A node and its groups; each group at a moment of its own.

    Attributes:
        cluster: the cluster's uuid; `incarnation`: of the data directory.
        pid, port: of its process; where it listens.
        segment_bytes: of one file of its log.
    """

    name: str
    cluster: str
    incarnation: int
    pid: int
    port: int
    segment_bytes: int
    status: NodeStatus
    peers: tuple[PeerSurvey, ...]
    groups: tuple[GroupSurvey, ...]


def survey(directory: str | os.PathLike[str], timeout: float = 5.0) -> NodeSurvey:
    """Asks the node that runs on a data directory.

    A thread of the node's own answers, without Python's lock: it does so while the service holds it.

    Args:
        directory: of the node; the caller must be its user, or root.
        timeout: seconds.

    Raises:
        UsageError: no node runs there, or one of another build.
        ReadTimeout: it runs and does not answer.
        OSError: there is no such directory.
    """
    raw, groups = control.survey(os.fspath(directory), timeout)
    names = {peer["node"]: peer["name"] for peer in raw["peers"]} | {raw["node"]: raw["name"]}
    return NodeSurvey(
        name=raw["name"],
        cluster=str(uuid.UUID(bytes=raw["cluster"])),
        incarnation=raw["incarnation"],
        pid=raw["pid"],
        port=raw["port"],
        segment_bytes=raw["segment_bytes"],
        status=status_of(raw["status"]),
        peers=tuple(PeerSurvey(peer["name"], peer["connected"]) for peer in raw["peers"]),
        groups=tuple(
            GroupSurvey(
                explanation=explanation_of(group.pop("explanation"), group["name"], raw["name"], names.get), **group
            )
            for group in groups
        ),
    )
