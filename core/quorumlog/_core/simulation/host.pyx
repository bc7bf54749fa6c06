"""A simulated node's life; see host.pxd.

The order of carrying out a step is the runtime's: records to the log, then the
messages whose WSN is flushed, the others held.
"""

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.prng cimport prng_below, prng_chance, prng_next
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_NOT_LEADER, OK
from quorumlog._core.base.types cimport index_t, term_t, wsn_t
from quorumlog._core.engine.log cimport LogRun, log_close, log_open, log_restore
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox, outbox_clear, outbox_close, outbox_open
from quorumlog._core.engine.protocol cimport EVENT_FLUSHED, EVENT_TIME, Event
from quorumlog._core.engine.sessions cimport sessions_close
from quorumlog._core.simulation.disk cimport DISK_SYNC, DISK_WRITE, disk_close, disk_open, disk_process_crash
from quorumlog._core.simulation.host_apply cimport host_answer_read, host_apply, host_restore_snapshot
from quorumlog._core.simulation.ledger cimport (
    ledger_back, ledger_back_end, ledger_fail, ledger_flushed, ledger_found, ledger_found_faulty, ledger_sent,
    ledger_stepped, ledger_wrote,
)
from quorumlog._core.simulation.network cimport ARRIVALS_MAX, network_send
from quorumlog._core.simulation.rot cimport rot_came_back, rot_holds, rot_look, rot_mended
from quorumlog._core.simulation.schedule cimport (
    OCCURS_DELIVERY, OCCURS_FETCH, OCCURS_TIME, Occurrence, schedule_add,
)
from quorumlog._core.simulation.world_state cimport THE_GROUP, Host, OpenRequest, Parcel, World
from quorumlog._core.storage.batch cimport (
    Batch, batch_drop, batch_last, batch_new, batch_parse_identity, batch_verify_body, pool_close, pool_open,
)
from quorumlog._core.storage.holes cimport Hole
from quorumlog._core.storage.wal cimport (
    MODE_SUFFIX, RecoveredGroup, WRITES_IN_FLIGHT_MAX, WalOptions, WalReport, wal_append, wal_close,
    wal_complete, wal_flushed, wal_next, wal_open, wal_open_group, wal_prepare, wal_read,
    wal_repair,
)

from libc.errno cimport EIO
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

cdef enum:
    POOL_BYTES = 1 << 28


# --- parcels ----------------------------------------------------------------------------

cdef void parcel_drop(Parcel* parcel) noexcept nogil:
    cdef uint16_t i
    for i in range(parcel.message.batch_count):
        batch_drop(parcel.message.batches[i])
    free(parcel)


cdef Batch* wire_copy(World* world, const Batch* batch) noexcept nogil:
    """As the wire would: identity and body, and nothing else of the sender's batch."""
    cdef Batch* copy = batch_new(world.wire, batch.body_bytes)
    check(copy != NULL, b"Q-HOST-01 the simulated wire has memory")
    memcpy(copy.body, batch.body, batch.body_bytes)
    check(batch.stamped, b"Q-HOST-02 only stamped batches are sent")
    check(batch_parse_identity(copy, batch.identity) == OK and batch_verify_body(copy) == OK,
          b"Q-HOST-03 what is sent is whole")
    return copy


cdef Parcel* parcel_new(World* world, const Message* message) noexcept nogil:
    cdef Parcel* parcel = <Parcel*>malloc(sizeof(Parcel) + message.batch_count * sizeof(Batch*))
    cdef uint16_t i
    check(parcel != NULL, b"Q-HOST-04 the simulation has memory for a message")
    parcel.message = message[0]
    parcel.message.batches = <Batch**>(parcel + 1)
    for i in range(message.batch_count):
        parcel.message.batches[i] = wire_copy(world, message.batches[i])
    return parcel


cdef void send(World* world, Host* host, Parcel* parcel) noexcept nogil:
    cdef uint64_t arrivals[ARRIVALS_MAX]
    cdef uint32_t target = <uint32_t>parcel.message.target - 1
    cdef uint32_t i, copies
    cdef Occurrence occurrence
    check2(target < world.options.node_count and target != host.number, b"Q-HOST-05 messages go to other nodes",
           parcel.message.target, host.id)
    ledger_sent(world.ledger, host.number, parcel.message.term)
    parcel.message.sender = host.id
    copies = network_send(&world.network, host.number, target, world.now_ns, &world.prng, arrivals)
    for i in range(copies):
        memset(&occurrence, 0, sizeof(Occurrence))
        occurrence.kind = OCCURS_DELIVERY
        occurrence.node = target
        occurrence.at_ns = arrivals[i]
        occurrence.parcel = parcel_new(world, &parcel.message)
        schedule_add(&world.schedule, occurrence)
    parcel_drop(parcel)


cdef void hold(Host* host, Parcel* parcel) noexcept nogil:
    if host.held_count == host.held_capacity:
        host.held_capacity = 2 * host.held_capacity + 64
        host.held = <Parcel**>realloc(host.held, host.held_capacity * sizeof(Parcel*))
        check(host.held != NULL, b"Q-HOST-06 the simulation has memory for held messages")
    host.held[host.held_count] = parcel
    host.held_count += 1


# --- a step -----------------------------------------------------------------------------

cdef void write_records(World* world, Host* host, wsn_t wsn_next) noexcept nogil:
    cdef Outbox* out = host.out
    cdef uint32_t i
    cdef wsn_t wsn
    cdef bint repair
    for i in range(out.write_count):
        repair = i + 1 == out.repair
        wsn = wal_repair(host.wal, out.writes[i]) if repair else wal_append(host.wal, out.writes[i])
        check2(wsn == wsn_next + i, b"Q-HOST-07 a step's writes get the WSNs it was told", wsn, wsn_next + i)
        if repair:
            rot_mended(world, host, out.writes[i], wsn)
        else:
            ledger_wrote(world.ledger, host.number, out.writes[i], wsn)
        batch_drop(out.writes[i])


cdef void send_messages(World* world, Host* host) noexcept nogil:
    cdef Outbox* out = host.out
    cdef Message* message
    cdef Parcel* parcel
    cdef uint32_t i
    cdef uint16_t k
    for i in range(out.message_count):
        message = &out.messages[i]
        check2(message.after_io < wal_next(host.wal), b"Q-HOST-08 a message waits for a WSN that exists",
               message.after_io, wal_next(host.wal))
        parcel = parcel_new(world, message)
        for k in range(message.batch_count):
            batch_drop(message.batches[k])
        if message.after_io <= host.flushed:
            send(world, host, parcel)
        else:
            hold(host, parcel)


cdef void take_refusals(World* world, Host* host) noexcept nogil:
    cdef Outbox* out = host.out
    cdef uint32_t i
    cdef uint64_t client
    for i in range(out.refusal_count):
        world.refusals += 1
        # It did not happen: the client may send it again at once, elsewhere.
        client = out.refusals[i].batch.session - 1
        if client < world.options.client_count and out.refusals[i].batch.sequence <= world.clients[client].sent:
            world.clients[client].sent = out.refusals[i].batch.sequence - 1
            if out.refusals[i].status == ERR_NOT_LEADER:
                world.clients[client].retry_ns = 0
        batch_drop(out.refusals[i].batch)


cdef void take_fetches(World* world, Host* host) noexcept nogil:
    cdef Outbox* out = host.out
    cdef Occurrence occurrence
    cdef uint32_t i
    for i in range(out.fetch_count):
        memset(&occurrence, 0, sizeof(Occurrence))
        occurrence.kind = OCCURS_FETCH
        occurrence.node = host.number
        occurrence.incarnation = host.incarnation
        occurrence.at_ns = world.now_ns + prng_below(&world.prng, world.options.disk_max_ns)
        occurrence.number = out.fetches[i].peer
        occurrence.repair = out.fetches[i].repair
        occurrence.extra = out.fetches[i].first
        schedule_add(&world.schedule, occurrence)


cdef uint64_t host_clock_ns(const World* world, const Host* host) noexcept nogil:
    return host.clock_offset_ns + <uint64_t>(<int64_t>world.now_ns * (1000 + host.drift_per_mille) // 1000)


cdef uint64_t world_time_ns(const Host* host, uint64_t clock_ns) noexcept nogil:
    """When the node's clock will show it, rounded up."""
    if clock_ns <= host.clock_offset_ns:
        return 0
    return (clock_ns - host.clock_offset_ns) * 1000 // <uint64_t>(1000 + host.drift_per_mille) + 1


cdef void set_timer(World* world, Host* host) noexcept nogil:
    cdef Occurrence occurrence
    cdef uint64_t at_ns
    if host.deadline_ns == 0:
        return
    at_ns = max(world.now_ns, world_time_ns(host, host.deadline_ns))
    if host.timer_ns != 0 and host.timer_ns <= at_ns:
        return
    memset(&occurrence, 0, sizeof(Occurrence))
    occurrence.kind = OCCURS_TIME
    occurrence.node = host.number
    occurrence.incarnation = host.incarnation
    occurrence.at_ns = at_ns
    host.timer_ns = at_ns
    schedule_add(&world.schedule, occurrence)


cdef void host_step(World* world, Host* host, Event* event) noexcept nogil:
    cdef Outbox* out = host.out
    cdef uint32_t i
    event.now_ns = host_clock_ns(world, host)
    event.wall_ns = world.now_ns + 1000 * host.clock_offset_ns
    event.wsn_next = wal_next(host.wal)
    world.options.protocol.step(host.state, event, out)
    write_records(world, host, event.wsn_next)
    send_messages(world, host)
    take_refusals(world, host)
    take_fetches(world, host)
    for i in range(out.read_count):
        host_answer_read(world, host, out.reads[i].read, out.reads[i].index, out.reads[i].status)
    host.deadline_ns = out.deadline_ns
    outbox_clear(out)
    world.options.protocol.status(host.state, &host.status)
    ledger_stepped(world.ledger, host.number, &host.status, &host.log, wal_next(host.wal) - 1)
    if world.ledger.failure[0] == 0:
        host_apply(world, host)
    set_timer(world, host)


cdef void host_flushed(World* world, Host* host) noexcept nogil:
    cdef Event event
    cdef Parcel* parcel
    cdef uint32_t i
    cdef uint32_t left = 0
    cdef wsn_t flushed = wal_flushed(host.wal)
    if flushed == host.flushed:
        return
    host.flushed = flushed
    ledger_flushed(world.ledger, host.number, flushed)
    rot_look(world, host)
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_FLUSHED
    event.wsn = flushed
    host_step(world, host, &event)
    for i in range(host.held_count):
        parcel = host.held[i]
        if parcel.message.after_io <= flushed:
            send(world, host, parcel)
        else:
            host.held[left] = parcel
            left += 1
    host.held_count = left


# --- starting ---------------------------------------------------------------------------

cdef void host_create(World* world, uint32_t number) noexcept nogil:
    cdef Host* host = &world.hosts[number]
    memset(host, 0, sizeof(Host))
    host.number = number
    host.id = number + 1
    host.disk = disk_open(prng_next(&world.prng))
    host.clock_offset_ns = 1 + prng_below(&world.prng, 1000000000)
    if world.options.drift_per_mille != 0:
        host.drift_per_mille = <int64_t>prng_below(&world.prng, 2 * world.options.drift_per_mille + 1)
        host.drift_per_mille -= world.options.drift_per_mille
    check(host.disk.files.make_directory(host.disk, b"wal") == 0
          and host.disk.files.sync_directory(host.disk, b"/") == 0, b"Q-HOST-09 a fresh virtual disk works")


cdef const RecoveredGroup* recovered(const WalReport* report) noexcept nogil:
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


cdef bint is_rot(const World* world, const Host* host, const Hole* hole) noexcept nogil:
    return world.rot.host == host.number + 1 and world.rot.first == hole.first and world.rot.term == hole.term


cdef void report_log(World* world, Host* host, const RecoveredGroup* group) noexcept nogil:
    """Tells the ledger what came back, batch by batch, read and verified."""
    cdef Batch* batch
    cdef index_t index = group.first
    cdef int status
    ledger_back(world.ledger, host.number, group.hard_state_term, group.vote, group.first)
    if group.boundless or group.hole_count > 1 or (group.hole_count == 1 and not is_rot(world, host, group.holes)):
        ledger_fail(world.ledger, b"recovery takes a power cut for corruption", host.number, group.faulty_first,
                    group.hard_state_damaged)
    if group.unproved_last > group.whole_last:
        world.unproved_tails += 1
    while index <= group.whole_last:
        status = wal_read(host.wal, THE_GROUP, index, host.pool, &batch)
        if status == ERR_CORRUPT and rot_holds(world, host, index):
            index = ledger_found_faulty(world.ledger, host.number, index, world.rot.term) + 1
            continue
        if status != OK:
            ledger_fail(world.ledger, b"recovery names a batch that can't be read", host.number, index, status)
            return
        ledger_found(world.ledger, host.number, batch)
        if term_of(group, batch.first) != batch.term or term_of(group, batch_last(batch)) != batch.term:
            ledger_fail(world.ledger, b"recovery names a term that its batch has not", host.number, batch.first,
                        term_of(group, batch.first))
        rot_came_back(world, host, batch)
        index = batch_last(batch) + 1
        batch_drop(batch)
    ledger_back_end(world.ledger, host.number)


cdef void open_protocol(World* world, Host* host, const RecoveredGroup* group) noexcept nogil:
    cdef OpenRequest request
    cdef LogRun* runs
    cdef uint32_t i
    memset(&request, 0, sizeof(OpenRequest))
    check(log_open(&host.log, THE_GROUP, world.options.cache_bytes) == OK, b"Q-HOST-10 there is memory for a log")
    if group != NULL:
        runs = <LogRun*>malloc((group.whole_run_count + 1) * sizeof(LogRun))
        check(runs != NULL, b"Q-HOST-11 there is memory for term runs")
        for i in range(group.whole_run_count):
            runs[i].first = group.runs[i].first
            runs[i].term = group.runs[i].term
        if log_restore(&host.log, group.first, group.term_before_first, group.whole_last, runs,
                       group.whole_run_count) != OK:
            ledger_fail(world.ledger, b"recovery names a log that can't be", host.number, group.first,
                        group.whole_last)
        free(runs)
        request.hard_state_term = group.hard_state_term
        request.vote = group.vote
        request.unproved_last = group.unproved_last if group.unproved_last > group.whole_last else 0
        request.holes = group.holes
        request.hole_count = group.hole_count
    request.group = THE_GROUP
    request.self = host.id
    request.voter_count = world.options.node_count
    for i in range(world.options.node_count):
        request.voters[i] = i + 1
    request.election_timeout_ns = world.options.election_timeout_ns
    request.heartbeat_ns = world.options.heartbeat_ns
    request.append_bytes_max = world.options.append_bytes_max
    request.seed = prng_next(&world.prng)
    host.state = world.options.open(&request, &host.log, host_clock_ns(world, host))
    check(host.state != NULL, b"Q-HOST-12 the protocol opens")


cdef bint open_log(World* world, Host* host, const WalReport** report) noexcept nogil:
    cdef WalOptions options
    cdef int status = OK
    cdef bint halted = not world.healed and prng_chance(&world.prng, world.options.recovery_crash_per_cent, 100)
    cdef bint hurt = (halted or host.disk.faults[<int>DISK_SYNC].error != 0
                      or host.disk.faults[<int>DISK_WRITE].error != 0)
    memset(&options, 0, sizeof(WalOptions))
    options.segment_bytes = 1 << 20
    options.sync_group_bytes_max = 64 << 10 if world.options.seed & 1 else 1 << 20
    options.spare_segments = 1
    options.direct = (world.options.seed & 2) != 0
    options.cache_bytes = 1 << 20
    if halted:
        host.disk.halt_at = host.disk.operations + 1 + prng_below(&world.prng, 24)
    host.wal = wal_open(&host.disk.files, b"wal", &options, report, &status)
    while host.wal != NULL and wal_prepare(host.wal) == OK:
        pass
    host.disk.halt_at = 0
    if host.wal != NULL:
        return True
    disk_process_crash(host.disk)
    world.recovery_crashes += 1
    if not hurt:
        ledger_fail(world.ledger, b"recovery refused what a crash left", host.number, status, host.incarnation)
    return False


cdef bint host_start(World* world, Host* host) noexcept nogil:
    cdef const WalReport* report = NULL
    cdef const RecoveredGroup* group
    cdef Event event
    cdef wsn_t wsn
    host.incarnation += 1
    if not open_log(world, host, &report):
        return False
    world.recoveries += 1
    host.pool = pool_open(POOL_BYTES)
    host.out = outbox_open()
    check(host.pool != NULL and host.out != NULL, b"Q-HOST-13 there is memory for a node")
    host.flushed = wal_flushed(host.wal)
    host.proved = 0
    group = recovered(report)
    if group != NULL:
        report_log(world, host, group)
    else:
        ledger_back(world.ledger, host.number, 0, 0, 1)
        ledger_back_end(world.ledger, host.number)
    # Only now: what the life before had not flushed must not count as flushed by this one's numbers.
    ledger_flushed(world.ledger, host.number, host.flushed)
    check(wal_open_group(host.wal, THE_GROUP, b"simulated", MODE_SUFFIX, &wsn) == OK,
          b"Q-HOST-14 the group opens under its name")
    open_protocol(world, host, group)
    host_restore_snapshot(world, host)
    host.up = True
    host.timer_ns = 0
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
    log_close(&host.log)
    sessions_close(&host.sessions)
    # Nothing more reaches the disk, whatever closing does.
    host.disk.halt_at = 1
    for i in range(WRITES_IN_FLIGHT_MAX):
        if host.writing[i].busy:
            wal_complete(host.wal, host.writing[i].plan.number, EIO)
            host.writing[i].busy = False
    wal_close(host.wal)
    host.wal = NULL
    host.disk.halt_at = 0
    disk_process_crash(host.disk)
    for i in range(host.held_count):
        parcel_drop(host.held[i])
    host.held_count = 0
    outbox_close(host.out)
    pool_close(host.pool)
    host.idle_scheduled = False


cdef void host_destroy(World* world, Host* host) noexcept nogil:
    host_stop(world, host)
    free(host.held)
    disk_close(host.disk)
