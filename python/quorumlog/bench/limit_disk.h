/* The log file of one node of the limit program, and three ways to make a group of batches durable.
 *
 *   thread   a writer thread: pwritev, then fdatasync; woken by an eventfd, answers by another
 *   direct   in line: small groups through an aligned block with O_DIRECT|O_DSYNC, large ones pwritev + fdatasync
 *   uring    one io_uring submission: small groups as a direct write with RWF_DSYNC, large ones a vectored write
 *            linked with an fdatasync
 *
 * One write is in flight at a time; what arrives meanwhile goes out as the next one.  A group starts on
 * a 4 KiB boundary and is padded to one, so that a flushed block is never written again. */
#ifndef LIMIT_DISK_H
#define LIMIT_DISK_H

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define BLOCK_BYTES 4096
#define SMALL_GROUP_BYTES (64 << 10) /* up to here a group is copied to the aligned block and written directly */

enum Variant { VARIANT_THREAD, VARIANT_DIRECT, VARIANT_URING };

struct Uring {
    int fd;
    unsigned *sq_tail, *sq_mask, *cq_head, *cq_tail, *cq_mask, *sq_array;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
};

struct Disk {
    enum Variant variant;
    int fd, direct_fd;
    uint64_t offset, size;           /* where the next group goes; of the file */
    uint8_t *block;                  /* aligned staging for small groups */
    uint64_t syncs, written_bytes;
    /* the write in flight */
    int busy;
    struct iovec parts[3];
    int part_count;
    uint64_t group_bytes;
    int results_awaited;             /* uring: completions still to come */
    struct Uring ring;
    /* thread */
    pthread_t thread;
    int wake_fd, done_fd;
    atomic_int job;                  /* 0 none, 1 given, 2 done, 3 leave */
};

static void fail(const char *what)
{
    fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static uint64_t padded(uint64_t bytes)
{
    return (bytes + BLOCK_BYTES - 1) & ~(uint64_t)(BLOCK_BYTES - 1);
}

static void write_parts(int fd, struct iovec *parts, int count, uint64_t offset)
{
    while (count) {
        ssize_t done = pwritev(fd, parts, count, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            fail("write");
        offset += (uint64_t)done;
        while (count && (size_t)done >= parts->iov_len) {
            done -= (ssize_t)parts->iov_len;
            parts++, count--;
        }
        if (count) {
            parts->iov_base = (uint8_t *)parts->iov_base + done;
            parts->iov_len -= (size_t)done;
        }
    }
}

static void write_and_sync(struct Disk *disk)
{
    write_parts(disk->fd, disk->parts, disk->part_count, disk->offset);
    if (fdatasync(disk->fd))
        fail("fdatasync");
}

static void signal_fd(int fd)
{
    uint64_t one = 1;
    if (write(fd, &one, sizeof one) != sizeof one)
        fail("eventfd");
}

static void *writer_thread(void *context)
{
    struct Disk *disk = context;
    for (;;) {
        uint64_t count;
        if (read(disk->wake_fd, &count, sizeof count) != sizeof count)
            fail("writer wake-up");
        if (atomic_load(&disk->job) == 3)
            return NULL;
        write_and_sync(disk);
        atomic_store(&disk->job, 2);
        signal_fd(disk->done_fd);
    }
}

/* ---- io_uring by its system calls ------------------------------------------------------------------- */

static void uring_open(struct Uring *ring)
{
    struct io_uring_params params = {0};
    ring->fd = (int)syscall(__NR_io_uring_setup, 8, &params);
    if (ring->fd < 0)
        fail("io_uring_setup (not allowed here?)");
    size_t sq_bytes = params.sq_off.array + params.sq_entries * sizeof(unsigned);
    size_t cq_bytes = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
    uint8_t *sq = mmap(NULL, sq_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
    uint8_t *cq = mmap(NULL, cq_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_CQ_RING);
    ring->sqes = mmap(NULL, params.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
    if (sq == MAP_FAILED || cq == MAP_FAILED || ring->sqes == MAP_FAILED)
        fail("mapping io_uring");
    ring->sq_tail = (unsigned *)(sq + params.sq_off.tail);
    ring->sq_mask = (unsigned *)(sq + params.sq_off.ring_mask);
    ring->sq_array = (unsigned *)(sq + params.sq_off.array);
    ring->cq_head = (unsigned *)(cq + params.cq_off.head);
    ring->cq_tail = (unsigned *)(cq + params.cq_off.tail);
    ring->cq_mask = (unsigned *)(cq + params.cq_off.ring_mask);
    ring->cqes = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
}

static struct io_uring_sqe *uring_next(struct Uring *ring, uint8_t operation, int fd, uint64_t expected)
{
    unsigned tail = *ring->sq_tail, at = tail & *ring->sq_mask;
    struct io_uring_sqe *sqe = &ring->sqes[at];
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = operation;
    sqe->fd = fd;
    sqe->user_data = expected;       /* what the result must be */
    ring->sq_array[at] = at;
    __atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
    return sqe;
}

static void uring_submit(struct Disk *disk, int small)
{
    struct Uring *ring = &disk->ring;
    struct io_uring_sqe *sqe;
    unsigned count = 1;
    if (small) {
        sqe = uring_next(ring, IORING_OP_WRITE, disk->direct_fd, disk->group_bytes);
        sqe->addr = (uint64_t)(uintptr_t)disk->block;
        sqe->len = (unsigned)disk->group_bytes;
        sqe->off = disk->offset;
        sqe->rw_flags = RWF_DSYNC;
    } else {
        sqe = uring_next(ring, IORING_OP_WRITEV, disk->fd, disk->group_bytes);
        sqe->addr = (uint64_t)(uintptr_t)disk->parts;
        sqe->len = (unsigned)disk->part_count;
        sqe->off = disk->offset;
        sqe->flags = IOSQE_IO_LINK;
        sqe = uring_next(ring, IORING_OP_FSYNC, disk->fd, 0);
        sqe->fsync_flags = IORING_FSYNC_DATASYNC;
        count = 2;
    }
    disk->results_awaited = (int)count;
    if (syscall(__NR_io_uring_enter, ring->fd, count, 0, 0, NULL, 0) != (long)count)
        fail("io_uring_enter");
}

static void uring_collect(struct Disk *disk)
{
    struct Uring *ring = &disk->ring;
    unsigned head = *ring->cq_head;
    while (head != __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE)) {
        const struct io_uring_cqe *cqe = &ring->cqes[head & *ring->cq_mask];
        if (cqe->res < 0 || (uint64_t)cqe->res != cqe->user_data) {
            errno = cqe->res < 0 ? -cqe->res : EIO;
            fail("io_uring write or sync");
        }
        disk->results_awaited--;
        head++;
    }
    __atomic_store_n(ring->cq_head, head, __ATOMIC_RELEASE);
}

/* ---- the file ---------------------------------------------------------------------------------------- */

/* Zero-written, synced with its directory, before any clock starts. */
static void disk_prepare(const char *directory, const char *path, uint64_t size)
{
    static const uint8_t zeros[1 << 20];
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0)
        fail(path);
    for (uint64_t at = 0; at < size; at += sizeof zeros) {
        struct iovec part = {(void *)zeros, size - at < sizeof zeros ? size - at : sizeof zeros};
        write_parts(fd, &part, 1, at);
    }
    int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fsync(fd) || directory_fd < 0 || fsync(directory_fd))
        fail("syncing the prepared file");
    close(directory_fd);
    close(fd);
}

static void disk_open(struct Disk *disk, enum Variant variant, const char *path, uint64_t size, int small_groups)
{
    memset(disk, 0, sizeof *disk);
    disk->variant = variant;
    disk->size = size;
    disk->fd = open(path, O_RDWR | O_CLOEXEC);
    if (disk->fd < 0)
        fail(path);
    disk->direct_fd = disk->wake_fd = disk->done_fd = -1;
    if (posix_memalign((void **)&disk->block, BLOCK_BYTES, SMALL_GROUP_BYTES))
        fail("memory");
    if (variant != VARIANT_THREAD) {
        /* The ring says RWF_DSYNC itself; without a ring the descriptor says it. */
        int flags = O_RDWR | O_CLOEXEC | O_DIRECT | (variant == VARIANT_DIRECT ? O_DSYNC : 0);
        disk->direct_fd = open(path, flags);  /* -1: no O_DIRECT on this file system, all groups go the other way */
        if (small_groups)            /* a direct write would have to push each cached page aside first */
            posix_fadvise(disk->fd, 0, 0, POSIX_FADV_DONTNEED);
    }
    if (variant == VARIANT_URING)
        uring_open(&disk->ring);
    if (variant == VARIANT_THREAD) {
        disk->wake_fd = eventfd(0, EFD_CLOEXEC);
        disk->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (disk->wake_fd < 0 || disk->done_fd < 0 || pthread_create(&disk->thread, NULL, writer_thread, disk))
            fail("writer thread");
    }
}

/* What epoll watches for a completed write; -1 when writes are done in line. */
static int disk_event_fd(const struct Disk *disk)
{
    return disk->variant == VARIANT_THREAD ? disk->done_fd : disk->variant == VARIANT_URING ? disk->ring.fd : -1;
}

/* Starts writing the group that `first` and `second` (may be empty) make up. */
static void disk_submit(struct Disk *disk, struct iovec first, struct iovec second)
{
    static const uint8_t zeros[BLOCK_BYTES];
    uint64_t bytes = first.iov_len + second.iov_len;
    disk->group_bytes = padded(bytes);
    if (disk->offset + disk->group_bytes > disk->size) {
        errno = ENOSPC;
        fail("the prepared file is full");
    }
    disk->busy = 1;
    int small = disk->direct_fd >= 0 && disk->group_bytes <= SMALL_GROUP_BYTES;
    if (small) {
        memcpy(disk->block, first.iov_base, first.iov_len);
        if (second.iov_len)
            memcpy(disk->block + first.iov_len, second.iov_base, second.iov_len);
        memset(disk->block + bytes, 0, disk->group_bytes - bytes);
    }
    disk->part_count = 0;
    disk->parts[disk->part_count++] = first;
    if (second.iov_len)
        disk->parts[disk->part_count++] = second;
    if (disk->group_bytes != bytes)
        disk->parts[disk->part_count++] = (struct iovec){(void *)zeros, disk->group_bytes - bytes};

    if (disk->variant == VARIANT_THREAD) {
        atomic_store(&disk->job, 1);
        signal_fd(disk->wake_fd);
    } else if (disk->variant == VARIANT_URING) {
        uring_submit(disk, small);
    } else if (small) {
        struct iovec part = {disk->block, disk->group_bytes};
        write_parts(disk->direct_fd, &part, 1, disk->offset);
    } else {
        write_and_sync(disk);
    }
}

/* True once for each write that has become durable. */
static int disk_completed(struct Disk *disk)
{
    if (!disk->busy)
        return 0;
    if (disk->variant == VARIANT_THREAD) {
        if (atomic_load(&disk->job) != 2)
            return 0;
        atomic_store(&disk->job, 0); /* done_fd is watched edge-triggered: its count needs no reading */
    } else if (disk->variant == VARIANT_URING) {
        uring_collect(disk);
        if (disk->results_awaited)
            return 0;
    }
    disk->busy = 0;
    disk->syncs++;
    disk->offset += disk->group_bytes;
    disk->written_bytes += disk->group_bytes;
    return 1;
}

static void disk_close(struct Disk *disk)
{
    if (disk->variant == VARIANT_THREAD) {
        atomic_store(&disk->job, 3);
        signal_fd(disk->wake_fd);
        pthread_join(disk->thread, NULL);
    }
    close(disk->fd);
    if (disk->direct_fd >= 0)
        close(disk->direct_fd);
    if (disk->variant == VARIANT_URING)
        close(disk->ring.fd);
    free(disk->block);
}

#endif
