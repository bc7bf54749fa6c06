"""The coordinator in a Python process: drives the core's state machine and carries out what it wants."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterable
from types import TracebackType
from typing import Any, NamedTuple, Self

from quorumlog._core.bridge.twophase import EFFECTS, EVENTS, REASONS, VERDICTS, VOTES, CoordinatorCore
from quorumlog.errors import Closed, Overloaded, TransactionAborted, TransactionInDoubt, Unknown, UsageError
from quorumlog.log import Log
from quorumlog.names import check_name, id_of
from quorumlog.twophase.decisions import DecisionLog, InDoubt
from quorumlog.twophase.participant import Branch, Participant, Vote
from quorumlog.twophase.txid import Gid, Txid

__all__ = ["Coordinator", "Outcome", "Recovery", "Transaction"]

Effect = tuple[int, tuple[int, int, int, int], int, int, int, int, int]
PREPARE, ONE_PHASE = EFFECTS["prepare"], EFFECTS["commit_one_phase"]
COMMIT, ROLLBACK = EFFECTS["commit"], EFFECTS["rollback"]
BRANCHES_MAX = 16
OUTCOMES = {VERDICTS[name]: name for name in ("commit", "abort", "live", "in_doubt", "foreign", "forgotten")}
REASON_WORDS = {
    REASONS["asked"]: "it was asked to",
    REASONS["vote"]: "a participant did not agree",
    REASONS["time"]: "the time ran out",
    REASONS["fenced"]: "a newer coordinator of the same name, or an operator, was first",
    REASONS["full"]: "too many commits are unfinished",
}


class Outcome(NamedTuple):
    """A committed transaction; `pending` names the participants that `recover` will still have to tell."""

    txid: Txid
    pending: tuple[str, ...]


class Recovery(NamedTuple):
    """What one pass of `recover` did, by gid; `errors` by participant."""

    committed: tuple[Gid, ...]
    rolled_back: tuple[Gid, ...]
    in_doubt: tuple[InDoubt, ...]
    errors: dict[str, str]


class Coordinator:
    """Begins transactions, and finishes those of its earlier lives.  Thread-safe; one process for one log.

    Args:
        log: an open `quorumlog.Log` of its own, where decisions are written.  It stays the caller's to close.
        name: of this coordinator in the log; opening it fences whoever had the name before.
        participants: those whose prepared transactions `recover` looks for; `enlist` adds others.
        in_hand_max: transactions begun and not finished, beyond which `transaction` raises Overloaded.
        recover_every_s: a thread of the coordinator's own calls `recover` so often; None: only at start and by hand.

    Raises on opening what the log raises; a participant that can't be reached at start is in `last_recovery.errors`.
    """

    def __init__(
        self,
        *,
        log: Log,
        name: str = "coordinator",
        participants: Iterable[Participant] = (),
        in_hand_max: int = 8192,
        recover_every_s: float | None = 30.0,
    ) -> None:
        check_name(name, "a coordinator's name", 64)
        self._decisions = DecisionLog(log)
        self._participants: dict[int, Participant] = {}
        self._lock = threading.Lock()
        self._recovering = threading.Lock()
        self._closed = threading.Event()
        for participant in participants:
            self.register(participant)
        self.self_txid = self._decisions.open_coordinator(name)
        unfinished = self._decisions.unfinished()
        self._core = CoordinatorCore(
            self._decisions.table, self.self_txid.parts, in_hand_max=max(in_hand_max, 2 * len(unfinished) + 1)
        )
        # Told by `recover`: the first pass tells every branch of them.
        self._resumed: deque[Effect] = deque()
        for txid, branches in unfinished:
            self._resumed.extend(self._step("unfinished", txid, branches=branches))
        self.last_recovery = self.recover()
        self._thread: threading.Thread | None = None
        if recover_every_s is not None:
            self._thread = threading.Thread(
                target=self._recover_on_schedule, args=(recover_every_s,), name="quorumlog-recover", daemon=True
            )
            self._thread.start()

    # Transactions

    def register(self, participant: Participant) -> None:
        """Makes `recover` look there; a participant of the same name is replaced."""
        self._participants[id_of(participant.name)] = participant

    def transaction(self, timeout: float | None = None) -> Transaction:
        """A context manager: commits at its end, rolls back when the block raises.

        `timeout` in seconds bounds how long it may take until it is decided; a call that is under way at a database
        is not interrupted by it.
        """
        return Transaction(self, timeout)

    def outcome(self, txid: Txid) -> str:
        """What became of it: commit, abort, live, in_doubt, foreign (of another log) or forgotten (long ago)."""
        with self._lock:
            said = OUTCOMES[self._decisions.outcome(txid)]
        own = txid[:3] == self.self_txid[:3]
        return "abort" if said == "live" and own and not self._is_in_hand(txid) else said

    def status(self) -> dict[str, int]:
        """Counts of the state machine: in_hand, deciding, committed, aborted and others."""
        with self._lock:
            return self._core.status()

    # Recovery

    def recover(self) -> Recovery:
        """One pass over all participants: what is prepared there and decided here is finished.

        Touches only transactions of coordinators that this log knows, and none that is in hand.  Called at start
        and on schedule; may be called at any time, from any thread (passes take turns).
        """
        with self._recovering:
            committed: list[Gid] = []
            rolled_back: list[Gid] = []
            doubtful: list[InDoubt] = []
            errors: dict[str, str] = {}
            due = [*self._resumed, *self._step("time")]
            self._resumed.clear()
            self._finish(due, committed, rolled_back, errors)
            for number, participant in list(self._participants.items()):
                try:
                    listed = participant.recover()
                except Exception as error:
                    errors[participant.name] = repr(error)
                    continue
                for gid in listed:
                    effects = self._step("inquiry", gid.txid, participant=number)
                    if any(e[0] == EFFECTS["report"] and e[4] == VERDICTS["in_doubt"] for e in effects):
                        doubtful.append(InDoubt(gid.txid, gid.participant, "the decision log has lost what it knew"))
                    self._finish(effects, committed, rolled_back, errors)
            return Recovery(tuple(committed), tuple(rolled_back), tuple(doubtful), errors)

    def in_doubt(self) -> tuple[InDoubt, ...]:
        """What is prepared and can't be decided: only `resolve` ends it."""
        return self.recover().in_doubt

    def resolve(self, txid: Txid, outcome: str, reason: str) -> None:
        """An operator's decision, "commit" or "abort", about a transaction in doubt; logged with its reason.

        Never against a decision that stands: UsageError.  Then carried out by a pass of `recover`.
        """
        if outcome not in ("commit", "abort") or not reason.strip():
            raise UsageError("resolve wants \"commit\" or \"abort\", and a reason")
        said = self._decisions.resolve(txid, VERDICTS[outcome], reason)
        if said != VERDICTS[outcome]:
            words = {number: name for name, number in VERDICTS.items()}[said]
            raise UsageError(f"transaction {txid} can't be resolved to {outcome}: the decision log says {words}")
        self.recover()

    def close(self) -> None:
        """Ends the recovery thread and makes the ends durable.  Transactions in hand stay as they are."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()
        self._decisions.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    # Within

    def _step(self, event: str, txid: tuple[int, int, int, int] = (0, 0, 0, 0), **more: Any) -> list[Effect]:
        with self._lock:
            return self._core.step(EVENTS[event], time.monotonic_ns(), Txid(*txid).parts, **more)

    def _is_in_hand(self, txid: Txid) -> bool:
        """Told by asking as a participant that nobody is: only one in hand is reported live."""
        effects = self._step("inquiry", txid, participant=0)
        return any(e[0] == EFFECTS["report"] and e[4] == VERDICTS["live"] for e in effects)

    def _finish(
        self, effects: list[Effect], committed: list[Gid], rolled_back: list[Gid], errors: dict[str, str]
    ) -> None:
        """Carries out phase two by gid, from sessions of its own."""
        todo = deque(effects)
        while todo:
            kind, txid, _, number, *_ = todo.popleft()
            if kind == EFFECTS["end"]:
                self._decisions.end(Txid(*txid))
            if kind not in (COMMIT, ROLLBACK):
                continue
            participant = self._participants.get(number)
            name = participant.name if participant else self._decisions.names.get(number, f"{number:016x}")
            gid = Gid(Txid(*txid), name)
            try:
                if participant is None:
                    raise UsageError(f"{name} is not registered here and takes part in {gid.txid}")
                (participant.commit_prepared if kind == COMMIT else participant.rollback_prepared)(gid)
            except Exception as error:
                errors[name] = repr(error)
                todo.extend(self._step("failure", txid, participant=number))
                continue
            (committed if kind == COMMIT else rolled_back).append(gid)
            todo.extend(self._step("ack", txid, participant=number))

    def _recover_on_schedule(self, every_s: float) -> None:
        while not self._closed.wait(every_s):
            # What a pass can't do is in last_recovery.errors, and the next tries again.
            with contextlib.suppress(Exception):
                self.last_recovery = self.recover()


class Transaction:
    """One transaction, used from one thread.  See `Coordinator.transaction`."""

    def __init__(self, coordinator: Coordinator, timeout: float | None) -> None:
        self._coordinator = coordinator
        self._timeout_s = timeout
        self._deadline_s = 0.0
        self._branches: dict[int, Branch] = {}
        self._names: dict[int, str] = {}
        self._pending: set[int] = set()
        self._settled: tuple[int, int, int] | None = None
        self._cause: BaseException | None = None
        self.txid = Txid(0, 0, 0, 0)
        self.outcome: Outcome | None = None

    def __enter__(self) -> Self:
        if self._coordinator._closed.is_set():
            raise Closed("the coordinator is closed")
        ((_, txid, *_),) = self._coordinator._step("begin")
        if txid[3] == 0:
            raise Overloaded("too many transactions are in hand, or wait for a participant that is down")
        self.txid = Txid(*txid)
        if self._timeout_s is not None:
            self._deadline_s = time.monotonic() + self._timeout_s
        return self

    def enlist(self, participant: Participant) -> Any:
        """The branch at this participant: work with its `execute`, `cursor` or `connection`.  Once for each."""
        if self.txid.number == 0 or self._settled is not None:
            raise UsageError("enlist within `with coordinator.transaction():`")
        number = id_of(participant.name)
        if number in self._branches:
            raise UsageError(f"{participant.name} takes part already")
        if len(self._branches) == BRANCHES_MAX:
            raise UsageError(f"a transaction has at most {BRANCHES_MAX} participants")
        self._coordinator.register(participant)
        branch = participant.begin(Gid(self.txid, participant.name))
        self._branches[number] = branch
        self._names[number] = participant.name
        self._coordinator._step("enlist", self.txid, participant=number)
        return branch

    def commit(self) -> Outcome:
        """Prepares, decides, commits.

        Raises:
            TransactionAborted: rolled back everywhere, or will be.
            TransactionInDoubt: nobody knows yet; `coordinator.outcome(txid)` will.
        """
        try:
            self._drive("abort" if self._is_late() else "commit")
        finally:
            self._close_branches()
        return self._result()

    def rollback(self) -> None:
        """Rolls back everywhere."""
        try:
            self._drive("abort")
        finally:
            self._close_branches()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._settled is not None:
            return
        if error is None:
            self.outcome = self.commit()
        else:
            self.rollback()

    # Carrying out

    def _is_late(self) -> bool:
        return self._timeout_s is not None and time.monotonic() >= self._deadline_s

    def _drive(self, event: str) -> None:
        todo = deque(self._coordinator._step(event, self.txid))
        while todo:
            effect = todo.popleft()
            if effect[0] == PREPARE and self._is_late():
                todo.extend(self._coordinator._step("abort", self.txid))
            if any(other[0] == ROLLBACK and other[3] == effect[3] for other in todo) and effect[0] == PREPARE:
                continue                   # it has been decided meanwhile
            todo.extend(self._carry_out(effect))

    def _carry_out(self, effect: Effect) -> list[Effect]:
        kind, _, branch_bits, number, outcome, reason, _ = effect
        if kind in (PREPARE, ONE_PHASE):
            return self._ask(kind, number)
        if kind in (COMMIT, ROLLBACK):
            return self._tell(kind, number)
        if kind == EFFECTS["decide"]:
            names = [name for place, name in enumerate(self._names.values()) if branch_bits >> place & 1]
            return self._coordinator._step("decision", self.txid, verdict=self._decide(names))
        if kind == EFFECTS["end"]:
            self._coordinator._decisions.end(self.txid)
        elif kind == EFFECTS["settle"]:
            self._settled = (outcome, reason, number)
        return []

    def _decide(self, names: list[str]) -> int:
        try:
            return self._coordinator._decisions.commit(self.txid, names)
        except Exception as error:
            # It may be on disk: a log that failed says nothing more, and nobody guesses.
            self._cause = error
            self._settled = (VERDICTS["in_doubt"], 0, 0)
            return VERDICTS["unknown"]

    def _ask(self, kind: int, number: int) -> list[Effect]:
        branch = self._branches[number]
        step = self._coordinator._step
        try:
            vote = branch.prepare() if kind == PREPARE else branch.commit_one_phase()
        except BaseException as error:
            self._cause = error
            told = step("vote", self.txid, participant=number, vote=VOTES["unknown"])
            if not isinstance(error, Exception):
                for effect in told:
                    self._carry_out(effect)
                raise
            return told
        if kind == ONE_PHASE and vote is Vote.YES:
            return step("ack", self.txid, participant=number)
        if vote is Vote.NO:
            self._cause = getattr(branch, "refusal", None) or self._cause
        return step("vote", self.txid, participant=number, vote=VOTES[vote.value])

    def _tell(self, kind: int, number: int) -> list[Effect]:
        branch = self._branches[number]
        try:
            branch.commit() if kind == COMMIT else branch.rollback()
        except Exception:
            # Decided all the same: `recover` tells it again.
            self._pending.add(number)
            return self._coordinator._step("failure", self.txid, participant=number)
        return self._coordinator._step("ack", self.txid, participant=number)

    def _close_branches(self) -> None:
        """A session that prepared keeps what it prepared from all others, at MariaDB."""
        for branch in self._branches.values():
            branch.close()

    def _result(self) -> Outcome:
        outcome, reason, number = self._settled or (VERDICTS["in_doubt"], 0, 0)
        if outcome == VERDICTS["commit"]:
            return Outcome(self.txid, tuple(self._names[place] for place in sorted(self._pending)))
        if outcome == VERDICTS["abort"]:
            words = REASON_WORDS[REASONS["time"] if self._is_late() and reason == REASONS["asked"] else reason]
            who = f" ({self._names[number]})" if number in self._names else ""
            message = f"transaction {self.txid} was rolled back: {words}{who}"
            raise TransactionAborted(message, self.txid) from self._cause
        raise TransactionInDoubt(
            f"nobody knows yet what becomes of transaction {self.txid}: ask coordinator.outcome() later", self.txid
        ) from self._cause if isinstance(self._cause, Exception) else Unknown(str(self._cause))
