"""Slots are given in order of node id, so that bit sets mean the same on every node."""

from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memset

from quorumlog._core.base.status cimport ERR_USAGE, OK
from quorumlog._core.base.types cimport NODES_MAX, node_t
from quorumlog._core.engine.quorum cimport quorum_majority


cdef int membership_open(Membership* membership, const node_t* voters, uint32_t count) noexcept nogil:
    cdef uint32_t i, place
    memset(membership, 0, sizeof(Membership))
    if count == 0 or count > NODES_MAX:
        return ERR_USAGE
    for i in range(count):
        if voters[i] == 0:
            return ERR_USAGE
        place = i
        while place > 0 and membership.nodes[place - 1] > voters[i]:
            membership.nodes[place] = membership.nodes[place - 1]
            place -= 1
        membership.nodes[place] = voters[i]
    for i in range(1, count):
        if membership.nodes[i - 1] == membership.nodes[i]:
            return ERR_USAGE
    membership.count = count
    membership.voters = (<uint32_t>1 << count) - 1
    quorum_majority(&membership.quorum, membership.voters)
    return OK


cdef int32_t membership_slot(const Membership* membership, node_t node) noexcept nogil:
    cdef uint32_t slot
    for slot in range(membership.count):
        if membership.nodes[slot] == node:
            return <int32_t>slot
    return -1


cdef bint membership_votes(const Membership* membership, node_t node) noexcept nogil:
    cdef int32_t slot = membership_slot(membership, node)
    return slot >= 0 and (membership.voters >> slot & 1) != 0
