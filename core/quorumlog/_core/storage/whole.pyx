"""See whole.pxd."""

from libc.errno cimport EDQUOT, EEXIST, ENOENT, ENOSPC
from libc.stdio cimport snprintf

from quorumlog._core.base.status cimport (
    ERR_CORRUPT, ERR_IO, ERR_NO_SPACE, ERR_NOT_FOUND, ERR_USAGE, OK,
)
from quorumlog._core.storage.files cimport FILE_CREATE, FILE_READ, iovec

cdef enum:
    PATH_BYTES_MAX = 4096


cdef int file_status(int64_t result) noexcept nogil:
    """Of a file call that failed with -errno."""
    if result == -ENOENT:
        return ERR_NOT_FOUND
    if result == -ENOSPC or result == -EDQUOT:
        return ERR_NO_SPACE
    return ERR_IO


cdef bint join_path(char* out, const char* directory, const char* name) noexcept nogil:
    cdef int size = snprintf(out, PATH_BYTES_MAX, "%s/%s", directory, name)
    return 0 < size < PATH_BYTES_MAX


cdef int whole_new(Files* files, const char* path, void* data, size_t size) noexcept nogil:
    """A file that must not be there yet: written and synced, or not left behind."""
    cdef iovec part
    cdef int64_t result
    cdef int fd = files.open(files.self, path, FILE_CREATE)
    if fd < 0:
        return ERR_USAGE if fd == -EEXIST else file_status(fd)
    part.iov_base = data
    part.iov_len = size
    result = files.write(files.self, fd, &part, 1, 0)
    if result >= 0:
        result = files.sync(files.self, fd)
    files.close(files.self, fd)
    if result >= 0:
        return OK
    files.remove(files.self, path)
    return ERR_NO_SPACE if file_status(result) == ERR_NO_SPACE else ERR_IO


cdef int whole_read(Files* files, const char* path, uint8_t* data, size_t room, size_t* size) noexcept nogil:
    """ERR_CORRUPT if it holds more than `room`."""
    cdef int64_t result
    cdef int fd = files.open(files.self, path, FILE_READ)
    if fd < 0:
        return file_status(fd)
    result = files.size(files.self, fd)
    if result > <int64_t>room:
        files.close(files.self, fd)
        return ERR_CORRUPT
    if result >= 0:
        result = files.read(files.self, fd, data, room, 0)
    files.close(files.self, fd)
    if result < 0:
        return ERR_IO
    size[0] = <size_t>result
    return OK


cdef int whole_replace(Files* files, const char* directory, const char* name, const char* temporary_name,
                       void* data, size_t size) noexcept nogil:
    cdef char[PATH_BYTES_MAX] path
    cdef char[PATH_BYTES_MAX] temporary
    cdef int result
    if not (join_path(path, directory, name) and join_path(temporary, directory, temporary_name)):
        return ERR_USAGE
    # What a crash left behind: never written over, since its tail would stay (hard case A-W8).
    result = files.remove(files.self, temporary)
    if result < 0 and result != -ENOENT:
        return file_status(result)
    result = whole_new(files, temporary, data, size)
    if result != OK:
        return result
    result = files.rename(files.self, temporary, path)
    if result >= 0:
        result = files.sync_directory(files.self, directory)
    return OK if result >= 0 else file_status(result)
