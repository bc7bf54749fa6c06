"""The state machine of a simulated node; see host_apply.pxd.

It is some registers, for what clients see, and a hash over the batches it applies, so
that equal hashes mean the same batches once each in the same order.  Sessions are the
product's.  A user's machine can stand in its place; its digest goes into the hash.
"""

from quorumlog._core.base.bytes cimport get_u64
from quorumlog._core.base.checks cimport check
from quorumlog._core.base.prng cimport prng_below
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_IO, ERR_NOT_FOUND, OK
from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.log cimport log_batch, log_pin
from quorumlog._core.engine.outbox cimport ReadReady
from quorumlog._core.engine.protocol cimport READ_AS_OF, READ_BY_LEASE, ROLE_LEADER
from quorumlog._core.engine.clients cimport clients_time
from quorumlog._core.engine.sessions cimport (
    ADMIT_APPLY, ADMIT_EXPIRED, ADMIT_GAP, ADMIT_REPEATED, sessions_admit, sessions_open,
)
from quorumlog._core.simulation.clients cimport client_gives_up
from quorumlog._core.simulation.history cimport history_return
from quorumlog._core.simulation.ledger cimport (
    LEDGER_SESSIONS, applied_step, ledger_admitted, ledger_applied, ledger_fail)
from quorumlog._core.simulation.ledger_clients cimport ledger_acked, ledger_read
from quorumlog._core.simulation.marks cimport (
    MARK_APPLIED_COLD, MARK_GAP, MARK_GIVEN_UP_HAPPENED, MARK_READ_BOUNDED, MARK_READ_BY_LEASE,
    MARK_READ_FORWARDED, MARK_READ_LOOKED, MARK_READ_REFUSED, MARK_READ_TOO_STALE, MARK_READ_WAITED, MARK_REPEATED,
    MARK_SESSION_EXPIRED, mark,
)
from quorumlog._core.simulation.noticing cimport notice_and_wait
from quorumlog._core.simulation.stamped cimport stamped_apply
from quorumlog._core.simulation.trace cimport TRACE_ACKED, TRACE_SERVED, trace_note
from quorumlog._core.simulation.world_state cimport (
    CLIENTS_MAX, READS_MAX, THE_GROUP, WINDOW_MAX, Client, Host, PendingRead, World,
)
from quorumlog._core.storage.batch cimport (
    BATCH_BEGINS, BATCH_STAMPED, KIND_ENTRIES, Batch, batch_drop, batch_keep, batch_last, batch_payload)
from quorumlog._core.storage.wal cimport wal_read

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset


cdef Batch* batch_at(World* world, Host* host, index_t index) noexcept nogil:
    """With a reference; from memory, else from the write-ahead log.  NULL: not now."""
    cdef Batch* batch = log_batch(&host.log, index)
    cdef int status
    if batch != NULL:
        return batch_keep(batch)
    mark(world.marks, MARK_APPLIED_COLD)
    status = wal_read(host.wal, THE_GROUP, index, host.pool, &batch)
    if status == OK:
        return batch
    if status == ERR_CORRUPT or status == ERR_IO:
        notice_and_wait(world, host, index, status)
    elif status == ERR_NOT_FOUND and host.status.faulty != 0:
        pass                           # its repair is not flushed yet
    else:
        ledger_fail(world.ledger, b"a committed batch can't be read", host.number, index, status)
    return NULL


# Clients --------------------------------------------------------------------------------

cdef void host_acknowledge(World* world, Client* client, Host* host, uint64_t sequence,
                           index_t last) noexcept nogil:
    cdef uint32_t operation = client.operations[sequence % WINDOW_MAX]
    client.acked += 1
    client.retry_ns = world.now_ns + (1 + prng_below(&world.prng, 4)) * world.options.election_timeout_ns
    world.acked += 1
    if world.healed:
        client.acked_healed += 1
    history_return(&world.history, operation, host.number + 1, world.history.operations[operation].value,
                   world.now_ns)
    trace_note(&world.trace, world.now_ns, TRACE_ACKED, host.number, 0, operation, 0, 0, 0)
    ledger_acked(world.ledger, last, world.now_ns)


cdef void answer_client(World* world, Host* host, const Batch* batch, int admission) noexcept nogil:
    cdef Client* client = &world.clients[(batch.session - 1) % CLIENTS_MAX]
    if client.session != batch.session:
        if admission == ADMIT_APPLY:
            mark(world.marks, MARK_GIVEN_UP_HAPPENED)
        return
    if client.target != host.number:
        return
    if admission == ADMIT_GAP:
        mark(world.marks, MARK_GAP)
        client.sent = client.acked
    elif admission == ADMIT_APPLY or admission == ADMIT_REPEATED:
        if batch.sequence == client.acked + 1:
            host_acknowledge(world, client, host, batch.sequence, batch_last(batch))
    elif admission == ADMIT_EXPIRED and batch.sequence > client.acked:
        mark(world.marks, MARK_SESSION_EXPIRED)
        if client.session + CLIENTS_MAX < LEDGER_SESSIONS:
            client_gives_up(world, client)


# Applying -------------------------------------------------------------------------------

cdef void write_register(World* world, Host* host, const Batch* batch) noexcept nogil:
    """The first entry begins with key and value."""
    cdef const uint8_t* payload = batch_payload(batch)
    host.registers[get_u64(payload) % world.options.keys] = get_u64(payload + 8)


cdef uint64_t apply_content(World* world, Host* host, Batch* batch) noexcept nogil:
    """A digest of what it did."""
    cdef uint64_t digest = 0
    if world.options.machine == NULL:
        write_register(world, host, batch)
        return batch.body_crc
    if not world.options.machine.apply(world.options.machine.context, host.number, batch, &digest):
        ledger_fail(world.ledger, b"the state machine raised", host.number, batch.first, batch.term)
    return digest


cdef void apply_one(World* world, Host* host, Batch* batch) noexcept nogil:
    cdef int admission
    if batch.kind == KIND_ENTRIES:
        clients_time(&host.sessions.clients, batch.leader_time_ns)
        admission = sessions_admit(&host.sessions, batch.session, batch.sequence,
                                   (batch.flags & BATCH_BEGINS) != 0, batch.first)
        if admission == ADMIT_REPEATED:
            mark(world.marks, MARK_REPEATED)
        if batch.flags & BATCH_STAMPED:
            stamped_apply(world, host, batch)
        elif admission == ADMIT_APPLY:
            ledger_admitted(world.ledger, host.number, batch.session, batch.sequence,
                            (batch.flags & BATCH_BEGINS) != 0)
            host.applied_hash = applied_step(host.applied_hash, batch.session, batch.sequence,
                                             apply_content(world, host, batch))
        if not batch.flags & BATCH_STAMPED:
            answer_client(world, host, batch, admission)
    host.applied = batch_last(batch)
    host.applied_term = batch.term
    ledger_applied(world.ledger, host.number, host.applied, host.applied_hash)


cdef void host_apply(World* world, Host* host) noexcept nogil:
    cdef Batch* batch
    if host.restore != 0:
        return                         # nothing is applied, or answered, before the state is restored
    while host.applied < host.status.commit and host.waits_for == 0 and world.ledger.failure[0] == 0:
        batch = batch_at(world, host, host.applied + 1)
        if batch == NULL:
            break
        if batch.first != host.applied + 1:
            ledger_fail(world.ledger, b"a read gives another batch", host.number, batch.first,
                        host.applied + 1)
        apply_one(world, host, batch)
        batch_drop(batch)
        log_pin(&host.log, host.applied + 1)
    if host.reads_waiting != 0:
        serve_waiting(world, host)


# Reads ----------------------------------------------------------------------------------

cdef bint is_of(const PendingRead* read, const Host* host) noexcept nogil:
    return read.number != 0 and read.host == host.number and read.incarnation == host.incarnation


cdef void serve(World* world, Host* host, PendingRead* read) noexcept nogil:
    cdef uint64_t value = host.registers[world.history.operations[read.operation].key]
    world.reads_served += 1
    ledger_read(world.ledger, host.number, read.kind, read.index, read.at_least)
    history_return(&world.history, read.operation, host.number + 1, value, world.now_ns)
    trace_note(&world.trace, world.now_ns, TRACE_SERVED, host.number, 0, read.operation, value, 0, 0)
    read.number = 0


cdef void host_look(World* world, Host* host, uint32_t operation) noexcept nogil:
    if host.applied < world.ledger.acked_index:
        mark(world.marks, MARK_READ_LOOKED)
    world.reads_served += 1
    history_return(&world.history, operation, host.number + 1,
                   host.registers[world.history.operations[operation].key], world.now_ns)


cdef void serve_waiting(World* world, Host* host) noexcept nogil:
    cdef uint32_t i
    cdef PendingRead* read
    host.reads_waiting = 0
    for i in range(READS_MAX):
        read = &world.reads[i]
        if not is_of(read, host) or not read.answered:
            continue
        if read.index <= host.applied:
            serve(world, host, read)
        else:
            host.reads_waiting += 1


cdef void mark_confirmed(World* world, Host* host, const PendingRead* read, bint refused) noexcept nogil:
    if read.kind == READ_AS_OF:
        mark(world.marks, MARK_READ_TOO_STALE if refused else MARK_READ_BOUNDED)
    elif refused:
        mark(world.marks, MARK_READ_REFUSED)
    else:
        if host.status.role != ROLE_LEADER:
            mark(world.marks, MARK_READ_FORWARDED)
        if read.kind == READ_BY_LEASE and read.asked_ns == world.now_ns:
            mark(world.marks, MARK_READ_BY_LEASE)


cdef void host_answer_read(World* world, Host* host, const ReadReady* ready, uint64_t clock_ns) noexcept nogil:
    cdef PendingRead* read = &world.reads[ready.read % READS_MAX]
    cdef bint refused
    if read.number != ready.read or not is_of(read, host):
        return
    refused = ready.status != OK
    if read.kind == READ_AS_OF and not refused:
        refused = clock_ns - ready.as_of_ns > read.max_lag_ns      # as runtime/reads judges
    mark_confirmed(world, host, read, refused)
    if refused:
        read.number = 0
        return
    read.index = ready.index
    read.answered = True
    if read.index <= host.applied and host.restore == 0:
        serve(world, host, read)
    else:
        mark(world.marks, MARK_READ_WAITED)
        host.reads_waiting += 1


# Beginning --------------------------------------------------------------------------------

cdef void host_begin_afresh(World* world, Host* host) noexcept nogil:
    check(sessions_open(&host.sessions, world.options.sessions_max) == OK, b"Q-APPLY-01 there is memory for sessions")
    host.applied = 0
    host.applied_term = 0
    host.applied_hash = 0
    host.reads_waiting = 0
    memset(host.registers, 0, sizeof(host.registers))
    if world.options.machine != NULL \
            and not world.options.machine.begin(world.options.machine.context, host.number):
        ledger_fail(world.ledger, b"the state machine could not be made", host.number, host.incarnation, 0)
