"""Lost directories and readmission; see operators.pxd."""

from quorumlog._core.base.prng cimport prng_below
from quorumlog._core.simulation.atlas cimport atlas_note
from quorumlog._core.simulation.host_life cimport host_new_directory, host_stop
from quorumlog._core.simulation.ledger_back cimport ledger_wiped
from quorumlog._core.simulation.occurring cimport occur_later
from quorumlog._core.simulation.schedule cimport OCCURS_OPERATOR, OCCURS_REACHABLE, Occurrence
from quorumlog._core.simulation.trace cimport TRACE_READMITTED, trace_note
from quorumlog._core.simulation.world_state cimport Host, Parcel, World

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    SLOW_TIMEOUTS = 12         # election timeouts until an operator gets to it, at most
    SOON_TIMEOUTS = 2


cdef void readmit_later(World* world, Host* host, uint32_t peer, uint64_t timeouts) noexcept nogil:
    occur_later(world, host.number, OCCURS_OPERATOR,
                prng_below(&world.prng, timeouts * world.options.election_timeout_ns), peer, host.directory)


cdef void operators_replace(World* world, Host* host) noexcept nogil:
    cdef uint32_t i
    world.wipes += 1
    atlas_note(world, host, True)
    host_stop(world, host)
    host_new_directory(world, host)
    ledger_wiped(world.ledger, host.number)
    for i in range(world.options.node_count):
        # A new directory believes whom it meets first.
        world.known[host.number][i] = world.hosts[i].directory
        if i != host.number:
            readmit_later(world, host, i, SLOW_TIMEOUTS)


cdef void operators_hurry(World* world) noexcept nogil:
    cdef uint32_t a, b
    for a in range(world.options.node_count):
        for b in range(world.options.node_count):
            if a != b and world.known[b][a] != world.hosts[a].directory:
                readmit_later(world, &world.hosts[a], b, SOON_TIMEOUTS)


cdef void tell_reachable(World* world, uint32_t node, uint32_t peer) noexcept nogil:
    occur_later(world, node, OCCURS_REACHABLE, prng_below(&world.prng, world.options.election_timeout_ns), peer + 1, 0)


cdef void operators_readmit(World* world, const Occurrence* occurrence) noexcept nogil:
    cdef Host* host = &world.hosts[occurrence.node]
    cdef uint32_t peer = <uint32_t>occurrence.number
    if host.directory != occurrence.extra or world.known[peer][host.number] == host.directory:
        return                         # lost once more meanwhile, or told already
    world.known[peer][host.number] = host.directory
    trace_note(&world.trace, world.now_ns, TRACE_READMITTED, host.number, peer + 1, 0, host.directory, 0, 0)
    tell_reachable(world, host.number, peer)
    tell_reachable(world, peer, host.number)


cdef bint operators_introduced(const World* world, const Host* host, const Host* peer) noexcept nogil:
    return (world.known[host.number][peer.number] == peer.directory
            and world.known[peer.number][host.number] == host.directory)


cdef bint operators_let_pass(const World* world, const Host* host, const Parcel* parcel) noexcept nogil:
    cdef uint32_t sender = <uint32_t>parcel.message.sender - 1
    return (parcel.to_directory == host.directory
            and parcel.from_directory == world.known[host.number][sender])
