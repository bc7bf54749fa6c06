"""The coordinator's side; see twophase.pxd.  A transaction's life:

    ACTIVE -> PREPARING -> DECIDING -> COMMITTING -> ended
       |          |            |
       |          +------------+----> ABORTING -> forgotten (nothing was written)
       +-> ONE_PHASE (a single branch decides by itself)
"""

from quorumlog._core.engine.decisions cimport BRANCHES_MAX, Decisions
from quorumlog._core.engine.transactions cimport (
    CoordinatorOptions, CoordinatorStatus, Effects, TransactionEvent)
from quorumlog._core.engine.txids cimport Txid, TxidIndex

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum TransactionState:
    STATE_FREE = 0
    STATE_ACTIVE = 1
    STATE_PREPARING = 2
    STATE_ONE_PHASE = 3
    STATE_DECIDING = 4
    STATE_COMMITTING = 5
    STATE_ABORTING = 6

cdef struct Transaction:
    Txid txid
    uint8_t state
    uint8_t branch_count
    bint settled                   # the caller knows
    # Bit sets of branches
    uint32_t yes
    uint32_t read_only
    uint32_t no
    uint32_t unknown
    uint32_t asked                 # told to prepare
    uint32_t owed                  # must still do as they are told
    uint32_t in_hand               # an effect is out, and no answer yet
    bint deciding_in_hand
    uint64_t branches[BRANCHES_MAX]
    uint64_t deadline_ns           # the caller's; NEVER_NS: none
    uint64_t retry_at_ns
    uint64_t pause_ns              # of the next retry
    uint64_t due_ns                # its place in the heap: the earliest of what it waits for
    uint32_t heap_place            # NOT_TIMED: in none
    uint32_t next_free
    uint64_t cookie

cdef struct Coordinator:
    CoordinatorOptions options
    const Decisions* decisions
    Txid self                      # number: of the next transaction
    Transaction* table
    uint32_t free_first
    TxidIndex index
    uint32_t* heap                 # by due_ns
    uint32_t heap_count
    uint64_t now_ns
    # Below `low` every number of this incarnation is finished; bit n % window of `open`: n is not.
    uint64_t low
    uint64_t window
    uint64_t* open_bits
    uint32_t older                 # in hand, of earlier incarnations
    CoordinatorStatus counters

cdef enum:
    NOT_TIMED = 0xFFFFFFFF


cdef void* coordinator_open(const CoordinatorOptions* options, const Txid* self,
                            const Decisions* decisions) noexcept nogil
cdef void coordinator_step(void* state, const TransactionEvent* event, Effects* out) noexcept nogil
cdef void coordinator_renew(void* state, const Txid* self) noexcept nogil
cdef void coordinator_status(const void* state, CoordinatorStatus* out) noexcept nogil
cdef void coordinator_close(void* state) noexcept nogil
