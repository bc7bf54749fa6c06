"""The names of the virtual disk: a list of paths, and changes that are not durable yet."""

from quorumlog._core.simulation.disk cimport Disk, Name, Names, NameChange

from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef int32_t names_find(const Names* names, const char* path) noexcept nogil          # -1: not there
cdef void names_add(Names* names, const char* path, uint64_t inode) noexcept nogil
cdef void names_copy(Names* to, const Names* source) noexcept nogil
cdef void names_close(Names* names) noexcept nogil
# True if `path` lies directly in `directory`; "" and "/" are the root.
cdef bint name_lies_in(const char* path, const char* directory) noexcept nogil
# The directory that holds `path`, into `out` (DISK_PATH_BYTES).
cdef void name_directory(const char* path, char* out) noexcept nogil
# Makes the change in a list of names.
cdef void names_change(Names* names, const NameChange* change) noexcept nogil
# Makes it in the cached names and notes it as pending.
cdef void disk_change(Disk* disk, int operation, const char* path, const char* target,
                      uint64_t inode) noexcept nogil
# The first `limit` pending changes of `directory` become durable.
cdef void disk_settle_names(Disk* disk, const char* directory, uint32_t limit) noexcept nogil
