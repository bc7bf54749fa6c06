"""A growing array of records; see trace.pxd."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.types cimport term_t

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

cdef enum:
    RECORDS_MAX = 1 << 24


cdef void trace_close(Trace* trace) noexcept nogil:
    free(trace.records)
    memset(trace, 0, sizeof(Trace))


cdef void trace_add(Trace* trace, TraceRecord record) noexcept nogil:
    if not trace.on or trace.count == RECORDS_MAX:
        return
    if trace.count == trace.capacity:
        trace.capacity = 2 * trace.capacity + 1024
        trace.records = <TraceRecord*>realloc(trace.records, trace.capacity * sizeof(TraceRecord))
        check(trace.records != NULL, b"Q-TRACE-01 there is memory for a trace")
    trace.records[trace.count] = record
    trace.count += 1


cdef void trace_note(Trace* trace, uint64_t at_ns, int kind, uint32_t node, uint32_t peer, uint64_t number,
                     uint64_t a, uint64_t b, term_t term) noexcept nogil:
    cdef TraceRecord record
    if not trace.on:
        return
    memset(&record, 0, sizeof(TraceRecord))
    record.at_ns = at_ns
    record.kind = kind
    record.node = node
    record.peer = peer
    record.number = number
    record.a = a
    record.b = b
    record.term = term
    trace_add(trace, record)
