"""Test-facing: the virtual disk, its faults, power cuts, records and snapshots.

Errors of file calls are OSError with the call's errno.  Bytes go in and out;
nothing here is fast.
"""

import os
import struct

from quorumlog._core.base.prng cimport Prng, prng_seed
from quorumlog._core.simulation.disk cimport (
    DISK_PATH_BYTES, Inode, Recorded, disk_clone, disk_close, disk_fail, disk_find, disk_forget_record,
    disk_inode, disk_open, disk_process_crash, disk_replay,
)
from quorumlog._core.simulation.disk_cut cimport SIZE_FATE, OpenFate, disk_cut_as, disk_fates, disk_power_cut
from quorumlog._core.simulation.pages cimport (
    PAGE_SECTORS, SECTOR_BYTES, Page, PagedFile, paged_overwrite, paged_read, paged_sync, paged_write,
)
from quorumlog._core.storage.files cimport iovec

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memset

OPERATIONS = ("create", "write", "sync", "sync_directory", "rename", "remove", "make_directory", "read")
OLD, KEPT, GARBAGE = 0, 1, 2


cdef int64_t raised(int64_t status, path) except -1:
    if status < 0:
        raise OSError(-status, os.strerror(-status), path)
    return status


cdef int collect_name(void* context, const char* name) noexcept nogil:
    with gil:
        (<list>context).append((<bytes>name).decode())
    return 0


cdef bint sector_differs(const Page* page, uint32_t sector):
    cdef char zeros[SECTOR_BYTES]
    memset(zeros, 0, SECTOR_BYTES)
    cdef const char* current = zeros
    cdef const char* durable = zeros
    if page.current != NULL:
        current = <const char*>page.current + sector * SECTOR_BYTES
    if page.durable != NULL:
        durable = <const char*>page.durable + sector * SECTOR_BYTES
    return memcmp(current, durable, SECTOR_BYTES) != 0


cdef bytes path_bytes(str path):
    cdef bytes encoded = path.encode()
    if len(encoded) >= DISK_PATH_BYTES:
        raise ValueError(f"a path of the virtual disk has at most {DISK_PATH_BYTES - 1} bytes")
    return encoded


cdef class VirtualDisk:
    """A disk in memory that knows what a power cut may take."""

    def __cinit__(self, seed=0, *, bint empty=False):
        if not empty:
            self.disk = disk_open(seed)

    def __dealloc__(self):
        if self.disk != NULL:
            disk_close(self.disk)

    # --- the table of file calls

    def open(self, str path, int mode):
        return raised(self.disk.files.open(self.disk, path_bytes(path), mode), path)

    def close(self, int fd):
        raised(self.disk.files.close(self.disk, fd), None)

    def read(self, int fd, uint64_t size, uint64_t offset):
        # 4 KiB more than needed, to align for FILE_DIRECT.
        cdef char* memory = <char*>malloc(size + 4096)
        if memory == NULL:
            raise MemoryError
        cdef char* aligned = <char*>((<size_t>memory + 4095) & ~<size_t>4095)
        try:
            count = raised(self.disk.files.read(self.disk, fd, aligned, size, offset), None)
            return aligned[:count]
        finally:
            free(memory)

    def write(self, int fd, bytes data, uint64_t offset):
        cdef iovec part
        part.iov_base = <char*>data
        part.iov_len = len(data)
        return raised(self.disk.files.write(self.disk, fd, &part, 1, offset), None)

    def sync(self, int fd):
        raised(self.disk.files.sync(self.disk, fd), None)

    def sync_directory(self, str path):
        raised(self.disk.files.sync_directory(self.disk, path_bytes(path)), path)

    def size(self, int fd):
        return raised(self.disk.files.size(self.disk, fd), None)

    def rename(self, str source, str target):
        raised(self.disk.files.rename(self.disk, path_bytes(source), path_bytes(target)), source)

    def remove(self, str path):
        raised(self.disk.files.remove(self.disk, path_bytes(path)), path)

    def make_directory(self, str path):
        raised(self.disk.files.make_directory(self.disk, path_bytes(path)), path)

    def list(self, str path):
        names = []
        raised(self.disk.files.list(self.disk, path_bytes(path), collect_name, <void*>names), path)
        return sorted(names)

    def lock(self, str path):
        return raised(self.disk.files.lock(self.disk, path_bytes(path)), path)

    # --- faults and cuts

    def fail(self, str operation, int error, *, uint64_t after=0, bint forever=False):
        disk_fail(self.disk, OPERATIONS.index(operation), after, error, forever)

    def halt_after(self, operations):
        """All calls fail and do nothing after so many more changing ones; None: no more."""
        self.disk.halt_at = 0 if operations is None else self.disk.operations + 1 + operations

    @property
    def operations(self):
        """Changing calls so far."""
        return self.disk.operations

    @property
    def capacity_bytes(self):
        return self.disk.capacity_bytes

    @capacity_bytes.setter
    def capacity_bytes(self, value):
        self.disk.capacity_bytes = value

    def process_crash(self):
        disk_process_crash(self.disk)

    def power_cut(self, seed):
        cdef Prng prng
        prng_seed(&prng, seed)
        disk_power_cut(self.disk, &prng)

    def fates(self):
        """What a power cut would decide: (inode, sector) each, sector None for a file's size."""
        cdef uint32_t count = disk_fates(self.disk, NULL, 0)
        cdef OpenFate* fates = <OpenFate*>malloc(count * sizeof(OpenFate) + 8)
        if fates == NULL:
            raise MemoryError
        disk_fates(self.disk, fates, count)
        found = [(fates[i].inode,
                  None if fates[i].sector == SIZE_FATE else fates[i].sector) for i in range(count)]
        free(fates)
        return found

    def fates_that_matter(self):
        """Positions in fates() of sizes and of sectors whose old and new content differ."""
        cdef PagedFile* file
        cdef uint64_t sector
        matter = []
        for position, (inode, number) in enumerate(self.fates()):
            if number is None:
                matter.append(position)
                continue
            sector = number
            file = &disk_inode(self.disk, inode).content
            if sector_differs(&file.pages[sector // PAGE_SECTORS], <uint32_t>(sector % PAGE_SECTORS)):
                matter.append(position)
        return matter

    @property
    def pending_changes(self):
        """Changes of names that are not durable."""
        return self.disk.change_count

    def cut_as(self, bytes fates, uint32_t changes_kept, seed=0):
        cdef Prng prng
        prng_seed(&prng, seed)
        if len(fates) != disk_fates(self.disk, NULL, 0) or changes_kept > self.disk.change_count:
            raise ValueError("one fate for each of fates(), and no more changes than are pending")
        disk_cut_as(self.disk, <const uint8_t*>(<char*>fates), <uint32_t>len(fates), changes_kept, &prng)

    # --- the record

    def record(self, bint on=True):
        self.disk.recording = on

    @property
    def recorded_count(self):
        return self.disk.recorded_count

    def recorded(self, uint32_t number):
        """(operation, inode, offset, size, data, path, target) of a recorded call."""
        if number >= self.disk.recorded_count:
            raise IndexError(number)
        cdef Recorded* call = &self.disk.recorded[number]
        data = (<char*>call.data)[:call.size] if call.data != NULL else b""
        return (OPERATIONS[call.operation], call.inode, call.offset, call.size, data,
                (<bytes>call.path).decode(), (<bytes>call.target).decode())

    def forget_record(self):
        disk_forget_record(self.disk)

    def replay(self, VirtualDisk source, uint32_t number):
        """Carries out another disk's recorded call here."""
        if number >= source.disk.recorded_count:
            raise IndexError(number)
        raised(disk_replay(self.disk, &source.disk.recorded[number]), None)

    def clone(self, seed=0):
        cdef VirtualDisk copy = VirtualDisk(empty=True)
        copy.disk = disk_clone(self.disk, seed)
        return copy

    # --- content, from outside

    def paths(self):
        """Paths of all files, as calls see them."""
        names = [(self.disk.cached.names[i].path, self.disk.cached.names[i].inode)
                 for i in range(self.disk.cached.count)]
        return sorted((<bytes>path).decode() for path, inode in names if inode != 0)

    def content(self, str path):
        cdef Inode* inode = disk_find(self.disk, path_bytes(path))
        if inode == NULL:
            raise FileNotFoundError(path)
        content = bytearray(inode.content.size)
        cdef uint8_t[::1] view = content
        if len(content) > 0:
            paged_read(&inode.content, &view[0], inode.content.size, 0, False)
        return bytes(content)

    def overwrite(self, str path, uint64_t offset, bytes data):
        """Corruption: durable bytes change, and no call made them."""
        cdef Inode* inode = disk_find(self.disk, path_bytes(path))
        if inode == NULL:
            raise FileNotFoundError(path)
        if inode.content.dirty_count != 0 or offset + len(data) > inode.content.size:
            raise ValueError("corruption is for synced bytes within the file")
        paged_overwrite(&inode.content, <const uint8_t*>(<char*>data), len(data), offset)

    def put(self, str path, bytes data):
        """Makes a durable file with this content (its directories must be there)."""
        cdef Inode* inode
        self.close(self.open(path, 4))
        inode = disk_find(self.disk, path_bytes(path))
        paged_write(&inode.content, <const uint8_t*>(<char*>data), len(data), 0)
        paged_sync(&inode.content, 0, len(data))
        parent = path.rpartition("/")[0]
        self.sync_directory(parent)

    # --- snapshots

    def snapshot(self):
        """Directories and files as bytes: (u32 path length, path, u64 size or all ones, content) each."""
        parts = []
        for i in range(self.disk.cached.count):
            path = <bytes>self.disk.cached.names[i].path
            if self.disk.cached.names[i].inode == 0:
                parts.append(struct.pack("<I", len(path)) + path + struct.pack("<Q", 2**64 - 1))
                continue
            content = self.content(path.decode())
            parts.append(struct.pack("<I", len(path)) + path + struct.pack("<Q", len(content)) + content)
        return b"".join(parts)

    @staticmethod
    def restore(bytes snapshot, seed=0):
        """A disk with what a snapshot holds, all of it durable."""
        disk = VirtualDisk(seed)
        at = 0
        while at < len(snapshot):
            (length,) = struct.unpack_from("<I", snapshot, at)
            path = snapshot[at + 4:at + 4 + length].decode()
            (size,) = struct.unpack_from("<Q", snapshot, at + 4 + length)
            at += 12 + length
            if size == 2**64 - 1:
                disk.make_directory(path)
                disk.sync_directory(path.rpartition("/")[0])
                continue
            disk.put(path, snapshot[at:at + size])
            at += size
        return disk
