"""The virtual network; see network.pxd."""

from quorumlog._core.base.prng cimport Prng, prng_below, prng_chance

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

cdef enum:
    MILLISECOND = 1000000


cdef uint64_t draw_arrival_ns(Network* network, uint32_t source, uint32_t target, uint64_t now_ns,
                              Prng* prng) noexcept nogil:
    cdef const NetworkOptions* options = &network.options
    cdef uint64_t at_ns = now_ns + options.delay_min_ns
    if options.slow_per_mille != 0 and prng_chance(prng, options.slow_per_mille, 1000):
        network.slowed += 1
        at_ns += prng_below(prng, options.slow_ns + 1)
    else:
        at_ns += prng_below(prng, options.delay_max_ns - options.delay_min_ns + 1)
    if options.reorder_per_mille != 0 and prng_chance(prng, options.reorder_per_mille, 1000):
        at_ns += prng_below(prng, options.reorder_ns + 1)
    if at_ns < network.clogged_until_ns[source][target]:
        network.clogged += 1
        at_ns = network.clogged_until_ns[source][target] + prng_below(prng, MILLISECOND)
    if options.reorder_per_mille == 0:
        at_ns = max(at_ns, network.newest_ns[source][target])      # one connection, in order
    if at_ns < network.newest_ns[source][target]:
        network.overtaken += 1
    else:
        network.newest_ns[source][target] = at_ns
    return at_ns


cdef uint32_t network_send(Network* network, uint32_t source, uint32_t target, uint64_t now_ns, Prng* prng,
                           uint64_t* arrivals_ns) noexcept nogil:
    cdef const NetworkOptions* options = &network.options
    network.sent += 1
    if network.cut[source][target]:
        network.cut_off += 1
        return 0
    if options.loss_per_mille != 0 and prng_chance(prng, options.loss_per_mille, 1000):
        network.lost += 1
        return 0
    arrivals_ns[0] = draw_arrival_ns(network, source, target, now_ns, prng)
    if options.duplicate_per_mille == 0 or not prng_chance(prng, options.duplicate_per_mille, 1000):
        return 1
    network.duplicated += 1
    arrivals_ns[1] = draw_arrival_ns(network, source, target, now_ns, prng)
    return 2


cdef void cut_between(Network* network, uint32_t group) noexcept nogil:
    """No link joins the nodes in the bit set `group` with the others."""
    cdef uint32_t a, b
    for a in range(network.node_count):
        for b in range(network.node_count):
            if ((group >> a) & 1) != ((group >> b) & 1):
                network.cut[a][b] = True


cdef uint32_t draw_node(const Network* network, Prng* prng) noexcept nogil:
    return <uint32_t>prng_below(prng, network.node_count)


cdef uint32_t draw_other(const Network* network, uint32_t node, Prng* prng) noexcept nogil:
    if network.node_count == 1:
        return node
    return (node + 1 + <uint32_t>prng_below(prng, network.node_count - 1)) % network.node_count


cdef uint32_t draw_half(const Network* network, Prng* prng) noexcept nogil:
    """A bit set of some nodes, neither none nor all where there are two."""
    cdef uint32_t all = (<uint32_t>1 << network.node_count) - 1
    return 1 + <uint32_t>prng_below(prng, all - 1) if all > 1 else 1


cdef void network_partition(Network* network, Prng* prng) noexcept nogil:
    cdef uint32_t a = draw_node(network, prng)
    cdef uint32_t b = draw_other(network, a, prng)
    cdef uint64_t kind = prng_below(prng, 3)
    if kind == 0:
        cut_between(network, <uint32_t>1 << a)
    elif kind == 1:
        cut_between(network, draw_half(network, prng))
    else:
        # The partial failure of Cloudflare, 2020-11-02 (hard case A-R12).
        network.cut[a][b] = True
        network.cut[b][a] = True


cdef void network_isolate(Network* network, uint32_t node) noexcept nogil:
    cut_between(network, <uint32_t>1 << node)


cdef void network_one_way(Network* network, Prng* prng) noexcept nogil:
    cdef uint32_t a = draw_node(network, prng)
    cdef uint32_t b = draw_other(network, a, prng)
    cdef uint64_t kind = prng_below(prng, 3)
    cdef uint32_t i
    if kind == 0:
        network.cut[a][b] = True
        return
    for i in range(network.node_count):
        if i == a:
            continue
        if kind == 1:
            network.cut[a][i] = True           # speaks to nobody, hears all
        else:
            network.cut[i][a] = True           # hears nobody, speaks to all


cdef void network_bridge(Network* network, Prng* prng) noexcept nogil:
    """Two halves, and one node reaches both."""
    cdef uint32_t a = draw_node(network, prng)
    cdef uint32_t i
    cut_between(network, draw_half(network, prng))
    for i in range(network.node_count):
        network.cut[a][i] = False
        network.cut[i][a] = False


cdef void network_clog(Network* network, uint64_t until_ns, Prng* prng) noexcept nogil:
    cdef uint32_t a = draw_node(network, prng)
    cdef uint32_t b = draw_other(network, a, prng)
    cdef uint64_t kind = prng_below(prng, 3)
    cdef uint32_t i
    if kind == 0:
        network.clogged_until_ns[a][b] = until_ns
        return
    for i in range(network.node_count):
        if kind == 1:
            network.clogged_until_ns[a][i] = until_ns
        else:
            network.clogged_until_ns[i][a] = until_ns


cdef void network_heal(Network* network) noexcept nogil:
    memset(network.cut, 0, sizeof(network.cut))


cdef void network_be_kind(Network* network) noexcept nogil:
    network_heal(network)
    memset(network.clogged_until_ns, 0, sizeof(network.clogged_until_ns))
    network.options.loss_per_mille = 0
    network.options.duplicate_per_mille = 0
    network.options.slow_per_mille = 0
    network.options.reorder_per_mille = 0
    network.options.replay_per_mille = 0
    network.options.delay_max_ns = min(network.options.delay_max_ns,
                                       network.options.delay_min_ns + 20 * MILLISECOND)
