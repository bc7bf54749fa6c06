"""The storage layer for the tests: plain functions over bytes and integers, and a log under a
table of file calls that fails on demand.  Not part of the package's interface."""

from quorumlog._core.base.status cimport OK
from quorumlog._core.base.atomics cimport load_u64
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.storage.format cimport (CheckpointGroup, FooterEntry, GroupHeader, GroupTail, ListEntry,
                                             Placement)
from quorumlog._core.storage.batch cimport (Batch, BatchPool, batch_drop, batch_new,
                                            batch_parse_identity, batch_stamp, batch_verify_body,
                                            offsets_bytes, pool_close, pool_open)
from quorumlog._core.storage.files cimport Files, NameVisitor, iovec, system_files
from quorumlog._core.storage.wal cimport (RecoveredGroup, Wal, WalOptions, WalReport, WalStatus, WritePlan,
                                          wal_append, wal_body_bytes_max, wal_close, wal_compact,
                                          wal_complete, wal_damage, wal_drop_group, wal_execute,
                                          wal_open, wal_open_group, wal_plan, wal_poisoned,
                                          wal_prepare, wal_prepare_can_wait, wal_read, wal_repair, wal_status)

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.errno cimport EIO
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset


def structures():
    """Sizes and offsets of the structures on disk, as compiled: {name: (size, {field: offset})}."""
    cdef Placement p
    cdef GroupHeader h
    cdef ListEntry e
    cdef GroupTail t
    cdef FooterEntry f
    cdef CheckpointGroup c
    return {
        "placement": (sizeof(p), {
            "crc": <char*>&p.crc - <char*>&p, "magic": <char*>&p.magic - <char*>&p,
            "segment": <char*>&p.segment - <char*>&p, "offset": <char*>&p.offset - <char*>&p,
            "boot": <char*>&p.boot - <char*>&p, "wsn": <char*>&p.wsn - <char*>&p,
            "previous_wsn": <char*>&p.previous_wsn - <char*>&p,
            "previous_crc": <char*>&p.previous_crc - <char*>&p,
            "identity_crc": <char*>&p.identity_crc - <char*>&p,
            "length": <char*>&p.length - <char*>&p, "flags": <char*>&p.flags - <char*>&p}),
        "header": (sizeof(h), {
            "crc": <char*>&h.crc - <char*>&h, "magic": <char*>&h.magic - <char*>&h,
            "segment": <char*>&h.segment - <char*>&h, "offset": <char*>&h.offset - <char*>&h,
            "boot": <char*>&h.boot - <char*>&h, "wsn_first": <char*>&h.wsn_first - <char*>&h,
            "wsn_last": <char*>&h.wsn_last - <char*>&h, "flushed": <char*>&h.flushed - <char*>&h,
            "length": <char*>&h.length - <char*>&h, "record_count": <char*>&h.record_count - <char*>&h,
            "previous_crc": <char*>&h.previous_crc - <char*>&h, "kind": <char*>&h.kind - <char*>&h,
            "reserved": <char*>&h.reserved - <char*>&h, "reserved2": <char*>&h.reserved2 - <char*>&h}),
        "list": (sizeof(e), {
            "group": <char*>&e.group - <char*>&e, "wsn": <char*>&e.wsn - <char*>&e,
            "last": <char*>&e.last - <char*>&e, "term": <char*>&e.term - <char*>&e,
            "offset": <char*>&e.offset - <char*>&e, "length_kind": <char*>&e.length_kind - <char*>&e}),
        "tail": (sizeof(t), {
            "crc": <char*>&t.crc - <char*>&t, "magic": <char*>&t.magic - <char*>&t,
            "segment": <char*>&t.segment - <char*>&t, "offset": <char*>&t.offset - <char*>&t,
            "boot": <char*>&t.boot - <char*>&t, "wsn_first": <char*>&t.wsn_first - <char*>&t,
            "length": <char*>&t.length - <char*>&t, "record_count": <char*>&t.record_count - <char*>&t}),
        "footer": (sizeof(f), {
            "group": <char*>&f.group - <char*>&f, "wsn": <char*>&f.wsn - <char*>&f,
            "first": <char*>&f.first - <char*>&f, "term": <char*>&f.term - <char*>&f,
            "count": <char*>&f.count - <char*>&f, "offset": <char*>&f.offset - <char*>&f,
            "length": <char*>&f.length - <char*>&f, "kind": <char*>&f.kind - <char*>&f,
            "flags": <char*>&f.flags - <char*>&f, "reserved": <char*>&f.reserved - <char*>&f}),
        "checkpoint group": (sizeof(c), {
            "group": <char*>&c.group - <char*>&c, "last_wsn": <char*>&c.last_wsn - <char*>&c,
            "first": <char*>&c.first - <char*>&c, "last": <char*>&c.last - <char*>&c,
            "term_before_first": <char*>&c.term_before_first - <char*>&c,
            "last_term": <char*>&c.last_term - <char*>&c,
            "hard_state_term": <char*>&c.hard_state_term - <char*>&c, "vote": <char*>&c.vote - <char*>&c,
            "truncated_wsn": <char*>&c.truncated_wsn - <char*>&c,
            "membership_index": <char*>&c.membership_index - <char*>&c,
            "faulty_first": <char*>&c.faulty_first - <char*>&c,
            "faulty_last": <char*>&c.faulty_last - <char*>&c,
            "unproved_last": <char*>&c.unproved_last - <char*>&c,
            "unproved_term": <char*>&c.unproved_term - <char*>&c, "mode": <char*>&c.mode - <char*>&c,
            "flags": <char*>&c.flags - <char*>&c, "name_bytes": <char*>&c.name_bytes - <char*>&c,
            "reserved": <char*>&c.reserved - <char*>&c}),
    }


# A table of file calls that fails on demand -------------------------------------------------------------

cdef struct Fault:
    Files table
    Files* real
    int64_t writes_left            # < 0: no fault; at 0 the next write fails
    int64_t syncs_left
    int error


cdef int fault_open(void* self, const char* path, int mode) noexcept nogil:
    cdef Fault* fault = <Fault*>self
    return fault.real.open(fault.real.self, path, mode)


cdef int fault_close(void* self, int fd) noexcept nogil:
    cdef Fault* fault = <Fault*>self
    return fault.real.close(fault.real.self, fd)


cdef int64_t fault_read(void* self, int fd, void* data, uint64_t size, uint64_t offset) noexcept nogil:
    cdef Fault* fault = <Fault*>self
    return fault.real.read(fault.real.self, fd, data, size, offset)


cdef int64_t fault_write(void* self, int fd, const iovec* parts, int count, uint64_t offset) noexcept nogil:
    cdef Fault* fault = <Fault*>self
    if fault.writes_left == 0:
        return -fault.error
    if fault.writes_left > 0:
        fault.writes_left -= 1
    return fault.real.write(fault.real.self, fd, parts, count, offset)


cdef int fault_sync(void* self, int fd) noexcept nogil:
    cdef Fault* fault = <Fault*>self
    if fault.syncs_left == 0:
        fault.syncs_left = -1              # fails once, then "works": the trap of A-W5
        return -fault.error
    if fault.syncs_left > 0:
        fault.syncs_left -= 1
    return fault.real.sync(fault.real.self, fd)


cdef int fault_sync_directory(void* self, const char* path) noexcept nogil:
    cdef Fault* fault = <Fault*>self
    return fault.real.sync_directory(fault.real.self, path)


cdef int64_t fault_size(void* self, int fd) noexcept nogil:
    cdef Fault* fault = <Fault*>self
    return fault.real.size(fault.real.self, fd)


cdef int fault_rename(void* self, const char* source, const char* target) noexcept nogil:
    cdef Fault* fault = <Fault*>self
    return fault.real.rename(fault.real.self, source, target)


cdef int fault_remove(void* self, const char* path) noexcept nogil:
    cdef Fault* fault = <Fault*>self
    return fault.real.remove(fault.real.self, path)


cdef int fault_make_directory(void* self, const char* path) noexcept nogil:
    cdef Fault* fault = <Fault*>self
    return fault.real.make_directory(fault.real.self, path)


cdef int fault_list(void* self, const char* path, NameVisitor visit, void* context) noexcept nogil:
    cdef Fault* fault = <Fault*>self
    return fault.real.list(fault.real.self, path, visit, context)


cdef int fault_lock(void* self, const char* path) noexcept nogil:
    cdef Fault* fault = <Fault*>self
    return fault.real.lock(fault.real.self, path)


cdef class FaultyFiles:
    """The system's calls, until told otherwise."""
    cdef Fault fault

    def __cinit__(self):
        self.fault.real = system_files()
        self.fault.table = self.fault.real[0]
        self.fault.table.self = &self.fault
        self.fault.table.open = fault_open
        self.fault.table.close = fault_close
        self.fault.table.read = fault_read
        self.fault.table.write = fault_write
        self.fault.table.sync = fault_sync
        self.fault.table.sync_directory = fault_sync_directory
        self.fault.table.size = fault_size
        self.fault.table.rename = fault_rename
        self.fault.table.remove = fault_remove
        self.fault.table.make_directory = fault_make_directory
        self.fault.table.list = fault_list
        self.fault.table.lock = fault_lock
        self.fault.writes_left = -1
        self.fault.syncs_left = -1
        self.fault.error = EIO

    def fail(self, *, writes=-1, syncs=-1, error=EIO):
        self.fault.writes_left = writes
        self.fault.syncs_left = syncs
        self.fault.error = error


# Batches ------------------------------------------------------------------------------------------------

cdef class Pool:
    """A batch pool, owned by this thread; `hold` keeps batches outstanding by number."""
    cdef BatchPool* pool
    cdef dict held
    cdef uint64_t numbers

    def __cinit__(self, uint64_t limit_bytes):
        self.pool = pool_open(limit_bytes)
        self.held = {}
        if self.pool == NULL:
            raise MemoryError

    def new(self, uint32_t body_bytes):
        """The number of a new batch whose body is filled with its number, or None."""
        cdef Batch* batch = batch_new(self.pool, body_bytes)
        if batch == NULL:
            return None
        self.numbers += 1
        memset(batch.body, <int>(self.numbers & 255), body_bytes)
        self.held[self.numbers] = <size_t>batch
        return self.numbers

    def drop(self, number):
        """Any thread; checks that nobody wrote into the body."""
        cdef size_t address = self.held.pop(number)
        cdef Batch* batch = <Batch*>address
        cdef uint32_t i
        cdef bint intact = True
        for i in range(batch.body_bytes):
            if batch.body[i] != (<uint64_t>number & 255):
                intact = False
        with nogil:
            batch_drop(batch)
        return intact

    def aligned(self, number):
        cdef size_t address = self.held[number]
        return (<size_t>(<Batch*>address).body) % 64 == 0

    def numbers_of(self):
        return {"used": load_u64(&self.pool.used_bytes), "allocated": load_u64(&self.pool.allocated_bytes)}

    def close(self):
        if self.pool != NULL:
            pool_close(self.pool)
            self.pool = NULL


cdef Batch* make_batch(BatchPool* pool, int kind, uint64_t group, uint64_t term, uint64_t first, payloads,
                       bytes raw) except NULL:
    """A stamped batch: of entries when `payloads` is a list, else with the raw body."""
    cdef uint32_t count = 0
    cdef uint64_t total = 0
    cdef uint64_t body_bytes
    cdef uint32_t* offsets
    cdef Batch* batch
    if payloads is None:
        body_bytes = len(raw)
    else:
        count = len(payloads)
        total = sum(len(p) for p in payloads)
        body_bytes = offsets_bytes(count) + ((total + 7) & ~<uint64_t>7)
    batch = batch_new(pool, <uint32_t>body_bytes)
    if batch == NULL:
        raise MemoryError
    batch.kind = kind
    batch.group = group
    batch.term = term
    batch.first = first
    batch.count = count
    memset(batch.body, 0, body_bytes)
    if payloads is None:
        memcpy(batch.body, <const char*>raw, body_bytes)
    else:
        offsets = <uint32_t*>batch.body
        total = 0
        for i, payload in enumerate(payloads):
            memcpy(batch.body + offsets_bytes(count) + total, <const char*><bytes>payload, len(payload))
            total += len(payload)
            offsets[i + 1] = <uint32_t>total
    batch.body_crc = crc32c(0, batch.body, body_bytes)
    batch_stamp(batch)
    return batch


cdef list entries_of(const Batch* batch):
    cdef const uint32_t* offsets = <const uint32_t*>batch.body
    cdef const char* payload = <const char*>batch.body + offsets_bytes(batch.count)
    return [PyBytes_FromStringAndSize(payload + offsets[i], offsets[i + 1] - offsets[i])
            for i in range(batch.count)]


def identity(int kind, uint64_t group, uint64_t term, uint64_t first, payloads=None, bytes raw=b""):
    """The encoded identity header and the body of a batch."""
    cdef BatchPool* pool = pool_open(64 << 20)
    cdef Batch* batch = make_batch(pool, kind, group, term, first, payloads, raw)
    result = ((<const char*>batch.identity)[:80], (<const char*>batch.body)[:batch.body_bytes])
    batch_drop(batch)
    pool_close(pool)
    return result


def parse(bytes header, bytes body):
    """(status of the identity, status of the body or None, fields)."""
    cdef BatchPool* pool = pool_open(64 << 20)
    cdef Batch* batch = batch_new(pool, <uint32_t>len(body))
    cdef int of_identity, of_body
    memcpy(batch.body, <const char*>body, len(body))
    of_identity = batch_parse_identity(batch, <const uint8_t*><const char*>header)
    fields = None
    verdict = None
    if of_identity == OK and batch.body_bytes == len(body):
        of_body = batch_verify_body(batch)
        verdict = of_body
        fields = {"kind": batch.kind, "group": batch.group, "term": batch.term, "first": batch.first,
                  "count": batch.count, "body_bytes": batch.body_bytes}
    batch_drop(batch)
    pool_close(pool)
    return of_identity, verdict, fields


# A log ----------------------------------------------------------------------------------------------------

cdef class StepLog:
    """A write-ahead log driven step by step."""
    cdef Wal* wal
    cdef BatchPool* pool
    cdef FaultyFiles files
    cdef const WalReport* opened
    cdef dict plans

    def __cinit__(self, str path, *, uint64_t segment_bytes=1 << 20, uint64_t group_bytes=1 << 20,
                  uint32_t spares=2, bint direct=True, uint64_t cache_bytes=1 << 20, FaultyFiles files=None):
        cdef WalOptions options
        cdef int status = 0
        cdef bytes encoded = path.encode()
        cdef const char* c_path = encoded
        cdef Files* table
        self.plans = {}
        self.files = files
        table = system_files() if files is None else &files.fault.table
        options.segment_bytes = segment_bytes
        options.sync_group_bytes_max = group_bytes
        options.spare_segments = spares
        options.direct = direct
        options.cache_bytes = cache_bytes
        self.pool = pool_open(256 << 20)
        with nogil:
            self.wal = wal_open(table, c_path, &options, &self.opened, &status)
        if self.wal == NULL:
            raise OSError(status, self.opened.detail.decode())

    def __dealloc__(self):
        self.abandon()

    cpdef abandon(self):
        """Ends without completing what is in flight (as failed, so that nothing counts)."""
        if self.wal != NULL:
            for number in list(self.plans):
                wal_complete(self.wal, number, EIO)
            self.plans = {}
            wal_close(self.wal)
            self.wal = NULL
        if self.pool != NULL:
            pool_close(self.pool)
            self.pool = NULL

    def close(self):
        self.settle()
        self.abandon()

    def report(self):
        cdef const RecoveredGroup* g
        groups = {}
        for i in range(self.opened.group_count):
            g = &self.opened.groups[i]
            groups[g.group] = {
                "mode": g.mode, "name": g.name.decode(), "hard_state": (g.hard_state_term, g.vote),
                "first": g.first, "term_before_first": g.term_before_first, "last": g.last,
                "last_term": g.last_term, "runs": [(g.runs[k].first,
                                                    g.runs[k].term) for k in range(g.run_count)],
                "unproved_last": g.unproved_last, "unproved_term": g.unproved_term,
                "faulty": (g.faulty_first, g.faulty_last), "hard_state_damaged": bool(g.hard_state_damaged),
                "listening": bool(g.listening), "boundless": bool(g.boundless), "whole_last": g.whole_last,
                "holes": [(g.holes[k].first, g.holes[k].last, g.holes[k].term,
                           bool(g.holes[k].identified)) for k in range(g.hole_count)],
                "whole_runs": [(g.runs[k].first, g.runs[k].term) for k in range(g.whole_run_count)]}
        return {"groups": groups, "flushed": self.opened.flushed, "wsn_last": self.opened.wsn_last,
                "boot": self.opened.boot, "records": self.opened.records,
                "corrupt": self.opened.corrupt_records, "unproved": self.opened.unproved_records,
                "detail": self.opened.detail.decode()}

    def open_group(self, uint64_t group, bytes name, uint8_t mode=1):
        cdef uint64_t wsn = 0
        cdef int status = wal_open_group(self.wal, group, name, mode, &wsn)
        return status, wsn

    def append(self, uint64_t group, uint64_t term, uint64_t first, payloads, int kind=1):
        cdef Batch* batch = make_batch(self.pool, kind, group, term, first, payloads, b"")
        cdef uint64_t wsn = wal_append(self.wal, batch)
        batch_drop(batch)
        return wsn

    def repair(self, uint64_t group, uint64_t term, uint64_t first, payloads):
        """What the log has there already, once more."""
        cdef Batch* batch = make_batch(self.pool, 1, group, term, first, payloads, b"")
        cdef uint64_t wsn = wal_repair(self.wal, batch)
        batch_drop(batch)
        return wsn

    def hard_state(self, uint64_t group, uint64_t term, uint64_t vote, bint listening=False):
        raw = vote.to_bytes(8, "little") + int(listening).to_bytes(8, "little")
        cdef Batch* batch = make_batch(self.pool, 3, group, term, 0, None, raw)
        cdef uint64_t wsn = wal_append(self.wal, batch)
        batch_drop(batch)
        return wsn

    def truncate(self, uint64_t group, uint64_t term, uint64_t first):
        cdef Batch* batch = make_batch(self.pool, 4, group, term, first, None, b"")
        cdef uint64_t wsn = wal_append(self.wal, batch)
        batch_drop(batch)
        return wsn

    def compact(self, uint64_t group, uint64_t first, uint64_t term):
        return wal_compact(self.wal, group, first, term)

    def drop_group(self, uint64_t group):
        return wal_drop_group(self.wal, group)

    def plan(self, bint mark=False):
        """(status, number, offset, bytes, last, synced by the write, parts)"""
        cdef WritePlan plan
        memset(&plan, 0, sizeof(plan))
        cdef int status = wal_plan(self.wal, &plan, mark)
        if status != OK:
            return status, 0, 0, 0, 0, False, 0
        self.plans[plan.number] = (<const char*>&plan)[:sizeof(WritePlan)]
        return (status, plan.number, plan.offset, plan.bytes, plan.last, bool(plan.synced_by_write),
                plan.part_count)

    def execute(self, uint64_t number):
        cdef WritePlan plan
        cdef bytes kept = self.plans[number]
        cdef int error
        memcpy(&plan, <const char*>kept, sizeof(WritePlan))
        with nogil:
            error = wal_execute(self.wal, &plan)
        return error

    def complete(self, uint64_t number, int error=0):
        del self.plans[number]
        return wal_complete(self.wal, number, error)

    def settle(self, bint mark=False):
        """Writes everything that is pending; False if that failed."""
        while True:
            status, number, *_ = self.plan(mark)
            if status != OK:
                return not wal_poisoned(self.wal)
            error = self.execute(number)
            self.complete(number, error)

    def prepare(self):
        return wal_prepare(self.wal)

    def prepare_can_wait(self, uint64_t seen_bytes):
        """(whether it can, the bytes seen now)"""
        cdef bint can = wal_prepare_can_wait(self.wal, &seen_bytes)
        return can, seen_bytes

    def read(self, uint64_t group, uint64_t index):
        """(status, first, term, entries, wsn)"""
        cdef Batch* batch = NULL
        cdef int status
        with nogil:
            status = wal_read(self.wal, group, index, self.pool, &batch)
        if status != OK:
            return status, 0, 0, [], 0
        result = status, batch.first, batch.term, entries_of(batch), batch.wsn
        batch_drop(batch)
        return result

    def damage(self):
        cdef char text[512]
        wal_damage(self.wal, text, sizeof(text))
        return text.decode()

    def body_bytes_max(self):
        return wal_body_bytes_max(self.wal)

    def status(self):
        cdef WalStatus status
        wal_status(self.wal, &status)
        return {"appended": status.appended, "submitted": status.submitted, "flushed": status.flushed,
                "pending_bytes": status.pending_bytes, "syncs": status.syncs,
                "segments": status.segments, "spare_segments": status.spare_segments,
                "poisoned": bool(wal_poisoned(self.wal))}
