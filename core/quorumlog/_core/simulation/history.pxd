"""What clients did and saw, and whether one register for each key could have answered so.

A write has a value of its own, so that the check is exact and takes n log n
(Gibbons and Korach, "Testing shared memories", SIAM J. Comput. 1997, section 4).
An operation without an answer may or may not have happened: a write counts if
somebody read it, a read never.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum OperationKind:
    OPERATION_WRITE = 1
    OPERATION_READ = 2         # linearizable
    OPERATION_LOOK = 3         # may be old: only what nobody had written yet it can't see

cdef struct Operation:
    uint32_t client
    uint32_t node              # that answered
    uint8_t kind
    uint32_t key
    uint64_t value             # written or read; 0: what was there before all writes
    uint64_t call_ns
    uint64_t return_ns         # 0: no answer

cdef struct History:
    Operation* operations
    uint32_t count
    uint32_t capacity


cdef void history_close(History* history) noexcept nogil
# Its number.
cdef uint32_t history_call(History* history, uint32_t client, uint8_t kind, uint32_t key, uint64_t value,
                           uint64_t now_ns) noexcept nogil
cdef void history_return(History* history, uint32_t number, uint32_t node, uint64_t value,
                         uint64_t now_ns) noexcept nogil
# Whether each key's operations are linearizable; else `culprit` is the number of an operation that
# can't be where it is.
cdef bint history_is_linearizable(const History* history, uint32_t* culprit) noexcept nogil
