"""Background scrub: reads the batches of sealed segments again and looks whether they are still what was written.

Past the page cache where the file system can: what is asked is what the disk holds.  One
thread, any one, beside the owner of the log.  What is bad and alive (no newer record holds
its place) is named; a repair, or the protocol, takes it from there (DESIGN 5, rules 10 and 11).
"""

from quorumlog._core.base.types cimport group_t, index_t
from quorumlog._core.storage.batch cimport BatchPool
from quorumlog._core.storage.format cimport FooterEntry
from quorumlog._core.storage.wal cimport Wal

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef struct ScrubFault:
    group_t group
    index_t first
    index_t last

cdef struct Scrub:
    Wal* wal
    BatchPool* pool                # for second looks
    uint64_t segment               # under way or done last; 0: a pass begins
    int fd                         # -1: between segments
    uint64_t file_bytes
    FooterEntry* entries
    uint32_t entry_count
    uint32_t position
    uint8_t* buffer                # on a block boundary
    uint64_t buffer_bytes


cdef int scrub_open(Scrub* scrub, Wal* wal) noexcept nogil          # OK or ERR_MEMORY
cdef void scrub_close(Scrub* scrub) noexcept nogil
# A new pass, from the oldest segment on.
cdef void scrub_restart(Scrub* scrub) noexcept nogil
# One record, or the beginning of a segment; adds to *read_bytes.  OK: there is more; ERR_CORRUPT: there is more,
# and *fault was found; ERR_AGAIN: all that is sealed was read.
cdef int scrub_step(Scrub* scrub, uint64_t* read_bytes, ScrubFault* fault) noexcept nogil
