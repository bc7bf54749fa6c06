"""Names of the virtual disk; see names.pxd.

A directory's changes become durable in order, as on a journalling file system;
those of different directories are independent of each other.
"""

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.simulation.disk cimport (
    DISK_CREATE, DISK_MAKE_DIRECTORY, DISK_PATH_BYTES, DISK_REMOVE, DISK_RENAME, Disk, Name,
    NameChange, Names,
)

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove, memset, strcmp, strcpy, strlen, strrchr


cdef int32_t names_find(const Names* names, const char* path) noexcept nogil:
    cdef uint32_t i
    for i in range(names.count):
        if strcmp(names.names[i].path, path) == 0:
            return <int32_t>i
    return -1


cdef void names_add(Names* names, const char* path, uint64_t inode) noexcept nogil:
    check(names_find(names, path) < 0, b"Q-NAMES-01 a path names one thing")
    if names.count == names.capacity:
        names.capacity = 2 * names.capacity + 8
        names.names = <Name*>realloc(names.names, names.capacity * sizeof(Name))
        check(names.names != NULL, b"Q-NAMES-02 the virtual disk has no memory for names")
    strcpy(names.names[names.count].path, path)
    names.names[names.count].inode = inode
    names.count += 1


cdef void names_take_out(Names* names, int32_t at) noexcept nogil:
    check(at >= 0 and <uint32_t>at < names.count, b"Q-NAMES-03 only a name that is there can go")
    memmove(&names.names[at], &names.names[at + 1], (names.count - at - 1) * sizeof(Name))
    names.count -= 1


cdef void names_copy(Names* to, const Names* source) noexcept nogil:
    if to.capacity < source.count:
        to.capacity = source.count
        to.names = <Name*>realloc(to.names, to.capacity * sizeof(Name))
        check(to.names != NULL, b"Q-NAMES-04 the virtual disk has no memory for names")
    if source.count != 0:
        memcpy(to.names, source.names, source.count * sizeof(Name))
    to.count = source.count


cdef void names_close(Names* names) noexcept nogil:
    free(names.names)
    memset(names, 0, sizeof(Names))


cdef void name_directory(const char* path, char* out) noexcept nogil:
    cdef char* slash
    check(strlen(path) < DISK_PATH_BYTES, b"Q-NAMES-05 a path of the virtual disk has a bounded length")
    strcpy(out, path)
    slash = strrchr(out, b'/')
    if slash == NULL:
        out[0] = 0
    else:
        slash[0] = 0


cdef bint name_lies_in(const char* path, const char* directory) noexcept nogil:
    cdef char parent[DISK_PATH_BYTES]
    name_directory(path, parent)
    if strcmp(directory, b"/") == 0:
        return parent[0] == 0
    return strcmp(parent, directory) == 0


cdef void names_change(Names* names, const NameChange* change) noexcept nogil:
    cdef int32_t at = names_find(names, change.path)
    cdef int32_t target
    if change.operation == DISK_CREATE or change.operation == DISK_MAKE_DIRECTORY:
        names_add(names, change.path, change.inode)
        return
    # A prefix of a directory's changes always finds what it needs.
    check2(at >= 0, b"Q-NAMES-06 a change finds the name it is about", change.operation, names.count)
    if change.operation == DISK_REMOVE:
        names_take_out(names, at)
        return
    check(change.operation == DISK_RENAME, b"Q-NAMES-07 there are four kinds of changes")
    target = names_find(names, change.target)
    if target >= 0:
        names.names[target].inode = names.names[at].inode
        names_take_out(names, at)
    else:
        strcpy(names.names[at].path, change.target)


cdef void disk_change(Disk* disk, int operation, const char* path, const char* target,
                      uint64_t inode) noexcept nogil:
    cdef NameChange* change
    if disk.change_count == disk.change_capacity:
        disk.change_capacity = 2 * disk.change_capacity + 8
        disk.changes = <NameChange*>realloc(disk.changes, disk.change_capacity * sizeof(NameChange))
        check(disk.changes != NULL, b"Q-NAMES-08 the virtual disk has no memory for changes of names")
    change = &disk.changes[disk.change_count]
    memset(change, 0, sizeof(NameChange))
    change.operation = operation
    strcpy(change.path, path)
    if target != NULL:
        strcpy(change.target, target)
    change.inode = inode
    disk.change_count += 1
    names_change(&disk.cached, change)


cdef void disk_settle_names(Disk* disk, const char* directory, uint32_t limit) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t kept = 0
    cdef uint32_t settled = 0
    for i in range(disk.change_count):
        if settled < limit and name_lies_in(disk.changes[i].path, directory):
            names_change(&disk.durable, &disk.changes[i])
            settled += 1
            continue
        if kept != i:
            disk.changes[kept] = disk.changes[i]
        kept += 1
    disk.change_count = kept
