"""See stamped.pxd."""

from quorumlog._core.base.bytes cimport get_u64, put_u32, put_u64, round_up
from quorumlog._core.base.checks cimport check
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.clients cimport (
    CLIENT_APPLY, CLIENT_DONE, CLIENT_EXPIRED, CLIENT_REPEATED, STAMP_BYTES, STAMP_COMMAND, STAMP_OPEN, Stamp,
    clients_admit, clients_remember, stamp_of)
from quorumlog._core.simulation.clients cimport client_gives_up, key_of, value_of
from quorumlog._core.simulation.host_apply cimport host_acknowledge
from quorumlog._core.simulation.ledger cimport applied_step, ledger_fail
from quorumlog._core.simulation.ledger_clients cimport ledger_command
from quorumlog._core.simulation.marks cimport (
    MARK_CLIENT_EXPIRED, MARK_CLIENT_REPEATED, MARK_GIVEN_UP_HAPPENED, mark)
from quorumlog._core.simulation.world_state cimport CLIENTS_MAX, THE_GROUP
from quorumlog._core.storage.batch cimport (
    BATCH_STAMPED, KIND_ENTRIES, batch_last, batch_new, batch_payload, offsets_bytes)

from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset


cdef Batch* stamped_batch(World* world, Host* host, const Client* client, uint64_t sequence) noexcept nogil:
    cdef Stamp stamp
    cdef uint32_t count = 2 if sequence != 0 else 1
    cdef uint32_t command_bytes = 16 if sequence != 0 else 0
    cdef uint32_t table = offsets_bytes(count)
    cdef Batch* batch = batch_new(host.pool, <uint32_t>round_up(table + command_bytes + STAMP_BYTES, 8))
    check(batch != NULL, b"Q-STAMPED-01 a simulated node has memory for proposals")
    memset(batch.body, 0, batch.body_bytes)
    memset(&stamp, 0, sizeof(Stamp))
    stamp.kind = STAMP_COMMAND if sequence != 0 else STAMP_OPEN
    stamp.session = client.id
    stamp.sequence = sequence if sequence != 0 else client.session     # who opens it, for the answer
    stamp.answered = client.acked if sequence != 0 else 0
    stamp.number = 1 if sequence != 0 else world.options.client_lifetime_ns
    put_u32(batch.body + 4 * (count - 1), command_bytes)
    put_u32(batch.body + 4 * count, command_bytes + STAMP_BYTES)
    if sequence != 0:
        put_u64(batch.body + table, key_of(world, client.session, sequence))
        put_u64(batch.body + table + 8, value_of(client.session, sequence))
    memcpy(batch.body + table + command_bytes, &stamp, STAMP_BYTES)
    batch.kind = KIND_ENTRIES
    batch.flags = BATCH_STAMPED
    batch.group = THE_GROUP
    batch.count = count
    batch.body_crc = crc32c(0, batch.body, batch.body_bytes)
    return batch


cdef Client* stamped_client(World* world, const Batch* batch, uint64_t* sequence) noexcept nogil:
    cdef Stamp stamp
    cdef Client* client
    cdef uint32_t i
    check(stamp_of(batch, &stamp), b"Q-STAMPED-02 a client's batch has a stamp")
    sequence[0] = 0
    if stamp.kind == STAMP_OPEN:
        client = &world.clients[(stamp.sequence - 1) % CLIENTS_MAX]
        return client if client.session == stamp.sequence and client.id == 0 else NULL
    sequence[0] = stamp.sequence
    for i in range(world.options.client_count):
        if world.clients[i].id == stamp.session:
            return &world.clients[i]
    return NULL


cdef void apply_command(World* world, Host* host, Batch* batch) noexcept nogil:
    cdef const Stamp* stamp = &host.sessions.clients.stamp
    cdef const uint8_t* command = batch_payload(batch)
    cdef uint8_t answer[8]
    ledger_command(world.ledger, host.number, stamp.session, stamp.sequence, batch.first)
    host.registers[get_u64(command) % world.options.keys] = get_u64(command + 8)
    put_u64(answer, batch.first)
    host.applied_hash = applied_step(host.applied_hash, stamp.session, stamp.sequence, batch.first)
    clients_remember(&host.sessions.clients, batch, answer, 8)


cdef void look_at_answer(World* world, Host* host) noexcept nogil:
    """The table's, of a repetition: the first application's, on whatever node."""
    cdef const Stamp* stamp = &host.sessions.clients.stamp
    cdef index_t index = host.sessions.clients.answer.index
    mark(world.marks, MARK_CLIENT_REPEATED)
    ledger_command(world.ledger, host.number, stamp.session, stamp.sequence, index)
    if host.sessions.clients.answer.bytes != 8 or get_u64(host.sessions.clients.answer.result) != index:
        ledger_fail(world.ledger, b"a repeated command has another result", host.number, stamp.session, stamp.sequence)


cdef void tell_client(World* world, Host* host, Batch* batch, int verdict) noexcept nogil:
    cdef uint64_t sequence
    cdef Client* client = stamped_client(world, batch, &sequence)
    if client == NULL:
        if verdict == CLIENT_APPLY:
            mark(world.marks, MARK_GIVEN_UP_HAPPENED)
        return
    if client.target != host.number:
        return
    if verdict == CLIENT_DONE:
        client.id = batch.first
        client.sent = client.acked = client.begun = 0
    elif verdict == CLIENT_EXPIRED and sequence > client.acked:
        mark(world.marks, MARK_CLIENT_EXPIRED)
        client_gives_up(world, client)
    elif (verdict == CLIENT_APPLY or verdict == CLIENT_REPEATED) and sequence == client.acked + 1:
        host_acknowledge(world, client, host, sequence, batch_last(batch))


cdef void stamped_apply(World* world, Host* host, Batch* batch) noexcept nogil:
    cdef int verdict = clients_admit(&host.sessions.clients, batch)
    if verdict == CLIENT_APPLY:
        apply_command(world, host, batch)
    elif verdict == CLIENT_REPEATED:
        look_at_answer(world, host)
    tell_client(world, host, batch, verdict)
