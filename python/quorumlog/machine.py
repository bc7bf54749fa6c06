"""What a group's entries mean: the state machine that the user writes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from quorumlog._core.bridge.batch import BatchView as Batch

if TYPE_CHECKING:
    from quorumlog._core.bridge.snapshots import SnapshotSource

__all__ = ["Batch", "StateMachine"]


class StateMachine:
    """Base of state machines.  Override `apply`, or `apply_one` for the convenience of single commands.

    All methods run on the node's applier thread, one at a time, in log order, with the GIL held.  They must
    be deterministic: same entries, same state, on every node; no clock (use `batch.leader_time_ns`), no
    randomness, no dependence on hash order.  Reject a command by its result: an exception stops this
    replica at that index.

    Attributes:
        applied_index: of a machine that keeps its state durably by itself: the last index that it holds, a batch's
            end, when its group is opened.  What lies up to there is not applied again.  0: it begins empty.
    """

    applied_index: int = 0

    def apply(self, batch: Batch) -> Any:
        """Applies one batch, whole.

        Args:
            batch: `payload` (uint8) and `offsets` (uint32[count + 1]) are read-only NumPy views.

        Returns:
            None, or one result per entry: a list or an array of length `batch.count`.
        """
        first = batch.first
        return [self.apply_one(first + position, payload) for position, payload in enumerate(batch)]

    def apply_one(self, index: int, payload: bytes) -> Any:
        """Applies one command; the default `apply` calls it for each entry (about 150 ns each)."""
        raise TypeError(f"{type(self).__name__} must define apply(batch) or apply_one(index, payload)")

    def query(self, question: Any) -> Any:
        """Answers `group.read(question)`; runs between batches and must not change the state."""
        raise TypeError(f"{type(self).__name__} must define query(question) to be read")

    def query_many(self, questions: Collection[Any]) -> Any:
        """Answers `group.read_many(questions)` at once, for instance by NumPy; runs like `query`.

        By default `query` is asked for each, and an exception of one costs the others nothing.  What an own
        `query_many` raises goes to the reader of all of them.

        Args:
            questions: as the reader gave them: a list, an array or the like.

        Returns:
            One answer for each, in order: a list or an array. The reader gets it as it is, so no view of the state.
        """
        return [self.query(question) for question in questions]

    def snapshot(self) -> Iterable[bytes]:
        """Gives out the state as it is behind the last batch that was applied; define it together with `restore`.

        To be quick: nothing is applied and nothing is read meanwhile.  What it returns is gone through, piece by
        piece, by *another thread* while applying goes on, so it must be a view that stays as it is: frozen items
        of a CowDict, a `frozen_copy`, a generator over either.  Any sizes of pieces; all together may be larger
        than memory.

        Where a machine defines both, its group's log is dropped behind a snapshot that is durable (RaftOptions).
        What it or the view raises is logged, and tried again when the log has grown.
        """
        raise TypeError(f"{type(self).__name__} must define snapshot() and restore(source) for its log to be compacted")

    def restore(self, source: SnapshotSource) -> None:
        """Takes the state of a snapshot in place of its own; define it together with `snapshot`.

        Runs before anything else when the group is opened, in the opening thread; and when a snapshot of a peer was
        installed because this node had fallen too far behind, on the snapshot thread, while this group applies
        and reads nothing.  An exception stops this replica.

        Args:
            source: to be gone through once: the bytes that some node's `snapshot` gave out, in pieces of at most 1
                MiB that are cut anywhere.  Each is verified before it is given out.
        """
        raise TypeError(f"{type(self).__name__} must define snapshot() and restore(source) for its log to be compacted")
