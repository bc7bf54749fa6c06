"""From the files of a directory to the state of the log (docs/format.md 6)."""

from quorumlog._core.storage.state cimport Wal
from quorumlog._core.storage.wal cimport WalReport

from libc.stdint cimport uint64_t


# Fills in the log's groups, segments, spares, boot number and next WSN, and the report.  *said is
# what the first header may claim as flushed.  Writes nothing but removes unusable spares; syncs what it read.
cdef int recover(Wal* wal, WalReport* report, uint64_t* said) noexcept nogil
cdef void report_free(WalReport* report) noexcept nogil
