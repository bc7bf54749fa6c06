"""The virtual network; see network.pxd."""

from quorumlog._core.base.prng cimport Prng, prng_below, prng_chance

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset


cdef uint64_t draw_delay_ns(const NetworkOptions* options, Prng* prng) noexcept nogil:
    if prng_chance(prng, options.slow_per_mille, 1000):
        return options.delay_min_ns + prng_below(prng, options.slow_ns + 1)
    return options.delay_min_ns + prng_below(prng, options.delay_max_ns - options.delay_min_ns + 1)


cdef uint32_t network_send(Network* network, uint32_t source, uint32_t target, uint64_t now_ns, Prng* prng,
                           uint64_t* arrivals_ns) noexcept nogil:
    cdef const NetworkOptions* options = &network.options
    network.sent += 1
    if network.cut[source][target] or prng_chance(prng, options.loss_per_mille, 1000):
        network.lost += 1
        return 0
    arrivals_ns[0] = now_ns + draw_delay_ns(options, prng)
    if not prng_chance(prng, options.duplicate_per_mille, 1000):
        return 1
    network.duplicated += 1
    arrivals_ns[1] = now_ns + draw_delay_ns(options, prng)
    return 2


cdef void cut_between(Network* network, uint32_t group) noexcept nogil:
    """No link joins the nodes in the bit set `group` with the others."""
    cdef uint32_t a, b
    for a in range(network.node_count):
        for b in range(network.node_count):
            if ((group >> a) & 1) != ((group >> b) & 1):
                network.cut[a][b] = True


cdef void network_break(Network* network, Prng* prng) noexcept nogil:
    cdef uint32_t nodes = network.node_count
    cdef uint32_t a = <uint32_t>prng_below(prng, nodes)
    cdef uint32_t b = (a + 1 + <uint32_t>prng_below(prng, nodes - 1)) % nodes if nodes > 1 else a
    cdef uint32_t i
    cdef uint64_t kind = prng_below(prng, 6)
    if kind == 0:
        cut_between(network, <uint32_t>1 << a)
    elif kind == 1:
        cut_between(network, <uint32_t>prng_below(prng, <uint64_t>1 << nodes))
    elif kind == 2:
        network.cut[a][b] = True
    elif kind == 3:
        # The partial failure of Cloudflare, 2020-11-02 (hard case A-R12).
        network.cut[a][b] = True
        network.cut[b][a] = True
    elif kind == 4:
        for i in range(nodes):
            if i != a:
                network.cut[a][i] = True           # speaks to nobody, hears all
    else:
        # Two halves, and node `a` reaches both.
        cut_between(network, <uint32_t>prng_below(prng, <uint64_t>1 << nodes))
        for i in range(nodes):
            network.cut[a][i] = False
            network.cut[i][a] = False


cdef void network_heal(Network* network) noexcept nogil:
    memset(network.cut, 0, sizeof(network.cut))


cdef void network_be_kind(Network* network) noexcept nogil:
    network_heal(network)
    network.options.loss_per_mille = 0
    network.options.duplicate_per_mille = 0
    network.options.slow_per_mille = 0
    network.options.delay_max_ns = min(network.options.delay_max_ns, network.options.delay_min_ns + 2000000)
