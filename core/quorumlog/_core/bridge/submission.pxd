"""Futures of proposals: light objects that look at a shared receipt."""

from quorumlog._core.bridge.loops cimport Awaited
from quorumlog._core.engine.receipt cimport Receipt

from libc.stdint cimport uint32_t, uint64_t


cdef class Applied:
    cdef readonly uint64_t index
    cdef readonly uint64_t term
    cdef readonly uint32_t count
    cdef readonly object result


cdef class AwaitedReceipt(Awaited):
    cdef ReceiptHolder holder
    cdef AwaitedReceipt other          # of another event loop


cdef class ReceiptHolder:
    cdef Receipt* receipt
    cdef AwaitedReceipt awaited        # by event loops, while it is pending
    cdef uint32_t forks                # as many as there had been when it was made


cdef class Submission:
    cdef ReceiptHolder holder
    cdef uint32_t position
    cdef bint whole


cdef ReceiptHolder hold_receipt(Receipt* receipt)          # takes the reference over
cdef object not_settled(Receipt* receipt, object timeout)  # the exception for a wait that ran out
cdef Submission submission_of(ReceiptHolder holder, uint32_t position, bint whole)
# True once settled; False when timeout_ns (< 0: never) ran out.  Ctrl-C raises.
cdef bint wait_settled(ReceiptHolder holder, long long timeout_ns) except -1
# With the GIL: the result that future looks will find, then the settling itself.
cdef void attach_result(Receipt* receipt, object result)
# What the running loop waits for in place of the receipt; None if it is settled.
cdef AwaitedReceipt awaited_here(ReceiptHolder holder)
cdef object outcome_of(Submission submission)              # of a settled one: Applied, or raises
cdef long long timeout_to_ns(object timeout) except -2
