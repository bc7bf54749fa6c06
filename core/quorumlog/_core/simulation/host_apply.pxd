"""A simulated node's state machine: applies what is committed, answers clients, compacts."""

from quorumlog._core.base.types cimport index_t
from quorumlog._core.simulation.world_state cimport Host, World

from libc.stdint cimport uint64_t

cdef void host_apply(World* world, Host* host) noexcept nogil
cdef void host_answer_read(World* world, Host* host, uint64_t number, index_t index,
                           int status) noexcept nogil
# The state machine starts from its snapshot.
cdef void host_restore_snapshot(World* world, Host* host) noexcept nogil
# Snapshot, then drop the head of the log, as far as every node holds the entries durably (no snapshots
# travel between nodes yet).  True if something was dropped.
cdef bint host_compact(World* world, Host* host) noexcept nogil
