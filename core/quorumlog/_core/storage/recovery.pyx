"""From the files of a directory to the state of the log (docs/format.md 6).

First from the newest segment to the oldest: which are used, what is F, and which
footers may be trusted instead of a scan.  Then from the oldest to the newest: replay.
One segment's image is in memory at a time.  Segments that are scanned are synced
and read past the page cache where the file system can (rule 8), so that whatever
is accepted is durable; nothing is written, so a crash in here changes nothing.
"""

from quorumlog._core.base.atomics cimport store_u64
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_IO, ERR_MEMORY, ERR_NOT_FOUND, OK
from quorumlog._core.base.types cimport wsn_t
from quorumlog._core.storage.batch cimport KIND_CHECKPOINT, KIND_FOOTER, KIND_HARD_STATE, KIND_OPEN
from quorumlog._core.storage.checkpoint cimport checkpoint_replay
from quorumlog._core.storage.files cimport FILE_READ, FILE_WRITE, Files
from quorumlog._core.storage.format cimport (RECORD_COPY, RECORD_HEADER_BYTES, RECORD_MOVED, FooterEntry,
                                             kind_has_entries, listed_last)
from quorumlog._core.storage.holes cimport Holes
from quorumlog._core.storage.platter cimport platter_agree
from quorumlog._core.storage.replay cimport (Replay, Track, replay_close, replay_finish, replay_item,
                                             replay_open)
from quorumlog._core.storage.scan cimport (ITEM_BAD, ITEM_VALID, RECORD_VALID, Item, Scan, footer_load,
                                           record_parse, scan_close, scan_headers, scan_items,
                                           scan_read, segment_path)
from quorumlog._core.storage.segment cimport segment_add, segment_summarise, status_of
from quorumlog._core.storage.state cimport (PATH_BYTES_MAX, SPARES_MAX, GroupMark, Segment, WalGroup)
from quorumlog._core.storage.wal cimport MODE_SLOT, RecoveredGroup

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcpy, memset, strlen

# A segment file as the first pass found it.
cdef struct Found:
    uint64_t id
    uint64_t bytes
    bint used
    bint trusted

# What the headers of one boot say of it; segments are passed from the newest to the oldest.
cdef struct BootProof:
    uint64_t boot
    wsn_t flushed

cdef struct Directory:
    Found* found
    uint32_t count
    uint32_t capacity
    bint out_of_memory


cdef void report_free(WalReport* report) noexcept nogil:
    cdef uint32_t i
    if report == NULL:
        return
    for i in range(report.group_count):
        free(report.groups[i].runs)
    free(report.groups)
    free(report)


# The directory ----------------------------------------------------------------------------------------

cdef bint segment_id(const char* name, uint64_t* id) noexcept nogil:
    """`segment-<16 hex digits>.qlog`"""
    cdef const char* prefix = b"segment-"
    cdef const char* suffix = b".qlog"
    cdef uint64_t value = 0
    cdef int i
    cdef char c
    if strlen(name) != 29:
        return False
    for i in range(8):
        if name[i] != prefix[i]:
            return False
    for i in range(8, 24):
        c = name[i]
        if c >= 48 and c <= 57:
            value = (value << 4) | <uint64_t>(c - 48)
        elif c >= 97 and c <= 102:
            value = (value << 4) | <uint64_t>(c - 87)
        else:
            return False
    for i in range(5):
        if name[24 + i] != suffix[i]:
            return False
    id[0] = value
    return value != 0


cdef int visit_name(void* context, const char* name) noexcept nogil:
    cdef Directory* directory = <Directory*>context
    cdef uint64_t id = 0
    cdef void* memory
    if not segment_id(name, &id):
        return 0
    if directory.count == directory.capacity:
        directory.capacity = 64 if directory.capacity == 0 else directory.capacity * 2
        memory = realloc(directory.found, directory.capacity * sizeof(Found))
        if memory == NULL:
            directory.out_of_memory = True
            return 1
        directory.found = <Found*>memory
    memset(&directory.found[directory.count], 0, sizeof(Found))
    directory.found[directory.count].id = id
    directory.count += 1
    return 0


cdef int by_id(const void* left, const void* right) noexcept nogil:
    cdef uint64_t a = (<const Found*>left).id
    cdef uint64_t b = (<const Found*>right).id
    return -1 if a < b else (1 if a > b else 0)


cdef int list_segments(Wal* wal, Directory* directory, WalReport* report) noexcept nogil:
    cdef int result = wal.files.list(wal.files.self, wal.path, visit_name, directory)
    if directory.out_of_memory:
        return ERR_MEMORY
    if result < 0:
        snprintf(report.detail, sizeof(report.detail), b"can't list %s (errno %d)", wal.path, -result)
        return status_of(result)
    if directory.count > 1:
        qsort(directory.found, directory.count, sizeof(Found), by_id)
    return OK


# First pass -------------------------------------------------------------------------------------------

cdef bint trusted_footer(Wal* wal, uint64_t id, const BootProof* proof, uint64_t* boot) noexcept nogil:
    """Rule 11: a footer stands for its segment only if it and all its records lie at or below what the
    boot that wrote them knew to be flushed.  A later boot's F covers its recovery's verdict, and that may
    be that a record which the footer lists is bad: footer and record can have been in flight together."""
    cdef FooterEntry* entries = NULL
    cdef uint32_t count = 0
    cdef wsn_t wsn = 0
    cdef bint trusted
    cdef uint32_t i
    if proof.flushed == 0 or footer_load(wal.files, wal.path, id, &entries, &count, &wsn, boot) != OK:
        return False
    trusted = boot[0] == proof.boot and wsn <= proof.flushed
    for i in range(count):
        if entries[i].wsn > proof.flushed:
            trusted = False
    free(entries)
    return trusted


cdef int look_at(Wal* wal, Directory* directory, WalReport* report, uint64_t* highest) noexcept nogil:
    cdef uint32_t i = directory.count
    cdef Found* found
    cdef uint64_t boot
    cdef BootProof proof
    cdef Scan scan
    cdef bint changed
    cdef int status
    memset(&proof, 0, sizeof(BootProof))
    while i > 0:
        i -= 1
        found = &directory.found[i]
        boot = 0
        if trusted_footer(wal, found.id, &proof, &boot):
            found.used = True
            found.trusted = True
            if boot > report.boot:
                report.boot = boot
            continue
        status = scan_read(wal.files, wal.path, found.id, False, &scan)
        if status != OK:
            snprintf(report.detail, sizeof(report.detail), b"can't read segment-%016llx.qlog in %s",
                     <unsigned long long>found.id, wal.path)
            return status
        scan_headers(&scan)
        if scan.used:
            # Both passes, cold reads and every later opening must see the same bytes.
            status = platter_agree(wal.files, wal.path, found.id, &changed)
            if status == OK and changed:
                scan_close(&scan)
                status = scan_read(wal.files, wal.path, found.id, False, &scan)
                if status == OK:
                    scan_headers(&scan)
            if status != OK:
                scan_close(&scan)
                snprintf(report.detail, sizeof(report.detail),
                         b"can't compare segment-%016llx.qlog in %s with the disk",
                         <unsigned long long>found.id, wal.path)
                return status
        elif scan.unreadable:
            # It may hold what was acknowledged: neither empty nor a spare, and never to be deleted.
            snprintf(report.detail, sizeof(report.detail),
                     b"segment-%016llx.qlog in %s can't be read at offset %llu, and nothing else in it says "
                     b"what it held", <unsigned long long>found.id, wal.path,
                     <unsigned long long>scan.unreadable_offset)
            scan_close(&scan)
            return ERR_CORRUPT
        report.bytes_read += scan.bytes
        found.bytes = scan.bytes
        found.used = scan.used
        if scan.flushed > report.flushed:
            report.flushed = scan.flushed
        if scan.used and scan.boot != proof.boot:
            proof.boot = scan.boot
            proof.flushed = 0
        if scan.used and scan.flushed > proof.flushed:
            proof.flushed = scan.flushed
        if scan.boot > report.boot:
            report.boot = scan.boot
        if scan.highest > highest[0]:
            highest[0] = scan.highest
        scan_close(&scan)
    return OK


# Second pass --------------------------------------------------------------------------------------------

cdef void note_damage(Wal* wal, WalReport* report, uint64_t id, uint64_t offset) noexcept nogil:
    if report.detail[0] == 0:
        snprintf(report.detail, sizeof(report.detail), b"%s/segment-%016llx.qlog at offset %llu",
                 wal.path, <unsigned long long>id, <unsigned long long>offset)


cdef int sync_segment(Wal* wal, uint64_t id) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef int result
    cdef int fd
    segment_path(wal.path, id, path)
    fd = wal.files.open(wal.files.self, path, FILE_WRITE)
    if fd < 0:
        return status_of(fd)
    result = wal.files.sync(wal.files.self, fd)
    wal.files.close(wal.files.self, fd)
    return status_of(result)


cdef int read_record(Files* files, int fd, uint64_t id, uint64_t offset, uint32_t length, uint8_t** body,
                     Item* item) noexcept nogil:
    """One record by itself; *body is to be freed, whatever comes back."""
    body[0] = <uint8_t*>malloc(length)
    if body[0] == NULL:
        return ERR_MEMORY
    if files.read(files.self, fd, body[0], length, offset) != <int64_t>length:
        return ERR_CORRUPT
    if record_parse(body[0], id, offset, length, item) != RECORD_VALID:
        return ERR_CORRUPT
    return OK


cdef int replay_footer_entry(Replay* replay, Files* files, int fd, uint64_t id, const FooterEntry* entry,
                             bint* bad) noexcept nogil:
    """Bodies are read only where replay needs them: names, votes, checkpoints."""
    cdef Item item
    cdef uint8_t* memory = NULL
    cdef int status
    bad[0] = False
    memset(&item, 0, sizeof(Item))
    if entry.kind == KIND_HARD_STATE or entry.kind == KIND_OPEN or entry.kind == KIND_CHECKPOINT:
        status = read_record(files, fd, id, entry.offset, entry.length, &memory, &item)
        if status == ERR_MEMORY:
            return status
        if status != OK or item.event.kind != entry.kind or item.event.wsn != entry.wsn \
                or item.event.group != entry.group:
            bad[0] = True
    if entry.kind == KIND_CHECKPOINT:
        if not bad[0] and not checkpoint_replay(replay, item.body, item.length - RECORD_HEADER_BYTES,
                                                entry.wsn, item.boot):
            bad[0] = True
        free(memory)
        return OK
    if item.body == NULL or bad[0]:
        memset(&item, 0, sizeof(Item))
        item.event.kind = entry.kind
        item.event.group = entry.group
        item.event.wsn = entry.wsn
        item.event.first = entry.first
        item.event.count = entry.count
        item.event.term = entry.term
        item.last = listed_last(entry.kind, entry.first, entry.count)
        item.offset = entry.offset
        item.length = entry.length
        item.flags = entry.flags
        item.state = ITEM_BAD if bad[0] else ITEM_VALID
    item.chained = False
    replay_item(replay, &item)
    free(memory)
    return OK


cdef int replay_trusted(Wal* wal, Replay* replay, WalReport* report, Segment* segment) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef FooterEntry* entries = NULL
    cdef uint32_t count = 0
    cdef wsn_t wsn = 0
    cdef uint64_t boot = 0
    cdef bint bad = False
    cdef uint32_t i
    cdef int fd
    cdef int status = footer_load(wal.files, wal.path, segment.id, &entries, &count, &wsn, &boot)
    if status != OK:
        return ERR_IO if status == ERR_NOT_FOUND else status
    segment_path(wal.path, segment.id, path)
    fd = wal.files.open(wal.files.self, path, FILE_READ)
    if fd < 0:
        free(entries)
        return status_of(fd)
    segment.last_wsn = wsn
    for i in range(count):
        status = replay_footer_entry(replay, wal.files, fd, segment.id, &entries[i], &bad)
        if bad:
            note_damage(wal, report, segment.id, entries[i].offset)
        elif entries[i].kind == KIND_CHECKPOINT:
            segment.checkpoint_done = True
        if status == OK and kind_has_entries(entries[i].kind):
            status = segment_summarise(segment, entries[i].group, entries[i].first,
                                       entries[i].first + entries[i].count - 1, entries[i].length,
                                       (entries[i].flags & RECORD_MOVED) != 0)
        if status != OK:
            break
    report.bytes_read += <uint64_t>count * sizeof(FooterEntry)
    wal.files.close(wal.files.self, fd)
    free(entries)
    return status


cdef int replay_scanned(Wal* wal, Replay* replay, WalReport* report, Segment* segment,
                        uint64_t* highest) noexcept nogil:
    cdef Scan scan
    cdef Item* item
    cdef uint32_t i
    cdef int status = sync_segment(wal, segment.id)
    if status != OK:
        snprintf(report.detail, sizeof(report.detail), b"can't sync segment-%016llx.qlog in %s",
                 <unsigned long long>segment.id, wal.path)
        return status
    status = scan_read(wal.files, wal.path, segment.id, not mutant(b"trust-the-page-cache"), &scan)
    if status == OK:
        status = scan_items(&scan)
    for i in range(scan.count):
        if status != OK:
            break
        item = &scan.items[i]
        if item.event.kind == KIND_CHECKPOINT:
            if item.state != ITEM_VALID or not checkpoint_replay(
                    replay, item.body, item.length - RECORD_HEADER_BYTES, item.event.wsn, item.boot):
                note_damage(wal, report, segment.id, item.offset)
            else:
                segment.checkpoint_done = True
            continue
        if item.event.kind == KIND_FOOTER:
            continue
        replay_item(replay, item)
        if item.event.wsn > segment.last_wsn:
            segment.last_wsn = item.event.wsn
        if item.state == ITEM_VALID and kind_has_entries(item.event.kind) and not (item.flags & RECORD_COPY):
            status = segment_summarise(segment, item.event.group, item.event.first, item.last, item.length,
                                       (item.flags & RECORD_MOVED) != 0)
        elif replay.hole_first != 0:
            # Needed as if it were intact: that it is there, and bad, only this segment says.
            status = segment_summarise(segment, item.event.group, replay.hole_first, replay.hole_last, item.length,
                                       False)
    if scan.damaged:
        note_damage(wal, report, segment.id, scan.damaged_offset)
    if scan.highest > highest[0]:
        highest[0] = scan.highest
    report.bytes_read += scan.bytes
    scan_close(&scan)
    return status


cdef int replay_segments(Wal* wal, Directory* directory, Replay* replay, WalReport* report,
                         uint64_t* highest) noexcept nogil:
    cdef Found* found
    cdef Segment* segment
    cdef uint32_t i
    cdef int status
    for i in range(directory.count):
        found = &directory.found[i]
        if not found.used:
            continue
        segment = segment_add(wal, found.id, found.bytes)
        if segment == NULL:
            return ERR_MEMORY
        segment.begun = True
        segment.sealed = True
        segment.footer_done = found.trusted
        if found.trusted:
            status = replay_trusted(wal, replay, report, segment)
        else:
            status = replay_scanned(wal, replay, report, segment, highest)
        if status != OK:
            return status
        if replay.status != OK:
            return replay.status
    replay_finish(replay)
    return replay.status


# What was found ---------------------------------------------------------------------------------------

cdef void end_before_holes(RecoveredGroup* out, const GroupMark* mark) noexcept nogil:
    """The intact log ends before the first hole; all behind it counts as faulty for whoever can't mend it."""
    out.faulty_first = out.holes[0].first
    out.faulty_last = max(mark.last, mark.faulty_last)
    out.last = out.faulty_first - 1
    while out.run_count > 0 and out.runs[out.run_count - 1].first > out.last:
        out.run_count -= 1
    out.last_term = out.runs[out.run_count - 1].term if out.run_count > 0 else out.term_before_first


cdef void report_group(RecoveredGroup* out, const WalGroup* group, Track* track) noexcept nogil:
    cdef const GroupMark* mark = &group.appended
    out.group = group.group
    out.mode = group.mode
    memcpy(out.name, group.name, sizeof(out.name))
    out.hard_state_term = mark.hard_state_term
    out.vote = mark.vote
    out.first = mark.first
    out.term_before_first = mark.term_before_first
    out.last = mark.last
    out.last_term = mark.last_term
    out.runs = track.runs.runs
    out.run_count = track.runs.count if mark.last >= mark.first else 0
    out.whole_last = mark.last
    out.whole_last_term = mark.last_term
    out.whole_run_count = out.run_count
    out.holes = group.holes.holes
    out.hole_count = group.holes.count
    out.listening = mark.listening
    out.chosen = mark.chosen if group.mode == MODE_SLOT else 0
    out.boundless = mark.faulty_first != 0 or mark.hard_state_damaged
    out.unproved_last = mark.unproved_last
    out.unproved_term = mark.unproved_term
    out.faulty_first = mark.faulty_first
    out.faulty_last = mark.faulty_last
    out.hard_state_damaged = mark.hard_state_damaged
    if group.holes.count > 0:
        end_before_holes(out, mark)
    track.runs.runs = NULL             # it belongs to the report now
    track.runs.count = 0


cdef int make_report(Wal* wal, Replay* replay, WalReport* report) noexcept nogil:
    cdef WalGroup* group
    cdef uint32_t i
    report.groups = <RecoveredGroup*>calloc(wal.groups.count + 1, sizeof(RecoveredGroup))
    if report.groups == NULL:
        return ERR_MEMORY
    for i in range(wal.groups.count):
        group = &wal.groups.groups[i]
        group.planned = group.appended
        group.holes = replay.tracks[i].holes
        memset(&replay.tracks[i].holes, 0, sizeof(Holes))
        group.durable_first = group.appended.first
        if group.appended.live:
            report_group(&report.groups[report.group_count], group, &replay.tracks[i])
            report.group_count += 1
    report.records = replay.records
    report.corrupt_records = replay.corrupt_records
    report.unproved_records = replay.unproved_records
    return OK


cdef int adopt_spares(Wal* wal, Directory* directory) noexcept nogil:
    """Empty segments behind the used ones are spares, if they are whole."""
    cdef char path[PATH_BYTES_MAX]
    cdef uint64_t newest_used = 0
    cdef Found* found
    cdef uint32_t i
    cdef int result
    wal.spares.next_id = 1
    for i in range(directory.count):
        found = &directory.found[i]
        if found.used:
            newest_used = found.id
        wal.spares.next_id = found.id + 1
    for i in range(directory.count):
        found = &directory.found[i]
        if found.used or found.id < newest_used:
            continue
        if found.bytes == wal.segment_bytes and wal.spares.count < SPARES_MAX:
            wal.spares.ids[wal.spares.count] = found.id
            wal.spares.count += 1
            continue
        segment_path(wal.path, found.id, path)
        result = wal.files.remove(wal.files.self, path)
        if result < 0:
            return status_of(result)
    return status_of(wal.files.sync_directory(wal.files.self, wal.path))


cdef int recover(Wal* wal, WalReport* report, uint64_t* said) noexcept nogil:
    cdef Directory directory
    cdef Replay replay
    cdef uint64_t highest = 0
    cdef int status
    memset(&directory, 0, sizeof(Directory))
    memset(&replay, 0, sizeof(Replay))
    status = list_segments(wal, &directory, report)
    if status == OK:
        status = look_at(wal, &directory, report, &highest)
    if status == OK:
        status = replay_open(&replay, &wal.groups, report.flushed)
    if status == OK:
        status = replay_segments(wal, &directory, &replay, report, &highest)
    if status == OK:
        status = make_report(wal, &replay, report)
    if status == OK:
        status = adopt_spares(wal, &directory)
    if status == OK:
        if replay.highest > highest:
            highest = replay.highest
        elif highest > replay.highest:
            replay.bad_beyond_proof = True     # a header names WSNs above all that is left
        report.wsn_last = highest
        report.boot += 0 if mutant(b"boot-not-raised") else 1
        wal.boot = report.boot
        wal.next_wsn = highest + 1
        wal.submitted = highest
        store_u64(&wal.flushed, highest)
        # While something above F was not accepted, F must not pass it before the new checkpoint,
        # which holds that verdict, is durable: a crash in between has to judge as we did.
        said[0] = report.flushed if replay.bad_beyond_proof else highest
    replay_close(&replay)
    free(directory.found)
    return status
