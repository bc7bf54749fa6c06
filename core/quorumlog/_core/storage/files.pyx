"""The operating system's file calls, with EINTR and short transfers dealt with."""

from quorumlog._core.base.checks cimport check2

from libc.errno cimport EINTR, ENOSPC, errno
from libc.stdint cimport int64_t, uint64_t

cdef extern from "<fcntl.h>" nogil:
    int O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_DIRECT, O_DSYNC, O_CLOEXEC, O_DIRECTORY
    int c_open "open"(const char* path, int flags, ...)

cdef extern from "<unistd.h>" nogil:
    int c_close "close"(int fd)
    ssize_t pread(int fd, void* data, size_t size, int64_t offset)
    ssize_t pwrite(int fd, const void* data, size_t size, int64_t offset)
    int fdatasync(int fd)
    int fsync(int fd)
    int c_unlink "unlink"(const char* path)

cdef extern from "<sys/uio.h>" nogil:
    ssize_t pwritev(int fd, const iovec* parts, int count, int64_t offset)

cdef extern from "<sys/stat.h>" nogil:
    cdef struct c_stat "stat":
        int64_t st_size
    int fstat(int fd, c_stat* out)
    int c_mkdir "mkdir"(const char* path, unsigned int mode)

cdef extern from "<stdio.h>" nogil:
    int c_rename "rename"(const char* source, const char* target)

cdef extern from "<dirent.h>" nogil:
    ctypedef struct DIR:
        pass
    cdef struct dirent:
        char* d_name
    DIR* opendir(const char* path)
    dirent* readdir(DIR* directory)
    int closedir(DIR* directory)

cdef extern from "<sys/file.h>" nogil:
    int flock(int fd, int operation)
    int LOCK_EX, LOCK_NB

cdef enum:
    PARTS_PER_CALL = 1024          # IOV_MAX on Linux
    TRANSFER_BYTES_MAX = 1 << 30   # one call moves at most 0x7ffff000 bytes


cdef int system_open(void* self, const char* path, int mode) noexcept nogil:
    cdef int flags = O_CLOEXEC
    cdef int fd
    if mode & FILE_CREATE:
        flags |= O_RDWR | O_CREAT | O_EXCL
    elif mode & FILE_WRITE:
        flags |= O_RDWR
    else:
        flags |= O_RDONLY
    if mode & FILE_DIRECT:
        flags |= O_DIRECT
    if mode & FILE_SYNCED:
        flags |= O_DSYNC
    while True:
        fd = c_open(path, flags, <int>0o600)
        if fd >= 0:
            return fd
        if errno != EINTR:
            return -errno


cdef int system_close(void* self, int fd) noexcept nogil:
    # On Linux the descriptor is gone whatever close says; a second try could hit another's.
    return 0 if c_close(fd) == 0 or errno == EINTR else -errno


cdef int64_t system_read(void* self, int fd, void* data, uint64_t size, uint64_t offset) noexcept nogil:
    cdef uint64_t done = 0
    cdef uint64_t step
    cdef ssize_t got
    while done < size:
        step = size - done
        if step > TRANSFER_BYTES_MAX:
            step = TRANSFER_BYTES_MAX
        got = pread(fd, <char*>data + done, step, <int64_t>(offset + done))
        if got > 0:
            done += <uint64_t>got
        elif got == 0:
            break
        elif errno != EINTR:
            return -errno
    return <int64_t>done


cdef int64_t write_rest(int fd, const iovec* part, uint64_t done_in_part, uint64_t offset) noexcept nogil:
    """What is left of one part after a short write; bytes written or -errno."""
    cdef uint64_t done = done_in_part
    cdef ssize_t put
    while done < part.iov_len:
        put = pwrite(fd, <const char*>part.iov_base + done, part.iov_len - done,
                     <int64_t>(offset + done - done_in_part))
        if put > 0:
            done += <uint64_t>put
        elif put == 0:
            return -ENOSPC
        elif errno != EINTR:
            return -errno
    return <int64_t>(done - done_in_part)


cdef int64_t system_write(void* self, int fd, const iovec* parts, int count, uint64_t offset) noexcept nogil:
    cdef uint64_t done = 0
    cdef uint64_t left
    cdef int64_t rest
    cdef ssize_t put
    cdef int i = 0
    while i < count:
        put = pwritev(fd, parts + i, count - i if count - i < PARTS_PER_CALL else PARTS_PER_CALL,
                      <int64_t>(offset + done))
        if put < 0:
            if errno == EINTR:
                continue
            return -errno
        left = <uint64_t>put
        if left == 0:
            while i < count and parts[i].iov_len == 0:
                i += 1
            if i < count:
                return -ENOSPC
            break
        done += left
        while i < count and left >= parts[i].iov_len:
            left -= parts[i].iov_len
            i += 1
        if left > 0:
            check2(i < count, b"Q-FILES-01 a write moves no more than it was given", i, count)
            rest = write_rest(fd, parts + i, left, offset + done)
            if rest < 0:
                return rest
            done += <uint64_t>rest
            i += 1
    return <int64_t>done


cdef int system_sync(void* self, int fd) noexcept nogil:
    # No second try but after EINTR: a failed sync may have thrown the dirty pages away (P5).
    while True:
        if fdatasync(fd) == 0:
            return 0
        if errno != EINTR:
            return -errno


cdef int system_sync_directory(void* self, const char* path) noexcept nogil:
    cdef int fd = system_open(self, path, FILE_READ)
    cdef int result = 0
    if fd < 0:
        return fd
    while fsync(fd) != 0:
        if errno != EINTR:
            result = -errno
            break
    c_close(fd)
    return result


cdef int64_t system_size(void* self, int fd) noexcept nogil:
    cdef c_stat status
    if fstat(fd, &status) != 0:
        return -errno
    return status.st_size


cdef int system_rename(void* self, const char* source, const char* target) noexcept nogil:
    return 0 if c_rename(source, target) == 0 else -errno


cdef int system_remove(void* self, const char* path) noexcept nogil:
    return 0 if c_unlink(path) == 0 else -errno


cdef int system_make_directory(void* self, const char* path) noexcept nogil:
    return 0 if c_mkdir(path, 0o700) == 0 else -errno


cdef int system_list(void* self, const char* path, NameVisitor visit, void* context) noexcept nogil:
    cdef DIR* directory = opendir(path)
    cdef dirent* entry
    cdef int result = 0
    if directory == NULL:
        return -errno
    while True:
        (&errno)[0] = 0
        entry = readdir(directory)
        if entry == NULL:
            result = -errno
            break
        result = visit(context, entry.d_name)
        if result != 0:
            break
    closedir(directory)
    return result


cdef int system_lock(void* self, const char* path) noexcept nogil:
    cdef int error
    cdef int fd
    while True:
        fd = c_open(path, O_RDWR | O_CREAT | O_CLOEXEC, <int>0o600)
        if fd >= 0:
            break
        if errno != EINTR:
            return -errno
    while flock(fd, LOCK_EX | LOCK_NB) != 0:
        error = errno
        if error != EINTR:
            c_close(fd)
            return -error
    return fd


cdef Files table

table.self = NULL
table.open = system_open
table.close = system_close
table.read = system_read
table.write = system_write
table.sync = system_sync
table.sync_directory = system_sync_directory
table.size = system_size
table.rename = system_rename
table.remove = system_remove
table.make_directory = system_make_directory
table.list = system_list
table.lock = system_lock


cdef Files* system_files() noexcept nogil:
    return &table
