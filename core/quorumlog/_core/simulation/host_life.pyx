"""A simulated node's life; see host_life.pxd."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.prng cimport prng_below, prng_chance, prng_next
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_IO, OK
from quorumlog._core.base.types cimport index_t, term_t, wsn_t
from quorumlog._core.engine.log cimport LogRun, log_close, log_open, log_pin, log_restore
from quorumlog._core.engine.outbox cimport outbox_close, outbox_open
from quorumlog._core.engine.protocol cimport EVENT_TIME, Event, GroupStatus
from quorumlog._core.engine.sessions cimport sessions_close
from quorumlog._core.simulation.disk cimport (
    DISK_READ, DISK_SYNC, DISK_WRITE, Disk, disk_close, disk_open, disk_process_crash,
)
from quorumlog._core.simulation.fault_kinds cimport FAULT_DRIFT, FAULT_RECOVERY_CRASH, LEVEL_OFF, LEVEL_RARE
from quorumlog._core.simulation.host cimport host_clock_ns, host_step, parcel_drop
from quorumlog._core.simulation.host_apply cimport host_begin_afresh
from quorumlog._core.simulation.host_snapshot cimport (
    FOUND_CUT_SHORT, FOUND_NONE, Found, host_snapshot_open, host_snapshot_stop, host_take_snapshot)
from quorumlog._core.simulation.ledger cimport ledger_fail, ledger_flushed
from quorumlog._core.simulation.ledger_back cimport (
    ledger_back, ledger_back_end, ledger_found, ledger_found_bad, ledger_refused,
)
from quorumlog._core.simulation.marks cimport (
    MARK_DAMAGE_FOUND, MARK_DAMAGE_OUTLIVED, MARK_HOLE_FOUND, MARK_INSTALL_REDONE, MARK_LISTENS, MARK_RECOVERY_CRASHED,
    MARK_RECOVERY_CRASHED_TWICE, MARK_SNAPSHOT_NEEDED, MARK_UNPROVED_TAIL, mark,
)
from quorumlog._core.simulation.mending cimport mend_start, mend_stop
from quorumlog._core.simulation.trace cimport (
    TRACE_LISTENS, TRACE_NOT_STARTED, TRACE_OUT, TRACE_STARTED, TraceRecord, trace_add, trace_note,
)
from quorumlog._core.simulation.world_state cimport STOP_BYTES, THE_GROUP, Host, OpenRequest, World
from quorumlog._core.storage.batch cimport Batch, batch_drop, batch_keep, batch_last, pool_close, pool_open
from quorumlog._core.storage.wal cimport (
    MODE_SLOT, RecoveredGroup, WRITES_IN_FLIGHT_MAX, WalOptions, WalReport, WalStatus, wal_close,
    wal_complete, wal_damage, wal_flushed, wal_next, wal_open, wal_open_group, wal_prepare, wal_read, wal_status,
)

from libc.errno cimport EIO
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset, strstr

cdef enum:
    POOL_BYTES = 1 << 28
    CLOCK_BASE_NS = 1000000000000000   # room for clocks that stand still
    DRIFT_PER_MILLE = 50

cdef enum Recovery:
    RECOVERED = 1
    CUT_SHORT = 2              # by a fault: to be tried again
    DAMAGED = 3                # the node stays down, saying why


cdef void found_damage(World* world, Host* host, const char* detail) noexcept nogil:
    """P4: what was lost is known, and where.  Nothing is lost but by the atlas."""
    snprintf(host.stop, STOP_BYTES, b"%s", detail)
    mark(world.marks, MARK_DAMAGE_FOUND)
    if not host_is_hurt(world, host):
        ledger_fail(world.ledger, b"recovery takes a power cut for corruption", host.number, host.incarnation, 0)
    elif strstr(host.stop, b"segment-") == NULL or strstr(host.stop, b"offset") == NULL:
        ledger_fail(world.ledger, b"damage was found, and no file and offset named", host.number,
                    host.incarnation, 0)


cdef void refuse(World* world, Host* host, const char* detail) noexcept nogil:
    """Nobody else has what is lost: it stops and says where, and never guesses."""
    found_damage(world, host, detail)
    host.ended = True
    ledger_refused(world.ledger, host.number)
    trace_note(&world.trace, world.now_ns, TRACE_OUT, host.number, 0, 0, 0, 0, 0)


# --- starting ---------------------------------------------------------------------------

cdef void host_create(World* world, uint32_t number) noexcept nogil:
    cdef Host* host = &world.hosts[number]
    cdef uint32_t level = world.options.level[<int>FAULT_DRIFT]
    memset(host, 0, sizeof(Host))
    host.number = number
    host.id = number + 1
    host.disk = fresh_disk(world)
    host.clock_offset_ns = CLOCK_BASE_NS + prng_below(&world.prng, 1000000000)
    host.wall_offset_ns = CLOCK_BASE_NS
    host_snapshot_open(host)
    if level != LEVEL_OFF:
        # Every clock, or one in two, up to 5 % too fast or slow.
        if level != LEVEL_RARE or prng_chance(&world.prng, 1, 2):
            host.drift_per_mille = <int64_t>prng_below(&world.prng, 2 * DRIFT_PER_MILLE + 1) - DRIFT_PER_MILLE
            world.faults[<int>FAULT_DRIFT] += 1


cdef Disk* fresh_disk(World* world) noexcept nogil:
    cdef Disk* disk = disk_open(prng_next(&world.prng))
    check(disk.files.make_directory(disk, b"wal") == 0 and disk.files.sync_directory(disk, b"/") == 0,
          b"Q-LIFE-01 a fresh virtual disk works")
    return disk


cdef void host_new_directory(World* world, Host* host) noexcept nogil:
    disk_close(host.disk)
    host.disk = fresh_disk(world)
    host_snapshot_open(host)
    host.directory += 1
    host.snapshot_hurt = False
    host.damages = 0
    host.ended = False
    host.stop[0] = 0
    host.proved = 0


cdef const RecoveredGroup* recovered_group(const WalReport* report) noexcept nogil:
    cdef uint32_t i
    for i in range(report.group_count):
        if report.groups[i].group == THE_GROUP:
            return &report.groups[i]
    return NULL


cdef term_t term_of(const RecoveredGroup* group, index_t index) noexcept nogil:
    """As the runs of the report have it."""
    cdef term_t term = 0
    cdef uint32_t i
    for i in range(group.whole_run_count):
        if group.runs[i].first <= index:
            term = group.runs[i].term
    return term


cdef Recovery bad_batch(World* world, Host* host, const RecoveredGroup* group, index_t* index,
                        int status) noexcept nogil:
    """A batch of the log that can't be read, whether recovery knows that or not (sealed segments are read later)."""
    cdef char detail[STOP_BYTES]
    if status == ERR_IO and not world.healed:
        return CUT_SHORT           # a read error, once
    if status != ERR_CORRUPT:
        ledger_fail(world.ledger, b"recovery names a batch that can't be read", host.number, index[0], status)
        return DAMAGED
    if world.options.node_count == 1:
        wal_damage(host.wal, detail, STOP_BYTES)
        refuse(world, host, detail)
        return DAMAGED
    index[0] = ledger_found_bad(world.ledger, host.number, index[0], term_of(group, index[0])) + 1
    return RECOVERED


cdef Recovery report_log(World* world, Host* host, const RecoveredGroup* group) noexcept nogil:
    """Tells the ledger what came back, batch by batch, read and verified."""
    cdef Batch* batch
    cdef index_t index = group.first
    cdef Recovery outcome
    cdef int status
    ledger_back(world.ledger, host.number, group.hard_state_term, group.vote, group.first, listens(host, group))
    if group.unproved_last > group.whole_last:
        mark(world.marks, MARK_UNPROVED_TAIL)
    while index <= group.whole_last and world.ledger.failure[0] == 0:
        if term_of(group, index) == 0 and group.mode == MODE_SLOT:
            index += 1                 # a hole
            continue
        status = wal_read(host.wal, THE_GROUP, index, host.pool, &batch)
        if status != OK:
            outcome = bad_batch(world, host, group, &index, status)
            if outcome != RECOVERED:
                return outcome
            continue
        ledger_found(world.ledger, host.number, batch)
        if group.mode == MODE_SLOT:
            keep_accepted(host, group, batch)
        elif term_of(group, batch.first) != batch.term or term_of(group, batch_last(batch)) != batch.term:
            ledger_fail(world.ledger, b"recovery names a term that its batch has not", host.number, batch.first,
                        term_of(group, batch.first))
        index = batch_last(batch) + 1
        batch_drop(batch)
    ledger_back_end(world.ledger, host.number, unproved_of(group), group.unproved_term)
    return RECOVERED


cdef bint listens(const Host* host, const RecoveredGroup* group) noexcept nogil:
    """As the runtime judges it (runtime/node): it may have forgotten what it promised."""
    if group != NULL and (group.listening or group.boundless):
        return True
    return host.directory != 0 and (group == NULL or group.hard_state_term == 0)


cdef index_t unproved_of(const RecoveredGroup* group) noexcept nogil:
    """Entries without a known place count as unproved: dropped when a leader's come."""
    cdef index_t last = group.unproved_last
    if group.boundless and group.faulty_last > group.whole_last:
        last = max(last, group.faulty_last)
    return last if last > group.whole_last else 0


cdef void keep_accepted(Host* host, const RecoveredGroup* group, Batch* batch) noexcept nogil:
    """For the protocol, which has to know what it accepted behind what it knows to be chosen."""
    if batch.first <= group.chosen:
        return
    if host.accepted_count == host.accepted_capacity:
        host.accepted_capacity = 2 * host.accepted_capacity + 64
        host.accepted = <Batch**>realloc(host.accepted, host.accepted_capacity * sizeof(Batch*))
        check(host.accepted != NULL, b"Q-LIFE-07 there is memory for what was accepted")
    host.accepted[host.accepted_count] = batch_keep(batch)
    host.accepted_count += 1


cdef void forget_accepted(Host* host) noexcept nogil:
    while host.accepted_count > 0:
        host.accepted_count -= 1
        batch_drop(host.accepted[host.accepted_count])


cdef void restore_slots(World* world, Host* host, const RecoveredGroup* group, OpenRequest* request) noexcept nogil:
    cdef LogRun run
    cdef term_t before = 0
    host.log.slots = True
    request.copies = host.pool
    # Small ones, so that windows fill, pages follow pages, and marks are written.
    request.window_slots = 1 + <uint32_t>(world.options.seed % 24)
    request.mark_slots = 1 + <uint32_t>(world.options.seed % 7)
    request.page_slots = 1 + <uint32_t>(world.options.seed % 3)
    if group == NULL:
        return
    run.first = group.first
    run.term = 1
    if group.first > 1:
        before = 1
    if log_restore(&host.log, group.first, before, group.chosen, &run, 1 if group.chosen >= group.first else 0) != OK:
        ledger_fail(world.ledger, b"recovery names a log that can't be", host.number, group.first, group.chosen)
    request.hard_state_term = group.hard_state_term
    request.vote = group.vote
    request.accepted = host.accepted
    request.accepted_count = host.accepted_count


cdef void restore_suffix(World* world, Host* host, const RecoveredGroup* group, OpenRequest* request) noexcept nogil:
    cdef LogRun* runs
    cdef uint32_t i
    if group == NULL:
        return
    runs = <LogRun*>malloc((group.whole_run_count + 1) * sizeof(LogRun))
    check(runs != NULL, b"Q-LIFE-03 there is memory for term runs")
    for i in range(group.whole_run_count):
        runs[i].first = group.runs[i].first
        runs[i].term = group.runs[i].term
    if log_restore(&host.log, group.first, group.term_before_first, group.whole_last, runs,
                   group.whole_run_count) != OK:
        ledger_fail(world.ledger, b"recovery names a log that can't be", host.number, group.first, group.whole_last)
    free(runs)
    request.hard_state_term = group.hard_state_term
    request.vote = group.vote
    request.unproved_last = unproved_of(group)
    request.unproved_term = group.unproved_term if group.unproved_last == request.unproved_last else 0
    request.holes = group.holes
    request.hole_count = group.hole_count


cdef void open_protocol(World* world, Host* host, const RecoveredGroup* group) noexcept nogil:
    cdef OpenRequest request
    cdef uint32_t i
    memset(&request, 0, sizeof(OpenRequest))
    check(log_open(&host.log, THE_GROUP, world.options.cache_bytes) == OK, b"Q-LIFE-02 there is memory for a log")
    if world.options.protocol.mode == MODE_SLOT:
        restore_slots(world, host, group, &request)
    else:
        restore_suffix(world, host, group, &request)
    request.snapshot = host.snapshot
    request.snapshot_needed = host.snapshot_needed
    request.snapshot_log_bytes = world.options.snapshot_log_bytes
    request.retained_log_bytes = world.options.retained_log_bytes
    request.snapshot_bytes_per_s = world.options.snapshot_bytes_per_s
    request.piece_bytes = world.options.piece_bytes
    request.group = THE_GROUP
    request.self = host.id
    request.voter_count = world.options.node_count
    for i in range(world.options.node_count):
        request.voters[i] = i + 1
    request.election_timeout_ns = world.options.election_timeout_ns
    request.heartbeat_ns = world.options.heartbeat_ns
    request.append_bytes_max = world.options.append_bytes_max
    request.priority = <uint8_t>(host.id % (world.options.priorities + 1))
    request.leases = world.options.leases
    request.clock_drift_ppm = 1000 * DRIFT_PER_MILLE
    request.seed = prng_next(&world.prng)
    request.listening = listens(host, group)
    memset(&host.status, 0, sizeof(GroupStatus))
    host.status.unproved_last = request.unproved_last
    host.status.listening = request.listening
    if request.listening:
        mark(world.marks, MARK_LISTENS)
        trace_note(&world.trace, world.now_ns, TRACE_LISTENS, host.number, 0, 0, 0, 0, 0)
    host.state = world.options.open(&request, &host.log, host_clock_ns(world, host))
    forget_accepted(host)
    check(host.state != NULL, b"Q-LIFE-04 the protocol opens")


cdef void host_wal_options(const World* world, WalOptions* options) noexcept nogil:
    memset(options, 0, sizeof(WalOptions))
    options.segment_bytes = world.options.segment_bytes
    options.sync_group_bytes_max = 64 << 10 if world.options.seed & 1 else 1 << 20
    options.spare_segments = 1
    options.direct = (world.options.seed & 2) != 0
    options.cache_bytes = 1 << 20


cdef Recovery open_log(World* world, Host* host, const WalReport** report) noexcept nogil:
    cdef WalOptions options
    cdef int status = OK
    cdef int level = world.options.level[<int>FAULT_RECOVERY_CRASH]
    cdef bint halted = (not world.healed and level != LEVEL_OFF
                        and prng_chance(&world.prng, 10 if level == LEVEL_RARE else 40, 100))
    cdef bint hurt = (halted or host.disk.faults[<int>DISK_SYNC].error != 0
                      or host.disk.faults[<int>DISK_WRITE].error != 0
                      or host.disk.faults[<int>DISK_READ].error != 0)
    host_wal_options(world, &options)
    if halted:
        host.disk.halt_at = host.disk.operations + 1 + prng_below(&world.prng, 24)
    host.wal = wal_open(&host.disk.files, b"wal", &options, report, &status)
    while host.wal != NULL and wal_prepare(host.wal) == OK:
        pass
    host.disk.halt_at = 0
    if host.wal != NULL:
        return RECOVERED
    disk_process_crash(host.disk)
    trace_note(&world.trace, world.now_ns, TRACE_NOT_STARTED, host.number, 0, 0, status, 0, 0)
    world.faults[<int>FAULT_RECOVERY_CRASH] += halted
    if hurt:
        return CUT_SHORT
    if status == ERR_CORRUPT and host_is_hurt(world, host):
        refuse(world, host, report[0].detail)
        return DAMAGED
    ledger_fail(world.ledger, b"recovery refused what a crash left", host.number, status, host.incarnation)
    return DAMAGED


cdef Recovery look_at_log(World* world, Host* host, const WalReport* report) noexcept nogil:
    """What recovery says, held against what was."""
    cdef const RecoveredGroup* group = recovered_group(report)
    if group == NULL:
        ledger_back(world.ledger, host.number, 0, 0, 1, listens(host, NULL))
        ledger_back_end(world.ledger, host.number, 0, 0)
        return RECOVERED
    if group.hole_count != 0:
        mark(world.marks, MARK_HOLE_FOUND)
    if group.hole_count != 0 or group.boundless:
        if world.options.node_count == 1:
            refuse(world, host, report.detail)
            return DAMAGED
        found_damage(world, host, report.detail)
    return report_log(world, host, group)


cdef Recovery look_at_snapshot(World* world, Host* host, const RecoveredGroup* group) noexcept nogil:
    cdef index_t first = group.first if group != NULL else 1
    cdef Found found = host_take_snapshot(world, host, first)
    host.snapshot_needed = 0
    if found == FOUND_CUT_SHORT:
        return CUT_SHORT
    if found == FOUND_NONE:
        mark(world.marks, MARK_SNAPSHOT_NEEDED)
        if world.options.node_count == 1:
            refuse(world, host, b"the snapshot-*.qlsn before segment- offset 0 is damaged, and there are no peers")
            return DAMAGED
        host.snapshot_needed = first - 1
    elif group != NULL and host.snapshot.index > 0 and term_of(group, host.snapshot.index) != host.snapshot.term \
            and host.snapshot.index >= group.first:
        mark(world.marks, MARK_INSTALL_REDONE)
    return RECOVERED


cdef void close_log(Host* host) noexcept nogil:
    """Nothing more reaches the disk, whatever closing does."""
    cdef uint32_t i
    host.disk.halt_at = 1
    for i in range(WRITES_IN_FLIGHT_MAX):
        if host.writing[i].busy:
            wal_complete(host.wal, host.writing[i].plan.number, EIO)
            host.writing[i].busy = False
    wal_close(host.wal)
    host.wal = NULL
    host.disk.halt_at = 0
    disk_process_crash(host.disk)
    outbox_close(host.out)
    pool_close(host.pool)


cdef bint cut_short(World* world, Host* host) noexcept nogil:
    mark(world.marks, MARK_RECOVERY_CRASHED)
    host.recovery_crashes += 1
    if host.recovery_crashes > 1:
        mark(world.marks, MARK_RECOVERY_CRASHED_TWICE)
    return False


cdef void trace_started(World* world, Host* host) noexcept nogil:
    cdef TraceRecord record
    memset(&record, 0, sizeof(TraceRecord))
    record.at_ns = world.now_ns
    record.kind = TRACE_STARTED
    record.node = host.number
    record.a = host.log.first
    record.b = host.log.last
    record.c = host.status.unproved_last
    trace_add(&world.trace, record)


cdef bint host_start(World* world, Host* host) noexcept nogil:
    cdef const WalReport* report = NULL
    cdef WalStatus status
    cdef Event event
    cdef wsn_t wsn
    cdef Recovery outcome
    host.incarnation += 1
    outcome = open_log(world, host, &report)
    if outcome != RECOVERED:
        return outcome == DAMAGED or cut_short(world, host)
    world.recoveries += 1
    host.pool = pool_open(POOL_BYTES)
    host.out = outbox_open()
    check(host.pool != NULL and host.out != NULL, b"Q-LIFE-05 there is memory for a node")
    host.flushed = wal_flushed(host.wal)
    outcome = look_at_log(world, host, report)
    host_begin_afresh(world, host)
    if outcome == RECOVERED:
        outcome = look_at_snapshot(world, host, recovered_group(report))
    if outcome != RECOVERED:
        forget_accepted(host)
        host_snapshot_stop(host)
        sessions_close(&host.sessions)
        close_log(host)
        return outcome == DAMAGED or cut_short(world, host)
    host.recovery_crashes = 0
    if host_is_hurt(world, host):
        mark(world.marks, MARK_DAMAGE_OUTLIVED)
    # Only now: what the life before had not flushed must not count as flushed by this one's numbers.
    ledger_flushed(world.ledger, host.number, host.flushed)
    check(wal_open_group(host.wal, THE_GROUP, b"simulated", world.options.protocol.mode, &wsn) == OK,
          b"Q-LIFE-06 the group opens under its name")
    open_protocol(world, host, recovered_group(report))
    log_pin(&host.log, host.applied + 1)
    wal_status(host.wal, &status)
    host.segments = <uint32_t>status.segments
    host.proved = 0
    host.rolled = wal_next(host.wal)
    host.up = True
    mend_start(world, host)
    host.timer_ns = 0
    host.transfers = 0
    trace_started(world, host)
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_TIME
    host_step(world, host, &event)
    return True


# --- ending -----------------------------------------------------------------------------

cdef void host_stop(World* world, Host* host) noexcept nogil:
    cdef uint32_t i
    if not host.up:
        return
    host.up = False
    host.paused_until_ns = 0
    world.options.protocol.close(host.state)
    host.state = NULL
    host_snapshot_stop(host)
    log_close(&host.log)
    sessions_close(&host.sessions)
    mend_stop(host)
    close_log(host)
    for i in range(host.held_count):
        parcel_drop(host.held[i])
    host.held_count = 0
    host.failing = False
    host.idle_scheduled = False


cdef void host_destroy(World* world, Host* host) noexcept nogil:
    host_stop(world, host)
    free(host.held)
    free(host.accepted)
    disk_close(host.disk)
