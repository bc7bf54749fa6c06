"""`quorumlog.Log`'s core: the write-ahead log alone, with one group, for one process.

Appends and plans are made with the GIL, which is their owner's lock; writes, syncs and
reads run without it, in the calling thread.  Spare segments are made by a small thread
of this log, which never takes the GIL.
"""

from quorumlog._core.base.atomics cimport (
    add_u32, atomic_u32, futex_wait, futex_wake, load_u32, store_u32)
from quorumlog._core.base.status cimport (
    ERR_AGAIN, ERR_COMPACTED, ERR_CORRUPT, ERR_IO, ERR_LOCKED, ERR_NOT_FOUND, ERR_NO_SPACE, ERR_POISONED,
    ERR_USAGE, OK)
from quorumlog._core.bridge.batch cimport BatchView, view_of
from quorumlog._core.bridge.errors cimport simple_error
from quorumlog._core.bridge.seal cimport seal_one, seal_payloads
from quorumlog._core.storage.batch cimport (
    KIND_TRUNCATE, Batch, BatchPool, batch_drop, batch_last, batch_new, batch_stamp, pool_close, pool_open)
from quorumlog._core.storage.files cimport Files, system_files
from quorumlog._core.storage.wal cimport (
    MODE_SUFFIX, RecoveredGroup, Wal, WalOptions, WalReport, WalStatus, WritePlan, wal_append,
    wal_body_bytes_max, wal_close, wal_compact, wal_complete, wal_damage, wal_execute, wal_flushed, wal_next,
    wal_open, wal_open_group, wal_pending_bytes, wal_plan, wal_poisoned, wal_prepare, wal_read, wal_status)

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EEXIST, ENOSPC
from libc.stdint cimport uint8_t, uint32_t, uint64_t

import os

from quorumlog import errors

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t*, void*, void* (*body)(void*) noexcept nogil, void*)
    int pthread_join(pthread_t, void**)

cdef enum:
    LOG_GROUP = 1
    LOG_TERM = 1
    PENDING_BYTES_MAX = 8 << 20        # beyond it an append writes before it returns
    SYNC_GROUP_BYTES = 1 << 20
    WAIT_SLICE_NS = 50000000           # a blocked caller looks for signals this often

# What the preparing thread shares with the log.
cdef struct Preparing:
    Wal* wal
    pthread_t thread
    bint running
    atomic_u32 wanted                  # futex: counts requests
    atomic_u32 stop


cdef void* prepare_forever(void* context) noexcept nogil:
    cdef Preparing* preparing = <Preparing*>context
    cdef uint32_t seen
    while load_u32(&preparing.stop) == 0:
        seen = load_u32(&preparing.wanted)
        while load_u32(&preparing.stop) == 0 and wal_prepare(preparing.wal) == OK:
            pass
        if load_u32(&preparing.stop) == 0:
            futex_wait(&preparing.wanted, seen, -1)
    return NULL


cdef class LogCore:
    """See quorumlog.log.Log, which is this with types and words."""
    cdef Wal* wal
    cdef BatchPool* pool               # of appends: owned by whoever has the GIL
    cdef BatchPool* read_pool          # of reads: owned by whoever has wal_read's mutex
    cdef Preparing preparing
    cdef int lock_fd
    cdef readonly str path
    cdef uint64_t first_index
    cdef uint64_t last_index
    cdef uint32_t spare_segments
    cdef uint32_t executing            # plans being carried out by some thread
    cdef atomic_u32 turns              # futex: counts completed plans
    cdef bint closing

    def __cinit__(self, str path not None, uint64_t segment_bytes, uint32_t spare_segments,
                  uint64_t memory_bytes, uint64_t cache_bytes, bint direct):
        self.lock_fd = -1
        self.path = path
        self.spare_segments = spare_segments
        self.pool = pool_open(memory_bytes)
        self.read_pool = pool_open(memory_bytes)
        if self.pool == NULL or self.read_pool == NULL:
            raise MemoryError
        self._lock()
        self._open(segment_bytes, cache_bytes, direct)
        self.preparing.wal = self.wal
        if spare_segments > 0:
            if pthread_create(&self.preparing.thread, NULL, prepare_forever, &self.preparing) != 0:
                raise OSError(f"can't start the thread that prepares segments of {path}")
            self.preparing.running = True

    cdef _lock(self):
        cdef Files* files = system_files()
        cdef bytes directory = os.fsencode(self.path)
        cdef bytes parent = os.fsencode(os.path.dirname(os.path.abspath(self.path)))
        cdef bytes lock_path = directory + b"/lock"
        cdef int result = files.make_directory(files.self, directory)
        if result == 0:
            result = files.sync_directory(files.self, parent)
        if result < 0 and result != -EEXIST:
            raise simple_error(ERR_IO, f"can't make the directory {self.path} ({os.strerror(-result)})")
        self.lock_fd = files.lock(files.self, lock_path)
        if self.lock_fd == -EAGAIN:
            raise simple_error(ERR_LOCKED, f"the log in {self.path} can't be opened")
        if self.lock_fd < 0:
            raise simple_error(ERR_IO, f"can't lock {self.path} ({os.strerror(-self.lock_fd)})")

    cdef _open(self, uint64_t segment_bytes, uint64_t cache_bytes, bint direct):
        cdef WalOptions options
        cdef const WalReport* report = NULL
        cdef bytes directory = os.fsencode(self.path)
        cdef const char* c_path = directory
        cdef uint64_t wsn = 0
        cdef int status = OK
        options.segment_bytes = segment_bytes
        options.sync_group_bytes_max = SYNC_GROUP_BYTES
        options.spare_segments = self.spare_segments
        options.direct = direct
        options.cache_bytes = cache_bytes
        with nogil:
            self.wal = wal_open(system_files(), c_path, &options, &report, &status)
        if self.wal == NULL:
            raise simple_error(status, f"the log in {self.path} can't be opened: {report.detail.decode()}")
        self._take_report(report)
        status = wal_open_group(self.wal, LOG_GROUP, b"log", MODE_SUFFIX, &wsn)
        if status != OK:
            raise simple_error(status, f"{self.path} holds something else than a Log")

    cdef _take_report(self, const WalReport* report):
        cdef const RecoveredGroup* group
        cdef Batch* batch
        self.first_index = 1
        self.last_index = 0
        if report.group_count == 0:
            return
        group = &report.groups[0]
        if report.group_count != 1 or group.group != LOG_GROUP:
            raise simple_error(ERR_USAGE, f"{self.path} holds the log of a node, not a Log")
        if group.faulty_first != 0 or group.hard_state_damaged:
            where = report.detail.decode()
            raise errors.Corrupt(
                f"entries {group.faulty_first} to {group.faulty_last} of the log in {self.path} were "
                f"acknowledged and are damaged ({where}); restore the directory from a copy", where)
        self.first_index = group.first
        self.last_index = group.last
        if group.unproved_last > group.last:
            # The tail of a write that never came back as durable.  Nobody else has a copy, so it goes.
            batch = self._event(KIND_TRUNCATE, group.last + 1)
            wal_append(self.wal, batch)
            batch_drop(batch)

    cdef Batch* _event(self, uint8_t kind, uint64_t first) except NULL:
        cdef Batch* batch = batch_new(self.pool, 0)
        if batch == NULL:
            raise MemoryError
        batch.kind = kind
        batch.group = LOG_GROUP
        batch.term = LOG_TERM
        batch.first = first
        batch_stamp(batch)
        return batch

    def __dealloc__(self):
        self._end()

    cdef _end(self):
        cdef Files* files = system_files()
        if self.preparing.running:
            store_u32(&self.preparing.stop, 1)
            add_u32(&self.preparing.wanted, 1)
            futex_wake(&self.preparing.wanted, 1)
            with nogil:
                pthread_join(self.preparing.thread, NULL)
            self.preparing.running = False
        if self.wal != NULL:
            wal_close(self.wal)
            self.wal = NULL
        if self.pool != NULL:
            pool_close(self.pool)
            self.pool = NULL
        if self.read_pool != NULL:
            pool_close(self.read_pool)
            self.read_pool = NULL
        if self.lock_fd >= 0:
            files.close(files.self, self.lock_fd)
            self.lock_fd = -1

    cdef _check_open(self):
        if self.wal == NULL or self.closing:
            raise errors.Closed(f"the log in {self.path} is closed")

    def close(self):
        """Makes everything durable and lets go of the directory; waits for calls under way."""
        if self.wal == NULL or self.closing:
            return
        try:
            if not wal_poisoned(self.wal):
                self.sync()
                # So that recovery can tell a damaged end of the log from one that was never written.
                self._write_one(True)
        finally:
            self.closing = True
            while self.executing > 0:
                self._wait_turn()
            self._end()

    @property
    def closed(self):
        return self.wal == NULL

    @property
    def first(self):
        return self.first_index

    @property
    def last(self):
        return self.last_index

    @property
    def body_bytes_max(self):
        self._check_open()
        return wal_body_bytes_max(self.wal)

    # Appending ------------------------------------------------------------------------------------

    cdef uint64_t _append(self, Batch* batch) except 0:
        """Takes over the reference; the index of the batch's first entry."""
        cdef uint64_t first = self.last_index + 1
        cdef uint32_t most = wal_body_bytes_max(self.wal)
        cdef uint64_t wsn
        if batch.body_bytes > most:
            size = batch.body_bytes
            batch_drop(batch)
            raise errors.UsageError(
                f"a batch of {size} bytes with its offsets; segments of this log take at most {most}: "
                f"split it, or open the log with larger segment_bytes")
        batch.group = LOG_GROUP
        batch.term = LOG_TERM
        batch.first = first
        batch_stamp(batch)
        wsn = wal_append(self.wal, batch)
        if wsn != 0:
            self.last_index = batch_last(batch)
        batch_drop(batch)
        if wsn == 0:
            raise simple_error(ERR_POISONED, f"append to {self.path}")
        while wal_pending_bytes(self.wal) > PENDING_BYTES_MAX and self._write_one():
            pass
        return first

    def append(self, payload, /):
        """The index of the entry; durable after sync()."""
        cdef Py_buffer view
        cdef Batch* batch
        self._check_open()
        PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
        try:
            batch = seal_one(view.buf, view.len, self.pool)
        finally:
            PyBuffer_Release(&view)
        self._check_open()
        return self._append(batch)

    def append_many(self, payloads, /):
        """(first, end) of one batch, kept or lost as a whole."""
        cdef Batch* batch
        cdef uint64_t first
        cdef uint32_t count
        self._check_open()
        batch = seal_payloads(payloads, self.pool)
        if self.wal == NULL or self.closing:     # sealing a large batch lets other threads run
            batch_drop(batch)
            self._check_open()
        count = batch.count
        first = self._append(batch)
        return first, first + count

    # Writing -----------------------------------------------------------------------------------------

    cdef bint _write_one(self, bint mark=False) except -1:
        """Carries out one plan in this thread, or waits for one of another; False if nothing is pending."""
        cdef WritePlan plan
        cdef int error
        cdef int status = wal_plan(self.wal, &plan, mark)
        if status == ERR_AGAIN:
            if self.executing == 0:
                return False
            self._wait_turn()
            return True
        if status != OK:
            raise simple_error(ERR_POISONED, f"write to {self.path}")
        if self.preparing.running and self._spares_are_low():
            add_u32(&self.preparing.wanted, 1)
            futex_wake(&self.preparing.wanted, 1)
        self.executing += 1
        with nogil:
            error = wal_execute(self.wal, &plan)
        self.executing -= 1
        wal_complete(self.wal, plan.number, error)
        add_u32(&self.turns, 1)
        futex_wake(&self.turns, 1 << 30)
        if error != 0:
            raise simple_error(ERR_NO_SPACE if error == ENOSPC else ERR_IO,
                               f"write to {self.path} ({os.strerror(error)}); "
                               f"what was not synced may be lost")
        return True

    cdef bint _spares_are_low(self):
        cdef WalStatus status
        wal_status(self.wal, &status)
        return status.spare_segments < self.spare_segments

    cdef _wait_turn(self):
        """Until some plan completes, or a signal wants attention."""
        cdef uint32_t seen = load_u32(&self.turns)
        if self.executing > 0:
            with nogil:
                futex_wait(&self.turns, seen, WAIT_SLICE_NS)
        PyErr_CheckSignals()

    def sync(self):
        """Everything appended before the call is durable when it returns."""
        cdef uint64_t target
        self._check_open()
        target = wal_next(self.wal) - 1
        while wal_flushed(self.wal) < target:
            if wal_poisoned(self.wal):
                raise simple_error(ERR_POISONED, f"sync of {self.path}")
            self._write_one()
            PyErr_CheckSignals()
            self._check_open()

    # Reading -----------------------------------------------------------------------------------------

    def read(self, uint64_t index, /):
        """The batch that holds the index, as a view; what is not yet written is synced first."""
        cdef Batch* batch = NULL
        cdef int status
        cdef char detail[512]
        cdef BatchView view
        self._check_open()
        if index > self.last_index or index == 0:
            raise errors.UsageError(
                f"index {index} of a log that holds {self.first_index} to {self.last_index}")
        status = ERR_NOT_FOUND
        for attempt in range(2):
            self.executing += 1
            with nogil:
                status = wal_read(self.wal, LOG_GROUP, index, self.read_pool, &batch)
            self.executing -= 1
            add_u32(&self.turns, 1)
            futex_wake(&self.turns, 1 << 30)
            if status != ERR_NOT_FOUND or attempt == 1:
                break
            self.sync()
        if status == OK:
            view = view_of(batch)
            batch_drop(batch)
            return view
        if status == ERR_COMPACTED:
            raise errors.Compacted(f"index {index} was compacted; the log begins at {self.first_index}",
                                   self.first_index)
        if status == ERR_CORRUPT:
            wal_damage(self.wal, detail, sizeof(detail))
            raise errors.Corrupt(f"index {index} of {self.path} is damaged: {detail.decode()}",
                                 detail.decode())
        raise simple_error(status, f"read index {index} of {self.path}")

    # Both ends -----------------------------------------------------------------------------------------

    cdef _check_batch_start(self, uint64_t first, str verb):
        if first < self.first_index or first > self.last_index + 1:
            raise errors.UsageError(
                f"{verb} at {first} of a log that holds {self.first_index} to {self.last_index}")
        if first <= self.last_index:
            batch = self.read(first)
            if batch.first != first:
                raise errors.UsageError(
                    f"{verb} at {first}, within the batch {batch.first} to {batch.last}: "
                    f"batches are never split")

    def truncate(self, uint64_t first, /):
        """Drops the entries from `first` on, which begins a batch."""
        cdef Batch* batch
        cdef uint64_t wsn
        self._check_open()
        self._check_batch_start(first, "truncate")
        if first == self.last_index + 1:
            return
        batch = self._event(KIND_TRUNCATE, first)
        wsn = wal_append(self.wal, batch)
        batch_drop(batch)
        if wsn == 0:
            raise simple_error(ERR_POISONED, f"truncate {self.path}")
        self.last_index = first - 1

    def compact(self, uint64_t first, /):
        """Drops the entries before `first`, which begins a batch or is the end."""
        cdef int status
        self._check_open()
        self._check_batch_start(first, "compact")
        status = wal_compact(self.wal, LOG_GROUP, first, LOG_TERM if first > 1 else 0)
        if status != OK:
            raise simple_error(status, f"compact {self.path}")
        self.first_index = first

    def status(self):
        cdef WalStatus status
        self._check_open()
        wal_status(self.wal, &status)
        return (status.appended, status.flushed, status.pending_bytes, status.syncs, status.bytes_written,
                status.segments, status.spare_segments)
