"""The decision log of two-phase commit: what its records mean, applied one after another.

The table is a function of the records alone, so that all replicas of a replicated decision
log hold the same one, and it is where two rules stand:

    a transaction has one decision: the first that is written; a contrary one is refused
    an absent decision means abort only once no commit can come any more: when the
    transaction's incarnation is fenced, in a log that is whole (presumed abort; Mohan,
    Lindsay, Obermarck 1986)

docs/format.md has the bytes of a record.  Whoever writes one learns from `decisions_apply`
what the log says, which may be another thing than it asked for.
"""

from quorumlog._core.base.types cimport NODES_MAX
from quorumlog._core.engine.txids cimport Txid, TxidIndex

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    BRANCHES_MAX = NODES_MAX          # of one transaction: the quorum engine's slots
    COORDINATORS_MAX = 256            # that a decision log has ever known
    NONCES_KEPT = 64                  # of the newest incarnations of each
    DECISION_HEADER_BYTES = 40
    DECISION_TEXT_MAX = 4096
    DECISION_BYTES_MAX = 40 + 8 * NODES_MAX + 4096

cdef enum DecisionKind:
    DECISION_INCARNATION = 1          # text: the coordinator's name.  A new life of it; fences the earlier ones
    DECISION_COMMIT = 2               # branches; text: their names
    DECISION_END = 3                  # every branch has committed
    DECISION_FENCE = 4                # no commit of this incarnation or an earlier one is taken any more
    DECISION_RESOLVE = 5              # an operator's decision about one in doubt; text: the reason
    DECISION_DOUBT = 6                # decisions of this incarnation and earlier ones may be lost: nothing is presumed
    DECISION_KEPT_COORDINATOR = 7     # said again so that the log's head can go; extra: fenced, doubtful << 32
    DECISION_KEPT_OUTCOME = 8         # outcome; extra: 1 if it had ended

cdef enum Verdict:
    VERDICT_COMMIT = 1
    VERDICT_ABORT = 2
    VERDICT_LIVE = 3                  # undecided, and its coordinator may still decide
    VERDICT_IN_DOUBT = 4              # undecided, and the log can't say why
    VERDICT_FOREIGN = 5               # of no coordinator that this log knows
    VERDICT_FULL = 6                  # refused: too many are unfinished
    VERDICT_CONTRARY = 7              # refused: the opposite was decided
    VERDICT_MALFORMED = 8
    VERDICT_TAKEN = 9                 # a record that decides no transaction took effect
    VERDICT_FORGOTTEN = 10            # too long ago (decisions_outcome only)
    VERDICT_UNKNOWN = 11              # the log could not say: asked again later

cdef struct DecisionRecord:
    uint8_t kind
    uint8_t outcome                   # VERDICT_COMMIT or VERDICT_ABORT, where it decides
    uint8_t branch_count
    uint32_t text_bytes
    Txid txid
    uint64_t extra
    uint64_t branches[BRANCHES_MAX]
    const uint8_t* text

cdef struct Decided:
    Txid txid
    uint8_t outcome
    uint8_t branch_count
    bint ended
    bint resolved                     # by an operator
    uint64_t branches[BRANCHES_MAX]
    uint32_t next                     # free list; or of those that ended, in the order of ending

cdef struct KnownCoordinator:
    uint64_t id
    uint64_t name_hash
    uint32_t incarnation              # the newest
    uint32_t fenced                   # this one and all before it
    uint32_t doubtful                 # this one and all before it: nothing is presumed of them
    uint32_t nonces[NONCES_KEPT]      # by incarnation % NONCES_KEPT; 0: not known
    # Of those no longer remembered, the newest: an outcome at or before it can't be told.
    uint32_t forgotten_incarnation
    uint64_t forgotten_number

cdef struct Decisions:
    TxidIndex index
    Decided* decided
    uint32_t capacity                 # of unfinished and remembered ones together
    uint32_t remembered_max
    uint32_t free_first
    uint32_t ended_first              # oldest of those that ended
    uint32_t ended_last
    uint32_t ended_count
    uint32_t unfinished
    KnownCoordinator coordinators[COORDINATORS_MAX]
    uint32_t coordinator_count
    uint64_t contrary                 # refused contradictions, for an alarm


cdef int decisions_open(Decisions* decisions, uint32_t unfinished_max, uint32_t remembered_max) noexcept nogil
cdef void decisions_close(Decisions* decisions) noexcept nogil
# Applies one record: what the log says from now on.  A INCARNATION sets record.txid.coordinator and
# .incarnation to what it became.
cdef int decisions_apply(Decisions* decisions, DecisionRecord* record) noexcept nogil
# What whoever holds the transaction prepared is to do: COMMIT, ABORT, LIVE, IN_DOUBT or FOREIGN.  COMMIT
# and ABORT are sound from any prefix of the log; IN_DOUBT and FOREIGN may only mean that a replica is behind.
cdef int decisions_presume(const Decisions* decisions, const Txid* txid) noexcept nogil
# What became of it, for whoever began it: also FORGOTTEN, where `presume` would say ABORT of a commit that
# ended long ago.
cdef int decisions_outcome(const Decisions* decisions, const Txid* txid) noexcept nogil
cdef const Decided* decisions_find(const Decisions* decisions, const Txid* txid) noexcept nogil    # NULL: none
cdef KnownCoordinator* decisions_coordinator(Decisions* decisions, uint64_t id) noexcept nogil

cdef uint64_t name_hash(const uint8_t* name, uint32_t size) noexcept nogil
# The bytes of a record; DECISION_BYTES_MAX are enough.
cdef uint32_t decision_encode(const DecisionRecord* record, uint8_t* out) noexcept nogil
# False: malformed.  `text` points into `data`.
cdef bint decision_decode(const uint8_t* data, uint32_t size, DecisionRecord* out) noexcept nogil
