"""Test-facing: the real write-ahead log over a virtual disk, its plans carried out step by step."""

from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.status cimport ERR_AGAIN, OK
from quorumlog._core.bridge.testing_disk cimport VirtualDisk
from quorumlog._core.simulation.disk cimport disk_process_crash, disk_sync_range, disk_write_pending
from quorumlog._core.storage.batch cimport (
    Batch, BatchPool, batch_drop, batch_new, batch_stamp, offsets_bytes, pool_close, pool_open,
)
from quorumlog._core.storage.wal cimport (
    RecoveredGroup, Wal, WalOptions, WalReport, WritePlan, wal_append, wal_close, wal_compact, wal_complete,
    wal_flushed, wal_next, wal_open, wal_open_group, wal_plan, wal_poisoned, wal_prepare, wal_read,
)

from libc.errno cimport EIO
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    EVERYTHING = 0x7FFFFFFFFFFFFFFF


class LogRefused(Exception):
    """Opening failed: (status, detail)."""


cdef Batch* new_batch(BatchPool* pool, int kind, uint64_t group, uint64_t term, uint64_t first, payloads,
                      bytes raw) except NULL:
    cdef uint32_t count = len(payloads)
    cdef uint64_t size = offsets_bytes(count) + (sum(map(len, payloads)) + 7) // 8 * 8 if count else len(raw)
    cdef Batch* batch = batch_new(pool, <uint32_t>size)
    cdef uint32_t at = 0
    if batch == NULL:
        raise MemoryError
    memset(batch.body, 0, size)
    memcpy(batch.body, <const char*>raw, len(raw))
    for i, payload in enumerate(payloads):
        memcpy(batch.body + offsets_bytes(count) + at, <const char*><bytes>payload, len(payload))
        at += len(payload)
        (<uint32_t*>batch.body)[i + 1] = at
    batch.kind = kind
    batch.group = group
    batch.term = term
    batch.first = first
    batch.count = count
    batch.body_crc = crc32c(0, batch.body, size)
    batch_stamp(batch)
    return batch


cdef class DiskLog:
    """A log opened on a virtual disk.  Dropping it does not touch the disk."""
    cdef VirtualDisk disk
    cdef Wal* wal
    cdef BatchPool* pool
    cdef const WalReport* opened
    cdef dict plans

    def __cinit__(self, VirtualDisk disk, str path="wal", *, uint64_t segment_bytes=1 << 20,
                  uint64_t group_bytes=1 << 20, uint32_t spares=1, bint direct=True, bint prepare=True):
        cdef WalOptions options
        cdef int status = OK
        cdef bytes encoded = path.encode()
        cdef const char* name = encoded
        memset(&options, 0, sizeof(WalOptions))
        options.segment_bytes = segment_bytes
        options.sync_group_bytes_max = group_bytes
        options.spare_segments = spares
        options.direct = direct
        options.cache_bytes = 1 << 20
        self.disk = disk
        self.plans = {}
        with nogil:
            self.wal = wal_open(&disk.disk.files, name, &options, &self.opened, &status)
        if self.wal == NULL:
            disk_process_crash(disk.disk)
            raise LogRefused(status, self.opened.detail.decode() if self.opened != NULL else "")
        self.pool = pool_open(64 << 20)
        if prepare:
            self.prepare()

    def __dealloc__(self):
        self.abandon()

    cpdef abandon(self):
        """The process is gone: nothing more reaches the disk, and nothing in flight counts."""
        if self.wal == NULL:
            return
        halt_at = self.disk.disk.halt_at
        self.disk.disk.halt_at = 1
        for number in self.plans:
            wal_complete(self.wal, number, EIO)
        self.plans = {}
        wal_close(self.wal)
        self.wal = NULL
        pool_close(self.pool)
        disk_process_crash(self.disk.disk)
        self.disk.disk.halt_at = halt_at

    @property
    def groups(self):
        """What recovery found: {group: {...}}."""
        cdef const RecoveredGroup* g
        found = {}
        for i in range(self.opened.group_count):
            g = &self.opened.groups[i]
            found[g.group] = {
                "mode": g.mode, "name": g.name.decode(), "hard_state": (g.hard_state_term, g.vote),
                "hard_state_damaged": bool(g.hard_state_damaged), "first": g.first,
                "term_before_first": g.term_before_first, "last": g.last, "last_term": g.last_term,
                "runs": tuple((g.runs[k].first, g.runs[k].term) for k in range(g.run_count)),
                "chosen": g.chosen, "unproved_last": g.unproved_last, "faulty": (g.faulty_first, g.faulty_last)}
        return found

    @property
    def detail(self):
        return self.opened.detail.decode()

    @property
    def flushed_found(self):
        return self.opened.flushed

    @property
    def flushed(self):
        return wal_flushed(self.wal)

    @property
    def next(self):
        return wal_next(self.wal)

    @property
    def poisoned(self):
        return bool(wal_poisoned(self.wal))

    def prepare(self):
        while wal_prepare(self.wal) == OK:
            pass

    # --- records: each gives its WSN

    def open_group(self, uint64_t group, str name, int mode=1):
        """Mode 2: a group of slots."""
        cdef uint64_t wsn = 0
        status = wal_open_group(self.wal, group, name.encode(), mode, &wsn)
        if status != OK:
            raise LogRefused(status, name)
        return wsn

    cdef uint64_t add(self, Batch* batch):
        cdef uint64_t wsn = wal_append(self.wal, batch)
        batch_drop(batch)
        return wsn

    def append(self, uint64_t group, uint64_t term, uint64_t first, payloads):
        return self.add(new_batch(self.pool, 1, group, term, first, payloads, b""))

    def accept(self, uint64_t group, uint64_t round, uint64_t node, uint64_t slot, payloads):
        cdef Batch* batch = new_batch(self.pool, 1, group, round, slot, payloads, b"")
        batch.slot = 1
        batch.ballot_node = node
        batch_stamp(batch)
        return self.add(batch)

    def chosen(self, uint64_t group, uint64_t first):
        return self.add(new_batch(self.pool, 15, group, 1, first, (), b""))

    def hard_state(self, uint64_t group, uint64_t term, uint64_t vote):
        return self.add(new_batch(self.pool, 3, group, term, 0, (), vote.to_bytes(8, "little") + bytes(8)))

    def truncate(self, uint64_t group, uint64_t term, uint64_t first):
        return self.add(new_batch(self.pool, 4, group, term, first, (), b""))

    def compact(self, uint64_t group, uint64_t first, uint64_t term_before):
        wsn = wal_next(self.wal)
        status = wal_compact(self.wal, group, first, term_before)
        if status != OK:
            raise LogRefused(status, "compact")
        return wsn

    # --- plans

    def plan(self, bint mark=False):
        """The number of the next plan, or None if there is nothing to write (or two are in flight)."""
        cdef WritePlan plan
        memset(&plan, 0, sizeof(WritePlan))
        status = wal_plan(self.wal, &plan, mark)
        if status == ERR_AGAIN:
            return None
        if status != OK:
            raise LogRefused(status, "plan")
        self.plans[plan.number] = (<const char*>&plan)[:sizeof(WritePlan)]
        return plan.number

    def write(self, uint64_t number):
        """The plan's bytes go into the cache; 0 or an errno."""
        cdef WritePlan plan
        cdef bytes kept = self.plans[number]
        memcpy(&plan, <const char*>kept, sizeof(WritePlan))
        written = disk_write_pending(self.disk.disk, plan.fd, plan.parts, plan.part_count, plan.offset)
        return 0 if written == <int64_t>plan.bytes else -written

    def finish(self, uint64_t number, int error=0):
        """Syncs what the plan wrote and reports it; the errno."""
        cdef WritePlan plan
        cdef bytes kept = self.plans.pop(number)
        memcpy(&plan, <const char*>kept, sizeof(WritePlan))
        if error == 0:
            if plan.synced_by_write:
                error = -disk_sync_range(self.disk.disk, plan.fd, plan.offset, plan.bytes)
            else:
                error = -disk_sync_range(self.disk.disk, plan.fd, 0, EVERYTHING)
        wal_complete(self.wal, number, error)
        return error

    def settle(self, *, bint mark=False):
        """Writes and syncs all there is, one plan at a time."""
        while True:
            number = self.plan(mark)
            if number is None:
                return
            self.finish(number, self.write(number))

    def read(self, uint64_t group, uint64_t index):
        """(status, kind, term, first, entries) of the batch that holds an index."""
        cdef Batch* batch = NULL
        cdef const uint32_t* offsets
        status = wal_read(self.wal, group, index, self.pool, &batch)
        if status != OK:
            return status, 0, 0, 0, ()
        offsets = <const uint32_t*>batch.body
        payload = (<const char*>batch.body)[offsets_bytes(batch.count):batch.body_bytes]
        entries = tuple(payload[offsets[i]:offsets[i + 1]] for i in range(batch.count))
        result = (OK, batch.kind, batch.term, batch.first, entries)
        batch_drop(batch)
        return result

    def entries(self, uint64_t group):
        """{index: (term, payload)} of the intact log as recovery found it, read from the disk."""
        found = self.groups[group]
        index = found["first"]
        entries = {}
        while index <= found["last"]:
            status, _, term, first, payloads = self.read(group, index)
            if status != OK:
                raise LogRefused(status, f"group {group} index {index} can't be read")
            for i, payload in enumerate(payloads):
                entries[first + i] = (term, payload)
            index = first + len(payloads)
        return entries
