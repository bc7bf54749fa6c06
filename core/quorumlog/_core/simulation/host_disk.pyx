"""The simulated log writer; see host_disk.pxd."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.prng cimport prng_below
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_IO, OK
from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.protocol cimport EVENT_FETCHED, Event
from quorumlog._core.simulation.disk cimport disk_sync_range, disk_write_pending
from quorumlog._core.simulation.fault_kinds cimport FAULT_LATE_WRITE, FAULT_SWAPPED_WRITES, LEVEL_OFF
from quorumlog._core.simulation.host cimport host_step
from quorumlog._core.simulation.marks cimport (
    MARK_FETCHED, MARK_FETCH_FAILED, MARK_REPAIR_SERVED, MARK_SEGMENT_RETIRED, MARK_SEGMENT_ROLLED, MARK_SWAPPED,
    MARK_SYNC_FAILED, MARK_WRITE_FAILED, mark,
)
from quorumlog._core.simulation.noticing cimport notice_bad
from quorumlog._core.simulation.occurring cimport occur_later
from quorumlog._core.simulation.schedule cimport OCCURS_DISK_DONE, OCCURS_DISK_WRITE, OCCURS_IDLE, Occurrence
from quorumlog._core.simulation.world_state cimport THE_GROUP, Host, World, Writing
from quorumlog._core.storage.batch cimport Batch, batch_drop, batch_last
from quorumlog._core.storage.wal cimport (
    WRITES_IN_FLIGHT_MAX, WalStatus, WritePlan, wal_complete, wal_next, wal_pending_bytes, wal_plan, wal_poisoned,
    wal_prepare, wal_read, wal_status,
)

from libc.errno cimport EIO
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

cdef enum:
    FETCHED_MAX = 16
    EVERYTHING = 0x7FFFFFFFFFFFFFFF
    LATE_NS = 50000000


cdef uint64_t draw_disk_ns(World* world) noexcept nogil:
    cdef uint64_t low = world.options.disk_min_ns
    return low + prng_below(&world.prng, world.options.disk_max_ns - low + 1)


cdef Writing* free_writing(Host* host) noexcept nogil:
    cdef uint32_t i
    for i in range(WRITES_IN_FLIGHT_MAX):
        if not host.writing[i].busy:
            return &host.writing[i]
    return NULL


cdef Writing* writing_of(Host* host, uint64_t number) noexcept nogil:
    cdef uint32_t i
    for i in range(WRITES_IN_FLIGHT_MAX):
        if host.writing[i].busy and host.writing[i].plan.number == number:
            return &host.writing[i]
    check(False, b"Q-HOSTDISK-01 a plan that is reported was given out")
    return NULL


cdef bint take_plan(World* world, Host* host, bint bare_mark) noexcept nogil:
    cdef Writing* writing = free_writing(host)
    cdef uint64_t write_ns
    if writing == NULL or wal_plan(host.wal, &writing.plan, bare_mark) != OK:
        return False
    writing.busy = True
    writing.written = False
    writing.said = host.flushed
    write_ns = draw_disk_ns(world)
    if host.stalled_until_ns > world.now_ns:
        write_ns += host.stalled_until_ns - world.now_ns
    occur_later(world, host.number, OCCURS_DISK_WRITE, prng_below(&world.prng, write_ns + 1), writing.plan.number, 0)
    if world.options.level[<int>FAULT_SWAPPED_WRITES] == LEVEL_OFF:
        # Completions come in the order of plans.
        host.disk_done_ns = max(host.disk_done_ns + 1, world.now_ns + write_ns)
        write_ns = host.disk_done_ns - world.now_ns
    if write_ns > LATE_NS:
        world.faults[<int>FAULT_LATE_WRITE] += 1
    occur_later(world, host.number, OCCURS_DISK_DONE, write_ns, writing.plan.number, 0)
    return True


cdef void host_plan(World* world, Host* host) noexcept nogil:
    while take_plan(world, host, False):
        pass


cdef void host_idle(World* world, Host* host) noexcept nogil:
    host.idle_scheduled = False
    if wal_pending_bytes(host.wal) == 0:
        take_plan(world, host, True)


cdef int perform_write(Host* host, Writing* writing) noexcept nogil:
    cdef const WritePlan* plan = &writing.plan
    cdef int64_t written
    writing.written = True
    written = disk_write_pending(host.disk, plan.fd, plan.parts, plan.part_count, plan.offset)
    if written < 0:
        return <int>-written
    check(<uint64_t>written == plan.bytes, b"Q-HOSTDISK-02 a plan's parts add up to its bytes")
    return 0


cdef void host_disk_write(World* world, Host* host, const Occurrence* occurrence) noexcept nogil:
    cdef Writing* writing = writing_of(host, occurrence.number)
    # An error shows again at the end: the fault stays until then.
    if perform_write(host, writing) != 0:
        writing.written = False


cdef void look_at_segments(World* world, Host* host) noexcept nogil:
    """Whether a segment was begun, or a head segment is used again; for the marks."""
    cdef WalStatus status
    wal_status(host.wal, &status)
    if status.segments > host.segments:
        mark(world.marks, MARK_SEGMENT_ROLLED)
        host.rolled = wal_next(host.wal)
    elif status.segments < host.segments:
        mark(world.marks, MARK_SEGMENT_RETIRED)
    host.segments = <uint32_t>status.segments


cdef bint host_disk_done(World* world, Host* host, const Occurrence* occurrence) noexcept nogil:
    cdef Writing* writing = writing_of(host, occurrence.number)
    cdef int error = 0
    cdef uint32_t i
    for i in range(WRITES_IN_FLIGHT_MAX):
        if host.writing[i].busy and host.writing[i].plan.number < occurrence.number:
            world.faults[<int>FAULT_SWAPPED_WRITES] += 1
            mark(world.marks, MARK_SWAPPED)
    if not writing.written:
        error = EIO
    elif writing.plan.synced_by_write:
        error = -disk_sync_range(host.disk, writing.plan.fd, writing.plan.offset, writing.plan.bytes)
    else:
        error = -disk_sync_range(host.disk, writing.plan.fd, 0, EVERYTHING)
    writing.busy = False
    wal_complete(host.wal, occurrence.number, error)
    if error != 0:
        mark(world.marks, MARK_SYNC_FAILED if writing.written else MARK_WRITE_FAILED)
    if wal_poisoned(host.wal):
        return False
    host.proved = max(host.proved, writing.said)
    wal_prepare(host.wal)
    look_at_segments(world, host)
    if not host.idle_scheduled:
        host.idle_scheduled = True
        occur_later(world, host.number, OCCURS_IDLE, draw_disk_ns(world) + world.options.heartbeat_ns // 4, 0, 0)
    return True


cdef int read_cold(World* world, Host* host, index_t index, Batch** batch) noexcept nogil:
    """As the runtime does: what the disk refuses twice is as lost as what it garbles."""
    cdef int status = wal_read(host.wal, THE_GROUP, index, host.pool, batch)
    if status == ERR_IO:
        status = wal_read(host.wal, THE_GROUP, index, host.pool, batch)
    if status == ERR_CORRUPT or status == ERR_IO:
        notice_bad(world, host, index, status)
        return ERR_CORRUPT
    return status


cdef void host_fetch(World* world, Host* host, const Occurrence* occurrence) noexcept nogil:
    cdef Batch* batches[FETCHED_MAX]
    cdef Event event
    cdef index_t index = occurrence.extra
    cdef uint32_t i
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_FETCHED
    event.peer = occurrence.number
    event.first = index
    event.repair = occurrence.repair
    event.batches = batches
    while event.batch_count < (1 if occurrence.repair else <uint32_t>FETCHED_MAX):
        event.status = read_cold(world, host, index, &batches[event.batch_count])
        if event.status != OK:
            break
        index = batch_last(batches[event.batch_count]) + 1
        event.batch_count += 1
    mark(world.marks, MARK_FETCHED if event.batch_count > 0 else MARK_FETCH_FAILED)
    if event.repair and event.batch_count > 0:
        mark(world.marks, MARK_REPAIR_SERVED)
    if event.batch_count > 0:
        event.status = OK
    world.fetches += 1
    host_step(world, host, &event)
    for i in range(event.batch_count):
        batch_drop(batches[i])
