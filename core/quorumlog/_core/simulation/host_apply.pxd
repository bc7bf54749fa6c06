"""A simulated node's state machine: applies what is committed, answers clients, compacts."""

from quorumlog._core.engine.outbox cimport ReadReady
from quorumlog._core.base.types cimport index_t
from quorumlog._core.simulation.world_state cimport Client, Host, World

from libc.stdint cimport uint32_t, uint64_t

cdef void host_apply(World* world, Host* host) noexcept nogil
cdef void host_answer_read(World* world, Host* host, const ReadReady* ready, uint64_t clock_ns) noexcept nogil
# A client hears that its newest unanswered proposal, `sequence`, is done; all up to `last` is committed.
cdef void host_acknowledge(World* world, Client* client, Host* host, uint64_t sequence,
                           index_t last) noexcept nogil
# A read that asks nobody but this state machine.
cdef void host_look(World* world, Host* host, uint32_t operation) noexcept nogil
# The state machine and the sessions are as before the first entry.
cdef void host_begin_afresh(World* world, Host* host) noexcept nogil
