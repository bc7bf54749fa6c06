"""A replicated group in an event loop."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from quorumlog import group as blocking_group
from quorumlog._core.bridge import aio, sessions
from quorumlog._core.bridge.aio import (
    Applying,
    Room,
    Settling,
    group_explain,
    group_snapshot,
    group_status,
    taken,
)
from quorumlog._core.bridge.submission import Applied, Submission
from quorumlog.aio.session import Session
from quorumlog.aio.thread import in_thread
from quorumlog.errors import Overloaded, ReadTimeout, SessionExpired
from quorumlog.explanation import Explanation
from quorumlog.group import LINEARIZABLE, Consistency, GroupStatus, barrier_number_of, number_of
from quorumlog.session import (
    OPEN,
    RESUME,
    SETTLE,
    Numbers,
    Outcome,
    check_id,
    lifetime_ns,
    outcome_of_settling,
    stamp,
)

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

__all__ = ["Group"]

POLL_SECONDS = 0.005


class Group:
    """A handle on one group of a node, for coroutines; made by `Node.raft`, or from a quorumlog.Group.

    The verbs, their arguments, outcomes and errors are those of quorumlog.Group.  May be used by
    several event loops at the same time, each in its thread.

    **Cancellation.**  Cancelling a task that awaits `propose`, `propose_many` or a submission stops the
    waiting and nothing else: the proposal is on its way and may be applied.  To know what becomes of it,
    keep the submission (`submit`), which can be awaited again.  Only a proposal that still waits for room
    (see `propose`) is given up by cancelling, and then surely does not happen.

    Attributes:
        name: of the group.
        blocking: the same group with blocking verbs.
    """

    def __init__(self, group: blocking_group.Group) -> None:
        self.blocking = group
        self.name = group.name
        self._core = group._core
        self._waiting = 0  # proposals that wait for room, in all loops
        self._turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]
        self._turns = weakref.WeakKeyDictionary()

    async def propose(self, payload: bytes, timeout: float | None = 5.0) -> Applied:
        """Proposes one command and waits until it is applied here.

        When this returns, the entry is flushed on a commit quorum.  It is retried under one session and
        sequence across leader changes, and applied once.  Waits for room when the group is overloaded,
        in turn with the others of this loop.

        Args:
            payload: the command, at most 16 MiB.
            timeout: seconds; None for as long as it takes.  Cheaper than asyncio.timeout, and surer: what
                the node had not taken by then is withdrawn.

        Raises:
            ProposalTimeout: time ran out and it may still be applied (also a TimeoutError).
            Rejected: it did not happen (Withdrawn, Overloaded; NotLeader only with `forward=False`).
            Unknown: it may or may not have happened (the node was closed, its disk failed).
        """
        if not self._waiting:
            try:
                submission = self._core.submit(payload)
            except Overloaded:
                pass
            else:
                return await Settling(self._core, submission, timeout)
        return await self._propose_in_turn(self._core.submit, payload, timeout)

    async def propose_many(
        self, payloads: Sequence[bytes] | tuple[Buffer, Buffer], timeout: float | None = 5.0
    ) -> Applied:
        """Like `propose`, for a batch that is applied whole or not at all; `index` is its first."""
        payloads = taken(payloads)
        if not self._waiting:
            try:
                submission = self._core.submit_many(payloads)
            except Overloaded:
                pass
            else:
                return await Settling(self._core, submission, timeout)
        return await self._propose_in_turn(self._core.submit_many, payloads, timeout)

    def submit(self, payload: bytes) -> Submission:
        """Proposes one command without waiting; `await` the future, in any loop, or never.

        Raises:
            Overloaded: too many bytes are in flight; nothing was taken.
        """
        return self._core.submit(payload)

    def submit_many(self, payloads: Sequence[bytes] | tuple[Buffer, Buffer]) -> Submission:
        """Proposes a batch without waiting; all or nothing.  See quorumlog.Group.submit_many."""
        return self._core.submit_many(payloads)

    async def session(
        self, session_id: int | None = None, *, lifetime: float = 3600.0, timeout: float | None = 5.0
    ) -> Session:
        """Opens a client's session, or resumes one, by an entry of the log.  See quorumlog.Group.session."""
        if session_id is None:
            opening = stamp(OPEN, number=lifetime_ns(lifetime))
            opened = await self.propose_stamped([], opening, True, timeout)
            return Session(self, Numbers(opened.index, 1, 0))
        check_id((session_id, 1))
        resumed = await self.propose_stamped([], stamp(RESUME, session_id), True, timeout)
        return Session(self, Numbers(session_id, resumed.term, resumed.index))

    async def outcome(self, proposal_id: tuple[int, int], timeout: float | None = 5.0) -> Outcome:
        """Settles what became of a proposal, by an entry of the log.  See quorumlog.Group.outcome."""
        session_id, sequence = check_id(proposal_id)
        try:
            settled = await self.propose_stamped([], stamp(SETTLE, session_id, sequence), True, timeout)
        except SessionExpired:
            return Outcome("unknown")
        return outcome_of_settling(settled, proposal_id)

    async def propose_stamped(
        self, payloads: list[bytes], stamped: bytes, whole: bool, timeout: float | None
    ) -> Applied:
        """A batch of a client's session; for quorumlog.aio.Session."""

        def submit(entries: list[bytes]) -> Submission:
            return sessions.submit(self._core, entries, stamped, whole)

        return await self._propose_in_turn(submit, payloads, timeout)

    async def read(
        self,
        question: Any,
        consistency: Consistency = LINEARIZABLE,
        timeout: float | None = 5.0,
        *,
        max_lag: float | None = None,
    ) -> Any:
        """Asks the state machine of this node; `query` runs on the applier thread, not in the loop.

        The consistencies, and what they raise, are those of quorumlog.Group.read.

        Raises:
            ReadTimeout: no answer in time; nothing was changed.
            TooStale: BOUNDED, and what is known here is older than `max_lag`.
        """
        return await aio.read(self._core, question, number_of(consistency, max_lag), max_lag, timeout)

    async def read_many(
        self,
        questions: Collection[Any],
        consistency: Consistency = LINEARIZABLE,
        timeout: float | None = 5.0,
        *,
        max_lag: float | None = None,
    ) -> Sequence[Any]:
        """Asks many questions of one state: one confirmation for all.  See quorumlog.Group.read_many."""
        answers: Sequence[Any] = await aio.read_many(
            self._core, questions, number_of(consistency, max_lag), max_lag, timeout
        )
        return answers

    async def read_barrier(
        self, timeout: float | None = 5.0, *, consistency: Literal["linearizable", "lease"] = "linearizable"
    ) -> int:
        """An index that covers every write acknowledged before the call, by one quorum round or by lease."""
        index: int = await aio.read_barrier(self._core, barrier_number_of(consistency), timeout)
        return index

    async def wait_applied(self, index: int, timeout: float | None = 5.0) -> None:
        """Waits until this node has applied `index`."""
        await Applying(self._core, index, timeout)

    async def snapshot(self, timeout: float | None = 60.0) -> int:
        """Makes a snapshot on this node, and drops the head of its log behind it.  See quorumlog.Group.snapshot.

        Returns:
            The index of the last entry that the newest snapshot here holds, which is durable.
        """
        index: int = await group_snapshot(self._core, timeout)
        return index

    async def wait_leader(self, timeout: float = 10.0) -> str:
        """Waits until this node knows a leader; its name."""
        left = _left_of(timeout)
        while True:
            leader = await self._leader_within(left())
            if leader is not None:
                return leader
            if left() == 0:
                raise ReadTimeout(
                    f"group {self.name!r} has no leader that this node knows of after {timeout} s"
                )
            await asyncio.sleep(POLL_SECONDS)

    async def _leader_within(self, timeout: float | None) -> str | None:
        try:
            return (await self.status(timeout)).leader
        except ReadTimeout:         # the time ended while the node was asked: nobody is known here either
            return None

    async def drop(self, timeout: float | None = 10.0) -> None:
        """Drops the group on all nodes, for ever; waits in a thread.  See quorumlog.Group.drop."""
        await in_thread(partial(self.blocking.drop, timeout))

    @property
    def dropped(self) -> bool:
        """Whether the group was dropped, as far as this node knows."""
        return self.blocking.dropped

    async def transfer(self, to: str | None = None, timeout: float = 5.0) -> str:
        """Moves the leadership to another voter, and waits for it in a thread.  See quorumlog.Group.transfer.

        Cancelling the await doesn't stop what was asked for.
        """
        return await in_thread(partial(self.blocking.transfer, to, timeout))

    async def is_leader(self) -> bool:
        """Whether this node leads the group, as far as it knows."""
        return (await self.status()).role == "leader"

    @property
    def applied(self) -> int:
        """Last index applied by this node's state machine."""
        return self.blocking.applied

    async def status(self, timeout: float | None = 5.0) -> GroupStatus:
        """A consistent look at the group, answered by the reactor."""
        return self.blocking.status_of(await group_status(self._core, timeout))

    async def explain(self, timeout: float | None = 5.0) -> Explanation:
        """Why commit does or doesn't move, as this node sees it.  See quorumlog.Group.explain."""
        return self.blocking.explanation_of(await group_explain(self._core, timeout))

    async def _propose_in_turn(
        self, submit: Callable[[Any], Submission], payload: Any, timeout: float | None
    ) -> Applied:
        """With others before us, or no room.  One proposal of a loop at a time waits for room: of many
        woken together all but one would have come in vain, and the lucky one need not be the first."""
        left = _left_of(timeout)
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout):
                async with self._turn():
                    submission = await self._submit_patiently(submit, payload)
        except TimeoutError:
            self._refuse(timeout)
        finally:
            self._waiting -= 1
        return await Settling(self._core, submission, left())

    async def _submit_patiently(self, submit: Callable[[Any], Submission], payload: Any) -> Submission:
        while True:
            room = Room(self._core, None)
            try:
                return submit(payload)
            except Overloaded:
                await room

    def _turn(self) -> asyncio.Lock:
        return self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    def _refuse(self, timeout: float | None) -> NoReturn:
        raise Overloaded(
            f"propose: no room within {timeout} s; the bytes in flight reached their limit and nothing was taken",
            self._core.in_flight_bytes_max,
        ) from None

    def __repr__(self) -> str:
        return f"<aio.Group {self.name!r} on {self.blocking.node_name!r}>"


def _left_of(timeout: float | None) -> Callable[[], float | None]:
    """How many seconds of it are left, at any later moment; None without end."""
    if timeout is None:
        return lambda: None
    deadline = time.monotonic() + timeout
    return lambda: max(0.0, deadline - time.monotonic())
