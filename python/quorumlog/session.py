"""Clients' sessions: a retried proposal is applied once and gets its first result."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from quorumlog._core.bridge import sessions
from quorumlog._core.bridge.submission import Applied
from quorumlog.errors import Overloaded, QuorumlogError, SessionExpired, UsageError

if TYPE_CHECKING:
    from quorumlog.group import Group

__all__ = ["Outcome", "Session"]

# As engine/clients numbers them.
OPEN, COMMAND, SETTLE, CLOSE, RESUME = 1, 2, 3, 4, 5
NUMBER_MAX = 1 << 62


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a proposal.

    Attributes:
        state: `applied`; `not applied`: surely not, and it never will be; `unknown`: the group has forgotten the
            session or the answer, or it is a node's own proposal that may still be on its way.
        applied: how it was applied, with the results of all its commands, as `propose_many` returns them; None where
            that is not kept.
    """

    state: Literal["applied", "not applied", "unknown"]
    applied: Applied | None = None


def stamp(kind: int, session: int = 0, sequence: int = 0, answered: int = 0, number: int = 0) -> bytes:
    """The last entry of a session's batch."""
    return struct.pack("<5Q", kind, session, sequence, answered, number)


def lifetime_ns(seconds: float) -> int:
    """Of a session, from its option."""
    if not 0 < seconds <= 1e9:
        raise UsageError(f"lifetime is {seconds!r}; it must be above 0 and at most 1e9 seconds")
    return int(seconds * 1e9)


def entries_of(payloads: Sequence[bytes]) -> list[bytes]:
    """A session's commands are kept apart from its stamp, so they are a list of bytes."""
    if isinstance(payloads, (bytes, bytearray, memoryview, str)):
        raise UsageError(f"propose_many takes a list of bytes, not {type(payloads).__name__}")
    entries = [bytes(one) if isinstance(one, (bytearray, memoryview)) else one for one in payloads]
    if not entries:
        raise UsageError("a batch needs at least one entry")
    return entries


def outcome_of_settling(applied: Applied, proposal_id: tuple[int, int]) -> Outcome:
    """From what the question itself returned."""
    if proposal_id[0] >> 63:
        return Outcome("applied")
    if applied.index == 0:
        return Outcome("not applied")
    return Outcome("applied", applied)


def check_id(proposal_id: tuple[int, int]) -> tuple[int, int]:
    session, sequence = proposal_id
    if not (0 < session < 1 << 64 and 0 < sequence < 1 << 64):
        raise UsageError(f"{proposal_id} names no proposal: it is (session, sequence), both above 0")
    return session, sequence


class Numbers:
    """Which sequences a session has given out, and which of them are over.  Any thread."""

    def __init__(self, session: int, life: int, highest: int) -> None:
        self.session, self.life = session, life
        self.next = highest + 1
        self._inherited = highest  # an earlier process's: over when 256 later ones have begun
        self._answered = max(0, highest - sessions.WINDOW + 1)
        self._over: set[int] = set()
        self._lock = threading.Lock()

    def begin(self, sequence: int | None) -> tuple[int, bytes]:
        """The sequence, and the stamp that goes with it now."""
        with self._lock:
            if sequence is None:
                sequence = self.next
            self._let_go(min(self._inherited, sequence - sessions.WINDOW))
            if not self._answered < sequence < NUMBER_MAX:
                raise UsageError(f"sequence {sequence} is over: its outcome was returned, or it is none")
            if sequence > self._answered + sessions.WINDOW:
                raise Overloaded(
                    f"sequence {sequence} lies more than {sessions.WINDOW} behind {self._answered + 1}, whose outcome"
                    " is not known: propose that again, or ask `outcome`",
                    sessions.WINDOW,
                )
            self.next = max(self.next, sequence + 1)
            return sequence, stamp(COMMAND, self.session, sequence, self._answered, self.life)

    def end(self, sequence: int) -> None:
        """Its outcome is known to the client."""
        with self._lock:
            self._over.add(sequence)
            self.next = max(self.next, sequence + 1)
            self._let_go(self._answered)

    def _let_go(self, sequence: int) -> None:
        """All up to there are over, and those behind that are."""
        self._answered = max(self._answered, sequence)
        while self._answered + 1 in self._over:
            self._answered += 1
        self._over = {one for one in self._over if one > self._answered}


class Session:
    """A session of a client with a group; `Group.session` opens or resumes it.  Any thread.

    Each proposal has a sequence.  One whose outcome is not known (`Unknown`, `ProposalTimeout`) is proposed again
    with the *same* payload and `sequence=error.proposal_id[1]`: through any node, by this process or, after
    `group.session(id)`, by a later one.  It is applied once, and each call returns the first result.

    Attributes:
        id: names the session in its group; keep it, with the sequences under way, to survive the process.
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

    def propose(self, payload: bytes, timeout: float | None = 5.0, *, sequence: int | None = None) -> Applied:
        """Proposes one command and waits until it is applied here, for the first time or before.

        Args:
            payload: the command.
            timeout: seconds; None for as long as it takes.
            sequence: of a proposal that is made again; by default a new one.

        Returns:
            Applied(index, term, count, result) of its first and only application.

        Raises:
            ProposalTimeout, Unknown: it may be applied; propose it again with `sequence=error.proposal_id[1]`.
            SessionExpired: the group has forgotten the session.
            ResultLost: it was applied, and its result was too large to be kept (1 MiB).
            Fenced: it surely never happens: `outcome` settled that, or a later process has resumed the session.
            UsageError: the sequence was used for another payload.
            Overloaded: 256 earlier ones, or 4 MiB of their results, have no outcome known here yet.
        """
        return self._propose([bytes(payload)], False, timeout, sequence)

    def propose_many(
        self, payloads: Sequence[bytes], timeout: float | None = 5.0, *, sequence: int | None = None
    ) -> Applied:
        """Like `propose`, for a batch that is applied whole or not at all; `index` is its first."""
        return self._propose(entries_of(payloads), True, timeout, sequence)

    def _propose(
        self, payloads: list[bytes], whole: bool, timeout: float | None, sequence: int | None
    ) -> Applied:
        sequence, stamped = self._numbers.begin(sequence)
        try:
            applied = sessions.propose(self._group._core, payloads, stamped, whole, timeout)
        except QuorumlogError as error:
            error.proposal_id = (self.id, sequence)
            if error.definite:
                self._numbers.end(sequence)
            raise
        self._numbers.end(sequence)
        return applied

    def outcome(self, sequence: int, timeout: float | None = 5.0) -> Outcome:
        """Settles what became of a proposal, by an entry of the log; see `Group.outcome`."""
        found = self._group.outcome((self.id, sequence), timeout)
        if found.state != "unknown":
            self._numbers.end(sequence)
        return found

    def close(self, timeout: float | None = 5.0) -> None:
        """Ends the session: what is still under way in it is never applied.  Ended before: no error."""
        with contextlib.suppress(SessionExpired):
            sessions.propose(self._group._core, [], stamp(CLOSE, self.id), True, timeout)

    def __repr__(self) -> str:
        return f"<Session {self.id} of {self._group!r}>"
