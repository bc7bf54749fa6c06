"""Clients' sessions in an event loop."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from quorumlog._core.bridge.submission import Applied
from quorumlog.errors import QuorumlogError, SessionExpired
from quorumlog.session import CLOSE, Numbers, Outcome, entries_of, stamp

if TYPE_CHECKING:
    from quorumlog.aio.group import Group

__all__ = ["Session"]


class Session:
    """quorumlog.Session with awaitable verbs; made by `Group.session`.  Any number of tasks and loops.

    Cancelling a task that awaits `propose` leaves the outcome unknown: propose it again with its `sequence`
    (`next_sequence` before the call), or ask `outcome`.

    Attributes:
        id: names the session in its group.
    """

    def __init__(self, group: Group, numbers: Numbers) -> None:
        self._group, self._numbers = group, numbers
        self.id = numbers.session

    @property
    def next_sequence(self) -> int:
        """What the next proposal gets that names none."""
        return self._numbers.next

    def through(self, group: Group) -> Session:
        """The same session through the same group on another node of this process."""
        return Session(group, self._numbers)

    async def propose(
        self, payload: bytes, timeout: float | None = 5.0, *, sequence: int | None = None
    ) -> Applied:
        """Proposes one command and waits until it is applied here, for the first time or before.

        Raises:
            What quorumlog.Session.propose raises.
        """
        return await self._propose([bytes(payload)], False, timeout, sequence)

    async def propose_many(
        self, payloads: Sequence[bytes], timeout: float | None = 5.0, *, sequence: int | None = None
    ) -> Applied:
        """Like `propose`, for a batch that is applied whole or not at all; `index` is its first."""
        return await self._propose(entries_of(payloads), True, timeout, sequence)

    async def _propose(
        self, payloads: list[bytes], whole: bool, timeout: float | None, sequence: int | None
    ) -> Applied:
        sequence, stamped = self._numbers.begin(sequence)
        try:
            applied = await self._group.propose_stamped(payloads, stamped, whole, timeout)
        except QuorumlogError as error:
            error.proposal_id = (self.id, sequence)
            if error.definite:
                self._numbers.end(sequence)
            raise
        self._numbers.end(sequence)
        return applied

    async def outcome(self, sequence: int, timeout: float | None = 5.0) -> Outcome:
        """Settles what became of a proposal, by an entry of the log; see quorumlog.Group.outcome."""
        found = await self._group.outcome((self.id, sequence), timeout)
        if found.state != "unknown":
            self._numbers.end(sequence)
        return found

    async def close(self, timeout: float | None = 5.0) -> None:
        """Ends the session: what is still under way in it is never applied.  Ended before: no error."""
        with contextlib.suppress(SessionExpired):
            await self._group.propose_stamped([], stamp(CLOSE, self.id), True, timeout)

    def __repr__(self) -> str:
        return f"<aio.Session {self.id} of {self._group!r}>"
