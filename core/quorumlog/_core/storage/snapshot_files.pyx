"""See snapshot_files.pxd."""

from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_IO, ERR_MEMORY, ERR_USAGE, OK
from quorumlog._core.base.types cimport same_snapshot
from quorumlog._core.storage.files cimport FILE_CREATE, iovec
from quorumlog._core.storage.segment cimport status_of
from quorumlog._core.storage.snapshot cimport (
    SnapshotMeta, SnapshotReader, snapshot_close, snapshot_meta, snapshot_open_path, snapshot_path, snapshot_verify)

from libc.errno cimport EEXIST
from libc.stdint cimport int64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, realloc
from libc.string cimport memset, strcmp, strlen, strncmp, strncpy

cdef enum:
    SYNC_BYTES = 8 << 20
    NAME_BYTES = 64
    DIGITS = 16
    # "snapshot-" group "-" index "."
    GROUP_AT = 9
    INDEX_AT = 26
    ENDING_AT = 43

# Names that are to be removed: nobody changes a directory while it is listed.
cdef struct Leftovers:
    char (*names)[NAME_BYTES]
    uint32_t count
    bint out_of_memory


cdef bint hexadecimal(const char* text, uint64_t* value) noexcept nogil:
    cdef int i
    cdef char c
    value[0] = 0
    for i in range(DIGITS):
        c = text[i]
        if 48 <= c <= 57:
            value[0] = value[0] * 16 + <uint64_t>(c - 48)
        elif 97 <= c <= 102:
            value[0] = value[0] * 16 + <uint64_t>(c - 87)
        else:
            return False
    return True


cdef bint name_parse(const char* name, group_t* group, index_t* index, const char** ending) noexcept nogil:
    """`snapshot-<16 hex digits>-<16 hex digits>.<ending>`"""
    if strlen(name) <= ENDING_AT or strlen(name) >= NAME_BYTES or strncmp(name, b"snapshot-", GROUP_AT) != 0 \
            or name[INDEX_AT - 1] != b"-"[0] or name[ENDING_AT - 1] != b"."[0]:
        return False
    ending[0] = name + ENDING_AT
    return hexadecimal(name + GROUP_AT, group) and hexadecimal(name + INDEX_AT, index)


# The directory -------------------------------------------------------------------------------------------

cdef int list_one(void* context, const char* name) noexcept nogil:
    cdef SnapshotList* found = <SnapshotList*>context
    cdef const char* ending = NULL
    cdef group_t group = 0
    cdef index_t index = 0
    cdef uint32_t place
    if not name_parse(name, &group, &index, &ending) or group != found.group or strcmp(ending, b"qlsn") != 0:
        return 0
    place = found.count
    if found.count == SNAPSHOTS_LISTED_MAX:
        if found.indexes[place - 1] >= index:
            return 0
        place -= 1
    else:
        found.count += 1
    while place > 0 and found.indexes[place - 1] < index:
        found.indexes[place] = found.indexes[place - 1]
        place -= 1
    found.indexes[place] = index
    return 0


cdef int snapshots_list(Files* files, const char* directory, group_t group, SnapshotList* found) noexcept nogil:
    memset(found, 0, sizeof(SnapshotList))
    found.group = group
    return OK if files.list(files.self, directory, list_one, found) == 0 else ERR_IO


cdef int note_leftover(void* context, const char* name) noexcept nogil:
    cdef Leftovers* left = <Leftovers*>context
    cdef const char* ending = NULL
    cdef group_t group = 0
    cdef index_t index = 0
    cdef void* memory
    if not name_parse(name, &group, &index, &ending) or strcmp(ending, b"qlsn") == 0:
        return 0
    memory = realloc(left.names, (left.count + 1) * NAME_BYTES)
    if memory == NULL:
        left.out_of_memory = True
        return 0
    left.names = <char (*)[NAME_BYTES]>memory
    strncpy(left.names[left.count], name, NAME_BYTES)
    left.count += 1
    return 0


cdef int snapshots_clean(Files* files, const char* directory) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef Leftovers left
    cdef uint32_t i
    memset(&left, 0, sizeof(left))
    if files.list(files.self, directory, note_leftover, &left) != 0:
        free(left.names)
        return ERR_IO
    for i in range(left.count):
        snprintf(path, PATH_BYTES_MAX, b"%s/%s", directory, left.names[i])
        files.remove(files.self, path)
    free(left.names)
    return ERR_MEMORY if left.out_of_memory else OK


cdef void snapshots_drop(Files* files, const char* directory, group_t group, index_t index) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    snapshot_path(directory, group, index, b"qlsn", path)
    files.remove(files.self, path)


cdef void snapshots_drop_older(Files* files, const char* directory, group_t group, index_t index) noexcept nogil:
    cdef SnapshotList found
    cdef uint32_t i
    if snapshots_list(files, directory, group, &found) != OK:
        return                         # they go the next time
    for i in range(found.count):
        if found.indexes[i] < index:
            snapshots_drop(files, directory, group, found.indexes[i])


# What comes in -------------------------------------------------------------------------------------------

cdef void inflow_open(SnapshotInflow* inflow, Files* files, const char* directory, group_t group) noexcept nogil:
    memset(inflow, 0, sizeof(SnapshotInflow))
    inflow.files = files
    inflow.fd = -1
    inflow.group = group
    strncpy(inflow.directory, directory, PATH_BYTES_MAX - 1)


cdef void inflow_close(SnapshotInflow* inflow) noexcept nogil:
    if inflow.fd < 0:
        return
    inflow.files.close(inflow.files.self, inflow.fd)
    inflow.files.remove(inflow.files.self, inflow.path)
    inflow.fd = -1


cdef int begin(SnapshotInflow* inflow, const SnapshotId* id) noexcept nogil:
    inflow_close(inflow)
    snapshot_path(inflow.directory, inflow.group, id.index, b"coming", inflow.path)
    inflow.fd = inflow.files.open(inflow.files.self, inflow.path, FILE_CREATE)
    if inflow.fd == -EEXIST:
        inflow.files.remove(inflow.files.self, inflow.path)
        inflow.fd = inflow.files.open(inflow.files.self, inflow.path, FILE_CREATE)
    inflow.id = id[0]
    inflow.written = 0
    inflow.unsynced_bytes = 0
    return status_of(inflow.fd)


cdef int inflow_add(SnapshotInflow* inflow, const SnapshotId* id, uint64_t offset, const void* data,
                    uint64_t size) noexcept nogil:
    cdef iovec part
    cdef int64_t result
    cdef int status = OK
    if offset == 0:
        status = begin(inflow, id)
        if status != OK:
            return status
    if inflow.fd < 0 or size > id.file_bytes or offset > id.file_bytes - size:
        return ERR_USAGE
    if (offset != inflow.written or not same_snapshot(id, &inflow.id)) and not mutant(b"chunk-offset-not-checked"):
        return ERR_USAGE
    part.iov_base = <void*>data
    part.iov_len = size
    result = inflow.files.write(inflow.files.self, inflow.fd, &part, 1, inflow.written)
    if result < 0 or <uint64_t>result != size:
        inflow_close(inflow)
        return status_of(result) if result < 0 else ERR_IO
    inflow.written += size
    inflow.unsynced_bytes += size
    if inflow.unsynced_bytes >= SYNC_BYTES:
        inflow.unsynced_bytes = 0
        status = status_of(inflow.files.sync(inflow.files.self, inflow.fd))
        if status != OK:
            inflow_close(inflow)
    return status


cdef int verify(const SnapshotInflow* inflow) noexcept nogil:
    """Read back, not as it was sent: what a restore will see."""
    cdef SnapshotReader reader
    cdef SnapshotMeta meta
    cdef int status = snapshot_open_path(&reader, inflow.files, inflow.path)
    if status != OK:
        return status
    snapshot_meta(&reader, &meta)
    status = ERR_CORRUPT
    if meta.group == inflow.group and same_snapshot(&meta.id, &inflow.id):
        status = snapshot_verify(&reader)
    snapshot_close(&reader)
    return status


cdef int inflow_finish(SnapshotInflow* inflow) noexcept nogil:
    cdef char name[PATH_BYTES_MAX]
    cdef Files* files = inflow.files
    cdef int status
    if inflow.fd < 0:
        return ERR_USAGE
    status = status_of(files.sync(files.self, inflow.fd))
    if status == OK and not mutant(b"install-without-verifying"):
        status = verify(inflow)
    if status == OK:
        snapshot_path(inflow.directory, inflow.group, inflow.id.index, b"qlsn", name)
        status = status_of(files.rename(files.self, inflow.path, name))
    if status == OK:
        files.close(files.self, inflow.fd)
        inflow.fd = -1
        return status_of(files.sync_directory(files.self, inflow.directory))
    inflow_close(inflow)
    return status
