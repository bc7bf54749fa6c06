"""The atlas: what may be destroyed on whose disk, so that a run stays recoverable by specification (P4).

A node is *hurt* from the moment when something of its disk was destroyed until an inspection finds
it whole again: repaired, admitted, nothing missing.

    a sector, a tail    of at most `damaged_nodes_max` nodes at a time, a minority; once in a directory's
                        life, since what a node writes stands twice, and the second piece could take that too
    a directory         the same
    a batch             of any node, also of all at the same time, if each bad batch has a quorum of others that
                        hold it intact and lost nothing else; only what the node knows to be flushed

What peers have compacted they can't send for a repair: a run has logs that rot and keep their heads, or
snapshots that rot (of a minority, once and for all, since no inspection reads them).  Only the
profile `beyond` goes over these bounds.  Groups of slots don't repair yet: nothing of theirs is destroyed.
"""

from quorumlog._core.simulation.ledger cimport Kept
from quorumlog._core.simulation.world_state cimport Host, World

cdef bint atlas_has_room(World* world, const Host* host) noexcept nogil              # for a sector or a tail
cdef bint atlas_lets_wipe(World* world, const Host* host) noexcept nogil
cdef bint atlas_lets_rot(World* world, const Host* host, const Kept* entry) noexcept nogil
# Something was destroyed; `deep`: nobody knows what it held.
cdef void atlas_note(World* world, Host* host, bint deep) noexcept nogil
# Looks who is whole again.
cdef void atlas_look(World* world) noexcept nogil
