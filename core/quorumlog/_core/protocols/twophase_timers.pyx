"""See twophase_timers.pxd."""

from quorumlog._core.engine.transactions cimport NEVER_NS
from quorumlog._core.protocols.twophase_coordinator cimport NOT_TIMED, Coordinator, Transaction

from libc.stdint cimport uint32_t, uint64_t


cdef inline Transaction* at(Coordinator* c, uint32_t place) noexcept nogil:
    return &c.table[c.heap[place]]


cdef inline void put(Coordinator* c, uint32_t place, uint32_t number) noexcept nogil:
    c.heap[place] = number
    c.table[number].heap_place = place


cdef void rise(Coordinator* c, uint32_t place) noexcept nogil:
    cdef uint32_t moving = c.heap[place]
    cdef uint32_t above
    while place > 0:
        above = (place - 1) // 2
        if at(c, above).due_ns <= c.table[moving].due_ns:
            break
        put(c, place, c.heap[above])
        place = above
    put(c, place, moving)


cdef void sink(Coordinator* c, uint32_t place) noexcept nogil:
    cdef uint32_t moving = c.heap[place]
    cdef uint32_t below
    while True:
        below = 2 * place + 1
        if below >= c.heap_count:
            break
        if below + 1 < c.heap_count and at(c, below + 1).due_ns < at(c, below).due_ns:
            below += 1
        if c.table[moving].due_ns <= at(c, below).due_ns:
            break
        put(c, place, c.heap[below])
        place = below
    put(c, place, moving)


cdef void take_out(Coordinator* c, Transaction* t) noexcept nogil:
    cdef uint32_t place = t.heap_place
    cdef uint32_t moved
    t.heap_place = NOT_TIMED
    c.heap_count -= 1
    if place == c.heap_count:
        return
    moved = c.heap[c.heap_count]
    put(c, place, moved)
    rise(c, place)
    sink(c, c.table[moved].heap_place)


cdef void timers_set(Coordinator* coordinator, Transaction* transaction, uint64_t due_ns) noexcept nogil:
    if due_ns == NEVER_NS:
        if transaction.heap_place != NOT_TIMED:
            take_out(coordinator, transaction)
        return
    transaction.due_ns = due_ns
    if transaction.heap_place == NOT_TIMED:
        put(coordinator, coordinator.heap_count, <uint32_t>(transaction - coordinator.table))
        coordinator.heap_count += 1
    rise(coordinator, transaction.heap_place)
    sink(coordinator, transaction.heap_place)


cdef Transaction* timers_first(Coordinator* coordinator) noexcept nogil:
    return at(coordinator, 0) if coordinator.heap_count > 0 else NULL
