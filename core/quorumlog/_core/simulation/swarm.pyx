"""Drawing a run from its seed; see swarm.pxd.

Times are in election timeouts of one second, which is also the least that a real
cluster uses; nothing else depends on that unit.
"""

from quorumlog._core.base.prng cimport Prng, prng_below, prng_chance, prng_seed
from quorumlog._core.simulation.fault_kinds cimport (
    FAULT_BIT_ROT, FAULT_CLOCK_FREEZE, FAULT_CLOCK_JUMP, FAULT_DELAY, FAULT_DUPLICATION, FAULT_KINDS,
    FAULT_LATE_WRITE, FAULT_LOSS, FAULT_PARTITION, FAULT_REORDERING, FAULT_REPLAY, FAULT_ROTTEN_BATCH, FAULT_STALE,
    FAULT_WIPE,
    LEVEL_HOT, LEVEL_OFF, LEVEL_RARE, PROFILE_BEYOND, PROFILE_CLOCKS, PROFILE_HOT, PROFILE_QUIET, PROFILE_REFERENCE,
)

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    MILLISECOND = 1000000
    ELECTION_TIMEOUT_MS = 1000
    HEALED_TIMEOUTS = 30
    WIPES_MAX = 3


cdef uint8_t draw_level(Prng* prng) noexcept nogil:
    cdef uint64_t drawn = prng_below(prng, 5)
    return LEVEL_OFF if drawn < 2 else LEVEL_RARE if drawn < 4 else LEVEL_HOT


cdef void draw_levels(WorldOptions* options, Prng* prng) noexcept nogil:
    cdef uint32_t kind
    for kind in range(FAULT_KINDS):
        options.level[kind] = draw_level(prng)
        if options.profile == PROFILE_HOT:
            options.level[kind] = LEVEL_HOT if prng_chance(prng, 1, 3) else LEVEL_RARE
        elif options.profile == PROFILE_REFERENCE:
            options.level[kind] = LEVEL_RARE
        elif options.profile == PROFILE_QUIET:
            options.level[kind] = LEVEL_OFF
        elif options.profile == PROFILE_BEYOND and FAULT_BIT_ROT <= kind <= FAULT_ROTTEN_BATCH:
            options.level[kind] = LEVEL_HOT
    # One run in two has whole disks.
    if options.profile != PROFILE_BEYOND and options.profile != PROFILE_REFERENCE and prng_chance(prng, 1, 2):
        options.level[<int>FAULT_WIPE] = LEVEL_OFF
        for kind in range(FAULT_BIT_ROT, FAULT_ROTTEN_BATCH + 1):
            options.level[kind] = LEVEL_OFF
    if options.profile == PROFILE_BEYOND:
        options.level[<int>FAULT_WIPE] = LEVEL_OFF


cdef uint32_t per_mille(const WorldOptions* options, int kind, uint32_t rare, uint32_t hot,
                        Prng* prng) noexcept nogil:
    if options.level[kind] == LEVEL_OFF:
        return 0
    if options.level[kind] == LEVEL_RARE:
        return 1 + <uint32_t>prng_below(prng, rare)
    return rare + <uint32_t>prng_below(prng, hot)


cdef void draw_network(WorldOptions* options, Prng* prng) noexcept nogil:
    options.network.loss_per_mille = per_mille(options, FAULT_LOSS, 10, 200, prng)
    options.network.duplicate_per_mille = per_mille(options, FAULT_DUPLICATION, 10, 200, prng)
    options.network.slow_per_mille = per_mille(options, FAULT_DELAY, 10, 150, prng)
    options.network.reorder_per_mille = per_mille(options, FAULT_REORDERING, 20, 300, prng)
    options.network.replay_per_mille = per_mille(options, FAULT_REPLAY, 5, 50, prng)
    options.network.delay_min_ns = 200000 + prng_below(prng, 10 * MILLISECOND)
    options.network.delay_max_ns = options.network.delay_min_ns + prng_below(prng, 100 * MILLISECOND)
    options.network.slow_ns = 2 * options.election_timeout_ns
    options.network.reorder_ns = 200 * MILLISECOND


cdef void draw_disk(WorldOptions* options, Prng* prng) noexcept nogil:
    options.disk_min_ns = 500000
    options.disk_max_ns = 1000000
    if options.level[<int>FAULT_LATE_WRITE] == LEVEL_RARE:
        options.disk_max_ns += prng_below(prng, 50 * MILLISECOND)
    elif options.level[<int>FAULT_LATE_WRITE] == LEVEL_HOT:
        options.disk_max_ns += prng_below(prng, 400 * MILLISECOND)


cdef void draw_sizes(WorldOptions* options, Prng* prng) noexcept nogil:
    if options.node_count == 0:
        options.node_count = 5 if prng_chance(prng, 1, 3) else 1 if prng_chance(prng, 1, 20) else 3
    options.client_count = 1 + <uint32_t>prng_below(prng, 3)
    options.window = 1 + <uint32_t>prng_below(prng, 4)
    options.segment_bytes = 1 << 20 if prng_chance(prng, 1, 8) else 64 << 10
    options.payload_bytes_max = 64
    # Some seeds have batches so large that segments roll.
    if prng_chance(prng, 1, 5):
        options.payload_bytes_max = 24000 if options.segment_bytes > (64 << 10) else 3000
    options.entries_max = 1 + <uint32_t>prng_below(prng, 4)
    options.keys = 1 + <uint32_t>prng_below(prng, 4)
    options.read_per_cent = 10 + <uint32_t>prng_below(prng, 60) if prng_chance(prng, 2, 3) else 0
    options.leases = options.profile == PROFILE_CLOCKS or prng_chance(prng, 1, 3)
    options.stamped = prng_chance(prng, 1, 3) and options.machine == NULL
    options.client_lifetime_ns = 3600000 * <uint64_t>MILLISECOND
    if prng_chance(prng, 1, 2):
        options.client_lifetime_ns = (3 + prng_below(prng, 15)) * options.election_timeout_ns
    options.sessions_max = 4 + <uint32_t>prng_below(prng, 4) if prng_chance(prng, 1, 2) else 256
    options.give_up_per_cent = 25 if prng_chance(prng, 1, 2) else 0
    options.heartbeat_ns = (100 + prng_below(prng, 200)) * MILLISECOND
    # One batch in a message, in some seeds: a leader's old entries arrive before its own term's (Figure 8).
    options.append_bytes_max = 1 if prng_chance(prng, 1, 3) else 65536
    options.cache_bytes = 0 if prng_chance(prng, 1, 3) else 1 << 20
    options.client_ns = (20 + prng_below(prng, 130)) * MILLISECOND
    options.fault_ns = (200 + prng_below(prng, 3000)) * MILLISECOND
    options.weight_compact = <uint32_t>prng_below(prng, 4) if prng_chance(prng, 1, 2) else 0
    options.weight_transfer = 1 + <uint32_t>prng_below(prng, 6) if prng_chance(prng, 1, 3) else 0
    options.priorities = 1 + <uint32_t>prng_below(prng, 3) if prng_chance(prng, 1, 6) else 0
    if prng_chance(prng, 1, 8):
        # Heads go as fast as segments fill.
        options.weight_compact = 40
        options.payload_bytes_max = 3000
        options.fault_ns = 200 * MILLISECOND


cdef void draw_snapshots(WorldOptions* options, Prng* prng) noexcept nogil:
    """Often by the log's growth, else as a chore; pieces so small that a transfer takes many."""
    cdef uint64_t scale = 1 + options.payload_bytes_max // 256
    options.snapshot_log_bytes = scale * (300 + prng_below(prng, 6000)) if prng_chance(prng, 2, 3) else 0
    options.retained_log_bytes = prng_below(prng, 2000) if prng_chance(prng, 1, 4) else 0
    options.snapshot_bytes_per_s = 20000 + prng_below(prng, 50000) if prng_chance(prng, 1, 3) else 0
    options.chunk_bytes = <uint32_t>1 << (6 + prng_below(prng, 4))
    options.piece_bytes = 8 * (16 + <uint32_t>prng_below(prng, 200))
    options.state_bytes_max = 1 + <uint32_t>prng_below(prng, 1500)


cdef void draw_clocks(WorldOptions* options, Prng* prng) noexcept nogil:
    """Leases rest on clocks that drift within a bound, neither stand still nor jump: where there are leases, that
    is so, and where it is not shows the profile for it."""
    if options.profile == PROFILE_CLOCKS:
        options.read_per_cent = 90
        options.client_ns = 20 * MILLISECOND
        options.fault_ns = 500 * MILLISECOND
        options.level[<int>FAULT_CLOCK_FREEZE] = LEVEL_HOT
        options.level[<int>FAULT_CLOCK_JUMP] = LEVEL_HOT
        options.level[<int>FAULT_PARTITION] = LEVEL_HOT
    elif options.leases:
        options.level[<int>FAULT_CLOCK_FREEZE] = LEVEL_OFF


cdef void reference_sizes(WorldOptions* options) noexcept nogil:
    """5 nodes, a heartbeat of 100 ms, 10 client operations a second, a fault every two seconds."""
    options.node_count = 5
    options.client_count = 2
    options.window = 1
    options.segment_bytes = 64 << 10
    options.payload_bytes_max = 64
    options.entries_max = 1
    options.keys = 4
    options.read_per_cent = 30
    options.stamped = False
    options.leases = False
    options.heartbeat_ns = 100 * MILLISECOND
    options.client_ns = 200 * MILLISECOND
    options.append_bytes_max = 65536
    options.cache_bytes = 1 << 20
    options.fault_ns = 2000 * MILLISECOND
    options.weight_compact = 1
    options.weight_transfer = 1
    options.priorities = 0


cdef bint rots(const WorldOptions* options) noexcept nogil:
    cdef uint32_t kind
    for kind in range(FAULT_BIT_ROT, FAULT_ROTTEN_BATCH + 1):
        if options.level[kind] != LEVEL_OFF:
            return True
    return False


cdef void settle_damage(WorldOptions* options, Prng* prng) noexcept nogil:
    """What peers have compacted they can't send for a repair: where logs rot, heads stay; where heads go, it is
    snapshots that rot."""
    cdef uint32_t kind
    if not rots(options) and options.level[<int>FAULT_WIPE] == LEVEL_OFF:
        return
    options.snapshots_rot = options.profile != PROFILE_BEYOND and prng_chance(prng, 1, 3)
    if not options.snapshots_rot:
        options.weight_compact = 0
        options.snapshot_log_bytes = 0
        options.scrub_ns = (100 + prng_below(prng, 600)) * MILLISECOND
        return
    options.level[<int>FAULT_WIPE] = LEVEL_OFF
    for kind in range(FAULT_STALE, FAULT_ROTTEN_BATCH + 1):
        options.level[kind] = LEVEL_OFF


cdef void draw_options(WorldOptions* options) noexcept nogil:
    cdef Prng prng
    prng_seed(&prng, options.seed ^ 0x51AB1E5EEDULL)
    options.election_timeout_ns = ELECTION_TIMEOUT_MS * <uint64_t>MILLISECOND
    draw_levels(options, &prng)
    draw_sizes(options, &prng)
    draw_snapshots(options, &prng)
    if options.profile == PROFILE_REFERENCE:
        reference_sizes(options)
    elif options.profile == PROFILE_HOT:
        options.fault_ns = (200 + prng_below(&prng, 800)) * MILLISECOND
    elif options.profile == PROFILE_QUIET:
        options.fault_ns = 0
    draw_clocks(options, &prng)
    if options.safety_ns == 0:
        options.safety_ns = (30 + prng_below(&prng, 20)) * options.election_timeout_ns
    if options.healed_ns == 0:
        options.healed_ns = HEALED_TIMEOUTS * options.election_timeout_ns
    if options.progress == 0:
        options.progress = 3
    # So many copies may go that a quorum of intact ones is left (P4).
    options.damaged_nodes_max = (options.node_count - 1) // 2
    options.wipes_max = WIPES_MAX
    settle_damage(options, &prng)
    draw_network(options, &prng)
    draw_disk(options, &prng)
    if options.machine != NULL:
        options.snapshot_log_bytes = 0
        options.weight_compact = 0             # a user's machine has no snapshot to begin from
