"""What a segment's bytes hold: every record that validates, every record a valid list names.

Sync group by sync group.  Where no valid header stands, the next one is looked for at
4 KiB boundaries; in between, tails are looked for at their ends, and in what is left
single records by their magic at every 8 bytes.  Nothing here judges: replay does.
"""

from quorumlog._core.base.bytes cimport get_u32, get_u64, round_up
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_IO, ERR_MEMORY, ERR_NOT_FOUND, OK
from quorumlog._core.base.types cimport BATCH_BODY_BYTES_MAX, BLOCK_BYTES
from quorumlog._core.storage.batch cimport (KIND_CHECKPOINT, KIND_CHOSEN, KIND_ENTRIES, KIND_FOOTER, KIND_HARD_STATE,
                                            KIND_MEMBERSHIP,
                                            Batch, batch_parse_identity, batch_span, batch_verify_body)
from quorumlog._core.storage.files cimport FILE_DIRECT, FILE_READ
from quorumlog._core.storage.format cimport (FOOTER_ENTRY_BYTES, FOOTER_HEADER_BYTES, GROUP_FOOTER,
                                             GROUP_HEADER_BYTES,
                                             LISTED_REPAIR, LIST_ENTRY_BYTES, PLACEMENT_BYTES,
                                             RECORD_COPY, RECORD_HEADER_BYTES, RECORD_MAGIC, RECORD_MOVED,
                                             RECORD_REPAIR, STANDING_LISTENING, TAIL_BYTES,
                                             GroupHeader, GroupTail, Placement, entry_kind,
                                             entry_length, header_valid, kind_has_entries, listed_last,
                                             placement_crc, tail_valid)
from quorumlog._core.storage.state cimport PATH_BYTES_MAX

from libc.errno cimport ENOENT
from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, qsort, realloc
from libc.string cimport memcpy, memset

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void** out, size_t alignment, size_t size)

cdef enum:
    READ_BYTES = 1 << 20


cdef void segment_path(const char* directory, uint64_t id, char* out) noexcept nogil:
    snprintf(out, PATH_BYTES_MAX, b"%s/segment-%016llx.qlog", directory, <unsigned long long>id)


cdef void read_blocks(Files* files, int fd, Scan* scan) noexcept nogil:
    """A bad block costs that block alone; it stays zero, and the scan says so."""
    cdef uint8_t* image = scan.image
    cdef uint64_t bytes = scan.bytes
    cdef uint64_t offset = 0
    cdef uint64_t inner, step
    while offset < bytes:
        step = bytes - offset if bytes - offset < READ_BYTES else READ_BYTES
        if files.read(files.self, fd, image + offset, step, offset) < 0:
            memset(image + offset, 0, step)
            inner = 0
            while inner < step:
                if files.read(files.self, fd, image + offset + inner, BLOCK_BYTES, offset + inner) < 0:
                    memset(image + offset + inner, 0, BLOCK_BYTES)
                    if not scan.unreadable:
                        scan.unreadable = True
                        scan.unreadable_offset = offset + inner
                inner += BLOCK_BYTES
        offset += step


cdef int scan_read(Files* files, const char* directory, uint64_t id, bint direct, Scan* scan) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef void* memory = NULL
    cdef int64_t size
    cdef int fd = -1
    memset(scan, 0, sizeof(Scan))
    scan.id = id
    segment_path(directory, id, path)
    if direct:
        fd = files.open(files.self, path, FILE_READ | FILE_DIRECT)
    if fd < 0:
        fd = files.open(files.self, path, FILE_READ)
    if fd < 0:
        return ERR_NOT_FOUND if fd == -ENOENT else ERR_IO
    size = files.size(files.self, fd)
    if size < 0:
        files.close(files.self, fd)
        return ERR_IO
    scan.bytes = round_up(<uint64_t>size, BLOCK_BYTES)
    if scan.bytes > 0:
        if posix_memalign(&memory, BLOCK_BYTES, scan.bytes) != 0:
            files.close(files.self, fd)
            return ERR_MEMORY
        scan.image = <uint8_t*>memory
        if <uint64_t>size < scan.bytes:
            memset(scan.image + scan.bytes - BLOCK_BYTES, 0, BLOCK_BYTES)
        read_blocks(files, fd, scan)
    files.close(files.self, fd)
    return OK


cdef void scan_close(Scan* scan) noexcept nogil:
    free(scan.image)
    free(scan.items)
    scan.image = NULL
    scan.items = NULL
    scan.count = 0


cdef int scan_add(Scan* scan, const Item* item) noexcept nogil:
    cdef void* memory
    cdef uint32_t capacity
    if scan.count == scan.capacity:
        capacity = 64 if scan.capacity == 0 else scan.capacity * 2
        memory = realloc(scan.items, capacity * sizeof(Item))
        if memory == NULL:
            scan.out_of_memory = True
            return ERR_MEMORY
        scan.items = <Item*>memory
        scan.capacity = capacity
    scan.items[scan.count] = item[0]
    scan.count += 1
    return OK


cdef void saw_wsn(Scan* scan, wsn_t wsn) noexcept nogil:
    if wsn > scan.highest:
        scan.highest = wsn


cdef void saw_boot(Scan* scan, uint64_t boot) noexcept nogil:
    scan.used = True
    if boot > scan.boot:
        scan.boot = boot


cdef int record_parse(const uint8_t* p, uint64_t segment, uint64_t offset, uint64_t room,
                      Item* item) noexcept nogil:
    cdef Placement placement
    cdef Batch batch
    if room < RECORD_HEADER_BYTES or get_u32(p + 4) != RECORD_MAGIC or get_u64(p + 8) != segment:
        return RECORD_NONE
    memcpy(&placement, p, PLACEMENT_BYTES)
    if placement.offset != offset or placement.crc != placement_crc(&placement):
        return RECORD_NONE
    memset(item, 0, sizeof(Item))
    item.event.wsn = placement.wsn
    item.previous_wsn = placement.previous_wsn
    item.boot = placement.boot
    item.offset = offset
    item.length = placement.length
    item.flags = <uint8_t>placement.flags
    memset(&batch, 0, sizeof(Batch))
    if placement.identity_crc != get_u32(p + PLACEMENT_BYTES) \
            or batch_parse_identity(&batch, p + PLACEMENT_BYTES) != OK:
        return RECORD_IDENTITY_BAD
    if placement.length != RECORD_HEADER_BYTES + batch.body_bytes or placement.length > room:
        return RECORD_IDENTITY_BAD
    item.event.kind = batch.kind
    item.event.group = batch.group
    item.event.first = batch.first
    item.event.count = batch_span(&batch)
    item.event.term = batch.term
    item.last = listed_last(batch.kind, batch.first, batch_span(&batch))
    item.chained = True
    item.of_slots = batch.slot != 0 or batch.kind == KIND_CHOSEN
    item.body_crc = batch.body_crc
    batch.body = <uint8_t*>p + RECORD_HEADER_BYTES
    if batch_verify_body(&batch) != OK and not mutant(b"body-not-verified"):
        return RECORD_BODY_BAD
    item.body = batch.body
    if batch.kind == KIND_HARD_STATE:
        if batch.body_bytes != 16:
            return RECORD_BODY_BAD
        item.event.vote = get_u64(batch.body)
        item.event.listening = (get_u64(batch.body + 8) & STANDING_LISTENING) != 0
    item.state = ITEM_VALID
    return RECORD_VALID


cdef void take_listed(Scan* scan, const ListEntry* entry, uint64_t group_offset, uint32_t group_length,
                      uint64_t boot, wsn_t wsn_first) noexcept nogil:
    """A record that a valid list names: valid itself, or bad with what the list says of it."""
    cdef Item item
    cdef uint64_t offset = group_offset + entry.offset
    cdef uint32_t length = entry_length(entry)
    cdef bint repair = entry_kind(entry) == LISTED_REPAIR
    cdef uint8_t kind = KIND_ENTRIES if repair else entry_kind(entry)
    cdef int verdict = RECORD_NONE
    if kind != KIND_CHECKPOINT and kind != KIND_FOOTER:
        saw_wsn(scan, entry.wsn)
    if entry.offset < group_length and length <= group_length - entry.offset and (entry.offset & 7) == 0:
        verdict = record_parse(scan.image + offset, scan.id, offset, length, &item)
        if (verdict == RECORD_VALID or verdict == RECORD_BODY_BAD) and item.event.wsn == entry.wsn \
                and item.event.group == entry.group and item.boot == boot and item.last == entry.last \
                and item.event.term == entry.term and ((item.flags & RECORD_REPAIR) != 0) == repair \
                and (item.event.kind == kind or (repair and kind_has_entries(item.event.kind))):
            if verdict == RECORD_VALID:
                scan_add(scan, &item)
                return
            if kind_has_entries(kind):
                item.state = ITEM_BAD      # its identity is intact: where it belongs is certain
                scan_add(scan, &item)
                saw_damage(scan, offset)
                return
    memset(&item, 0, sizeof(Item))
    item.event.kind = kind
    item.event.group = entry.group
    item.event.wsn = entry.wsn
    item.event.term = entry.term
    item.event.first = entry.last + 1
    item.last = entry.last
    item.boot = boot
    item.offset = offset
    item.length = length
    item.state = ITEM_BAD
    if entry.wsn < wsn_first:
        if kind == KIND_HARD_STATE:
            item.flags = RECORD_COPY
        elif kind_has_entries(kind):
            item.flags = RECORD_MOVED
    elif repair:
        item.flags = RECORD_REPAIR
    scan_add(scan, &item)
    saw_damage(scan, offset)


cdef void saw_damage(Scan* scan, uint64_t offset) noexcept nogil:
    if not scan.damaged or offset < scan.damaged_offset:
        scan.damaged = True
        scan.damaged_offset = offset


cdef void take_group(Scan* scan, const GroupHeader* header, uint64_t offset, bint with_items) noexcept nogil:
    cdef const ListEntry* entries = <const ListEntry*>(<const uint8_t*>header + GROUP_HEADER_BYTES)
    cdef uint32_t i
    saw_boot(scan, header.boot)
    if header.flushed > scan.flushed:
        scan.flushed = header.flushed
    saw_wsn(scan, header.flushed)
    saw_wsn(scan, header.wsn_last)
    scan.end = offset + header.length
    if with_items:
        for i in range(header.record_count):
            take_listed(scan, &entries[i], offset, header.length, header.boot, header.wsn_first)


cdef void take_loose(Scan* scan, uint64_t low, uint64_t high) noexcept nogil:
    """Single records in a region where neither a header nor a tail is left."""
    cdef uint64_t at = low
    cdef Item item
    cdef int verdict
    while at + RECORD_HEADER_BYTES <= high:
        if get_u32(scan.image + at + 4) != RECORD_MAGIC:
            at += 8
            continue
        verdict = record_parse(scan.image + at, scan.id, at, scan.bytes - at, &item)
        if verdict == RECORD_NONE:
            at += 8
            continue
        saw_boot(scan, item.boot)
        saw_damage(scan, at)
        if verdict != RECORD_VALID:
            saw_wsn(scan, item.event.wsn)
            item.state = ITEM_BAD
            if verdict == RECORD_BODY_BAD:
                scan_add(scan, &item)
            at += 8
            continue
        if item.event.kind != KIND_CHECKPOINT and item.event.kind != KIND_FOOTER:
            saw_wsn(scan, item.event.wsn)
            saw_wsn(scan, item.previous_wsn)
        scan_add(scan, &item)
        at += round_up(item.length, 8)


cdef void take_damaged(Scan* scan, uint64_t low, uint64_t high, bint with_items) noexcept nogil:
    """Between `low` and `high` no valid header stands: tails, then single records."""
    cdef uint64_t end = high
    cdef uint64_t behind = high
    cdef const GroupTail* tail
    cdef const ListEntry* entries
    cdef uint32_t i
    while end > low:
        tail = <const GroupTail*>(scan.image + end - TAIL_BYTES)
        if mutant(b"second-list-ignored") or not tail_valid(tail, scan.id, end) or tail.offset < low:
            end -= BLOCK_BYTES
            continue
        saw_boot(scan, tail.boot)
        saw_damage(scan, tail.offset)
        if end > scan.end:
            scan.end = end
        if with_items:
            take_loose(scan, end, behind)
            entries = <const ListEntry*>(scan.image + end - TAIL_BYTES) - tail.record_count
            for i in range(tail.record_count):
                take_listed(scan, &entries[i], tail.offset, tail.length, tail.boot, tail.wsn_first)
        end = tail.offset
        behind = end
    if with_items:
        take_loose(scan, low, behind)


cdef void walk(Scan* scan, bint with_items) noexcept nogil:
    cdef uint64_t at = 0
    cdef uint64_t next_header
    cdef const GroupHeader* header
    while at < scan.bytes:
        header = <const GroupHeader*>(scan.image + at)
        if header_valid(header, scan.id, at, scan.bytes):
            take_group(scan, header, at, with_items)
            at += header.length
            continue
        next_header = at + BLOCK_BYTES
        while next_header < scan.bytes and not header_valid(
                <const GroupHeader*>(scan.image + next_header), scan.id, next_header, scan.bytes):
            next_header += BLOCK_BYTES
        take_damaged(scan, at, next_header, with_items)
        at = next_header


cdef void scan_headers(Scan* scan) noexcept nogil:
    walk(scan, False)
    if not scan.used:
        # Records without any header or tail left are looked for before a segment is called empty.
        take_loose(scan, 0, scan.bytes)
        scan.count = 0


cdef int by_wsn(const void* left, const void* right) noexcept nogil:
    cdef const Item* a = <const Item*>left
    cdef const Item* b = <const Item*>right
    cdef bint a_checkpoint = a.event.kind == KIND_CHECKPOINT
    cdef bint b_checkpoint = b.event.kind == KIND_CHECKPOINT
    if a_checkpoint != b_checkpoint:           # it describes what lies before its segment
        return -1 if a_checkpoint else 1
    if a.event.wsn != b.event.wsn:
        return -1 if a.event.wsn < b.event.wsn else 1
    if a.offset != b.offset:
        return -1 if a.offset < b.offset else 1
    return 0


cdef void scan_sort(Scan* scan) noexcept nogil:
    """WSN order, without what an earlier boot left in the same file."""
    cdef uint32_t i
    cdef uint32_t kept = 0
    for i in range(scan.count):
        if scan.items[i].boot == scan.boot:
            if kept != i:
                scan.items[kept] = scan.items[i]
            kept += 1
    scan.count = kept
    if kept > 1:
        qsort(scan.items, kept, sizeof(Item), by_wsn)


cdef int scan_items(Scan* scan) noexcept nogil:
    scan.count = 0
    walk(scan, True)
    if scan.out_of_memory:
        return ERR_MEMORY
    scan_sort(scan)
    return OK


cdef int take_footer(const uint8_t* group, uint64_t id, uint64_t offset, uint64_t bytes,
                     FooterEntry** entries, uint32_t* count, wsn_t* wsn, uint64_t* boot) noexcept nogil:
    cdef const GroupHeader* header = <const GroupHeader*>group
    cdef const ListEntry* listed = <const ListEntry*>(group + GROUP_HEADER_BYTES)
    cdef FooterEntry* out
    cdef Item item
    cdef uint32_t i, n
    if not header_valid(header, id, offset, bytes) or header.kind != GROUP_FOOTER or header.record_count != 1:
        return ERR_NOT_FOUND
    if listed.offset != GROUP_HEADER_BYTES + LIST_ENTRY_BYTES \
            or entry_length(listed) > header.length - listed.offset:
        return ERR_NOT_FOUND
    if record_parse(group + listed.offset, id, offset + listed.offset, entry_length(listed),
                    &item) != RECORD_VALID \
            or item.event.kind != KIND_FOOTER or item.length < RECORD_HEADER_BYTES + FOOTER_HEADER_BYTES:
        return ERR_NOT_FOUND
    n = get_u32(item.body)
    if <uint64_t>n * FOOTER_ENTRY_BYTES > item.length - RECORD_HEADER_BYTES - FOOTER_HEADER_BYTES:
        return ERR_NOT_FOUND
    out = <FooterEntry*>malloc(<uint64_t>n * FOOTER_ENTRY_BYTES + 1)
    if out == NULL:
        return ERR_MEMORY
    memcpy(out, item.body + FOOTER_HEADER_BYTES, <uint64_t>n * FOOTER_ENTRY_BYTES)
    for i in range(n):
        if out[i].offset > bytes or out[i].length > bytes - out[i].offset or (out[i].offset & 7) != 0 \
                or out[i].length < RECORD_HEADER_BYTES \
                or out[i].length > RECORD_HEADER_BYTES + BATCH_BODY_BYTES_MAX \
                or out[i].kind == 0 or out[i].kind > KIND_MEMBERSHIP \
                or (kind_has_entries(out[i].kind) and (out[i].count == 0 or out[i].first == 0)):
            free(out)
            return ERR_NOT_FOUND
    entries[0] = out
    count[0] = n
    wsn[0] = item.event.wsn
    boot[0] = item.boot
    return OK


cdef int footer_load(Files* files, const char* directory, uint64_t id, FooterEntry** entries,
                     uint32_t* count, wsn_t* wsn, uint64_t* boot) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef uint64_t words[512]                       # a block, aligned for the structures within
    cdef uint8_t* block = <uint8_t*>words
    cdef const GroupTail* tail = <const GroupTail*>(block + BLOCK_BYTES - TAIL_BYTES)
    cdef uint8_t* group = NULL
    cdef int result = ERR_NOT_FOUND
    cdef int64_t size
    cdef int fd
    segment_path(directory, id, path)
    fd = files.open(files.self, path, FILE_READ)
    if fd < 0:
        return ERR_NOT_FOUND
    size = files.size(files.self, fd)
    if size >= BLOCK_BYTES and (size & (BLOCK_BYTES - 1)) == 0 \
            and files.read(files.self, fd, block, BLOCK_BYTES, <uint64_t>size - BLOCK_BYTES) == BLOCK_BYTES \
            and tail.record_count == 1 and tail_valid(tail, id, <uint64_t>size):
        group = <uint8_t*>malloc(tail.length)
        if group == NULL:
            result = ERR_MEMORY
        elif files.read(files.self, fd, group, tail.length, tail.offset) == <int64_t>tail.length:
            result = take_footer(group, id, tail.offset, <uint64_t>size, entries, count, wsn, boot)
    free(group)
    files.close(files.self, fd)
    return result
