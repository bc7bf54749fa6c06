"""How much of the log's files one group's records take."""

from quorumlog._core.base.types cimport group_t
from quorumlog._core.storage.wal cimport Wal

from libc.stdint cimport uint64_t

# Bytes of records of the group in all segments, those that nobody needs any more among them.  The owner's.
cdef uint64_t wal_group_bytes(const Wal* wal, group_t group) noexcept nogil
