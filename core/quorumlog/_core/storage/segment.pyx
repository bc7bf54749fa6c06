"""Segments: their table, what each holds, and the files made ready ahead of use.

A file is ready when every block of it was written once and it is durable with its
directory: overwriting such blocks costs half of what appending costs.  Retired head
segments are renamed and used again as they are; what they hold names other ids.
"""

from quorumlog._core.base.atomics cimport load_u64
from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_AGAIN, ERR_IO, ERR_MEMORY, ERR_NO_SPACE, OK
from quorumlog._core.storage.files cimport (FILE_CREATE, FILE_DIRECT, FILE_SYNCED, FILE_WRITE, iovec)
from quorumlog._core.storage.format cimport RECORD_COPY, RECORD_MOVED, kind_has_entries
from quorumlog._core.storage.groups cimport groups_expire, groups_find
from quorumlog._core.storage.scan cimport segment_path
from quorumlog._core.storage.state cimport (PATH_BYTES_MAX, SPARES_MAX, SegmentGroup, Spares, WalGroup, lock,
                                            unlock)

from libc.errno cimport EDQUOT, EEXIST, ENOSPC
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove

cdef enum:
    STEP_BYTES = 1 << 20
    SPARES_LOW = 2                 # fewer ready: one is wanted whatever else the disk has to do
    LULL_BYTES = 256 << 10         # written between two looks of the preparing thread


cdef int status_of(int64_t result) noexcept nogil:
    if result >= 0:
        return OK
    return ERR_NO_SPACE if result == -ENOSPC or result == -EDQUOT else ERR_IO


cdef Segment* segment_add(Wal* wal, uint64_t id, uint64_t bytes) noexcept nogil:
    cdef uint32_t capacity
    cdef void* memory
    cdef Segment* segment
    check2(wal.segment_count == 0 or wal.segments[wal.segment_count - 1].id < id,
           b"Q-SEGMENT-01 segment ids rise", <long long>id, wal.segment_count)
    if wal.segment_count == wal.segment_capacity:
        capacity = 16 if wal.segment_capacity == 0 else wal.segment_capacity * 2
        memory = realloc(wal.segments, capacity * sizeof(Segment*))
        if memory == NULL:
            return NULL
        wal.segments = <Segment**>memory
        wal.segment_capacity = capacity
    segment = <Segment*>calloc(1, sizeof(Segment))
    if segment == NULL:
        return NULL
    segment.id = id
    segment.bytes = bytes
    segment.fd = -1
    segment.direct_fd = -1
    wal.segments[wal.segment_count] = segment
    wal.segment_count += 1
    return segment


cdef void segment_free(Wal* wal, Segment* segment) noexcept nogil:
    segment.writes = 0
    segment.sealed = True
    segment_rest(wal, segment)
    free(segment.summary)
    free(segment.entries)
    free(segment)


cdef void segment_rest(Wal* wal, Segment* segment) noexcept nogil:
    if segment.writes > 0 or not segment.sealed:
        return
    if segment.fd >= 0:
        wal.files.close(wal.files.self, segment.fd)
    if segment.direct_fd >= 0:
        wal.files.close(wal.files.self, segment.direct_fd)
    segment.fd = -1
    segment.direct_fd = -1


cdef int segment_summarise(Segment* segment, group_t group, index_t first, index_t last, uint64_t bytes,
                           bint moved) noexcept nogil:
    cdef SegmentGroup* summary = NULL
    cdef uint32_t i = segment.summary_count
    cdef uint32_t capacity
    cdef void* memory
    while i > 0:
        i -= 1
        if segment.summary[i].group == group:
            summary = &segment.summary[i]
            break
    if summary == NULL:
        if segment.summary_count == segment.summary_capacity:
            capacity = 4 if segment.summary_capacity == 0 else segment.summary_capacity * 2
            memory = realloc(segment.summary, capacity * sizeof(SegmentGroup))
            if memory == NULL:
                return ERR_MEMORY
            segment.summary = <SegmentGroup*>memory
            segment.summary_capacity = capacity
        summary = &segment.summary[segment.summary_count]
        segment.summary_count += 1
        summary.group = group
        summary.first = first
        summary.last = last
        summary.bytes = 0
        summary.moved = False
    if first < summary.first:
        summary.first = first
    if last > summary.last:
        summary.last = last
    summary.bytes += bytes
    if moved:
        summary.moved = True
    return OK


cdef int segment_note(Segment* segment, const FooterEntry* entry) noexcept nogil:
    cdef uint32_t capacity
    cdef void* memory
    if segment.entry_count == segment.entry_capacity:
        capacity = 1024 if segment.entry_capacity == 0 else segment.entry_capacity * 2
        memory = realloc(segment.entries, capacity * sizeof(FooterEntry))
        if memory == NULL:
            return ERR_MEMORY
        segment.entries = <FooterEntry*>memory
        segment.entry_capacity = capacity
    segment.entries[segment.entry_count] = entry[0]
    segment.entry_count += 1
    if entry.wsn > segment.last_wsn:
        segment.last_wsn = entry.wsn
    if kind_has_entries(entry.kind) and (entry.flags & RECORD_COPY) == 0:
        return segment_summarise(segment, entry.group, entry.first, entry.first + entry.count - 1,
                                 entry.length, (entry.flags & RECORD_MOVED) != 0)
    return OK


# Spares ------------------------------------------------------------------------------------------

cdef void push_spare(Wal* wal, uint64_t id) noexcept nogil:
    cdef Spares* spares = &wal.spares
    lock(&wal.spare_mutex)
    check(spares.count < SPARES_MAX, b"Q-SEGMENT-02 spares are bounded")
    check2(spares.count == 0 or spares.ids[spares.count - 1] < id, b"Q-SEGMENT-03 spares rise",
           <long long>id, spares.count)
    spares.ids[spares.count] = id
    spares.count += 1
    unlock(&wal.spare_mutex)


cdef uint32_t spares_ready(Wal* wal) noexcept nogil:
    cdef uint32_t count
    lock(&wal.spare_mutex)
    count = wal.spares.count
    unlock(&wal.spare_mutex)
    return count


cdef bint spares_can_wait(Wal* wal, uint64_t* seen_bytes) noexcept nogil:
    cdef uint64_t before = seen_bytes[0]
    seen_bytes[0] = load_u64(&wal.bytes_written)
    return (spares_ready(wal) >= min(wal.spare_segments, <uint32_t>SPARES_LOW)
            and seen_bytes[0] - before >= LULL_BYTES)


cdef int start_preparing(Wal* wal) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef Spares* spares = &wal.spares
    cdef int direct_fd
    cdef int fd
    segment_path(wal.path, spares.next_id, path)
    fd = wal.files.open(wal.files.self, path, FILE_CREATE)
    if fd == -EEXIST:
        spares.next_id += 1
        return OK
    if fd < 0:
        return status_of(fd)
    if wal.direct:
        # Zeros need no copy in the page cache: there they cost thirty times the processor time.
        direct_fd = wal.files.open(wal.files.self, path, FILE_WRITE | FILE_DIRECT)
        if direct_fd >= 0:
            wal.files.close(wal.files.self, fd)
            fd = direct_fd
    spares.preparing_fd = fd
    spares.preparing_id = spares.next_id
    spares.preparing_bytes = 0
    spares.next_id += 1
    return OK


cdef int abandon_preparing(Wal* wal, int64_t result) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    wal.files.close(wal.files.self, wal.spares.preparing_fd)
    wal.spares.preparing_fd = -1
    segment_path(wal.path, wal.spares.preparing_id, path)
    wal.files.remove(wal.files.self, path)
    return status_of(result)


cdef int continue_preparing(Wal* wal) noexcept nogil:
    cdef Spares* spares = &wal.spares
    cdef iovec part
    cdef int64_t result
    if spares.preparing_bytes < wal.segment_bytes:
        part.iov_base = spares.zeros
        part.iov_len = STEP_BYTES
        if wal.segment_bytes - spares.preparing_bytes < STEP_BYTES:
            part.iov_len = wal.segment_bytes - spares.preparing_bytes
        result = wal.files.write(wal.files.self, spares.preparing_fd, &part, 1, spares.preparing_bytes)
        if result < 0:
            return abandon_preparing(wal, result)
        spares.preparing_bytes += part.iov_len
        return OK
    result = 0 if mutant(b"spare-not-synced") else wal.files.sync(wal.files.self, spares.preparing_fd)
    if result < 0:
        return abandon_preparing(wal, result)
    wal.files.close(wal.files.self, spares.preparing_fd)
    spares.preparing_fd = -1
    result = 0 if mutant(b"directory-not-synced") else wal.files.sync_directory(wal.files.self, wal.path)
    if result < 0:
        return status_of(result)
    push_spare(wal, spares.preparing_id)
    return OK


cdef int reuse_retired(Wal* wal, uint64_t id, bint wanted) noexcept nogil:
    """One at a time and each made durable: head segments must vanish oldest first."""
    cdef char source[PATH_BYTES_MAX]
    cdef char target[PATH_BYTES_MAX]
    cdef Spares* spares = &wal.spares
    cdef int64_t result
    cdef int fd
    segment_path(wal.path, id, source)
    if wanted:
        fd = wal.files.open(wal.files.self, source, FILE_WRITE)
        wanted = fd >= 0 and wal.files.size(wal.files.self, fd) == <int64_t>wal.segment_bytes
        if fd >= 0:
            wal.files.close(wal.files.self, fd)
    if wanted:
        segment_path(wal.path, spares.next_id, target)
        result = wal.files.rename(wal.files.self, source, target)
    else:
        result = wal.files.remove(wal.files.self, source)
    if result >= 0:
        result = wal.files.sync_directory(wal.files.self, wal.path)
    if result < 0:
        return status_of(result)
    if wanted:
        push_spare(wal, spares.next_id)
        spares.next_id += 1
    return OK


cdef int spares_step(Wal* wal) noexcept nogil:
    """With prepare_mutex held."""
    cdef Spares* spares = &wal.spares
    cdef uint64_t retired = 0
    cdef bint wanted
    cdef int status
    lock(&wal.spare_mutex)
    wanted = spares.count < wal.spare_segments
    if spares.retired_count > 0 and spares.preparing_fd < 0:
        retired = spares.retired[0]
    unlock(&wal.spare_mutex)
    if retired != 0:
        status = reuse_retired(wal, retired, wanted)
        if status == OK:
            lock(&wal.spare_mutex)
            spares.retired_count -= 1
            memmove(&spares.retired[0], &spares.retired[1], spares.retired_count * sizeof(uint64_t))
            unlock(&wal.spare_mutex)
        return status
    if spares.preparing_fd >= 0:
        return continue_preparing(wal)
    if wanted:
        return start_preparing(wal)
    return ERR_AGAIN


cdef int take_spare(Wal* wal, uint64_t* id) noexcept nogil:
    cdef Spares* spares = &wal.spares
    cdef int status = OK
    cdef bint found = False
    while status == OK:
        lock(&wal.spare_mutex)
        if spares.count > 0:
            id[0] = spares.ids[0]
            spares.count -= 1
            memmove(&spares.ids[0], &spares.ids[1], spares.count * sizeof(uint64_t))
            found = True
        unlock(&wal.spare_mutex)
        if found:
            return OK
        # None is ready: this thread makes one, or finishes the one under way.
        lock(&wal.prepare_mutex)
        if spares.count == 0:
            status = continue_preparing(wal) if spares.preparing_fd >= 0 else start_preparing(wal)
        unlock(&wal.prepare_mutex)
    return status


cdef int segment_begin(Wal* wal) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef Segment* segment
    cdef uint64_t id = 0
    cdef int fd
    cdef int status = take_spare(wal, &id)
    if status != OK:
        return status
    segment_path(wal.path, id, path)
    fd = wal.files.open(wal.files.self, path, FILE_WRITE)
    if fd < 0:
        return status_of(fd)
    segment = segment_add(wal, id, wal.segment_bytes)
    if segment == NULL:
        wal.files.close(wal.files.self, fd)
        return ERR_MEMORY
    segment.fd = fd
    if wal.direct:
        fd = wal.files.open(wal.files.self, path, FILE_WRITE | FILE_DIRECT | FILE_SYNCED)
        segment.direct_fd = fd if fd >= 0 else -1
    wal.active = segment
    return OK


# The head -------------------------------------------------------------------------------------------

cdef bint head_is_needed(Wal* wal, const Segment* head) noexcept nogil:
    cdef WalGroup* group
    cdef uint64_t flushed = load_u64(&wal.flushed)
    cdef uint32_t i
    if head.moved_away:
        return False
    for i in range(head.summary_count):
        group = groups_find(&wal.groups, head.summary[i].group)
        if group == NULL or (group.dropped_wsn != 0 and group.dropped_wsn <= flushed
                             and not group.planned.live):
            continue
        if head.summary[i].last >= group.durable_first:
            return True
    return False


cdef uint32_t next_checkpoint(Wal* wal) noexcept nogil:
    """How many segments lie before the next one, behind the head, that begins with a durable checkpoint;
    0: none does.  A power cut can leave a segment without one: its data went to the disk first."""
    cdef uint32_t i
    for i in range(1, wal.segment_count):
        if wal.segments[i].checkpoint_done or mutant(b"checkpoint-not-awaited"):
            return i
    return 0


cdef bint are_dead(Wal* wal, uint32_t count) noexcept nogil:
    cdef uint64_t flushed = load_u64(&wal.flushed)
    cdef const Segment* segment
    cdef uint32_t i
    for i in range(count):
        segment = wal.segments[i]
        if segment.writes > 0 or not segment.sealed or segment.last_wsn > flushed \
                or head_is_needed(wal, segment):
            return False
    return count > 0


cdef bint give_back(Wal* wal, uint32_t count) noexcept nogil:
    """To the preparing thread; False if it has too many already."""
    cdef Spares* spares = &wal.spares
    cdef bint room
    cdef uint32_t i
    lock(&wal.spare_mutex)
    room = spares.retired_count + count <= SPARES_MAX * 4
    if room:
        for i in range(count):
            spares.retired[spares.retired_count + i] = wal.segments[i].id
        spares.retired_count += count
    unlock(&wal.spare_mutex)
    return room


cdef void segments_retire(Wal* wal) noexcept nogil:
    """With state_mutex held.  Rule 7: a head segment goes only after the next one's checkpoint and
    the compact records are flushed; with it go segments behind it that have no checkpoint, or not at all."""
    cdef uint32_t count = next_checkpoint(wal)
    cdef uint32_t i
    cdef wsn_t gone = 0
    while are_dead(wal, count) and give_back(wal, count):
        gone = wal.segments[count - 1].last_wsn
        for i in range(count):
            segment_free(wal, wal.segments[i])
        wal.segment_count -= count
        memmove(wal.segments, wal.segments + count, wal.segment_count * sizeof(Segment*))
        count = next_checkpoint(wal)
    if gone != 0:
        groups_expire(&wal.groups, gone)


cdef uint64_t segments_group_bytes(Wal* wal, group_t group, index_t first) noexcept nogil:
    cdef const SegmentGroup* summary
    cdef uint64_t total = 0
    cdef index_t begin
    cdef uint32_t i, k
    lock(&wal.state_mutex)
    for i in range(wal.segment_count):
        for k in range(wal.segments[i].summary_count):
            summary = &wal.segments[i].summary[k]
            if summary.group == group and summary.last >= first:
                begin = max(summary.first, first)
                total += <uint64_t>(<double>summary.bytes * <double>(summary.last - begin + 1)
                                    / <double>(summary.last - summary.first + 1))
    unlock(&wal.state_mutex)
    return total
