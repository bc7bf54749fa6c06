"""The virtual disk's file calls; see disk.pxd."""

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.prng cimport prng_below, prng_seed
from quorumlog._core.simulation.names cimport (
    disk_change, disk_settle_names, name_directory, name_lies_in, names_close, names_copy, names_find,
)
from quorumlog._core.simulation.pages cimport (
    SECTOR_BYTES, PagedFile, paged_close, paged_copy, paged_lose, paged_open, paged_read, paged_sync,
    paged_sync_failed, paged_write,
)
from quorumlog._core.storage.files cimport (
    FILE_CREATE, FILE_DIRECT, FILE_SYNCED, FILE_WRITE, NameVisitor, iovec,
)

from libc.errno cimport (
    EAGAIN, EBADF, EEXIST, EINVAL, EIO, EISDIR, EMFILE, ENAMETOOLONG, ENOENT, ENOSPC, ENOTDIR, EXDEV,
)
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset, strcmp, strcpy, strlen

cdef enum:
    FIRST_DESCRIPTOR = 3
    EVERYTHING = 0x7FFFFFFFFFFFFFFF


# --- inodes and descriptors -------------------------------------------------------------

cdef Inode* disk_inode(const Disk* disk, uint64_t id) noexcept nogil:
    cdef uint32_t i
    for i in range(disk.inode_count):
        if disk.inodes[i].id == id:
            return disk.inodes[i]
    return NULL


cdef Inode* disk_find(const Disk* disk, const char* path) noexcept nogil:
    cdef int32_t at = names_find(&disk.cached, path)
    if at < 0 or disk.cached.names[at].inode == 0:
        return NULL
    return disk_inode(disk, disk.cached.names[at].inode)


cdef Inode* inode_new(Disk* disk, uint64_t id) noexcept nogil:
    cdef Inode* inode = <Inode*>malloc(sizeof(Inode))
    if disk.inode_count == disk.inode_capacity:
        disk.inode_capacity = 2 * disk.inode_capacity + 8
        disk.inodes = <Inode**>realloc(disk.inodes, disk.inode_capacity * sizeof(Inode*))
    check(inode != NULL and disk.inodes != NULL, b"Q-DISK-01 the virtual disk has no memory for an inode")
    inode.id = id
    paged_open(&inode.content)
    disk.inodes[disk.inode_count] = inode
    disk.inode_count += 1
    disk.inode_next = max(disk.inode_next, id + 1)
    return inode


cdef bint inode_reachable(const Disk* disk, uint64_t id) noexcept nogil:
    cdef uint32_t i
    for i in range(disk.cached.count):
        if disk.cached.names[i].inode == id:
            return True
    for i in range(disk.durable.count):
        if disk.durable.names[i].inode == id:
            return True
    for i in range(disk.change_count):
        if disk.changes[i].inode == id:
            return True
    for i in range(DISK_DESCRIPTORS):
        if disk.descriptors[i].inode == id:
            return True
    return False


cdef void disk_collect(Disk* disk) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t kept = 0
    for i in range(disk.inode_count):
        if inode_reachable(disk, disk.inodes[i].id):
            disk.inodes[kept] = disk.inodes[i]
            kept += 1
        else:
            paged_close(&disk.inodes[i].content)
            free(disk.inodes[i])
    disk.inode_count = kept


cdef Descriptor* descriptor_of(Disk* disk, int fd) noexcept nogil:
    if fd < FIRST_DESCRIPTOR or fd - FIRST_DESCRIPTOR >= DISK_DESCRIPTORS:
        return NULL
    cdef Descriptor* descriptor = &disk.descriptors[fd - FIRST_DESCRIPTOR]
    return descriptor if descriptor.inode != 0 else NULL


cdef int descriptor_new(Disk* disk, uint64_t inode, int mode, bint locked) noexcept nogil:
    cdef int i
    for i in range(DISK_DESCRIPTORS):
        if disk.descriptors[i].inode == 0:
            disk.descriptors[i].inode = inode
            disk.descriptors[i].mode = mode
            disk.descriptors[i].locked = locked
            return i + FIRST_DESCRIPTOR
    return -EMFILE


# --- faults and the record --------------------------------------------------------------

cdef void disk_fail(Disk* disk, int operation, uint64_t after, int error, bint forever) noexcept nogil:
    check2(operation >= 0 and operation < DISK_OPERATIONS, b"Q-DISK-02 there is such an operation", operation,
           error)
    disk.faults[operation].after = after
    disk.faults[operation].error = error
    disk.faults[operation].forever = forever


cdef int fault_due(Disk* disk, int operation) noexcept nogil:
    """0, or the negative errno that this call fails with."""
    cdef DiskFault* fault = &disk.faults[operation]
    cdef int error = fault.error
    if error == 0:
        return 0
    if fault.after > 0:
        fault.after -= 1
        return 0
    if not fault.forever:
        fault.error = 0
    return -error


cdef int begin(Disk* disk, int operation) noexcept nogil:
    """Counts a changing call: 0, or why it fails before it does anything."""
    if disk.halt_at != 0 and disk.operations + 1 >= disk.halt_at:
        return -EIO
    disk.operations += 1
    return fault_due(disk, operation)


cdef Recorded* record(Disk* disk, int operation, uint64_t inode, const char* path) noexcept nogil:
    cdef Recorded* call
    if disk.recorded_count == disk.recorded_capacity:
        disk.recorded_capacity = 2 * disk.recorded_capacity + 64
        disk.recorded = <Recorded*>realloc(disk.recorded, disk.recorded_capacity * sizeof(Recorded))
        check(disk.recorded != NULL, b"Q-DISK-03 the virtual disk has no memory for its record")
    call = &disk.recorded[disk.recorded_count]
    memset(call, 0, sizeof(Recorded))
    call.operation = operation
    call.inode = inode
    if path != NULL:
        strcpy(call.path, path)
    disk.recorded_count += 1
    return call


cdef void disk_forget_record(Disk* disk) noexcept nogil:
    cdef uint32_t i
    for i in range(disk.recorded_count):
        free(disk.recorded[i].data)
    disk.recorded_count = 0


# --- names ------------------------------------------------------------------------------

cdef int path_status(const Disk* disk, const char* path) noexcept nogil:
    """0 if something may be made under this path."""
    cdef char parent[DISK_PATH_BYTES]
    cdef int32_t at
    if strlen(path) >= DISK_PATH_BYTES:
        return -ENAMETOOLONG
    name_directory(path, parent)
    if parent[0] == 0:
        return 0
    at = names_find(&disk.cached, parent)
    if at < 0:
        return -ENOENT
    return 0 if disk.cached.names[at].inode == 0 else -ENOTDIR


cdef int create_file(Disk* disk, const char* path) noexcept nogil:
    cdef int status = path_status(disk, path)
    cdef Inode* inode
    if status == 0 and names_find(&disk.cached, path) >= 0:
        status = -EEXIST
    if status == 0:
        status = begin(disk, DISK_CREATE)
    if status != 0:
        return status
    inode = inode_new(disk, disk.inode_next)
    disk_change(disk, DISK_CREATE, path, NULL, inode.id)
    if disk.recording:
        record(disk, DISK_CREATE, inode.id, path)
    return 0


cdef int call_open(void* self, const char* path, int mode) noexcept nogil:
    cdef Disk* disk = <Disk*>self
    cdef Inode* inode
    cdef int status
    if mode & FILE_CREATE:
        status = create_file(disk, path)
        if status != 0:
            return status
    inode = disk_find(disk, path)
    if inode == NULL:
        return -EISDIR if names_find(&disk.cached, path) >= 0 else -ENOENT
    return descriptor_new(disk, inode.id, mode, False)


cdef int call_close(void* self, int fd) noexcept nogil:
    cdef Disk* disk = <Disk*>self
    cdef Descriptor* descriptor = descriptor_of(disk, fd)
    if descriptor == NULL:
        return -EBADF
    memset(descriptor, 0, sizeof(Descriptor))
    disk_collect(disk)
    return 0


cdef int call_sync_directory(void* self, const char* path) noexcept nogil:
    cdef Disk* disk = <Disk*>self
    cdef int32_t at = names_find(&disk.cached, path)
    cdef int status
    if strcmp(path, b"") != 0 and strcmp(path, b"/") != 0:
        if at < 0:
            return -ENOENT
        if disk.cached.names[at].inode != 0:
            return -ENOTDIR
    status = begin(disk, DISK_SYNC_DIRECTORY)
    if status != 0:
        return status
    disk_settle_names(disk, path, 0xFFFFFFFF)
    if disk.recording:
        record(disk, DISK_SYNC_DIRECTORY, 0, path)
    disk_collect(disk)
    return 0


cdef int call_rename(void* self, const char* source, const char* target) noexcept nogil:
    cdef Disk* disk = <Disk*>self
    cdef char parent[DISK_PATH_BYTES]
    cdef int status = path_status(disk, target)
    cdef Inode* inode = disk_find(disk, source)
    if status != 0:
        return status
    if inode == NULL:
        return -ENOENT
    name_directory(source, parent)
    if not name_lies_in(target, parent):
        return -EXDEV
    status = begin(disk, DISK_RENAME)
    if status != 0:
        return status
    disk_change(disk, DISK_RENAME, source, target, inode.id)
    if disk.recording:
        strcpy(record(disk, DISK_RENAME, inode.id, source).target, target)
    disk_collect(disk)
    return 0


cdef int call_remove(void* self, const char* path) noexcept nogil:
    cdef Disk* disk = <Disk*>self
    cdef Inode* inode = disk_find(disk, path)
    cdef int status
    if inode == NULL:
        return -EISDIR if names_find(&disk.cached, path) >= 0 else -ENOENT
    status = begin(disk, DISK_REMOVE)
    if status != 0:
        return status
    disk_change(disk, DISK_REMOVE, path, NULL, inode.id)
    if disk.recording:
        record(disk, DISK_REMOVE, inode.id, path)
    disk_collect(disk)
    return 0


cdef int call_make_directory(void* self, const char* path) noexcept nogil:
    cdef Disk* disk = <Disk*>self
    cdef int status = path_status(disk, path)
    if status == 0 and names_find(&disk.cached, path) >= 0:
        status = -EEXIST
    if status == 0:
        status = begin(disk, DISK_MAKE_DIRECTORY)
    if status != 0:
        return status
    disk_change(disk, DISK_MAKE_DIRECTORY, path, NULL, 0)
    if disk.recording:
        record(disk, DISK_MAKE_DIRECTORY, 0, path)
    return 0


cdef int call_list(void* self, const char* path, NameVisitor visit, void* context) noexcept nogil:
    cdef Disk* disk = <Disk*>self
    cdef size_t skip = strlen(path) + 1 if strcmp(path, b"/") != 0 else 1
    cdef uint32_t i
    cdef int status
    if strcmp(path, b"/") != 0 and names_find(&disk.cached, path) < 0:
        return -ENOENT
    for i in range(disk.cached.count):
        if name_lies_in(disk.cached.names[i].path, path):
            status = visit(context, disk.cached.names[i].path + skip)
            if status != 0:
                return status
    return 0


cdef int call_lock(void* self, const char* path) noexcept nogil:
    cdef Disk* disk = <Disk*>self
    cdef Inode* inode = disk_find(disk, path)
    cdef int status, i
    if inode == NULL:
        status = create_file(disk, path)
        if status != 0:
            return status
        inode = disk_find(disk, path)
    for i in range(DISK_DESCRIPTORS):
        if disk.descriptors[i].inode == inode.id and disk.descriptors[i].locked:
            return -EAGAIN           # the same as EWOULDBLOCK
    return descriptor_new(disk, inode.id, FILE_WRITE, True)


# --- content ----------------------------------------------------------------------------

cdef int64_t call_read(void* self, int fd, void* data, uint64_t size, uint64_t offset) noexcept nogil:
    cdef Disk* disk = <Disk*>self
    cdef Descriptor* descriptor = descriptor_of(disk, fd)
    cdef int status
    if descriptor == NULL:
        return -EBADF
    if descriptor.mode & FILE_DIRECT and (size | offset | <uintptr_t>data) % SECTOR_BYTES != 0:
        return -EINVAL
    if disk.halt_at != 0 and disk.operations + 1 >= disk.halt_at:
        return -EIO
    status = fault_due(disk, DISK_READ)
    if status != 0:
        return status
    return <int64_t>paged_read(&disk_inode(disk, descriptor.inode).content, <uint8_t*>data, size, offset,
                               (descriptor.mode & FILE_DIRECT) != 0)


cdef uint64_t used_bytes(const Disk* disk) noexcept nogil:
    cdef uint64_t used = 0
    cdef uint32_t i
    for i in range(disk.inode_count):
        used += disk.inodes[i].content.size
    return used


cdef void write_one(Disk* disk, Inode* inode, const void* data, uint64_t size,
                    uint64_t offset) noexcept nogil:
    cdef Recorded* call
    if size == 0:
        return
    paged_write(&inode.content, <const uint8_t*>data, size, offset)
    if disk.recording:
        call = record(disk, DISK_WRITE, inode.id, NULL)
        call.offset = offset
        call.size = size
        call.data = <uint8_t*>malloc(size)
        check(call.data != NULL, b"Q-DISK-04 the virtual disk has no memory for its record")
        memcpy(call.data, data, size)


cdef int direct_status(const Descriptor* descriptor, const iovec* parts, int count,
                       uint64_t offset) noexcept nogil:
    cdef int i
    if not descriptor.mode & FILE_DIRECT:
        return 0
    for i in range(count):
        if (parts[i].iov_len | <uintptr_t>parts[i].iov_base) % SECTOR_BYTES != 0:
            return -EINVAL
    return 0 if offset % SECTOR_BYTES == 0 else -EINVAL


cdef int64_t disk_write_pending(Disk* disk, int fd, const iovec* parts, int count,
                                uint64_t offset) noexcept nogil:
    cdef Descriptor* descriptor = descriptor_of(disk, fd)
    cdef Inode* inode
    cdef uint64_t total = 0
    cdef uint64_t limit, piece
    cdef int i, status
    if descriptor == NULL or not descriptor.mode & (FILE_WRITE | FILE_CREATE):
        return -EBADF
    status = direct_status(descriptor, parts, count, offset)
    if status == 0:
        status = begin(disk, DISK_WRITE)
    if status == -EIO and disk.halt_at != 0:
        return status
    inode = disk_inode(disk, descriptor.inode)
    for i in range(count):
        total += parts[i].iov_len
    limit = total
    if disk.capacity_bytes != 0 and offset + total > inode.content.size:
        piece = used_bytes(disk) + offset + total - inode.content.size      # what would be used
        if piece > disk.capacity_bytes:
            status = -ENOSPC
            limit = total - min(total, piece - disk.capacity_bytes)
    if status != 0 and limit > 0:
        # A failing write has written some of it.
        limit = prng_below(&disk.prng, limit + 1)
    total = 0
    for i in range(count):
        piece = min(<uint64_t>parts[i].iov_len, limit - total)
        write_one(disk, inode, parts[i].iov_base, piece, offset + total)
        total += piece
    return <int64_t>total if status == 0 else status


cdef int disk_sync_range(Disk* disk, int fd, uint64_t offset, uint64_t size) noexcept nogil:
    cdef Descriptor* descriptor = descriptor_of(disk, fd)
    cdef PagedFile* content
    cdef Recorded* call
    cdef int status
    if descriptor == NULL:
        return -EBADF
    content = &disk_inode(disk, descriptor.inode).content
    status = begin(disk, DISK_SYNC)
    if status == -EIO and disk.halt_at != 0:
        return status
    if status != 0:
        paged_sync_failed(content)
        return status
    if disk.lose_sector and content.dirty_count != 0:
        disk.lose_sector = False
        paged_lose(content, <uint32_t>prng_below(&disk.prng, 8 * content.dirty_count))
    paged_sync(content, offset, size)
    if disk.recording:
        call = record(disk, DISK_SYNC, descriptor.inode, NULL)
        call.offset = offset
        call.size = size
    return 0


cdef int64_t call_write(void* self, int fd, const iovec* parts, int count, uint64_t offset) noexcept nogil:
    cdef Disk* disk = <Disk*>self
    cdef Descriptor* descriptor = descriptor_of(disk, fd)
    cdef int64_t written = disk_write_pending(disk, fd, parts, count, offset)
    cdef int status
    if written > 0 and descriptor.mode & FILE_SYNCED:
        status = disk_sync_range(disk, fd, offset, <uint64_t>written)
        if status != 0:
            return status
    return written


cdef int call_sync(void* self, int fd) noexcept nogil:
    return disk_sync_range(<Disk*>self, fd, 0, EVERYTHING)


cdef int64_t call_size(void* self, int fd) noexcept nogil:
    cdef Disk* disk = <Disk*>self
    cdef Descriptor* descriptor = descriptor_of(disk, fd)
    if descriptor == NULL:
        return -EBADF
    return <int64_t>disk_inode(disk, descriptor.inode).content.size


# --- the disk ---------------------------------------------------------------------------

cdef Disk* disk_open(uint64_t seed) noexcept nogil:
    cdef Disk* disk = <Disk*>calloc(1, sizeof(Disk))
    check(disk != NULL, b"Q-DISK-05 there is memory for a virtual disk")
    prng_seed(&disk.prng, seed)
    disk.inode_next = 1
    disk.files.self = disk
    disk.files.open = call_open
    disk.files.close = call_close
    disk.files.read = call_read
    disk.files.write = call_write
    disk.files.sync = call_sync
    disk.files.sync_directory = call_sync_directory
    disk.files.size = call_size
    disk.files.rename = call_rename
    disk.files.remove = call_remove
    disk.files.make_directory = call_make_directory
    disk.files.list = call_list
    disk.files.lock = call_lock
    return disk


cdef void disk_close(Disk* disk) noexcept nogil:
    cdef uint32_t i
    for i in range(disk.inode_count):
        paged_close(&disk.inodes[i].content)
        free(disk.inodes[i])
    free(disk.inodes)
    names_close(&disk.cached)
    names_close(&disk.durable)
    free(disk.changes)
    disk_forget_record(disk)
    free(disk.recorded)
    free(disk)


cdef Disk* disk_clone(const Disk* disk, uint64_t seed) noexcept nogil:
    cdef Disk* clone = disk_open(seed)
    cdef uint32_t i
    for i in range(disk.inode_count):
        paged_copy(&inode_new(clone, disk.inodes[i].id).content, &disk.inodes[i].content)
    clone.inode_next = disk.inode_next
    clone.capacity_bytes = disk.capacity_bytes
    names_copy(&clone.cached, &disk.cached)
    names_copy(&clone.durable, &disk.durable)
    clone.changes = <NameChange*>malloc(disk.change_count * sizeof(NameChange) + 8)
    check(clone.changes != NULL, b"Q-DISK-06 there is memory for a copy of a virtual disk")
    if disk.change_count != 0:
        memcpy(clone.changes, disk.changes, disk.change_count * sizeof(NameChange))
    clone.change_count = disk.change_count
    clone.change_capacity = disk.change_count
    return clone


cdef void disk_process_crash(Disk* disk) noexcept nogil:
    memset(disk.descriptors, 0, sizeof(disk.descriptors))
    disk_collect(disk)


cdef int disk_replay(Disk* disk, const Recorded* call) noexcept nogil:
    cdef Inode* inode
    if call.operation == DISK_CREATE:
        disk_change(disk, DISK_CREATE, call.path, NULL, inode_new(disk, call.inode).id)
    elif call.operation == DISK_MAKE_DIRECTORY:
        disk_change(disk, DISK_MAKE_DIRECTORY, call.path, NULL, 0)
    elif call.operation == DISK_RENAME or call.operation == DISK_REMOVE:
        disk_change(disk, call.operation, call.path, call.target, call.inode)
        disk_collect(disk)
    elif call.operation == DISK_SYNC_DIRECTORY:
        disk_settle_names(disk, call.path, 0xFFFFFFFF)
        disk_collect(disk)
    else:
        inode = disk_inode(disk, call.inode)
        if inode == NULL:
            return -ENOENT         # written after its name had gone
        if call.operation == DISK_WRITE:
            paged_write(&inode.content, call.data, call.size, call.offset)
        else:
            paged_sync(&inode.content, call.offset, call.size)
    return 0
