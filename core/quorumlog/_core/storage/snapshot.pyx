"""The bytes of a snapshot, written and read as a stream; see snapshot.pxd.

The header has its room at the beginning and is written last, when the sizes are
known: a file without one is no snapshot, whatever name it has.
"""

from quorumlog._core.base.bytes cimport round_up
from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_IO, ERR_MEMORY, ERR_NOT_FOUND, ERR_USAGE, OK
from quorumlog._core.base.types cimport SNAPSHOT_MEMBERSHIP_BYTES_MAX
from quorumlog._core.storage.files cimport FILE_CREATE, FILE_READ, iovec
from quorumlog._core.storage.segment cimport status_of

from libc.errno cimport EEXIST, ENOENT
from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset, strlen, strncpy

cdef enum:
    SYNC_BYTES = 8 << 20               # at most so much waits in the cache: the log's own syncs stay short
    NUMBER_BITS_MAX = 62


cdef void snapshot_path(const char* directory, group_t group, index_t index, const char* ending,
                        char* out) noexcept nogil:
    snprintf(out, PATH_BYTES_MAX, b"%s/snapshot-%016llx-%016llx.%s", directory, <unsigned long long>group,
             <unsigned long long>index, ending)


cdef uint64_t records_bytes(const SnapshotHeader* header) noexcept nogil:
    return round_up(header.membership_bytes, 8) + round_up(header.sessions_bytes, 8)


cdef uint64_t chunk_count(const SnapshotHeader* header) noexcept nogil:
    return (header.state_bytes + header.chunk_bytes - 1) // header.chunk_bytes


cdef uint64_t file_bytes(const SnapshotHeader* header) noexcept nogil:
    """What the other sizes add up to."""
    cdef uint64_t chunks = chunk_count(header)
    cdef uint64_t rest = header.state_bytes % header.chunk_bytes
    cdef uint64_t data = chunks * header.chunk_bytes
    if rest != 0:
        data -= header.chunk_bytes - round_up(rest, 8)
    return (SNAPSHOT_HEADER_BYTES + records_bytes(header) + chunks * SNAPSHOT_CHUNK_HEADER_BYTES + data
            + SNAPSHOT_FOOTER_BYTES)


cdef bint chunk_bytes_fit(uint32_t chunk_bytes) noexcept nogil:
    return (SNAPSHOT_CHUNK_BYTES_MIN <= chunk_bytes <= SNAPSHOT_CHUNK_BYTES_MAX
            and (chunk_bytes & (chunk_bytes - 1)) == 0)


# Writing ------------------------------------------------------------------------------------------------

cdef int put(SnapshotWriter* writer, const void* data, uint64_t size, uint64_t offset) noexcept nogil:
    cdef iovec part
    cdef int64_t result
    part.iov_base = <void*>data
    part.iov_len = size
    result = writer.files.write(writer.files.self, writer.fd, &part, 1, offset)
    if result < 0:
        return status_of(result)
    if <uint64_t>result != size:
        return ERR_IO
    writer.unsynced_bytes += size
    if writer.unsynced_bytes < SYNC_BYTES:
        return OK
    writer.unsynced_bytes = 0
    return status_of(writer.files.sync(writer.files.self, writer.fd))


cdef int create(Files* files, const char* path, int* fd) noexcept nogil:
    """A file of this name that was left behind is nothing."""
    fd[0] = files.open(files.self, path, FILE_CREATE)
    if fd[0] == -EEXIST:
        files.remove(files.self, path)
        fd[0] = files.open(files.self, path, FILE_CREATE)
    return status_of(fd[0])


cdef int write_records(SnapshotWriter* writer, const SnapshotMeta* meta) noexcept nogil:
    cdef SnapshotHeader* header = &writer.header
    cdef uint64_t size = records_bytes(header)
    cdef uint8_t* records
    cdef int status
    if size == 0:
        header.records_crc = 0
        return OK
    records = <uint8_t*>calloc(1, size)
    if records == NULL:
        return ERR_MEMORY
    memcpy(records, meta.membership, meta.membership_bytes)
    memcpy(records + round_up(meta.membership_bytes, 8), meta.sessions, meta.sessions_bytes)
    header.records_crc = crc32c(0, records, size)
    status = put(writer, records, size, SNAPSHOT_HEADER_BYTES)
    free(records)
    return status


cdef int snapshot_begin(SnapshotWriter* writer, Files* files, const char* directory, const SnapshotMeta* meta,
                        uint32_t chunk_bytes) noexcept nogil:
    cdef SnapshotHeader* header = &writer.header
    cdef int status
    check(sizeof(SnapshotHeader) == SNAPSHOT_HEADER_BYTES and sizeof(SnapshotChunk) == SNAPSHOT_CHUNK_HEADER_BYTES
          and sizeof(SnapshotFooter) == SNAPSHOT_FOOTER_BYTES, b"Q-SNAP-03 a snapshot's structures are its bytes")
    memset(writer, 0, sizeof(SnapshotWriter))
    writer.fd = -1
    if meta.id.index == 0 or meta.membership_bytes > SNAPSHOT_MEMBERSHIP_BYTES_MAX \
            or meta.sessions_bytes > SNAPSHOT_SESSIONS_BYTES_MAX or not chunk_bytes_fit(chunk_bytes) \
            or strlen(directory) > PATH_BYTES_MAX - 64:
        return ERR_USAGE
    writer.files = files
    strncpy(writer.directory, directory, PATH_BYTES_MAX - 1)
    header.magic = SNAPSHOT_MAGIC
    header.version = SNAPSHOT_VERSION
    header.chunk_bytes = chunk_bytes
    header.group = meta.group
    header.index = meta.id.index
    header.term = meta.id.term
    header.writer = meta.id.writer
    header.number = meta.id.number
    header.membership_index = meta.membership_index
    header.membership_bytes = meta.membership_bytes
    header.sessions_bytes = meta.sessions_bytes
    header.log_time_ns = meta.log_time_ns
    writer.chunk = <uint8_t*>malloc(SNAPSHOT_CHUNK_HEADER_BYTES + <uint64_t>chunk_bytes)
    if writer.chunk == NULL:
        return ERR_MEMORY
    snapshot_path(directory, meta.group, meta.id.index, b"making", writer.path)
    status = create(files, writer.path, &writer.fd)
    if status == OK:
        writer.offset = SNAPSHOT_HEADER_BYTES + records_bytes(header)
        status = write_records(writer, meta)
    if status != OK:
        snapshot_abandon(writer)
    return status


cdef int end_chunk(SnapshotWriter* writer) noexcept nogil:
    cdef SnapshotChunk* chunk = <SnapshotChunk*>writer.chunk
    cdef uint32_t padded = <uint32_t>round_up(writer.filled, 8)
    cdef uint64_t size = SNAPSHOT_CHUNK_HEADER_BYTES + padded
    cdef int status
    chunk.bytes = writer.filled
    chunk.offset = writer.header.state_bytes
    memset(writer.chunk + SNAPSHOT_CHUNK_HEADER_BYTES + writer.filled, 0, padded - writer.filled)
    chunk.crc = crc32c(0, writer.chunk + 4, size - 4)
    status = put(writer, writer.chunk, size, writer.offset)
    writer.digest = crc32c(writer.digest, &chunk.crc, 4)
    writer.header.state_bytes += writer.filled
    writer.offset += size
    writer.chunks += 1
    writer.filled = 0
    return status


cdef int snapshot_add(SnapshotWriter* writer, const void* data, uint64_t size) noexcept nogil:
    cdef uint64_t taken = 0
    cdef uint64_t room
    cdef int status
    while taken < size:
        room = writer.header.chunk_bytes - writer.filled
        room = min(room, size - taken)
        memcpy(writer.chunk + SNAPSHOT_CHUNK_HEADER_BYTES + writer.filled, <const uint8_t*>data + taken, room)
        writer.filled += <uint32_t>room
        taken += room
        if writer.filled == writer.header.chunk_bytes:
            status = end_chunk(writer)
            if status != OK:
                return status
    return OK


cdef int write_ends(SnapshotWriter* writer) noexcept nogil:
    """The footer, and the header, which makes a snapshot of it."""
    cdef SnapshotHeader* header = &writer.header
    cdef SnapshotFooter footer
    cdef int status
    header.file_bytes = writer.offset + SNAPSHOT_FOOTER_BYTES
    check2(header.file_bytes == file_bytes(header), b"Q-SNAP-01 the parts of a snapshot add up",
           header.file_bytes, file_bytes(header))
    header.crc = crc32c(0, <const uint8_t*>header + 4, SNAPSHOT_HEADER_BYTES - 4)
    memset(&footer, 0, sizeof(footer))
    footer.magic = SNAPSHOT_END_MAGIC
    footer.state_bytes = header.state_bytes
    footer.chunks = writer.chunks
    footer.digest = writer.digest
    footer.header_crc = header.crc
    footer.crc = crc32c(0, <const uint8_t*>&footer + 4, SNAPSHOT_FOOTER_BYTES - 4)
    status = put(writer, &footer, SNAPSHOT_FOOTER_BYTES, writer.offset)
    if status == OK:
        status = put(writer, header, SNAPSHOT_HEADER_BYTES, 0)
    return status


cdef int snapshot_finish(SnapshotWriter* writer, SnapshotId* id) noexcept nogil:
    cdef char name[PATH_BYTES_MAX]
    cdef Files* files = writer.files
    cdef int status = OK
    if writer.filled != 0:
        status = end_chunk(writer)
    if status == OK:
        status = write_ends(writer)
    if status == OK and not mutant(b"snapshot-not-synced"):
        status = status_of(files.sync(files.self, writer.fd))
    if status == OK:
        snapshot_path(writer.directory, writer.header.group, writer.header.index, b"qlsn", name)
        status = status_of(files.rename(files.self, writer.path, name))
    if status == OK:
        status = status_of(files.sync_directory(files.self, writer.directory))
    if status != OK:
        snapshot_abandon(writer)
        return status
    id.index = writer.header.index
    id.term = writer.header.term
    id.writer = writer.header.writer
    id.number = writer.header.number
    id.file_bytes = writer.header.file_bytes
    close(writer)
    return OK


cdef void close(SnapshotWriter* writer) noexcept nogil:
    if writer.fd >= 0:
        writer.files.close(writer.files.self, writer.fd)
    writer.fd = -1
    free(writer.chunk)
    writer.chunk = NULL


cdef void snapshot_abandon(SnapshotWriter* writer) noexcept nogil:
    cdef bint there = writer.fd >= 0
    close(writer)
    if there:
        writer.files.remove(writer.files.self, writer.path)


# Reading ------------------------------------------------------------------------------------------------

cdef bint header_is_sane(const SnapshotHeader* header, uint64_t size) noexcept nogil:
    """Bytes with a good checksum may still be nonsense; sizes are checked before memory is taken."""
    cdef uint64_t limit = <uint64_t>1 << NUMBER_BITS_MAX
    if header.magic != SNAPSHOT_MAGIC or header.version != SNAPSHOT_VERSION \
            or header.crc != crc32c(0, <const uint8_t*>header + 4, SNAPSHOT_HEADER_BYTES - 4):
        return False
    if not chunk_bytes_fit(header.chunk_bytes) or header.group == 0 or header.index == 0 \
            or header.index > limit or header.term == 0 or header.term > limit \
            or header.membership_index > header.index:
        return False
    if header.membership_bytes > SNAPSHOT_MEMBERSHIP_BYTES_MAX \
            or header.sessions_bytes > SNAPSHOT_SESSIONS_BYTES_MAX or header.state_bytes > size:
        return False
    return header.file_bytes == size and file_bytes(header) == size


cdef int read_at(SnapshotReader* reader, void* data, uint64_t size, uint64_t offset) noexcept nogil:
    cdef int64_t got = reader.files.read(reader.files.self, reader.fd, data, size, offset)
    if got < 0:
        return ERR_IO
    return OK if <uint64_t>got == size else ERR_CORRUPT


cdef int read_records(SnapshotReader* reader) noexcept nogil:
    cdef uint64_t size = records_bytes(&reader.header)
    cdef int status
    reader.records = <uint8_t*>malloc(size + 8)
    reader.chunk = <uint8_t*>malloc(SNAPSHOT_CHUNK_HEADER_BYTES + <uint64_t>reader.header.chunk_bytes)
    if reader.records == NULL or reader.chunk == NULL:
        return ERR_MEMORY
    status = read_at(reader, reader.records, size, SNAPSHOT_HEADER_BYTES)
    if status == OK and crc32c(0, reader.records, size) != reader.header.records_crc:
        return ERR_CORRUPT
    return status


cdef int read_ends(SnapshotReader* reader) noexcept nogil:
    cdef SnapshotFooter footer
    cdef int64_t size = reader.files.size(reader.files.self, reader.fd)
    cdef int status
    if size < 0:
        return ERR_IO
    if size < SNAPSHOT_HEADER_BYTES + SNAPSHOT_FOOTER_BYTES:
        return ERR_CORRUPT
    status = read_at(reader, &reader.header, SNAPSHOT_HEADER_BYTES, 0)
    if status != OK:
        return status
    if not header_is_sane(&reader.header, <uint64_t>size):
        return ERR_CORRUPT
    status = read_at(reader, &footer, SNAPSHOT_FOOTER_BYTES, <uint64_t>size - SNAPSHOT_FOOTER_BYTES)
    if status != OK:
        return status
    if footer.magic != SNAPSHOT_END_MAGIC or footer.header_crc != reader.header.crc \
            or footer.crc != crc32c(0, <const uint8_t*>&footer + 4, SNAPSHOT_FOOTER_BYTES - 4) \
            or footer.state_bytes != reader.header.state_bytes or footer.chunks != chunk_count(&reader.header):
        return ERR_CORRUPT
    return read_records(reader)


cdef int snapshot_open_path(SnapshotReader* reader, Files* files, const char* path) noexcept nogil:
    cdef int status
    memset(reader, 0, sizeof(SnapshotReader))
    reader.files = files
    strncpy(reader.path, path, PATH_BYTES_MAX - 1)
    reader.fd = files.open(files.self, path, FILE_READ)
    if reader.fd < 0:
        return ERR_NOT_FOUND if reader.fd == -ENOENT else ERR_IO
    status = read_ends(reader)
    if status != OK:
        snapshot_close(reader)
        return status
    reader.offset = SNAPSHOT_HEADER_BYTES + records_bytes(&reader.header)
    return OK


cdef int snapshot_open(SnapshotReader* reader, Files* files, const char* directory, group_t group,
                       index_t index) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef int status
    snapshot_path(directory, group, index, b"qlsn", path)
    status = snapshot_open_path(reader, files, path)
    if status == OK and (reader.header.group != group or reader.header.index != index):
        snapshot_close(reader)
        return ERR_CORRUPT             # misdirected: another file's bytes under this name
    return status


cdef void snapshot_close(SnapshotReader* reader) noexcept nogil:
    if reader.fd >= 0:
        reader.files.close(reader.files.self, reader.fd)
    reader.fd = -1
    free(reader.records)
    free(reader.chunk)
    reader.records = NULL
    reader.chunk = NULL


cdef void snapshot_meta(const SnapshotReader* reader, SnapshotMeta* meta) noexcept nogil:
    cdef const SnapshotHeader* header = &reader.header
    memset(meta, 0, sizeof(SnapshotMeta))
    meta.group = header.group
    meta.id.index = header.index
    meta.id.term = header.term
    meta.id.writer = header.writer
    meta.id.number = header.number
    meta.id.file_bytes = header.file_bytes
    meta.log_time_ns = header.log_time_ns
    meta.membership_index = header.membership_index
    meta.membership_bytes = header.membership_bytes
    meta.membership = reader.records
    meta.sessions_bytes = header.sessions_bytes
    meta.sessions = reader.records + round_up(header.membership_bytes, 8)
    meta.state_bytes = header.state_bytes


cdef int end_of_state(const SnapshotReader* reader) noexcept nogil:
    """The digest says that the chunks are those of this file, all of them and in order."""
    cdef SnapshotFooter footer
    cdef int status = read_at(<SnapshotReader*>reader, &footer, SNAPSHOT_FOOTER_BYTES,
                              reader.header.file_bytes - SNAPSHOT_FOOTER_BYTES)
    if status != OK:
        return status
    if footer.digest != reader.digest or footer.chunks != reader.chunks:
        return ERR_CORRUPT
    return ERR_NOT_FOUND


cdef int snapshot_next(SnapshotReader* reader, const uint8_t** data, uint32_t* size) noexcept nogil:
    cdef SnapshotChunk* chunk = <SnapshotChunk*>reader.chunk
    cdef uint64_t left = reader.header.state_bytes - reader.given
    cdef uint32_t expected = <uint32_t>min(left, <uint64_t>reader.header.chunk_bytes)
    cdef uint64_t length = SNAPSHOT_CHUNK_HEADER_BYTES + round_up(expected, 8)
    cdef int status
    check(reader.fd >= 0, b"Q-SNAP-02 only an open snapshot is read")
    if left == 0:
        return end_of_state(reader)
    status = read_at(reader, reader.chunk, length, reader.offset)
    if status != OK:
        return status
    if not mutant(b"chunk-not-verified") and (chunk.bytes != expected or chunk.offset != reader.given
                                              or chunk.crc != crc32c(0, reader.chunk + 4, length - 4)):
        return ERR_CORRUPT
    reader.digest = crc32c(reader.digest, &chunk.crc, 4)
    reader.offset += length
    reader.given += expected
    reader.chunks += 1
    data[0] = reader.chunk + SNAPSHOT_CHUNK_HEADER_BYTES
    size[0] = expected
    return OK


cdef int snapshot_verify(SnapshotReader* reader) noexcept nogil:
    cdef const uint8_t* data = NULL
    cdef uint32_t size = 0
    cdef int status = OK
    while status == OK:
        status = snapshot_next(reader, &data, &size)
    return OK if status == ERR_NOT_FOUND else status
