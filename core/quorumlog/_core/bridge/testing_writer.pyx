"""What the tests of runtime/writer call: plans made by hand, and plans of a real log."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from quorumlog._core.base.atomics cimport atomic_u32, fence, store_u32
from quorumlog._core.base.bytes cimport round_up
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.runtime.writer cimport (
    WRITER_AUTO, WRITER_THREAD, WRITER_URING, Writer, writer_close, writer_completed, writer_event_fd, writer_noticed,
    writer_kind, writer_open, writer_prepare, writer_submit,
)
from quorumlog._core.storage.batch cimport (
    KIND_ENTRIES, Batch, BatchPool, batch_drop, batch_new, batch_payload, batch_stamp, offsets_bytes,
    pool_close, pool_open,
)
from quorumlog._core.storage.files cimport iovec, system_files
from quorumlog._core.storage.wal cimport (
    MODE_SUFFIX, Wal, WalOptions, WalReport, WalStatus, WritePlan, wal_append, wal_close, wal_complete,
    wal_flushed, wal_open, wal_open_group, wal_plan, wal_poisoned, wal_read, wal_status,
)

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void** out, size_t alignment, size_t size)

KINDS = {"auto": WRITER_AUTO, "thread": WRITER_THREAD, "io_uring": WRITER_URING}
NAMES = {number: name for name, number in KINDS.items()}
GROUP = 17

cdef struct MadePlan:
    iovec* parts
    void* data


cdef class WriterUnderTest:
    """A log in a directory, and a writer for it; also for plans that are not the log's."""

    cdef Wal* wal
    cdef Writer* writer
    cdef BatchPool* pool
    cdef atomic_u32 sleeping
    cdef MadePlan[64] made
    cdef const WalReport* report

    def __cinit__(self, bytes path, str kind, uint64_t segment_bytes=1 << 20, bint direct=True):
        cdef WalOptions options
        cdef int status
        memset(&options, 0, sizeof(options))
        options.segment_bytes = segment_bytes
        options.sync_group_bytes_max = 1 << 20
        options.spare_segments = 2
        options.direct = direct
        options.cache_bytes = 1 << 20
        store_u32(&self.sleeping, 0)
        self.pool = pool_open(64 << 20)
        self.wal = wal_open(system_files(), path, &options, &self.report, &status)
        if self.wal == NULL:
            raise OSError(status, "wal_open")
        status = writer_open(self.wal, KINDS[kind], &self.sleeping, &self.writer)
        if status != 0:
            raise OSError(status, "writer_open")

    def __dealloc__(self):
        self.close()

    def close(self) -> None:
        """The writer first, which waits for what is outstanding; then the log."""
        cdef Writer* writer = self.writer
        cdef Wal* wal = self.wal
        self.writer, self.wal = NULL, NULL
        if writer != NULL:
            with nogil:
                writer_close(writer)
        if wal != NULL:
            wal_close(wal)
        if self.pool != NULL:
            pool_close(self.pool)
            self.pool = NULL
        for number in range(64):
            self.forget(number)

    def kind(self) -> str:
        return NAMES[writer_kind(self.writer)]

    def event_fd(self) -> int:
        return writer_event_fd(self.writer)

    def noticed(self) -> None:
        writer_noticed(self.writer)

    def prepare(self) -> None:
        writer_prepare(self.writer)

    def say_sleeping(self, bint sleeping) -> None:
        store_u32(&self.sleeping, sleeping)
        fence()

    def completed(self) -> object:
        """(number, error), or None."""
        cdef uint64_t number = 0
        cdef int error = 0
        if not writer_completed(self.writer, &number, &error):
            return None
        self.forget(number)
        return number, error

    # --- Plans made by hand

    def submit(self, uint64_t number, int fd, uint64_t offset, list parts,
               bint synced_by_write=False) -> None:
        """The parts lie one behind another in memory, from a block boundary on."""
        cdef WritePlan plan
        cdef uint64_t size = sum(len(part) for part in parts)
        cdef uint64_t place = 0
        cdef MadePlan* made = &self.made[number]
        cdef int i
        made.parts = <iovec*>calloc(len(parts), sizeof(iovec))
        if posix_memalign(&made.data, 4096, round_up(size + 1, 4096)) != 0:
            raise MemoryError
        for i in range(len(parts)):
            memcpy(<char*>made.data + place, <const char*>(<bytes>parts[i]), len(parts[i]))
            made.parts[i].iov_base = <char*>made.data + place
            made.parts[i].iov_len = len(parts[i])
            place += len(parts[i])
        memset(&plan, 0, sizeof(plan))
        plan.number = number
        plan.fd = fd
        plan.synced_by_write = synced_by_write
        plan.offset = offset
        plan.bytes = size
        plan.parts = made.parts
        plan.part_count = len(parts)
        writer_submit(self.writer, &plan)

    cdef void forget(self, uint64_t number):
        if number < 64:
            free(self.made[number].parts)
            free(self.made[number].data)
            memset(&self.made[number], 0, sizeof(MadePlan))

    # --- Plans of the log

    def open_group(self) -> None:
        cdef uint64_t wsn
        if wal_open_group(self.wal, GROUP, b"group", MODE_SUFFIX, &wsn) != 0:
            raise OSError("wal_open_group")

    def append(self, uint64_t first, uint64_t term, list entries) -> int:
        """One batch; its WSN."""
        cdef uint32_t size = sum(len(entry) for entry in entries)
        cdef uint32_t table = offsets_bytes(len(entries))
        cdef Batch* batch = batch_new(self.pool, table + <uint32_t>round_up(size, 8))
        cdef uint32_t place = 0
        cdef uint32_t i
        if batch == NULL:
            raise MemoryError
        batch.kind = KIND_ENTRIES
        batch.group, batch.term, batch.first, batch.count = GROUP, term, first, len(entries)
        memset(batch.body, 0, batch.body_bytes)
        for i in range(batch.count):
            memcpy(batch.body + table + place, <const char*>(<bytes>entries[i]), len(entries[i]))
            place += len(entries[i])
            (<uint32_t*>batch.body)[i + 1] = place
        batch.body_crc = crc32c(0, batch.body, batch.body_bytes)
        batch_stamp(batch)
        wsn = wal_append(self.wal, batch)
        batch_drop(batch)
        return wsn

    def plan(self, bint mark=False) -> object:
        """Submits the log's next plan: its (number, bytes, parts), or the status why not."""
        cdef WritePlan plan
        cdef int status = wal_plan(self.wal, &plan, mark)
        if status != 0:
            return status
        writer_submit(self.writer, &plan)
        return plan.number, plan.bytes, plan.part_count

    def complete(self, uint64_t number, int error) -> int:
        return wal_complete(self.wal, number, error)

    def flushed(self) -> int:
        return wal_flushed(self.wal)

    def poisoned(self) -> bool:
        return bool(wal_poisoned(self.wal))

    def spare_segments(self) -> int:
        cdef WalStatus status
        wal_status(self.wal, &status)
        return status.spare_segments

    def recovered(self) -> dict:
        """{group: (first, last)}, and what was wrong."""
        groups = {
            self.report.groups[i].group: (self.report.groups[i].first, self.report.groups[i].last)
            for i in range(self.report.group_count)
        }
        return {"groups": groups, "corrupt": self.report.corrupt_records, "flushed": self.report.flushed}

    def read(self, uint64_t index) -> object:
        """The entries of the batch that holds `index`, or a status."""
        cdef Batch* batch = NULL
        cdef int status = wal_read(self.wal, GROUP, index, self.pool, &batch)
        cdef const uint32_t* offsets
        cdef const uint8_t* payload
        if status != 0:
            return status
        offsets, payload = <const uint32_t*>batch.body, batch_payload(batch)
        entries = [
            (<const char*>payload)[offsets[i] : offsets[i + 1]] for i in range(batch.count)
        ]
        batch_drop(batch)
        return entries
