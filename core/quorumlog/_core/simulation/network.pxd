"""The virtual network: loss, duplication, delay (and so reordering), links cut in either direction."""

from quorumlog._core.base.prng cimport Prng
from quorumlog._core.base.types cimport NODES_MAX

from libc.stdint cimport uint32_t, uint64_t

cdef struct NetworkOptions:
    uint32_t loss_per_mille
    uint32_t duplicate_per_mille
    uint32_t slow_per_mille            # of messages take up to slow_ns
    uint64_t delay_min_ns
    uint64_t delay_max_ns
    uint64_t slow_ns

cdef struct Network:
    NetworkOptions options
    uint32_t node_count
    bint cut[NODES_MAX][NODES_MAX]     # [from][to]
    uint64_t sent
    uint64_t lost
    uint64_t duplicated

cdef enum:
    ARRIVALS_MAX = 2


# When the copies of a message arrive; the number of copies, 0 to ARRIVALS_MAX.
cdef uint32_t network_send(Network* network, uint32_t source, uint32_t target, uint64_t now_ns, Prng* prng,
                           uint64_t* arrivals_ns) noexcept nogil
# Cuts some links: halves, one node, one direction, one pair, or everything through a bridge.
cdef void network_break(Network* network, Prng* prng) noexcept nogil
cdef void network_heal(Network* network) noexcept nogil
# Every link, at most so slow, nothing lost.
cdef void network_be_kind(Network* network) noexcept nogil
