"""Files so small that they are read and written whole: what lies beside the log in a data directory."""

from quorumlog._core.storage.files cimport Files

from libc.stdint cimport int64_t, uint8_t

# Of a file call that returned -errno.
cdef int file_status(int64_t result) noexcept nogil
# `directory`/`name` in `out`, which has room for 4,096 bytes; False: it doesn't fit.
cdef bint join_path(char* out, const char* directory, const char* name) noexcept nogil
# A file that must not be there yet: written and synced, or not left behind.  ERR_USAGE: it is there.
cdef int whole_new(Files* files, const char* path, void* data, size_t size) noexcept nogil
# ERR_NOT_FOUND, or ERR_CORRUPT if it holds more than `room`.
cdef int whole_read(Files* files, const char* path, uint8_t* data, size_t room, size_t* size) noexcept nogil
# In the place of what was there, at once or not at all; durable when it returns.
cdef int whole_replace(Files* files, const char* directory, const char* name, const char* temporary_name,
                       void* data, size_t size) noexcept nogil
