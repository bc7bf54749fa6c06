"""See intake.pxd."""

from quorumlog._core.base.atomics cimport (
    add_u32, add_u64, fence, futex_wait, futex_wake, load_ptr, load_u32, store_u32, sub_u32, sub_u64)
from quorumlog._core.base.bell cimport notice_leave, notices_ring
from quorumlog._core.base.checks cimport check
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.spin cimport spin_lock, spin_unlock
from quorumlog._core.base.status cimport ERR_MEMORY, ERR_OVERLOADED, ERR_TOO_LARGE, OK
from quorumlog._core.base.types cimport BATCH_BODY_BYTES_MAX
from quorumlog._core.engine.receipt cimport receipt_drop, receipt_fail, receipt_keep, receipt_new
from quorumlog._core.storage.batch cimport BATCH_STAMPED, KIND_ENTRIES, batch_drop, batch_new, offsets_bytes

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset


cdef int intake_open(Intake* intake, uint64_t limit_bytes) noexcept nogil:
    memset(intake, 0, sizeof(Intake))
    intake.limit_bytes = limit_bytes
    intake.closed = OK
    return OK


cdef void intake_close(Intake* intake) noexcept nogil:
    check(intake.head == NULL, b"Q-INTK-01 an intake is empty when it closes")
    cdef OpenBuffer* spare
    while intake.spares != NULL:
        spare = intake.spares
        intake.spares = spare.next
        free(spare)


cdef int reserve(Intake* intake, uint64_t size_bytes) noexcept nogil:
    """Counts bytes in, unless that passes the limit; an empty intake takes anything."""
    cdef uint64_t before = add_u64(&intake.outstanding_bytes, size_bytes)
    if before and before + size_bytes > intake.limit_bytes:
        sub_u64(&intake.outstanding_bytes, size_bytes)
        return ERR_OVERLOADED
    return OK


cdef void enqueue(Intake* intake, Receipt* receipt) noexcept nogil:
    receipt.next = NULL
    if intake.tail == NULL:
        intake.head = receipt
    else:
        intake.tail.next = receipt
    intake.tail = receipt
    store_u32(&intake.waiting, 1)


cdef Receipt* open_receipt(Intake* intake) noexcept nogil:
    """A receipt with an empty buffer at the end of the queue, or NULL without memory."""
    cdef OpenBuffer* buffer = intake.spares
    if buffer != NULL:
        intake.spares = buffer.next
        intake.spare_count -= 1
    else:
        buffer = <OpenBuffer*>malloc(sizeof(OpenBuffer))
        if buffer == NULL:
            return NULL
    cdef Receipt* receipt = receipt_new()
    if receipt == NULL:
        free(buffer)
        return NULL
    buffer.count = 0
    buffer.used = 0
    buffer.offsets[0] = 0
    receipt.buffer = buffer
    enqueue(intake, receipt)
    intake.open = receipt
    return receipt


cdef int intake_submit(Intake* intake, const void* data, uint64_t size_bytes, Receipt* known,
                       Receipt** receipt, uint32_t* position) noexcept nogil:
    if size_bytes > OPEN_BYTES_MAX:
        return ERR_TOO_LARGE
    cdef uint64_t counted = size_bytes + ENTRY_OVERHEAD_BYTES
    cdef Receipt* target
    cdef OpenBuffer* buffer
    spin_lock(&intake.lock)
    cdef int status = intake.closed
    if status == OK:
        status = reserve(intake, counted)
    if status != OK:
        spin_unlock(&intake.lock)
        return status
    target = intake.open
    if target != NULL:
        buffer = <OpenBuffer*>target.buffer
        if buffer.count == OPEN_ENTRIES_MAX or buffer.used + size_bytes > OPEN_BYTES_MAX:
            target = NULL
    if target == NULL:
        target = open_receipt(intake)
        if target == NULL:
            sub_u64(&intake.outstanding_bytes, counted)
            spin_unlock(&intake.lock)
            return ERR_MEMORY
        buffer = <OpenBuffer*>target.buffer
    memcpy(&buffer.payload[buffer.used], data, size_bytes)
    buffer.used += <uint32_t>size_bytes
    position[0] = buffer.count
    buffer.count += 1
    buffer.offsets[buffer.count] = buffer.used
    target.count = buffer.count
    target.bytes += counted
    if target != known:
        receipt_keep(target)
    receipt[0] = target
    spin_unlock(&intake.lock)
    return OK


cdef int intake_submit_batch(Intake* intake, Batch* batch, Receipt** receipt) noexcept nogil:
    check(batch.stamped == 0 and batch.kind == KIND_ENTRIES, b"Q-INTK-02 callers hand in unstamped entries")
    cdef uint64_t counted = batch.body_bytes + ENTRY_OVERHEAD_BYTES * <uint64_t>batch.count
    cdef Receipt* made = receipt_new()
    if made == NULL:
        return ERR_MEMORY
    made.count = batch.count - 1 if batch.flags & BATCH_STAMPED else batch.count
    made.bytes = counted
    made.batch = batch
    receipt_keep(made)
    spin_lock(&intake.lock)
    cdef int status = intake.closed
    if status == OK:
        status = reserve(intake, counted)
    if status == OK:
        intake.open = NULL          # later commands queue behind this batch
        enqueue(intake, made)
    spin_unlock(&intake.lock)
    if status != OK:
        free(made)
        return status
    receipt[0] = made
    return OK


cdef uint32_t intake_space(Intake* intake) noexcept nogil:
    return load_u32(&intake.space)


cdef int intake_wait_space(Intake* intake, uint32_t seen, int64_t timeout_ns) noexcept nogil:
    add_u32(&intake.space_waiters, 1)
    cdef int result = futex_wait(&intake.space, seen, timeout_ns)
    sub_u32(&intake.space_waiters, 1)
    return result


cdef void intake_notice_space(Intake* intake, uint32_t seen, Notice* notice) noexcept nogil:
    notice_leave(&intake.space_notices, notice)
    fence()
    if load_u32(&intake.space) != seen:
        notices_ring(&intake.space_notices, False)


cdef bint intake_withdraw(Intake* intake, Receipt* receipt, int status) noexcept nogil:
    cdef Receipt* before = NULL
    cdef Receipt* item
    cdef OpenBuffer* buffer
    spin_lock(&intake.lock)
    item = intake.head
    while item != NULL and item != receipt:
        before = item
        item = item.next
    if item != NULL and item.buffer != NULL:
        buffer = <OpenBuffer*>item.buffer
        if buffer.count > 1:
            item = NULL             # it is not the caller's alone
    if item != NULL:
        if before == NULL:
            intake.head = item.next
        else:
            before.next = item.next
        if intake.tail == item:
            intake.tail = before
        if intake.open == item:
            intake.open = NULL
        if intake.head == NULL:
            store_u32(&intake.waiting, 0)
    spin_unlock(&intake.lock)
    if item == NULL:
        return False
    intake_discard(intake, item, status)
    return True


cdef void intake_discard(Intake* intake, Receipt* receipt, int status) noexcept nogil:
    if receipt.batch != NULL:
        batch_drop(<Batch*>receipt.batch)
        receipt.batch = NULL
    if receipt.buffer != NULL:
        keep_spare(intake, <OpenBuffer*>receipt.buffer)
        receipt.buffer = NULL
    intake_release(intake, receipt.bytes)
    receipt_fail(receipt, status, True)
    receipt_drop(receipt)


cdef Receipt* intake_take(Intake* intake) noexcept nogil:
    if not intake_waiting(intake):
        return NULL
    spin_lock(&intake.lock)
    cdef Receipt* taken = intake.head
    intake.head = NULL
    intake.tail = NULL
    intake.open = NULL
    store_u32(&intake.waiting, 0)
    spin_unlock(&intake.lock)
    return taken


cdef void keep_spare(Intake* intake, OpenBuffer* buffer) noexcept nogil:
    spin_lock(&intake.lock)
    if intake.spare_count < SPARE_BUFFERS_MAX:
        buffer.next = intake.spares
        intake.spares = buffer
        intake.spare_count += 1
        buffer = NULL
    spin_unlock(&intake.lock)
    free(buffer)


cdef Batch* intake_seal(Intake* intake, Receipt* receipt, BatchPool* pool) noexcept nogil:
    cdef OpenBuffer* buffer = <OpenBuffer*>receipt.buffer
    cdef Batch* batch = <Batch*>receipt.batch
    cdef uint32_t table
    cdef uint32_t payload
    if batch != NULL:
        receipt.batch = NULL
        return batch
    table = offsets_bytes(buffer.count)
    payload = (buffer.used + 7) & ~<uint32_t>7
    check(table + payload <= BATCH_BODY_BYTES_MAX, b"Q-INTK-03 an open buffer fits a batch")
    batch = batch_new(pool, table + payload)
    if batch == NULL:
        return NULL
    memset(batch.body + table - 8, 0, 8)
    memcpy(batch.body, buffer.offsets, 4 * (buffer.count + 1))
    if payload:
        memset(batch.body + table + payload - 8, 0, 8)
        memcpy(batch.body + table, buffer.payload, buffer.used)
    batch.kind = KIND_ENTRIES
    batch.count = buffer.count
    batch.body_bytes = table + payload
    batch.body_crc = crc32c(0, batch.body, batch.body_bytes)
    receipt.buffer = NULL
    keep_spare(intake, buffer)
    return batch


cdef void intake_release(Intake* intake, uint64_t size_bytes) noexcept nogil:
    sub_u64(&intake.outstanding_bytes, size_bytes)
    space_moved(intake)


cdef void space_moved(Intake* intake) noexcept nogil:
    add_u32(&intake.space, 1)
    fence()
    if load_u32(&intake.space_waiters):
        futex_wake(&intake.space, 1 << 30)
    if load_ptr(&intake.space_notices) != NULL:
        notices_ring(&intake.space_notices, False)


cdef void intake_refuse(Intake* intake, int status) noexcept nogil:
    spin_lock(&intake.lock)
    intake.closed = status
    spin_unlock(&intake.lock)
    space_moved(intake)              # who waits for room learns why there will be none


cdef bint intake_waiting(Intake* intake) noexcept nogil:
    return load_u32(&intake.waiting) != 0
