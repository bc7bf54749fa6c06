"""Laying out sync groups: the bytes of one write, without copying bodies.

What a write gathers is copied into the slot's staging block, on block boundaries, and goes
through the direct descriptor.  Where the file system has none, large writes are vectored:
headers from the slot's own memory, bodies from the batches, kept until the plan completes.
"""

from quorumlog._core.base.atomics cimport load_u64
from quorumlog._core.base.bytes cimport put_u32
from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.status cimport ERR_AGAIN, ERR_MEMORY, OK
from quorumlog._core.base.types cimport BLOCK_BYTES, wsn_t
from quorumlog._core.storage.batch cimport (IDENTITY_BYTES, KIND_CHECKPOINT, KIND_DROP, KIND_FOOTER,
                                            KIND_HARD_STATE, KIND_OPEN, Batch, batch_drop, batch_keep,
                                            batch_span, batch_stamp)
from quorumlog._core.storage.checkpoint cimport checkpoint_build, checkpoint_bytes
from quorumlog._core.storage.files cimport iovec
from quorumlog._core.storage.format cimport (FOOTER_ENTRY_BYTES, FOOTER_HEADER_BYTES, GROUP_CHECKPOINT,
                                             GROUP_DATA, GROUP_FOOTER, GROUP_HEADER_BYTES, GROUP_MAGIC,
                                             GROUP_MARK, GROUP_RECORDS_MAX, LENGTH_BITS, LISTED_REPAIR,
                                             LIST_ENTRY_BYTES,
                                             PLACEMENT_BYTES, RECORD_COPY, RECORD_HEADER_BYTES,
                                             RECORD_MAGIC, RECORD_MOVED,
                                             RECORD_REPAIR, TAIL_BYTES, TAIL_MAGIC, FooterEntry,
                                             GroupHeader, GroupTail, ListEntry, Placement,
                                             footer_group_bytes, header_crc, listed_last, placement_crc,
                                             sync_group_bytes, tail_crc)
from quorumlog._core.storage.groups cimport Event, event_of, groups_find, mark_advance
from quorumlog._core.storage.segment cimport segment_note
from quorumlog._core.storage.state cimport HEADERS_BYTES, SMALL_PLAN_BYTES, STAGING_EXTRA_BYTES, Segment, WalGroup

from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void** out, size_t alignment, size_t size)

cdef enum:
    FOOTER_ENTRIES_MAX = 349000    # what a body of at most 16 MiB holds
    PARTS_MAX = 4 * GROUP_RECORDS_MAX + 16
    HARD_STATE_BYTES = RECORD_HEADER_BYTES + 16
    STAGING_BYTES_MAX = 4 << 20    # of each write in flight; a larger record grows it
    GROW_BYTES = 1 << 20

# A plan while it is laid out.
cdef struct Layout:
    PlanSlot* slot
    uint8_t* room
    uint64_t room_bytes
    uint64_t used
    bint copies                    # bodies too are copied into the room
    uint64_t written               # bytes laid out so far


cdef uint64_t staging_bytes(const Wal* wal) noexcept nogil:
    """Where writes go past the page cache, all that one gathers is copied together: measured, a copy and a
    direct write cost the processor a third of what the page cache costs it (docs/explanation/performance.md)."""
    if not wal.direct:
        return SMALL_PLAN_BYTES
    return (min(wal.sync_group_bytes_max, <uint64_t>STAGING_BYTES_MAX) + STAGING_EXTRA_BYTES + BLOCK_BYTES - 1) \
        & ~<uint64_t>(BLOCK_BYTES - 1)


cdef int slot_open(const Wal* wal, PlanSlot* slot) noexcept nogil:
    cdef void* memory = NULL
    memset(slot, 0, sizeof(PlanSlot))
    slot.staging_bytes = staging_bytes(wal)
    if posix_memalign(&memory, BLOCK_BYTES, slot.staging_bytes) == 0:
        slot.staging = <uint8_t*>memory
    memory = NULL
    if posix_memalign(&memory, BLOCK_BYTES, HEADERS_BYTES) == 0:
        slot.headers = <uint8_t*>memory
    slot.parts = <iovec*>calloc(PARTS_MAX, sizeof(iovec))
    slot.part_capacity = PARTS_MAX
    slot.batches = <Batch**>calloc(GROUP_RECORDS_MAX, sizeof(Batch*))
    if slot.staging == NULL or slot.headers == NULL or slot.parts == NULL or slot.batches == NULL:
        return ERR_MEMORY
    return OK


cdef void slot_close(PlanSlot* slot) noexcept nogil:
    slot_release(slot)
    free(slot.staging)
    free(slot.headers)
    free(slot.parts)
    free(slot.batches)
    memset(slot, 0, sizeof(PlanSlot))


cdef void slot_release(PlanSlot* slot) noexcept nogil:
    cdef uint32_t i
    for i in range(slot.batch_count):
        batch_drop(slot.batches[i])
    slot.batch_count = 0
    free(slot.large)
    slot.large = NULL
    slot.part_count = 0
    slot.is_footer = False
    slot.is_checkpoint = False
    slot.busy = False
    slot.done = False
    slot.segment = NULL


# Pieces ---------------------------------------------------------------------------------------------

cdef void grow_staging(PlanSlot* slot, uint64_t bytes_) noexcept nogil:
    """For a single record above what a write gathers: at most 16 MiB, kept for the next.  Without memory
    the write is vectored."""
    cdef uint64_t wanted = (bytes_ + GROW_BYTES - 1) & ~<uint64_t>(GROW_BYTES - 1)
    cdef void* memory = NULL
    if posix_memalign(&memory, BLOCK_BYTES, wanted) != 0:
        return
    free(slot.staging)
    slot.staging = <uint8_t*>memory
    slot.staging_bytes = wanted


cdef void layout_begin(Wal* wal, Layout* layout, PlanSlot* slot, uint64_t total_bytes) noexcept nogil:
    if total_bytes > slot.staging_bytes and wal.active.direct_fd >= 0:
        grow_staging(slot, total_bytes)
    layout.slot = slot
    layout.copies = total_bytes <= slot.staging_bytes
    layout.room = slot.staging if layout.copies else slot.headers
    layout.room_bytes = slot.staging_bytes if layout.copies else HEADERS_BYTES
    layout.used = 0
    layout.written = 0
    slot.part_count = 0


cdef void add_part(Layout* layout, void* data, uint64_t size) noexcept nogil:
    cdef PlanSlot* slot = layout.slot
    cdef iovec* last
    layout.written += size
    if slot.part_count > 0:
        last = &slot.parts[slot.part_count - 1]
        if <uint8_t*>last.iov_base + last.iov_len == <uint8_t*>data:
            last.iov_len += size
            return
    check2(slot.part_count < slot.part_capacity, b"Q-PLAN-01 a write has a bounded number of parts",
           slot.part_count, slot.part_capacity)
    slot.parts[slot.part_count].iov_base = data
    slot.parts[slot.part_count].iov_len = size
    slot.part_count += 1


cdef uint8_t* put_room(Layout* layout, uint64_t size) noexcept nogil:
    cdef uint8_t* p = layout.room + layout.used
    check2(size <= layout.room_bytes - layout.used, b"Q-PLAN-02 headers fit the slot's memory",
           <long long>size, <long long>layout.used)
    layout.used += size
    add_part(layout, p, size)
    return p


cdef void put_body(Layout* layout, const uint8_t* body, uint64_t size) noexcept nogil:
    if size == 0:
        return
    if layout.copies:
        memcpy(put_room(layout, size), body, size)
    else:
        add_part(layout, <void*>body, size)


# Groups ---------------------------------------------------------------------------------------------

cdef wsn_t previous_of(Wal* wal, const Batch* batch) noexcept nogil:
    cdef WalGroup* group
    if batch.group == 0:
        return 0
    group = groups_find(&wal.groups, batch.group)
    check(group != NULL, b"Q-PLAN-03 a planned record's group is known")
    return group.planned.newest_wsn


cdef void put_record(Wal* wal, Layout* layout, Segment* segment, const Batch* batch, uint64_t offset,
                     wsn_t previous_wsn, uint32_t flags) noexcept nogil:
    cdef Placement placement
    cdef uint8_t* p = put_room(layout, RECORD_HEADER_BYTES)
    memset(&placement, 0, sizeof(Placement))
    placement.magic = RECORD_MAGIC
    placement.segment = segment.id
    placement.offset = offset
    placement.boot = wal.boot
    placement.wsn = batch.wsn
    placement.previous_wsn = previous_wsn
    placement.previous_crc = wal.previous_record_crc
    memcpy(&placement.identity_crc, batch.identity, 4)
    placement.length = RECORD_HEADER_BYTES + batch.body_bytes
    placement.flags = flags
    placement.crc = placement_crc(&placement)
    wal.previous_record_crc = placement.crc
    memcpy(p, &placement, PLACEMENT_BYTES)
    memcpy(p + PLACEMENT_BYTES, batch.identity, IDENTITY_BYTES)
    put_body(layout, batch.body, batch.body_bytes)


cdef void advance_planned(Wal* wal, const Batch* batch) noexcept nogil:
    cdef WalGroup* group
    cdef Event event
    if batch.group == 0:
        return
    group = groups_find(&wal.groups, batch.group)
    event_of(batch, &event)
    mark_advance(&group.planned, group.mode, &event)
    if batch.kind == KIND_DROP:
        group.dropped_wsn = batch.wsn
    elif batch.kind == KIND_OPEN:
        group.dropped_wsn = 0


cdef int note_record(Segment* segment, const Batch* batch, uint64_t offset, uint32_t flags) noexcept nogil:
    cdef FooterEntry entry
    memset(&entry, 0, sizeof(FooterEntry))
    entry.group = batch.group
    entry.wsn = batch.wsn
    entry.first = batch.first
    entry.term = batch.term
    entry.count = batch_span(batch)
    entry.offset = <uint32_t>offset
    entry.length = RECORD_HEADER_BYTES + batch.body_bytes
    entry.kind = batch.kind
    entry.flags = <uint8_t>flags
    return segment_note(segment, &entry)


cdef int put_group(Wal* wal, Layout* layout, uint8_t kind, Batch** batches, uint32_t count, wsn_t* previous,
                   uint32_t flags, uint64_t offset, wsn_t wsn_first, wsn_t wsn_last,
                   uint64_t flushed) noexcept nogil:
    """One sync group at `offset` of the active segment.  `previous` holds the records'
    previous WSNs, taken from the groups' planned state when it is a data group."""
    cdef Segment* segment = wal.active
    cdef uint64_t start = layout.written
    cdef uint64_t head_bytes = GROUP_HEADER_BYTES + LIST_ENTRY_BYTES * <uint64_t>count
    cdef uint8_t* head = put_room(layout, head_bytes)
    cdef GroupHeader* header = <GroupHeader*>head
    cdef ListEntry* entries = <ListEntry*>(head + GROUP_HEADER_BYTES)
    cdef GroupTail* tail
    cdef uint64_t at = head_bytes
    cdef uint64_t length, zeros
    cdef uint32_t i, record_flags
    cdef int status = OK
    memset(head, 0, head_bytes)
    for i in range(count):
        entries[i].group = batches[i].group
        entries[i].wsn = batches[i].wsn
        entries[i].last = listed_last(batches[i].kind, batches[i].first, batch_span(batches[i]))
        entries[i].term = batches[i].term
        entries[i].offset = <uint32_t>at
        entries[i].length_kind = (RECORD_HEADER_BYTES + batches[i].body_bytes) \
            | (<uint32_t>batches[i].kind << LENGTH_BITS)
        record_flags = flags
        if kind == GROUP_DATA and flags == 0:
            if batches[i].repair:
                record_flags = RECORD_REPAIR
                entries[i].length_kind = (RECORD_HEADER_BYTES + batches[i].body_bytes) \
                    | (<uint32_t>LISTED_REPAIR << LENGTH_BITS)
            previous[i] = previous_of(wal, batches[i])
            advance_planned(wal, batches[i])
        put_record(wal, layout, segment, batches[i], offset + at, previous[i], record_flags)
        if kind != GROUP_FOOTER:
            if note_record(segment, batches[i], offset + at, record_flags) != OK:
                status = ERR_MEMORY
        at += RECORD_HEADER_BYTES + batches[i].body_bytes
    length = sync_group_bytes(count, at - head_bytes)
    zeros = length - at - LIST_ENTRY_BYTES * <uint64_t>count - TAIL_BYTES
    memset(put_room(layout, zeros), 0, zeros)
    memcpy(put_room(layout, LIST_ENTRY_BYTES * <uint64_t>count), entries, LIST_ENTRY_BYTES * <uint64_t>count)
    tail = <GroupTail*>put_room(layout, TAIL_BYTES)
    header.magic = GROUP_MAGIC
    header.segment = segment.id
    header.offset = offset
    header.boot = wal.boot
    header.wsn_first = wsn_first
    header.wsn_last = wsn_last
    header.flushed = flushed
    header.length = <uint32_t>length
    header.record_count = count
    header.previous_crc = wal.previous_group_crc
    header.kind = kind
    header.crc = header_crc(header, count)
    wal.previous_group_crc = header.crc
    memset(tail, 0, TAIL_BYTES)
    tail.magic = TAIL_MAGIC
    tail.segment = segment.id
    tail.offset = offset
    tail.boot = wal.boot
    tail.wsn_first = wsn_first
    tail.length = <uint32_t>length
    tail.record_count = count
    tail.crc = tail_crc(entries, tail)
    check2(layout.written - start == length, b"Q-PLAN-04 a sync group has the length its header says",
           <long long>(layout.written - start), <long long>length)
    return status


cdef void finish(Wal* wal, PlanSlot* slot, wsn_t last, uint64_t flushed) noexcept nogil:
    slot.last = last
    slot.segment = wal.active
    wal.active.writes += 1
    if flushed > wal.said:
        wal.said = flushed


cdef uint32_t gather(Wal* wal, uint64_t* record_bytes, uint32_t* hard_states) noexcept nogil:
    """How many pending records go into the next data group: what fits the segment, the bound of
    one write, and the room its footer will need."""
    cdef Segment* segment = wal.active
    cdef uint64_t room = segment.bytes - segment.end
    cdef uint32_t count = 0
    cdef uint64_t size, needed, entries
    cdef uint32_t hard
    cdef const Batch* batch
    record_bytes[0] = 0
    hard_states[0] = 0
    while count < GROUP_RECORDS_MAX and count < wal.pending_count:
        batch = wal.pending[(wal.pending_head + count) & wal.pending_mask]
        size = record_bytes[0] + RECORD_HEADER_BYTES + batch.body_bytes
        if count > 0 and size > wal.sync_group_bytes_max:
            break
        hard = hard_states[0] + (1 if batch.kind == KIND_HARD_STATE else 0)
        needed = sync_group_bytes(count + 1, size)
        if hard > 0:
            needed += sync_group_bytes(hard, hard * <uint64_t>HARD_STATE_BYTES)
        entries = <uint64_t>segment.entry_count + count + 1 + hard
        if entries > FOOTER_ENTRIES_MAX or needed + footer_group_bytes(entries) > room:
            break
        record_bytes[0] = size
        hard_states[0] = hard
        count += 1
    return count


cdef int plan_data(Wal* wal, PlanSlot* slot, bint mark) noexcept nogil:
    cdef Segment* segment = wal.active
    cdef uint64_t flushed = load_u64(&wal.flushed)
    cdef uint64_t record_bytes = 0
    cdef uint64_t length = 0
    cdef uint64_t mark_length = 0
    cdef uint32_t hard_states = 0
    cdef uint32_t count, i
    cdef wsn_t previous[GROUP_RECORDS_MAX]
    cdef wsn_t hard_previous[GROUP_RECORDS_MAX]
    cdef Batch* hard[GROUP_RECORDS_MAX]
    cdef Layout layout
    cdef int status = OK
    if mark:
        if sync_group_bytes(0, 0) + footer_group_bytes(segment.entry_count) > segment.bytes - segment.end:
            return ERR_AGAIN
        layout_begin(wal, &layout, slot, sync_group_bytes(0, 0))
        put_group(wal, &layout, GROUP_MARK, NULL, 0, previous, 0, segment.end, wal.submitted + 1,
                  wal.submitted, flushed)
        finish(wal, slot, wal.submitted, flushed)
        segment.end += layout.written
        return OK
    count = gather(wal, &record_bytes, &hard_states)
    if count == 0:
        return ERR_AGAIN
    length = sync_group_bytes(count, record_bytes)
    if hard_states > 0:
        mark_length = sync_group_bytes(hard_states, hard_states * <uint64_t>HARD_STATE_BYTES)
    for i in range(count):
        slot.batches[i] = wal.pending[(wal.pending_head + i) & wal.pending_mask]
        check2(slot.batches[i].wsn == wal.submitted + 1 + i, b"Q-PLAN-05 records are planned in WSN order",
               <long long>slot.batches[i].wsn, <long long>wal.submitted)
    slot.batch_count = count
    layout_begin(wal, &layout, slot, length + mark_length)
    status = put_group(wal, &layout, GROUP_DATA, slot.batches, count, previous, 0, segment.end,
                       slot.batches[0].wsn, slot.batches[count - 1].wsn, flushed)
    if hard_states > 0:
        # Rule 5: the second writing of hard states, in other blocks, in the same write.
        hard_states = 0
        for i in range(count):
            if slot.batches[i].kind == KIND_HARD_STATE:
                hard[hard_states] = slot.batches[i]
                hard_previous[hard_states] = previous[i]
                hard_states += 1
        if put_group(wal, &layout, GROUP_MARK, hard, hard_states, hard_previous, RECORD_COPY,
                     segment.end + length, slot.batches[count - 1].wsn + 1,
                     slot.batches[count - 1].wsn, flushed) != OK:
            status = ERR_MEMORY
    wal.pending_head += count
    wal.pending_count -= count
    wal.pending_bytes -= record_bytes
    wal.submitted = slot.batches[count - 1].wsn
    segment.end += layout.written
    finish(wal, slot, wal.submitted, flushed)
    return status


cdef int plan_moved_records(Wal* wal, PlanSlot* slot, Batch** records, uint32_t record_count,
                            uint32_t* planned) noexcept nogil:
    cdef Segment* segment = wal.active
    cdef uint64_t flushed = load_u64(&wal.flushed)
    cdef uint64_t room = segment.bytes - segment.end
    cdef uint64_t record_bytes = 0
    cdef uint64_t size
    cdef uint32_t count = 0
    cdef wsn_t previous[GROUP_RECORDS_MAX]
    cdef Layout layout
    cdef uint32_t i
    cdef int status
    while count < record_count and count < GROUP_RECORDS_MAX:
        size = record_bytes + RECORD_HEADER_BYTES + records[count].body_bytes
        if (count > 0 and size > wal.sync_group_bytes_max) \
                or segment.entry_count + count + 1 > FOOTER_ENTRIES_MAX \
                or sync_group_bytes(count + 1,
                                    size) + footer_group_bytes(segment.entry_count + count + 1) > room:
            break
        record_bytes = size
        count += 1
    planned[0] = count
    if count == 0:
        return ERR_AGAIN
    for i in range(count):
        slot.batches[i] = batch_keep(records[i])
        previous[i] = 0
    slot.batch_count = count
    layout_begin(wal, &layout, slot, sync_group_bytes(count, record_bytes))
    status = put_group(wal, &layout, GROUP_DATA, slot.batches, count, previous, RECORD_MOVED, segment.end,
                       wal.submitted + 1, wal.submitted, flushed)
    segment.end += layout.written
    finish(wal, slot, wal.submitted, flushed)
    return status


cdef int plan_own(Wal* wal, PlanSlot* slot, uint8_t group_kind, uint8_t kind, uint64_t body_bytes,
                  uint64_t offset, uint64_t flushed) noexcept nogil:
    """A group with one record of the log itself, whose body lies in `slot.large`.  It takes no WSN
    of its own: it carries that of the newest record before it."""
    cdef Batch record
    cdef Batch* records[1]
    cdef wsn_t previous[1]
    cdef Layout layout
    memset(&record, 0, sizeof(Batch))
    record.kind = kind
    record.body = slot.large
    record.body_bytes = <uint32_t>body_bytes
    record.body_crc = crc32c(0, slot.large, body_bytes)
    record.wsn = wal.submitted
    batch_stamp(&record)
    records[0] = &record
    previous[0] = 0
    layout_begin(wal, &layout, slot, sync_group_bytes(1, RECORD_HEADER_BYTES + body_bytes))
    if put_group(wal, &layout, group_kind, records, 1, previous, 0, offset, wal.submitted + 1,
                 wal.submitted, flushed) != OK:
        return ERR_MEMORY
    finish(wal, slot, wal.submitted, flushed)
    wal.active.end = offset + layout.written
    return OK


cdef int plan_footer(Wal* wal, PlanSlot* slot) noexcept nogil:
    cdef Segment* segment = wal.active
    cdef uint64_t body_bytes = FOOTER_HEADER_BYTES + FOOTER_ENTRY_BYTES * <uint64_t>segment.entry_count
    cdef uint64_t offset = segment.bytes - footer_group_bytes(segment.entry_count)
    check2(offset >= segment.end, b"Q-PLAN-06 the footer's room was kept free", <long long>offset,
           <long long>segment.end)
    slot.large = <uint8_t*>malloc(body_bytes)
    if slot.large == NULL:
        return ERR_MEMORY
    put_u32(slot.large, segment.entry_count)
    put_u32(slot.large + 4, 0)
    if segment.entry_count != 0:
        memcpy(slot.large + FOOTER_HEADER_BYTES, segment.entries,
               FOOTER_ENTRY_BYTES * <uint64_t>segment.entry_count)
    slot.is_footer = True
    segment.sealed = True
    return plan_own(wal, slot, GROUP_FOOTER, KIND_FOOTER, body_bytes, offset, load_u64(&wal.flushed))


cdef int plan_checkpoint(Wal* wal, PlanSlot* slot, uint64_t flushed) noexcept nogil:
    cdef uint64_t body_bytes = checkpoint_bytes(wal)
    slot.large = <uint8_t*>malloc(body_bytes)
    if slot.large == NULL:
        return ERR_MEMORY
    checkpoint_build(wal, flushed, slot.large, body_bytes)
    slot.is_checkpoint = True
    wal.active.begun = True
    return plan_own(wal, slot, GROUP_CHECKPOINT, KIND_CHECKPOINT, body_bytes, 0, flushed)
