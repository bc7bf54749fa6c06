"""What a group's entries mean: the state machine that the user writes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from quorumlog._core.bridge.batch import BatchView as Batch

__all__ = ["Batch", "StateMachine"]


class StateMachine:
    """Base of state machines.  Override `apply`, or `apply_one` for the convenience of single commands.

    All methods run on the node's applier thread, one at a time, in log order, with the GIL held.  They must
    be deterministic: same entries, same state, on every node; no clock (use `batch.leader_time_ns`), no
    randomness, no dependence on hash order.  Reject a command by its result: an exception stops this
    replica at that index.
    """

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
