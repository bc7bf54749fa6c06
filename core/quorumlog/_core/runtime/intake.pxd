"""Where proposals enter a group: filled by any thread, emptied by the reactor.

Single commands gather in an open buffer, which the reactor takes when it can send
or write (DESIGN 4.6: no linger timer); whole batches queue behind it in the order of
their calls.  Outstanding bytes, from the call to the settling, are bounded.
"""

from quorumlog._core.base.atomics cimport atomic_ptr, atomic_u32, atomic_u64
from quorumlog._core.base.bell cimport Notice
from quorumlog._core.engine.receipt cimport Receipt
from quorumlog._core.storage.batch cimport Batch, BatchPool

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    OPEN_ENTRIES_MAX = 4096
    OPEN_BYTES_MAX = 256 << 10
    SPARE_BUFFERS_MAX = 4
    ENTRY_OVERHEAD_BYTES = 16      # what an entry counts for besides its payload

cdef struct OpenBuffer:
    OpenBuffer* next
    uint32_t count
    uint32_t used
    uint32_t offsets[OPEN_ENTRIES_MAX + 1]
    uint8_t payload[OPEN_BYTES_MAX]

cdef struct Intake:
    atomic_u32 lock
    atomic_u32 waiting             # 1: the queue is not empty
    Receipt* open                  # of the buffer being filled, or NULL
    Receipt* head                  # oldest to take
    Receipt* tail
    OpenBuffer* spares
    uint32_t spare_count
    atomic_u64 outstanding_bytes
    uint64_t limit_bytes
    atomic_u32 space               # futex word: moves when bytes are given back
    atomic_u32 space_waiters
    atomic_ptr space_notices       # of event loops that wait for it to move
    int closed                     # OK, or the status that refuses further submits


cdef int intake_open(Intake* intake, uint64_t limit_bytes) noexcept nogil
# Everything must have been taken and settled.
cdef void intake_close(Intake* intake) noexcept nogil

# One command.  *receipt comes with a reference unless it is `known` already.  OK, ERR_TOO_LARGE,
# ERR_OVERLOADED (nothing was taken), ERR_MEMORY, or why it is closed.
cdef int intake_submit(Intake* intake, const void* data, uint64_t size_bytes, Receipt* known,
                       Receipt** receipt, uint32_t* position) noexcept nogil
# A whole batch (sealed, unstamped); its reference is taken over when OK.
cdef int intake_submit_batch(Intake* intake, Batch* batch, Receipt** receipt) noexcept nogil
# Waits until bytes were given back since `seen` (from intake_space), at most timeout_ns: as futex_wait.
cdef uint32_t intake_space(Intake* intake) noexcept nogil
cdef int intake_wait_space(Intake* intake, uint32_t seen, int64_t timeout_ns) noexcept nogil
# The same for an event loop: leaves a notice that rings once `space` is no longer `seen`.
cdef void intake_notice_space(Intake* intake, uint32_t seen, Notice* notice) noexcept nogil

# Takes a receipt out again that the reactor has not taken and fails it as definite, with `status`:
# True if it was still there.  Only for batches and for an open buffer with a single entry.
cdef bint intake_withdraw(Intake* intake, Receipt* receipt, int status) noexcept nogil

# Reactor: the whole queue, oldest first, linked by `next`; NULL when empty.
cdef Receipt* intake_take(Intake* intake) noexcept nogil
# Reactor: the batch of a taken receipt, sealed from its buffer if need be (crc computed here);
# NULL when the pool is at its limit: try again later.
cdef Batch* intake_seal(Intake* intake, Receipt* receipt, BatchPool* pool) noexcept nogil
# Fails a taken receipt that was never sealed, and lets go of what it held.
cdef void intake_discard(Intake* intake, Receipt* receipt, int status) noexcept nogil
# Whoever settles: gives the bytes back.
cdef void intake_release(Intake* intake, uint64_t size_bytes) noexcept nogil
# No more submits; the status tells them why.
cdef void intake_refuse(Intake* intake, int status) noexcept nogil
# Anything to take?  A racy look for the reactor before it sleeps.
cdef bint intake_waiting(Intake* intake) noexcept nogil
