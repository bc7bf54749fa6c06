"""A group's log as its protocol sees it: indexes, terms, and the batches still in memory.

Cursors, all on batch ends:  first - 1 <= flushed <= last.  Terms of all indexes
are known (runs); batches only from `cached_first` on, within a bound in bytes;
older ones are read from the write-ahead log by whoever carries out a Fetch.
Written by one thread, the protocol's.  Protocols call append and truncate in a
step and put the same records into the outbox, in the same order.
"""

from quorumlog._core.base.types cimport group_t, index_t, term_t, wsn_t
from quorumlog._core.storage.batch cimport Batch

from libc.stdint cimport uint32_t, uint64_t

cdef struct LogRun:
    index_t first
    term_t term

# An appended batch whose record is not flushed yet.
cdef struct Unflushed:
    wsn_t wsn
    index_t last

cdef struct GroupLog:
    group_t group
    index_t first                  # first index kept
    term_t term_before_first
    index_t last                   # first - 1 when empty
    term_t last_term
    index_t flushed                # last index all of whose records, up to it, are flushed
    index_t cached_first           # first index of the oldest batch in memory; last + 1 when none
    uint64_t cached_bytes          # of memory, not of bodies alone
    uint64_t cache_limit_bytes
    uint64_t appended_bytes        # identities and bodies since it was opened; never falls
    index_t pinned_first           # batches from here on are not evicted (not applied yet)
    Batch** cache                  # ring by batch, ascending
    uint64_t cache_head
    uint64_t cache_count
    uint64_t cache_mask
    LogRun* runs
    uint32_t run_count
    uint32_t run_capacity
    Unflushed* unflushed           # ring
    uint64_t unflushed_head
    uint64_t unflushed_count
    uint64_t unflushed_mask
    bint slots                     # of a Paxos group: chosen slots, see log_append_chosen


cdef int log_open(GroupLog* log, group_t group, uint64_t cache_limit_bytes) noexcept nogil
cdef void log_close(GroupLog* log) noexcept nogil
# State after recovery: everything up to `last` is flushed, nothing is in memory.
cdef int log_restore(GroupLog* log, index_t first, term_t term_before_first, index_t last,
                     const LogRun* runs, uint32_t run_count) noexcept nogil
# `batch.first` is last + 1 (checked); keeps a reference; `wsn` is what its record will get.
cdef void log_append(GroupLog* log, Batch* batch, wsn_t wsn) noexcept nogil
# The same for the log of a Paxos group, whose indexes are slots: what is appended is chosen and flushed, and its
# ballots may fall.  Terms are not kept: every index has term 1.
cdef void log_append_chosen(GroupLog* log, Batch* batch) noexcept nogil
# Drops everything from `first` on, which is the first index of a batch (checked where it is in memory).
cdef void log_truncate(GroupLog* log, index_t first) noexcept nogil
# `wsn` and all before it are durable; True if `flushed` moved.
cdef bint log_flush(GroupLog* log, wsn_t wsn) noexcept nogil
# The WSN whose flush makes `index` durable; 0: it is durable already.
cdef wsn_t log_wsn(const GroupLog* log, index_t index) noexcept nogil
# Term of an index from first - 1 to last; ERR_COMPACTED before, ERR_NOT_FOUND behind.
cdef int log_term(const GroupLog* log, index_t index, term_t* term) noexcept nogil
# First index of the run that holds `index`.
cdef index_t log_run_first(const GroupLog* log, index_t index) noexcept nogil
# Last index whose term is at most `term`, not before first - 1 (for back-off by term).
cdef index_t log_last_of_term(const GroupLog* log, term_t term) noexcept nogil
# The batch in memory that holds `index` (not kept), or NULL.
cdef Batch* log_batch(const GroupLog* log, index_t index) noexcept nogil
# Drops the head: indexes before `first` (a batch's first) are gone.
cdef void log_compact(GroupLog* log, index_t first) noexcept nogil
# A snapshot takes the place of all that is here: the log begins anew, empty, behind its last entry.
cdef void log_reset(GroupLog* log, index_t index, term_t term) noexcept nogil
# Keeps at most so much in memory from now on; evicts.
cdef void log_limit(GroupLog* log, uint64_t cache_limit_bytes) noexcept nogil
# Evicts all that may go: their memory is needed.
cdef void log_relieve(GroupLog* log) noexcept nogil
cdef void log_pin(GroupLog* log, index_t first) noexcept nogil     # moves pinned_first up; evicts
