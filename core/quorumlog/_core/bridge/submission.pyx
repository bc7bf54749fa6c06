"""See submission.pxd."""

cimport cython

from quorumlog._core.base.atomics cimport add_u32, fence, futex_wait, load_u32, sub_u32
from quorumlog._core.base.bell cimport notice_leave
from quorumlog._core.base.clock cimport monotonic_ns
from quorumlog._core.bridge.errors cimport error_of
from quorumlog._core.bridge.loops cimport Awaited, LoopBell, bell_here
from quorumlog._core.engine.receipt cimport (
    RECEIPT_APPLIED, RECEIPT_FAILED, RECEIPT_PENDING, receipt_drop, receipt_numbered)

from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.stdint cimport uint64_t

import os

from quorumlog import errors

cdef enum:
    SIGNAL_SLICE_NS = 50000000     # how long a wait goes on before it looks for signals (Ctrl-C)

cdef uint32_t forks = 0            # that this process is a child of


def _after_fork() -> None:
    global forks
    forks += 1


os.register_at_fork(after_in_child=_after_fork)


@cython.final
cdef class Applied:
    """What became of a proposal: committed, and applied by this node's state machine.

    Attributes:
        index: index of the entry (of the first one, for a batch).
        term: term in which it was appended.
        count: number of entries, 1 for a single command.
        result: what the state machine returned for it (for a batch: for all of it), or None.
    """

    def __repr__(self):
        return f"Applied(index={self.index}, term={self.term}, count={self.count}, result={self.result!r})"

    def __eq__(self, other):
        if not isinstance(other, Applied):
            return NotImplemented
        cdef Applied that = <Applied>other
        return (self.index, self.term, self.count, self.result) == (
            that.index, that.term, that.count, that.result)

    def __hash__(self):
        return hash((self.index, self.term, self.count))


# No garbage collection: it can be part of no cycle but through `result`, and with it
# a kept future costs four times as much (cython-facts.md Q1).
@cython.final
@cython.no_gc
cdef class ReceiptHolder:
    def __cinit__(self):
        self.receipt = NULL

    def __dealloc__(self):
        cdef PyObject* result
        if self.receipt == NULL:
            return
        if load_u32(&self.receipt.references) == 1:
            result = <PyObject*>self.receipt.result
            self.receipt.result = NULL
            receipt_drop(self.receipt)
            Py_XDECREF(result)
        else:
            receipt_drop(self.receipt)


cdef ReceiptHolder hold_receipt(Receipt* receipt):
    cdef ReceiptHolder holder = ReceiptHolder.__new__(ReceiptHolder)
    holder.receipt = receipt
    holder.forks = forks
    return holder


cdef int check_not_forked(ReceiptHolder holder) except -1:
    """Nobody in the child of a fork will settle what the parent was waiting for."""
    if holder.forks != forks:
        raise errors.UsageError("this process was forked after the call that submitted it; wait in the parent")
    return 0


@cython.final
cdef class AwaitedReceipt(Awaited):
    """A pending receipt as one event loop waits for it."""

    cdef int happened(self) except -1:
        cdef AwaitedReceipt before = self.holder.awaited
        if before is self:
            self.holder.awaited = self.other
        else:
            while before.other is not self:
                before = before.other
            before.other = self.other
        self.other = None
        self.holder = None
        return 0


cdef AwaitedReceipt awaited_here(ReceiptHolder holder):
    cdef LoopBell bell = bell_here()
    cdef AwaitedReceipt found = holder.awaited
    while found is not None:
        if found.bell is bell:
            return found
        found = found.other
    check_not_forked(holder)
    found = AwaitedReceipt.__new__(AwaitedReceipt)
    found.bell = bell
    found.holder = holder
    if not notice_leave(&holder.receipt.notices, found.leaving()):
        found.not_left()
        return None
    found.other = holder.awaited
    holder.awaited = found
    return found


cdef Submission submission_of(ReceiptHolder holder, uint32_t position, bint whole):
    cdef Submission made = Submission.__new__(Submission)
    made.holder = holder
    made.position = position
    made.whole = whole
    return made


cdef void attach_result(Receipt* receipt, object result):
    # Only the settler is left when the caller has dropped its future: nobody will look.
    if result is None or load_u32(&receipt.references) == 1:
        return
    Py_INCREF(result)
    receipt.result = <void*>result


cdef long long timeout_to_ns(object timeout) except -2:
    """Seconds as a number, or None for ever (-1)."""
    if timeout is None:
        return -1
    cdef double seconds = timeout
    if not seconds >= 0:
        raise errors.UsageError(f"timeout must be None or at least 0 seconds, not {timeout!r}")
    if seconds > 1e9:
        return -1
    return <long long>(seconds * 1e9)


cdef bint wait_settled(ReceiptHolder holder, long long timeout_ns) except -1:
    cdef Receipt* receipt = holder.receipt
    cdef uint64_t deadline_ns = 0
    cdef uint64_t now_ns
    cdef long long slice_ns
    if load_u32(&receipt.state) != RECEIPT_PENDING:
        return True
    check_not_forked(holder)
    if timeout_ns >= 0:
        deadline_ns = monotonic_ns() + <uint64_t>timeout_ns
    while True:
        slice_ns = SIGNAL_SLICE_NS
        if timeout_ns >= 0:
            now_ns = monotonic_ns()
            if now_ns >= deadline_ns:
                return load_u32(&receipt.state) != RECEIPT_PENDING
            if deadline_ns - now_ns < <uint64_t>slice_ns:
                slice_ns = <long long>(deadline_ns - now_ns)
        with nogil:
            add_u32(&receipt.waiters, 1)
            fence()
            if load_u32(&receipt.state) == RECEIPT_PENDING:
                futex_wait(&receipt.state, RECEIPT_PENDING, slice_ns)
            sub_u32(&receipt.waiters, 1)
        if load_u32(&receipt.state) != RECEIPT_PENDING:
            return True
        PyErr_CheckSignals()


cdef object outcome(Receipt* receipt, uint32_t position, bint whole):
    cdef Applied applied = Applied.__new__(Applied)
    cdef object result = None
    applied.index = receipt.index + position
    applied.term = receipt.term
    applied.count = receipt.count if whole else 1
    if receipt.result != NULL:
        result = <object>receipt.result
        if not whole:
            result = result[position]
    applied.result = result
    return applied


cdef object outcome_of(Submission submission):
    cdef Receipt* receipt = submission.holder.receipt
    if load_u32(&receipt.state) == RECEIPT_FAILED:
        raise failure(receipt)
    return outcome(receipt, submission.position, submission.whole)


cdef object proposal_id(Receipt* receipt):
    cdef uint64_t session = 0
    cdef uint64_t sequence = 0
    receipt_numbered(receipt, &session, &sequence)
    return session, sequence


cdef object failure(Receipt* receipt):
    error = error_of(receipt.status, "propose", receipt.definite, receipt.leader, 0)
    error.proposal_id = proposal_id(receipt)
    return error


cdef object not_settled(Receipt* receipt, object timeout):
    error = errors.ProposalTimeout(
        f"not settled within {timeout} s; it may still be applied: ask again by result(), or read")
    error.proposal_id = proposal_id(receipt)
    return error


@cython.final
@cython.no_gc
cdef class Submission:
    """A proposal on its way.  Reading it never waits but in `result` and `exception`.

    It is settled by this node's own state machine: when it is done, the entry is flushed on a
    commit quorum and applied here.  Dropping it or giving up waiting never undoes the proposal.
    Any thread.
    """

    def __init__(self):
        raise TypeError("a Submission is made by submit and submit_many")

    @property
    def done(self):
        """True once the outcome is known; costs a load."""
        return load_u32(&self.holder.receipt.state) != RECEIPT_PENDING

    @property
    def proposal_id(self):
        """(session, sequence) of its batch; (0, 0) until the node has taken it."""
        return proposal_id(self.holder.receipt)

    def result(self, timeout=None):
        """Waits for the outcome: `Applied`, or raises.

        Args:
            timeout: seconds, or None for as long as it takes.

        Raises:
            ProposalTimeout: not settled in time; it may still be applied.
            Rejected: it surely did not happen.
            Unknown: it may or may not have happened.
        """
        cdef Receipt* receipt = self.holder.receipt
        if not wait_settled(self.holder, timeout_to_ns(timeout)):
            raise not_settled(receipt, timeout)
        return outcome_of(self)

    def __await__(self):
        """In a coroutine: waits without blocking the loop, then as `result`; ends only with the outcome.

        Cancelling the await doesn't undo the proposal: await it again, or ask by `result`.
        """
        cdef AwaitedReceipt awaited
        while load_u32(&self.holder.receipt.state) == RECEIPT_PENDING:
            awaited = awaited_here(self.holder)
            if awaited is None:
                break
            future = awaited.join(0)
            try:
                yield future
            finally:
                awaited.leave(future)
        return outcome_of(self)

    def exception(self, timeout=None):
        """Waits for the outcome: None if it was applied, else the exception that `result` would raise."""
        cdef Receipt* receipt = self.holder.receipt
        if not wait_settled(self.holder, timeout_to_ns(timeout)):
            return not_settled(receipt, timeout)
        return failure(receipt) if load_u32(&receipt.state) == RECEIPT_FAILED else None

    def __repr__(self):
        cdef uint32_t state = load_u32(&self.holder.receipt.state)
        word = {RECEIPT_PENDING: "pending", RECEIPT_APPLIED: "applied"}.get(state, "failed")
        return f"<Submission {word}>"
