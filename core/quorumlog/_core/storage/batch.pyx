"""Batch pools, and the identity header of a batch (docs/format.md 1).

Small bodies come in power-of-two classes and are kept for reuse; big ones go
back to the system at once, so that one burst of large batches doesn't stay in
memory.  What a pool has taken from the system never exceeds its limit.
"""

from quorumlog._core.base.atomics cimport (add_u64, add_u64_relaxed, cas_ptr, exchange_ptr, load_ptr,
                                           load_u32, load_u64, store_ptr, store_u32, store_u64,
                                           sub_u64)
from quorumlog._core.base.bytes cimport get_u16, get_u32, get_u64, put_u16, put_u32, put_u64
from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.status cimport ERR_CORRUPT, OK
from quorumlog._core.base.types cimport BATCH_BODY_BYTES_MAX, BATCH_ENTRIES_MAX

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void** out, size_t alignment, size_t size)

cdef enum:
    ALIGNMENT_BYTES = 64
    SMALLEST_CLASS_BYTES = 64
    KEPT_CLASSES = 12              # bodies up to 128 KiB are kept for reuse
    NO_CLASS = 255
    IDENTITY_SLOT = 1              # flag: `first` is a slot
    IDENTITY_VERSION = 1


cdef inline uint64_t struct_bytes() noexcept nogil:
    return (sizeof(Batch) + ALIGNMENT_BYTES - 1) & ~<uint64_t>(ALIGNMENT_BYTES - 1)


cdef inline uint64_t class_bytes(int size_class) noexcept nogil:
    return <uint64_t>SMALLEST_CLASS_BYTES << size_class


cdef inline uint64_t allocation_bytes(const Batch* batch) noexcept nogil:
    return struct_bytes() + batch.capacity_bytes


cdef void release(Batch* batch) noexcept nogil:
    """Gives the memory back to the system."""
    sub_u64(&batch.pool.allocated_bytes, allocation_bytes(batch))
    free(batch)


cdef void release_list(Batch* batch) noexcept nogil:
    cdef Batch* next_batch
    while batch != NULL:
        next_batch = batch.next
        release(batch)
        batch = next_batch


cdef void collect_returns(BatchPool* pool) noexcept nogil:
    """Owner: takes what other threads have freed into the free lists."""
    cdef Batch* batch = <Batch*>exchange_ptr(&pool.returns, NULL)
    cdef Batch* next_batch
    while batch != NULL:
        next_batch = batch.next
        check(batch.size_class < KEPT_CLASSES, b"Q-BATCH-01 a returned batch has a kept class")
        batch.next = <Batch*>pool.free_lists[batch.size_class]
        pool.free_lists[batch.size_class] = batch
        batch = next_batch


cdef void trim(BatchPool* pool) noexcept nogil:
    """Owner: gives everything kept for reuse back to the system."""
    cdef int i
    for i in range(KEPT_CLASSES):
        release_list(<Batch*>pool.free_lists[i])
        pool.free_lists[i] = NULL


cdef void pool_unreference(BatchPool* pool) noexcept nogil:
    if sub_u64(&pool.references, 1) == 1:
        release_list(<Batch*>exchange_ptr(&pool.returns, NULL))
        check(load_u64(&pool.allocated_bytes) == 0, b"Q-BATCH-02 a pool ends with all its memory back")
        free(pool)


cdef BatchPool* pool_open(uint64_t limit_bytes) noexcept nogil:
    cdef BatchPool* pool = <BatchPool*>calloc(1, sizeof(BatchPool))
    if pool == NULL:
        return NULL
    store_u64(&pool.references, 1)
    store_u64(&pool.used_bytes, 0)
    store_u64(&pool.allocated_bytes, 0)
    store_ptr(&pool.returns, NULL)
    pool.limit_bytes = limit_bytes
    return pool


cdef void pool_close(BatchPool* pool) noexcept nogil:
    collect_returns(pool)
    trim(pool)
    pool_unreference(pool)


cdef Batch* take_kept(BatchPool* pool, int size_class) noexcept nogil:
    cdef Batch* batch = <Batch*>pool.free_lists[size_class]
    if batch == NULL and load_ptr(&pool.returns) != NULL:
        collect_returns(pool)
        batch = <Batch*>pool.free_lists[size_class]
    if batch != NULL:
        pool.free_lists[size_class] = batch.next
    return batch


cdef Batch* allocate(BatchPool* pool, uint64_t capacity_bytes, int size_class) noexcept nogil:
    cdef uint64_t size_bytes = struct_bytes() + capacity_bytes
    cdef void* memory = NULL
    cdef Batch* batch
    if load_u64(&pool.allocated_bytes) + size_bytes > pool.limit_bytes:
        collect_returns(pool)
        trim(pool)
        if load_u64(&pool.allocated_bytes) + size_bytes > pool.limit_bytes:
            return NULL
    if posix_memalign(&memory, ALIGNMENT_BYTES, size_bytes) != 0:
        return NULL
    add_u64(&pool.allocated_bytes, size_bytes)
    batch = <Batch*>memory
    batch.capacity_bytes = <uint32_t>capacity_bytes
    batch.size_class = <uint8_t>size_class
    return batch


cdef Batch* batch_new(BatchPool* pool, uint32_t body_bytes) noexcept nogil:
    cdef uint64_t capacity_bytes
    cdef int size_class = 0
    cdef Batch* batch = NULL
    check2(body_bytes <= BATCH_BODY_BYTES_MAX and (body_bytes & 7) == 0,
           b"Q-BATCH-03 a body is a multiple of 8 within its bound", body_bytes, BATCH_BODY_BYTES_MAX)
    while size_class < KEPT_CLASSES and class_bytes(size_class) < body_bytes:
        size_class += 1
    if size_class < KEPT_CLASSES:
        capacity_bytes = class_bytes(size_class)
        batch = take_kept(pool, size_class)
    else:
        capacity_bytes = body_bytes
        size_class = NO_CLASS
    if batch == NULL:
        batch = allocate(pool, capacity_bytes, size_class)
        if batch == NULL:
            return NULL
    memset(batch, 0, sizeof(Batch))
    batch.capacity_bytes = <uint32_t>capacity_bytes
    batch.size_class = <uint8_t>size_class
    batch.pool = pool
    batch.body = <uint8_t*>batch + struct_bytes()
    batch.body_bytes = body_bytes
    store_u32(&batch.references, 1)
    add_u64(&pool.references, 1)
    add_u64_relaxed(&pool.used_bytes, allocation_bytes(batch))
    return batch


cdef void batch_free(Batch* batch) noexcept nogil:
    cdef BatchPool* pool = batch.pool
    cdef void* head
    check2(load_u32(&batch.references) == 0, b"Q-BATCH-04 only an unreferenced batch is freed",
           load_u32(&batch.references), 0)
    sub_u64(&pool.used_bytes, allocation_bytes(batch))
    if batch.size_class == NO_CLASS:
        release(batch)
    else:
        while True:
            head = load_ptr(&pool.returns)
            batch.next = <Batch*>head
            if cas_ptr(&pool.returns, head, batch):
                break
    pool_unreference(pool)


cdef Batch* batch_copy(BatchPool* pool, const Batch* batch) noexcept nogil:
    cdef Batch* copy = batch_new(pool, batch.body_bytes)
    if copy == NULL:
        return NULL
    copy.kind = batch.kind
    copy.flags = batch.flags
    copy.group = batch.group
    copy.term = batch.term
    copy.ballot_node = batch.ballot_node
    copy.first = batch.first
    copy.count = batch.count
    copy.slot = batch.slot
    copy.session = batch.session
    copy.sequence = batch.sequence
    copy.leader_time_ns = batch.leader_time_ns
    copy.body_crc = batch.body_crc
    memcpy(copy.body, batch.body, batch.body_bytes)
    return copy


cdef void batch_stamp(Batch* batch) noexcept nogil:
    cdef uint8_t* p = batch.identity
    check2(kind_is_known(batch.kind), b"Q-BATCH-05 only a known kind is stamped", batch.kind, 0)
    check2(batch.flags == 0 or batch.kind == KIND_ENTRIES, b"Q-BATCH-07 only entries have flags", batch.kind,
           batch.flags)
    check2((batch.body_bytes & 7) == 0 and batch.body_bytes <= BATCH_BODY_BYTES_MAX,
           b"Q-BATCH-06 only a body within its bound is stamped", batch.body_bytes, batch.count)
    p[4] = IDENTITY_VERSION
    p[5] = batch.kind
    put_u16(p + 6, batch.flags | (IDENTITY_SLOT if batch.slot else 0))
    put_u64(p + 8, batch.group)
    put_u64(p + 16, batch.term)
    put_u64(p + 24, batch.ballot_node)
    put_u64(p + 32, batch.first)
    put_u32(p + 40, batch.count)
    put_u32(p + 44, batch.body_bytes)
    put_u64(p + 48, batch.session)
    put_u64(p + 56, batch.sequence)
    put_u64(p + 64, batch.leader_time_ns)
    put_u32(p + 72, batch.body_crc)
    put_u32(p + 76, 0)
    put_u32(p, crc32c(0, p + 4, IDENTITY_BYTES - 4))
    batch.stamped = 1


cdef bint is_entries(uint8_t kind) noexcept nogil:
    return kind == KIND_ENTRIES or kind == KIND_BLANK or kind == KIND_MEMBERSHIP


cdef int batch_parse_identity(Batch* batch, const uint8_t* identity) noexcept nogil:
    cdef uint8_t kind = identity[5]
    cdef uint16_t flags = get_u16(identity + 6)
    cdef uint32_t count = get_u32(identity + 40)
    cdef uint32_t body_bytes = get_u32(identity + 44)
    if get_u32(identity) != crc32c(0, identity + 4, IDENTITY_BYTES - 4):
        return ERR_CORRUPT
    if identity[4] != IDENTITY_VERSION or get_u32(identity + 76) != 0:
        return ERR_CORRUPT
    if flags & ~<uint32_t>(IDENTITY_SLOT | BATCH_FLAGS) or (flags & BATCH_FLAGS and kind != KIND_ENTRIES):
        return ERR_CORRUPT
    if not kind_is_known(kind):
        return ERR_CORRUPT
    if body_bytes > BATCH_BODY_BYTES_MAX or (body_bytes & 7) != 0 or count > BATCH_ENTRIES_MAX:
        return ERR_CORRUPT
    if is_entries(kind):
        if count == 0 or offsets_bytes(count) > body_bytes:
            return ERR_CORRUPT
        # Indexes are 1-based, and no index computed from a header may wrap.
        if get_u64(identity + 32) == 0 or get_u64(identity + 32) > (<uint64_t>1 << 62):
            return ERR_CORRUPT
    elif count != 0:
        return ERR_CORRUPT
    batch.kind = kind
    batch.flags = flags & BATCH_FLAGS
    batch.group = get_u64(identity + 8)
    batch.term = get_u64(identity + 16)
    batch.ballot_node = get_u64(identity + 24)
    batch.first = get_u64(identity + 32)
    batch.count = count
    batch.slot = (get_u16(identity + 6) & IDENTITY_SLOT) != 0
    batch.body_bytes = body_bytes
    batch.session = get_u64(identity + 48)
    batch.sequence = get_u64(identity + 56)
    batch.leader_time_ns = get_u64(identity + 64)
    batch.body_crc = get_u32(identity + 72)
    if <const uint8_t*>batch.identity != identity:
        memcpy(batch.identity, identity, IDENTITY_BYTES)
    batch.stamped = 1
    return OK


cdef bint padding_is_zero(const Batch* batch, uint32_t table_bytes, uint32_t payload_bytes) noexcept nogil:
    """And no longer than it has to be: one batch has one encoding."""
    cdef uint32_t end = table_bytes + payload_bytes
    if (<uint64_t>end + 7) // 8 * 8 != batch.body_bytes:
        return False
    while end < batch.body_bytes:
        if batch.body[end] != 0:
            return False
        end += 1
    return (batch.count & 1) != 0 or get_u32(batch.body + table_bytes - 4) == 0


cdef int batch_verify_body(const Batch* batch) noexcept nogil:
    cdef const uint32_t* offsets = <const uint32_t*>batch.body
    cdef uint32_t table_bytes
    if crc32c(0, batch.body, batch.body_bytes) != batch.body_crc:
        return ERR_CORRUPT
    if not is_entries(batch.kind):
        return OK
    if batch.count == 0 or batch.count > BATCH_ENTRIES_MAX:
        return ERR_CORRUPT
    table_bytes = offsets_bytes(batch.count)
    if table_bytes > batch.body_bytes or offsets[0] != 0:
        return ERR_CORRUPT
    if offsets[batch.count] > batch.body_bytes - table_bytes or not offsets_rise(offsets, batch.count):
        return ERR_CORRUPT
    return OK if padding_is_zero(batch, table_bytes, offsets[batch.count]) else ERR_CORRUPT
