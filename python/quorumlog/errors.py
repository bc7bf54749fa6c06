"""What can go wrong.  Each error answers two questions: may it have happened, and whose fault is it?

`definite` is true when the operation surely did not take effect; `retryable` when
trying the same call again can succeed.  Timeouts are also `TimeoutError`.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "Closed",
    "Compacted",
    "ConnectionLost",
    "Corrupt",
    "Fenced",
    "GroupDropped",
    "InvariantViolation",
    "Io",
    "LeadershipLost",
    "NoSpace",
    "NotLeader",
    "Overloaded",
    "PeerError",
    "ProposalTimeout",
    "QueriesFailed",
    "QuorumlogError",
    "ReadTimeout",
    "Rejected",
    "ReplicaStopped",
    "ResultLost",
    "SessionExpired",
    "SnapshotFailed",
    "StorageError",
    "TooStale",
    "TransactionAborted",
    "TransactionInDoubt",
    "TransferFailed",
    "Unknown",
    "UsageError",
    "Withdrawn",
]


class QuorumlogError(Exception):
    """Root of the tree.

    Attributes:
        definite: the operation surely did not happen.
        retryable: the same call may succeed later.
        proposal_id: (session, sequence) of the batch concerned, where there is one.
    """

    definite: bool = True
    retryable: bool = False
    proposal_id: tuple[int, int] | None = None


class UsageError(QuorumlogError, ValueError):
    """The caller broke the contract; nothing happened."""


class Rejected(QuorumlogError):
    """The group said no, and it did not happen."""

    retryable = True


class NotLeader(Rejected):
    """This node does not lead the group and was told not to forward.

    Attributes:
        leader: name of the leader as far as this node knows, or None.
    """

    def __init__(self, message: str, leader: str | None = None) -> None:
        super().__init__(message)
        self.leader = leader


class Overloaded(Rejected):
    """A bound in bytes was reached; nothing was taken.

    Attributes:
        limit: the bound in bytes.
    """

    def __init__(self, message: str, limit: int = 0) -> None:
        super().__init__(message)
        self.limit = limit


class Withdrawn(Rejected, TimeoutError):
    """The time ran out before this node could take the proposal; it did not happen."""


class Fenced(Rejected):
    """A newer term or epoch excludes this node; or the proposal's end is settled: it never happens."""

    retryable = False


class GroupDropped(Rejected):
    """The group was dropped, for ever; a new one needs another name."""

    retryable = False


class Compacted(Rejected):
    """The index lies before the head of the log.

    Attributes:
        first: the first index that is kept.
    """

    retryable = False

    def __init__(self, message: str, first: int = 0) -> None:
        super().__init__(message)
        self.first = first


class TransactionAborted(Rejected):
    """The transaction was rolled back at all its participants, or will be; what stood in its way is the `__cause__`.

    Attributes:
        txid: its id (`quorumlog.twophase.Txid`).
    """

    def __init__(self, message: str, txid: Any = None) -> None:
        super().__init__(message)
        self.txid = txid


class Unknown(QuorumlogError):
    """It may or may not have happened; a linearizable read tells."""

    definite = False
    retryable = False


class ProposalTimeout(Unknown, TimeoutError):
    """The time ran out while the proposal was on its way; it may still be applied."""


class LeadershipLost(Unknown):
    """The leader that had taken the proposal is no longer known to be one."""


class ConnectionLost(Unknown):
    """The node that had taken the proposal can't be reached."""


class TransactionInDoubt(Unknown):
    """Nobody knows yet whether the transaction is committed; `Coordinator.outcome(txid)` will.

    Attributes:
        txid: its id (`quorumlog.twophase.Txid`).
    """

    def __init__(self, message: str, txid: Any = None) -> None:
        super().__init__(message)
        self.txid = txid


class SessionExpired(Unknown):
    """The group has forgotten this node's session: open the node again."""


class ResultLost(Unknown):
    """The proposal was applied, but this node took over a snapshot that holds it and never saw its result."""


class ReadTimeout(QuorumlogError, TimeoutError):
    """A read, a wait or a status was not answered in time; nothing was changed by it."""

    retryable = True


class TransferFailed(QuorumlogError, TimeoutError):
    """Leadership did not move in time; the leader goes on, and an attempt under way may still move it."""

    definite = False
    retryable = True


class TooStale(QuorumlogError):
    """What this node knows of the group is older than the read's `max_lag`; nothing was changed.

    It passes when the node hears its leader again, or the leader a quorum: repeat the read, ask another node,
    or read with LINEARIZABLE.

    Attributes:
        lag: how old it is, in seconds; None: this node knows nothing yet.
    """

    retryable = True

    def __init__(self, message: str, lag: float | None = None) -> None:
        super().__init__(message)
        self.lag = lag



class QueriesFailed(QuorumlogError):
    """Some queries of a `read_many` raised; the first exception is the `__cause__`.

    Attributes:
        answers: in the order of the questions; in the place of a failed one its exception.
        positions: of the failed ones, rising.
    """

    def __init__(self, message: str, answers: list[Any], positions: tuple[int, ...]) -> None:
        super().__init__(message)
        self.answers = answers
        self.positions = positions


class SnapshotFailed(QuorumlogError):
    """No snapshot could be made; what the state machine or the disk raised is the `__cause__`."""

    retryable = True


class PeerError(QuorumlogError):
    """A peer broke the protocol; the connection was closed, state is unharmed."""


class StorageError(QuorumlogError):
    """The disk failed; the node stops acknowledging.  Proposals in flight get `Unknown`."""

    definite = False


class Io(StorageError):
    """A write, sync or read failed."""


class NoSpace(StorageError):
    """The disk is full."""


class Corrupt(StorageError):
    """A part of the log is damaged.

    Attributes:
        detail: file and offset.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class Closed(UsageError):
    """The node or log was closed."""


class ReplicaStopped(QuorumlogError):
    """The state machine of this replica raised in `apply` and stopped at an index.

    Attributes:
        index: first index of the batch that it could not apply.
    """

    definite = False

    def __init__(self, message: str, index: int = 0) -> None:
        super().__init__(message)
        self.index = index


class InvariantViolation(QuorumlogError):
    """A bug in quorumlog.  In the core the process stops instead of raising this."""

    definite = False
