"""Who proposes and reads in the simulated cluster: sessions, sequences, retries of what has no outcome."""

from quorumlog._core.simulation.world_state cimport Client, World

from libc.stdint cimport uint32_t, uint64_t

# One turn of a client: reads now and then, sends what its window allows, sends again what was not answered.
cdef void client_turn(World* world, uint32_t number) noexcept nogil
# The key and value that a session's batch writes.
cdef uint64_t key_of(const World* world, uint64_t session, uint64_t sequence) noexcept nogil
cdef uint64_t value_of(uint64_t session, uint64_t sequence) noexcept nogil
# What it has outstanding may or may not have happened: it goes on as somebody else.
cdef void client_gives_up(World* world, Client* client) noexcept nogil
