"""Making a batch of what a caller hands in: a list of bytes, or (buffer, offsets)."""

from quorumlog._core.storage.batch cimport Batch, BatchPool

# A sealed, unstamped batch with its crc, computed here in the calling thread; raises UsageError with
# what is wrong.  Callers hold the GIL and use a pool of their own.
cdef Batch* seal_payloads(object payloads, BatchPool* pool) except NULL
cdef Batch* seal_one(const void* data, Py_ssize_t size, BatchPool* pool) except NULL
# With the stamp of a client's session as its last entry (engine/clients).
cdef Batch* seal_stamped(list payloads, bytes stamp, BatchPool* pool) except NULL
