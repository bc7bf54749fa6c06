"""See dropped.pxd."""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from quorumlog._core.base.bytes cimport get_u32, get_u64, put_u32, put_u64
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_MEMORY, ERR_NOT_FOUND, ERR_OVERLOADED, ERR_USAGE, OK
from quorumlog._core.storage.whole cimport join_path, whole_read, whole_replace

cdef enum:
    MAGIC = 0x44474C51             # QLGD
    VERSION = 1
    HEADER_BYTES = 16
    FILE_BYTES_MAX = HEADER_BYTES + 8 * DROPPED_MAX
    PATH_BYTES_MAX = 4096


cdef int decode(const uint8_t* file, size_t size, DroppedGroups* dropped) noexcept nogil:
    cdef uint32_t count, i
    cdef group_t before = 0
    if size < HEADER_BYTES or get_u32(file) != crc32c(0, file + 4, size - 4) or get_u32(file + 4) != MAGIC \
            or get_u32(file + 8) != VERSION:
        return ERR_CORRUPT
    count = get_u32(file + 12)
    if count > DROPPED_MAX or size != HEADER_BYTES + 8 * <size_t>count:
        return ERR_CORRUPT
    dropped.groups = <group_t*>malloc(8 * <size_t>count + 8)
    if dropped.groups == NULL:
        return ERR_MEMORY
    for i in range(count):
        dropped.groups[i] = get_u64(file + HEADER_BYTES + 8 * i)
        if dropped.groups[i] <= before:
            return ERR_CORRUPT
        before = dropped.groups[i]
    dropped.count = count
    return OK


cdef int dropped_read(Files* files, const char* directory, DroppedGroups* dropped) noexcept nogil:
    cdef char[PATH_BYTES_MAX] path
    cdef uint8_t* file
    cdef size_t size = 0
    cdef int status
    memset(dropped, 0, sizeof(DroppedGroups))
    if not join_path(path, directory, b"dropped"):
        return ERR_USAGE
    file = <uint8_t*>malloc(FILE_BYTES_MAX)
    if file == NULL:
        return ERR_MEMORY
    status = whole_read(files, path, file, FILE_BYTES_MAX, &size)
    if status == OK:
        status = decode(file, size, dropped)
    elif status == ERR_NOT_FOUND:
        status = OK
    free(file)
    if status != OK:
        dropped_close(dropped)
    return status


cdef uint32_t place_of(const DroppedGroups* dropped, group_t group) noexcept nogil:
    """Of the first that is not smaller."""
    cdef uint32_t low = 0
    cdef uint32_t high = dropped.count
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if dropped.groups[middle] < group:
            low = middle + 1
        else:
            high = middle
    return low


cdef bint dropped_holds(const DroppedGroups* dropped, group_t group) noexcept nogil:
    cdef uint32_t place = place_of(dropped, group)
    return place < dropped.count and dropped.groups[place] == group


cdef int write_file(Files* files, const char* directory, const group_t* groups, uint32_t count) noexcept nogil:
    cdef size_t size = HEADER_BYTES + 8 * <size_t>count
    cdef uint8_t* file = <uint8_t*>malloc(size)
    cdef uint32_t i
    cdef int status
    if file == NULL:
        return ERR_MEMORY
    put_u32(file + 4, MAGIC)
    put_u32(file + 8, VERSION)
    put_u32(file + 12, count)
    for i in range(count):
        put_u64(file + HEADER_BYTES + 8 * i, groups[i])
    put_u32(file, crc32c(0, file + 4, size - 4))
    status = whole_replace(files, directory, b"dropped", b"dropped.tmp", file, size)
    free(file)
    return status


cdef int dropped_add(Files* files, const char* directory, DroppedGroups* dropped, group_t group) noexcept nogil:
    cdef uint32_t place = place_of(dropped, group)
    cdef group_t* changed
    cdef int status
    if group == 0:
        return ERR_USAGE
    if dropped_holds(dropped, group):
        return OK
    if dropped.count == DROPPED_MAX:
        return ERR_OVERLOADED
    changed = <group_t*>malloc(8 * (<size_t>dropped.count + 1))
    if changed == NULL:
        return ERR_MEMORY
    if place > 0:
        memcpy(changed, dropped.groups, 8 * <size_t>place)
    changed[place] = group
    if place < dropped.count:
        memcpy(changed + place + 1, dropped.groups + place, 8 * <size_t>(dropped.count - place))
    status = write_file(files, directory, changed, dropped.count + 1)
    if status != OK:
        free(changed)
        return status
    free(dropped.groups)
    dropped.groups = changed
    dropped.count += 1
    return OK


cdef void dropped_close(DroppedGroups* dropped) noexcept nogil:
    free(dropped.groups)
    dropped.groups = NULL
    dropped.count = 0
