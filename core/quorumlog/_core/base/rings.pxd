"""Single-producer single-consumer ring of pointers, bounded.  Header only.

One thread pushes, one thread pops; a full ring refuses, it never grows.  The
two positions lie on cache lines of their own.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from quorumlog._core.base.atomics cimport atomic_u64, load_u64, load_u64_relaxed, store_u64

cdef struct Ring:
    atomic_u64 head            # next to pop; written by the consumer
    char _pad1[56]
    atomic_u64 tail            # next to push; written by the producer
    char _pad2[56]
    uint64_t mask
    void** slots


cdef inline bint ring_open(Ring* ring, uint64_t capacity) noexcept nogil:
    """`capacity` is a power of two; False when there is no memory."""
    ring.mask = capacity - 1
    store_u64(&ring.head, 0)
    store_u64(&ring.tail, 0)
    ring.slots = <void**>calloc(capacity, sizeof(void*))
    return ring.slots != NULL


cdef inline void ring_close(Ring* ring) noexcept nogil:
    free(ring.slots)
    ring.slots = NULL


cdef inline bint ring_push(Ring* ring, void* item) noexcept nogil:
    cdef uint64_t tail = load_u64_relaxed(&ring.tail)
    if tail - load_u64(&ring.head) > ring.mask:
        return False
    ring.slots[tail & ring.mask] = item
    store_u64(&ring.tail, tail + 1)
    return True


cdef inline void* ring_pop(Ring* ring) noexcept nogil:
    """The oldest item, or NULL when the ring is empty."""
    cdef uint64_t head = load_u64_relaxed(&ring.head)
    if head == load_u64(&ring.tail):
        return NULL
    cdef void* item = ring.slots[head & ring.mask]
    store_u64(&ring.head, head + 1)
    return item


cdef inline uint64_t ring_count(Ring* ring) noexcept nogil:
    return load_u64(&ring.tail) - load_u64(&ring.head)
