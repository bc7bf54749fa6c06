"""The one table through which every file call of the product goes (firm).

The system's calls, the recording wrapper of the crash tests and the virtual disk
of the simulation all fill it.  Calls return a value >= 0 or -errno; short reads
and writes and EINTR are dealt with inside, so `write` and `read` are whole or
an error (a read past the end returns the bytes that are there).
"""

from libc.stdint cimport int64_t, uint64_t

cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len

cdef enum OpenMode:
    FILE_READ = 1                 # O_RDONLY
    FILE_WRITE = 2                # O_RDWR of an existing file
    FILE_CREATE = 4               # O_RDWR|O_CREAT|O_EXCL, 0600
    FILE_DIRECT = 8               # with either: O_DIRECT; -EINVAL where the file system has none
    FILE_SYNCED = 16              # with FILE_WRITE: O_DSYNC

# Called for each name in a directory, in no particular order.
ctypedef int (*NameVisitor)(void* context, const char* name) noexcept nogil

cdef struct Files:
    void* self
    int (*open)(void* self, const char* path, int mode) noexcept nogil
    int (*close)(void* self, int fd) noexcept nogil
    int64_t (*read)(void* self, int fd, void* data, uint64_t size, uint64_t offset) noexcept nogil
    int64_t (*write)(void* self, int fd, const iovec* parts, int count, uint64_t offset) noexcept nogil
    int (*sync)(void* self, int fd) noexcept nogil                    # fdatasync; a changed size too
    int (*sync_directory)(void* self, const char* path) noexcept nogil
    int64_t (*size)(void* self, int fd) noexcept nogil
    int (*rename)(void* self, const char* source, const char* target) noexcept nogil
    int (*remove)(void* self, const char* path) noexcept nogil
    int (*make_directory)(void* self, const char* path) noexcept nogil      # 0700; -EEXIST if there
    int (*list)(void* self, const char* path, NameVisitor visit, void* context) noexcept nogil
    int (*lock)(void* self, const char* path) noexcept nogil         # creates; flock; fd or -EWOULDBLOCK


cdef Files* system_files() noexcept nogil      # the operating system's; never freed
