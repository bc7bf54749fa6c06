"""See transaction_log.pxd."""

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.prng cimport prng_below, prng_next
from quorumlog._core.base.status cimport ERR_IO, OK
from quorumlog._core.base.types cimport index_t, wsn_t
from quorumlog._core.simulation.disk cimport (
    disk_close, disk_open, disk_process_crash, disk_sync_range, disk_write_pending)
from quorumlog._core.simulation.disk_cut cimport disk_power_cut
from quorumlog._core.simulation.schedule cimport (
    OCCURS_DISK_DONE, OCCURS_DISK_WRITE, OCCURS_IDLE, Occurrence, schedule_add)
from quorumlog._core.simulation.transaction_ledger cimport world_fail
from quorumlog._core.simulation.transaction_state cimport Node, TransactionWorld, Writing
from quorumlog._core.storage.batch cimport (
    KIND_ENTRIES, KIND_TRUNCATE, Batch, batch_drop, batch_last, batch_new, batch_offsets, batch_payload,
    batch_stamp, offsets_bytes, pool_close, pool_open)
from quorumlog._core.storage.wal cimport (
    MODE_SUFFIX, RecoveredGroup, WRITES_IN_FLIGHT_MAX, WalOptions, WalReport, wal_append, wal_close, wal_complete,
    wal_flushed, wal_next, wal_open, wal_open_group, wal_plan, wal_poisoned, wal_prepare, wal_read)

from libc.errno cimport EIO
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    LOG_GROUP = 1
    POOL_BYTES = 1 << 26
    EVERYTHING = 0x7FFFFFFFFFFFFFFF


cdef void node_later(TransactionWorld* world, Node* node, int kind, unsigned long long delay_ns,
                     unsigned long long number) noexcept nogil:
    cdef Occurrence occurrence
    memset(&occurrence, 0, sizeof(Occurrence))
    occurrence.kind = kind
    occurrence.node = node.number
    occurrence.incarnation = node.incarnation
    occurrence.at_ns = world.now_ns + delay_ns
    occurrence.number = number
    schedule_add(&world.schedule, occurrence)


cdef void node_log_create(TransactionWorld* world, Node* node) noexcept nogil:
    node.log.disk = disk_open(prng_next(&world.prng))
    check(node.log.disk.files.make_directory(node.log.disk, b"wal") == 0
          and node.log.disk.files.sync_directory(node.log.disk, b"/") == 0,
          b"Q-TXLOG-01 a fresh virtual disk works")


cdef void node_log_destroy(Node* node) noexcept nogil:
    if node.log.wal != NULL:
        close_log(node)
    disk_close(node.log.disk)


cdef void close_log(Node* node) noexcept nogil:
    """Nothing more reaches the disk, whatever closing does."""
    cdef uint32_t i
    node.log.disk.halt_at = 1
    for i in range(WRITES_IN_FLIGHT_MAX):
        if node.log.writing[i].busy:
            wal_complete(node.log.wal, node.log.writing[i].plan.number, EIO)
            node.log.writing[i].busy = False
    wal_close(node.log.wal)
    node.log.wal = NULL
    node.log.disk.halt_at = 0
    disk_process_crash(node.log.disk)
    pool_close(node.log.pool)


cdef void node_log_crash(TransactionWorld* world, Node* node, bint power) noexcept nogil:
    if node.log.wal != NULL:
        close_log(node)
    memset(node.log.disk.faults, 0, sizeof(node.log.disk.faults))
    if power:
        disk_power_cut(node.log.disk, &world.prng)


# --- opening ----------------------------------------------------------------------------------

cdef bint read_back(TransactionWorld* world, Node* node, const RecoveredGroup* group,
                    RecoveredEntry entry) noexcept nogil:
    cdef Batch* batch
    cdef const uint32_t* offsets
    cdef index_t index = group.first
    cdef uint32_t i
    cdef int status
    while index <= group.last:
        status = wal_read(node.log.wal, LOG_GROUP, index, node.log.pool, &batch)
        if status == ERR_IO and not world.healed:
            return False
        if status != OK:
            world_fail(world, b"recovery names a batch that can't be read", node.number, index, status)
            return False
        offsets = batch_offsets(batch)
        for i in range(batch.count):
            entry(world, node, batch_payload(batch) + offsets[i], offsets[i + 1] - offsets[i])
        index = batch_last(batch) + 1
        batch_drop(batch)
    node.log.last = group.last
    return True


cdef void drop_tail(Node* node) noexcept nogil:
    """What never came back as durable: nothing was said on the strength of it."""
    cdef Batch* batch = batch_new(node.log.pool, 0)
    check(batch != NULL, b"Q-TXLOG-02 there is memory for a truncation")
    batch.kind = KIND_TRUNCATE
    batch.group = LOG_GROUP
    batch.term = 1
    batch.first = node.log.last + 1
    batch_stamp(batch)
    wal_append(node.log.wal, batch)
    batch_drop(batch)


cdef bint node_log_open(TransactionWorld* world, Node* node, RecoveredEntry entry) noexcept nogil:
    cdef WalOptions options
    cdef const WalReport* report = NULL
    cdef wsn_t wsn
    cdef int status = OK
    options.segment_bytes = 64 << 10
    options.sync_group_bytes_max = 1 << 20
    options.spare_segments = 1
    options.direct = True
    options.cache_bytes = 1 << 20
    node.log.wal = wal_open(&node.log.disk.files, b"wal", &options, &report, &status)
    if node.log.wal == NULL:
        if status != ERR_IO or world.healed:
            world_fail(world, b"a log did not open", node.number, status, node.incarnation)
        disk_process_crash(node.log.disk)
        return False
    node.log.pool = pool_open(POOL_BYTES)
    check(node.log.pool != NULL, b"Q-TXLOG-03 there is memory for batches")
    node.log.last = 0
    node.log.flushed = wal_flushed(node.log.wal)
    if report.group_count != 0:
        if report.groups[0].faulty_first != 0:
            world_fail(world, b"recovery takes a power cut for corruption", node.number, report.groups[0].faulty_first,
                       node.incarnation)
        if not read_back(world, node, &report.groups[0], entry):
            close_log(node)
            return False
    check(wal_open_group(node.log.wal, LOG_GROUP, b"log", MODE_SUFFIX, &wsn) == OK,
          b"Q-TXLOG-04 the group opens under its name")
    if report.group_count != 0 and report.groups[0].unproved_last > report.groups[0].last:
        drop_tail(node)
    return True


# --- appending --------------------------------------------------------------------------------

cdef wsn_t node_log_next(Node* node) noexcept nogil:
    return wal_next(node.log.wal)


cdef wsn_t node_log_append(Node* node, const void* data, uint32_t size) noexcept nogil:
    cdef uint32_t table = offsets_bytes(1)
    cdef uint32_t total = table + ((size + 7) & ~<uint32_t>7)
    cdef Batch* batch = batch_new(node.log.pool, total)
    cdef wsn_t wsn
    check2(batch != NULL, b"Q-TXLOG-05 there is memory for a record", size, node.number)
    memset(batch.body, 0, total)
    (<uint32_t*>batch.body)[1] = size
    memcpy(batch.body + table, data, size)
    batch.kind = KIND_ENTRIES
    batch.group = LOG_GROUP
    batch.term = 1
    batch.count = 1
    batch.body_bytes = total
    batch.body_crc = crc32c(0, batch.body, total)
    node.log.last += 1
    batch.first = node.log.last
    batch_stamp(batch)
    wsn = wal_append(node.log.wal, batch)
    batch_drop(batch)
    return wsn


# --- writing ----------------------------------------------------------------------------------

cdef Writing* writing_of(Node* node, uint64_t number, bint busy) noexcept nogil:
    cdef uint32_t i
    for i in range(WRITES_IN_FLIGHT_MAX):
        if node.log.writing[i].busy == busy and (not busy or node.log.writing[i].plan.number == number):
            return &node.log.writing[i]
    return NULL


cdef void node_log_plan(TransactionWorld* world, Node* node) noexcept nogil:
    cdef Writing* writing
    cdef uint64_t takes_ns
    while True:
        writing = writing_of(node, 0, False)
        if writing == NULL or wal_plan(node.log.wal, &writing.plan, False) != OK:
            if wal_poisoned(node.log.wal):
                node_later(world, node, OCCURS_IDLE, 0, 0)
            return
        writing.busy = True
        writing.written = False
        takes_ns = world.options.disk_min_ns + prng_below(
            &world.prng, world.options.disk_max_ns - world.options.disk_min_ns + 1)
        node_later(world, node, OCCURS_DISK_WRITE, prng_below(&world.prng, takes_ns + 1), writing.plan.number)
        node_later(world, node, OCCURS_DISK_DONE, takes_ns, writing.plan.number)


cdef void node_log_written(TransactionWorld* world, Node* node, const Occurrence* occurrence) noexcept nogil:
    cdef Writing* writing = writing_of(node, occurrence.number, True)
    cdef int64_t written = disk_write_pending(node.log.disk, writing.plan.fd, writing.plan.parts,
                                              writing.plan.part_count, writing.plan.offset)
    writing.written = written >= 0


cdef bint node_log_done(TransactionWorld* world, Node* node, const Occurrence* occurrence) noexcept nogil:
    cdef Writing* writing = writing_of(node, occurrence.number, True)
    cdef int error = EIO
    if writing.written and writing.plan.synced_by_write:
        error = -disk_sync_range(node.log.disk, writing.plan.fd, writing.plan.offset, writing.plan.bytes)
    elif writing.written:
        error = -disk_sync_range(node.log.disk, writing.plan.fd, 0, EVERYTHING)
    writing.busy = False
    wal_complete(node.log.wal, occurrence.number, error)
    if wal_poisoned(node.log.wal):
        return False
    wal_prepare(node.log.wal)
    node.log.flushed = wal_flushed(node.log.wal)
    return True
