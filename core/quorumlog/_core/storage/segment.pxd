"""Segments: their table, what each holds, and the files made ready ahead of use."""

from quorumlog._core.base.types cimport group_t, index_t, wsn_t
from quorumlog._core.storage.format cimport FooterEntry
from quorumlog._core.storage.state cimport Segment, Wal

from libc.stdint cimport int64_t, uint32_t, uint64_t


# The status of a call that returned -errno.
cdef int status_of(int64_t result) noexcept nogil
# A new entry at the end of the table; NULL when there is no memory.
cdef Segment* segment_add(Wal* wal, uint64_t id, uint64_t bytes) noexcept nogil
cdef void segment_free(Wal* wal, Segment* segment) noexcept nogil
# A batch or other record now lies in the segment.
cdef int segment_note(Segment* segment, const FooterEntry* entry) noexcept nogil
cdef int segment_summarise(Segment* segment, group_t group, index_t first, index_t last, uint64_t bytes,
                           bint moved) noexcept nogil
# Opens the next spare for writing as the active segment, preparing one now if there is none.
cdef int segment_begin(Wal* wal) noexcept nogil
# Closes the descriptors for writing, when no plan needs them.
cdef void segment_rest(Wal* wal, Segment* segment) noexcept nogil
# Hands head segments that nobody needs to the preparing thread.
cdef void segments_retire(Wal* wal) noexcept nogil
# Segments ready to be begun.  Any thread.
cdef uint32_t spares_ready(Wal* wal) noexcept nogil
# See wal_prepare_can_wait.
cdef bint spares_can_wait(Wal* wal, uint64_t* seen_bytes) noexcept nogil
# One step of preparing spares; see wal_prepare.
cdef int spares_step(Wal* wal) noexcept nogil
# What the log holds of a group's entries from `first` on, by the share of indexes: an estimate.  Any thread.
cdef uint64_t segments_group_bytes(Wal* wal, group_t group, index_t first) noexcept nogil
