"""A receipt: how a caller learns what became of a batch.  Header only.

One per batch, however many futures look at it; settling it is one store (and a
futex wake only if somebody sleeps on it, a bell only if an event loop waits).  It is shared by the caller's objects
and whoever will settle it; the last of them frees it.  `result` is a Python
object and is only ever set and released with the GIL held (bridge/applier).
"""

from quorumlog._core.base.atomics cimport (
    add_u32, atomic_ptr, atomic_u32, atomic_u64, fence, futex_wake, load_u32, load_u64, store_u32, store_u64, sub_u32)
from quorumlog._core.base.bell cimport notices_ring
from quorumlog._core.base.checks cimport check
from quorumlog._core.base.types cimport index_t, term_t

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

cdef enum ReceiptState:
    RECEIPT_PENDING = 0
    RECEIPT_APPLIED = 1        # committed and applied here, at `index`
    RECEIPT_FAILED = 2         # `status` says why, `definite` whether it surely did not happen

cdef struct Receipt:
    atomic_u32 references
    atomic_u32 state           # the futex word
    atomic_u32 waiters
    atomic_ptr notices         # of event loops, until it is settled
    uint32_t count             # entries of the batch
    uint64_t bytes             # what the intake counts for it
    index_t index              # of the first entry
    term_t term
    uint64_t session           # read it after `sequence`
    atomic_u64 sequence        # 0 until the node has taken it; stored once, after `session`
    uint64_t leader            # with ERR_NOT_LEADER: who leads, or 0
    int status
    uint8_t definite
    void* result
    # While it waits in an intake: what it is about, one of the two, and the next one.
    void* batch                # Batch*, made by the caller
    void* buffer               # OpenBuffer*, still to be sealed
    Receipt* next


cdef inline Receipt* receipt_new() noexcept nogil:
    """With one reference, or NULL."""
    cdef Receipt* receipt = <Receipt*>calloc(1, sizeof(Receipt))
    if receipt != NULL:
        store_u32(&receipt.references, 1)
    return receipt


cdef inline Receipt* receipt_keep(Receipt* receipt) noexcept nogil:
    add_u32(&receipt.references, 1)
    return receipt


cdef inline bint receipt_drop(Receipt* receipt) noexcept nogil:
    """True if it was the last reference; the memory is gone then (release `result` before)."""
    if sub_u32(&receipt.references, 1) != 1:
        return False
    check(receipt.result == NULL, b"Q-RCPT-01 a receipt's result is released before the receipt")
    free(receipt)
    return True


cdef inline void receipt_number(Receipt* receipt, uint64_t session, uint64_t sequence) noexcept nogil:
    """Callers may look at any time: they see both numbers or none."""
    receipt.session = session
    store_u64(&receipt.sequence, sequence)


cdef inline bint receipt_numbered(Receipt* receipt, uint64_t* session, uint64_t* sequence) noexcept nogil:
    """False, and zeros, as long as the node has not taken it."""
    sequence[0] = load_u64(&receipt.sequence)
    session[0] = receipt.session if sequence[0] else 0
    return sequence[0] != 0


cdef inline void receipt_publish(Receipt* receipt, uint32_t state) noexcept nogil:
    check(load_u32(&receipt.state) == RECEIPT_PENDING, b"Q-RCPT-02 a receipt is settled once")
    store_u32(&receipt.state, state)
    fence()
    if load_u32(&receipt.waiters):
        futex_wake(&receipt.state, 1 << 30)
    notices_ring(&receipt.notices, True)


cdef inline void receipt_apply(Receipt* receipt, index_t index, term_t term) noexcept nogil:
    receipt.index = index
    receipt.term = term
    receipt_publish(receipt, RECEIPT_APPLIED)


cdef inline void receipt_fail(Receipt* receipt, int status, bint definite) noexcept nogil:
    receipt.status = status
    receipt.definite = definite
    receipt_publish(receipt, RECEIPT_FAILED)
