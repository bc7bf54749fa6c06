"""Term runs of a recovered log: which term each index has; term 0 is a hole."""

from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.status cimport ERR_MEMORY, OK

from libc.stdlib cimport free, realloc
from libc.string cimport memmove


cdef void runs_close(Runs* runs) noexcept nogil:
    free(runs.runs)
    runs.runs = NULL
    runs.count = 0
    runs.capacity = 0


cdef void runs_clear(Runs* runs) noexcept nogil:
    runs.count = 0


cdef uint32_t position_of(const Runs* runs, index_t index) noexcept nogil:
    """Of the last run whose first is at or before `index`; count when there is none."""
    cdef uint32_t low = 0
    cdef uint32_t high = runs.count
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if runs.runs[middle].first <= index:
            low = middle + 1
        else:
            high = middle
    return low - 1 if low > 0 else runs.count


cdef int reserve(Runs* runs, uint32_t count) noexcept nogil:
    cdef void* memory
    cdef uint32_t capacity = 8 if runs.capacity == 0 else runs.capacity
    if count <= runs.capacity:
        return OK
    while capacity < count:
        capacity *= 2
    memory = realloc(runs.runs, capacity * sizeof(TermRun))
    if memory == NULL:
        return ERR_MEMORY
    runs.runs = <TermRun*>memory
    runs.capacity = capacity
    return OK


cdef void insert(Runs* runs, uint32_t at, index_t first, term_t term) noexcept nogil:
    memmove(runs.runs + at + 1, runs.runs + at, (runs.count - at) * sizeof(TermRun))
    runs.runs[at].first = first
    runs.runs[at].term = term
    runs.count += 1


cdef void split(Runs* runs, index_t index) noexcept nogil:
    """Afterwards a run begins at `index`, if any run covers it."""
    cdef uint32_t at = position_of(runs, index)
    if at < runs.count and runs.runs[at].first < index:
        insert(runs, at + 1, index, runs.runs[at].term)


cdef void merge(Runs* runs) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t kept = 0
    for i in range(runs.count):
        if kept > 0 and runs.runs[kept - 1].term == runs.runs[i].term:
            continue
        runs.runs[kept] = runs.runs[i]
        kept += 1
    runs.count = kept


cdef int runs_assign(Runs* runs, index_t first, index_t last, term_t term, index_t end) noexcept nogil:
    cdef uint32_t i, kept
    check2(first <= last, b"Q-RUNS-01 a term is given to at least one index", <long long>first,
           <long long>last)
    if reserve(runs, runs.count + 4) != OK:
        return ERR_MEMORY
    if runs.count == 0 or first > end:
        if runs.count > 0 and first > end + 1 and runs.runs[runs.count - 1].term != 0:
            insert(runs, runs.count, end + 1, 0)      # slots may leave holes
        if runs.count == 0 or runs.runs[runs.count - 1].term != term:
            insert(runs, runs.count, first, term)
        return OK
    split(runs, first)
    if last < end:
        split(runs, last + 1)
    kept = 0
    for i in range(runs.count):
        if runs.runs[i].first > first and runs.runs[i].first <= last:
            continue
        runs.runs[kept] = runs.runs[i]
        if runs.runs[kept].first == first:
            runs.runs[kept].term = term
        kept += 1
    runs.count = kept
    merge(runs)
    return OK


cdef int runs_hole_before(Runs* runs, index_t first) noexcept nogil:
    check2(runs.count > 0 and first < runs.runs[0].first, b"Q-RUNS-02 a hole before the first run lies before it",
           <long long>first, runs.count)
    if reserve(runs, runs.count + 1) != OK:
        return ERR_MEMORY
    insert(runs, 0, first, 0)
    return OK


cdef void runs_truncate(Runs* runs, index_t last) noexcept nogil:
    while runs.count > 0 and runs.runs[runs.count - 1].first > last:
        runs.count -= 1


cdef void runs_compact(Runs* runs, index_t first, index_t last) noexcept nogil:
    cdef uint32_t at
    if first > last:
        runs.count = 0
        return
    at = position_of(runs, first)
    if at == runs.count:
        return
    memmove(runs.runs, runs.runs + at, (runs.count - at) * sizeof(TermRun))
    runs.count -= at
    runs.runs[0].first = first


cdef term_t runs_term(const Runs* runs, index_t index) noexcept nogil:
    cdef uint32_t at = position_of(runs, index)
    return runs.runs[at].term if at < runs.count else 0


cdef index_t runs_end(const Runs* runs, index_t index, index_t last) noexcept nogil:
    cdef uint32_t at = position_of(runs, index)
    if at + 1 < runs.count:
        return runs.runs[at + 1].first - 1
    return last


cdef index_t runs_hole(const Runs* runs) noexcept nogil:
    cdef uint32_t i
    for i in range(runs.count):
        if runs.runs[i].term == 0:
            return runs.runs[i].first
    return 0
