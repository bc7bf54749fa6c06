"""What rots on the disks of the simulated cluster; the atlas says whether it may."""

from quorumlog._core.simulation.world_state cimport Host, World

# FaultKind of a sector, a tail or a batch; False: the atlas has no room, or there is nothing to damage.
cdef bint damage_turn(World* world, Host* host, int kind) noexcept nogil
# The disk is empty when the node comes back.
cdef bint damage_wipe(World* world, Host* host) noexcept nogil
# Every node loses the same batch, which it knows to be flushed (or, if they have none in common, some
# sector), and the power.
cdef void damage_all(World* world) noexcept nogil
