"""The list of a group's bad batches: an array in order of index, which grows by doubling."""

from libc.stdlib cimport free, realloc
from libc.string cimport memmove, memset

from quorumlog._core.base.status cimport ERR_MEMORY, ERR_OVERLOADED, OK


cdef void faults_close(Faults* faults) noexcept nogil:
    free(faults.faults)
    memset(faults, 0, sizeof(Faults))


cdef uint32_t place_of(const Faults* faults, index_t index) noexcept nogil:
    """Of the first one that ends at or behind `index`."""
    cdef uint32_t low = 0
    cdef uint32_t high = faults.count
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if faults.faults[middle].last < index:
            low = middle + 1
        else:
            high = middle
    return low


cdef Fault* faults_find(const Faults* faults, index_t index) noexcept nogil:
    cdef uint32_t place = place_of(faults, index)
    if place < faults.count and faults.faults[place].first <= index:
        return &faults.faults[place]
    return NULL


cdef int faults_add(Faults* faults, const Fault* fault) noexcept nogil:
    cdef uint32_t place = place_of(faults, fault.first)
    cdef uint32_t capacity
    cdef void* memory
    if place < faults.count and faults.faults[place].first <= fault.last:
        return OK
    if faults.count == FAULTS_MAX:
        return ERR_OVERLOADED
    if faults.count == faults.capacity:
        capacity = 16 if faults.capacity == 0 else 2 * faults.capacity
        memory = realloc(faults.faults, capacity * sizeof(Fault))
        if memory == NULL:
            return ERR_MEMORY
        faults.faults = <Fault*>memory
        faults.capacity = capacity
    memmove(&faults.faults[place + 1], &faults.faults[place], (faults.count - place) * sizeof(Fault))
    faults.faults[place] = fault[0]
    faults.count += 1
    return OK


cdef index_t faults_first(const Faults* faults) noexcept nogil:
    return faults.faults[0].first if faults.count > 0 else 0


cdef void faults_flushed(Faults* faults, wsn_t flushed) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t kept = 0
    for i in range(faults.count):
        if faults.faults[i].wsn != 0 and faults.faults[i].wsn <= flushed:
            continue
        if kept != i:
            faults.faults[kept] = faults.faults[i]
        kept += 1
    faults.count = kept


cdef void faults_truncate(Faults* faults, index_t first) noexcept nogil:
    while faults.count > 0 and faults.faults[faults.count - 1].last >= first:
        faults.count -= 1


cdef void faults_compact(Faults* faults, index_t first) noexcept nogil:
    cdef uint32_t gone = place_of(faults, first)
    if gone > 0:
        memmove(&faults.faults[0], &faults.faults[gone], (faults.count - gone) * sizeof(Fault))
        faults.count -= gone


cdef void faults_mended(Faults* faults, index_t first, index_t last, wsn_t wsn) noexcept nogil:
    cdef uint32_t place = place_of(faults, first)
    while place < faults.count and faults.faults[place].first <= last:
        faults.faults[place].wsn = wsn
        place += 1
