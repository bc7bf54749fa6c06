"""A cold read failed: what the run is to know of it, whoever read."""

from quorumlog._core.base.types cimport index_t
from quorumlog._core.simulation.world_state cimport Host, World

# The batch at `index`, for a peer: the protocol is told by the answer to its fetch.
cdef void notice_bad(World* world, Host* host, index_t index, int status) noexcept nogil
# The same for the state machine, which waits until it can be read.
cdef void notice_and_wait(World* world, Host* host, index_t index, int status) noexcept nogil
