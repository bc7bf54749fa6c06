"""The loop of the simulated cluster; see world.pxd."""

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.prng cimport prng_below, prng_chance, prng_seed
from quorumlog._core.base.types cimport NODES_MAX
from quorumlog._core.engine.protocol cimport (
    EVENT_MESSAGE, EVENT_REACHABLE, EVENT_TIME, EVENT_UNREACHABLE, Event,
)
from quorumlog._core.simulation.atlas cimport atlas_look
from quorumlog._core.simulation.clients cimport client_turn
from quorumlog._core.simulation.faults cimport (
    TURN_DRAWN, crash, fault_after_start, fault_turn, heal_world, start_later,
)
from quorumlog._core.simulation.fault_kinds cimport (
    FAULT_DELAY, FAULT_DUPLICATION, FAULT_LOSS, FAULT_REORDERING, PROFILE_BEYOND, PROFILE_HOT,
)
from quorumlog._core.simulation.history cimport history_close, history_is_linearizable
from quorumlog._core.simulation.host cimport host_flushed, host_step, parcel_drop
from quorumlog._core.simulation.host_disk cimport (
    host_disk_done, host_disk_write, host_fetch, host_idle, host_plan,
)
from quorumlog._core.simulation.host_life cimport host_create, host_destroy, host_is_hurt, host_start
from quorumlog._core.simulation.host_snapshot cimport host_snapshot_job
from quorumlog._core.simulation.ledger cimport (
    ledger_close, ledger_committed_last, ledger_fail, ledger_open,
)
from quorumlog._core.simulation.mending cimport mend_scrub, mend_turn
from quorumlog._core.simulation.network cimport Network
from quorumlog._core.simulation.operators cimport operators_introduced, operators_let_pass, operators_readmit
from quorumlog._core.simulation.schedule cimport (
    OCCURS_CLIENT, OCCURS_DELIVERY, OCCURS_DISK_DONE, OCCURS_DISK_WRITE, OCCURS_FAULT, OCCURS_FETCH,
    OCCURS_IDLE, OCCURS_OPERATOR, OCCURS_REACHABLE, OCCURS_SCRUB, OCCURS_SNAPSHOT, OCCURS_START, OCCURS_TIME,
    Occurrence, schedule_add, schedule_close, schedule_next,
)
from quorumlog._core.simulation.marks cimport (
    MARK_DUPLICATE_DELIVERED, MARK_OLD_TERM_COMMITTED, MARK_PROPOSED_AGAIN, MARK_TRUNCATED, MARK_TRUNCATED_MANY,
    MARK_UNCLOGGED, mark,
)
from quorumlog._core.simulation.trace cimport TRACE_ARRIVED, trace_close, trace_note
from quorumlog._core.simulation.world_state cimport (
    CLIENTS_MAX, OLD_FRAMES_MAX, WINDOW_MAX, Host, Parcel, World, WorldOptions,
)
from quorumlog._core.storage.batch cimport pool_close, pool_open
from quorumlog._core.storage.wal cimport MODE_SLOT

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef enum:
    WIRE_BYTES = 1 << 30
    STUPOR_NS = 400000000      # within which a node that stood still does what it has missed
    AT_ONE_INSTANT_MAX = 100000
    CALM_TIMEOUTS = 3          # before a hot run gets hot: there is a leader to lose
    DUE_IN_HOT = 3             # crashes, and cuts, that a hot run has for sure


cdef void note(World* world, uint64_t a, uint64_t b) noexcept nogil:
    """Into the hash of all that happened: the same seed gives the same hash."""
    world.hash = (world.hash ^ a) * 0x100000001B3ULL
    world.hash = (world.hash ^ b) * 0x9E3779B97F4A7C15ULL
    world.hash ^= world.hash >> 31


cdef void again(World* world, int kind, uint64_t number, uint64_t mean_ns) noexcept nogil:
    cdef Occurrence occurrence
    memset(&occurrence, 0, sizeof(Occurrence))
    occurrence.kind = kind
    occurrence.number = number
    occurrence.at_ns = world.now_ns + 1 + prng_below(&world.prng, 2 * mean_ns)
    schedule_add(&world.schedule, occurrence)


# --- occurrences ------------------------------------------------------------------------

cdef void deliver(World* world, Host* host, Parcel* parcel) noexcept nogil:
    cdef Event event
    note(world, parcel.message.kind + (parcel.message.sender << 16), parcel.message.term)
    note(world, parcel.message.fields[0], parcel.message.fields[1])
    trace_note(&world.trace, world.now_ns, TRACE_ARRIVED, host.number, <uint32_t>parcel.message.sender,
               parcel.number, parcel.message.kind, parcel.again, parcel.message.term)
    if parcel.again:
        mark(world.marks, MARK_DUPLICATE_DELIVERED)
    if host.up and operators_let_pass(world, host, parcel):
        memset(&event, 0, sizeof(Event))
        event.kind = EVENT_MESSAGE
        event.message = &parcel.message
        host_step(world, host, &event)
    parcel_drop(parcel)


cdef void on_time(World* world, Host* host) noexcept nogil:
    cdef Event event
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_TIME
    host.timer_ns = 0
    host_step(world, host, &event)


cdef void on_reachable(World* world, Host* host, const Occurrence* occurrence) noexcept nogil:
    cdef Event event
    memset(&event, 0, sizeof(Event))
    # What is true now: a connection's end is never reported after its return.
    event.kind = EVENT_REACHABLE
    if world.network.cut[host.number][occurrence.number - 1] \
            or not operators_introduced(world, host, &world.hosts[occurrence.number - 1]):
        event.kind = EVENT_UNREACHABLE
    event.peer = occurrence.number
    host_step(world, host, &event)


cdef void on_start(World* world, Host* host) noexcept nogil:
    host.starting = False
    if host.up or host.ended:
        return
    if host_start(world, host):
        fault_after_start(world, host)
        return
    # The recovery itself was hit: with the power, or by a crash of the process alone.
    crash(world, host, prng_chance(&world.prng, 1, 2))


cdef void for_host(World* world, Host* host, const Occurrence* occurrence) noexcept nogil:
    """What is meant for this life of a node that is up."""
    if occurrence.kind == OCCURS_TIME:
        on_time(world, host)
    elif occurrence.kind == OCCURS_DISK_WRITE:
        host_disk_write(world, host, occurrence)
    elif occurrence.kind == OCCURS_DISK_DONE:
        if host_disk_done(world, host, occurrence):
            host_flushed(world, host)
        else:
            # P5: a failed write or sync is final for the log that is open; only a recovery reads on.
            crash(world, host, False)
    elif occurrence.kind == OCCURS_IDLE:
        host_idle(world, host)
    elif occurrence.kind == OCCURS_FETCH:
        host_fetch(world, host, occurrence)
    elif occurrence.kind == OCCURS_SCRUB:
        mend_scrub(world, host)
    elif occurrence.kind == OCCURS_SNAPSHOT:
        host_snapshot_job(world, host)
    else:
        check2(occurrence.kind == OCCURS_REACHABLE, b"Q-WORLD-01 there are so many kinds of occurrences",
               occurrence.kind, 0)
        on_reachable(world, host, occurrence)


cdef void occur(World* world, const Occurrence* occurrence) noexcept nogil:
    cdef Host* host = &world.hosts[occurrence.node]
    cdef Occurrence postponed
    note(world, occurrence.at_ns, (<uint64_t>occurrence.kind << 32) + occurrence.node)
    if occurrence.kind == OCCURS_CLIENT:
        client_turn(world, <uint32_t>occurrence.number)
        again(world, OCCURS_CLIENT, occurrence.number, world.options.client_ns)
        return
    if occurrence.kind == OCCURS_FAULT:
        if not world.healed:
            fault_turn(world, occurrence)
            if occurrence.number == TURN_DRAWN:
                again(world, OCCURS_FAULT, TURN_DRAWN, world.options.fault_ns)
        return
    if occurrence.kind == OCCURS_OPERATOR:
        operators_readmit(world, occurrence)
        return
    if host.paused_until_ns > world.now_ns:
        # It stands still: all this waits for it, and comes in any order.
        postponed = occurrence[0]
        postponed.at_ns = host.paused_until_ns + prng_below(&world.prng, STUPOR_NS)
        schedule_add(&world.schedule, postponed)
        return
    if occurrence.kind == OCCURS_START:
        on_start(world, host)
    elif occurrence.kind == OCCURS_DELIVERY:
        deliver(world, host, <Parcel*>occurrence.parcel)
    elif host.up and occurrence.incarnation == host.incarnation:
        for_host(world, host, occurrence)
    if host.up:
        mend_turn(world, host)
    if host.failing:
        # What it read is damaged, and nobody else has it: it starts again, and recovery says what is to be done.
        crash(world, host, False)
    if host.crash_due != 0:
        crash(world, host, host.crash_due == 2)
    if host.up:
        host_plan(world, host)


# --- progress ---------------------------------------------------------------------------

cdef void look_for_progress(World* world) noexcept nogil:
    cdef uint64_t acked = 0
    cdef uint32_t i
    if world.progress_at_ns != 0:
        return
    for i in range(world.options.client_count):
        acked += world.clients[i].acked_healed
    if acked >= world.options.progress:
        world.progress_at_ns = world.now_ns


cdef void check_history(World* world) noexcept nogil:
    """P2, as clients see it."""
    cdef uint32_t culprit = 0
    if world.options.machine == NULL and not history_is_linearizable(&world.history, &culprit):
        ledger_fail(world.ledger, b"the history of a register is not linearizable",
                    world.history.operations[culprit].node - 1, world.history.operations[culprit].key, culprit)


cdef void check_well(World* world, Host* host) noexcept nogil:
    """Alive, repaired, with a say, and caught up."""
    # What was committed when progress was made is applied everywhere by the end.
    cdef uint64_t settled = world.ledger.acked_index
    if not host.up:
        ledger_fail(world.ledger, b"a node is down at the end of the healed phase", host.number, host.ended,
                    host.incarnation)
    elif host.applied + world.options.window * 16 * world.options.client_count < settled:
        ledger_fail(world.ledger, b"a node did not catch up in the healed phase", host.number, host.applied, settled)
    elif host.status.listening or host.status.faulty != 0 or host.status.snapshot_needed != 0:
        ledger_fail(world.ledger, b"a node was not repaired in the healed phase", host.number,
                    host.status.listening, host.status.faulty)
    elif host_is_hurt(world, host) and not host.snapshot_hurt:
        ledger_fail(world.ledger, b"a node that was damaged is not whole at the end", host.number,
                    host.status.unproved_last, host.damages)


cdef void check_beyond(World* world) noexcept nogil:
    """More was destroyed than can be recovered: either it did no harm, or somebody says where it lies."""
    cdef uint32_t i
    if world.progress_at_ns != 0:
        return
    for i in range(world.options.node_count):
        if world.hosts[i].stop[0] != 0:
            return
    ledger_fail(world.ledger, b"the group stands still, and no node says why", 0, world.wipes, world.now_ns)


cdef void check_end(World* world) noexcept nogil:
    """P6, and that everybody is back: whatever the atlas allowed was repaired."""
    cdef uint32_t i
    if world.options.profile == PROFILE_BEYOND:
        check_beyond(world)
        return
    if world.progress_at_ns == 0:
        ledger_fail(world.ledger, b"no progress in the healed phase", 0, world.options.progress, world.now_ns)
        return
    atlas_look(world)
    for i in range(world.options.node_count):
        check_well(world, &world.hosts[i])


cdef void mark_counts(World* world) noexcept nogil:
    """What others counted."""
    cdef const Network* network = &world.network
    world.marks[<int>MARK_TRUNCATED] += world.ledger.truncations
    world.marks[<int>MARK_TRUNCATED_MANY] += world.ledger.truncations_long
    world.marks[<int>MARK_OLD_TERM_COMMITTED] += world.ledger.old_term_commits
    world.marks[<int>MARK_UNCLOGGED] += network.clogged
    if world.ledger.slots != NULL:
        world.marks[<int>MARK_PROPOSED_AGAIN] += world.ledger.slots.proposed_again
    world.faults[<int>FAULT_LOSS] += network.lost
    world.faults[<int>FAULT_DUPLICATION] += network.duplicated
    world.faults[<int>FAULT_DELAY] += network.slowed
    world.faults[<int>FAULT_REORDERING] += network.overtaken


# --- the run ----------------------------------------------------------------------------

cdef World* world_open(const WorldOptions* options) noexcept nogil:
    cdef World* world = <World*>calloc(1, sizeof(World))
    cdef uint64_t calm_ns = 0
    cdef uint32_t i
    check(world != NULL, b"Q-WORLD-02 there is memory for a world")
    world.options = options[0]
    check2(1 <= options.node_count <= NODES_MAX and options.client_count <= CLIENTS_MAX,
           b"Q-WORLD-03 a world has a bounded number of nodes and clients", options.node_count,
           options.client_count)
    check2(options.window < WINDOW_MAX and options.client_count > 0,
           b"Q-WORLD-05 there is a client, and its window has a bound", options.window, options.client_count)
    world.trace.on = options.tracing
    if options.profile == PROFILE_HOT:
        calm_ns = CALM_TIMEOUTS * options.election_timeout_ns
        world.due_crashes = DUE_IN_HOT
        world.due_cuts = DUE_IN_HOT
    prng_seed(&world.prng, options.seed)
    world.network.options = options.network
    world.network.node_count = options.node_count
    world.ledger = ledger_open(options.node_count, options.protocol.mode == MODE_SLOT)
    world.wire = pool_open(WIRE_BYTES)
    world.now_ns = 1000000
    world.hash = options.seed
    for i in range(options.node_count):
        host_create(world, i)
        start_later(world, &world.hosts[i], prng_below(&world.prng, options.election_timeout_ns))
    for i in range(options.client_count):
        world.clients[i].session = i + 1
        world.clients[i].target = i % options.node_count
        again(world, OCCURS_CLIENT, i, options.client_ns)
    if options.fault_ns != 0:
        again(world, OCCURS_FAULT, TURN_DRAWN, calm_ns + options.fault_ns)
    return world


cdef void world_close(World* world) noexcept nogil:
    cdef Occurrence occurrence
    cdef uint32_t i
    while schedule_next(&world.schedule, &occurrence):
        if occurrence.parcel != NULL:
            parcel_drop(<Parcel*>occurrence.parcel)
    schedule_close(&world.schedule)
    for i in range(world.options.node_count):
        host_destroy(world, &world.hosts[i])
    for i in range(OLD_FRAMES_MAX):
        if world.old_frames[i] != NULL:
            parcel_drop(world.old_frames[i])
    ledger_close(world.ledger)
    history_close(&world.history)
    trace_close(&world.trace)
    pool_close(world.wire)
    free(world)


cdef void world_run(World* world) noexcept nogil:
    cdef Occurrence occurrence
    cdef uint64_t end_ns = world.now_ns + world.options.safety_ns + world.options.healed_ns
    cdef uint64_t heal_ns = world.now_ns + world.options.safety_ns
    while world.ledger.failure[0] == 0 and schedule_next(&world.schedule, &occurrence):
        check2(occurrence.at_ns >= world.now_ns, b"Q-WORLD-04 time does not run backwards", occurrence.at_ns,
               world.now_ns)
        world.at_this_instant = world.at_this_instant + 1 if occurrence.at_ns == world.now_ns else 0
        if world.at_this_instant > AT_ONE_INSTANT_MAX:
            ledger_fail(world.ledger, b"time stands still: a node wants the same moment again and again",
                        occurrence.node, occurrence.kind, world.now_ns)
        world.now_ns = occurrence.at_ns
        if world.now_ns >= heal_ns and not world.healed:
            heal_world(world)
        if world.now_ns >= end_ns:
            if occurrence.parcel != NULL:
                parcel_drop(<Parcel*>occurrence.parcel)
            break
        world.events += 1
        occur(world, &occurrence)
        if world.healed:
            look_for_progress(world)
    note(world, ledger_committed_last(world.ledger), world.acked)
    mark_counts(world)
    if world.ledger.failure[0] == 0:
        check_history(world)
    if world.ledger.failure[0] == 0:
        check_end(world)
