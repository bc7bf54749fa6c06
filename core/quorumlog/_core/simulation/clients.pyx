"""The clients of the simulated cluster; see clients.pxd.

A batch's body is a function of its session and sequence, so that a repetition
has the same bytes and another batch has others.  Its first entry begins with the key
of a register and a value that nobody else writes.
"""

from quorumlog._core.base.bytes cimport put_u32, put_u64, round_up
from quorumlog._core.base.checks cimport check
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.prng cimport Prng, prng_below, prng_chance, prng_next, prng_seed
from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.protocol cimport (
    EVENT_PROPOSE, EVENT_READ, READ_AS_OF, READ_BY_LEASE, READ_BY_ROUND, Event)
from quorumlog._core.simulation.fault_kinds cimport PROFILE_CLOCKS
from quorumlog._core.simulation.history cimport OPERATION_LOOK, OPERATION_READ, OPERATION_WRITE, history_call
from quorumlog._core.simulation.host cimport host_step
from quorumlog._core.simulation.host_apply cimport host_look
from quorumlog._core.simulation.host_disk cimport host_plan
from quorumlog._core.simulation.ledger cimport LEDGER_SESSIONS
from quorumlog._core.simulation.ledger_clients cimport ledger_acked_by
from quorumlog._core.simulation.marks cimport MARK_GIVEN_UP, mark
from quorumlog._core.simulation.trace cimport TRACE_PROPOSED, TRACE_READ, trace_note
from quorumlog._core.simulation.world_state cimport (
    CLIENTS_MAX, READS_MAX, THE_GROUP, WINDOW_MAX, Client, Host, PendingRead, World,
)
from quorumlog._core.simulation.stamped cimport stamped_batch
from quorumlog._core.storage.batch cimport BATCH_BEGINS, KIND_ENTRIES, Batch, batch_new, offsets_bytes

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset


cdef enum:
    # Who goes on as somebody else by choice leaves numbers for those who must, as their session was forgotten:
    # without one they would never be served again.
    SESSIONS_BY_CHOICE = LEDGER_SESSIONS // 4


cdef Batch* make_batch(World* world, Host* host, uint64_t session, uint64_t sequence) noexcept nogil:
    cdef Prng prng
    cdef uint32_t count, table, size, i
    cdef uint64_t at
    cdef Batch* batch
    if world.options.machine != NULL:
        return as_proposal(world.options.machine.command(world.options.machine.context, host.pool, session, sequence),
                           session, sequence)
    prng_seed(&prng, session * 1000003 + sequence)
    count = 1 + <uint32_t>prng_below(&prng, world.options.entries_max)
    size = 16 + <uint32_t>prng_below(&prng, world.options.payload_bytes_max)
    table = offsets_bytes(count)
    batch = batch_new(host.pool, <uint32_t>round_up(table + count * size, 8))
    check(batch != NULL, b"Q-CLIENT-01 a simulated node has memory for proposals")
    memset(batch.body, 0, batch.body_bytes)
    for i in range(count + 1):
        put_u32(batch.body + 4 * i, i * size)
    at = table
    while at + 8 <= batch.body_bytes and at + 8 <= table + count * size:
        put_u64(batch.body + at, prng_next(&prng))
        at += 8
    put_u64(batch.body + table, key_of(world, session, sequence))
    put_u64(batch.body + table + 8, value_of(session, sequence))
    batch.count = count
    return as_proposal(batch, session, sequence)


cdef uint64_t key_of(const World* world, uint64_t session, uint64_t sequence) noexcept nogil:
    return (session * 0x9E3779B97F4A7C15ULL + sequence * 0xBF58476D1CE4E5B9ULL >> 33) % world.options.keys


cdef uint64_t value_of(uint64_t session, uint64_t sequence) noexcept nogil:
    return (session << 32) + sequence


cdef Batch* as_proposal(Batch* batch, uint64_t session, uint64_t sequence) noexcept nogil:
    check(batch != NULL, b"Q-CLIENT-02 a simulated node has memory for proposals")
    batch.kind = KIND_ENTRIES
    batch.group = THE_GROUP
    batch.session = session
    batch.sequence = sequence
    batch.body_crc = crc32c(0, batch.body, batch.body_bytes)
    return batch


cdef void client_gives_up(World* world, Client* client) noexcept nogil:
    """What it has outstanding may or may not have happened: it goes on as somebody else."""
    mark(world.marks, MARK_GIVEN_UP)
    client.session += CLIENTS_MAX
    client.id = 0
    client.birth = 0
    client.born = False
    client.begun = 0
    client.sent = 0
    client.acked = 0


cdef void choose_host(World* world, Client* client) noexcept nogil:
    """Where the old one thinks the leader is, else anywhere."""
    cdef Host* host = &world.hosts[client.target]
    if client.begun > client.acked and client.session + CLIENTS_MAX < SESSIONS_BY_CHOICE \
            and prng_chance(&world.prng, world.options.give_up_per_cent, 100):
        client_gives_up(world, client)
    if host.up and host.status.leader != 0 and host.status.leader != host.id \
            and not prng_chance(&world.prng, 1, 4):
        client.target = <uint32_t>host.status.leader - 1
    else:
        client.target = <uint32_t>prng_below(&world.prng, world.options.node_count)
    client.sent = client.acked
    client.retry_ns = world.now_ns + (1 + prng_below(&world.prng, 4)) * world.options.election_timeout_ns


cdef index_t floor_of(World* world, PendingRead* read) noexcept nogil:
    """What the read has to see."""
    cdef uint64_t lag_ns
    if read.kind != READ_AS_OF:
        return world.ledger.acked_index
    # Two clocks measured it, each off by at most 5 %.
    lag_ns = read.max_lag_ns * 9 // 8
    return ledger_acked_by(world.ledger, world.now_ns - lag_ns) if world.now_ns > lag_ns else 0


cdef void draw_read(World* world, PendingRead* read) noexcept nogil:
    read.kind = READ_BY_ROUND
    read.max_lag_ns = 0
    if not world.options.leases:
        return
    # How old is too old rests on the same clocks; where they go wrong the lease alone is looked at.
    if prng_chance(&world.prng, 1, 2) or world.options.profile == PROFILE_CLOCKS:
        read.kind = READ_BY_LEASE
    elif prng_chance(&world.prng, 1, 2):
        read.kind = READ_AS_OF
        read.max_lag_ns = (1 + prng_below(&world.prng, 20)) * world.options.heartbeat_ns


cdef void look_somewhere(World* world, uint32_t number, Host* host, uint32_t key) noexcept nogil:
    host_look(world, host, history_call(&world.history, number, OPERATION_LOOK, key, 0, world.now_ns))


cdef void read_somewhere(World* world, uint32_t number) noexcept nogil:
    cdef Host* host = &world.hosts[prng_below(&world.prng, world.options.node_count)]
    cdef uint32_t key = <uint32_t>prng_below(&world.prng, world.options.keys)
    cdef PendingRead* read
    cdef Event event
    if not host.up or host.paused_until_ns > world.now_ns:
        return
    if prng_chance(&world.prng, 1, 8):
        look_somewhere(world, number, host, key)
        return
    world.read_next += 1
    read = &world.reads[world.read_next % READS_MAX]
    read.number = world.read_next
    read.host = host.number
    read.incarnation = host.incarnation
    read.answered = False
    read.index = 0
    read.asked_ns = world.now_ns
    draw_read(world, read)
    read.at_least = floor_of(world, read)
    read.operation = history_call(&world.history, number,
                                  OPERATION_LOOK if read.kind == READ_AS_OF else OPERATION_READ, key, 0, world.now_ns)
    trace_note(&world.trace, world.now_ns, TRACE_READ, host.number, 0, read.operation, number, 0, 0)
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_READ
    event.read = read.number
    event.read_kind = read.kind
    host_step(world, host, &event)
    host_plan(world, host)


cdef void begin_operation(World* world, uint32_t number) noexcept nogil:
    """The newest batch is proposed for the first time."""
    cdef Client* client = &world.clients[number]
    cdef uint64_t sequence = client.sent
    client.begun = sequence
    client.operations[sequence % WINDOW_MAX] = history_call(
        &world.history, number, OPERATION_WRITE, <uint32_t>key_of(world, client.session, sequence),
        value_of(client.session, sequence), world.now_ns)


cdef void be_born(World* world, Client* client, Host* host) noexcept nogil:
    """Its sequences begin behind an index that is committed, as a node's do (runtime/proposals)."""
    client.born = True
    if not world.options.stamped:
        client.birth = host.status.commit
        client.sent = client.acked = client.begun = client.birth


cdef Batch* next_batch(World* world, Host* host, const Client* client, uint64_t sequence) noexcept nogil:
    cdef Batch* batch
    if world.options.stamped:
        return stamped_batch(world, host, client, sequence)
    batch = make_batch(world, host, client.session, sequence)
    if sequence == client.birth + 1:
        batch.flags = BATCH_BEGINS
    return batch


cdef void propose(World* world, Client* client, Host* host, Batch* batch) noexcept nogil:
    cdef Event event
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_PROPOSE
    event.batch = batch
    world.proposals += 1
    host_step(world, host, &event)
    host_plan(world, host)


cdef void repeat_elsewhere(World* world, Client* client) noexcept nogil:
    """Its oldest command once more through any node, though nothing says that it was lost."""
    cdef Host* host = &world.hosts[prng_below(&world.prng, world.options.node_count)]
    cdef uint64_t retry_ns = client.retry_ns
    cdef uint64_t sent = client.sent
    if host.up and host.paused_until_ns <= world.now_ns:
        propose(world, client, host, next_batch(world, host, client, client.acked + 1))
        client.retry_ns = retry_ns     # whatever that node said of it
        client.sent = max(client.sent, sent)


cdef void client_turn(World* world, uint32_t number) noexcept nogil:
    cdef Client* client = &world.clients[number]
    cdef Host* host
    cdef uint64_t wanted
    if world.options.read_per_cent != 0 and prng_chance(&world.prng, world.options.read_per_cent, 100):
        read_somewhere(world, number)
    if world.now_ns >= client.retry_ns:
        choose_host(world, client)
    host = &world.hosts[client.target]
    if not host.up or host.paused_until_ns > world.now_ns:
        return
    if not client.born:
        be_born(world, client, host)
    if client.id == 0 and world.options.stamped:
        if client.sent == 0:
            client.sent = 1            # asked; sending again is choose_host's business
            propose(world, client, host, stamped_batch(world, host, client, 0))
        return
    while (client.born and client.sent < client.acked + world.options.window and world.ledger.failure[0] == 0
           and host.up):
        client.sent = max(client.sent, client.acked) + 1
        wanted = client.sent
        if client.sent > client.begun:
            begin_operation(world, number)
        trace_note(&world.trace, world.now_ns, TRACE_PROPOSED, host.number, 0,
                   client.operations[client.sent % WINDOW_MAX], client.session, client.sent, 0)
        propose(world, client, host, next_batch(world, host, client, client.sent))
        if client.retry_ns == 0 or client.sent < wanted:
            return                     # refused: elsewhere, or again, on the next turn
    if world.options.stamped and client.begun > client.acked and prng_chance(&world.prng, 1, 8):
        repeat_elsewhere(world, client)
