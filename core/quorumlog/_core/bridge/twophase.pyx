"""The coordinator and the decision table of two-phase commit, for `quorumlog.twophase`.

Steps are made with the GIL, which serialises them; nothing here blocks.  A transaction id is the tuple
(coordinator, incarnation, nonce, number), an effect (kind, txid, branch, participant, outcome, reason, cookie).
"""

from quorumlog._core.base.status cimport OK
from quorumlog._core.engine.decisions cimport (
    BRANCHES_MAX, DECISION_DOUBT, DECISION_COMMIT, DECISION_END, DECISION_FENCE,
    DECISION_INCARNATION, DECISION_KEPT_COORDINATOR, DECISION_KEPT_OUTCOME, DECISION_RESOLVE, DECISION_TEXT_MAX,
    NONCES_KEPT, VERDICT_ABORT, VERDICT_COMMIT, VERDICT_CONTRARY, VERDICT_FOREIGN, VERDICT_FORGOTTEN, VERDICT_FULL,
    VERDICT_IN_DOUBT, VERDICT_LIVE, VERDICT_MALFORMED, VERDICT_TAKEN, VERDICT_UNKNOWN, Decided, DecisionRecord,
    Decisions, KnownCoordinator, decision_decode, decision_encode, decisions_apply, decisions_close, decisions_find,
    decisions_open, decisions_outcome, decisions_presume,
)
from quorumlog._core.engine.transactions cimport (
    ASKED_ABORT, ASKED_BEGIN, ASKED_COMMIT, ASKED_ENLIST, DO_BEGIN, DO_COMMIT, DO_COMMIT_ONE_PHASE, DO_DECIDE, DO_END,
    DO_PREPARE, DO_REPORT, DO_ROLLBACK, DO_SETTLE, HEARD_ACK, HEARD_DECISION, HEARD_FAILURE, HEARD_INQUIRY, HEARD_TIME,
    HEARD_UNFINISHED, HEARD_VOTE, REASON_ASKED, REASON_FENCED, REASON_FULL, REASON_NONE, REASON_TIME, REASON_VOTE,
    VOTE_NO, VOTE_READ_ONLY, VOTE_UNKNOWN, VOTE_YES, CoordinatorOptions, CoordinatorStatus, Effect, Effects,
    TransactionEvent, TransactionProtocol,
)
from quorumlog._core.engine.txids cimport Txid
from quorumlog._core.protocols.twophase cimport twophase_protocol

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from quorumlog import errors

# Names of the numbers, for quorumlog.twophase and the tests.
EVENTS = {
    "begin": ASKED_BEGIN, "enlist": ASKED_ENLIST, "commit": ASKED_COMMIT, "abort": ASKED_ABORT, "vote": HEARD_VOTE,
    "decision": HEARD_DECISION, "ack": HEARD_ACK, "failure": HEARD_FAILURE, "inquiry": HEARD_INQUIRY,
    "unfinished": HEARD_UNFINISHED, "time": HEARD_TIME,
}
EFFECTS = {
    "begin": DO_BEGIN, "prepare": DO_PREPARE, "commit_one_phase": DO_COMMIT_ONE_PHASE, "commit": DO_COMMIT,
    "rollback": DO_ROLLBACK, "decide": DO_DECIDE, "end": DO_END, "settle": DO_SETTLE, "report": DO_REPORT,
}
VOTES = {"yes": VOTE_YES, "no": VOTE_NO, "read_only": VOTE_READ_ONLY, "unknown": VOTE_UNKNOWN}
REASONS = {
    "none": REASON_NONE, "asked": REASON_ASKED, "vote": REASON_VOTE, "time": REASON_TIME, "fenced": REASON_FENCED,
    "full": REASON_FULL,
}
VERDICTS = {
    "commit": VERDICT_COMMIT, "abort": VERDICT_ABORT, "live": VERDICT_LIVE, "in_doubt": VERDICT_IN_DOUBT,
    "foreign": VERDICT_FOREIGN, "full": VERDICT_FULL, "contrary": VERDICT_CONTRARY, "malformed": VERDICT_MALFORMED,
    "taken": VERDICT_TAKEN, "forgotten": VERDICT_FORGOTTEN, "unknown": VERDICT_UNKNOWN,
}
DECISIONS = {
    "incarnation": DECISION_INCARNATION, "commit": DECISION_COMMIT, "end": DECISION_END, "fence": DECISION_FENCE,
    "resolve": DECISION_RESOLVE, "doubt": DECISION_DOUBT, "kept_coordinator": DECISION_KEPT_COORDINATOR,
    "kept_outcome": DECISION_KEPT_OUTCOME,
}
BRANCHES_LIMIT = BRANCHES_MAX


cdef Txid txid_from(tuple txid) except *:
    cdef Txid result
    result.coordinator, result.incarnation, result.nonce, result.number = txid
    return result


cdef tuple txid_told(const Txid* txid):
    return txid.coordinator, txid.incarnation, txid.nonce, txid.number


def encode_decision(int kind, tuple txid, int outcome=0, uint64_t extra=0, branches=(), bytes text=b""):
    """The bytes of one record of a decision log."""
    cdef DecisionRecord record
    cdef uint8_t[4096 + 512] out
    cdef const uint8_t* data = text
    memset(&record, 0, sizeof(record))
    if len(branches) > BRANCHES_MAX or len(text) > DECISION_TEXT_MAX:
        raise errors.UsageError(f"{len(branches)} branches and {len(text)} bytes of names are too much for a decision")
    record.kind = kind
    record.outcome = outcome
    record.txid = txid_from(txid)
    record.extra = extra
    record.branch_count = len(branches)
    for place, branch in enumerate(branches):
        record.branches[place] = branch
    record.text = data
    record.text_bytes = len(text)
    size = decision_encode(&record, out)
    return (<const char*>out)[:size]


def decode_decision(const uint8_t[::1] data not None):
    """(kind, txid, outcome, extra, branches, text); ValueError when malformed."""
    cdef DecisionRecord record
    if data.shape[0] == 0 or not decision_decode(&data[0], data.shape[0], &record):
        raise ValueError("not a record of a decision log")
    return (record.kind, txid_told(&record.txid), record.outcome, record.extra,
            tuple(record.branches[i] for i in range(record.branch_count)),
            (<const char*>record.text)[:record.text_bytes])


cdef class DecisionTable:
    """What a decision log says: a function of its records (engine/decisions)."""
    cdef Decisions decisions

    def __cinit__(self, uint32_t unfinished_max, uint32_t remembered_max):
        status = decisions_open(&self.decisions, unfinished_max, remembered_max)
        if status != OK:
            raise MemoryError(f"no decision table of {unfinished_max} and {remembered_max}")

    def __dealloc__(self):
        decisions_close(&self.decisions)

    def apply(self, const uint8_t[::1] data not None):
        """(verdict, coordinator, incarnation): what the log says from this record on."""
        cdef DecisionRecord record
        if data.shape[0] == 0 or not decision_decode(&data[0], data.shape[0], &record):
            return VERDICT_MALFORMED, 0, 0
        said = decisions_apply(&self.decisions, &record)
        return said, record.txid.coordinator, record.txid.incarnation

    def presume(self, tuple txid not None):
        """What whoever holds it prepared is to do."""
        cdef Txid wanted = txid_from(txid)
        return decisions_presume(&self.decisions, &wanted)

    def outcome(self, tuple txid not None):
        """What became of it, for whoever began it."""
        cdef Txid wanted = txid_from(txid)
        return decisions_outcome(&self.decisions, &wanted)

    def is_resolved(self, tuple txid not None):
        cdef Txid wanted = txid_from(txid)
        cdef const Decided* entry = decisions_find(&self.decisions, &wanted)
        return entry != NULL and bool(entry.resolved)

    def decided(self):
        """[(txid, outcome, ended, resolved, branches)] of all that are unfinished or remembered."""
        cdef const Decided* entry
        found = []
        for place in range(self.decisions.capacity):
            entry = &self.decisions.decided[place]
            if entry.txid.number != 0:
                found.append((txid_told(&entry.txid), entry.outcome, bool(entry.ended), bool(entry.resolved),
                              tuple(entry.branches[i] for i in range(entry.branch_count))))
        return found

    def coordinators(self):
        """[(id, newest incarnation, fenced through, doubtful through, {incarnation: nonce})]."""
        cdef const KnownCoordinator* known
        found = []
        for place in range(self.decisions.coordinator_count):
            known = &self.decisions.coordinators[place]
            nonces = {}
            newest = <int64_t>known.incarnation
            for incarnation in range(max(1, newest - NONCES_KEPT + 1), newest + 1):
                nonce = known.nonces[incarnation % NONCES_KEPT]
                if nonce != 0:
                    nonces[incarnation] = nonce
            found.append((known.id, known.incarnation, known.fenced, known.doubtful, nonces))
        return found

    @property
    def unfinished(self):
        return self.decisions.unfinished

    @property
    def contradictions(self):
        """Resolutions that were refused because the opposite was decided."""
        return self.decisions.contrary


cdef class CoordinatorCore:
    """The coordinator's state machine; whoever drives it carries out what `step` returns."""
    cdef const TransactionProtocol* protocol
    cdef void* state
    cdef Effects effects
    cdef readonly DecisionTable decisions
    cdef readonly uint64_t deadline_ns         # when `time` is to be told; 0: never

    def __cinit__(self, DecisionTable decisions not None, tuple self_txid not None, *, uint32_t in_hand_max=8192,
                  uint64_t retry_ns=100000000, uint64_t retry_max_ns=10000000000, bint retransmit=False,
                  bint one_phase=True):
        cdef CoordinatorOptions options
        cdef Txid own = txid_from(self_txid)
        options.in_hand_max = in_hand_max
        options.retry_ns = retry_ns
        options.retry_max_ns = retry_max_ns
        options.retransmit = retransmit
        options.one_phase = one_phase
        self.protocol = twophase_protocol()
        self.decisions = decisions
        self.state = self.protocol.coordinator_open(&options, &own, &decisions.decisions)
        if self.state == NULL:
            raise MemoryError(f"no coordinator for {in_hand_max} transactions")

    def __dealloc__(self):
        if self.state != NULL:
            self.protocol.coordinator_close(self.state)

    def step(self, int kind, uint64_t now_ns, tuple txid=(0, 0, 0, 0), *, uint64_t participant=0,
             int vote=0, int verdict=0, uint64_t deadline_ns=0, uint64_t cookie=0, branches=()):
        """One event; the effects, in the order in which they are to be carried out."""
        cdef TransactionEvent event
        cdef uint64_t[16] ids
        cdef const Effect* effect
        memset(&event, 0, sizeof(event))
        if len(branches) > BRANCHES_MAX:
            raise errors.UsageError(f"{len(branches)} branches; the most is {BRANCHES_MAX}")
        event.kind = kind
        event.now_ns = now_ns
        event.txid = txid_from(txid)
        event.participant = participant
        event.vote = vote
        event.verdict = verdict
        event.deadline_ns = deadline_ns
        event.cookie = cookie
        event.branch_count = len(branches)
        for place, one in enumerate(branches):
            ids[place] = one
        event.branches = ids
        self.effects.count = 0
        self.protocol.coordinator_step(self.state, &event, &self.effects)
        self.deadline_ns = self.effects.deadline_ns
        told = []
        for place in range(self.effects.count):
            effect = &self.effects.items[place]
            told.append((effect.kind, txid_told(&effect.txid), effect.branch, effect.participant, effect.outcome,
                         effect.reason, effect.cookie))
        return told

    def renew(self, tuple self_txid not None):
        """Another incarnation for what begins from now on."""
        cdef Txid own = txid_from(self_txid)
        self.protocol.coordinator_renew(self.state, &own)

    def status(self):
        """Counts, as {name: number}."""
        cdef CoordinatorStatus status
        memset(&status, 0, sizeof(status))
        self.protocol.coordinator_status(self.state, &status)
        return {
            "in_hand": status.in_hand, "preparing": status.preparing, "deciding": status.deciding,
            "committing": status.committing, "aborting": status.aborting, "begun": status.begun,
            "committed": status.committed, "aborted": status.aborted, "late_votes": status.late_votes,
            "retries": status.retries,
        }
