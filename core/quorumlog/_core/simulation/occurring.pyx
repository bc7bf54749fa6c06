"""See occurring.pxd."""

from quorumlog._core.simulation.schedule cimport Occurrence, schedule_add

from libc.string cimport memset


cdef void occur_later(World* world, uint32_t node, int kind, uint64_t delay_ns, uint64_t number,
                      uint64_t extra) noexcept nogil:
    cdef Occurrence occurrence
    memset(&occurrence, 0, sizeof(Occurrence))
    occurrence.kind = kind
    occurrence.node = node
    occurrence.incarnation = world.hosts[node].incarnation
    occurrence.number = number
    occurrence.extra = extra
    occurrence.at_ns = world.now_ns + delay_ns
    schedule_add(&world.schedule, occurrence)
