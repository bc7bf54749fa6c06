"""A simulated node's steps; see host.pxd.

The order of carrying out a step is the runtime's: records to the log, then the
messages whose WSN is flushed, the others held.
"""

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.prng cimport prng_below, prng_chance
from quorumlog._core.base.status cimport ERR_NOT_LEADER, OK
from quorumlog._core.base.types cimport wsn_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox, outbox_clear
from quorumlog._core.engine.protocol cimport (
    EVENT_FLUSHED, ROLE_CANDIDATE, ROLE_FOLLOWER, ROLE_LEADER, ROLE_PRE_CANDIDATE, Event, GroupStatus,
)
from quorumlog._core.simulation.host_apply cimport host_answer_read, host_apply
from quorumlog._core.simulation.host_snapshot cimport host_begin_snapshot, host_install, host_take_pieces
from quorumlog._core.simulation.ledger cimport ledger_fail, ledger_flushed, ledger_sent, ledger_stepped, ledger_wrote
from quorumlog._core.simulation.ledger_back cimport ledger_mended
from quorumlog._core.simulation.marks cimport (
    MARK_ADMITTED, MARK_ADMITTED_WIPED, MARK_CAMPAIGN_LOST, MARK_COMPACTED, MARK_DEPOSED, MARK_DISK_STALLED,
    MARK_ELECTED, MARK_HANDED_OVER, MARK_HELD, MARK_PRE_CAMPAIGN_LOST, MARK_REFUSED, MARK_REPAIRED,
    MARK_REPAIRED_LEADING, MARK_STEPPED_DOWN, MARK_STOOD_DOWN_FAULTY, MARK_TAIL_SETTLED, MARK_TRANSFER_GIVEN_UP, mark,
)
from quorumlog._core.simulation.network cimport ARRIVALS_MAX, network_send
from quorumlog._core.simulation.occurring cimport occur_later
from quorumlog._core.simulation.schedule cimport (
    OCCURS_DELIVERY, OCCURS_FETCH, OCCURS_TIME, Occurrence, schedule_add,
)
from quorumlog._core.simulation.stamped cimport stamped_client
from quorumlog._core.simulation.trace cimport (
    TRACE_ADMITTED, TRACE_COMMITTED, TRACE_COMPACTED, TRACE_FLUSHED, TRACE_MENDED_BATCH, TRACE_ROLE, TRACE_SENT,
    TRACE_VOTED, TRACE_WROTE, TraceRecord, trace_add, trace_note,
)
from quorumlog._core.simulation.world_state cimport CLIENTS_MAX, OLD_FRAMES_MAX, Client, Host, Parcel, World
from quorumlog._core.storage.batch cimport (
    BATCH_STAMPED, KIND_COMPACT, Batch, batch_drop, batch_last, batch_new, batch_parse_identity, batch_verify_body,
)
from quorumlog._core.storage.wal cimport wal_append, wal_flushed, wal_next, wal_repair

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset


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
    parcel.number = 0
    parcel.sent_ns = world.now_ns
    parcel.from_directory = 0
    parcel.to_directory = 0
    parcel.again = False
    parcel.message.batches = <Batch**>(parcel + 1)
    for i in range(message.batch_count):
        parcel.message.batches[i] = wire_copy(world, message.batches[i])
    return parcel


cdef void keep_old(World* world, const Parcel* parcel) noexcept nogil:
    """For a replay, some time."""
    cdef uint64_t place
    if world.network.options.replay_per_mille == 0 \
            or not prng_chance(&world.prng, world.network.options.replay_per_mille, 1000):
        return
    place = prng_below(&world.prng, OLD_FRAMES_MAX)
    if world.old_frames[place] != NULL:
        parcel_drop(world.old_frames[place])
    world.old_frames[place] = parcel_again(world, parcel)


cdef Parcel* parcel_again(World* world, const Parcel* parcel) noexcept nogil:
    cdef Parcel* copy = parcel_new(world, &parcel.message)
    copy.number = parcel.number
    copy.sent_ns = parcel.sent_ns
    copy.from_directory = parcel.from_directory
    copy.to_directory = parcel.to_directory
    return copy


cdef void trace_sent(World* world, Host* host, const Parcel* parcel, uint32_t copies) noexcept nogil:
    if world.trace.on:
        trace_note(&world.trace, world.now_ns, TRACE_SENT, host.number, <uint32_t>parcel.message.target,
                   parcel.number, parcel.message.kind, copies, parcel.message.term)


cdef void send(World* world, Host* host, Parcel* parcel) noexcept nogil:
    """The parcel itself travels; copies are made only of what arrives twice."""
    cdef uint64_t arrivals[ARRIVALS_MAX]
    cdef uint32_t target = <uint32_t>parcel.message.target - 1
    cdef uint32_t i, copies
    cdef Occurrence occurrence
    check2(target < world.options.node_count and target != host.number, b"Q-HOST-05 messages go to other nodes",
           parcel.message.target, host.id)
    ledger_sent(world.ledger, host.number, parcel.message.term)
    parcel.message.sender = host.id
    world.parcels += 1
    parcel.number = world.parcels
    parcel.sent_ns = world.now_ns
    parcel.from_directory = host.directory
    parcel.to_directory = world.known[host.number][target]
    keep_old(world, parcel)
    copies = network_send(&world.network, host.number, target, world.now_ns, &world.prng, arrivals)
    trace_sent(world, host, parcel, copies)
    for i in range(copies):
        memset(&occurrence, 0, sizeof(Occurrence))
        occurrence.kind = OCCURS_DELIVERY
        occurrence.node = target
        occurrence.at_ns = arrivals[i]
        occurrence.parcel = parcel if i == 0 else parcel_again(world, parcel)
        if i > 0:
            (<Parcel*>occurrence.parcel).again = True
        schedule_add(&world.schedule, occurrence)
    if copies == 0:
        parcel_drop(parcel)


cdef void hold(Host* host, Parcel* parcel) noexcept nogil:
    if host.held_count == host.held_capacity:
        host.held_capacity = 2 * host.held_capacity + 64
        host.held = <Parcel**>realloc(host.held, host.held_capacity * sizeof(Parcel*))
        check(host.held != NULL, b"Q-HOST-06 the simulation has memory for held messages")
    host.held[host.held_count] = parcel
    host.held_count += 1


# --- a step -----------------------------------------------------------------------------

cdef void trace_wrote(World* world, Host* host, const Batch* batch, wsn_t wsn) noexcept nogil:
    cdef TraceRecord record
    memset(&record, 0, sizeof(TraceRecord))
    record.at_ns = world.now_ns
    record.kind = TRACE_WROTE
    record.node = host.number
    record.number = wsn
    record.a = batch.kind
    record.b = batch.first
    record.c = batch_last(batch)
    record.term = batch.term
    trace_add(&world.trace, record)


cdef void write_repair(World* world, Host* host, Batch* batch, wsn_t wsn) noexcept nogil:
    mark(world.marks, MARK_REPAIRED)
    if host.status.role == ROLE_LEADER:
        mark(world.marks, MARK_REPAIRED_LEADING)
    ledger_mended(world.ledger, host.number, batch, wsn)
    trace_note(&world.trace, world.now_ns, TRACE_MENDED_BATCH, host.number, 0, wsn, batch.first, batch_last(batch),
               batch.term)


cdef void trace_record(World* world, Host* host, const Batch* batch, wsn_t wsn) noexcept nogil:
    if batch.kind == KIND_COMPACT:
        world.compactions += 1
        mark(world.marks, MARK_COMPACTED)
        trace_note(&world.trace, world.now_ns, TRACE_COMPACTED, host.number, 0, 0, batch.first, 0, 0)
    if world.trace.on:
        trace_wrote(world, host, batch, wsn)


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
            write_repair(world, host, out.writes[i], wsn)
        else:
            ledger_wrote(world.ledger, host.number, out.writes[i], wsn)
            trace_record(world, host, out.writes[i], wsn)
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
            mark(world.marks, MARK_HELD)
            hold(host, parcel)


cdef void take_refusals(World* world, Host* host) noexcept nogil:
    cdef Outbox* out = host.out
    cdef uint32_t i
    cdef const Batch* batch
    cdef Client* client
    cdef uint64_t sequence
    for i in range(out.refusal_count):
        world.refusals += 1
        mark(world.marks, MARK_REFUSED)
        # It did not happen: the client may send it again at once, elsewhere.
        batch = out.refusals[i].batch
        if batch.flags & BATCH_STAMPED:
            client = stamped_client(world, batch, &sequence)
        else:
            client = &world.clients[(batch.session - 1) % CLIENTS_MAX]
            sequence = batch.sequence
            client = client if client.session == batch.session else NULL
        if client != NULL and sequence <= client.sent:
            client.sent = max(sequence, <uint64_t>1) - 1
            if out.refusals[i].status == ERR_NOT_LEADER:
                client.retry_ns = 0
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
    if world.now_ns < host.frozen_until_ns:
        return host.frozen_clock_ns
    return host.clock_offset_ns + <uint64_t>(<int64_t>world.now_ns * (1000 + host.drift_per_mille) // 1000)


cdef uint64_t world_time_ns(const Host* host, uint64_t clock_ns) noexcept nogil:
    """When the node's clock will show it, rounded up; not while it stands still."""
    cdef uint64_t at_ns = 0
    if clock_ns > host.clock_offset_ns:
        at_ns = (clock_ns - host.clock_offset_ns) * 1000 // <uint64_t>(1000 + host.drift_per_mille) + 1
    return max(at_ns, host.frozen_until_ns)


cdef void set_timer(World* world, Host* host) noexcept nogil:
    cdef uint64_t at_ns
    if host.deadline_ns == 0:
        return
    at_ns = max(world.now_ns, world_time_ns(host, host.deadline_ns))
    if host.timer_ns != 0 and host.timer_ns <= at_ns:
        return
    host.timer_ns = at_ns
    occur_later(world, host.number, OCCURS_TIME, at_ns - world.now_ns, 0, 0)


cdef void mark_role(World* world, const GroupStatus* before, const GroupStatus* after) noexcept nogil:
    if after.role == ROLE_LEADER:
        mark(world.marks, MARK_ELECTED)
        world.leader_changes += 1
    elif before.role == ROLE_LEADER:
        mark(world.marks, MARK_STEPPED_DOWN if after.term == before.term else MARK_DEPOSED)
        if after.faulty != 0 and after.term == before.term:
            mark(world.marks, MARK_STOOD_DOWN_FAULTY)
    elif before.role == ROLE_CANDIDATE and after.role == ROLE_FOLLOWER and after.term == before.term:
        mark(world.marks, MARK_CAMPAIGN_LOST)
    elif before.role == ROLE_PRE_CANDIDATE and after.role == ROLE_FOLLOWER and after.term == before.term:
        mark(world.marks, MARK_PRE_CAMPAIGN_LOST)


cdef void check_transfer(World* world, Host* host, uint64_t clock_ns) noexcept nogil:
    """A-R16: however it goes, handing over ends within an election timeout."""
    cdef const GroupStatus* status = &host.status
    if status.transfers != host.transfers:
        host.transfers = status.transfers
        host.transfer_until_ns = clock_ns + world.options.election_timeout_ns
    if status.transfer != 0 and status.role != ROLE_LEADER:
        ledger_fail(world.ledger, b"who does not lead hands over", host.number, status.transfer, status.term)
    elif status.transfer != 0 and clock_ns > host.transfer_until_ns:
        ledger_fail(world.ledger, b"handing over takes longer than an election timeout", host.number,
                    status.transfer, clock_ns - host.transfer_until_ns)


cdef void mark_leadership(World* world, const GroupStatus* before, const GroupStatus* after) noexcept nogil:
    if before.transfer != 0 and after.role != ROLE_LEADER and after.term > before.term:
        mark(world.marks, MARK_HANDED_OVER)
    if after.transfers_failed > before.transfers_failed:
        mark(world.marks, MARK_TRANSFER_GIVEN_UP)
    if after.disk_stalls > before.disk_stalls:
        mark(world.marks, MARK_DISK_STALLED)


cdef void look_at_change(World* world, Host* host, const GroupStatus* before) noexcept nogil:
    """What a step did, for the marks and the trace."""
    cdef const GroupStatus* after = &host.status
    if after.role != before.role:
        mark_role(world, before, after)
    mark_leadership(world, before, after)
    if before.unproved_last != 0 and after.unproved_last == 0:
        mark(world.marks, MARK_TAIL_SETTLED)
    if before.listening and not after.listening:
        mark(world.marks, MARK_ADMITTED)
        if host.directory != 0:
            mark(world.marks, MARK_ADMITTED_WIPED)
        trace_note(&world.trace, world.now_ns, TRACE_ADMITTED, host.number, 0, 0, 0, 0, after.term)
    if not world.trace.on:
        return
    if after.role != before.role or after.term != before.term or after.leader != before.leader:
        trace_note(&world.trace, world.now_ns, TRACE_ROLE, host.number, <uint32_t>after.leader, 0, after.role, 0,
                   after.term)
    if after.vote != before.vote and after.vote != 0:
        trace_note(&world.trace, world.now_ns, TRACE_VOTED, host.number, <uint32_t>after.vote, 0, 0, 0,
                   after.term)
    if after.commit != before.commit:
        trace_note(&world.trace, world.now_ns, TRACE_COMMITTED, host.number, 0, 0, after.commit, 0, after.term)


cdef void host_step(World* world, Host* host, Event* event) noexcept nogil:
    cdef Outbox* out = host.out
    cdef GroupStatus before
    cdef bint snapshot_due
    cdef uint32_t i
    event.now_ns = host_clock_ns(world, host)
    event.wall_ns = world.now_ns + host.wall_offset_ns
    event.wsn_next = wal_next(host.wal)
    world.options.protocol.step(host.state, event, out)
    host_install(world, host)
    write_records(world, host, event.wsn_next)
    send_messages(world, host)
    take_refusals(world, host)
    take_fetches(world, host)
    for i in range(out.read_count):
        host_answer_read(world, host, &out.reads[i], event.now_ns)
    host.deadline_ns = out.deadline_ns
    host.faulty_first = out.faulty_first
    host_take_pieces(world, host)
    snapshot_due = out.snapshot_due
    outbox_clear(out)
    before.role = host.status.role
    before.term = host.status.term
    before.leader = host.status.leader
    before.vote = host.status.vote
    before.commit = host.status.commit
    before.unproved_last = host.status.unproved_last
    before.listening = host.status.listening
    before.transfer = host.status.transfer
    before.transfers_failed = host.status.transfers_failed
    before.disk_stalls = host.status.disk_stalls
    world.options.protocol.status(host.state, &host.status)
    look_at_change(world, host, &before)
    check_transfer(world, host, event.now_ns)
    ledger_stepped(world.ledger, host.number, &host.status, &host.log, wal_next(host.wal) - 1)
    if world.ledger.failure[0] == 0:
        host_apply(world, host)
        if snapshot_due:
            host_begin_snapshot(world, host)
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
    trace_note(&world.trace, world.now_ns, TRACE_FLUSHED, host.number, 0, flushed, 0, 0, 0)
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
