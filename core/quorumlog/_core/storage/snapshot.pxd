"""Snapshots: the state of a group behind one entry, in a file beside the log (docs/format.md 9).

A file appears under its name only when all of it is durable, so whatever has the
name is whole, or was damaged later, which its checksums say.  It is written and
read as a stream: no part of it but the sessions needs to fit into memory.

Whoever calls waits for the disk, so never the reactor; a writer or reader belongs
to one thread.  Different ones of different groups work side by side.
"""

from quorumlog._core.base.types cimport SnapshotId, group_t, index_t, node_t
from quorumlog._core.storage.files cimport Files
from quorumlog._core.storage.state cimport PATH_BYTES_MAX

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    SNAPSHOT_MAGIC = 0x4E534C51        # QLSN
    SNAPSHOT_END_MAGIC = 0x45534C51    # QLSE
    SNAPSHOT_VERSION = 1

cdef enum:
    SNAPSHOT_HEADER_BYTES = 128
    SNAPSHOT_CHUNK_HEADER_BYTES = 16
    SNAPSHOT_FOOTER_BYTES = 32
    SNAPSHOT_CHUNK_BYTES = 256 << 10   # of the state in each chunk but the last, as written here
    SNAPSHOT_CHUNK_BYTES_MIN = 64
    SNAPSHOT_CHUNK_BYTES_MAX = 1 << 20
    SNAPSHOT_SESSIONS_BYTES_MAX = 64 << 20

cdef struct SnapshotHeader:
    uint32_t crc                       # of the bytes 4 to 127
    uint32_t magic
    uint32_t version
    uint32_t chunk_bytes
    group_t group
    index_t index
    uint64_t term
    node_t writer
    uint64_t number
    index_t membership_index
    uint32_t membership_bytes
    uint32_t records_crc               # of both records with their padding
    uint64_t sessions_bytes
    uint64_t state_bytes
    uint64_t file_bytes
    uint64_t log_time_ns
    uint64_t reserved[3]

cdef struct SnapshotChunk:
    uint32_t crc                       # of the bytes 4 to 15, the data and its padding
    uint32_t bytes
    uint64_t offset                    # in the state

cdef struct SnapshotFooter:
    uint32_t crc                       # of the bytes 4 to 31
    uint32_t magic
    uint64_t state_bytes
    uint64_t chunks
    uint32_t digest                    # of the chunks' checksums in a row
    uint32_t header_crc

# What a snapshot says beside the state.  `id.file_bytes` is not known before it is written.
cdef struct SnapshotMeta:
    group_t group
    SnapshotId id
    uint64_t log_time_ns               # leader_time_ns of the newest batch in it
    index_t membership_index           # of the membership record in force; 0, and no bytes: none was ever made
    uint32_t membership_bytes
    const uint8_t* membership
    uint64_t sessions_bytes
    const uint8_t* sessions
    uint64_t state_bytes

cdef struct SnapshotWriter:
    Files* files
    char directory[PATH_BYTES_MAX]
    char path[PATH_BYTES_MAX]          # its temporary name
    SnapshotHeader header
    int fd                             # -1: none
    uint8_t* chunk                     # header and data of the one being filled
    uint32_t filled
    uint64_t offset                    # of that chunk in the file
    uint64_t chunks
    uint32_t digest
    uint64_t unsynced_bytes

cdef struct SnapshotReader:
    Files* files
    char path[PATH_BYTES_MAX]
    int fd                             # -1: closed
    SnapshotHeader header
    uint8_t* records                   # membership, then sessions, each padded
    uint8_t* chunk
    uint64_t offset                    # of the next chunk in the file
    uint64_t given                     # of the state
    uint64_t chunks
    uint32_t digest


# Begins a file under a temporary name.  `chunk_bytes` is a power of two within its bounds.  What `meta` points at is
# needed no longer when this returns.  OK, ERR_USAGE, ERR_MEMORY, ERR_IO or ERR_NO_SPACE; after an error there is
# nothing to abandon.
cdef int snapshot_begin(SnapshotWriter* writer, Files* files, const char* directory, const SnapshotMeta* meta,
                        uint32_t chunk_bytes) noexcept nogil
# More of the state.  OK, ERR_IO or ERR_NO_SPACE; after an error, abandon it.
cdef int snapshot_add(SnapshotWriter* writer, const void* data, uint64_t size) noexcept nogil
# The state ends here.  OK: durable under its name, with the directory; `id` says which it is.  Closes in any case.
cdef int snapshot_finish(SnapshotWriter* writer, SnapshotId* id) noexcept nogil
cdef void snapshot_abandon(SnapshotWriter* writer) noexcept nogil

# Opens a group's snapshot and checks all of it but the chunks.  OK, ERR_NOT_FOUND, ERR_CORRUPT, ERR_IO, ERR_MEMORY.
cdef int snapshot_open(SnapshotReader* reader, Files* files, const char* directory, group_t group,
                       index_t index) noexcept nogil
# The same of a file by its path, whatever it is of.
cdef int snapshot_open_path(SnapshotReader* reader, Files* files, const char* path) noexcept nogil
cdef void snapshot_close(SnapshotReader* reader) noexcept nogil
# As long as it is open.
cdef void snapshot_meta(const SnapshotReader* reader, SnapshotMeta* meta) noexcept nogil
# The next chunk of the state, verified; valid until the next call.  OK; ERR_NOT_FOUND: that was all of it, and it
# is what was written; ERR_CORRUPT or ERR_IO.
cdef int snapshot_next(SnapshotReader* reader, const uint8_t** data, uint32_t* size) noexcept nogil
# Reads all of it.  OK, ERR_CORRUPT or ERR_IO.
cdef int snapshot_verify(SnapshotReader* reader) noexcept nogil

# `<directory>/snapshot-<group>-<index>.<ending>` into a room of PATH_BYTES_MAX.
cdef void snapshot_path(const char* directory, group_t group, index_t index, const char* ending,
                        char* out) noexcept nogil
