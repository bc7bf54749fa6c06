"""What a protocol for distributed transactions is told and what it wants done, as data.

Two pure state machines, `step(state, event, effects)`: no I/O, no clock, no allocation after they were
opened.  Whoever hosts one carries its effects out: over SQL connections (python/quorumlog/twophase), or
over messages and the write-ahead log (the simulation).  The deciding is the same (docs/adr/0022).
"""

from quorumlog._core.base.types cimport node_t, wsn_t
from quorumlog._core.engine.decisions cimport Decisions
from quorumlog._core.engine.txids cimport Txid

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    EFFECTS_MAX = 64                   # of one step
    BRANCH_NONE = 0xFFFF               # an effect for a participant of a transaction that is not in hand
    NEVER_NS = 0                       # of a deadline

cdef enum Vote:
    VOTE_YES = 1                       # prepared, durably: it will commit or roll back as it is told
    VOTE_NO = 2                        # rolled back already
    VOTE_READ_ONLY = 3                 # nothing to commit: out of it
    VOTE_UNKNOWN = 4                   # the call failed: it may be prepared, or become so

cdef enum Reason:                      # why a transaction was aborted
    REASON_NONE = 0
    REASON_ASKED = 1
    REASON_VOTE = 2                    # `participant` said no, or nothing that could be understood
    REASON_TIME = 3
    REASON_FENCED = 4                  # a newer incarnation of this coordinator, or an operator
    REASON_FULL = 5                    # of the decision log's table

# --- the coordinator ---------------------------------------------------------------------------

cdef enum CoordinatorEvent:
    ASKED_BEGIN = 1                    # deadline_ns, cookie
    ASKED_ENLIST = 2                   # txid, participant: its branch is the next number; once each
    ASKED_COMMIT = 3
    ASKED_ABORT = 4
    HEARD_VOTE = 5                     # participant, vote
    HEARD_DECISION = 6                 # verdict of the decision log
    HEARD_ACK = 7                      # participant: it has done as it was told
    HEARD_FAILURE = 8                  # participant: it could not be told; again later
    HEARD_INQUIRY = 9                  # participant holds txid prepared
    HEARD_UNFINISHED = 10              # the decision log has its commit and not its end
    HEARD_TIME = 11                    # now_ns reached the deadline

cdef enum EffectKind:
    # Of a coordinator
    DO_BEGIN = 1                       # txid is begun (or, number 0: too many are in hand)
    DO_PREPARE = 2                     # branch, participant; low_*
    DO_COMMIT_ONE_PHASE = 3            # the only branch: answer ACK, VOTE_NO or VOTE_UNKNOWN
    DO_COMMIT = 4
    DO_ROLLBACK = 5
    DO_DECIDE = 6                      # write the commit through the decision log; answer HEARD_DECISION
    DO_END = 7                         # write the end; no answer
    DO_SETTLE = 8                      # tell the caller: outcome, reason, participant
    DO_REPORT = 9                      # participant holds txid, and it is in doubt, foreign or live: verdict
    # Of a participant
    DO_RESOURCE_PREPARE = 20           # take locks, check: answer RESOURCE_VOTED
    DO_RESOURCE_COMMIT = 21            # make visible, let go of locks
    DO_RESOURCE_ROLLBACK = 22
    DO_WRITE = 23                      # a record: state, txid, payload
    DO_SEND = 24                       # message
    DO_ALARM = 25                      # told the opposite of what was done

cdef struct Effect:
    int kind
    Txid txid
    uint32_t branch
    uint64_t participant
    int outcome                        # VERDICT_COMMIT, VERDICT_ABORT, VERDICT_IN_DOUBT; Vote; BranchState
    int reason
    uint64_t cookie
    # Everything of this coordinator that began before this is finished
    uint32_t low_incarnation
    uint64_t low_number
    int message                        # of DO_SEND
    node_t target
    wsn_t after_io                     # may leave once this is flushed; 0: at once
    const uint8_t* payload
    uint32_t payload_bytes

cdef struct Effects:
    uint32_t count
    uint64_t deadline_ns               # when to send HEARD_TIME next; NEVER_NS: never
    Effect items[EFFECTS_MAX]

cdef struct TransactionEvent:
    int kind
    uint64_t now_ns                    # monotonic; rises from event to event
    Txid txid
    uint64_t participant               # branches are numbered anew after a crash: never told by number
    int vote
    int verdict
    uint64_t deadline_ns               # NEVER_NS: none
    uint64_t cookie
    uint32_t branch_count              # HEARD_UNFINISHED
    const uint64_t* branches
    # Of participants
    node_t sender
    uint32_t low_incarnation
    uint64_t low_number
    wsn_t wsn_next                     # what the first write of this step will get
    int state                          # RESTORED
    const uint8_t* payload
    uint32_t payload_bytes

cdef struct CoordinatorOptions:
    uint32_t in_hand_max               # transactions
    uint64_t retry_ns                  # first pause before a branch is told again; doubles
    uint64_t retry_max_ns
    bint retransmit                    # effects may be lost without a word: repeated until answered
    bint one_phase                     # a single branch needs no preparing

cdef struct CoordinatorStatus:
    uint32_t in_hand
    uint32_t preparing
    uint32_t deciding
    uint32_t committing
    uint32_t aborting
    uint64_t begun
    uint64_t committed
    uint64_t aborted
    uint64_t late_votes                # yes, after the decision to abort
    uint64_t retries

# --- the participant ---------------------------------------------------------------------------

cdef enum ParticipantEvent:
    TOLD_PREPARE = 1                   # sender, txid, low_*, payload
    TOLD_COMMIT = 2
    TOLD_ROLLBACK = 3
    TOLD_COMMIT_ONE_PHASE = 4          # as PREPARE
    RESOURCE_VOTED = 5                 # txid, vote, payload (what must be known to commit after a crash)
    RESTORED = 6                       # txid, state, sender: a record of the own log, in order
    PARTICIPANT_TIME = 7

cdef enum BranchState:
    BRANCH_FREE = 0
    BRANCH_ASKED = 1                   # the resource is preparing
    BRANCH_ASKED_ONE_PHASE = 2
    BRANCH_PREPARED = 3
    BRANCH_COMMITTED = 4               # a tombstone: remembered until every message about it is late
    BRANCH_ROLLED_BACK = 5             # likewise
    BRANCH_READ_ONLY = 6               # likewise

cdef enum TransactionMessage:          # from participants
    TELL_VOTE = 1                      # outcome: Vote
    TELL_ACK = 2
    TELL_INQUIRY = 3

cdef struct ParticipantOptions:
    uint32_t branches_max              # prepared ones and tombstones
    uint64_t inquire_ns                # a prepared branch asks so often what became of it

cdef struct ParticipantStatus:
    uint32_t asked
    uint32_t prepared
    uint32_t tombstones
    uint64_t refused_late              # PREPAREs that came after the end
    uint64_t inquiries
    uint64_t alarms

# --- tables ------------------------------------------------------------------------------------

cdef struct TransactionProtocol:
    # NULL: no memory, or options that can't be.  `self` is the incarnation; its number is ignored.
    void* (*coordinator_open)(const CoordinatorOptions* options, const Txid* self,
                              const Decisions* decisions) noexcept nogil
    void (*coordinator_step)(void* state, const TransactionEvent* event, Effects* out) noexcept nogil
    # Another incarnation for what begins from now on: the old one was fenced.
    void (*coordinator_renew)(void* state, const Txid* self) noexcept nogil
    void (*coordinator_status)(const void* state, CoordinatorStatus* out) noexcept nogil
    void (*coordinator_close)(void* state) noexcept nogil
    void* (*participant_open)(const ParticipantOptions* options) noexcept nogil
    void (*participant_step)(void* state, const TransactionEvent* event, Effects* out) noexcept nogil
    int (*participant_state_of)(const void* state, const Txid* txid) noexcept nogil       # BranchState
    void (*participant_status)(const void* state, ParticipantStatus* out) noexcept nogil
    void (*participant_close)(void* state) noexcept nogil


cdef inline Effect* effect_add(Effects* out, int kind, const Txid* txid) noexcept nogil:
    """Room by construction: see effects_have_room; zeroed but for what is given."""
    cdef Effect* effect = &out.items[out.count]
    out.count += 1
    effect.kind = kind
    effect.txid = txid[0]
    effect.branch = BRANCH_NONE
    effect.participant = effect.cookie = effect.low_number = effect.target = effect.after_io = 0
    effect.outcome = effect.reason = effect.message = 0
    effect.low_incarnation = effect.payload_bytes = 0
    effect.payload = NULL
    return effect


cdef inline bint effects_have_room(const Effects* out, uint32_t count) noexcept nogil:
    return out.count + count <= EFFECTS_MAX
