"""What rots on the disks of the simulated cluster, placed so that a run stays recoverable by specification.

The atlas: at most `damaged_nodes_max` nodes lose anything, and each of them one sector, once.
What a node writes stands in several sectors (a group's list at both ends, a hard
state in two groups), so that it knows afterwards what it lost; a second sector could take
that too.  Only the profile `beyond` damages more nodes, and only below what each knows to be
flushed, where nothing but a stop is right.
"""

from quorumlog._core.simulation.world_state cimport Host, World

# FaultKind of a sector; False: the atlas has no room, or there is nothing to damage.
cdef bint damage_turn(World* world, Host* host, int kind) noexcept nogil
# The disk is empty when the node comes back.  Its identity is gone with it, so that it is not let in
# (docs/format.md, rule 9): it is out.
cdef bint wipe(World* world, Host* host) noexcept nogil
# Every node loses a sector that it knows to be flushed, and the power.
cdef void damage_all(World* world) noexcept nogil
