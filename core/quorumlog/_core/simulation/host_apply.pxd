"""A simulated node's state machine: applies what is committed, answers clients, compacts."""

from quorumlog._core.base.types cimport index_t
from quorumlog._core.simulation.world_state cimport Host, World

from libc.stdint cimport uint64_t

cdef void host_apply(World* world, Host* host) noexcept nogil
cdef void host_answer_read(World* world, Host* host, uint64_t number, index_t index,
                           int status) noexcept nogil
# The state machine and the sessions are as before the first entry.
cdef void host_begin_afresh(World* world, Host* host) noexcept nogil
