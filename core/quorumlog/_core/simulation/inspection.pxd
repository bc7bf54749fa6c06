"""What a node's disk holds, looked at from outside: a copy of it loses its power, and a recovery reads all of that."""

from quorumlog._core.simulation.world_state cimport Host, World

# All that the node has acknowledged is there and intact, and a recovery would trust it.
cdef bint disk_is_whole(World* world, const Host* host) noexcept nogil
