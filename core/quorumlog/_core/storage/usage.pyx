"""See usage.pxd."""

from libc.stdint cimport uint32_t, uint64_t


cdef uint64_t wal_group_bytes(const Wal* wal, group_t group) noexcept nogil:
    cdef uint64_t total = 0
    cdef uint32_t i, k
    for i in range(wal.segment_count):
        for k in range(wal.segments[i].summary_count):
            if wal.segments[i].summary[k].group == group:
                total += wal.segments[i].summary[k].bytes
    return total
