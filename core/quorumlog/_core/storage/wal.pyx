"""The write-ahead log's face: appends, plans, completions.  The rest of storage/ does the work."""

from quorumlog._core.base.atomics cimport add_u64_relaxed, load_u32, load_u64, store_u32, store_u64
from quorumlog._core.base.bytes cimport put_u64
from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.status cimport (ERR_AGAIN, ERR_MEMORY, ERR_NOT_FOUND, ERR_POISONED, ERR_USAGE,
                                          OK)
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport BATCH_BODY_BYTES_MAX, BLOCK_BYTES, GROUP_NAME_BYTES_MAX, GROUPS_MAX
from quorumlog._core.storage.batch cimport (KIND_BLANK, KIND_COMPACT, KIND_DROP, KIND_ENTRIES,
                                            KIND_HARD_STATE,
                                            KIND_MEMBERSHIP, KIND_OPEN, KIND_TRUNCATE, KIND_CHOSEN, batch_drop,
                                            batch_keep, batch_new, batch_stamp, pool_close, pool_open)
from quorumlog._core.storage.checkpoint cimport checkpoint_bytes
from quorumlog._core.storage.cold cimport cold_close, cold_open, cold_read
from quorumlog._core.storage.format cimport CHECKPOINT_GROUP_BYTES, RECORD_HEADER_BYTES, kind_has_entries
from quorumlog._core.storage.groups cimport (Event, event_of, groups_add, groups_close, groups_find, groups_open,
                                             holes_advance, mark_advance, mark_end)
from quorumlog._core.storage.moving cimport (moving_close, moving_planned, moving_ready, moving_settled,
                                             moving_step, plan_moved)
from quorumlog._core.storage.planner cimport (plan_checkpoint, plan_data, plan_footer, slot_close, slot_open,
                                              slot_release)
from quorumlog._core.storage.recovery cimport recover, report_free
from quorumlog._core.storage.segment cimport (segment_begin, segment_free, segment_rest, segments_retire,
                                              spares_can_wait, spares_ready, spares_step, status_of)
from quorumlog._core.storage.state cimport (PATH_BYTES_MAX, SLOTS, SPARES_MAX, PlanSlot, Segment, WalGroup, lock,
                                            pthread_mutex_destroy, pthread_mutex_init, unlock)

from libc.errno cimport EIO
from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset, strlen, strncpy

cdef enum:
    MIB = 1 << 20
    SEGMENT_BYTES_MIN = 64 << 10
    PENDING_AT_FIRST = 1024
    OWN_POOL_BYTES = 16 << 20
    ZEROS_BYTES = 1 << 20

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void** out, size_t alignment, size_t size)

# What an open that failed has to say; overwritten by the next one of the same thread.
cdef extern from *:
    """
    static _Thread_local _Alignas(16) char ql_wal_failure[1024];
    static char *ql_wal_failure_room(void) { return ql_wal_failure; }
    """
    char ql_wal_failure[1024]
    char* failure_room "ql_wal_failure_room"() noexcept nogil


# Opening and closing ----------------------------------------------------------------------------------

cdef void destroy(Wal* wal) noexcept nogil:
    cdef uint32_t i
    if wal.spares.preparing_fd >= 0:
        wal.files.close(wal.files.self, wal.spares.preparing_fd)
    for i in range(SLOTS):
        slot_close(&wal.slots[i])
    moving_close(wal)
    while wal.pending_count > 0:
        batch_drop(wal.pending[wal.pending_head & wal.pending_mask])
        wal.pending_head += 1
        wal.pending_count -= 1
    for i in range(wal.segment_count):
        segment_free(wal, wal.segments[i])
    cold_close(wal)
    groups_close(&wal.groups)
    report_free(<WalReport*>wal.report)
    if wal.pool != NULL:
        pool_close(wal.pool)
    free(wal.spares.zeros)
    free(wal.segments)
    free(wal.pending)
    pthread_mutex_destroy(&wal.state_mutex)
    pthread_mutex_destroy(&wal.read_mutex)
    pthread_mutex_destroy(&wal.prepare_mutex)
    pthread_mutex_destroy(&wal.spare_mutex)
    pthread_mutex_destroy(&wal.moving_mutex)
    free(wal)


cdef int allocate(Wal* wal) noexcept nogil:
    cdef void* zeros = NULL
    cdef int i
    cdef int status = OK
    cold_open(wal)
    wal.spares.preparing_fd = -1
    pthread_mutex_init(&wal.state_mutex, NULL)
    pthread_mutex_init(&wal.read_mutex, NULL)
    pthread_mutex_init(&wal.prepare_mutex, NULL)
    pthread_mutex_init(&wal.spare_mutex, NULL)
    pthread_mutex_init(&wal.moving_mutex, NULL)
    store_u64(&wal.flushed, 0)
    store_u32(&wal.poisoned, 0)
    for i in range(SLOTS):
        if slot_open(wal, &wal.slots[i]) != OK:
            status = ERR_MEMORY
    wal.pool = pool_open(OWN_POOL_BYTES)
    wal.pending = <Batch**>calloc(PENDING_AT_FIRST, sizeof(Batch*))
    wal.pending_mask = PENDING_AT_FIRST - 1
    if posix_memalign(&zeros, BLOCK_BYTES, ZEROS_BYTES) == 0:
        wal.spares.zeros = <uint8_t*>memset(zeros, 0, ZEROS_BYTES)
    wal.report = calloc(1, sizeof(WalReport))
    if groups_open(&wal.groups) != OK or wal.pool == NULL or wal.pending == NULL \
            or wal.spares.zeros == NULL or wal.report == NULL:
        status = ERR_MEMORY
    return status


cdef int begin_writing(Wal* wal, uint64_t said) noexcept nogil:
    """Rule 8: writing starts in a new segment with a higher boot number, and its checkpoint is
    durable before anyone votes or acknowledges."""
    cdef WritePlan plan
    cdef PlanSlot* slot
    cdef int status = segment_begin(wal)
    cdef int error
    if status != OK:
        return status
    status = take_slot(wal, &slot)
    if status == OK:
        status = plan_checkpoint(wal, slot, said)
    if status != OK:
        return status
    give_out(wal, slot, &plan)
    error = wal_execute(wal, &plan)
    wal_complete(wal, plan.number, error)
    return OK if error == 0 else status_of(-error)


cdef Wal* wal_open(Files* files, const char* path, const WalOptions* options,
                   const WalReport** report, int* status) noexcept nogil:
    cdef Wal* wal
    cdef WalReport* failure = <WalReport*>failure_room()
    cdef uint64_t said = 0
    check(sizeof(WalReport) <= sizeof(ql_wal_failure), b"Q-WAL-13 a report fits its room")
    memset(failure, 0, sizeof(WalReport))
    report[0] = failure
    status[0] = ERR_USAGE
    if options.segment_bytes < SEGMENT_BYTES_MIN or options.segment_bytes > 2048 * <uint64_t>MIB \
            or options.segment_bytes % SEGMENT_BYTES_MIN != 0 or strlen(path) > PATH_BYTES_MAX - 64:
        snprintf(failure.detail, DETAIL_BYTES,
                 b"segments are 64 KiB to 2 GiB and a multiple of 64 KiB; a path has at most 4,032 bytes")
        return NULL
    status[0] = ERR_MEMORY
    wal = <Wal*>calloc(1, sizeof(Wal))
    if wal == NULL:
        return NULL
    wal.files = files
    strncpy(wal.path, path, PATH_BYTES_MAX - 1)
    wal.segment_bytes = options.segment_bytes
    wal.sync_group_bytes_max = options.sync_group_bytes_max
    if wal.sync_group_bytes_max > BATCH_BODY_BYTES_MAX or wal.sync_group_bytes_max == 0:
        wal.sync_group_bytes_max = BATCH_BODY_BYTES_MAX
    wal.spare_segments = min(options.spare_segments, <uint32_t>SPARES_MAX)
    wal.direct = options.direct
    wal.cache_bytes = options.cache_bytes
    status[0] = allocate(wal)
    if status[0] == OK:
        status[0] = recover(wal, <WalReport*>wal.report, &said)
    if status[0] == OK:
        status[0] = begin_writing(wal, said)
        if status[0] != OK:
            snprintf((<WalReport*>wal.report).detail, DETAIL_BYTES, b"can't begin a new segment in %s", path)
    if status[0] != OK:
        if wal.report != NULL:
            memcpy(failure.detail, (<WalReport*>wal.report).detail, DETAIL_BYTES)
        destroy(wal)
        return NULL
    lock(&wal.state_mutex)
    segments_retire(wal)
    unlock(&wal.state_mutex)
    report[0] = <const WalReport*>wal.report
    return wal


cdef void wal_close(Wal* wal) noexcept nogil:
    cdef int i
    for i in range(SLOTS):
        check2(not wal.slots[i].busy, b"Q-WAL-01 writes in flight are completed before the log is closed",
               <long long>wal.slots[i].number, i)
    destroy(wal)


# Appending --------------------------------------------------------------------------------------------

cdef bint push_pending(Wal* wal, Batch* batch) noexcept nogil:
    cdef uint64_t capacity = wal.pending_mask + 1
    cdef Batch** grown
    cdef uint64_t i
    if wal.pending_count == capacity:
        grown = <Batch**>calloc(2 * capacity, sizeof(Batch*))
        if grown == NULL:
            return False
        for i in range(capacity):
            grown[i] = wal.pending[(wal.pending_head + i) & wal.pending_mask]
        free(wal.pending)
        wal.pending = grown
        wal.pending_head = 0
        wal.pending_mask = 2 * capacity - 1
    wal.pending[(wal.pending_head + wal.pending_count) & wal.pending_mask] = batch
    wal.pending_count += 1
    wal.pending_bytes += RECORD_HEADER_BYTES + batch.body_bytes
    return True


cdef wsn_t append(Wal* wal, Batch* batch) noexcept nogil:
    """With state_mutex held; keeps a reference of its own."""
    cdef WalGroup* group = groups_find(&wal.groups, batch.group)
    cdef Event event
    check2(group != NULL, b"Q-WAL-02 a record's log group is open", <long long>batch.group, batch.kind)
    check2(group.appended.live or batch.kind == KIND_OPEN, b"Q-WAL-03 a dropped log group takes no records",
           <long long>batch.group, batch.kind)
    check2(batch.stamped != 0, b"Q-WAL-04 a record is stamped before it is appended",
           <long long>batch.group, batch.kind)
    check2(batch.body_bytes <= wal_body_bytes_max(wal), b"Q-WAL-05 a body fits the log's segments",
           batch.body_bytes, wal_body_bytes_max(wal))
    if not push_pending(wal, batch_keep(batch)):
        batch_drop(batch)
        store_u32(&wal.poisoned, 1)        # no memory for one pointer: nothing can go on
        return 0
    batch.wsn = wal.next_wsn
    if batch.kind == KIND_COMPACT:
        group.compacted_wsn = batch.wsn
        group.compacted_first = batch.first
    event_of(batch, &event)
    mark_advance(&group.appended, group.mode, &event)
    if group.holes.count > 0:
        holes_advance(&group.holes, &event)
    wal.next_wsn += 1
    return batch.wsn


cdef uint32_t wal_body_bytes_max(Wal* wal) noexcept nogil:
    cdef uint64_t most = wal.segment_bytes // 2 - min(<uint64_t>64 * 1024, wal.segment_bytes // 4)
    return <uint32_t>(most if most < BATCH_BODY_BYTES_MAX else BATCH_BODY_BYTES_MAX)


cdef wsn_t wal_append(Wal* wal, Batch* batch) noexcept nogil:
    cdef wsn_t wsn
    check2(batch.kind == KIND_ENTRIES or batch.kind == KIND_BLANK or batch.kind == KIND_MEMBERSHIP
           or batch.kind == KIND_HARD_STATE or batch.kind == KIND_TRUNCATE or batch.kind == KIND_COMPACT
           or batch.kind == KIND_CHOSEN,
           b"Q-WAL-06 the log's own kinds of records are not appended from outside", batch.kind, 0)
    check2(batch.kind != KIND_HARD_STATE or batch.body_bytes == 16,
           b"Q-WAL-07 a hard state has 16 bytes", batch.body_bytes, 0)
    check2(not kind_has_entries(batch.kind) or batch.term > 0,
           b"Q-WAL-08 entries have a term", <long long>batch.first, batch.kind)
    if load_u32(&wal.poisoned):
        return 0
    lock(&wal.state_mutex)
    wsn = append(wal, batch)
    unlock(&wal.state_mutex)
    return wsn


cdef int append_own(Wal* wal, uint8_t kind, group_t group, index_t first, term_t term, const uint8_t* body,
                    uint32_t body_bytes, wsn_t* wsn) noexcept nogil:
    """A record of the log's own making; with state_mutex held."""
    cdef Batch* batch = batch_new(wal.pool, body_bytes)
    if batch == NULL:
        return ERR_MEMORY
    batch.kind = kind
    batch.group = group
    batch.first = first
    batch.term = term
    if body_bytes != 0:
        memcpy(batch.body, body, body_bytes)
    batch.body_crc = crc32c(0, batch.body, body_bytes)
    batch_stamp(batch)
    wsn[0] = append(wal, batch)
    batch_drop(batch)
    return OK if wsn[0] != 0 else ERR_POISONED


cdef uint32_t live_groups(Wal* wal) noexcept nogil:
    cdef uint32_t count = 0
    cdef uint32_t i
    for i in range(wal.groups.count):
        if wal.groups.groups[i].appended.live:
            count += 1
    return count


cdef int open_group(Wal* wal, group_t group, const char* name, uint8_t mode, wsn_t* wsn) noexcept nogil:
    cdef uint8_t body[GROUP_NAME_BYTES_MAX + 16]
    cdef WalGroup* known = groups_find(&wal.groups, group)
    cdef size_t name_bytes = strlen(name)
    if name_bytes == 0 or name_bytes > GROUP_NAME_BYTES_MAX or group == 0 \
            or (mode != MODE_SUFFIX and mode != MODE_SLOT):
        return ERR_USAGE
    if known != NULL and known.appended.live and known.name_bytes > 0:
        if known.mode != mode or known.name_bytes != name_bytes or memcmp(known.name, name, name_bytes) != 0:
            return ERR_USAGE
        wsn[0] = known.appended.newest_wsn
        return OK
    if known == NULL or not known.appended.live:
        if live_groups(wal) >= GROUPS_MAX or checkpoint_bytes(wal) + CHECKPOINT_GROUP_BYTES + 256 \
                > wal.segment_bytes // 4:
            return ERR_USAGE
    if known == NULL:
        known = groups_add(&wal.groups, group)
        if known == NULL:
            return ERR_USAGE
    known.mode = mode
    known.name_bytes = <uint8_t>name_bytes
    memset(known.name, 0, sizeof(known.name))
    memcpy(known.name, name, name_bytes)
    if known.appended.live:                # its open record was lost: the next checkpoint has the name
        wsn[0] = known.appended.newest_wsn
        return OK
    known.compacted_wsn = 0
    known.durable_first = 0
    known.opened_wsn = wal.next_wsn
    memset(body, 0, sizeof(body))
    body[0] = mode
    body[1] = <uint8_t>name_bytes
    memcpy(body + 2, name, name_bytes)
    return append_own(wal, KIND_OPEN, group, 0, 0, body, <uint32_t>((2 + name_bytes + 7) & ~<size_t>7), wsn)


cdef int wal_open_group(Wal* wal, group_t group, const char* name, uint8_t mode, wsn_t* wsn) noexcept nogil:
    cdef int status
    if load_u32(&wal.poisoned):
        return ERR_POISONED
    lock(&wal.state_mutex)
    status = open_group(wal, group, name, mode, wsn)
    unlock(&wal.state_mutex)
    return status


cdef wsn_t wal_drop_group(Wal* wal, group_t group) noexcept nogil:
    cdef WalGroup* known
    cdef wsn_t wsn = 0
    if load_u32(&wal.poisoned):
        return 0
    lock(&wal.state_mutex)
    known = groups_find(&wal.groups, group)
    if known != NULL and known.appended.live:
        append_own(wal, KIND_DROP, group, 0, 0, NULL, 0, &wsn)
    unlock(&wal.state_mutex)
    return wsn


cdef int wal_compact(Wal* wal, group_t group, index_t first, term_t term_before_first) noexcept nogil:
    cdef uint8_t body[8]
    cdef WalGroup* known
    cdef wsn_t wsn = 0
    cdef int status = OK
    if load_u32(&wal.poisoned):
        return ERR_POISONED
    lock(&wal.state_mutex)
    known = groups_find(&wal.groups, group)
    if known == NULL or not known.appended.live or first > mark_end(&known.appended) + 1:
        status = ERR_USAGE
    elif first > known.appended.first:
        put_u64(body, term_before_first)
        status = append_own(wal, KIND_COMPACT, group, first, term_before_first, body, 8, &wsn)
    unlock(&wal.state_mutex)
    return status


cdef wsn_t wal_next(Wal* wal) noexcept nogil:
    return wal.next_wsn


cdef uint64_t wal_pending_bytes(Wal* wal) noexcept nogil:
    return wal.pending_bytes


# Planning and completing --------------------------------------------------------------------------------

cdef int take_slot(Wal* wal, PlanSlot** out) noexcept nogil:
    cdef int i
    for i in range(SLOTS):
        if not wal.slots[i].busy:
            out[0] = &wal.slots[i]
            return OK
    return ERR_AGAIN


cdef void give_out(Wal* wal, PlanSlot* slot, WritePlan* plan) noexcept nogil:
    cdef Segment* segment = slot.segment
    cdef int i
    wal.plans += 1
    slot.busy = True
    slot.done = False
    slot.error = 0
    slot.number = wal.plans
    plan.number = slot.number
    plan.parts = slot.parts
    plan.part_count = slot.part_count
    plan.last = slot.last
    plan.bytes = 0
    for i in range(slot.part_count):
        plan.bytes += slot.parts[i].iov_len
    slot.bytes = plan.bytes
    plan.offset = segment.end - plan.bytes
    plan.synced_by_write = slot.part_count == 1 and slot.parts[0].iov_base == slot.staging \
        and segment.direct_fd >= 0
    plan.fd = segment.direct_fd if plan.synced_by_write else segment.fd
    check2((plan.offset & 4095) == 0 and (plan.bytes & 4095) == 0 and segment.end <= segment.bytes,
           b"Q-WAL-09 a write lies on blocks within its segment", <long long>plan.offset,
           <long long>plan.bytes)
    if slot.is_checkpoint:
        segment.checkpoint_plan = slot.number
    if slot.is_footer:
        wal.active = NULL


cdef int plan_next(Wal* wal, PlanSlot* slot, bint mark, bint* moving) noexcept nogil:
    """One write: the checkpoint of a new segment, pending records or a mark, or the footer of a full one."""
    cdef int status
    if wal.active == NULL:
        status = segment_begin(wal)
        if status != OK:
            return status
    if not wal.active.begun:
        return plan_checkpoint(wal, slot, load_u64(&wal.flushed))
    status = ERR_NOT_FOUND
    if moving_ready(wal):
        status = plan_moved(wal, slot)
        if status == OK:
            moving[0] = True
    if status == ERR_NOT_FOUND:
        if wal.pending_count == 0 and not mark:
            return ERR_NOT_FOUND
        status = plan_data(wal, slot, wal.pending_count == 0)
    if status == ERR_AGAIN:
        return plan_footer(wal, slot)
    return status


cdef bint wal_ready(Wal* wal) noexcept nogil:
    return wal.active != NULL or spares_ready(wal) > 0


cdef int wal_plan(Wal* wal, WritePlan* plan, bint mark) noexcept nogil:
    cdef PlanSlot* slot = NULL
    cdef bint idle
    cdef bint marking = False
    cdef bint moving = False
    cdef int status
    if load_u32(&wal.poisoned):
        return ERR_POISONED
    if take_slot(wal, &slot) != OK:
        return ERR_AGAIN
    if wal.pending_count == 0:
        idle = not wal.slots[0].busy and not wal.slots[1].busy
        marking = mark and idle and wal.active != NULL and load_u64(&wal.flushed) > wal.said
        if not marking and not moving_ready(wal):
            return ERR_AGAIN
    lock(&wal.state_mutex)
    status = plan_next(wal, slot, marking, &moving)
    if status == OK:
        give_out(wal, slot, plan)
        if moving:
            moving_planned(wal)
    elif status == ERR_NOT_FOUND:
        status = ERR_AGAIN                 # what was to be moved is dead by now
    else:
        # Without a segment or memory to go on with, pending records can never become durable.
        store_u32(&wal.poisoned, 1)
        slot_release(slot)
        status = ERR_POISONED
    unlock(&wal.state_mutex)
    return status


cdef void settle(Wal* wal, PlanSlot* slot) noexcept nogil:
    """The oldest plan outstanding has come back."""
    cdef Segment* segment = slot.segment
    check2(slot.number == wal.plans_completed + 1, b"Q-WAL-10 plans are settled in order",
           <long long>slot.number, <long long>wal.plans_completed)
    wal.plans_completed = slot.number
    check2(segment.writes > 0, b"Q-WAL-11 a settled plan was counted", <long long>segment.id, 0)
    segment.writes -= 1
    if not load_u32(&wal.poisoned):
        if slot.last > load_u64(&wal.flushed):
            store_u64(&wal.flushed, slot.last)
        if slot.is_checkpoint:
            segment.checkpoint_done = True
        if slot.is_footer:
            segment.footer_done = True
            free(segment.entries)
            segment.entries = NULL
            segment.entry_capacity = 0
    segment_rest(wal, segment)
    slot_release(slot)


cdef void note_flushed_compactions(Wal* wal) noexcept nogil:
    cdef uint64_t flushed = load_u64(&wal.flushed)
    cdef WalGroup* group
    cdef uint32_t i
    for i in range(wal.groups.count):
        group = &wal.groups.groups[i]
        if group.compacted_wsn != 0 and (group.compacted_wsn <= flushed or mutant(b"head-dropped-early")):
            group.durable_first = group.compacted_first
            group.compacted_wsn = 0


cdef int wal_complete(Wal* wal, uint64_t number, int error) noexcept nogil:
    cdef PlanSlot* slot = NULL
    cdef bint again = True
    cdef int i
    for i in range(SLOTS):
        if wal.slots[i].busy and wal.slots[i].number == number:
            slot = &wal.slots[i]
    check2(slot != NULL and not slot.done, b"Q-WAL-12 a plan completes once", <long long>number, error)
    lock(&wal.state_mutex)
    slot.done = True
    slot.error = error
    if error != 0 and not mutant(b"failed-sync-counts"):
        # P5: a failed write or sync is final; what it held is unproved.
        store_u32(&wal.poisoned, 1)
    else:
        add_u64_relaxed(&wal.syncs, 1)
        add_u64_relaxed(&wal.bytes_written, slot.bytes)
    if mutant(b"flushed-is-the-newest") and error == 0 and slot.last > load_u64(&wal.flushed):
        store_u64(&wal.flushed, slot.last)
    while again:
        again = False
        for i in range(SLOTS):
            if wal.slots[i].busy and wal.slots[i].done and wal.slots[i].number == wal.plans_completed + 1:
                settle(wal, &wal.slots[i])
                again = True
    if wal.segment_count > 1 and not load_u32(&wal.poisoned):
        note_flushed_compactions(wal)
        moving_settled(wal)
        segments_retire(wal)
    unlock(&wal.state_mutex)
    return ERR_POISONED if load_u32(&wal.poisoned) else OK


cdef wsn_t wal_flushed(Wal* wal) noexcept nogil:
    return load_u64(&wal.flushed)


cdef bint wal_poisoned(Wal* wal) noexcept nogil:
    return load_u32(&wal.poisoned) != 0


cdef int wal_execute(Wal* wal, const WritePlan* plan) noexcept nogil:
    cdef int64_t result = wal.files.write(wal.files.self, plan.fd, plan.parts, plan.part_count, plan.offset)
    if result >= 0 and <uint64_t>result != plan.bytes:
        return EIO
    if result >= 0 and not plan.synced_by_write:
        result = wal.files.sync(wal.files.self, plan.fd)
    if result < 0:
        return <int>-result
    return 0


# Beside the owner ---------------------------------------------------------------------------------------

cdef int wal_prepare(Wal* wal) noexcept nogil:
    cdef int status
    lock(&wal.prepare_mutex)
    status = spares_step(wal)
    unlock(&wal.prepare_mutex)
    return moving_step(wal) if status == ERR_AGAIN else status


cdef bint wal_prepare_can_wait(Wal* wal, uint64_t* seen_bytes) noexcept nogil:
    return spares_can_wait(wal, seen_bytes)


cdef int wal_read(Wal* wal, group_t group, index_t index, BatchPool* pool, Batch** out) noexcept nogil:
    cdef int status
    lock(&wal.read_mutex)
    status = cold_read(wal, group, index, pool, out)
    unlock(&wal.read_mutex)
    return status


cdef void wal_damage(Wal* wal, char* text, size_t size) noexcept nogil:
    lock(&wal.read_mutex)
    snprintf(text, size, b"%s", wal.cold.damage)
    unlock(&wal.read_mutex)


cdef void wal_status(Wal* wal, WalStatus* out) noexcept nogil:
    out.appended = wal.next_wsn - 1
    out.submitted = wal.submitted
    out.flushed = load_u64(&wal.flushed)
    out.pending_bytes = wal.pending_bytes
    out.syncs = load_u64(&wal.syncs)
    out.bytes_written = load_u64(&wal.bytes_written)
    out.segments = wal.segment_count
    out.spare_segments = spares_ready(wal)
