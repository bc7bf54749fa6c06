"""A replicated group as its users see it: propose, submit, read, status."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any, Literal

from quorumlog import leadership
from quorumlog._core.bridge import dropping, reads, sessions
from quorumlog._core.bridge.submission import Applied, Submission
from quorumlog.errors import ReadTimeout, SessionExpired, UsageError
from quorumlog.explanation import Explanation, finding_of
from quorumlog.session import (
    OPEN,
    RESUME,
    SETTLE,
    Numbers,
    Outcome,
    Session,
    check_id,
    lifetime_ns,
    outcome_of_settling,
    stamp,
)

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined]

    from quorumlog._core.bridge.node import GroupCore
    from quorumlog.node import Node

__all__ = ["BOUNDED", "LEASE", "LINEARIZABLE", "STALE", "Group", "GroupStatus", "PeerStatus"]

Consistency = Literal["linearizable", "lease", "bounded", "stale"]
LINEARIZABLE: Consistency = "linearizable"
LEASE: Consistency = "lease"
BOUNDED: Consistency = "bounded"
STALE: Consistency = "stale"

# As the core numbers them (bridge/reads).
NUMBERS = {LINEARIZABLE: 0, LEASE: 1, BOUNDED: 2, STALE: 3}

ROLES = {1: "follower", 2: "pre-candidate", 3: "candidate", 4: "leader", 5: "learner"}
PEER_STATES = {1: "probe", 2: "stream", 3: "snapshot"}
_POLL = Event()


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """What a leader knows of one peer.  Indexes of entries; sizes in bytes.

    In the state `snapshot` a snapshot of `snapshot_bytes` is on its way, of which the peer has `snapshot_acked_bytes`.
    """

    name: str
    state: str
    match: int
    next: int
    window_bytes: int
    in_flight_bytes: int
    snapshot_bytes: int
    snapshot_acked_bytes: int


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """A group as this node sees it.

    Attributes:
        role: `leader`, `follower`, `candidate` or `pre-candidate`.
        leader: name of the leader, or None while it is not known.
        first, last: indexes of the log kept here; `flushed`: durable here up to this index.
        commit: durable on a commit quorum; `applied`: applied by this node's state machine.
        unproved_last: above `last` only while a torn tail is being judged (docs/format.md 6).
        faulty: batches of the log that are bad on this disk and wait for their repair from peers; while it is not 0
            this node doesn't campaign and acknowledges nothing behind the first of them.
        faults_found, faults_repaired: since the group was opened.
        lease_left: seconds for which this node, leading, may answer reads by its lease; 0: it holds none.
        lag: how old what is known here of the group's commits may be, in seconds; None: nothing is known yet.
        listening: this node may have forgotten what it promised: it follows, without a vote, until a leader admits it.
        snapshot_index: of the newest snapshot here, 0: none; `snapshot_log_bytes`: of the log behind it.
        snapshot_needed: not 0 while this node has lost its snapshot and waits for one of this index or a later one from
            a peer: it applies nothing and doesn't campaign.
        snapshots_installed: that came from peers, since the group was opened.
        priority: of this node, as its options say.
        transfer: to whom this leader is handing over leadership just now, or None.
        transfers, transfers_failed: hand-overs begun here, and those given up after an election timeout.
        disk_stalls: how often this node gave up leadership because its disk stood still.
    """

    role: str
    term: int
    leader: str | None
    vote: str | None
    first: int
    last: int
    flushed: int
    commit: int
    applied: int
    unproved_last: int
    faulty: int
    faults_found: int
    faults_repaired: int
    listening: bool
    lease_left: float
    lag: float | None
    elections: int
    leader_changes: int
    snapshot_index: int
    snapshot_log_bytes: int
    snapshot_needed: int
    snapshots_installed: int
    priority: int
    transfer: str | None
    transfers: int
    transfers_failed: int
    disk_stalls: int
    peers: tuple[PeerStatus, ...]


def group_status_of(raw: dict[str, Any], name_of: Callable[[int], str | None]) -> GroupStatus:
    """From the core's own form, with names in place of ids."""
    raw["role"] = ROLES.get(raw["role"], "unknown")
    raw["leader"] = name_of(raw["leader"])
    raw["vote"] = name_of(raw["vote"])
    raw["transfer"] = name_of(raw["transfer"])
    raw["peers"] = tuple(
        PeerStatus(
            name=name_of(peer.pop("node")) or "?",
            state=PEER_STATES.get(peer.pop("state"), "unknown"),
            **peer,
        )
        for peer in raw["peers"]
    )
    return GroupStatus(**raw)


def explanation_of(
    raw: dict[str, Any], group: str, node: str, name_of: Callable[[int], str | None]
) -> Explanation:
    """From the core's own form."""
    return Explanation(
        group=group,
        node=node,
        status=group_status_of(raw["status"], name_of),
        findings=tuple(finding_of(one, name_of) for one in raw["findings"]),
    )


def number_of(consistency: Consistency, max_lag: float | None = None) -> int:
    """The core's number; UsageError when there is none, or when `max_lag` doesn't belong to it."""
    if consistency not in NUMBERS:
        raise UsageError(f"consistency is {consistency!r}; it must be LINEARIZABLE, LEASE, BOUNDED or STALE")
    if (max_lag is not None) != (consistency == BOUNDED):
        raise UsageError(f"max_lag is {max_lag!r}: BOUNDED takes it, in seconds, and nothing else does")
    if max_lag is not None and not max_lag > 0:
        raise UsageError(f"max_lag is {max_lag!r}; it must be above 0 seconds")
    return NUMBERS[consistency]


def barrier_number_of(consistency: Consistency) -> int:
    """Of the two that are about all acknowledged writes."""
    if consistency not in (LINEARIZABLE, LEASE):
        raise UsageError(f"consistency is {consistency!r}; a barrier is LINEARIZABLE or LEASE")
    return NUMBERS[consistency]


class Group:
    """A handle on one group of a node.  All methods may be called from any thread."""

    def __init__(self, node: Node, name: str, core: GroupCore) -> None:
        self._node = node
        self._core = core
        self.name = name

    def propose(self, payload: bytes, timeout: float | None = 5.0) -> Applied:
        """Proposes one command and waits until it is applied here.

        When this returns, the entry is flushed on a commit quorum.  It is retried under one session and
        sequence across leader changes, and applied once.  Waits for room when the group is overloaded.

        Args:
            payload: the command, at most 16 MiB.
            timeout: seconds; None for as long as it takes.

        Returns:
            Applied(index, term, count, result), `result` being what the state machine returned for it.

        Raises:
            ProposalTimeout: time ran out and it may still be applied.
            Rejected: it did not happen (Withdrawn: time ran out before this node could take it;
                Overloaded; NotLeader only with `forward=False`).
            Unknown: it may or may not have happened (the node was closed, its disk failed).
        """
        return self._core.propose(payload, timeout)

    def propose_many(
        self, payloads: Sequence[bytes] | tuple[Buffer, Buffer], timeout: float | None = 5.0
    ) -> Applied:
        """Like `propose`, for a batch that is applied whole or not at all; `index` is its first."""
        return self._core.propose_many(payloads, timeout)

    def submit(self, payload: bytes) -> Submission:
        """Proposes one command without waiting.

        Raises:
            Overloaded: too many bytes are in flight; nothing was taken.
        """
        return self._core.submit(payload)

    def submit_many(self, payloads: Sequence[bytes] | tuple[Buffer, Buffer]) -> Submission:
        """Proposes a batch without waiting; all or nothing.

        Args:
            payloads: a list of bytes, or (buffer, offsets): one contiguous buffer and a uint32 array of
                count + 1 offsets into it, from 0, never falling.  Copied before this returns.
        """
        return self._core.submit_many(payloads)

    def session(
        self, session_id: int | None = None, *, lifetime: float = 3600.0, timeout: float | None = 5.0
    ) -> Session:
        """Opens a client's session, or resumes one, by an entry of the log.

        Args:
            session_id: of an earlier process; what that may still have under way and was not applied by now never
                happens then.  By default a new session.
            lifetime: of a new one: unused for so many seconds of the log's time it may be forgotten.

        Raises:
            SessionExpired: the group has forgotten the session.
            Unknown, Rejected: as for `propose`.  Opening again opens another session.
        """
        if session_id is None:
            opened = sessions.propose(self._core, [], stamp(OPEN, number=lifetime_ns(lifetime)), True, timeout)
            return Session(self, Numbers(opened.index, 1, 0))
        check_id((session_id, 1))
        resumed = sessions.propose(self._core, [], stamp(RESUME, session_id), True, timeout)
        return Session(self, Numbers(session_id, resumed.term, resumed.index))

    def outcome(self, proposal_id: tuple[int, int], timeout: float | None = 5.0) -> Outcome:
        """Settles what became of a proposal, by an entry of the log.

        Of a client's session the answer is final: what was not applied by then never will be, whoever retries it.
        Of a plain proposal (`error.proposal_id` of `propose` and `submit`) it is `applied` or `unknown`.

        Args:
            proposal_id: (session, sequence), from the error or the submission.
        """
        session_id, sequence = check_id(proposal_id)
        try:
            settled = sessions.propose(self._core, [], stamp(SETTLE, session_id, sequence), True, timeout)
        except SessionExpired:
            return Outcome("unknown")
        return outcome_of_settling(settled, proposal_id)

    def read(
        self,
        question: Any,
        consistency: Consistency = LINEARIZABLE,
        timeout: float | None = 5.0,
        *,
        max_lag: float | None = None,
    ) -> Any:
        """Asks the state machine of this node.

        Args:
            question: handed to `StateMachine.query` on the applier thread.
            consistency: LINEARIZABLE sees every write acknowledged before the call (one quorum round, no
                write; a follower asks the leader).  LEASE the same, without the round while the leader holds
                its lease, and only as long as clocks keep RaftOptions.clock_drift.  BOUNDED sees every write
                acknowledged more than `max_lag` seconds before the call and asks nobody.  STALE answers from
                what is applied here.
            timeout: seconds in all, or None.
            max_lag: of BOUNDED, in seconds; below about three heartbeats it is mostly refused on followers.

        Raises:
            ReadTimeout: no answer in time; nothing was changed.
            TooStale: BOUNDED, and what is known here is older than `max_lag`.
            UsageError: LEASE in a group that was opened without `clock_drift`.
            Overloaded: 65,536 reads of the group wait for their answers; `limit` is this number.
            ReplicaStopped: this node's state machine has stopped.
            What `query` raised.
        """
        return reads.read(self._core, question, number_of(consistency, max_lag), max_lag, timeout)

    def read_many(
        self,
        questions: Collection[Any],
        consistency: Consistency = LINEARIZABLE,
        timeout: float | None = 5.0,
        *,
        max_lag: float | None = None,
    ) -> Sequence[Any]:
        """Asks the state machine of this node many questions: one confirmation for all, one state.

        They are answered on the applier thread between two batches, all from the same state, in one go:
        other groups of this node wait meanwhile.

        Args:
            questions: a list, an array or the like; handed to `StateMachine.query_many` if the machine defines
                it, else one by one to `query`.
            consistency, timeout, max_lag: as for `read`.

        Returns:
            The answers, in order: what `query_many` returned, else a list.

        Raises:
            QueriesFailed: `query` raised for some; `answers` holds all the others.
            ReadTimeout: no answers in time; nothing was changed.
        """
        return reads.read_many(self._core, questions, number_of(consistency, max_lag), max_lag, timeout)

    def read_barrier(
        self, timeout: float | None = 5.0, *, consistency: Literal["linearizable", "lease"] = "linearizable"
    ) -> int:
        """An index that covers every write acknowledged before the call, by one quorum round or by lease."""
        return reads.read_barrier(self._core, barrier_number_of(consistency), timeout)

    def wait_applied(self, index: int, timeout: float | None = 5.0) -> None:
        """Waits until this node has applied `index`."""
        self._core.wait_applied(index, timeout)

    def snapshot(self, timeout: float | None = 60.0) -> int:
        """Makes a snapshot on this node, and drops the head of its log behind it.

        `StateMachine.snapshot` is called on the applier's thread, and what it returns is written by the snapshot
        thread while applying goes on.  A snapshot under way is waited for, and is good enough.

        Args:
            timeout: seconds, or None.  When it is over the writing goes on, but nobody waits for it.

        Returns:
            The index of the last entry that the newest snapshot here holds, which is durable.  0: nothing is
            applied yet.

        Raises:
            SnapshotFailed: the state machine's `snapshot`, or writing it, raised; see `__cause__`.
            UsageError: the state machine defines no `snapshot` and `restore`.
            ReadTimeout: it was not ready in time.
            Overloaded: the state is being restored from a peer's snapshot just now.
        """
        return self._core.snapshot(timeout)

    def wait_leader(self, timeout: float = 10.0) -> str:
        """Waits until this node knows a leader; its name."""
        deadline = time.monotonic() + timeout
        while True:
            leader = self.status().leader
            if leader is not None:
                return leader
            if time.monotonic() >= deadline:
                raise ReadTimeout(
                    f"group {self.name!r} has no leader that this node knows of after {timeout} s"
                )
            _POLL.wait(0.005)

    def drop(self, timeout: float | None = 10.0) -> None:
        """Drops the group on all nodes, for ever, by an entry of its own log.

        When it returns, the drop is committed and this node has let go of the group: its entries, its
        state machine's place, its proposals in flight (those end as Unknown).  The others do the same as soon as they
        apply the entry; one that is away learns of it when it is back.  The name is not used again:
        `Node.raft` refuses it.  Every later call on this handle raises GroupDropped.  Dropping what is dropped
        does nothing.

        Raises:
            ProposalTimeout: not committed in time; it may still be dropped.
            Overloaded: 65,536 groups were dropped, which is the most.
        """
        dropping.drop(self._core, timeout)

    @property
    def dropped(self) -> bool:
        """Whether the group was dropped, as far as this node knows."""
        return self._core.dropped

    def transfer(self, to: str | None = None, timeout: float = 5.0) -> str:
        """Moves the leadership to another voter; may be called on any node of the group.

        The leader takes no proposals until its successor holds the whole log and campaigns, which is a matter of
        milliseconds; they are held and applied as usual.  It gives up an attempt after an election timeout, and this
        call tries again until its time is up.

        Args:
            to: name of the node that is to lead; by default the leader chooses the one of the highest priority, and
                of these one that is most nearly caught up.
            timeout: seconds.

        Returns:
            The name of who leads now, as this node knows.

        Raises:
            TransferFailed: the leadership did not move in time; a late attempt may still move it.
            UsageError: `to` is no voter of the group.
        """
        return leadership.transfer(self, to, timeout)

    @property
    def core(self) -> GroupCore:
        """The compiled half, for the modules of this package."""
        return self._core

    @property
    def is_leader(self) -> bool:
        """Whether this node leads the group, as far as it knows."""
        return self.status().role == "leader"

    @property
    def applied(self) -> int:
        """Last index applied by this node's state machine."""
        return self._core.applied

    def status(self, timeout: float = 5.0) -> GroupStatus:
        """A consistent look at the group, answered by the reactor."""
        return self.status_of(self._core.status(timeout))

    def explain(self, timeout: float = 5.0) -> Explanation:
        """Why commit does or doesn't move, as this node sees it; ask the leader for the whole answer.

        Answered by the reactor from what it knows: nothing waits for a peer, the disk or a quorum, and
        a node that failed answers too.

        Raises:
            ReadTimeout: the reactor did not answer in time.
        """
        return self.explanation_of(self._core.explain(timeout))

    def explanation_of(self, raw: dict[str, Any]) -> Explanation:
        """From the core's own form."""
        return explanation_of(raw, self.name, self._node.name, self._node.name_of)

    def status_of(self, raw: dict[str, Any]) -> GroupStatus:
        """From the core's own form."""
        return group_status_of(raw, self._node.name_of)

    @property
    def node_name(self) -> str:
        """Name of the node whose group this is."""
        return self._node.name

    def __repr__(self) -> str:
        return f"<Group {self.name!r} on {self._node.name!r}>"
