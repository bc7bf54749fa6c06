"""The state machine of a simulated node; see host_apply.pxd.

It is a hash over the batches it applies, so that equal hashes mean the same
batches once each in the same order.  Sessions are the product's.
"""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.prng cimport prng_below
from quorumlog._core.base.status cimport ERR_COMPACTED, ERR_CORRUPT, OK
from quorumlog._core.base.types cimport index_t, term_t
from quorumlog._core.engine.log cimport log_batch, log_compact, log_pin, log_term
from quorumlog._core.engine.sessions cimport (
    ADMIT_APPLY, ADMIT_GAP, ADMIT_REPEATED, Session, sessions_admit, sessions_last, sessions_open,
)
from quorumlog._core.simulation.ledger cimport (
    Account, Committed, Ledger, applied_step, ledger_acked, ledger_admitted, ledger_applied, ledger_compacted,
    ledger_fail, ledger_read, ledger_restored,
)
from quorumlog._core.simulation.rot cimport rot_found
from quorumlog._core.simulation.world_state cimport (
    CLIENTS_MAX, READS_MAX, THE_GROUP, Client, Host, PendingRead, World,
)
from quorumlog._core.storage.batch cimport KIND_ENTRIES, Batch, batch_drop, batch_keep, batch_last
from quorumlog._core.storage.wal cimport wal_compact, wal_read

from libc.stdint cimport uint32_t, uint64_t


cdef Batch* batch_at(World* world, Host* host, index_t index) noexcept nogil:
    """With a reference; from memory, else from the write-ahead log."""
    cdef Batch* batch = log_batch(&host.log, index)
    cdef int status
    if batch != NULL:
        return batch_keep(batch)
    status = wal_read(host.wal, THE_GROUP, index, host.pool, &batch)
    if status != OK:
        if world.rot.host != host.number + 1 or status == ERR_COMPACTED:
            ledger_fail(world.ledger, b"a committed batch can't be read", host.number, index, status)
        elif status == ERR_CORRUPT and host.status.faulty == 0:
            rot_found(world, host, index)
        return NULL                    # until it is repaired
    return batch


cdef void answer_client(World* world, Host* host, const Batch* batch, int admission) noexcept nogil:
    cdef Client* client
    if batch.session == 0 or batch.session > world.options.client_count:
        return
    client = &world.clients[batch.session - 1]
    if client.target != host.number:
        return
    if admission == ADMIT_GAP:
        client.sent = client.acked
        return
    if (admission == ADMIT_APPLY or admission == ADMIT_REPEATED) and batch.sequence == client.acked + 1:
        client.acked += 1
        client.retry_ns = world.now_ns + (1 + prng_below(&world.prng, 4)) * world.options.election_timeout_ns
        world.acked += 1
        if world.healed:
            client.acked_healed += 1
        ledger_acked(world.ledger, batch_last(batch))


cdef void apply_one(World* world, Host* host, const Batch* batch) noexcept nogil:
    cdef int admission
    if batch.kind == KIND_ENTRIES:
        admission = sessions_admit(&host.sessions, batch.session, batch.sequence, batch_last(batch))
        if admission == ADMIT_APPLY:
            ledger_admitted(world.ledger, host.number, batch.session, batch.sequence)
            host.applied_hash = applied_step(host.applied_hash, batch.session, batch.sequence, batch.body_crc)
        answer_client(world, host, batch, admission)
    host.applied = batch_last(batch)
    ledger_applied(world.ledger, host.number, host.applied, host.applied_hash)


cdef void host_apply(World* world, Host* host) noexcept nogil:
    cdef Batch* batch
    while host.applied < host.status.commit and world.ledger.failure[0] == 0:
        batch = batch_at(world, host, host.applied + 1)
        if batch == NULL:
            return
        if batch.first != host.applied + 1:
            ledger_fail(world.ledger, b"a read gives another batch", host.number, batch.first,
                        host.applied + 1)
        apply_one(world, host, batch)
        batch_drop(batch)
        log_pin(&host.log, host.applied + 1)


cdef void host_answer_read(World* world, Host* host, uint64_t number, index_t index,
                           int status) noexcept nogil:
    cdef PendingRead* read = &world.reads[number % READS_MAX]
    if read.number != number or read.host != host.number or read.incarnation != host.incarnation:
        return
    read.number = 0
    if status != OK:
        return
    world.reads_served += 1
    ledger_read(world.ledger, host.number, index, read.at_least)


cdef void host_restore_snapshot(World* world, Host* host) noexcept nogil:
    cdef uint32_t i
    check(sessions_open(&host.sessions, 2 * CLIENTS_MAX) == OK, b"Q-APPLY-01 there is memory for sessions")
    host.applied = host.snapshot_index
    host.applied_hash = host.snapshot_hash
    for i in range(world.options.client_count):
        if host.snapshot_sequence[i] == 0:
            continue
        # A session enters the table with its first sequence and is then set where the snapshot has it.
        sessions_admit(&host.sessions, i + 1, 1, 1)
        session_of(host, i + 1).sequence = host.snapshot_sequence[i]
        ledger_restored(world.ledger, host.number, i + 1, host.snapshot_sequence[i])


cdef Session* session_of(Host* host, uint64_t session) noexcept nogil:
    cdef uint32_t i
    for i in range(host.sessions.capacity):
        if host.sessions.table[i].session == session:
            return &host.sessions.table[i]
    check(False, b"Q-APPLY-02 a session that was just admitted is there")
    return NULL


cdef bint durable_at(const Account* account, const Committed* committed) noexcept nogil:
    cdef uint32_t i
    if committed.first < account.head:
        return True
    for i in range(account.kept_count):
        if account.kept[i].first == committed.first:
            return account.kept[i].term == committed.term and account.kept[i].wsn <= account.flushed
    return False


cdef bint host_compact(World* world, Host* host) noexcept nogil:
    cdef Ledger* ledger = world.ledger
    cdef Committed* committed
    cdef index_t first
    cdef uint32_t i, node
    cdef int status
    cdef term_t before
    cdef uint32_t everywhere = 0
    if world.rot.host != 0:
        return False                   # without snapshots nobody could mend it any more
    # The longest committed prefix that all nodes hold durably and this one has applied.
    for i in range(ledger.committed_count):
        committed = &ledger.committed[i]
        if committed.last > host.applied:
            break
        for node in range(world.options.node_count):
            if not durable_at(&ledger.accounts[node], committed):
                break
        else:
            everywhere = i + 1
            continue
        break
    if everywhere == 0:
        return False
    first = ledger.committed[everywhere - 1].last + 1
    if first <= host.log.first or first > min(host.log.flushed, host.status.commit) + 1:
        return False
    host.snapshot_index = host.applied
    host.snapshot_hash = host.applied_hash
    for i in range(world.options.client_count):
        host.snapshot_sequence[i] = sessions_last(&host.sessions, i + 1)
    check(log_term(&host.log, first - 1, &before) == OK, b"Q-APPLY-03 the term before the head is known")
    status = wal_compact(host.wal, THE_GROUP, first, before)
    if status != OK:
        ledger_fail(ledger, b"compaction was refused", host.number, first, status)
        return False
    log_compact(&host.log, first)
    ledger_compacted(ledger, host.number, first)
    world.compactions += 1
    return True
