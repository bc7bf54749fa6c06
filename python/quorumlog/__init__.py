"""quorumlog: a durable log and consensus for Python services.

    import quorumlog as ql

    with ql.LocalCluster(3, Ledger) as cluster:
        ledger = cluster.leader()
        ledger.propose(b"...")

See README.md, and ARCHITECTURE.md for what lies below.
"""

from __future__ import annotations

from quorumlog import aio, twophase
from quorumlog._core.bridge.submission import Applied, Submission
from quorumlog.cluster import LocalCluster
from quorumlog.errors import (
    Closed,
    Compacted,
    ConnectionLost,
    Corrupt,
    Fenced,
    GroupDropped,
    InvariantViolation,
    Io,
    LeadershipLost,
    NoSpace,
    NotLeader,
    Overloaded,
    PeerError,
    ProposalTimeout,
    QueriesFailed,
    QuorumlogError,
    ReadTimeout,
    Rejected,
    ReplicaStopped,
    ResultLost,
    SessionExpired,
    SnapshotFailed,
    StorageError,
    TooStale,
    TransactionAborted,
    TransactionInDoubt,
    TransferFailed,
    Unknown,
    UsageError,
    Withdrawn,
)
from quorumlog.explanation import Explanation, Finding
from quorumlog.frozen import CowDict, FrozenItems, frozen_copy, pack_items, unpack_items
from quorumlog.group import BOUNDED, LEASE, LINEARIZABLE, STALE, Group, GroupStatus, PeerStatus
from quorumlog.log import Log, LogStatus, Span
from quorumlog.machine import Batch, StateMachine
from quorumlog.node import Node, NodeStatus, Recovery, TransportStatus, WalStatus
from quorumlog.options import NodeOptions, RaftOptions
from quorumlog.session import Outcome, Session
from quorumlog.surveys import GroupSurvey, NodeSurvey, PeerSurvey, survey

__version__ = "0.1.0"

__all__ = [
    "BOUNDED",
    "LEASE",
    "LINEARIZABLE",
    "STALE",
    "Applied",
    "Batch",
    "Closed",
    "Compacted",
    "ConnectionLost",
    "Corrupt",
    "CowDict",
    "Explanation",
    "Fenced",
    "Finding",
    "FrozenItems",
    "Group",
    "GroupDropped",
    "GroupStatus",
    "GroupSurvey",
    "InvariantViolation",
    "Io",
    "LeadershipLost",
    "LocalCluster",
    "Log",
    "LogStatus",
    "NoSpace",
    "Node",
    "NodeOptions",
    "NodeStatus",
    "NodeSurvey",
    "NotLeader",
    "Outcome",
    "Overloaded",
    "PeerError",
    "PeerStatus",
    "PeerSurvey",
    "ProposalTimeout",
    "QueriesFailed",
    "QuorumlogError",
    "RaftOptions",
    "ReadTimeout",
    "Recovery",
    "Rejected",
    "ReplicaStopped",
    "ResultLost",
    "Session",
    "SessionExpired",
    "SnapshotFailed",
    "Span",
    "StateMachine",
    "StorageError",
    "Submission",
    "TooStale",
    "TransactionAborted",
    "TransactionInDoubt",
    "TransferFailed",
    "TransportStatus",
    "Unknown",
    "UsageError",
    "WalStatus",
    "Withdrawn",
    "__version__",
    "aio",
    "frozen_copy",
    "pack_items",
    "survey",
    "twophase",
    "unpack_items",
]
