"""Faults of the simulated cluster; see faults.pxd."""

from quorumlog._core.base.prng cimport Prng, prng_below, prng_chance, prng_seed
from quorumlog._core.simulation.disk cimport DISK_SYNC, DISK_WRITE, disk_fail
from quorumlog._core.simulation.disk_cut cimport disk_power_cut
from quorumlog._core.simulation.host cimport host_stop
from quorumlog._core.simulation.host_apply cimport host_compact
from quorumlog._core.simulation.host_disk cimport host_plan
from quorumlog._core.simulation.network cimport network_be_kind, network_break, network_heal
from quorumlog._core.simulation.rot cimport rot_turn
from quorumlog._core.simulation.schedule cimport OCCURS_REACHABLE, OCCURS_START, Occurrence, schedule_add
from quorumlog._core.simulation.world_state cimport Host, World, WorldOptions

from libc.errno cimport EIO, ENOSPC
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

cdef enum:
    MILLISECOND = 1000000


cdef uint32_t weight(Prng* prng) noexcept nogil:
    """Off, rare, or hot."""
    cdef uint64_t drawn = prng_below(prng, 4)
    return 0 if drawn == 0 else 1 if drawn == 1 else 4 if drawn == 2 else 12


cdef void draw_network(WorldOptions* options, Prng* prng) noexcept nogil:
    options.network.loss_per_mille = <uint32_t>(prng_below(prng, 4) * prng_below(prng, 70))
    options.network.duplicate_per_mille = <uint32_t>(prng_below(prng, 2) * prng_below(prng, 200))
    options.network.slow_per_mille = <uint32_t>(prng_below(prng, 2) * prng_below(prng, 150))
    options.network.delay_min_ns = 20000 + prng_below(prng, MILLISECOND)
    options.network.delay_max_ns = options.network.delay_min_ns + prng_below(prng, 10 * MILLISECOND)
    options.network.slow_ns = 2 * options.election_timeout_ns


cdef void draw_weights(WorldOptions* options, Prng* prng) noexcept nogil:
    options.fault_ns = (20 + prng_below(prng, 300)) * MILLISECOND
    options.weight_break = weight(prng)
    options.weight_heal = 2 + weight(prng)
    options.weight_process_crash = weight(prng)
    options.weight_power_cut = weight(prng)
    options.weight_blackout = 1 if prng_chance(prng, 1, 2) else 0
    options.weight_disk_error = 1 if prng_chance(prng, 1, 4) else 0
    options.weight_compact = weight(prng) if prng_chance(prng, 1, 2) else 0
    options.weight_pause = weight(prng) if prng_chance(prng, 1, 2) else 0
    options.drift_per_mille = 50 if prng_chance(prng, 1, 2) else 0
    options.recovery_crash_per_cent = 30 if prng_chance(prng, 1, 3) else 0
    options.weight_rot = weight(prng) if prng_chance(prng, 1, 2) else 0


cdef void draw_options(WorldOptions* options) noexcept nogil:
    cdef Prng prng
    prng_seed(&prng, options.seed ^ 0x51AB1E5EEDULL)
    if options.node_count == 0:
        options.node_count = 5 if prng_chance(&prng, 1, 3) else 1 if prng_chance(&prng, 1, 20) else 3
    options.client_count = 1 + <uint32_t>prng_below(&prng, 3)
    options.window = 1 + <uint32_t>prng_below(&prng, 4)
    # Some seeds have batches so large that segments roll.
    options.payload_bytes_max = 24000 if prng_chance(&prng, 1, 5) else 64
    options.entries_max = 1 + <uint32_t>prng_below(&prng, 4)
    options.read_per_cent = 10 + <uint32_t>prng_below(&prng, 60) if prng_chance(&prng, 1, 2) else 0
    if options.safety_ns == 0:
        options.safety_ns = (1500 + prng_below(&prng, 2500)) * MILLISECOND
    options.election_timeout_ns = 100 * MILLISECOND
    options.heartbeat_ns = (10 + prng_below(&prng, 20)) * MILLISECOND
    if options.healed_ns == 0:
        options.healed_ns = 30 * options.election_timeout_ns
    if options.progress == 0:
        options.progress = 3
    # One batch in a message, in some seeds: a leader's old entries arrive before its own term's (Figure 8).
    options.append_bytes_max = 1 if prng_chance(&prng, 1, 3) else 65536
    options.cache_bytes = 0 if prng_chance(&prng, 1, 3) else 1 << 20
    options.client_ns = (2 + prng_below(&prng, 20)) * MILLISECOND
    options.disk_min_ns = 50000
    options.disk_max_ns = 100000 + prng_below(&prng, 2) * prng_below(&prng, 40 * MILLISECOND)
    draw_network(options, &prng)
    draw_weights(options, &prng)


cdef void start_later(World* world, Host* host, uint64_t delay_ns) noexcept nogil:
    cdef Occurrence occurrence
    if host.starting:
        return
    host.starting = True
    memset(&occurrence, 0, sizeof(Occurrence))
    occurrence.kind = OCCURS_START
    occurrence.node = host.number
    occurrence.at_ns = world.now_ns + delay_ns
    schedule_add(&world.schedule, occurrence)


cdef void crash(World* world, Host* host, bint power) noexcept nogil:
    """A node that is down can still lose its cache."""
    host_stop(world, host)
    memset(host.disk.faults, 0, sizeof(host.disk.faults))
    if power:
        world.power_cuts += 1
        disk_power_cut(host.disk, &world.prng)
    else:
        world.process_crashes += 1
    start_later(world, host, prng_below(&world.prng, 3 * world.options.election_timeout_ns))


cdef void tell_reachable(World* world, uint32_t per_cent) noexcept nogil:
    """Nodes look at their connections some time later; a cut may go unnoticed, a return never does."""
    cdef Occurrence occurrence
    cdef uint32_t a, b
    for a in range(world.options.node_count):
        for b in range(world.options.node_count):
            if a == b or not prng_chance(&world.prng, per_cent, 100):
                continue
            memset(&occurrence, 0, sizeof(Occurrence))
            occurrence.kind = OCCURS_REACHABLE
            occurrence.node = a
            occurrence.incarnation = world.hosts[a].incarnation
            occurrence.number = b + 1
            occurrence.at_ns = world.now_ns + prng_below(&world.prng, world.options.election_timeout_ns)
            schedule_add(&world.schedule, occurrence)


cdef void fail_disk(World* world, Host* host) noexcept nogil:
    cdef int operation = DISK_SYNC if prng_chance(&world.prng, 1, 2) else DISK_WRITE
    cdef int error = ENOSPC if operation == DISK_WRITE and prng_chance(&world.prng, 1, 2) else EIO
    disk_fail(host.disk, operation, prng_below(&world.prng, 3), error, False)


cdef bint takes(uint64_t* drawn, uint32_t weight) noexcept nogil:
    """One ticket of a draw among weights."""
    if drawn[0] < weight:
        drawn[0] = <uint64_t>-1
        return True
    drawn[0] -= weight
    return False


cdef void fault_turn(World* world) noexcept nogil:
    cdef WorldOptions* o = &world.options
    cdef Host* host = &world.hosts[prng_below(&world.prng, o.node_count)]
    cdef uint64_t drawn = prng_below(&world.prng, o.weight_break + o.weight_heal + o.weight_process_crash
                                     + o.weight_power_cut + o.weight_blackout + o.weight_disk_error
                                     + o.weight_compact + o.weight_pause + o.weight_rot)
    cdef uint32_t i
    if takes(&drawn, o.weight_break):
        network_break(&world.network, &world.prng)
        tell_reachable(world, 50)
    elif takes(&drawn, o.weight_heal):
        network_heal(&world.network)
        tell_reachable(world, 100)
    elif takes(&drawn, o.weight_process_crash):
        crash(world, host, False)
    elif takes(&drawn, o.weight_power_cut):
        crash(world, host, True)
    elif takes(&drawn, o.weight_blackout):
        for i in range(o.node_count):
            crash(world, &world.hosts[i], True)
    elif takes(&drawn, o.weight_disk_error):
        fail_disk(world, host)
    elif takes(&drawn, o.weight_rot):
        rot_turn(world, host)
    elif takes(&drawn, o.weight_pause):
        world.pauses += 1
        host.paused_until_ns = world.now_ns + prng_below(&world.prng, 12 * o.election_timeout_ns)
    elif host.up and host_compact(world, host):
        host_plan(world, host)


cdef void heal_world(World* world) noexcept nogil:
    cdef uint32_t i
    world.healed = True
    world.healed_at_ns = world.now_ns
    network_be_kind(&world.network)
    world.options.disk_max_ns = min(world.options.disk_max_ns, <uint64_t>5 * MILLISECOND)
    for i in range(world.options.node_count):
        memset(world.hosts[i].disk.faults, 0, sizeof(world.hosts[i].disk.faults))
        world.hosts[i].paused_until_ns = 0
        if not world.hosts[i].up:
            start_later(world, &world.hosts[i], 0)
    tell_reachable(world, 100)
