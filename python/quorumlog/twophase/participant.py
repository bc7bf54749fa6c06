"""What takes part in a transaction: the protocol to implement for a resource of your own."""

from __future__ import annotations

import enum
from typing import Any, Protocol, runtime_checkable

from quorumlog.twophase.txid import Gid

__all__ = ["Branch", "Participant", "Vote"]


class Vote(enum.Enum):
    """What a branch says when it is asked to prepare."""

    YES = "yes"
    NO = "no"
    READ_ONLY = "read_only"


class Branch(Protocol):
    """One transaction's part at one participant.  Calls come one at a time, from the transaction's thread.

    An exception of `prepare` means that nobody knows whether it is prepared: it is rolled back by its gid.
    """

    def prepare(self) -> Vote:
        """Everything that commit needs is durable when this returns YES.  NO: it is rolled back already."""
        ...

    def commit_one_phase(self) -> Vote:
        """Commits the only branch of a transaction: YES is committed, NO rolled back.  An exception: unknown."""
        ...

    def commit(self) -> None:
        """Commits what was prepared; durable when it returns.  An exception: to be done again, by the gid."""
        ...

    def rollback(self) -> None:
        """Rolls back, prepared or not.  An exception: to be done again, by the gid."""
        ...

    def close(self) -> None:
        """Lets go of the connection; what is prepared stays prepared."""
        ...


@runtime_checkable
class Participant(Protocol):
    """A resource: a database, a queue, a store.  Used from several threads at once.

    Everything done by gid is idempotent and comes from a session of its own: whoever prepared may be dead.
    """

    @property
    def name(self) -> str:
        """Stable, and the same at every coordinator that shares a decision log: it is written there."""
        ...

    def begin(self, gid: Gid) -> Any:
        """A `Branch`, with whatever the caller works with (`execute`, `connection`)."""
        ...

    def commit_prepared(self, gid: Gid) -> None:
        """Returns once it is committed, also when it was before.  Must not return while it is still prepared."""
        ...

    def rollback_prepared(self, gid: Gid) -> None:
        """Returns once it is not prepared any more."""
        ...

    def recover(self) -> list[Gid]:
        """What is prepared here and has the form of a gid of this product, of any coordinator."""
        ...
