"""One simulated node's life: starting it from its disk, ending it, stopping it for good."""

from quorumlog._core.simulation.world_state cimport Host, World

from libc.stdint cimport uint32_t

cdef void host_create(World* world, uint32_t number) noexcept nogil
cdef void host_destroy(World* world, Host* host) noexcept nogil
# Recovers and opens.  False: a fault hit the recovery, which is then to be tried again.  A host that was
# damaged may be out afterwards.
cdef bint host_start(World* world, Host* host) noexcept nogil
# The process dies at once; what was being written stays as it is.
cdef void host_stop(World* world, Host* host) noexcept nogil
