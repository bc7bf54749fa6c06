"""A disk in memory behind the table of file calls: deterministic, and honest about durability.

What is durable: data and size of a file by a sync of it (or a write through a
synced descriptor), names by a sync of their directory, and nothing else.  A
power cut (disk_cut.pxd) settles the rest; a crash of the process alone is
disk_process_crash.  Faults are asked for beforehand; every changing call can be
recorded, so that a test rebuilds each state a crash could have left.

Single-threaded, no clock, no generator but the one in it.
"""

from quorumlog._core.base.prng cimport Prng
from quorumlog._core.simulation.pages cimport PagedFile
from quorumlog._core.storage.files cimport Files, iovec

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    DISK_PATH_BYTES = 200
    DISK_DESCRIPTORS = 256

# Changing calls: what is counted, recorded, and can be made to fail.
cdef enum DiskOperation:
    DISK_CREATE = 0
    DISK_WRITE = 1
    DISK_SYNC = 2
    DISK_SYNC_DIRECTORY = 3
    DISK_RENAME = 4
    DISK_REMOVE = 5
    DISK_MAKE_DIRECTORY = 6
    DISK_READ = 7              # neither counted nor recorded, but may fail
    DISK_OPERATIONS = 8

cdef struct Inode:
    uint64_t id                # rises from 1, never reused; 0: a directory
    PagedFile content

cdef struct Name:
    char path[DISK_PATH_BYTES]
    uint64_t inode             # 0: a directory

cdef struct Names:
    Name* names
    uint32_t count
    uint32_t capacity

# A change of a directory that is not durable yet.
cdef struct NameChange:
    int operation              # DISK_CREATE, DISK_RENAME, DISK_REMOVE or DISK_MAKE_DIRECTORY
    char path[DISK_PATH_BYTES]
    char target[DISK_PATH_BYTES]
    uint64_t inode

cdef struct Descriptor:
    uint64_t inode             # 0: free
    int mode
    bint locked

cdef struct DiskFault:
    uint64_t after             # so many of the operation succeed first
    int error                  # 0: none; else a positive errno
    bint forever

# A recorded call.  A synced write is recorded as a write and a sync of its range.
cdef struct Recorded:
    int operation
    uint64_t inode
    uint64_t offset
    uint64_t size
    uint8_t* data              # of a write
    char path[DISK_PATH_BYTES]
    char target[DISK_PATH_BYTES]

cdef struct Disk:
    Files files                # self points at this disk
    Prng prng
    Inode** inodes
    uint32_t inode_count
    uint32_t inode_capacity
    uint64_t inode_next
    Names cached               # what calls see
    Names durable              # what is on the platter
    NameChange* changes        # between the two, in order
    uint32_t change_count
    uint32_t change_capacity
    Descriptor descriptors[DISK_DESCRIPTORS]
    uint64_t capacity_bytes    # 0: endless
    DiskFault faults[DISK_OPERATIONS]
    uint64_t operations        # changing calls so far
    uint64_t halt_at           # != 0: from this operation on everything fails with EIO and does nothing
    bint lose_sector           # the next sync loses one and says nothing
    uint64_t names_lost        # changes of names that power cuts took; and sectors that they spoilt
    uint64_t sectors_spoilt
    bint recording
    Recorded* recorded
    uint32_t recorded_count
    uint32_t recorded_capacity


cdef Disk* disk_open(uint64_t seed) noexcept nogil
cdef void disk_close(Disk* disk) noexcept nogil
# The same content, names and durability; no descriptors, faults or records.
cdef Disk* disk_clone(const Disk* disk, uint64_t seed) noexcept nogil
# The process is gone: descriptors and locks are released, the cache stays.
cdef void disk_process_crash(Disk* disk) noexcept nogil
# After `after` more of `operation`, the next one (or all) fail with `error`; error 0 takes the fault back.
cdef void disk_fail(Disk* disk, int operation, uint64_t after, int error, bint forever) noexcept nogil
cdef Inode* disk_inode(const Disk* disk, uint64_t id) noexcept nogil          # NULL: none
cdef Inode* disk_find(const Disk* disk, const char* path) noexcept nogil      # NULL: no such file
# Frees inodes that no name, pending change or descriptor leads to.
cdef void disk_collect(Disk* disk) noexcept nogil
# For a writer that performs write and sync at different times: the write is pending even through a
# synced descriptor, and the sync may be of one range.
cdef int64_t disk_write_pending(Disk* disk, int fd, const iovec* parts, int count,
                                uint64_t offset) noexcept nogil
cdef int disk_sync_range(Disk* disk, int fd, uint64_t offset, uint64_t size) noexcept nogil
# Carries a recorded call out on another disk that has the same inodes.
cdef int disk_replay(Disk* disk, const Recorded* call) noexcept nogil
cdef void disk_forget_record(Disk* disk) noexcept nogil
