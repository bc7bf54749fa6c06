"""Asking for something to happen to a node later, in its present life."""

from quorumlog._core.simulation.world_state cimport World

from libc.stdint cimport uint32_t, uint64_t

# OccurrenceKind; what `number` and `extra` mean stands beside each.
cdef void occur_later(World* world, uint32_t node, int kind, uint64_t delay_ns, uint64_t number,
                      uint64_t extra) noexcept nogil
