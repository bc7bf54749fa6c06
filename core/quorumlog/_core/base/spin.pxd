"""A spin lock for critical sections of a few dozen nanoseconds.  Header only.

It yields the processor after a while, because its holder may have been
descheduled (two cores are common).
"""

from quorumlog._core.base.atomics cimport atomic_u32, cpu_relax, exchange_u32, load_u32, store_u32

cdef extern from "<sched.h>" nogil:
    int sched_yield()


cdef inline void spin_lock(atomic_u32* lock) noexcept nogil:
    cdef int spins = 0
    while exchange_u32(lock, 1):
        while load_u32(lock):
            spins += 1
            if spins & 63:
                cpu_relax()
            else:
                sched_yield()


cdef inline void spin_unlock(atomic_u32* lock) noexcept nogil:
    store_u32(lock, 0)
