"""Cold reads: a batch by group and index, from disk, verified.

The live record of an index is the one with the highest WSN that covers it, as long as
the index lies within the log: a truncation that killed it would have been followed
by a newer one.  So segments are asked from the newest to the oldest, first for records
in their own place, then for moved ones.  Indexes of a few segments are kept.
"""

from quorumlog._core.base.atomics cimport load_u64
from quorumlog._core.base.bytes cimport get_u32
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport (ERR_COMPACTED, ERR_CORRUPT, ERR_IO, ERR_MEMORY, ERR_NOT_FOUND, OK)
from quorumlog._core.base.types cimport wsn_t
from quorumlog._core.storage.batch cimport (
    batch_drop, batch_new, batch_parse_identity, batch_span, batch_verify_body)
from quorumlog._core.storage.files cimport FILE_READ
from quorumlog._core.storage.format cimport (PLACEMENT_BYTES, RECORD_COPY, RECORD_HEADER_BYTES, RECORD_MAGIC,
                                             RECORD_MOVED, FooterEntry, Placement, kind_has_entries,
                                             placement_crc)
from quorumlog._core.storage.groups cimport groups_find
from quorumlog._core.storage.holes cimport holes_cover
from quorumlog._core.storage.scan cimport (ITEM_VALID, Scan, footer_load, scan_close, scan_items, scan_read,
                                           segment_path)
from quorumlog._core.storage.state cimport (COLD_SEGMENTS, PATH_BYTES_MAX, ColdSegment, IndexEntry, Segment,
                                            WalGroup, lock, unlock)

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcpy, memset

cdef enum:
    ERR_AGAIN_SEGMENT = 1000       # not in this one after all: the next older
    FRESH_MAX = 256                # entries looked through one by one before they join the index


cdef void cold_open(Wal* wal) noexcept nogil:
    cdef int i
    memset(&wal.cold, 0, sizeof(wal.cold))
    for i in range(COLD_SEGMENTS):
        wal.cold.segments[i].fd = -1


cdef void forget(Wal* wal, ColdSegment* cold) noexcept nogil:
    if cold.fd >= 0:
        wal.files.close(wal.files.self, cold.fd)
    free(cold.index)
    free(cold.fresh)
    memset(cold, 0, sizeof(ColdSegment))
    cold.fd = -1


cdef void cold_close(Wal* wal) noexcept nogil:
    cdef int i
    for i in range(COLD_SEGMENTS):
        forget(wal, &wal.cold.segments[i])


cdef uint64_t kept_bytes(Wal* wal) noexcept nogil:
    cdef uint64_t total = 0
    cdef int i
    for i in range(COLD_SEGMENTS):
        total += wal.cold.segments[i].index_count * sizeof(IndexEntry)
        total += wal.cold.segments[i].fresh_count * sizeof(FooterEntry)
    return total


cdef ColdSegment* oldest(Wal* wal, const ColdSegment* but) noexcept nogil:
    cdef ColdSegment* found = NULL
    cdef ColdSegment* cold
    cdef int i
    for i in range(COLD_SEGMENTS):
        cold = &wal.cold.segments[i]
        if cold != but and cold.id != 0 and (found == NULL or cold.used < found.used):
            found = cold
    return found


cdef void keep_within(Wal* wal, const ColdSegment* but) noexcept nogil:
    cdef ColdSegment* cold
    while kept_bytes(wal) > wal.cache_bytes:
        cold = oldest(wal, but)
        if cold == NULL:
            return
        forget(wal, cold)


# Building an index ----------------------------------------------------------------------------------

cdef int by_group_and_first(const void* left, const void* right) noexcept nogil:
    cdef const IndexEntry* a = <const IndexEntry*>left
    cdef const IndexEntry* b = <const IndexEntry*>right
    if a.moved != b.moved:
        return -1 if a.moved < b.moved else 1
    if a.group != b.group:
        return -1 if a.group < b.group else 1
    if a.first != b.first:
        return -1 if a.first < b.first else 1
    if a.wsn != b.wsn:
        return -1 if a.wsn < b.wsn else 1
    return 0


cdef int add_to_index(ColdSegment* cold, const FooterEntry* entries, uint32_t count) noexcept nogil:
    cdef IndexEntry* index
    cdef IndexEntry* entry
    cdef uint32_t n = cold.index_count
    cdef uint32_t i
    if count == 0:
        return OK
    index = <IndexEntry*>realloc(cold.index, (<uint64_t>n + count) * sizeof(IndexEntry))
    if index == NULL:
        return ERR_MEMORY
    cold.index = index
    for i in range(count):
        if not kind_has_entries(entries[i].kind) or (entries[i].flags & RECORD_COPY):
            continue
        entry = &index[n]
        entry.group = entries[i].group
        entry.first = entries[i].first
        entry.last = entries[i].first + entries[i].count - 1
        entry.wsn = entries[i].wsn
        entry.offset = entries[i].offset
        entry.length = entries[i].length
        entry.moved = 1 if entries[i].flags & RECORD_MOVED else 0
        n += 1
    cold.index_count = n
    if n > 1:
        qsort(index, n, sizeof(IndexEntry), by_group_and_first)
    for i in range(n):
        index[i].reach = index[i].last
        if i > 0 and index[i - 1].group == index[i].group and index[i - 1].moved == index[i].moved \
                and index[i - 1].reach > index[i].reach:
            index[i].reach = index[i - 1].reach
    return OK


cdef int load_scanned(Wal* wal, ColdSegment* cold) noexcept nogil:
    """A segment without a footer: the last one of an earlier boot."""
    cdef Scan scan
    cdef FooterEntry* entries
    cdef uint32_t i
    cdef uint32_t n = 0
    cdef int status = scan_read(wal.files, wal.path, cold.id, False, &scan)
    if status != OK:
        return status
    status = scan_items(&scan)
    entries = <FooterEntry*>malloc((<uint64_t>scan.count + 1) * sizeof(FooterEntry))
    if entries == NULL:
        status = ERR_MEMORY
    if status == OK:
        for i in range(scan.count):
            if scan.items[i].state != ITEM_VALID:
                continue
            memset(&entries[n], 0, sizeof(FooterEntry))
            entries[n].group = scan.items[i].event.group
            entries[n].wsn = scan.items[i].event.wsn
            entries[n].first = scan.items[i].event.first
            entries[n].count = scan.items[i].event.count
            entries[n].offset = <uint32_t>scan.items[i].offset
            entries[n].length = scan.items[i].length
            entries[n].kind = scan.items[i].event.kind
            entries[n].flags = scan.items[i].flags
            n += 1
        status = add_to_index(cold, entries, n)
    free(entries)
    scan_close(&scan)
    return status


cdef int load(Wal* wal, ColdSegment* cold, bint trusted) noexcept nogil:
    """A footer that recovery doesn't trust may list records that were torn: they are no records."""
    cdef FooterEntry* entries = NULL
    cdef uint32_t count = 0
    cdef wsn_t wsn = 0
    cdef uint64_t boot = 0
    cdef int status = ERR_NOT_FOUND
    if trusted:
        status = footer_load(wal.files, wal.path, cold.id, &entries, &count, &wsn, &boot)
    if status == ERR_NOT_FOUND:
        return load_scanned(wal, cold)
    if status == OK:
        status = add_to_index(cold, entries, count)
    free(entries)
    return status


cdef ColdSegment* cached(Wal* wal, uint64_t id) noexcept nogil:
    cdef int i
    for i in range(COLD_SEGMENTS):
        if wal.cold.segments[i].id == id:
            return &wal.cold.segments[i]
    return NULL


cdef int open_cold(Wal* wal, uint64_t id, ColdSegment** out) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef ColdSegment* cold = cached(wal, 0)
    cdef int fd
    if cold == NULL:
        cold = oldest(wal, NULL)
        forget(wal, cold)
    segment_path(wal.path, id, path)
    fd = wal.files.open(wal.files.self, path, FILE_READ)
    if fd < 0:
        return ERR_IO
    cold.fd = fd
    cold.id = id
    out[0] = cold
    return OK


cdef int fetch_index(Wal* wal, uint64_t id, const FooterEntry* copied, uint32_t copied_count, bint in_memory,
                     bint trusted, ColdSegment** out) noexcept nogil:
    """The cached segment, brought up to date: `copied` are its newest entries while it is in memory."""
    cdef ColdSegment* cold = cached(wal, id)
    cdef void* memory
    cdef int status = OK
    if cold == NULL:
        status = open_cold(wal, id, &cold)
        if status != OK:
            return status
        if not in_memory:
            status = load(wal, cold, trusted)
    wal.cold.clock += 1
    cold.used = wal.cold.clock
    if status == OK and copied_count > 0:
        memory = realloc(cold.fresh, (<uint64_t>cold.fresh_count + copied_count) * sizeof(FooterEntry))
        if memory == NULL:
            status = ERR_MEMORY
        else:
            cold.fresh = <FooterEntry*>memory
            memcpy(cold.fresh + cold.fresh_count, copied, copied_count * sizeof(FooterEntry))
            cold.fresh_count += copied_count
            cold.entries_seen += copied_count
    if status == OK and cold.fresh_count > FRESH_MAX:
        status = add_to_index(cold, cold.fresh, cold.fresh_count)
        cold.fresh_count = 0
    if status != OK:
        forget(wal, cold)
        return status
    keep_within(wal, cold)
    out[0] = cold
    return OK


# Looking up ------------------------------------------------------------------------------------------

cdef bint before(const IndexEntry* entry, bint moved, group_t group, index_t index) noexcept nogil:
    """Whether the entry's place is at or before that of (moved, group, first = index)."""
    if entry.moved != <uint32_t>moved:
        return entry.moved < <uint32_t>moved
    if entry.group != group:
        return entry.group < group
    return entry.first <= index


cdef bint look_up(const ColdSegment* cold, group_t group, index_t index, bint moved,
                  IndexEntry* out) noexcept nogil:
    cdef const FooterEntry* fresh
    cdef const IndexEntry* entry
    cdef uint32_t low = 0
    cdef uint32_t high = cold.index_count
    cdef uint32_t middle
    cdef bint found = False
    memset(out, 0, sizeof(IndexEntry))
    for middle in range(cold.fresh_count):
        fresh = &cold.fresh[middle]
        if fresh.group == group and kind_has_entries(fresh.kind) and not (fresh.flags & RECORD_COPY) \
                and ((fresh.flags & RECORD_MOVED) != 0) == moved \
                and fresh.first <= index and index - fresh.first < fresh.count and fresh.wsn >= out.wsn:
            out.wsn = fresh.wsn
            out.offset = fresh.offset
            out.length = fresh.length
            found = True
    while low < high:
        middle = (low + high) // 2
        if before(&cold.index[middle], moved, group, index):
            low = middle + 1
        else:
            high = middle
    while low > 0:
        low -= 1
        entry = &cold.index[low]
        if entry.group != group or entry.moved != <uint32_t>moved or entry.reach < index:
            break
        if entry.last >= index and entry.wsn >= out.wsn:
            out[0] = entry[0]
            found = True
    return found


cdef int locate(Wal* wal, group_t group, index_t index, bint moved, uint64_t* upper, IndexEntry* entry,
                ColdSegment** out) noexcept nogil:
    """The newest segment before *upper whose summary covers the index; *upper moves down to it."""
    cdef Segment* segment = NULL
    cdef ColdSegment* cold
    cdef FooterEntry* copied = NULL
    cdef uint32_t copied_count = 0
    cdef bint in_memory = False
    cdef bint trusted = False
    cdef uint32_t i, k
    cdef int status = OK
    lock(&wal.state_mutex)
    i = wal.segment_count
    while i > 0 and segment == NULL:
        i -= 1
        if wal.segments[i].id >= upper[0]:
            continue
        for k in range(wal.segments[i].summary_count):
            if wal.segments[i].summary[k].group == group and wal.segments[i].summary[k].first <= index \
                    and wal.segments[i].summary[k].last >= index \
                    and (not moved or wal.segments[i].summary[k].moved):
                segment = wal.segments[i]
                break
    if segment == NULL:
        upper[0] = 0
    else:
        upper[0] = segment.id
        cold = cached(wal, segment.id)
        in_memory = segment.entries != NULL
        trusted = segment.footer_done
        if cold != NULL and not in_memory and cold.entries_seen > 0:
            forget(wal, cold)          # made from a part of its entries: the footer has them all now
            cold = NULL
        k = cold.entries_seen if cold != NULL else 0
        if in_memory and segment.entry_count > k:
            copied_count = segment.entry_count - k
            copied = <FooterEntry*>malloc(copied_count * sizeof(FooterEntry))
            if copied == NULL:
                status = ERR_MEMORY
            else:
                memcpy(copied, segment.entries + k, copied_count * sizeof(FooterEntry))
    unlock(&wal.state_mutex)
    if status != OK or upper[0] == 0:
        return ERR_NOT_FOUND if status == OK else status
    status = fetch_index(wal, upper[0], copied, copied_count, in_memory, trusted, &cold)
    free(copied)
    if status != OK:
        return status
    out[0] = cold
    return OK if look_up(cold, group, index, moved, entry) else ERR_AGAIN_SEGMENT


cdef int within_log(Wal* wal, group_t group, index_t index) noexcept nogil:
    """What the log's state says before any file is asked."""
    cdef WalGroup* state
    cdef Batch* batch
    cdef uint64_t i
    cdef int status = OK
    lock(&wal.state_mutex)
    state = groups_find(&wal.groups, group)
    if state == NULL or not state.appended.live:
        status = ERR_NOT_FOUND
    elif index < state.appended.first:
        status = ERR_COMPACTED
    elif state.appended.faulty_first != 0 and index >= state.appended.faulty_first \
            and index <= state.appended.faulty_last:
        status = ERR_CORRUPT
        snprintf(wal.cold.damage, sizeof(wal.cold.damage), b"index %llu was found damaged at recovery",
                 <unsigned long long>index)
    elif holes_cover(&state.holes, index):
        status = ERR_CORRUPT           # an older record of the same index may lie elsewhere, intact
        snprintf(wal.cold.damage, sizeof(wal.cold.damage), b"index %llu was found damaged at recovery",
                 <unsigned long long>index)
    elif index > state.appended.last:
        status = ERR_NOT_FOUND
    else:
        for i in range(wal.pending_count):
            batch = wal.pending[(wal.pending_head + i) & wal.pending_mask]
            if batch.group == group and kind_has_entries(batch.kind) and batch.first <= index \
                    and index - batch.first < batch_span(batch):
                status = ERR_NOT_FOUND         # its live record is not even written
                break
    unlock(&wal.state_mutex)
    return status


cdef int read_verified(Wal* wal, ColdSegment* cold, const IndexEntry* entry, group_t group, index_t index,
                       BatchPool* pool, Batch** out) noexcept nogil:
    cdef uint8_t head[RECORD_HEADER_BYTES]
    cdef Placement placement
    cdef Batch* batch
    cdef uint32_t body_bytes = entry.length - RECORD_HEADER_BYTES
    cdef int64_t got = wal.files.read(wal.files.self, cold.fd, head, RECORD_HEADER_BYTES, entry.offset)
    if got < 0:
        return ERR_IO
    memcpy(&placement, head, PLACEMENT_BYTES)
    if got != RECORD_HEADER_BYTES or placement.magic != RECORD_MAGIC or placement.segment != cold.id \
            or placement.offset != entry.offset or placement.length != entry.length \
            or placement.wsn != entry.wsn or placement.crc != placement_crc(&placement) \
            or placement.identity_crc != get_u32(head + PLACEMENT_BYTES):
        return ERR_CORRUPT
    batch = batch_new(pool, body_bytes)
    if batch == NULL:
        return ERR_MEMORY
    if batch_parse_identity(batch, head + PLACEMENT_BYTES) != OK or batch.body_bytes != body_bytes \
            or batch.group != group or index < batch.first or index - batch.first >= batch_span(batch):
        batch_drop(batch)
        return ERR_CORRUPT
    got = wal.files.read(wal.files.self, cold.fd, batch.body, body_bytes, entry.offset + RECORD_HEADER_BYTES)
    if got != <int64_t>body_bytes or (batch_verify_body(batch) != OK and not mutant(b"cold-read-not-verified")):
        batch_drop(batch)
        return ERR_IO if got < 0 else ERR_CORRUPT
    batch.wsn = placement.wsn
    out[0] = batch
    return OK


cdef int cold_read(Wal* wal, group_t group, index_t index, BatchPool* pool, Batch** out) noexcept nogil:
    cdef IndexEntry entry
    cdef ColdSegment* cold = NULL
    cdef uint64_t upper
    cdef uint64_t id = 0
    cdef int moved
    cdef int status = within_log(wal, group, index)
    if status != OK:
        return status
    for moved in range(2):
        upper = <uint64_t>-1
        status = ERR_AGAIN_SEGMENT
        while status == ERR_AGAIN_SEGMENT:
            status = locate(wal, group, index, moved == 1, &upper, &entry, &cold)
        if status != ERR_NOT_FOUND:
            break
    if status == OK:
        id = cold.id
        if entry.wsn > load_u64(&wal.flushed):
            return ERR_NOT_FOUND
        status = read_verified(wal, cold, &entry, group, index, pool, out)
    if status == OK or status == ERR_MEMORY:
        return status
    # The head may have been dropped under our feet; only what still belongs to the log is damage.
    if within_log(wal, group, index) == ERR_COMPACTED:
        return ERR_COMPACTED
    if id == 0:
        id = upper
    snprintf(wal.cold.damage, sizeof(wal.cold.damage), b"%s/segment-%016llx.qlog at offset %llu (index %llu)",
             wal.path, <unsigned long long>id, <unsigned long long>(
                 entry.offset if status == ERR_CORRUPT else 0),
             <unsigned long long>index)
    return ERR_CORRUPT if status == ERR_NOT_FOUND else status
