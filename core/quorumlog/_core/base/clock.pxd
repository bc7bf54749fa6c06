"""The two clocks, read in the runtime alone and handed to protocols as numbers.  Header only."""

from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #ifndef QUORUMLOG_CLOCK
    #define QUORUMLOG_CLOCK
    #include <stdint.h>
    #include <time.h>
    static inline uint64_t ql_clock_ns(clockid_t which) {
        struct timespec t;
        clock_gettime(which, &t);
        return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
    }
    #define ql_monotonic_ns() ql_clock_ns(CLOCK_MONOTONIC)
    #define ql_wall_ns() ql_clock_ns(CLOCK_REALTIME)
    #endif
    """
    uint64_t monotonic_ns "ql_monotonic_ns"() noexcept nogil
    uint64_t wall_ns "ql_wall_ns"() noexcept nogil
