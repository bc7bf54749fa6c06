"""What will happen when: a heap of occurrences in virtual time, ties broken by the order of asking."""

from libc.stdint cimport uint32_t, uint64_t

cdef enum OccurrenceKind:
    OCCURS_DELIVERY = 1        # `parcel` reaches `node`
    OCCURS_TIME = 2            # the protocol's deadline on `node`
    OCCURS_DISK_WRITE = 3      # plan `number`: its bytes go into the cache
    OCCURS_DISK_DONE = 4       # plan `number`: synced, or failed
    OCCURS_IDLE = 5            # the writer of `node` may add a bare mark
    OCCURS_FETCH = 6           # cold batches for peer `number` are read
    OCCURS_START = 7           # `node` starts
    OCCURS_CLIENT = 8          # client `number` acts
    OCCURS_FAULT = 9           # something breaks or is mended
    OCCURS_REACHABLE = 10      # `node` hears whether its connection to peer `number` stands
    OCCURS_SNAPSHOT = 11       # the snapshot thread of `node` does its next job

cdef struct Occurrence:
    uint64_t at_ns
    uint64_t order
    int kind
    uint32_t node
    uint64_t incarnation       # of the node: what was meant for an earlier life is void
    uint64_t number
    uint64_t extra
    void* parcel

cdef struct Schedule:
    Occurrence* heap
    uint32_t count
    uint32_t capacity
    uint64_t order


cdef void schedule_close(Schedule* schedule) noexcept nogil
# `occurrence.order` is filled in.
cdef void schedule_add(Schedule* schedule, Occurrence occurrence) noexcept nogil
cdef bint schedule_next(Schedule* schedule, Occurrence* out) noexcept nogil       # False: none left
