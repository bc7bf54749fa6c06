"""A coordinator's deadlines: a binary heap of transactions by `due_ns`, each of which knows its place."""

from quorumlog._core.protocols.twophase_coordinator cimport Coordinator, Transaction

from libc.stdint cimport uint64_t

# When it is next due; NEVER_NS takes it out.
cdef void timers_set(Coordinator* coordinator, Transaction* transaction, uint64_t due_ns) noexcept nogil
cdef Transaction* timers_first(Coordinator* coordinator) noexcept nogil          # NULL: none
