"""Holes of a recovered log: batches whose bytes are bad, in places that are known (docs/format.md 6)."""

from quorumlog._core.base.types cimport index_t, term_t

from libc.stdint cimport uint32_t

cdef enum:
    HOLES_MAX = 4096               # of one group; with more than that its damage has no bounds

cdef struct Hole:
    index_t first
    index_t last
    term_t term
    uint32_t body_crc
    bint identified                # its own identity header is intact: body_crc and the bounds are certain

cdef struct Holes:
    Hole* holes                    # ascending
    uint32_t count
    uint32_t capacity


cdef void holes_close(Holes* holes) noexcept nogil
cdef void holes_clear(Holes* holes) noexcept nogil
# Behind all others.  OK, ERR_MEMORY, or ERR_OVERLOADED when there are HOLES_MAX.
cdef int holes_add(Holes* holes, const Hole* hole) noexcept nogil
# Entries first..last are intact from here on.
cdef void holes_fill(Holes* holes, index_t first, index_t last) noexcept nogil
# Entries from `first` on are gone / entries before `first` are gone.
cdef void holes_truncate(Holes* holes, index_t first) noexcept nogil
cdef void holes_compact(Holes* holes, index_t first) noexcept nogil
cdef bint holes_cover(const Holes* holes, index_t index) noexcept nogil
