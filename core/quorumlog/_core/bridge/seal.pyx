"""See seal.pxd.

Costs (cython-facts.md Q2): a list of bytes is taken apart here and never joined in
Python; small batches avoid typed memoryviews (130 ns each); the crc runs without
the GIL above 64 KiB.
"""

from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.types cimport BATCH_BODY_BYTES_MAX, BATCH_ENTRIES_MAX
from quorumlog._core.storage.batch cimport (
    BATCH_STAMPED, KIND_ENTRIES, batch_drop, batch_new, offsets_bytes, offsets_rise)

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_FORMAT, PyBUF_ND, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from quorumlog import errors

cdef enum:
    NO_GIL_BYTES = 64 << 10


cdef Batch* blank_batch(Py_ssize_t count, uint64_t payload_bytes, BatchPool* pool) except NULL:
    """Room for a body of this shape, its paddings zeroed."""
    cdef uint64_t total
    cdef uint32_t table
    if count < 1:
        raise errors.UsageError("a batch needs at least one entry")
    if count > BATCH_ENTRIES_MAX:
        raise errors.UsageError(f"{count} entries in one batch; the most is {BATCH_ENTRIES_MAX}")
    table = offsets_bytes(<uint32_t>count)
    total = table + ((payload_bytes + 7) & ~<uint64_t>7)
    if payload_bytes > BATCH_BODY_BYTES_MAX or total > BATCH_BODY_BYTES_MAX:
        raise errors.UsageError(
            f"a batch of {count} entries and {payload_bytes} payload bytes needs {total} bytes; "
            f"the most is {BATCH_BODY_BYTES_MAX}: split it")
    cdef Batch* batch = batch_new(pool, <uint32_t>total)
    if batch == NULL:
        raise errors.Overloaded("submit: the memory for batches of callers reached its limit", pool.limit_bytes)
    memset(batch.body + table - 8, 0, 8)
    memset(batch.body + total - 8, 0, 8)
    batch.kind = KIND_ENTRIES
    batch.count = <uint32_t>count
    batch.body_bytes = <uint32_t>total
    return batch


cdef void finish(Batch* batch):
    if batch.body_bytes >= NO_GIL_BYTES:
        with nogil:
            batch.body_crc = crc32c(0, batch.body, batch.body_bytes)
    else:
        batch.body_crc = crc32c(0, batch.body, batch.body_bytes)


cdef Batch* seal_one(const void* data, Py_ssize_t size, BatchPool* pool) except NULL:
    cdef Batch* batch = blank_batch(1, size, pool)
    cdef uint32_t* offsets = <uint32_t*>batch.body
    offsets[0] = 0
    offsets[1] = <uint32_t>size
    memcpy(batch.body + offsets_bytes(1), data, size)
    finish(batch)
    return batch


cdef Batch* seal_list(list payloads, BatchPool* pool) except NULL:
    cdef Py_ssize_t count = len(payloads)
    cdef Py_ssize_t i
    cdef Py_ssize_t size
    cdef uint64_t total = 0
    cdef object item
    for i in range(count):
        item = payloads[i]
        if not PyBytes_CheckExact(item):
            raise errors.UsageError(f"entry {i} is {type(item).__name__}, not bytes")
        total += PyBytes_GET_SIZE(item)
    cdef Batch* batch = blank_batch(count, total, pool)
    cdef uint32_t* offsets = <uint32_t*>batch.body
    cdef uint8_t* payload = batch.body + offsets_bytes(<uint32_t>count)
    cdef uint32_t position = 0
    offsets[0] = 0
    for i in range(count):
        item = payloads[i]
        size = PyBytes_GET_SIZE(item)
        memcpy(payload + position, PyBytes_AS_STRING(item), size)
        position += <uint32_t>size
        offsets[i + 1] = position
    finish(batch)
    return batch


cdef Batch* seal_stamped(list payloads, bytes stamp, BatchPool* pool) except NULL:
    cdef Batch* batch = seal_list([*payloads, stamp], pool)
    batch.flags = BATCH_STAMPED
    return batch


cdef int check_offsets(const uint32_t* offsets, Py_ssize_t count, uint64_t available) except -1:
    """They start at 0, never fall and end within the buffer."""
    if count > BATCH_ENTRIES_MAX:
        raise errors.UsageError(f"{count} entries in one batch; the most is {BATCH_ENTRIES_MAX}")
    if offsets[0] != 0:
        raise errors.UsageError(f"offsets[0] is {offsets[0]}; it must be 0")
    if offsets[count] > available:
        raise errors.UsageError(f"offsets end at {offsets[count]}, behind the buffer's {available} bytes")
    if not offsets_rise(offsets, <uint32_t>count):
        raise errors.UsageError("offsets must never fall")
    return 0


cdef Batch* seal_views(Py_buffer* data, Py_buffer* table, BatchPool* pool) except NULL:
    cdef Py_ssize_t count = table.len // 4 - 1
    cdef const uint32_t* source = <const uint32_t*>table.buf
    cdef Batch* batch
    if table.itemsize != 4 or table.format == NULL or table.format[0] not in (b"I", b"L"):
        raise errors.UsageError("offsets must be a contiguous array of uint32")
    if count < 1:
        raise errors.UsageError("offsets must have one more element than the batch has entries, at least 2")
    check_offsets(source, count, data.len)
    batch = blank_batch(count, source[count], pool)
    memcpy(batch.body, source, 4 * (count + 1))
    # What the caller's other threads may have changed since the check is checked again, in our copy.
    try:
        check_offsets(<const uint32_t*>batch.body, count, data.len)
        if (<const uint32_t*>batch.body)[count] + offsets_bytes(batch.count) > batch.body_bytes:
            raise errors.UsageError("offsets changed while they were read")
    except BaseException:
        batch_drop(batch)
        raise
    memcpy(batch.body + offsets_bytes(batch.count), data.buf, (<const uint32_t*>batch.body)[count])
    finish(batch)
    return batch


cdef Batch* seal_packed(object buffer, object offsets, BatchPool* pool) except NULL:
    cdef Py_buffer data
    cdef Py_buffer table
    PyObject_GetBuffer(buffer, &data, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(offsets, &table, PyBUF_ND | PyBUF_FORMAT)
        try:
            return seal_views(&data, &table, pool)
        finally:
            PyBuffer_Release(&table)
    finally:
        PyBuffer_Release(&data)


cdef Batch* seal_payloads(object payloads, BatchPool* pool) except NULL:
    if isinstance(payloads, list):
        return seal_list(payloads, pool)
    # A pair is (buffer, offsets), but for two bytes, which are two entries.
    if isinstance(payloads, tuple) and len(payloads) == 2 and not (
            isinstance(payloads[0], bytes) and isinstance(payloads[1], bytes)):
        return seal_packed(payloads[0], payloads[1], pool)
    if isinstance(payloads, (bytes, bytearray, memoryview, str)):
        raise errors.UsageError("submit_many takes a list of bytes, or (buffer, offsets)")
    return seal_list(list(payloads), pool)
