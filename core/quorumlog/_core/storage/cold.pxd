"""Cold reads: a batch by group and index, from disk, verified."""

from quorumlog._core.base.types cimport group_t, index_t
from quorumlog._core.storage.batch cimport Batch, BatchPool
from quorumlog._core.storage.state cimport Wal


cdef void cold_open(Wal* wal) noexcept nogil
cdef void cold_close(Wal* wal) noexcept nogil
# With read_mutex held.
cdef int cold_read(Wal* wal, group_t group, index_t index, BatchPool* pool, Batch** out) noexcept nogil
