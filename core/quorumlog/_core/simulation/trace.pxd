"""What happened in a run, in order, for a reader; only when it is asked for.

One flat record for each happening; bridge/testing_simulation makes lines of JSON of
them, `quorumlog trace` text and a diagram of those.
"""

from quorumlog._core.base.types cimport term_t

from libc.stdint cimport uint32_t, uint64_t

cdef enum TraceKind:
    TRACE_SENT = 1             # message `number` of kind `a` to `peer`; b copies will arrive
    TRACE_ARRIVED = 2          # message `number` of kind `a` from `peer`; b: a copy made on the way
    TRACE_ROLE = 3             # the node has role `a`, follows `peer`
    TRACE_VOTED = 4            # for `peer`
    TRACE_WROTE = 5            # record of kind `a`, entries b to c, as WSN `number`
    TRACE_FLUSHED = 6          # up to WSN `number`; the log's match is `a`
    TRACE_COMMITTED = 7        # up to index `a`
    TRACE_STARTED = 8          # log from `a` to `b`, unproved to `c`
    TRACE_NOT_STARTED = 9      # its recovery was cut short, with status `a`
    TRACE_STOPPED = 10         # with the power if `a`
    TRACE_OUT = 11             # stopped for good
    TRACE_FAULT = 12           # FaultKind `a`
    TRACE_MENDED = 13          # all links
    TRACE_HEALED = 14          # all faults have ended
    TRACE_PROPOSED = 15        # operation `number`: session `a`, sequence `b`
    TRACE_ACKED = 16
    TRACE_READ = 17            # operation `number`
    TRACE_SERVED = 18          # with value `a`
    TRACE_COMPACTED = 19       # the log begins at `a`
    TRACE_SNAPSHOT = 20        # made, of index `a`
    TRACE_INSTALLED = 21       # of index `a`

cdef struct TraceRecord:
    uint64_t at_ns
    int kind
    uint32_t node              # 0-based
    uint32_t peer              # a node's id; 0: none
    uint64_t number
    uint64_t a
    uint64_t b
    uint64_t c
    term_t term

cdef struct Trace:
    bint on
    TraceRecord* records
    uint32_t count
    uint32_t capacity


cdef void trace_close(Trace* trace) noexcept nogil
cdef void trace_add(Trace* trace, TraceRecord record) noexcept nogil
# One with the numbers that most have; `term` may be 0.
cdef void trace_note(Trace* trace, uint64_t at_ns, int kind, uint32_t node, uint32_t peer, uint64_t number,
                     uint64_t a, uint64_t b, term_t term) noexcept nogil
