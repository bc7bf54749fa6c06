"""A binary heap; see schedule.pxd."""

from quorumlog._core.base.checks cimport check

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset


cdef void schedule_close(Schedule* schedule) noexcept nogil:
    free(schedule.heap)
    memset(schedule, 0, sizeof(Schedule))


cdef inline bint earlier(const Occurrence* a, const Occurrence* b) noexcept nogil:
    if a.at_ns != b.at_ns:
        return a.at_ns < b.at_ns
    return a.order < b.order


cdef void schedule_add(Schedule* schedule, Occurrence occurrence) noexcept nogil:
    cdef uint32_t at = schedule.count
    cdef uint32_t parent
    if schedule.count == schedule.capacity:
        schedule.capacity = 2 * schedule.capacity + 256
        schedule.heap = <Occurrence*>realloc(schedule.heap, schedule.capacity * sizeof(Occurrence))
        check(schedule.heap != NULL, b"Q-SCHED-01 the simulation has memory for its schedule")
    schedule.order += 1
    occurrence.order = schedule.order
    schedule.count += 1
    while at > 0:
        parent = (at - 1) // 2
        if not earlier(&occurrence, &schedule.heap[parent]):
            break
        schedule.heap[at] = schedule.heap[parent]
        at = parent
    schedule.heap[at] = occurrence


cdef bint schedule_next(Schedule* schedule, Occurrence* out) noexcept nogil:
    cdef Occurrence last
    cdef uint32_t at = 0
    cdef uint32_t child
    if schedule.count == 0:
        return False
    out[0] = schedule.heap[0]
    schedule.count -= 1
    last = schedule.heap[schedule.count]
    while True:
        child = 2 * at + 1
        if child >= schedule.count:
            break
        if child + 1 < schedule.count and earlier(&schedule.heap[child + 1], &schedule.heap[child]):
            child += 1
        if not earlier(&schedule.heap[child], &last):
            break
        schedule.heap[at] = schedule.heap[child]
        at = child
    schedule.heap[at] = last
    return True
