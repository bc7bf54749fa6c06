"""Carries out the write-ahead log's plans: io_uring from the reactor where allowed, else a thread.

    writer_submit    a plan from wal_plan, in order; at most two outstanding
    writer_completed the result of one of them, if there is one
The event descriptor becomes readable when a completion arrives (thread: an eventfd, written only
if the reactor says it sleeps; io_uring: the ring itself, readable until the completion is taken; a wait
may also end in EINTR when the kernel has work to finish on the thread's behalf).  What was completed
within writer_submit is told by nothing: look once more before you block.  io_uring goes past the table of file calls:
a log over any other than the system's takes the thread.  The writer also owns the thread that
prepares spare segments at low priority.
"""

from quorumlog._core.base.atomics cimport atomic_u32
from quorumlog._core.storage.wal cimport Wal, WritePlan

from libc.stdint cimport uint32_t, uint64_t

cdef enum WriterKind:
    WRITER_AUTO = 0            # io_uring, or the thread where it is not allowed
    WRITER_THREAD = 1
    WRITER_URING = 2

cdef struct Writer


# `sleeping`: the reactor stores 1 before it blocks (with a fence, then looks at its queues once more),
# 0 after.
cdef int writer_open(Wal* wal, int kind, atomic_u32* sleeping, Writer** out) noexcept nogil
# Waits for what is outstanding, joins the threads.  Any thread, once the submitting one has stopped: what
# the kernel gave up when that thread ended is carried out here.
cdef void writer_close(Writer* writer) noexcept nogil
cdef int writer_event_fd(const Writer* writer) noexcept nogil
# The descriptor was seen readable.
cdef void writer_noticed(Writer* writer) noexcept nogil
cdef int writer_kind(const Writer* writer) noexcept nogil
cdef void writer_submit(Writer* writer, const WritePlan* plan) noexcept nogil
# True and number/error (0 or a positive errno) of a completed plan, else False.
cdef bint writer_completed(Writer* writer, uint64_t* number, int* error) noexcept nogil
# Spare segments may be wanted, or segments are no longer needed: wakes the preparing thread.  It is
# woken by itself when the plans go on in a new segment; call it after a compaction.
cdef void writer_prepare(Writer* writer) noexcept nogil
