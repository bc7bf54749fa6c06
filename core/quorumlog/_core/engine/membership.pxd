"""Who belongs to a group, and in which slot.  Fixed in 0.1, but every protocol asks here."""

from quorumlog._core.base.types cimport NODES_MAX, index_t, node_t
from quorumlog._core.engine.quorum cimport Quorum

from libc.stdint cimport int32_t, uint32_t

cdef struct Membership:
    node_t nodes[NODES_MAX]    # by slot; voters first
    uint32_t count
    uint32_t voters            # bit set of slots
    uint32_t learners
    index_t index              # of the entry that made it; 0: from the start
    Quorum quorum


# Voters by majority, ordered by node id so that slots agree on all nodes.  ERR_USAGE: none, too many,
# twice the same, or node 0.
cdef int membership_open(Membership* membership, const node_t* voters, uint32_t count) noexcept nogil
cdef int32_t membership_slot(const Membership* membership, node_t node) noexcept nogil    # -1: not a member
cdef bint membership_votes(const Membership* membership, node_t node) noexcept nogil
