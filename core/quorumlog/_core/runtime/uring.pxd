"""The little of io_uring that the log writer needs, by plain system calls.

One ring, one submitting thread, chains of vectored writes that end in an
fdatasync.  Each chain gives exactly one completion: its last operation's, or the
first that failed or fell short (IOSQE_CQE_SKIP_SUCCESS, Linux 5.17).
"""

from quorumlog._core.storage.files cimport iovec

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    URING_PARTS_MAX = 16 * 1024    # of one chain: 16 writes of IOV_MAX parts

cdef struct Uring:
    int fd                         # -1: not open
    void* ring                     # both queues, in one mapping
    size_t ring_bytes
    void* entries
    size_t entries_bytes
    uint32_t* sq_head
    uint32_t* sq_tail
    uint32_t* sq_array
    uint32_t sq_mask
    uint32_t sq_count
    uint32_t* cq_head
    uint32_t* cq_tail
    void* cqes
    uint32_t cq_mask


# 0, or -errno: -ENOSYS, -EPERM, -EACCES or -EOPNOTSUPP where this kernel or its rules don't allow it.
# The ring's descriptor is readable as long as there are completions to take.
cdef int uring_open(Uring* ring) noexcept nogil
# Nothing may be outstanding.
cdef void uring_close(Uring* ring) noexcept nogil
# Submits parts at `offset`, then a sync if asked for.  0, or -errno and nothing was submitted.  The parts
# and what they point at stay until the completion, which carries `token` and whether all was done.
cdef int uring_write(Uring* ring, int fd, const iovec* parts, int count, uint64_t offset, bint sync,
                     uint32_t token) noexcept nogil
# The sync alone.
cdef int uring_sync(Uring* ring, int fd, uint32_t token) noexcept nogil
# No system call.  `result`: 0 all done, > 0 errno of a failure, < 0 a write fell short or wants another try.
cdef bint uring_completed(Uring* ring, uint32_t* token, int* result) noexcept nogil
# Blocks until there is a completion to take.
cdef void uring_wait(Uring* ring) noexcept nogil
