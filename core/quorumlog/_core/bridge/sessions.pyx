"""Proposals of clients' sessions: an ordinary batch whose last entry is the session's stamp (engine/clients)."""

from quorumlog._core.base.atomics cimport load_u32
from quorumlog._core.base.status cimport ERR_TIMEOUT
from quorumlog._core.bridge.node cimport Deadline, GroupCore
from quorumlog._core.bridge.seal cimport seal_stamped
from quorumlog._core.bridge.submission cimport Submission, not_settled, wait_settled
from quorumlog._core.engine.clients cimport CLIENT_WINDOW, STAMP_BYTES
from quorumlog._core.engine.receipt cimport RECEIPT_PENDING, Receipt
from quorumlog._core.runtime.intake cimport intake_space, intake_wait_space, intake_withdraw

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint32_t

from quorumlog import errors

WINDOW = CLIENT_WINDOW


def submit(GroupCore group not None, list payloads not None, bytes stamp not None, bint whole):
    """Without waiting; Overloaded when there is no room."""
    if len(stamp) != STAMP_BYTES:
        raise errors.UsageError(f"a stamp has {STAMP_BYTES} bytes, not {len(stamp)}")
    group.check_open()
    return group.submit_batch(seal_stamped(payloads, stamp, group.pool), whole)


def propose(GroupCore group not None, list payloads not None, bytes stamp not None, bint whole, timeout):
    """Submits, waiting for room, and waits for the outcome; what was never taken fails as definite."""
    cdef Deadline deadline = Deadline(timeout)
    cdef Submission submission
    cdef Receipt* receipt
    cdef uint32_t seen
    cdef int64_t left_ns
    while True:
        group.check_open()
        seen = intake_space(&group.hosted.intake)
        try:
            submission = submit(group, payloads, stamp, whole)
            break
        except errors.Overloaded:
            left_ns = deadline.left_ns()
            if left_ns == 0:
                raise
        group.check_open()
        group.core.active += 1
        with nogil:
            intake_wait_space(&group.hosted.intake, seen, left_ns)
        group.core.active -= 1
        PyErr_CheckSignals()
    receipt = submission.holder.receipt
    if not wait_settled(submission.holder, deadline.all_left_ns()):
        if not group.core.closed:
            intake_withdraw(&group.hosted.intake, receipt, ERR_TIMEOUT)
        if load_u32(&receipt.state) == RECEIPT_PENDING:
            raise not_settled(receipt, timeout)
    return submission.result(0)
