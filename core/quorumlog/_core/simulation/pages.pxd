"""The content of one file of the virtual disk, with what of it a power cut may take.

A page is 4 KiB of eight sectors.  `current` is what a read through the cache
returns, `durable` what is on the platter; NULL stands for zeros.  A sector is
*pending* from its write until a sync, and *lost* when a sync failed: the cache
calls it clean and later syncs pass it by, as on Linux (fsyncgate), so that only
a read past the cache tells the truth.  The size is pending in the same way.
"""

from quorumlog._core.base.prng cimport Prng

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    SECTOR_BYTES = 512
    PAGE_BYTES = 4096
    PAGE_SECTORS = 8

cdef struct Page:
    uint8_t* current           # the same as `durable` while nothing is pending or lost
    uint8_t* durable
    uint8_t pending            # bit set of sectors
    uint8_t lost               # disjoint from `pending`

cdef struct PagedFile:
    Page* pages
    uint32_t page_count
    uint32_t page_capacity
    uint64_t size
    uint64_t durable_size
    uint32_t* dirty            # pages with a pending or lost sector
    uint32_t dirty_count
    uint32_t dirty_capacity

# What becomes of one undurable sector at a power cut.
cdef enum SectorFate:
    SECTOR_OLD = 0
    SECTOR_KEPT = 1
    SECTOR_GARBAGE = 2


cdef void paged_open(PagedFile* file) noexcept nogil
cdef void paged_close(PagedFile* file) noexcept nogil
cdef void paged_copy(PagedFile* to, const PagedFile* source) noexcept nogil     # `to` is not open yet
cdef void paged_write(PagedFile* file, const uint8_t* data, uint64_t size, uint64_t offset) noexcept nogil
# Through the cache, or past it (`direct`): lost sectors then show what is on the platter.
cdef uint64_t paged_read(const PagedFile* file, uint8_t* data, uint64_t size, uint64_t offset,
                         bint direct) noexcept nogil
cdef void paged_sync(PagedFile* file, uint64_t offset, uint64_t size) noexcept nogil     # and the file's size
cdef void paged_sync_failed(PagedFile* file) noexcept nogil      # pending becomes lost
cdef uint32_t paged_undurable(const PagedFile* file, uint64_t* sectors, uint32_t capacity) noexcept nogil
# The fate of one sector, without waiting for the cut.
cdef void paged_settle(PagedFile* file, uint64_t sector, int fate, Prng* prng) noexcept nogil
# What is on the platter and `size` bytes of it become all there is.
cdef void paged_cut(PagedFile* file, uint64_t size) noexcept nogil
# Changes bytes behind everybody's back (bit rot, misdirected writes).
cdef void paged_overwrite(PagedFile* file, const uint8_t* data, uint64_t size, uint64_t offset) noexcept nogil
# The bytes of a sector that nothing is pending for, to be changed behind everybody's back (bit rot,
# misdirected writes); NULL where nothing was ever written, or something is under way.
cdef uint8_t* paged_clean_sector(PagedFile* file, uint64_t sector) noexcept nogil
# The `nth` pending sector counts as written from now on, and is not on the platter.
cdef void paged_lose(PagedFile* file, uint32_t nth) noexcept nogil
