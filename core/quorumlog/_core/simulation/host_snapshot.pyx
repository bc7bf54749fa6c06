"""See host_snapshot.pxd."""

from quorumlog._core.base.bytes cimport get_u64, put_u64
from quorumlog._core.base.checks cimport check
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.prng cimport prng_below, prng_chance
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_IO, ERR_NOT_FOUND, OK
from quorumlog._core.base.types cimport NODES_MAX, SnapshotId, same_snapshot
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.engine.protocol cimport (
    EVENT_SNAPSHOT_MADE, EVENT_SNAPSHOT_READ, EVENT_SNAPSHOT_STORED, Event)
from quorumlog._core.engine.sessions cimport (
    Session, sessions_decode, sessions_encode, sessions_encoded_bytes)
from quorumlog._core.simulation.fault_kinds cimport FAULT_PROCESS_CRASH, FAULT_POWER_CUT, LEVEL_HOT, LEVEL_OFF
from quorumlog._core.simulation.host cimport host_step
from quorumlog._core.simulation.ledger cimport (
    LEDGER_SESSIONS, ledger_applied, ledger_fail, ledger_restored, ledger_snapshot)
from quorumlog._core.simulation.marks cimport (
    MARK_PIECES_RESUMED, MARK_SNAPSHOT_CRASHED, MARK_SNAPSHOT_DAMAGED, MARK_SNAPSHOT_FAILED, MARK_SNAPSHOT_INSTALLED,
    MARK_SNAPSHOT_MADE, MARK_SNAPSHOT_RESTORED, MARK_SUFFIX_KEPT, mark)
from quorumlog._core.simulation.occurring cimport occur_later
from quorumlog._core.simulation.schedule cimport OCCURS_SNAPSHOT
from quorumlog._core.simulation.trace cimport TRACE_INSTALLED, TRACE_SNAPSHOT, trace_note
from quorumlog._core.simulation.world_state cimport (
    JOB_MAKE, JOB_READ, JOB_RESTORE, JOB_STORE, KEYS_MAX, THE_GROUP, WAITS_FOR_SNAPSHOT, SnapshotJob)
from quorumlog._core.storage.batch cimport KIND_SNAPSHOT, Batch, batch_drop, batch_new, batch_stamp
from quorumlog._core.storage.snapshot cimport (
    SnapshotMeta, SnapshotReader, SnapshotWriter, snapshot_abandon, snapshot_add, snapshot_begin, snapshot_close,
    snapshot_finish, snapshot_meta, snapshot_next, snapshot_open, snapshot_verify)
from quorumlog._core.storage.snapshot_files cimport (
    SnapshotList, inflow_add, inflow_close, inflow_finish, inflow_open, snapshots_clean, snapshots_drop,
    snapshots_drop_older, snapshots_list)
from quorumlog._core.storage.wal cimport MODE_SLOT

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

cdef enum:
    HEAD_BYTES = 8 * (KEYS_MAX + 1)    # of the state: registers and hash; a filling behind them
    CRASH_WITHIN = 14                  # file calls of a job, of which a crash hits one


cdef SnapshotJob* job_new(World* world, Host* host, int kind, const SnapshotId* id) noexcept nogil:
    cdef SnapshotJob* job = <SnapshotJob*>calloc(1, sizeof(SnapshotJob))
    check(job != NULL, b"Q-HOSTSNAP-01 the simulation has memory for a job")
    job.kind = kind
    job.id = id[0]
    if host.last_job == NULL:
        host.first_job = job
        later(world, host)
    else:
        host.last_job.next = job
    host.last_job = job
    return job


cdef void later(World* world, Host* host) noexcept nogil:
    """Pieces go through the cache; what is made durable takes as long as any write."""
    cdef const SnapshotJob* job = host.first_job
    cdef uint64_t most_ns = world.options.disk_max_ns
    if job.kind == JOB_READ or (job.kind == JOB_STORE and not job.last):
        most_ns //= 16
    occur_later(world, host.number, OCCURS_SNAPSHOT, 1 + prng_below(&world.prng, most_ns), 0, 0)


cdef void job_free(SnapshotJob* job) noexcept nogil:
    if job.batch != NULL:
        batch_drop(job.batch)
    free(job.state)
    free(job.records)
    free(job)


# What a step wants ----------------------------------------------------------------------------------------

cdef void host_install(World* world, Host* host) noexcept nogil:
    cdef const SnapshotId* id = &host.out.install
    if id.index == 0:
        return
    mark(world.marks, MARK_SNAPSHOT_INSTALLED)
    if host.log.last > id.index:
        mark(world.marks, MARK_SUFFIX_KEPT)
    trace_note(&world.trace, world.now_ns, TRACE_INSTALLED, host.number, 0, 0, id.index, 0, id.term)
    host.snapshot = id[0]
    if id.index > host.applied or host.restore == WAITS_FOR_SNAPSHOT:
        host.restore = id.index
        job_new(world, host, JOB_RESTORE, id)


cdef void host_take_pieces(World* world, Host* host) noexcept nogil:
    cdef Outbox* out = host.out
    cdef SnapshotJob* job
    cdef uint32_t i
    for i in range(out.piece_read_count):
        job = job_new(world, host, JOB_READ, &out.piece_reads[i].id)
        job.peer = out.piece_reads[i].peer
        job.offset = out.piece_reads[i].offset
        job.size = out.piece_reads[i].size
    if out.piece_store.batch != NULL:
        job = job_new(world, host, JOB_STORE, &out.piece_store.id)
        job.offset = out.piece_store.offset
        job.last = out.piece_store.last
        job.batch = batch_new(host.pool, out.piece_store.batch.body_bytes)     # the wire's is another host's
        check(job.batch != NULL, b"Q-HOSTSNAP-02 a simulated node has memory for a piece")
        memcpy(job.batch.body, out.piece_store.batch.body, job.batch.body_bytes)
        batch_drop(out.piece_store.batch)


cdef bint host_begin_snapshot(World* world, Host* host) noexcept nogil:
    cdef SnapshotJob* job
    cdef uint64_t sessions_bytes
    cdef uint32_t i
    if not host.up or host.making or host.restore != 0 or host.applied <= host.snapshot.index \
            or world.options.machine != NULL or world.options.protocol.mode == MODE_SLOT:
        return False               # a group of slots has none yet
    host.making = True
    job = job_new(world, host, JOB_MAKE, &host.snapshot)
    sessions_bytes = sessions_encoded_bytes(&host.sessions)
    job.records = <uint8_t*>malloc(sessions_bytes)
    job.state_bytes = HEAD_BYTES + prng_below(&world.prng, world.options.state_bytes_max)
    job.state = <uint8_t*>malloc(job.state_bytes)
    check(job.records != NULL and job.state != NULL, b"Q-HOSTSNAP-03 the simulation has memory for a snapshot")
    sessions_encode(&host.sessions, job.records)
    job.meta.group = THE_GROUP
    job.meta.id.index = host.applied
    job.meta.id.term = host.applied_term
    job.meta.id.writer = host.id
    host.snapshots += 1
    job.meta.id.number = host.snapshots
    job.meta.sessions = job.records
    job.meta.sessions_bytes = sessions_bytes
    for i in range(KEYS_MAX):
        put_u64(job.state + 8 * i, host.registers[i])
    put_u64(job.state + 8 * KEYS_MAX, host.applied_hash)
    for i in range(HEAD_BYTES, <uint32_t>job.state_bytes):
        job.state[i] = <uint8_t>(host.applied + i)
    return True


# Jobs -----------------------------------------------------------------------------------------------------

cdef int make(World* world, Host* host, SnapshotJob* job) noexcept nogil:
    cdef SnapshotWriter writer
    cdef int status = snapshot_begin(&writer, &host.disk.files, b"wal", &job.meta, world.options.chunk_bytes)
    if status != OK:
        return status
    status = snapshot_add(&writer, job.state, job.state_bytes)
    if status != OK:
        snapshot_abandon(&writer)
        return status
    status = snapshot_finish(&writer, &job.id)
    if status == OK:
        snapshots_drop_older(&host.disk.files, b"wal", THE_GROUP, job.id.index)
    return status


cdef int open_for_peer(World* world, Host* host, SnapshotJob* job, SnapshotReader* reader) noexcept nogil:
    cdef SnapshotMeta meta
    cdef int status
    if reader.fd >= 0:
        snapshot_meta(reader, &meta)
        if same_snapshot(&meta.id, &job.id) and job.offset != 0:
            return OK
    if job.offset != 0:
        mark(world.marks, MARK_PIECES_RESUMED)
    snapshot_close(reader)
    status = snapshot_open(reader, &host.disk.files, b"wal", THE_GROUP, job.id.index)
    if status != OK:
        return status
    snapshot_meta(reader, &meta)
    status = ERR_NOT_FOUND
    if same_snapshot(&meta.id, &job.id):
        status = snapshot_verify(reader)
    if status != OK:
        snapshot_close(reader)
    return status


cdef int read_piece(World* world, Host* host, SnapshotJob* job) noexcept nogil:
    cdef SnapshotReader* reader = &host.outflows[job.peer - 1]
    cdef Batch* batch
    cdef int64_t got
    cdef int status = open_for_peer(world, host, job, reader)
    if status != OK:
        return status
    batch = batch_new(host.pool, job.size)
    check(batch != NULL, b"Q-HOSTSNAP-04 a simulated node has memory for a piece that it sends")
    job.batch = batch
    got = host.disk.files.read(host.disk, reader.fd, batch.body, job.size, job.offset)
    if got != job.size:
        return ERR_IO
    batch.kind = KIND_SNAPSHOT
    batch.group = THE_GROUP
    batch.term = job.id.term
    batch.first = job.id.index
    batch.count = 0
    batch.body_crc = crc32c(0, batch.body, batch.body_bytes)
    batch_stamp(batch)
    return OK


cdef int store_piece(World* world, Host* host, SnapshotJob* job) noexcept nogil:
    cdef int status = inflow_add(&host.inflow, &job.id, job.offset, job.batch.body, job.batch.body_bytes)
    if status != OK or not job.last:
        return status
    status = inflow_finish(&host.inflow)
    if status == OK:
        ledger_snapshot(world.ledger, host.number, job.id.index, job.id.term)
        snapshots_drop_older(&host.disk.files, b"wal", THE_GROUP, job.id.index)
    return status


cdef int read_state(SnapshotReader* reader, uint8_t* state, uint64_t room, uint64_t* size) noexcept nogil:
    cdef const uint8_t* data = NULL
    cdef uint32_t count = 0
    cdef int status = OK
    size[0] = 0
    while status == OK:
        status = snapshot_next(reader, &data, &count)
        if status == OK:
            if size[0] + count > room:
                return ERR_CORRUPT
            memcpy(state + size[0], data, count)
            size[0] += count
    return OK if status == ERR_NOT_FOUND else status


cdef void take_sessions(World* world, Host* host, const SnapshotMeta* meta) noexcept nogil:
    cdef const Session* session
    cdef uint32_t i
    check(sessions_decode(&host.sessions, meta.sessions, meta.sessions_bytes) == OK,
          b"Q-HOSTSNAP-05 what was encoded of sessions is decoded")
    for i in range(LEDGER_SESSIONS):
        ledger_restored(world.ledger, host.number, i, 0)
    for i in range(host.sessions.capacity):
        session = &host.sessions.table[i]
        if session.session != 0:
            ledger_restored(world.ledger, host.number, session.session, session.sequence)


cdef int restore(World* world, Host* host, index_t index) noexcept nogil:
    """The state machine and the sessions from a snapshot's file."""
    cdef SnapshotReader reader
    cdef SnapshotMeta meta
    cdef uint64_t room = HEAD_BYTES + world.options.state_bytes_max
    cdef uint64_t size = 0
    cdef uint8_t* state
    cdef uint32_t i
    cdef int status = snapshot_open(&reader, &host.disk.files, b"wal", THE_GROUP, index)
    if status != OK:
        return status
    state = <uint8_t*>malloc(room)
    check(state != NULL, b"Q-HOSTSNAP-06 the simulation has memory for a state")
    status = read_state(&reader, state, room, &size)
    if status == OK:
        snapshot_meta(&reader, &meta)
        for i in range(KEYS_MAX):
            host.registers[i] = get_u64(state + 8 * i)
        host.applied_hash = get_u64(state + 8 * KEYS_MAX)
        for i in range(HEAD_BYTES, <uint32_t>size):
            if state[i] != <uint8_t>(index + i):
                ledger_fail(world.ledger, b"a snapshot gives other bytes than were put in", host.number, index, i)
                break
        take_sessions(world, host, &meta)
        host.applied = index
        host.applied_term = meta.id.term
        host.snapshot = meta.id
        ledger_applied(world.ledger, host.number, index, host.applied_hash)
        mark(world.marks, MARK_SNAPSHOT_RESTORED)
    free(state)
    snapshot_close(&reader)
    return status


cdef int carry_out(World* world, Host* host, SnapshotJob* job) noexcept nogil:
    if job.kind == JOB_MAKE:
        return make(world, host, job)
    if job.kind == JOB_READ:
        return read_piece(world, host, job)
    if job.kind == JOB_STORE:
        return store_piece(world, host, job)
    if host.restore != job.id.index:
        return OK                      # a newer one came
    return restore(world, host, job.id.index)


cdef void tell(World* world, Host* host, SnapshotJob* job) noexcept nogil:
    cdef Event event
    memset(&event, 0, sizeof(Event))
    event.snapshot = &job.id
    event.status = job.status
    event.offset = job.offset
    event.peer = job.peer
    if job.kind == JOB_MAKE:
        event.kind = EVENT_SNAPSHOT_MADE
    elif job.kind == JOB_READ:
        event.kind = EVENT_SNAPSHOT_READ
        event.batch = job.batch if job.status == OK else NULL
    else:
        event.kind = EVENT_SNAPSHOT_STORED
        event.offset += job.batch.body_bytes
        event.whole = job.last
    host_step(world, host, &event)


cdef void made(World* world, Host* host, SnapshotJob* job) noexcept nogil:
    host.making = False
    if job.status != OK:
        mark(world.marks, MARK_SNAPSHOT_FAILED)
        return
    mark(world.marks, MARK_SNAPSHOT_MADE)
    trace_note(&world.trace, world.now_ns, TRACE_SNAPSHOT, host.number, 0, 0, job.id.index, 0, job.id.term)
    if job.id.index >= host.snapshot.index:
        host.snapshot = job.id
        ledger_snapshot(world.ledger, host.number, job.id.index, job.id.term)


cdef bint hit_by_crash(World* world, Host* host, const SnapshotJob* job) noexcept nogil:
    """Whether the process, or the power, goes while a job is done: it then happens at one of its file calls."""
    cdef bint process = world.options.level[<int>FAULT_PROCESS_CRASH] != LEVEL_OFF
    cdef bint power = world.options.level[<int>FAULT_POWER_CUT] != LEVEL_OFF
    cdef bint hot = world.options.level[<int>FAULT_PROCESS_CRASH] == LEVEL_HOT \
        or world.options.level[<int>FAULT_POWER_CUT] == LEVEL_HOT
    # An install is rarer than the other jobs, and has the more interesting points.
    cdef uint64_t often = 2 if job.kind == JOB_STORE and job.last else 12 if hot else 40
    if world.healed or not (process or power) or not prng_chance(&world.prng, 1, often):
        return False
    host.disk.halt_at = host.disk.operations + 1 + prng_below(&world.prng, CRASH_WITHIN)
    host.crash_due = 1 if not power or (process and prng_chance(&world.prng, 1, 2)) else 2
    return True


cdef void crash_soon(World* world, Host* host) noexcept nogil:
    if world.healed:
        return
    if world.options.level[<int>FAULT_POWER_CUT] != LEVEL_OFF:
        host.crash_due = 2
    elif world.options.level[<int>FAULT_PROCESS_CRASH] != LEVEL_OFF:
        host.crash_due = 1


cdef void host_snapshot_job(World* world, Host* host) noexcept nogil:
    cdef SnapshotJob* job = host.first_job
    cdef bint crashing
    cdef int kind
    if job == NULL:
        return
    host.first_job = job.next
    if host.first_job == NULL:
        host.last_job = NULL
    else:
        later(world, host)
    kind = job.kind
    crashing = hit_by_crash(world, host, job)
    job.status = carry_out(world, host, job)
    if crashing and host.disk.operations + 1 >= host.disk.halt_at:
        mark(world.marks, MARK_SNAPSHOT_CRASHED)       # nobody is left to be told
        job_free(job)
        return
    if crashing:
        host.disk.halt_at = 0
        host.crash_due = 0
    if job.status == ERR_CORRUPT:
        mark(world.marks, MARK_SNAPSHOT_DAMAGED)
        if host.damages == 0:
            ledger_fail(world.ledger, b"a snapshot is damaged, and nothing damaged it", host.number, job.id.index, kind)
    if kind == JOB_RESTORE:
        if job.status != OK:
            host.crash_due = 1         # the replica stops; it is started again
        elif host.restore == job.id.index:
            host.restore = 0
    else:
        if kind == JOB_MAKE:
            made(world, host, job)
        tell(world, host, job)
        if kind == JOB_STORE and job.last and job.status == OK and prng_chance(&world.prng, 1, 3):
            crash_soon(world, host)    # the file is durable, what the log says of it is not
    job_free(job)


cdef void host_snapshot_open(Host* host) noexcept nogil:
    cdef uint32_t i
    inflow_open(&host.inflow, &host.disk.files, b"wal", THE_GROUP)
    for i in range(NODES_MAX):
        host.outflows[i].fd = -1


# Beginning and end ----------------------------------------------------------------------------------------

cdef Found host_take_snapshot(World* world, Host* host, index_t first) noexcept nogil:
    cdef SnapshotList found
    cdef uint32_t i
    cdef int status
    memset(&host.snapshot, 0, sizeof(SnapshotId))
    host.restore = 0
    if snapshots_clean(&host.disk.files, b"wal") != OK \
            or snapshots_list(&host.disk.files, b"wal", THE_GROUP, &found) != OK:
        return FOUND_CUT_SHORT
    for i in range(found.count):
        if found.indexes[i] + 1 < first:
            break
        status = restore(world, host, found.indexes[i])
        if status == OK:
            ledger_snapshot(world.ledger, host.number, host.snapshot.index, host.snapshot.term)
            return FOUND_GOOD
        if status == ERR_IO:
            return FOUND_CUT_SHORT
        mark(world.marks, MARK_SNAPSHOT_DAMAGED)
        if host.damages == 0:
            ledger_fail(world.ledger, b"a snapshot that was durable is damaged", host.number, found.indexes[i], status)
        snapshots_drop(&host.disk.files, b"wal", THE_GROUP, found.indexes[i])
    if first == 1:
        return FOUND_GOOD
    if host.damages == 0:
        ledger_fail(world.ledger, b"the log begins behind a snapshot that is not there", host.number, first, 0)
    host.restore = WAITS_FOR_SNAPSHOT
    return FOUND_NONE


cdef void host_snapshot_stop(Host* host) noexcept nogil:
    cdef SnapshotJob* job = host.first_job
    cdef SnapshotJob* following
    cdef uint32_t i
    while job != NULL:
        following = job.next
        job_free(job)
        job = following
    host.first_job = NULL
    host.last_job = NULL
    host.making = False
    host.crash_due = 0
    host.disk.halt_at = 1              # nothing reaches the disk any more
    inflow_close(&host.inflow)
    for i in range(NODES_MAX):
        snapshot_close(&host.outflows[i])
    host.disk.halt_at = 0
