"""Compares a segment as cached with the segment on the platter; see platter.pxd."""

from quorumlog._core.base.status cimport ERR_IO, ERR_MEMORY, OK
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport BLOCK_BYTES
from quorumlog._core.storage.files cimport FILE_DIRECT, FILE_READ, FILE_WRITE, Files, iovec
from quorumlog._core.storage.scan cimport segment_path
from quorumlog._core.storage.state cimport PATH_BYTES_MAX

from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void** memory, size_t alignment, size_t size)

cdef enum:
    STEP_BYTES = 1 << 20


cdef int overwrite(Files* files, int fd, uint8_t* block, uint64_t offset) noexcept nogil:
    cdef iovec part
    part.iov_base = block
    part.iov_len = BLOCK_BYTES
    return OK if files.write(files.self, fd, &part, 1, offset) == BLOCK_BYTES else ERR_IO


cdef int agree_step(Files* files, int direct, int cached, uint8_t* memory, uint64_t offset,
                    bint* changed) noexcept nogil:
    """One step of the file; a read error is the scan's to judge."""
    cdef uint8_t* platter = memory
    cdef uint8_t* seen = memory + STEP_BYTES
    cdef int64_t count = files.read(files.self, direct, platter, STEP_BYTES, offset)
    cdef uint64_t at = 0
    if count <= 0 or files.read(files.self, cached, seen, STEP_BYTES, offset) != count:
        return OK
    while at + BLOCK_BYTES <= <uint64_t>count:
        if memcmp(platter + at, seen + at, BLOCK_BYTES) != 0:
            changed[0] = True
            if overwrite(files, cached, platter + at, offset + at) != OK:
                return ERR_IO
        at += BLOCK_BYTES
    return OK


cdef int platter_agree(Files* files, const char* directory, uint64_t id, bint* changed) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef void* memory = NULL
    cdef uint64_t offset = 0
    cdef int64_t size
    cdef int direct, cached
    cdef int status = OK
    changed[0] = False
    if mutant(b"trust-the-page-cache"):
        return OK
    segment_path(directory, id, path)
    direct = files.open(files.self, path, FILE_READ | FILE_DIRECT)
    if direct < 0:
        return OK                      # no direct reads here: docs/format.md says what that means
    cached = files.open(files.self, path, FILE_WRITE)
    if cached < 0:
        files.close(files.self, direct)
        return ERR_IO
    if posix_memalign(&memory, BLOCK_BYTES, 2 * STEP_BYTES) != 0:
        memory = NULL
        status = ERR_MEMORY
    size = files.size(files.self, cached)
    while status == OK and size > 0 and offset < <uint64_t>size:
        status = agree_step(files, direct, cached, <uint8_t*>memory, offset, changed)
        offset += STEP_BYTES
    if status == OK and changed[0] and files.sync(files.self, cached) != 0:
        status = ERR_IO
    free(memory)
    files.close(files.self, cached)
    files.close(files.self, direct)
    return status
