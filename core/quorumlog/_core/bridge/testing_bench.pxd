"""Many turns of one hot path in a row, without Python in between: for benchmarks and for callgrind.

A path is a function that is called with its context and the number of the turn, and returns a status.
All turns that count pass through the C function `ql_measured`, by whose name callgrind is switched on and off.
"""

from quorumlog._core.storage.batch cimport Batch, BatchPool

from libc.stdint cimport uint32_t, uint64_t

ctypedef int (*Turn)(void* context, uint64_t at) noexcept       # called with the GIL held

cdef extern from *:
    """
    #include <stdint.h>

    typedef int (*ql_turn)(void *context, uint64_t at);

    static inline int ql_turns(ql_turn turn, void *context, uint64_t first, uint64_t count) {
        int status = 0;
        for (uint64_t at = first; !status && at < first + count; at++) status = turn(context, at);
        return status;
    }
    #if defined(__clang__)
    #define QL_ONE_SYMBOL __attribute__((noinline, used))
    #else
    #define QL_ONE_SYMBOL __attribute__((noinline, noclone, used))
    #endif
    QL_ONE_SYMBOL static int ql_measured(ql_turn turn, void *context, uint64_t first, uint64_t count) {
        return ql_turns(turn, context, first, count);
    }
    """
    int ql_turns(Turn turn, void* context, uint64_t first, uint64_t count)
    int ql_measured(Turn turn, void* context, uint64_t first, uint64_t count)


cdef class Path:
    """A hot path: `prepare` makes what the next turns use up, `run` makes the turns."""
    cdef readonly uint32_t entries         # of one turn; 1 where there are none
    cdef BatchPool* pool
    cdef uint64_t done                     # turns so far
    cdef Batch** ready                     # for turns done..done + ready_count - 1
    cdef uint64_t ready_count

    cdef object drop_ready(self)
    cdef Turn turn(self)
    cdef Batch* make(self, uint64_t at)    # NULL: no memory
    cdef Batch* take(self, uint64_t at) noexcept      # the batch of turn `at`, with its reference


# A batch of `entries` times `payload` bytes with its checksum, not stamped; NULL: no memory.
cdef Batch* batch_of(BatchPool* pool, uint32_t entries, uint32_t payload) noexcept nogil
