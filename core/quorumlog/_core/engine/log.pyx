"""The group log in memory: a ring of batches, term runs, and what is not flushed yet.

The three rings and lists grow by doubling and never shrink, so that a log that has
seen its working set allocates no more.  Running out of memory for them ends the
process (Q-LOG-01): they are small beside the batches, which are bounded elsewhere.

A batch leaves memory only when it is flushed and not pinned: what is not flushed
could not be read back from the write-ahead log (hard case A-R19).
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove, memset

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.status cimport ERR_COMPACTED, ERR_MEMORY, ERR_NOT_FOUND, ERR_USAGE, OK
from quorumlog._core.base.types cimport group_t, index_t, term_t, wsn_t
from quorumlog._core.storage.batch cimport (
    IDENTITY_BYTES, Batch, batch_drop, batch_keep, batch_last, batch_memory_bytes)

cdef enum:
    CACHE_SLOTS_AT_OPEN = 64
    UNFLUSHED_AT_OPEN = 64
    RUNS_AT_OPEN = 16
    SLOT_TERM = 1                  # in place of ballots, which needn't rise along a log of slots


cdef int log_open(GroupLog* log, group_t group, uint64_t cache_limit_bytes) noexcept nogil:
    memset(log, 0, sizeof(GroupLog))
    log.group = group
    log.first = 1
    log.cached_first = 1
    log.pinned_first = 1
    log.cache_limit_bytes = cache_limit_bytes
    log.cache = <Batch**>calloc(CACHE_SLOTS_AT_OPEN, sizeof(Batch*))
    log.cache_mask = CACHE_SLOTS_AT_OPEN - 1
    log.unflushed = <Unflushed*>calloc(UNFLUSHED_AT_OPEN, sizeof(Unflushed))
    log.unflushed_mask = UNFLUSHED_AT_OPEN - 1
    log.runs = <LogRun*>calloc(RUNS_AT_OPEN, sizeof(LogRun))
    log.run_capacity = RUNS_AT_OPEN
    if log.cache == NULL or log.unflushed == NULL or log.runs == NULL:
        log_close(log)
        return ERR_MEMORY
    return OK


cdef void log_close(GroupLog* log) noexcept nogil:
    while log.cache_count > 0:
        drop_oldest(log)
    free(log.cache)
    free(log.unflushed)
    free(log.runs)
    log.cache = NULL
    log.unflushed = NULL
    log.runs = NULL


cdef int log_restore(GroupLog* log, index_t first, term_t term_before_first, index_t last,
                     const LogRun* runs, uint32_t run_count) noexcept nogil:
    """The runs must ascend in index and term and cover first..last: they come from a disk."""
    cdef uint32_t i
    check(log.cache_count == 0 and log.unflushed_count == 0, b"Q-LOG-02 only a fresh log is restored")
    if first < 1 or last < first - 1 or (last < first) != (run_count == 0):
        return ERR_USAGE
    for i in range(run_count):
        if i == 0 and (runs[i].first != first or runs[i].term < term_before_first):
            return ERR_USAGE
        if runs[i].first > last or runs[i].term == 0:
            return ERR_USAGE
        if i > 0 and (runs[i].first <= runs[i - 1].first or runs[i].term < runs[i - 1].term):
            return ERR_USAGE
    log.run_count = 0
    for i in range(run_count):
        if log.run_count == 0 or log.runs[log.run_count - 1].term != runs[i].term:
            push_run(log, runs[i].first, runs[i].term)
    log.first = first
    log.term_before_first = term_before_first
    log.last = last
    log.last_term = log.runs[log.run_count - 1].term if log.run_count > 0 else term_before_first
    log.flushed = last
    log.cached_first = last + 1
    log.pinned_first = first
    return OK


# Appending and truncating

cdef void log_append(GroupLog* log, Batch* batch, wsn_t wsn) noexcept nogil:
    check2(batch.first == log.last + 1, b"Q-LOG-03 a batch continues the log", batch.first, log.last)
    check2(batch.count >= 1, b"Q-LOG-04 an appended batch has entries", batch.first, batch.count)
    check2(batch.term >= log.last_term and batch.term >= 1, b"Q-LOG-05 terms never fall along a log",
           batch.term, log.last_term)
    if log.unflushed_count > 0:
        check2(wsn > log.unflushed[(log.unflushed_head + log.unflushed_count - 1) & log.unflushed_mask].wsn,
               b"Q-LOG-06 write sequence numbers rise", wsn, batch.first)
    if log.run_count == 0 or batch.term != log.last_term:
        push_run(log, batch.first, batch.term)
    log.last = batch_last(batch)
    log.last_term = batch.term
    log.appended_bytes += IDENTITY_BYTES + batch.body_bytes
    push_unflushed(log, wsn, log.last)
    push_cache(log, batch)
    evict(log)


cdef void log_append_chosen(GroupLog* log, Batch* batch) noexcept nogil:
    check2(log.slots and batch.slot, b"Q-LOG-31 slots go to a log of slots", batch.first, log.group)
    check2(batch.first == log.last + 1, b"Q-LOG-32 a slot continues the log", batch.first, log.last)
    if log.run_count == 0:
        push_run(log, batch.first, SLOT_TERM)
    log.last = batch.first
    log.last_term = SLOT_TERM
    log.flushed = log.last
    push_cache(log, batch)
    evict(log)


cdef void log_truncate(GroupLog* log, index_t first) noexcept nogil:
    cdef uint64_t newest
    cdef Batch* batch
    check2(first >= log.first and first <= log.last, b"Q-LOG-07 a truncation lies within the log", first,
           log.last)
    check2(first >= log.pinned_first, b"Q-LOG-08 what was applied is never truncated", first,
           log.pinned_first)
    while log.cache_count > 0:
        newest = (log.cache_head + log.cache_count - 1) & log.cache_mask
        batch = log.cache[newest]
        if batch_last(batch) < first:
            break
        check2(batch.first >= first, b"Q-LOG-09 a truncation never splits a batch", first, batch.first)
        log.cached_bytes -= batch_memory_bytes(batch)
        log.cache_count -= 1
        batch_drop(batch)
    # A completion of a truncated record that arrives later finds nothing here (A-R19).
    while log.unflushed_count > 0:
        newest = (log.unflushed_head + log.unflushed_count - 1) & log.unflushed_mask
        if log.unflushed[newest].last < first:
            break
        log.unflushed_count -= 1
    while log.run_count > 0 and log.runs[log.run_count - 1].first >= first:
        log.run_count -= 1
    log.last = first - 1
    log.last_term = log.runs[log.run_count - 1].term if log.run_count > 0 else log.term_before_first
    log.flushed = min(log.flushed, log.last)
    log.cached_first = min(log.cached_first, log.last + 1)


cdef bint log_flush(GroupLog* log, wsn_t wsn) noexcept nogil:
    cdef index_t before = log.flushed
    while log.unflushed_count > 0 and log.unflushed[log.unflushed_head].wsn <= wsn:
        log.flushed = log.unflushed[log.unflushed_head].last
        log.unflushed_head = (log.unflushed_head + 1) & log.unflushed_mask
        log.unflushed_count -= 1
    check2(log.flushed >= before and log.flushed <= log.last, b"Q-LOG-10 flushed rises within the log",
           log.flushed, log.last)
    if log.flushed == before:
        return False
    evict(log)
    return True


cdef wsn_t log_wsn(const GroupLog* log, index_t index) noexcept nogil:
    check2(index <= log.last, b"Q-LOG-11 only entries of the log have a write", index, log.last)
    if index <= log.flushed:
        return 0
    # The first unflushed record that reaches the index.
    cdef uint64_t low = 0
    cdef uint64_t high = log.unflushed_count
    cdef uint64_t middle
    while low < high:
        middle = (low + high) // 2
        if log.unflushed[(log.unflushed_head + middle) & log.unflushed_mask].last < index:
            low = middle + 1
        else:
            high = middle
    check2(low < log.unflushed_count, b"Q-LOG-12 an entry is flushed or has a pending write", index,
           log.flushed)
    return log.unflushed[(log.unflushed_head + low) & log.unflushed_mask].wsn


# Terms

cdef uint32_t find_run(const GroupLog* log, index_t index) noexcept nogil:
    """Position of the run that holds `index`, which lies in first..last."""
    cdef uint32_t low = 0
    cdef uint32_t high = log.run_count
    cdef uint32_t middle
    while high - low > 1:
        middle = (low + high) // 2
        if log.runs[middle].first <= index:
            low = middle
        else:
            high = middle
    return low


cdef int log_term(const GroupLog* log, index_t index, term_t* term) noexcept nogil:
    term[0] = 0
    if index > log.last:
        return ERR_NOT_FOUND
    if index + 1 < log.first:
        return ERR_COMPACTED
    if index + 1 == log.first:
        term[0] = log.term_before_first
    else:
        term[0] = log.runs[find_run(log, index)].term
    return OK


cdef index_t log_run_first(const GroupLog* log, index_t index) noexcept nogil:
    check2(index >= log.first and index <= log.last, b"Q-LOG-13 a run is asked of an index in the log",
           index, log.last)
    return log.runs[find_run(log, index)].first


cdef index_t log_last_of_term(const GroupLog* log, term_t term) noexcept nogil:
    """Runs have ascending terms: the run behind the last one with a term of at most `term` tells."""
    cdef uint32_t low = 0
    cdef uint32_t high = log.run_count
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if log.runs[middle].term <= term:
            low = middle + 1
        else:
            high = middle
    return log.last if low == log.run_count else log.runs[low].first - 1


# Batches in memory

cdef Batch* log_batch(const GroupLog* log, index_t index) noexcept nogil:
    if index < log.cached_first or index > log.last or log.cache_count == 0:
        return NULL
    cdef uint64_t high = log.cache_count
    cdef uint64_t low = high - 1
    cdef uint64_t middle
    cdef uint64_t step = 1
    # Nearly all that is asked for lies near the end: gallop from there, then halve what is left.
    while low > 0 and log.cache[(log.cache_head + low) & log.cache_mask].first > index:
        high = low
        low = low - step if low > step else 0
        step *= 2
    while high - low > 1:
        middle = (low + high) // 2
        if log.cache[(log.cache_head + middle) & log.cache_mask].first <= index:
            low = middle
        else:
            high = middle
    cdef Batch* batch = log.cache[(log.cache_head + low) & log.cache_mask]
    check2(batch.first <= index and index <= batch_last(batch), b"Q-LOG-14 batches in memory have no gap",
           index, batch.first)
    return batch


cdef void log_compact(GroupLog* log, index_t first) noexcept nogil:
    cdef term_t before
    cdef uint32_t keep
    if first <= log.first:
        return
    check2(first <= log.flushed + 1, b"Q-LOG-15 only what is flushed is compacted", first, log.flushed)
    check(log_term(log, first - 1, &before) == OK, b"Q-LOG-16 the entry before the new head is known")
    while log.cache_count > 0 and batch_last(log.cache[log.cache_head]) < first:
        drop_oldest(log)
    if log.cache_count > 0:
        check2(log.cached_first >= first, b"Q-LOG-17 a compaction never splits a batch", first,
               log.cached_first)
    if first > log.last:
        log.run_count = 0
    else:
        keep = find_run(log, first)
        memmove(log.runs, log.runs + keep, (log.run_count - keep) * sizeof(LogRun))
        log.run_count -= keep
        log.runs[0].first = first
    log.first = first
    log.term_before_first = before
    log.pinned_first = max(log.pinned_first, first)


cdef void log_reset(GroupLog* log, index_t index, term_t term) noexcept nogil:
    check2(index >= log.first, b"Q-LOG-21 a log begins anew behind its head", index, log.first)
    check2(term > 0, b"Q-LOG-22 the entry before an empty log has a term", index, log.last_term)
    while log.cache_count > 0:
        drop_oldest(log)
    log.unflushed_count = 0
    log.run_count = 0
    log.first = index + 1
    log.term_before_first = term
    log.last = index
    log.last_term = term
    log.flushed = index
    log.cached_first = index + 1
    log.pinned_first = max(log.pinned_first, index + 1)


cdef void log_pin(GroupLog* log, index_t first) noexcept nogil:
    check2(first <= log.last + 1, b"Q-LOG-18 a pin lies within the log", first, log.last)
    if first > log.pinned_first:
        log.pinned_first = first
        evict(log)


cdef void drop_oldest(GroupLog* log) noexcept nogil:
    cdef Batch* batch = log.cache[log.cache_head]
    log.cache_head = (log.cache_head + 1) & log.cache_mask
    log.cache_count -= 1
    log.cached_bytes -= batch_memory_bytes(batch)
    log.cached_first = batch_last(batch) + 1
    batch_drop(batch)


cdef void log_limit(GroupLog* log, uint64_t cache_limit_bytes) noexcept nogil:
    log.cache_limit_bytes = cache_limit_bytes
    evict(log)


cdef void log_relieve(GroupLog* log) noexcept nogil:
    evict_to(log, 0)


cdef void evict(GroupLog* log) noexcept nogil:
    if log.cached_bytes > log.cache_limit_bytes:
        evict_to(log, log.cache_limit_bytes)


cdef void evict_to(GroupLog* log, uint64_t limit_bytes) noexcept nogil:
    """Down to the limit, oldest first; neither pinned nor unflushed batches go."""
    cdef index_t last
    while log.cache_count > 0 and log.cached_bytes > limit_bytes:
        last = batch_last(log.cache[log.cache_head])
        if last >= log.pinned_first or last > log.flushed:
            return
        drop_oldest(log)


# Growth

cdef void push_run(GroupLog* log, index_t first, term_t term) noexcept nogil:
    cdef LogRun* grown
    if log.run_count == log.run_capacity:
        grown = <LogRun*>realloc(log.runs, 2 * log.run_capacity * sizeof(LogRun))
        check(grown != NULL, b"Q-LOG-01 memory for the log's index")
        log.runs = grown
        log.run_capacity *= 2
    log.runs[log.run_count].first = first
    log.runs[log.run_count].term = term
    log.run_count += 1


cdef void push_unflushed(GroupLog* log, wsn_t wsn, index_t last) noexcept nogil:
    cdef Unflushed* grown
    cdef uint64_t i, slot
    if log.unflushed_count > log.unflushed_mask:
        grown = <Unflushed*>calloc(2 * (log.unflushed_mask + 1), sizeof(Unflushed))
        check(grown != NULL, b"Q-LOG-19 memory for the log's pending writes")
        for i in range(log.unflushed_count):
            grown[i] = log.unflushed[(log.unflushed_head + i) & log.unflushed_mask]
        free(log.unflushed)
        log.unflushed = grown
        log.unflushed_head = 0
        log.unflushed_mask = 2 * log.unflushed_mask + 1
    slot = (log.unflushed_head + log.unflushed_count) & log.unflushed_mask
    log.unflushed[slot].wsn = wsn
    log.unflushed[slot].last = last
    log.unflushed_count += 1


cdef void push_cache(GroupLog* log, Batch* batch) noexcept nogil:
    cdef Batch** grown
    cdef uint64_t i
    if log.cache_count > log.cache_mask:
        grown = <Batch**>calloc(2 * (log.cache_mask + 1), sizeof(Batch*))
        check(grown != NULL, b"Q-LOG-20 memory for the ring of batches")
        for i in range(log.cache_count):
            grown[i] = log.cache[(log.cache_head + i) & log.cache_mask]
        free(log.cache)
        log.cache = grown
        log.cache_head = 0
        log.cache_mask = 2 * log.cache_mask + 1
    if log.cache_count == 0:
        log.cached_first = batch.first
    log.cache[(log.cache_head + log.cache_count) & log.cache_mask] = batch_keep(batch)
    log.cache_count += 1
    log.cached_bytes += batch_memory_bytes(batch)
