"""Bit rot on one disk at a time, of batches that a quorum of the others holds: it must end in repair (P4)."""

from quorumlog._core.base.types cimport index_t, wsn_t
from quorumlog._core.simulation.world_state cimport Host, World
from quorumlog._core.storage.batch cimport Batch


# A flushed batch of a node that is up goes bad on its disk, if that leaves a quorum of intact copies.
cdef void rot_turn(World* world, Host* host) noexcept nogil
# The state machine came upon it.
cdef void rot_found(World* world, Host* host, index_t index) noexcept nogil
# Is it the batch at this index that is bad on this node?
cdef bint rot_holds(const World* world, const Host* host, index_t index) noexcept nogil
# A new life of the node reads this batch well: a repair was durable before the old one ended.
cdef void rot_came_back(World* world, const Host* host, const Batch* batch) noexcept nogil
# A repair was written; it may be durable.
cdef void rot_mended(World* world, Host* host, const Batch* batch, wsn_t wsn) noexcept nogil
cdef void rot_look(World* world, Host* host) noexcept nogil
