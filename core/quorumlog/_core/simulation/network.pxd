"""The virtual network: loss, duplication, delay and reordering; links cut in either direction, or clogged."""

from quorumlog._core.base.prng cimport Prng
from quorumlog._core.base.types cimport NODES_MAX

from libc.stdint cimport uint32_t, uint64_t

cdef struct NetworkOptions:
    uint32_t loss_per_mille
    uint32_t duplicate_per_mille
    uint32_t slow_per_mille            # of messages take up to slow_ns
    uint32_t reorder_per_mille         # of messages take up to reorder_ns more: later ones overtake
    uint32_t replay_per_mille          # of messages are kept, to come again some time
    uint64_t delay_min_ns
    uint64_t delay_max_ns
    uint64_t slow_ns
    uint64_t reorder_ns

cdef struct Network:
    NetworkOptions options
    uint32_t node_count
    bint cut[NODES_MAX][NODES_MAX]             # [from][to]
    uint64_t clogged_until_ns[NODES_MAX][NODES_MAX]
    uint64_t newest_ns[NODES_MAX][NODES_MAX]   # the latest arrival so far
    uint64_t sent
    uint64_t lost                      # by chance
    uint64_t cut_off                   # by a cut link
    uint64_t duplicated
    uint64_t slowed
    uint64_t overtaken                 # arrive before one that was sent earlier
    uint64_t clogged

cdef enum:
    ARRIVALS_MAX = 2


# When the copies of a message arrive; the number of copies, 0 to ARRIVALS_MAX.
cdef uint32_t network_send(Network* network, uint32_t source, uint32_t target, uint64_t now_ns, Prng* prng,
                           uint64_t* arrivals_ns) noexcept nogil
# Each cuts some links; what is cut already stays so.
cdef void network_partition(Network* network, Prng* prng) noexcept nogil
cdef void network_isolate(Network* network, uint32_t node) noexcept nogil
cdef void network_one_way(Network* network, Prng* prng) noexcept nogil
cdef void network_bridge(Network* network, Prng* prng) noexcept nogil
# Some links deliver nothing before `until_ns`, and then all at once.
cdef void network_clog(Network* network, uint64_t until_ns, Prng* prng) noexcept nogil
cdef void network_heal(Network* network) noexcept nogil
# Every link, at most so slow, nothing lost.
cdef void network_be_kind(Network* network) noexcept nogil
