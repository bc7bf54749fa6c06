"""Power cuts on the virtual disk; see disk_cut.pxd."""

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.prng cimport Prng, prng_below, prng_chance
from quorumlog._core.simulation.disk cimport (
    DISK_PATH_BYTES, Disk, Inode, Names, disk_collect, disk_process_crash,
)
from quorumlog._core.simulation.names cimport (
    disk_settle_names, name_directory, names_change, names_copy, names_find,
)
from quorumlog._core.simulation.pages cimport (
    SECTOR_BYTES, SECTOR_GARBAGE, SECTOR_KEPT, SECTOR_OLD, PagedFile, paged_cut, paged_settle,
    paged_undurable,
)

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memmove, strcmp


cdef uint64_t* undurable(const PagedFile* file, uint32_t* count) noexcept nogil:
    """The open sectors of a file, to be freed."""
    cdef uint64_t* sectors
    count[0] = paged_undurable(file, NULL, 0)
    sectors = <uint64_t*>malloc(count[0] * sizeof(uint64_t) + 8)
    check(sectors != NULL, b"Q-CUT-01 the virtual disk has no memory for a list of sectors")
    paged_undurable(file, sectors, count[0])
    return sectors


cdef uint64_t draw_size(const PagedFile* file, Prng* prng) noexcept nogil:
    """A new size is lost, kept, or had only begun to grow."""
    cdef uint64_t low = min(file.durable_size, file.size)
    cdef uint64_t high = max(file.durable_size, file.size)
    cdef uint64_t drawn = prng_below(prng, 3)
    if drawn == 0:
        return file.durable_size
    if drawn == 1:
        return file.size
    return low + prng_below(prng, (high - low) // SECTOR_BYTES + 1) * SECTOR_BYTES


cdef uint32_t cut_file(PagedFile* file, uint32_t keep_of_eight, bint garbage, Prng* prng) noexcept nogil:
    """How many sectors it spoilt."""
    cdef uint32_t i, count
    cdef uint32_t spoilt = 0
    cdef int fate
    cdef uint64_t* sectors = undurable(file, &count)
    for i in range(count):
        fate = SECTOR_KEPT if prng_chance(prng, keep_of_eight, 8) else SECTOR_OLD
        if garbage and prng_chance(prng, 1, 32):
            fate = SECTOR_GARBAGE
            spoilt += 1
        paged_settle(file, sectors[i], fate, prng)
    free(sectors)
    paged_cut(file, draw_size(file, prng))
    return spoilt


cdef void drop_orphans(Names* names) noexcept nogil:
    """A name goes with its directory when that was never synced."""
    cdef char parent[DISK_PATH_BYTES]
    cdef uint32_t i = 0
    cdef int32_t at
    while i < names.count:
        name_directory(names.names[i].path, parent)
        at = names_find(names, parent) if parent[0] != 0 else 0
        if at >= 0:
            i += 1
            continue
        memmove(&names.names[i], &names.names[i + 1], (names.count - i - 1) * sizeof(names.names[0]))
        names.count -= 1
        i = 0


cdef void after_cut(Disk* disk) noexcept nogil:
    drop_orphans(&disk.durable)
    disk.change_count = 0
    names_copy(&disk.cached, &disk.durable)
    disk_process_crash(disk)
    disk_collect(disk)


cdef void disk_power_cut(Disk* disk, Prng* prng) noexcept nogil:
    cdef char directory[DISK_PATH_BYTES]
    cdef uint32_t i, pending, kept
    # All, none, or a share of the sectors: each kind of cut is common.
    cdef uint32_t keep_of_eight = <uint32_t>prng_below(prng, 9)
    cdef bint garbage = prng_chance(prng, 1, 4)
    for i in range(disk.inode_count):
        disk.sectors_spoilt += cut_file(&disk.inodes[i].content, keep_of_eight, garbage, prng)
    while disk.change_count > 0:
        name_directory(disk.changes[0].path, directory)
        pending = changes_of(disk, directory)
        kept = <uint32_t>prng_below(prng, pending + 1)
        disk.names_lost += pending - kept
        settle_and_drop(disk, directory, kept)
    after_cut(disk)


cdef uint32_t changes_of(const Disk* disk, const char* directory) noexcept nogil:
    cdef char parent[DISK_PATH_BYTES]
    cdef uint32_t i
    cdef uint32_t count = 0
    for i in range(disk.change_count):
        name_directory(disk.changes[i].path, parent)
        if strcmp(parent, directory) == 0:
            count += 1
    return count


cdef void settle_and_drop(Disk* disk, const char* directory, uint32_t kept) noexcept nogil:
    """The first `kept` pending changes of a directory happened, the others did not."""
    cdef char parent[DISK_PATH_BYTES]
    cdef uint32_t i
    cdef uint32_t left = 0
    disk_settle_names(disk, directory, kept)
    for i in range(disk.change_count):
        name_directory(disk.changes[i].path, parent)
        if strcmp(parent, directory) == 0:
            continue
        if left != i:
            disk.changes[left] = disk.changes[i]
        left += 1
    disk.change_count = left


cdef uint32_t disk_fates(const Disk* disk, OpenFate* fates, uint32_t capacity) noexcept nogil:
    cdef uint32_t i, k, of_file
    cdef uint32_t count = 0
    cdef uint64_t* sectors
    cdef const Inode* inode
    for i in range(disk.inode_count):
        inode = disk.inodes[i]
        sectors = undurable(&inode.content, &of_file)
        for k in range(of_file):
            if count < capacity:
                fates[count].inode = inode.id
                fates[count].sector = sectors[k]
            count += 1
        free(sectors)
        if inode.content.size != inode.content.durable_size:
            if count < capacity:
                fates[count].inode = inode.id
                fates[count].sector = SIZE_FATE
            count += 1
    return count


cdef void disk_cut_as(Disk* disk, const uint8_t* fates, uint32_t count, uint32_t changes_kept,
                      Prng* garbage) noexcept nogil:
    cdef uint32_t i, k, of_file
    cdef uint32_t at = 0
    cdef uint64_t size
    cdef uint64_t* sectors
    cdef PagedFile* file
    check2(disk_fates(disk, NULL, 0) == count, b"Q-CUT-02 every open fate is given, and no other", count, 0)
    check2(changes_kept <= disk.change_count, b"Q-CUT-03 no more changes are kept than are pending",
           changes_kept, disk.change_count)
    for i in range(disk.inode_count):
        file = &disk.inodes[i].content
        sectors = undurable(file, &of_file)
        for k in range(of_file):
            paged_settle(file, sectors[k], fates[at + k], garbage)
        free(sectors)
        at += of_file
        size = file.durable_size
        if file.size != file.durable_size:
            size = file.size if fates[at] == SECTOR_KEPT else file.durable_size
            at += 1
        paged_cut(file, size)
    for i in range(changes_kept):
        names_change(&disk.durable, &disk.changes[i])
    after_cut(disk)
