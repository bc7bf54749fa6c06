"""Pages and sectors of the virtual disk's files; see pages.pxd."""

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.prng cimport Prng, prng_next

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

cdef uint8_t ZEROS[PAGE_BYTES]


cdef void paged_open(PagedFile* file) noexcept nogil:
    memset(file, 0, sizeof(PagedFile))


cdef void page_close(Page* page) noexcept nogil:
    if page.durable != page.current:
        free(page.durable)
    free(page.current)


cdef void paged_close(PagedFile* file) noexcept nogil:
    cdef uint32_t i
    for i in range(file.page_count):
        page_close(&file.pages[i])
    free(file.pages)
    free(file.dirty)
    memset(file, 0, sizeof(PagedFile))


cdef uint8_t* page_new(const uint8_t* content) noexcept nogil:
    cdef uint8_t* bytes = <uint8_t*>malloc(PAGE_BYTES)
    check(bytes != NULL, b"Q-PAGES-01 the virtual disk has no memory for a page")
    if content == NULL:
        memset(bytes, 0, PAGE_BYTES)
    else:
        memcpy(bytes, content, PAGE_BYTES)
    return bytes


cdef void paged_copy(PagedFile* to, const PagedFile* source) noexcept nogil:
    cdef uint32_t i
    cdef Page* page
    to[0] = source[0]
    to.pages = <Page*>malloc(source.page_count * sizeof(Page) + 1)
    to.dirty = <uint32_t*>malloc(source.dirty_count * sizeof(uint32_t) + 1)
    check(to.pages != NULL and to.dirty != NULL, b"Q-PAGES-02 the virtual disk has no memory for a copy")
    to.page_capacity = source.page_count
    to.dirty_capacity = source.dirty_count
    if source.dirty_count != 0:
        memcpy(to.dirty, source.dirty, source.dirty_count * sizeof(uint32_t))
    for i in range(source.page_count):
        page = &to.pages[i]
        page[0] = source.pages[i]
        if page.current != NULL:
            page.current = page_new(page.current)
        if source.pages[i].durable == source.pages[i].current:
            page.durable = page.current
        elif page.durable != NULL:
            page.durable = page_new(page.durable)


cdef void grow(PagedFile* file, uint64_t size) noexcept nogil:
    """Room for `size` bytes; the size itself is not touched."""
    cdef uint64_t pages = (size + PAGE_BYTES - 1) // PAGE_BYTES
    cdef uint64_t capacity
    check(pages < (1 << 22), b"Q-PAGES-03 a virtual file is bounded by 16 GiB")
    if pages <= file.page_count:
        return
    if pages > file.page_capacity:
        capacity = max(pages, <uint64_t>2 * file.page_capacity)
        file.pages = <Page*>realloc(file.pages, capacity * sizeof(Page))
        check(file.pages != NULL, b"Q-PAGES-04 the virtual disk has no memory for a page table")
        file.page_capacity = <uint32_t>capacity
    memset(&file.pages[file.page_count], 0, (pages - file.page_count) * sizeof(Page))
    file.page_count = <uint32_t>pages


cdef void mark_dirty(PagedFile* file, uint32_t page) noexcept nogil:
    if file.dirty_count == file.dirty_capacity:
        file.dirty_capacity = 2 * file.dirty_capacity + 16
        file.dirty = <uint32_t*>realloc(file.dirty, file.dirty_capacity * sizeof(uint32_t))
        check(file.dirty != NULL, b"Q-PAGES-05 the virtual disk has no memory for its dirty list")
    file.dirty[file.dirty_count] = page
    file.dirty_count += 1


cdef void page_write(PagedFile* file, uint32_t index, const uint8_t* data, uint32_t size,
                     uint32_t offset) noexcept nogil:
    cdef Page* page = &file.pages[index]
    cdef uint32_t sector
    if page.pending == 0 and page.lost == 0:
        mark_dirty(file, index)
    for sector in range(offset // SECTOR_BYTES, (offset + size - 1) // SECTOR_BYTES + 1):
        page.pending |= <uint8_t>(1 << sector)
    page.lost &= ~page.pending
    if page.current == NULL and memcmp(data, ZEROS, size) == 0:
        return
    if page.current == page.durable:
        page.current = page_new(page.durable)
    memcpy(page.current + offset, data, size)


cdef void paged_write(PagedFile* file, const uint8_t* data, uint64_t size, uint64_t offset) noexcept nogil:
    cdef uint64_t done = 0
    cdef uint64_t position
    cdef uint32_t within, count
    grow(file, offset + size)
    while done < size:
        position = offset + done
        within = position % PAGE_BYTES
        count = <uint32_t>min(size - done, <uint64_t>(PAGE_BYTES - within))
        page_write(file, <uint32_t>(position // PAGE_BYTES), data + done, count, within)
        done += count
    if offset + size > file.size:
        file.size = offset + size


cdef void page_read(const Page* page, uint8_t* data, uint32_t size, uint32_t offset,
                    bint direct) noexcept nogil:
    cdef uint32_t i, sector
    cdef const uint8_t* source
    if not direct or page.lost == 0:
        if page.current == NULL:
            memset(data, 0, size)
        else:
            memcpy(data, page.current + offset, size)
        return
    for i in range(size):
        sector = (offset + i) // SECTOR_BYTES
        source = page.durable if page.lost & (1 << sector) else page.current
        data[i] = source[offset + i] if source != NULL else 0


cdef uint64_t paged_read(const PagedFile* file, uint8_t* data, uint64_t size, uint64_t offset,
                         bint direct) noexcept nogil:
    cdef uint64_t done = 0
    cdef uint64_t position
    cdef uint32_t within, count
    if offset >= file.size:
        return 0
    size = min(size, file.size - offset)
    while done < size:
        position = offset + done
        within = position % PAGE_BYTES
        count = <uint32_t>min(size - done, <uint64_t>(PAGE_BYTES - within))
        page_read(&file.pages[position // PAGE_BYTES], data + done, count, within, direct)
        done += count
    return size


cdef void copy_sector(Page* page, uint32_t sector) noexcept nogil:
    """The cache's sector reaches the platter."""
    cdef uint32_t at = sector * SECTOR_BYTES
    if page.current == page.durable:
        return                     # both zeros: a write of zeros over zeros
    if page.durable == NULL:
        page.durable = page_new(NULL)
    if page.current == NULL:
        memset(page.durable + at, 0, SECTOR_BYTES)
    else:
        memcpy(page.durable + at, page.current + at, SECTOR_BYTES)


cdef bint page_clean(Page* page) noexcept nogil:
    """Shares the bytes again once nothing is undurable."""
    if page.pending != 0 or page.lost != 0:
        return False
    if page.durable != page.current:
        free(page.durable)
        page.durable = page.current
    return True


cdef void paged_sync(PagedFile* file, uint64_t offset, uint64_t size) noexcept nogil:
    cdef uint32_t i, sector, index
    cdef uint32_t kept = 0
    cdef uint64_t at
    cdef Page* page
    for i in range(file.dirty_count):
        index = file.dirty[i]
        page = &file.pages[index]
        for sector in range(PAGE_SECTORS):
            at = <uint64_t>index * PAGE_BYTES + sector * SECTOR_BYTES
            if page.pending & (1 << sector) and at + SECTOR_BYTES > offset and at < offset + size:
                copy_sector(page, sector)
                page.pending &= ~<uint8_t>(1 << sector)
        if not page_clean(page):
            file.dirty[kept] = index
            kept += 1
    file.dirty_count = kept
    file.durable_size = file.size


cdef void paged_sync_failed(PagedFile* file) noexcept nogil:
    cdef uint32_t i
    cdef Page* page
    for i in range(file.dirty_count):
        page = &file.pages[file.dirty[i]]
        page.lost |= page.pending
        page.pending = 0


cdef uint32_t paged_undurable(const PagedFile* file, uint64_t* sectors, uint32_t capacity) noexcept nogil:
    """Numbers of the sectors a power cut may take, in the order of writes; counts beyond `capacity` too."""
    cdef uint32_t i, sector
    cdef uint32_t count = 0
    cdef const Page* page
    for i in range(file.dirty_count):
        page = &file.pages[file.dirty[i]]
        for sector in range(PAGE_SECTORS):
            if (page.pending | page.lost) & (1 << sector):
                if count < capacity:
                    sectors[count] = <uint64_t>file.dirty[i] * PAGE_SECTORS + sector
                count += 1
    return count


cdef void paged_settle(PagedFile* file, uint64_t sector, int fate, Prng* prng) noexcept nogil:
    cdef Page* page = &file.pages[sector // PAGE_SECTORS]
    cdef uint32_t within = sector % PAGE_SECTORS
    cdef uint32_t i
    check2(((page.pending | page.lost) & (1 << within)) != 0,
           b"Q-PAGES-06 only a sector that is not durable has its fate open", sector, fate)
    if fate == SECTOR_OLD:
        return
    if fate == SECTOR_GARBAGE:
        if page.current == page.durable:
            page.current = page_new(page.durable)
        for i in range(SECTOR_BYTES):
            page.current[within * SECTOR_BYTES + i] = <uint8_t>(prng_next(prng) >> 32)
    copy_sector(page, within)


cdef void paged_cut(PagedFile* file, uint64_t size) noexcept nogil:
    cdef uint32_t i, pages
    cdef Page* page
    for i in range(file.dirty_count):
        page = &file.pages[file.dirty[i]]
        if page.current != page.durable:
            free(page.current)
            page.current = page.durable
        page.pending = 0
        page.lost = 0
    file.dirty_count = 0
    pages = <uint32_t>((size + PAGE_BYTES - 1) // PAGE_BYTES)
    for i in range(pages, file.page_count):
        page_close(&file.pages[i])
    file.page_count = min(file.page_count, pages)
    grow(file, size)
    if size % PAGE_BYTES != 0 and file.pages[pages - 1].current != NULL:
        memset(file.pages[pages - 1].current + size % PAGE_BYTES, 0, PAGE_BYTES - size % PAGE_BYTES)
    file.size = size
    file.durable_size = size


cdef void paged_overwrite(PagedFile* file, const uint8_t* data, uint64_t size,
                          uint64_t offset) noexcept nogil:
    check2(file.dirty_count == 0 and offset + size <= file.size,
           b"Q-PAGES-07 corruption is for synced bytes within the file", offset, size)
    paged_write(file, data, size, offset)
    paged_sync(file, 0, file.size)


cdef uint8_t* paged_clean_sector(PagedFile* file, uint64_t sector) noexcept nogil:
    cdef Page* page
    if sector // PAGE_SECTORS >= file.page_count:
        return NULL
    page = &file.pages[sector // PAGE_SECTORS]
    if page.current == NULL or page.pending != 0 or page.lost != 0:
        return NULL
    return page.current + (sector % PAGE_SECTORS) * SECTOR_BYTES


cdef void paged_lose(PagedFile* file, uint32_t nth) noexcept nogil:
    cdef uint32_t i, sector
    cdef Page* page
    for i in range(file.dirty_count):
        page = &file.pages[file.dirty[i]]
        for sector in range(PAGE_SECTORS):
            if not page.pending & (1 << sector):
                continue
            if nth == 0:
                page.pending &= ~<uint8_t>(1 << sector)
                page.lost |= <uint8_t>(1 << sector)
                return
            nth -= 1
