"""Batches of a group's log whose bytes on this node's disk are bad, until they are repaired.

The log in memory knows their indexes and terms, so they count as entries wherever
lengths are compared; they are not to be served, sent, applied or acknowledged.
Bounded: what doesn't fit is found again by the next read of it.
"""

from quorumlog._core.base.types cimport index_t, term_t, wsn_t

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    FAULTS_MAX = 4096

cdef struct Fault:
    index_t first                  # of the batch; where it begins is not known: any index of it
    index_t last
    term_t term
    uint32_t body_crc
    bint identified                # first, last and body_crc are those of its identity
    wsn_t wsn                      # of its repair, once that is written; 0: not yet
    uint64_t found_ns
    uint64_t asked_ns              # when a peer was asked; 0: nobody is asked now
    int asked                      # slot of that peer
    uint32_t refusals              # peers in a row that didn't have it

cdef struct Faults:
    Fault* faults                  # in order of index
    uint32_t count
    uint32_t capacity


cdef void faults_close(Faults* faults) noexcept nogil
# ERR_MEMORY, ERR_OVERLOADED, or OK (also if its first index is known to be faulty).
cdef int faults_add(Faults* faults, const Fault* fault) noexcept nogil
# The one that holds `index`, or NULL.
cdef Fault* faults_find(const Faults* faults, index_t index) noexcept nogil
# Index of the first fault, 0: none.
cdef index_t faults_first(const Faults* faults) noexcept nogil
# Forgets those whose repair is flushed / that lie at or behind `first` / wholly before `first`.
cdef void faults_flushed(Faults* faults, wsn_t flushed) noexcept nogil
cdef void faults_truncate(Faults* faults, index_t first) noexcept nogil
cdef void faults_compact(Faults* faults, index_t first) noexcept nogil
# All within first..last are mended by a record that gets `wsn`.
cdef void faults_mended(Faults* faults, index_t first, index_t last, wsn_t wsn) noexcept nogil
