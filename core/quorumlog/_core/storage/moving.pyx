"""Moving a slow group's live tail forward, so that the head of the log can go (rule 7).

The preparing thread reads the live records of a head segment that is mostly dead; the
owner writes them again, flagged as moved and with their old WSNs; when that is durable
nobody needs the head any more.  A truncation in between calls the whole move off.
What is left behind as dead is dead once that which says so (a compaction, a drop, a
truncation, a successor) is durable too: until then a crash brings the record back.
"""

from quorumlog._core.base.atomics cimport load_u32, load_u64, store_u32
from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_AGAIN, ERR_COMPACTED, ERR_NOT_FOUND, OK
from quorumlog._core.base.types cimport index_t, wsn_t
from quorumlog._core.storage.batch cimport Batch, batch_drop, batch_last, pool_close, pool_open
from quorumlog._core.storage.cold cimport cold_read
from quorumlog._core.storage.format cimport RECORD_COPY, RECORD_HEADER_BYTES, FooterEntry, kind_has_entries
from quorumlog._core.storage.groups cimport groups_find
from quorumlog._core.storage.planner cimport plan_moved_records
from quorumlog._core.storage.scan cimport footer_load
from quorumlog._core.storage.state cimport Moving, Segment, SegmentGroup, WalGroup, lock, unlock

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc

cdef enum:
    SEGMENTS_MIN = 4               # below that there is nothing to gain
    STEP_BYTES = 1 << 20
    # What a move is doing.
    MOVE_NONE = 0
    MOVE_READING = 1
    MOVE_READY = 2                 # the owner may write


cdef uint64_t live_bytes(Wal* wal, const Segment* head) noexcept nogil:
    """An estimate, by the share of each group's indexes that is still wanted."""
    cdef const SegmentGroup* summary
    cdef const WalGroup* group
    cdef uint64_t total = 0
    cdef index_t first
    cdef uint32_t i
    for i in range(head.summary_count):
        summary = &head.summary[i]
        group = groups_find(&wal.groups, summary.group)
        if group == NULL or not group.appended.live or summary.last < group.durable_first:
            continue
        first = summary.first if summary.first > group.durable_first else group.durable_first
        total += <uint64_t>(<double>summary.bytes * <double>(summary.last - first + 1)
                            / <double>(summary.last - summary.first + 1))
    return total


cdef void give_up(Wal* wal) noexcept nogil:
    """With state_mutex held."""
    cdef Moving* moving = &wal.moving
    cdef uint32_t i
    for i in range(moving.count):
        batch_drop(moving.records[i])
    free(moving.entries)
    moving.entries = NULL
    moving.count = 0
    moving.planned = 0
    store_u32(&moving.state, MOVE_NONE)


cdef void moving_close(Wal* wal) noexcept nogil:
    give_up(wal)
    free(wal.moving.records)
    wal.moving.records = NULL
    if wal.moving.pool != NULL:
        pool_close(wal.moving.pool)
        wal.moving.pool = NULL


cdef int choose(Wal* wal) noexcept nogil:
    """A sealed head with little that is alive."""
    cdef Moving* moving = &wal.moving
    cdef Segment* head
    cdef uint64_t live = 0
    cdef wsn_t wsn = 0
    cdef uint64_t boot = 0
    cdef bint chosen = False
    lock(&wal.state_mutex)
    if wal.segment_count >= SEGMENTS_MIN:
        head = wal.segments[0]
        live = live_bytes(wal, head)
        chosen = head.footer_done and head.writes == 0 and head.id != moving.failed_id \
            and live > 0 and live <= head.bytes // 4
        if chosen:
            moving.head_id = head.id
            moving.as_of = wal.next_wsn - 1
    unlock(&wal.state_mutex)
    if not chosen:
        return ERR_AGAIN
    if moving.pool == NULL:
        moving.pool = pool_open(wal.segment_bytes)
    moving.entry_count = 0
    moving.position = 0
    if moving.pool == NULL or footer_load(wal.files, wal.path, moving.head_id, &moving.entries,
                                          &moving.entry_count, &wsn, &boot) != OK:
        moving.failed_id = moving.head_id
        return ERR_AGAIN
    store_u32(&moving.state, MOVE_READING)
    return OK


cdef bint keep_record(Moving* moving, Batch* batch) noexcept nogil:
    cdef void* memory
    cdef uint32_t capacity
    if moving.count == moving.capacity:
        capacity = 64 if moving.capacity == 0 else 2 * moving.capacity
        memory = realloc(moving.records, capacity * sizeof(Batch*))
        if memory == NULL:
            return False
        moving.records = <Batch**>memory
        moving.capacity = capacity
    moving.records[moving.count] = batch
    moving.count += 1
    return True


cdef int read_some(Wal* wal) noexcept nogil:
    """Up to STEP_BYTES of live records; whatever can't be read calls the move off."""
    cdef Moving* moving = &wal.moving
    cdef const FooterEntry* entry
    cdef Batch* batch
    cdef uint64_t bytes_read = 0
    cdef bint failed = False
    cdef int status
    while moving.position < moving.entry_count and bytes_read < STEP_BYTES and not failed:
        entry = &moving.entries[moving.position]
        moving.position += 1
        if not kind_has_entries(entry.kind) or (entry.flags & RECORD_COPY):
            continue
        batch = NULL
        lock(&wal.read_mutex)
        status = cold_read(wal, entry.group, entry.first, moving.pool, &batch)
        unlock(&wal.read_mutex)
        if status == OK and batch.wsn == entry.wsn:
            bytes_read += RECORD_HEADER_BYTES + batch.body_bytes
            if not keep_record(moving, batch):
                batch_drop(batch)
                failed = True
        elif status == OK:
            batch_drop(batch)              # superseded: its successor lies in a later segment
        elif status != ERR_NOT_FOUND and status != ERR_COMPACTED and record_is_alive(wal, entry):
            # (not found: what lies there now is not even flushed, so this one is dead)
            failed = True
    if not failed and moving.position < moving.entry_count:
        return OK
    lock(&wal.state_mutex)
    free(moving.entries)
    moving.entries = NULL
    if failed:
        moving.failed_id = moving.head_id
        give_up(wal)
    else:
        moving.dead_as_of = wal.next_wsn - 1
        store_u32(&moving.state, MOVE_READY)
    unlock(&wal.state_mutex)
    return ERR_AGAIN


cdef bint record_is_alive(Wal* wal, const FooterEntry* entry) noexcept nogil:
    """Whether the log, by its state alone, still has the record's first index."""
    cdef const WalGroup* group
    cdef bint alive
    lock(&wal.state_mutex)
    group = groups_find(&wal.groups, entry.group)
    alive = group != NULL and group.appended.live and entry.first >= group.appended.first \
        and entry.first <= group.appended.last
    unlock(&wal.state_mutex)
    return alive


cdef int moving_step(Wal* wal) noexcept nogil:
    cdef int status = ERR_AGAIN
    lock(&wal.moving_mutex)
    if load_u32(&wal.moving.state) == MOVE_NONE:
        status = choose(wal)
    elif load_u32(&wal.moving.state) == MOVE_READING:
        status = read_some(wal)
    unlock(&wal.moving_mutex)
    return status


cdef bint moving_ready(Wal* wal) noexcept nogil:
    return load_u32(&wal.moving.state) == MOVE_READY and wal.moving.planned < wal.moving.count


cdef bint was_truncated(Wal* wal) noexcept nogil:
    cdef Moving* moving = &wal.moving
    cdef const WalGroup* group
    cdef uint32_t i
    for i in range(moving.planned, moving.count):
        group = groups_find(&wal.groups, moving.records[i].group)
        if group != NULL and group.appended.live and group.appended.truncated_wsn > moving.as_of:
            return True
    return False


cdef void drop_dead(Wal* wal) noexcept nogil:
    """Compacted, or its group dropped, since it was read."""
    cdef Moving* moving = &wal.moving
    cdef const WalGroup* group
    cdef uint32_t i
    cdef uint32_t kept = moving.planned
    for i in range(moving.planned, moving.count):
        group = groups_find(&wal.groups, moving.records[i].group)
        # A group that was opened again under the same id has nothing to do with the record.
        if group == NULL or not group.planned.live or not group.appended.live \
                or group.opened_wsn > moving.records[i].wsn \
                or batch_last(moving.records[i]) < group.planned.first:
            batch_drop(moving.records[i])
            moving.dead_as_of = wal.next_wsn - 1
            continue
        moving.records[kept] = moving.records[i]
        kept += 1
    moving.count = kept


cdef int plan_moved(Wal* wal, PlanSlot* slot) noexcept nogil:
    cdef Moving* moving = &wal.moving
    cdef uint32_t count = 0
    cdef int status
    if was_truncated(wal):
        give_up(wal)
        return ERR_NOT_FOUND
    drop_dead(wal)
    if moving.planned == moving.count:
        moving_settled(wal)
        return ERR_NOT_FOUND
    status = plan_moved_records(wal, slot, moving.records + moving.planned, moving.count - moving.planned,
                                &count)
    moving.planned += count
    return status


cdef void moving_planned(Wal* wal) noexcept nogil:
    wal.moving.last_plan = wal.plans


cdef void moving_settled(Wal* wal) noexcept nogil:
    cdef Moving* moving = &wal.moving
    if load_u32(&moving.state) != MOVE_READY or moving.planned < moving.count \
            or wal.plans_completed < moving.last_plan \
            or (load_u64(&wal.flushed) < moving.dead_as_of and not mutant(b"death-not-awaited")):
        return
    check2(wal.segment_count > 0, b"Q-MOVE-01 a move has a head", <long long>moving.head_id,
           wal.segment_count)
    if wal.segments[0].id == moving.head_id:
        wal.segments[0].moved_away = True
    give_up(wal)
