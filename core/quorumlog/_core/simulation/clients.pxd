"""Who proposes and reads in the simulated cluster: sessions, sequences, retries of what has no outcome."""

from quorumlog._core.simulation.world_state cimport World

from libc.stdint cimport uint32_t

# One turn of a client: reads now and then, sends what its window allows, sends again what was not answered.
cdef void client_turn(World* world, uint32_t number) noexcept nogil
