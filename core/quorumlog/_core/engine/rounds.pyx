"""See rounds.pxd."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from quorumlog._core.base.types cimport NODES_MAX, index_t
from quorumlog._core.engine.quorum cimport acked_index


cdef uint64_t rounds_acked(const Membership* membership, const Progress* progress, int self_slot,
                           uint64_t newest) noexcept nogil:
    cdef index_t rounds[NODES_MAX]
    cdef uint32_t slot
    memset(rounds, 0, sizeof(rounds))
    for slot in range(membership.count):
        rounds[slot] = newest if <int>slot == self_slot else progress[slot].round_acked
    return acked_index(&membership.quorum, rounds)


cdef uint64_t rounds_heard_ns(const Membership* membership, const Progress* progress, int self_slot,
                              uint64_t now_ns) noexcept nogil:
    cdef index_t heard[NODES_MAX]
    cdef uint32_t slot
    memset(heard, 0, sizeof(heard))
    for slot in range(membership.count):
        heard[slot] = now_ns if <int>slot == self_slot else progress[slot].heard_ns
    return acked_index(&membership.quorum, heard)
