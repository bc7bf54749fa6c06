"""Faults of the simulated cluster; see faults.pxd."""

from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.prng cimport prng_below, prng_chance
from quorumlog._core.engine.protocol cimport EVENT_TRANSFER, ROLE_LEADER, Event
from quorumlog._core.simulation.damage cimport damage_all, damage_turn, damage_wipe
from quorumlog._core.simulation.disk cimport DISK_READ, DISK_SYNC, DISK_WRITE, disk_fail
from quorumlog._core.simulation.disk_cut cimport disk_power_cut
from quorumlog._core.simulation.fault_kinds cimport (
    FAULT_BIT_ROT, FAULT_BLACKOUT, FAULT_BRIDGE, FAULT_CLOCK_FREEZE, FAULT_CLOCK_JUMP, FAULT_CLOG, FAULT_KINDS,
    FAULT_NO_SPACE, FAULT_ONE_WAY, FAULT_PARTITION, FAULT_PAUSE, FAULT_POWER_CUT, FAULT_PROCESS_CRASH,
    FAULT_REPLAY, FAULT_ROTTEN_BATCH, FAULT_SECOND_CRASH, FAULT_STALL, FAULT_SYNC_ERROR, FAULT_WIPE,
    FAULT_WRITE_ERROR, LEVEL_OFF, LEVEL_RARE, PROFILE_BEYOND,
    PROFILE_CLOCKS,
)
from quorumlog._core.simulation.host cimport host_clock_ns, host_step
from quorumlog._core.simulation.host_disk cimport host_plan
from quorumlog._core.simulation.host_life cimport host_is_hurt, host_stop
from quorumlog._core.simulation.host_snapshot cimport host_begin_snapshot
from quorumlog._core.simulation.marks cimport (
    MARK_CLOCK_FROZE_LEADER, MARK_GARBAGE, MARK_HELD_LOST, MARK_LEADER_PAUSED, MARK_NAME_LOST, MARK_QUORUM_DOWN,
    MARK_REPLAYED, MARK_SECOND_CRASH, mark,
)
from quorumlog._core.simulation.network cimport (
    network_be_kind, network_bridge, network_clog, network_heal, network_isolate, network_one_way, network_partition,
)
from quorumlog._core.simulation.occurring cimport occur_later
from quorumlog._core.simulation.operators cimport operators_hurry
from quorumlog._core.simulation.schedule cimport (
    OCCURS_DELIVERY, OCCURS_FAULT, OCCURS_REACHABLE, OCCURS_START, Occurrence, schedule_add,
)
from quorumlog._core.simulation.trace cimport (
    TRACE_FAULT, TRACE_HEALED, TRACE_MENDED, TRACE_STOPPED, trace_note,
)
from quorumlog._core.simulation.world_state cimport OLD_FRAMES_MAX, Host, Parcel, World

from libc.errno cimport EIO, ENOSPC
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

cdef enum:
    MILLISECOND = 1000000
    # Chores, drawn among the faults
    COMPACTION = FAULT_KINDS
    TRANSFER = FAULT_KINDS + 1
    TURNS = FAULT_KINDS + 2


cdef void note_fault(World* world, int kind, uint32_t node) noexcept nogil:
    world.faults[kind] += 1
    trace_note(&world.trace, world.now_ns, TRACE_FAULT, node, 0, 0, kind, 0, 0)


# Crashes --------------------------------------------------------------------------------

cdef void start_later(World* world, Host* host, uint64_t delay_ns) noexcept nogil:
    if host.starting or host.ended:
        return
    host.starting = True
    occur_later(world, host.number, OCCURS_START, delay_ns, 0, 0)


cdef void look_at_quorum(World* world) noexcept nogil:
    cdef uint32_t up = 0
    cdef uint32_t i
    for i in range(world.options.node_count):
        up += 1 if world.hosts[i].up else 0
    if 2 * up <= world.options.node_count:
        mark(world.marks, MARK_QUORUM_DOWN)


cdef void crash(World* world, Host* host, bint power) noexcept nogil:
    """A node that is down can still lose its cache."""
    if host.ended:
        return
    if host.held_count != 0:
        mark(world.marks, MARK_HELD_LOST)
    trace_note(&world.trace, world.now_ns, TRACE_STOPPED, host.number, 0, 0, power, 0, 0)
    host_stop(world, host)
    memset(host.disk.faults, 0, sizeof(host.disk.faults))
    if power:
        disk_power_cut(host.disk, &world.prng)
        if host.disk.names_lost != 0:
            mark(world.marks, MARK_NAME_LOST)
        if host.disk.sectors_spoilt != 0:
            mark(world.marks, MARK_GARBAGE)
        host.disk.names_lost = 0
        host.disk.sectors_spoilt = 0
    look_at_quorum(world)
    start_later(world, host, prng_below(&world.prng, 3 * world.options.election_timeout_ns))


cdef void draw_crash(World* world, Host* host, int kind) noexcept nogil:
    """The other kind may follow as soon as the node is back, when its cache is not written down yet."""
    cdef int level = world.options.level[<int>FAULT_SECOND_CRASH]
    if not host.ended:
        note_fault(world, kind, host.number)
    crash(world, host, kind == FAULT_POWER_CUT)
    if level != LEVEL_OFF and prng_chance(&world.prng, 1, 8 if level == LEVEL_RARE else 2):
        host.second_crash = 1 if kind == FAULT_POWER_CUT else 2


cdef void fault_after_start(World* world, Host* host) noexcept nogil:
    if host.second_crash != 0 and not world.healed:
        occur_later(world, host.number, OCCURS_FAULT, prng_below(&world.prng, 100 * MILLISECOND), TURN_SECOND_CRASH,
                    host.second_crash == 2)
    host.second_crash = 0


cdef void second_crash(World* world, const Occurrence* occurrence) noexcept nogil:
    cdef Host* host = &world.hosts[occurrence.node]
    if not host.up or host.incarnation != occurrence.incarnation:
        return
    note_fault(world, FAULT_SECOND_CRASH, host.number)
    mark(world.marks, MARK_SECOND_CRASH)
    crash(world, host, occurrence.extra != 0)


# Links ----------------------------------------------------------------------------------

cdef void tell_reachable(World* world, uint32_t per_cent) noexcept nogil:
    """Nodes look at their connections some time later; a cut may go unnoticed, a return never does."""
    cdef uint32_t a, b
    for a in range(world.options.node_count):
        for b in range(world.options.node_count):
            if a != b and prng_chance(&world.prng, per_cent, 100):
                occur_later(world, a, OCCURS_REACHABLE, prng_below(&world.prng, world.options.election_timeout_ns),
                            b + 1, 0)


cdef void mend_links(World* world) noexcept nogil:
    world.mending = False
    trace_note(&world.trace, world.now_ns, TRACE_MENDED, 0, 0, 0, 0, 0, 0)
    network_heal(&world.network)
    tell_reachable(world, 100)


cdef void break_links(World* world, int kind) noexcept nogil:
    cdef uint64_t timeout_ns = world.options.election_timeout_ns
    if kind == FAULT_PARTITION:
        network_partition(&world.network, &world.prng)
    elif kind == FAULT_ONE_WAY:
        network_one_way(&world.network, &world.prng)
    elif kind == FAULT_BRIDGE:
        network_bridge(&world.network, &world.prng)
    else:
        network_clog(&world.network, world.now_ns + prng_below(&world.prng, 3 * timeout_ns), &world.prng)
        return
    notice_cuts(world)


cdef void notice_cuts(World* world) noexcept nogil:
    cdef uint64_t timeout_ns = world.options.election_timeout_ns
    tell_reachable(world, 50)
    if not world.mending:
        world.mending = True
        occur_later(world, 0, OCCURS_FAULT, timeout_ns // 2 + prng_below(&world.prng, 6 * timeout_ns), TURN_MEND, 0)


cdef void replay_frames(World* world) noexcept nogil:
    """What somebody kept from long ago arrives (again, unless it was lost then)."""
    cdef Occurrence occurrence
    cdef Parcel* parcel
    cdef uint32_t i
    for i in range(OLD_FRAMES_MAX):
        parcel = world.old_frames[i]
        if parcel == NULL:
            continue
        world.old_frames[i] = NULL
        parcel.again = True
        mark(world.marks, MARK_REPLAYED)
        memset(&occurrence, 0, sizeof(Occurrence))
        occurrence.kind = OCCURS_DELIVERY
        occurrence.node = <uint32_t>parcel.message.target - 1
        occurrence.at_ns = world.now_ns + prng_below(&world.prng, world.options.election_timeout_ns)
        occurrence.parcel = parcel
        schedule_add(&world.schedule, occurrence)


# Disks and clocks -----------------------------------------------------------------------

cdef void fail_disk(World* world, Host* host, int kind) noexcept nogil:
    cdef uint64_t after = prng_below(&world.prng, 3)
    if kind == FAULT_WRITE_ERROR:
        disk_fail(host.disk, DISK_WRITE, after, EIO, False)
    elif kind == FAULT_NO_SPACE:
        disk_fail(host.disk, DISK_WRITE, after, ENOSPC, False)
    elif kind == FAULT_SYNC_ERROR:
        disk_fail(host.disk, DISK_SYNC, after, EIO, False)
    else:
        disk_fail(host.disk, DISK_READ, after, EIO, False)


cdef void stall_disk(World* world, Host* host) noexcept nogil:
    """Of a leader, in one turn of two: it is the one who should notice."""
    cdef Host* leader = leading_host(world)
    if leader != NULL and prng_chance(&world.prng, 1, 2):
        host = leader
    host.stalled_until_ns = world.now_ns + prng_below(&world.prng, 8 * world.options.election_timeout_ns)


cdef void transfer_somewhere(World* world) noexcept nogil:
    """Somebody asks the leader to hand over: to a node of his choice, sometimes to whom it fits best."""
    cdef Host* leader = leading_host(world)
    cdef Event event
    if leader == NULL or leader.paused_until_ns > world.now_ns:
        return
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_TRANSFER
    event.peer = prng_below(&world.prng, world.options.node_count + 1)
    host_step(world, leader, &event)
    host_plan(world, leader)


cdef void jump_clock(World* world, Host* host) noexcept nogil:
    """Wall time goes either way; the monotonic clock of a node that slept goes on ahead."""
    cdef uint64_t far_ns = 1 + prng_below(&world.prng, 6 * world.options.election_timeout_ns)
    cdef bint bound = world.options.leases and world.options.profile != PROFILE_CLOCKS
    if not bound and prng_chance(&world.prng, 1, 2):
        host.clock_offset_ns += far_ns
    else:
        host.wall_offset_ns += far_ns - 3 * world.options.election_timeout_ns


cdef void freeze_clock(World* world, Host* host) noexcept nogil:
    cdef uint64_t timeouts = 15 if world.options.profile == PROFILE_CLOCKS else 5
    cdef uint64_t span_ns = prng_below(&world.prng, timeouts * world.options.election_timeout_ns)
    if host.frozen_until_ns > world.now_ns:
        return
    if host.up and host.status.role == ROLE_LEADER:
        mark(world.marks, MARK_CLOCK_FROZE_LEADER)
    host.frozen_clock_ns = host_clock_ns(world, host)
    host.frozen_until_ns = world.now_ns + span_ns
    # It goes on from where it stood.
    host.clock_offset_ns -= span_ns * <uint64_t>(1000 + host.drift_per_mille) // 1000


cdef void pause(World* world, Host* host) noexcept nogil:
    if host.up and host.status.role == ROLE_LEADER:
        mark(world.marks, MARK_LEADER_PAUSED)
    host.paused_until_ns = world.now_ns + prng_below(&world.prng, 12 * world.options.election_timeout_ns)


# Turns ----------------------------------------------------------------------------------

cdef uint32_t weight(const World* world, int kind) noexcept nogil:
    """In quarters: what stops everybody, or hits a disk, is rarer than the rest."""
    cdef uint32_t often
    if kind == COMPACTION:
        return 4 * world.options.weight_compact
    if kind == TRANSFER:
        return 4 * world.options.weight_transfer
    if FAULT_PARTITION <= kind <= FAULT_POWER_CUT or FAULT_PAUSE == kind or kind == FAULT_REPLAY \
            or FAULT_CLOCK_JUMP <= kind <= FAULT_CLOCK_FREEZE:
        often = 4
    elif FAULT_WRITE_ERROR <= kind <= FAULT_NO_SPACE or kind == FAULT_BLACKOUT \
            or kind == FAULT_STALL:
        often = 1
    elif FAULT_BIT_ROT <= kind <= FAULT_ROTTEN_BATCH or kind == FAULT_WIPE:
        often = 1
    else:
        return 0                   # of messages, writes or recoveries: not drawn in turns
    if world.options.level[kind] == LEVEL_OFF:
        return 0
    return often if world.options.level[kind] == LEVEL_RARE else 6 * often


cdef int draw_kind(World* world) noexcept nogil:
    """-1: nothing."""
    cdef uint64_t total = 0
    cdef uint64_t drawn
    cdef int kind
    for kind in range(TURNS):
        total += weight(world, kind)
    if total == 0:
        return -1
    drawn = prng_below(&world.prng, total)
    for kind in range(TURNS):
        if drawn < weight(world, kind):
            return kind
        drawn -= weight(world, kind)
    return -1


cdef Host* draw_host(World* world) noexcept nogil:
    return &world.hosts[prng_below(&world.prng, world.options.node_count)]


cdef Host* leading_host(World* world) noexcept nogil:
    cdef uint32_t i
    for i in range(world.options.node_count):
        if world.hosts[i].up and world.hosts[i].status.role == ROLE_LEADER:
            return &world.hosts[i]
    return NULL


cdef void due_crash(World* world, Host* host) noexcept nogil:
    world.due_crashes -= 1
    draw_crash(world, host, FAULT_POWER_CUT if prng_chance(&world.prng, 1, 2) else FAULT_PROCESS_CRASH)


cdef void due_cut(World* world) noexcept nogil:
    world.due_cuts -= 1
    note_fault(world, FAULT_PARTITION, 0)
    break_links(world, FAULT_PARTITION)


cdef bint take_due(World* world) noexcept nogil:
    """In the hot profile leaders crash and links break for sure."""
    cdef Host* leader = leading_host(world)
    if prng_chance(&world.prng, 1, 3):
        return False
    if world.due_crashes != 0 and leader != NULL:
        due_crash(world, leader)
    elif world.due_cuts != 0:
        due_cut(world)
    else:
        return False
    return True


cdef void carry_out(World* world, int kind, Host* host) noexcept nogil:
    cdef uint32_t i
    if kind == COMPACTION:
        host_begin_snapshot(world, host)
        return
    if kind == TRANSFER:
        transfer_somewhere(world)
        return
    if kind == FAULT_PROCESS_CRASH or kind == FAULT_POWER_CUT:
        draw_crash(world, host, kind)
        return
    if FAULT_BIT_ROT <= kind <= FAULT_ROTTEN_BATCH:
        if damage_turn(world, host, kind):
            note_fault(world, kind, host.number)
        return
    if kind == FAULT_WIPE:
        if damage_wipe(world, host):
            note_fault(world, kind, host.number)
            start_later(world, host, prng_below(&world.prng, 3 * world.options.election_timeout_ns))
        return
    note_fault(world, kind, host.number)
    if FAULT_PARTITION <= kind <= FAULT_CLOG:
        break_links(world, kind)
    elif kind == FAULT_REPLAY:
        replay_frames(world)
    elif kind == FAULT_BLACKOUT:
        for i in range(world.options.node_count):
            crash(world, &world.hosts[i], True)
    elif kind == FAULT_PAUSE:
        pause(world, host)
    elif FAULT_WRITE_ERROR <= kind <= FAULT_NO_SPACE:
        fail_disk(world, host, kind)
    elif kind == FAULT_STALL:
        stall_disk(world, host)
    elif kind == FAULT_CLOCK_JUMP:
        jump_clock(world, host)
    else:
        check2(kind == FAULT_CLOCK_FREEZE, b"Q-FAULT-01 a drawn fault is carried out", kind, 0)
        if world.options.profile == PROFILE_CLOCKS and leading_host(world) != NULL:
            # What a lease must not meet: a leader that is cut off while its clock stands still.
            host = leading_host(world)
            network_isolate(&world.network, host.number)
            notice_cuts(world)
        freeze_clock(world, host)


cdef void fault_turn(World* world, const Occurrence* occurrence) noexcept nogil:
    cdef int kind
    if occurrence.number == TURN_MEND:
        mend_links(world)
        return
    if occurrence.number == TURN_SECOND_CRASH:
        second_crash(world, occurrence)
        return
    if world.due_crashes + world.due_cuts != 0 and take_due(world):
        return
    kind = draw_kind(world)
    if kind >= 0:
        carry_out(world, kind, draw_host(world))


# The end of it --------------------------------------------------------------------------

cdef void heal_world(World* world) noexcept nogil:
    cdef Host* host
    cdef uint32_t i
    if world.options.profile == PROFILE_BEYOND:
        damage_all(world)
    # A short run may end with some still owed.
    while world.due_crashes != 0:
        due_crash(world, draw_host(world))
    while world.due_cuts != 0:
        due_cut(world)
    world.healed = True
    world.healed_at_ns = world.now_ns
    trace_note(&world.trace, world.now_ns, TRACE_HEALED, 0, 0, 0, 0, 0, 0)
    network_be_kind(&world.network)
    world.options.disk_max_ns = min(world.options.disk_max_ns, <uint64_t>50 * MILLISECOND)
    for i in range(world.options.node_count):
        host = &world.hosts[i]
        memset(host.disk.faults, 0, sizeof(host.disk.faults))
        host.disk.lose_sector = False
        host.paused_until_ns = 0
        host.stalled_until_ns = 0
        host.frozen_until_ns = min(host.frozen_until_ns, world.now_ns)
        if host_is_hurt(world, host) and world.options.profile != PROFILE_BEYOND:
            # Whatever only the cache still hides comes to light.
            crash(world, host, True)
        if not host.up:
            start_later(world, host, 0)
    operators_hurry(world)
    tell_reachable(world, 100)
