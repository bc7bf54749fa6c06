"""io_uring by three system calls and two shared queues (io_uring(7)).

The kernel reads the submission queue only within io_uring_enter, as there is no
polling thread; so what it did not take can be taken back.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memset

from quorumlog._core.base.checks cimport check2

cdef extern from *:
    """
    #include <errno.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    #if defined(__linux__) && __has_include(<linux/io_uring.h>)
    #include <linux/io_uring.h>
    #endif
    #if defined(IORING_OFF_SQES) && defined(IORING_FEAT_SINGLE_MMAP) && defined(SYS_io_uring_setup)
    /* Newer than some headers; the kernel is asked at run time. */
    #ifndef IORING_FEAT_CQE_SKIP
    #define IORING_FEAT_CQE_SKIP (1U << 11)
    #endif
    #ifndef IOSQE_CQE_SKIP_SUCCESS
    #define IOSQE_CQE_SKIP_SUCCESS (1U << 6)
    #endif

    static int ql_uring_register(int fd, unsigned opcode, void *argument, unsigned count) {
        return syscall(SYS_io_uring_register, fd, opcode, argument, count) < 0 ? -errno : 0;
    }

    static int ql_uring_enter(int fd, unsigned submit, unsigned wait) {
        int result;
        do {
            result = (int)syscall(SYS_io_uring_enter, fd, submit, wait, wait ? IORING_ENTER_GETEVENTS : 0,
                                  NULL, 0);
        } while (result < 0 && errno == EINTR);
        return result < 0 ? -errno : result;
    }

    static int ql_uring_has_operations(int fd) {
        union { struct io_uring_probe probe; char room[sizeof(struct io_uring_probe)
                                                       + 64 * sizeof(struct io_uring_probe_op)]; } u;
        memset(&u, 0, sizeof(u));
        if (ql_uring_register(fd, IORING_REGISTER_PROBE, &u.probe, 64) < 0) return 0;
        return u.probe.last_op >= IORING_OP_FSYNC
            && (u.probe.ops[IORING_OP_WRITEV].flags & IO_URING_OP_SUPPORTED)
            && (u.probe.ops[IORING_OP_FSYNC].flags & IO_URING_OP_SUPPORTED);
    }

    static int ql_uring_setup(unsigned entries, struct io_uring_params *params) {
        memset(params, 0, sizeof(*params));
        int fd = (int)syscall(SYS_io_uring_setup, entries, params);
        if (fd < 0) return -errno;
        const unsigned needed = IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE
                              | IORING_FEAT_CQE_SKIP;
        if ((params->features & needed) != needed || !ql_uring_has_operations(fd)) {
            close(fd);
            return -EOPNOTSUPP;
        }
        return fd;
    }

    static void *ql_uring_map(int fd, size_t size, long long offset) {
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, (off_t)offset);
        if (p == MAP_FAILED) return NULL;
        madvise(p, size, MADV_DONTFORK);
        return p;
    }

    static void ql_uring_prepare(struct io_uring_sqe *sqe, int opcode, int fd, const void *address,
                                 unsigned length, unsigned long long offset, unsigned fsync_flags,
                                 unsigned flags, unsigned long long data) {
        memset(sqe, 0, sizeof(*sqe));
        sqe->opcode = (unsigned char)opcode;
        sqe->fd = fd;
        sqe->addr = (unsigned long long)(uintptr_t)address;
        sqe->len = length;
        sqe->off = offset;
        sqe->fsync_flags = fsync_flags;
        sqe->flags = (unsigned char)flags;
        sqe->user_data = data;
    }
    #else
    #error "quorumlog is built with Linux headers of 5.4 or later (linux/io_uring.h)"
    #endif
    static inline unsigned ql_uring_load(const unsigned *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
    static inline void ql_uring_store(unsigned *p, unsigned x) { __atomic_store_n(p, x, __ATOMIC_RELEASE); }
    """
    cdef struct SqOffsets "io_sqring_offsets":
        uint32_t head, tail, ring_mask, ring_entries, array
    cdef struct CqOffsets "io_cqring_offsets":
        uint32_t head, tail, ring_mask, ring_entries, cqes
    cdef struct Params "io_uring_params":
        uint32_t sq_entries, cq_entries
        SqOffsets sq_off
        CqOffsets cq_off
    cdef struct SubmissionEntry "io_uring_sqe":
        pass
    cdef struct CompletionEntry "io_uring_cqe":
        uint64_t user_data
        int32_t res
    int setup "ql_uring_setup"(uint32_t entries, Params* params) noexcept nogil
    int enter "ql_uring_enter"(int fd, uint32_t submit, uint32_t wait) noexcept nogil
    void* map_ "ql_uring_map"(int fd, size_t size, long long offset) noexcept nogil
    void prepare "ql_uring_prepare"(SubmissionEntry* sqe, int opcode, int fd, const void* address,
                                    uint32_t length, uint64_t offset, uint32_t fsync_flags, uint32_t flags,
                                    uint64_t data) noexcept nogil
    uint32_t load_shared "ql_uring_load"(const uint32_t*) noexcept nogil
    void store_shared "ql_uring_store"(uint32_t*, uint32_t) noexcept nogil
    enum:
        IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_FSYNC_DATASYNC
        IOSQE_IO_LINK, IOSQE_ASYNC, IOSQE_CQE_SKIP_SUCCESS
        IORING_OFF_SQ_RING, IORING_OFF_SQES

cdef extern from "<errno.h>" nogil:
    enum:
        EAGAIN, ECANCELED, EINTR, ENOMEM, EBUSY, E2BIG

cdef extern from "<sys/mman.h>" nogil:
    int munmap(void* address, size_t size)

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)

cdef enum:
    ENTRIES = 64                   # two chains of at most 17 operations
    PARTS_PER_WRITE = 1024         # IOV_MAX on Linux
    ASYNC_BYTES = 256 << 10        # from here on the copying is left to a worker of the kernel


cdef int uring_open(Uring* ring) noexcept nogil:
    cdef Params params
    cdef size_t cq_bytes
    cdef int result
    memset(ring, 0, sizeof(Uring))
    ring.fd = setup(ENTRIES, &params)
    if ring.fd < 0:
        result = ring.fd
        ring.fd = -1
        return result
    ring.ring_bytes = params.sq_off.array + params.sq_entries * sizeof(uint32_t)
    cq_bytes = params.cq_off.cqes + params.cq_entries * sizeof(CompletionEntry)
    ring.ring_bytes = max(ring.ring_bytes, cq_bytes)
    ring.ring = map_(ring.fd, ring.ring_bytes, IORING_OFF_SQ_RING)
    ring.entries_bytes = params.sq_entries * sizeof(SubmissionEntry)
    ring.entries = map_(ring.fd, ring.entries_bytes, IORING_OFF_SQES)
    if ring.ring == NULL or ring.entries == NULL:
        uring_close(ring)
        return -ENOMEM
    ring.sq_head = <uint32_t*>(<char*>ring.ring + params.sq_off.head)
    ring.sq_tail = <uint32_t*>(<char*>ring.ring + params.sq_off.tail)
    ring.sq_array = <uint32_t*>(<char*>ring.ring + params.sq_off.array)
    ring.sq_mask = (<uint32_t*>(<char*>ring.ring + params.sq_off.ring_mask))[0]
    ring.sq_count = params.sq_entries
    ring.cq_head = <uint32_t*>(<char*>ring.ring + params.cq_off.head)
    ring.cq_tail = <uint32_t*>(<char*>ring.ring + params.cq_off.tail)
    ring.cqes = <char*>ring.ring + params.cq_off.cqes
    ring.cq_mask = (<uint32_t*>(<char*>ring.ring + params.cq_off.ring_mask))[0]
    return 0


cdef void uring_close(Uring* ring) noexcept nogil:
    if ring.entries != NULL:
        munmap(ring.entries, ring.entries_bytes)
    if ring.ring != NULL:
        munmap(ring.ring, ring.ring_bytes)
    if ring.fd >= 0:
        c_close(ring.fd)
    memset(ring, 0, sizeof(Uring))
    ring.fd = -1


cdef inline uint64_t bytes_in(const iovec* parts, int count) noexcept nogil:
    cdef uint64_t size = 0
    cdef int i
    for i in range(count):
        size += parts[i].iov_len
    return size


cdef inline SubmissionEntry* next_entry(Uring* ring, uint32_t tail) noexcept nogil:
    cdef uint32_t place = tail & ring.sq_mask
    ring.sq_array[place] = place
    return <SubmissionEntry*>ring.entries + place


cdef int uring_write(Uring* ring, int fd, const iovec* parts, int count, uint64_t offset, bint sync,
                     uint32_t token) noexcept nogil:
    """user_data: the token above 32 bits of what a write has to return; a sync returns 0."""
    cdef uint32_t start = ring.sq_tail[0]
    cdef uint32_t tail = start
    cdef uint32_t flags
    cdef uint64_t bytes_
    cdef int step
    if count < 1 or count > URING_PARTS_MAX:
        return -E2BIG
    flags = IOSQE_ASYNC if bytes_in(parts, count) >= ASYNC_BYTES else 0
    while count > 0:
        step = min(count, <int>PARTS_PER_WRITE)
        bytes_ = bytes_in(parts, step)
        if bytes_ >= <uint64_t>1 << 30:            # one write moves at most 0x7ffff000 bytes
            return -E2BIG
        if sync or step < count:
            flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS
        else:
            flags &= ~<uint32_t>(IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS)
        prepare(next_entry(ring, tail), IORING_OP_WRITEV, fd, parts, <uint32_t>step, offset, 0, flags,
                <uint64_t>token << 32 | bytes_)
        tail += 1
        offset += bytes_
        parts += step
        count -= step
        flags &= ~<uint32_t>IOSQE_ASYNC            # the rest of a chain goes where its head went
    if sync:
        prepare(next_entry(ring, tail), IORING_OP_FSYNC, fd, NULL, 0, 0, IORING_FSYNC_DATASYNC, 0,
                <uint64_t>token << 32)
        tail += 1
    return submit(ring, start, tail)


cdef int uring_sync(Uring* ring, int fd, uint32_t token) noexcept nogil:
    cdef uint32_t start = ring.sq_tail[0]
    prepare(next_entry(ring, start), IORING_OP_FSYNC, fd, NULL, 0, 0, IORING_FSYNC_DATASYNC, 0,
            <uint64_t>token << 32)
    return submit(ring, start, start + 1)


cdef int submit(Uring* ring, uint32_t start, uint32_t tail) noexcept nogil:
    cdef int result
    check2(tail - start <= ring.sq_count and load_shared(ring.sq_head) == start,
           b"Q-URING-01 the submission queue is empty before a chain and has room for it",
           tail - start, start)
    store_shared(ring.sq_tail, tail)
    result = enter(ring.fd, tail - start, 0)
    if result > 0:
        # With a part of the chain taken, nothing would tell when the kernel is done with the buffers.
        check2(<uint32_t>result == tail - start, b"Q-URING-02 the kernel takes a chain whole or not at all",
               result, tail - start)
        return 0
    check2(load_shared(ring.sq_head) == start, b"Q-URING-03 a refused chain was not begun", result, start)
    store_shared(ring.sq_tail, start)
    return result if result < 0 else -EBUSY


cdef bint uring_completed(Uring* ring, uint32_t* token, int* result) noexcept nogil:
    cdef uint32_t head = ring.cq_head[0]
    cdef CompletionEntry* entry
    cdef uint32_t expected
    if head == load_shared(ring.cq_tail):
        return False
    entry = <CompletionEntry*>ring.cqes + (head & ring.cq_mask)
    token[0] = <uint32_t>(entry.user_data >> 32)
    expected = <uint32_t>entry.user_data
    if entry.res >= 0:
        result[0] = 0 if <uint32_t>entry.res == expected else -1
    elif entry.res == -EAGAIN or entry.res == -EINTR or entry.res == -ECANCELED:
        result[0] = -1
    else:
        result[0] = -entry.res
    store_shared(ring.cq_head, head + 1)
    return True


cdef void uring_wait(Uring* ring) noexcept nogil:
    cdef int result
    while ring.cq_head[0] == load_shared(ring.cq_tail):
        result = enter(ring.fd, 0, 1)
        check2(result >= 0 or result == -EAGAIN or result == -EBUSY,
               b"Q-URING-04 waiting for a completion works", result, 0)
