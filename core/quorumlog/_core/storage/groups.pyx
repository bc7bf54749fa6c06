"""The table of log groups: finding one, and what a record does to its state."""

from quorumlog._core.base.bytes cimport get_u64
from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.status cimport ERR_MEMORY, OK
from quorumlog._core.storage.batch cimport (KIND_CHOSEN, KIND_COMPACT, KIND_DROP, KIND_HARD_STATE, KIND_MEMBERSHIP,
                                            KIND_OPEN, KIND_TRUNCATE, batch_span)
from quorumlog._core.storage.format cimport (
    CHECKPOINT_HARD_STATE_DAMAGED, CHECKPOINT_LISTENING, STANDING_LISTENING, kind_has_entries)
from quorumlog._core.storage.holes cimport (
    holes_clear, holes_close, holes_compact, holes_fill, holes_truncate)
from quorumlog._core.storage.state cimport GROUP_HASH, GROUP_TABLE
from quorumlog._core.storage.wal cimport MODE_SLOT, MODE_SUFFIX

from libc.stdint cimport uint16_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset


cdef int groups_open(GroupTable* table) noexcept nogil:
    memset(table, 0, sizeof(GroupTable))
    table.groups = <WalGroup*>calloc(GROUP_TABLE, sizeof(WalGroup))
    return OK if table.groups != NULL else ERR_MEMORY


cdef void groups_close(GroupTable* table) noexcept nogil:
    cdef uint32_t i
    if table.groups != NULL:
        for i in range(table.count):
            holes_close(&table.groups[i].holes)
    free(table.groups)
    table.groups = NULL
    table.count = 0


cdef inline uint32_t hash_of(group_t group) noexcept nogil:
    return <uint32_t>((group * 0x9E3779B97F4A7C15ULL) >> 40) & (GROUP_HASH - 1)


cdef WalGroup* groups_find(GroupTable* table, group_t group) noexcept nogil:
    cdef uint32_t at = hash_of(group)
    cdef uint32_t position
    while table.hash[at] != 0:
        position = table.hash[at] - 1
        if table.groups[position].group == group:
            return &table.groups[position]
        at = (at + 1) & (GROUP_HASH - 1)
    return NULL


cdef void enter(GroupTable* table, uint32_t position) noexcept nogil:
    cdef uint32_t at = hash_of(table.groups[position].group)
    while table.hash[at] != 0:
        at = (at + 1) & (GROUP_HASH - 1)
    table.hash[at] = <uint16_t>(position + 1)


cdef WalGroup* groups_add(GroupTable* table, group_t group) noexcept nogil:
    cdef WalGroup* entry
    check2(groups_find(table, group) == NULL, b"Q-GROUPS-01 a group is added once", <long long>group, 0)
    if table.count == GROUP_TABLE:
        return NULL
    entry = &table.groups[table.count]
    memset(entry, 0, sizeof(WalGroup))
    entry.group = group
    entry.mode = MODE_SUFFIX
    table.count += 1
    enter(table, table.count - 1)
    return entry


cdef void groups_expire(GroupTable* table, wsn_t wsn) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t kept = 0
    for i in range(table.count):
        if table.groups[i].dropped_wsn != 0 and table.groups[i].dropped_wsn <= wsn:
            holes_close(&table.groups[i].holes)
            continue
        if kept != i:
            table.groups[kept] = table.groups[i]
        kept += 1
    if kept == table.count:
        return
    table.count = kept
    memset(table.hash, 0, sizeof(table.hash))
    for i in range(kept):
        enter(table, i)


cdef void mark_open(GroupMark* mark, wsn_t wsn) noexcept nogil:
    memset(mark, 0, sizeof(GroupMark))
    mark.live = True
    mark.newest_wsn = wsn
    mark.first = 1


cdef index_t mark_end(const GroupMark* mark) noexcept nogil:
    cdef index_t end = mark.last
    if mark.faulty_first != 0 and mark.faulty_last > end:
        end = mark.faulty_last
    if mark.unproved_last > end:
        end = mark.unproved_last
    return end


cdef void truncate(GroupMark* mark, const Event* event) noexcept nogil:
    cdef index_t kept = event.first - 1
    check2(event.first >= mark.first and kept <= mark_end(mark),
           b"Q-GROUPS-02 a truncation lies within the log", <long long>event.first, <long long>mark.last)
    if kept < mark.last:
        mark.last = kept
        mark.last_term = mark.term_before_first if kept < mark.first else 0
        if mark.membership_index > kept:
            mark.membership_index = 0
    if mark.faulty_first > kept:
        mark.faulty_first = 0
        mark.faulty_last = 0
    elif mark.faulty_first != 0 and mark.faulty_last > kept:
        mark.faulty_last = kept
    if mark.unproved_last > kept:
        mark.unproved_last = kept
    if mark.unproved_last <= mark.last or mark.unproved_last <= mark.faulty_last:
        mark.unproved_last = 0
        mark.unproved_term = 0
    mark.truncated_wsn = event.wsn


cdef void compact(GroupMark* mark, const Event* event) noexcept nogil:
    # Behind the log's end too: where a snapshot was installed, the log begins anew behind it.
    check2(event.first >= mark.first, b"Q-GROUPS-03 a compaction moves the head forwards", <long long>event.first,
           <long long>mark.first)
    mark.first = event.first
    mark.chosen = max(mark.chosen, event.first - 1)
    mark.term_before_first = event.term
    if mark.last < mark.first - 1:
        mark.last = mark.first - 1
    if mark.last < mark.first:
        mark.last_term = event.term
    if mark.faulty_first != 0:
        if mark.faulty_last < mark.first:
            mark.faulty_first = 0
            mark.faulty_last = 0
        elif mark.faulty_first < mark.first:
            mark.faulty_first = mark.first
    if mark.unproved_last <= mark.last:
        mark.unproved_last = 0
        mark.unproved_term = 0


cdef void mark_advance(GroupMark* mark, uint8_t mode, const Event* event) noexcept nogil:
    mark.newest_wsn = event.wsn
    if event.kind == KIND_OPEN:
        mark_open(mark, event.wsn)
    elif event.kind == KIND_DROP:
        mark.live = False
    elif event.kind == KIND_HARD_STATE:
        mark.hard_state_term = event.term
        mark.vote = event.vote
        mark.hard_state_damaged = False
        mark.listening = event.listening
    elif event.kind == KIND_TRUNCATE:
        truncate(mark, event)
    elif event.kind == KIND_COMPACT:
        compact(mark, event)
    elif event.kind == KIND_CHOSEN:
        mark.chosen = max(mark.chosen, event.first - 1)
    elif kind_has_entries(event.kind):
        check(event.count > 0, b"Q-GROUPS-04 a batch has entries")
        if event.repair:
            check2(event.first >= mark.first and event.first + event.count - 1 <= mark.last,
                   b"Q-GROUPS-07 a repair mends what the log has", <long long>event.first, <long long>mark.last)
            return
        if mode == MODE_SUFFIX:
            # Rule 6: an append onto an occupied index without a truncation is a violation.
            check2(event.first == mark.last + 1 and mark_end(mark) == mark.last,
                   b"Q-GROUPS-05 an append goes to the end of the log; what lies there is truncated first",
                   <long long>event.first, <long long>mark_end(mark))
            mark.last = event.first + event.count - 1
            mark.last_term = event.term
        else:
            check2(mode == MODE_SLOT and event.first >= mark.first,
                   b"Q-GROUPS-06 a slot lies behind the head", <long long>event.first, <long long>mark.first)
            if event.first + event.count - 1 >= mark.last:
                mark.last = event.first + event.count - 1
                mark.last_term = event.term
        if event.kind == KIND_MEMBERSHIP:
            mark.membership_index = event.first


cdef void event_of(const Batch* batch, Event* event) noexcept nogil:
    memset(event, 0, sizeof(Event))
    event.kind = batch.kind
    event.group = batch.group
    event.wsn = batch.wsn
    event.first = batch.first
    event.count = batch_span(batch)
    event.term = batch.term
    event.repair = batch.repair != 0
    if batch.kind == KIND_HARD_STATE:
        event.vote = get_u64(batch.body)
        event.listening = (get_u64(batch.body + 8) & STANDING_LISTENING) != 0


cdef void holes_advance(Holes* holes, const Event* event) noexcept nogil:
    if event.repair:
        holes_fill(holes, event.first, event.first + event.count - 1)
    elif event.kind == KIND_TRUNCATE:
        holes_truncate(holes, event.first)
    elif event.kind == KIND_COMPACT:
        holes_compact(holes, event.first)
    elif event.kind == KIND_OPEN or event.kind == KIND_DROP:
        holes_clear(holes)


cdef void mark_encode(const WalGroup* group, const GroupMark* mark, CheckpointGroup* out) noexcept nogil:
    memset(out, 0, sizeof(CheckpointGroup))
    out.group = group.group
    out.last_wsn = mark.newest_wsn
    out.first = mark.first
    out.last = mark.last
    out.term_before_first = mark.term_before_first
    out.last_term = mark.last_term
    out.hard_state_term = mark.hard_state_term
    out.vote = mark.vote
    out.truncated_wsn = mark.truncated_wsn
    out.membership_index = mark.membership_index
    out.faulty_first = mark.faulty_first
    out.faulty_last = mark.faulty_last
    out.unproved_last = mark.unproved_last if group.mode == MODE_SUFFIX else mark.chosen
    out.unproved_term = mark.unproved_term
    out.mode = group.mode
    out.flags = (CHECKPOINT_HARD_STATE_DAMAGED if mark.hard_state_damaged else 0) \
        | (CHECKPOINT_LISTENING if mark.listening else 0)
    out.name_bytes = group.name_bytes


cdef void mark_decode(const CheckpointGroup* entry, GroupMark* mark) noexcept nogil:
    memset(mark, 0, sizeof(GroupMark))
    mark.live = True
    mark.newest_wsn = entry.last_wsn
    mark.first = entry.first
    mark.last = entry.last
    mark.term_before_first = entry.term_before_first
    mark.last_term = entry.last_term
    mark.hard_state_term = entry.hard_state_term
    mark.vote = entry.vote
    mark.truncated_wsn = entry.truncated_wsn
    mark.membership_index = entry.membership_index
    mark.faulty_first = entry.faulty_first
    mark.faulty_last = entry.faulty_last
    mark.unproved_last = entry.unproved_last if entry.mode == MODE_SUFFIX else 0
    mark.chosen = entry.unproved_last if entry.mode == MODE_SLOT else 0
    mark.unproved_term = entry.unproved_term
    mark.hard_state_damaged = (entry.flags & CHECKPOINT_HARD_STATE_DAMAGED) != 0
    mark.listening = (entry.flags & CHECKPOINT_LISTENING) != 0


cdef bint checkpoint_group_sane(const CheckpointGroup* entry) noexcept nogil:
    """Bytes with a good checksum may still be nonsense: nothing that follows trusts them."""
    cdef uint64_t limit = <uint64_t>1 << 62
    if entry.mode != MODE_SUFFIX and entry.mode != MODE_SLOT:
        return False
    if entry.first == 0 or entry.first > limit or entry.last > limit or entry.last + 1 < entry.first:
        return False
    if entry.faulty_last > limit or entry.unproved_last > limit or entry.faulty_first > limit:
        return False
    if entry.faulty_first != 0 and entry.faulty_last < entry.faulty_first:
        return False
    return entry.mode == MODE_SLOT or entry.faulty_first == 0 or entry.faulty_first > entry.last
