"""The participant's side; see twophase.pxd.

The resource (locks and data) is the host's; this knows in which state each branch is, what must be durable
before what is said, and what a late or doubled message means.  A branch's entry outlives it as a tombstone
until the coordinator says that everything before a certain number is finished: only then can no message
about it be on its way that matters.
"""

from quorumlog._core.base.types cimport node_t, wsn_t
from quorumlog._core.engine.transactions cimport (
    Effects, ParticipantOptions, ParticipantStatus, TransactionEvent)
from quorumlog._core.engine.txids cimport Txid, TxidIndex

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    HEARD_COORDINATORS_MAX = 64

cdef struct Branch:
    Txid txid
    uint8_t state              # BranchState
    node_t coordinator         # where it is asked
    wsn_t wsn                  # of the newest record about it
    uint64_t inquire_at_ns     # of a prepared one
    uint32_t next              # free list

cdef struct HeardCoordinator:
    uint64_t id
    uint32_t incarnation       # the newest heard of: earlier ones prepare nothing any more
    uint32_t low_incarnation   # everything before this is finished
    uint64_t low_number

cdef struct Participant:
    ParticipantOptions options
    Branch* table
    uint32_t free_first
    TxidIndex index
    HeardCoordinator heard[HEARD_COORDINATORS_MAX]
    uint32_t heard_count
    uint64_t now_ns
    uint64_t inquire_first_ns  # no prepared branch asks before this
    ParticipantStatus counters


cdef void* participant_open(const ParticipantOptions* options) noexcept nogil
cdef void participant_step(void* state, const TransactionEvent* event, Effects* out) noexcept nogil
cdef int participant_state_of(const void* state, const Txid* txid) noexcept nogil
cdef void participant_status(const void* state, ParticipantStatus* out) noexcept nogil
cdef void participant_close(void* state) noexcept nogil
