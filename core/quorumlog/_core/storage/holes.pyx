"""Holes of a recovered log: batches whose bytes are bad, in places that are known."""

from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.status cimport ERR_MEMORY, ERR_OVERLOADED, OK

from libc.stdlib cimport free, realloc
from libc.string cimport memset


cdef void holes_close(Holes* holes) noexcept nogil:
    free(holes.holes)
    memset(holes, 0, sizeof(Holes))


cdef void holes_clear(Holes* holes) noexcept nogil:
    holes.count = 0


cdef int holes_add(Holes* holes, const Hole* hole) noexcept nogil:
    cdef void* memory
    cdef uint32_t capacity
    check2(holes.count == 0 or holes.holes[holes.count - 1].last < hole.first,
           b"Q-HOLES-01 holes lie one behind the other", <long long>hole.first, holes.count)
    if holes.count == HOLES_MAX:
        return ERR_OVERLOADED
    if holes.count == holes.capacity:
        capacity = 8 if holes.capacity == 0 else 2 * holes.capacity
        memory = realloc(holes.holes, capacity * sizeof(Hole))
        if memory == NULL:
            return ERR_MEMORY
        holes.holes = <Hole*>memory
        holes.capacity = capacity
    holes.holes[holes.count] = hole[0]
    holes.count += 1
    return OK


cdef void holes_fill(Holes* holes, index_t first, index_t last) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t kept = 0
    for i in range(holes.count):
        if holes.holes[i].first >= first and holes.holes[i].last <= last:
            continue
        holes.holes[kept] = holes.holes[i]
        kept += 1
    holes.count = kept


cdef void holes_truncate(Holes* holes, index_t first) noexcept nogil:
    while holes.count > 0 and holes.holes[holes.count - 1].last >= first:
        holes.count -= 1


cdef void holes_compact(Holes* holes, index_t first) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t kept = 0
    for i in range(holes.count):
        if holes.holes[i].last >= first:
            holes.holes[kept] = holes.holes[i]
            kept += 1
    holes.count = kept


cdef bint holes_cover(const Holes* holes, index_t index) noexcept nogil:
    cdef uint32_t low = 0
    cdef uint32_t high = holes.count
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if holes.holes[middle].last < index:
            low = middle + 1
        else:
            high = middle
    return low < holes.count and holes.holes[low].first <= index
