"""Background scrub, one record at a time; see scrub.pxd."""

from quorumlog._core.base.bytes cimport round_up
from quorumlog._core.base.status cimport ERR_AGAIN, ERR_CORRUPT, ERR_IO, ERR_MEMORY, OK
from quorumlog._core.base.types cimport BATCH_BODY_BYTES_MAX, BLOCK_BYTES
from quorumlog._core.storage.batch cimport Batch, batch_drop, pool_close, pool_open
from quorumlog._core.storage.files cimport FILE_DIRECT, FILE_READ
from quorumlog._core.storage.format cimport RECORD_COPY, kind_has_entries
from quorumlog._core.storage.scan cimport RECORD_VALID, Item, footer_load, record_parse, segment_path
from quorumlog._core.storage.state cimport PATH_BYTES_MAX, lock, unlock
from quorumlog._core.storage.wal cimport wal_read

from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memset

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void** out, size_t alignment, size_t size)


cdef int scrub_open(Scrub* scrub, Wal* wal) noexcept nogil:
    memset(scrub, 0, sizeof(Scrub))
    scrub.wal = wal
    scrub.fd = -1
    scrub.pool = pool_open(2 * <uint64_t>BATCH_BODY_BYTES_MAX)
    return OK if scrub.pool != NULL else ERR_MEMORY


cdef void end_segment(Scrub* scrub) noexcept nogil:
    if scrub.fd >= 0:
        scrub.wal.files.close(scrub.wal.files.self, scrub.fd)
    free(scrub.entries)
    scrub.fd = -1
    scrub.entries = NULL
    scrub.entry_count = 0
    scrub.position = 0


cdef void scrub_close(Scrub* scrub) noexcept nogil:
    end_segment(scrub)
    free(scrub.buffer)
    scrub.buffer = NULL
    if scrub.pool != NULL:
        pool_close(scrub.pool)
    scrub.pool = NULL


cdef void scrub_restart(Scrub* scrub) noexcept nogil:
    end_segment(scrub)
    scrub.segment = 0


cdef uint64_t next_sealed(Scrub* scrub) noexcept nogil:
    """The oldest segment behind the last one that is sealed, with its index in its footer; 0: none."""
    cdef Wal* wal = scrub.wal
    cdef uint64_t id = 0
    cdef uint32_t i
    lock(&wal.state_mutex)
    for i in range(wal.segment_count):
        if wal.segments[i].id > scrub.segment and wal.segments[i].footer_done:
            id = wal.segments[i].id
            break
    unlock(&wal.state_mutex)
    return id


cdef int begin_segment(Scrub* scrub) noexcept nogil:
    cdef Wal* wal = scrub.wal
    cdef char path[PATH_BYTES_MAX]
    cdef uint64_t id = next_sealed(scrub)
    cdef uint64_t wsn = 0
    cdef uint64_t boot = 0
    cdef int64_t size
    if id == 0:
        return ERR_AGAIN
    scrub.segment = id
    segment_path(wal.path, id, path)
    scrub.fd = wal.files.open(wal.files.self, path, FILE_READ | FILE_DIRECT)
    if scrub.fd < 0:
        scrub.fd = wal.files.open(wal.files.self, path, FILE_READ)
    if scrub.fd < 0:
        return OK                      # dropped meanwhile: the next one
    size = wal.files.size(wal.files.self, scrub.fd)
    if size <= 0 or footer_load(wal.files, wal.path, id, &scrub.entries, &scrub.entry_count, &wsn, &boot) != OK:
        end_segment(scrub)
        return OK                      # without its index a segment is judged at the next recovery
    scrub.file_bytes = <uint64_t>size
    return OK


cdef bint room_for(Scrub* scrub, uint64_t size) noexcept nogil:
    cdef void* memory = NULL
    if size <= scrub.buffer_bytes:
        return True
    free(scrub.buffer)
    scrub.buffer = NULL
    scrub.buffer_bytes = 0
    if posix_memalign(&memory, BLOCK_BYTES, size) != 0:
        return False
    scrub.buffer = <uint8_t*>memory
    scrub.buffer_bytes = size
    return True


cdef bint reads_well(Scrub* scrub, const FooterEntry* entry) noexcept nogil:
    cdef Wal* wal = scrub.wal
    cdef uint64_t first = entry.offset & ~<uint64_t>(BLOCK_BYTES - 1)
    cdef uint64_t size = round_up(<uint64_t>entry.offset + entry.length, BLOCK_BYTES) - first
    cdef Item item
    if not room_for(scrub, size):
        return True                    # no memory for a look: in the next pass
    if wal.files.read(wal.files.self, scrub.fd, scrub.buffer, size, first) != <int64_t>size:
        return False
    return record_parse(scrub.buffer + (entry.offset - first), scrub.segment, entry.offset, entry.length,
                        &item) == RECORD_VALID \
        and item.event.wsn == entry.wsn and item.event.group == entry.group and item.event.first == entry.first


cdef bint is_lost(Scrub* scrub, const FooterEntry* entry) noexcept nogil:
    """Whether the log still counts on the record: the second look, as any cold read would have it."""
    cdef Batch* batch = NULL
    cdef int status = wal_read(scrub.wal, entry.group, entry.first, scrub.pool, &batch)
    if status == OK:
        batch_drop(batch)              # superseded or repaired; or well at a second reading
    return status == ERR_CORRUPT or status == ERR_IO


cdef int scrub_step(Scrub* scrub, uint64_t* read_bytes, ScrubFault* fault) noexcept nogil:
    cdef const FooterEntry* entry
    if scrub.fd < 0:
        return begin_segment(scrub)
    if scrub.position == scrub.entry_count:
        end_segment(scrub)
        return OK
    entry = &scrub.entries[scrub.position]
    scrub.position += 1
    if not kind_has_entries(entry.kind) or (entry.flags & RECORD_COPY) \
            or entry.offset + <uint64_t>entry.length > scrub.file_bytes:
        return OK
    read_bytes[0] += entry.length
    if reads_well(scrub, entry) or not is_lost(scrub, entry):
        return OK
    fault.group = entry.group
    fault.first = entry.first
    fault.last = entry.first + entry.count - 1
    return ERR_CORRUPT
