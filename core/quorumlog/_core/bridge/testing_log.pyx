"""The group log, outbox and progress for their tests: plain calls, integers in and out."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from quorumlog._core.engine.log cimport (
    GroupLog, LogRun, log_append, log_batch, log_close, log_compact, log_flush, log_last_of_term, log_open,
    log_pin,
    log_restore, log_run_first, log_term, log_truncate, log_wsn)
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport (
    Outbox, outbox_attach, outbox_clear, outbox_close, outbox_has_room, outbox_message, outbox_open,
    outbox_write)
from quorumlog._core.engine.progress cimport (
    Progress, progress_acked, progress_may_send, progress_open, progress_sent, progress_to_probe,
    progress_to_stream)
from quorumlog._core.storage.batch cimport (
    KIND_ENTRIES, Batch, BatchPool, batch_drop, batch_last, batch_memory_bytes, batch_new, pool_close,
    pool_open)


cdef Batch SMALLEST
SMALLEST.capacity_bytes = 64
BATCH_BYTES = batch_memory_bytes(&SMALLEST)      # of memory, for a batch with a body of 8 bytes


cdef class Log:
    """A group log whose batches have no contents to speak of."""
    cdef GroupLog log
    cdef BatchPool* pool
    cdef bint opened

    def __cinit__(self, uint64_t cache_limit_bytes=1 << 20):
        self.pool = pool_open(64 << 20)
        if self.pool == NULL or log_open(&self.log, 1, cache_limit_bytes) != 0:
            raise MemoryError
        self.opened = True

    def __dealloc__(self):
        if self.opened:
            log_close(&self.log)
        if self.pool != NULL:
            pool_close(self.pool)

    def restore(self, uint64_t first, uint64_t term_before, uint64_t last, list runs):
        cdef LogRun* c_runs = <LogRun*>calloc(len(runs) + 1, sizeof(LogRun))
        for i, (run_first, run_term) in enumerate(runs):
            c_runs[i].first, c_runs[i].term = run_first, run_term
        status = log_restore(&self.log, first, term_before, last, c_runs, len(runs))
        free(c_runs)
        return status

    def append(self, uint64_t first, uint32_t count, uint64_t term, uint64_t wsn, uint32_t body_bytes=8):
        cdef Batch* batch = batch_new(self.pool, body_bytes)
        if batch == NULL:
            raise MemoryError
        batch.kind, batch.group, batch.first, batch.count, batch.term = KIND_ENTRIES, 1, first, count, term
        log_append(&self.log, batch, wsn)
        batch_drop(batch)

    def truncate(self, uint64_t first):
        log_truncate(&self.log, first)

    def compact(self, uint64_t first):
        log_compact(&self.log, first)

    def pin(self, uint64_t first):
        log_pin(&self.log, first)

    def flush(self, uint64_t wsn):
        return bool(log_flush(&self.log, wsn))

    def wsn(self, uint64_t index):
        return log_wsn(&self.log, index)

    def run_first(self, uint64_t index):
        return log_run_first(&self.log, index)

    def last_of_term(self, uint64_t term):
        return log_last_of_term(&self.log, term)

    def term(self, uint64_t index):
        """(status, term)"""
        cdef uint64_t term
        status = log_term(&self.log, index, &term)
        return status, term

    def batch(self, uint64_t index):
        """(first, last) of the batch in memory, or None."""
        cdef Batch* batch = log_batch(&self.log, index)
        return None if batch == NULL else (batch.first, batch_last(batch))

    @property
    def cursors(self):
        return {"first": self.log.first, "last": self.log.last, "last_term": self.log.last_term,
                "flushed": self.log.flushed, "cached_first": self.log.cached_first,
                "cached_bytes": self.log.cached_bytes}


cdef class Box:
    """An outbox."""
    cdef Outbox* out
    cdef BatchPool* pool

    def __cinit__(self):
        self.out = outbox_open()
        self.pool = pool_open(64 << 20)
        if self.out == NULL or self.pool == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.out != NULL:
            outbox_close(self.out)
        if self.pool != NULL:
            pool_close(self.pool)

    def message(self, int kind, int batches=0):
        """Appends a message with so many new batches."""
        cdef Message* message = outbox_message(self.out)
        cdef Batch* batch
        message.kind = kind
        for _ in range(batches):
            batch = batch_new(self.pool, 0)
            outbox_attach(self.out, message, batch)
            batch_drop(batch)

    def write(self):
        cdef Batch* batch = batch_new(self.pool, 0)
        outbox_write(self.out, batch)
        batch_drop(batch)

    def has_room(self, uint32_t batches):
        return bool(outbox_has_room(self.out, batches))

    def messages(self):
        return [(self.out.messages[i].kind,
                 self.out.messages[i].batch_count) for i in range(self.out.message_count)]

    def take_all(self):
        """As a runtime does: takes the references over, then clears."""
        for i in range(self.out.write_count):
            batch_drop(self.out.writes[i])
        for i in range(self.out.message_batch_count):
            batch_drop(self.out.message_batches[i])
        outbox_clear(self.out)


cdef class Peer:
    """The progress of one peer."""
    cdef Progress p

    def __cinit__(self, uint64_t next):
        progress_open(&self.p, 2, next)

    def may_send(self):
        return bool(progress_may_send(&self.p))

    def sent(self, uint64_t last, uint64_t size_bytes, uint64_t now_ns):
        progress_sent(&self.p, last, size_bytes, now_ns)

    def acked(self, uint64_t match, uint64_t now_ns):
        return bool(progress_acked(&self.p, match, now_ns))

    def to_probe(self, uint64_t next):
        progress_to_probe(&self.p, next)

    def to_stream(self):
        progress_to_stream(&self.p)

    def set_reachable(self, bint reachable):
        self.p.reachable = reachable

    @property
    def state(self):
        return {"state": {1: "probe", 2: "stream"}[self.p.state], "match": self.p.match, "next": self.p.next,
                "window_bytes": self.p.window_bytes, "in_flight_bytes": self.p.in_flight_bytes,
                "in_flight_count": self.p.in_flight_count, "round_trip_ns": self.p.round_trip_ns}
