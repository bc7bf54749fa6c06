"""Which snapshots a directory holds, and a snapshot that arrives in pieces.

A node keeps the newest snapshot of each group; an older one goes when a newer is
durable.  Who still reads an older one keeps it by its descriptor.
"""

from quorumlog._core.base.types cimport SnapshotId, group_t, index_t
from quorumlog._core.storage.files cimport Files
from quorumlog._core.storage.state cimport PATH_BYTES_MAX

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    SNAPSHOTS_LISTED_MAX = 16          # of one group; there are two or three

# The indexes of a group's snapshots, the newest first.
cdef struct SnapshotList:
    group_t group
    uint32_t count
    index_t indexes[SNAPSHOTS_LISTED_MAX]

# A snapshot that comes in from a peer: the bytes of its file, from the beginning on.
cdef struct SnapshotInflow:
    Files* files
    char directory[PATH_BYTES_MAX]
    char path[PATH_BYTES_MAX]
    group_t group
    SnapshotId id
    int fd                             # -1: nothing is coming in
    uint64_t written
    uint64_t unsynced_bytes


# OK or ERR_IO.  `list.group` says whose.
cdef int snapshots_list(Files* files, const char* directory, group_t group, SnapshotList* found) noexcept nogil
# Removes what was left behind half-way.  When a directory is opened.
cdef int snapshots_clean(Files* files, const char* directory) noexcept nogil
# Removes a group's snapshots older than `index`, which is durable.
cdef void snapshots_drop_older(Files* files, const char* directory, group_t group, index_t index) noexcept nogil
# Removes one whose bytes are bad.
cdef void snapshots_drop(Files* files, const char* directory, group_t group, index_t index) noexcept nogil

cdef void inflow_open(SnapshotInflow* inflow, Files* files, const char* directory, group_t group) noexcept nogil
# The bytes at `offset` of the file `id`.  At 0 a new file begins, whatever came in before; else they continue
# (`offset` is what is written).  OK; ERR_USAGE: they don't; ERR_IO or ERR_NO_SPACE.
cdef int inflow_add(SnapshotInflow* inflow, const SnapshotId* id, uint64_t offset, const void* data,
                    uint64_t size) noexcept nogil
# All of it is there: verified as a whole, made durable under its name.  OK; ERR_CORRUPT: it is not what was
# announced, and is gone; ERR_IO or ERR_NO_SPACE.  Nothing is coming in any more.
cdef int inflow_finish(SnapshotInflow* inflow) noexcept nogil
cdef void inflow_close(SnapshotInflow* inflow) noexcept nogil
