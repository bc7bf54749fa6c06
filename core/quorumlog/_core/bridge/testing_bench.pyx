"""The hot paths for benchmarks, each driven turn by turn: sealing, checksums, frames, quorums, the log, applying.

Raft's steps are in testing_bench_raft.  Deterministic: no clock, no generator, no thread.
"""

from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.status cimport ERR_AGAIN, ERR_IO, ERR_PEER, ERR_USAGE, OK
from quorumlog._core.base.types cimport NODES_MAX, index_t
from quorumlog._core.bridge.batch cimport view_of
from quorumlog._core.bridge.seal cimport seal_payloads
from quorumlog._core.engine.message cimport PROTOCOL_RAFT, Message
from quorumlog._core.engine.quorum cimport Quorum, acked_index, quorum_majority
from quorumlog._core.runtime.receiving cimport (
    Receiver, receiver_close, receiver_done, receiver_filled, receiver_next, receiver_open, receiver_room)
from quorumlog._core.runtime.sockets cimport iovec
from quorumlog._core.runtime.wire cimport FRAME_HEAD_BYTES_MAX, frame_encode, frame_head_bytes
from quorumlog._core.storage.batch cimport (
    KIND_ENTRIES, Batch, BatchPool, batch_drop, batch_new, batch_stamp, offsets_bytes, pool_close, pool_open)
from quorumlog._core.storage.files cimport system_files
from quorumlog._core.storage.wal cimport (
    MODE_SUFFIX, Wal, WalOptions, WalReport, WritePlan, wal_append, wal_close, wal_complete, wal_execute, wal_open,
    wal_open_group, wal_plan)

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cdef enum:
    POOL_BYTES = 1 << 30
    GROUP = 7
    TERM = 1
    SEGMENT_BYTES = 256 << 20          # enough for all turns: a new segment is another path


cdef extern from *:
    """
    #if defined(__clang__)
    #define QL_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define QL_COMPILER "gcc " __VERSION__
    #else
    #define QL_COMPILER "unknown"
    #endif

    /* What the compiler was told the processor has, of what changes the code that it makes. */
    static const char *const ql_target[] = {
    #if defined(__x86_64__)
        "x86_64",
    #elif defined(__aarch64__)
        "aarch64",
    #endif
    #ifdef __SSE4_2__
        "sse4.2",
    #endif
    #ifdef __AVX2__
        "avx2",
    #endif
    #ifdef __BMI2__
        "bmi2",
    #endif
    #ifdef __AVX512F__
        "avx512f",
    #endif
    #ifdef __ARM_FEATURE_CRC32
        "crc",
    #endif
    #ifdef __ARM_FEATURE_SVE
        "sve",
    #endif
        "" };
    """
    const char* QL_COMPILER
    const char** ql_target


def built_with() -> tuple:
    """(compiler and version, processor and extensions that the compiler was allowed to use)."""
    names = []
    cdef int i = 0
    while ql_target[i][0] != 0:
        names.append(ql_target[i].decode())
        i += 1
    return QL_COMPILER.decode(), names


cdef Batch* batch_of(BatchPool* pool, uint32_t entries, uint32_t payload) noexcept nogil:
    cdef uint32_t table = offsets_bytes(entries)
    cdef Batch* batch = batch_new(pool, table + ((entries * payload + 7) & ~<uint32_t>7))
    cdef uint32_t* offsets
    cdef uint32_t i
    if batch == NULL:
        return NULL
    memset(batch.body, 0, batch.body_bytes)
    offsets = <uint32_t*>batch.body
    for i in range(1, entries + 1):
        offsets[i] = i * payload
    batch.kind = KIND_ENTRIES
    batch.group = GROUP
    batch.count = entries
    batch.body_crc = crc32c(0, batch.body, batch.body_bytes)
    return batch


cdef class Path:
    def __cinit__(self, *args, **options):
        self.entries = 1
        self.pool = pool_open(POOL_BYTES)
        if self.pool == NULL:
            raise MemoryError

    def __dealloc__(self):
        self.drop_ready()
        if self.pool != NULL:
            pool_close(self.pool)

    cdef Turn turn(self):
        raise NotImplementedError

    cdef Batch* make(self, uint64_t at):
        return NULL

    cdef Batch* take(self, uint64_t at) noexcept:
        cdef uint64_t i = at - self.done
        cdef Batch* batch = self.ready[i]
        self.ready[i] = NULL
        return batch

    cdef object drop_ready(self):
        cdef uint64_t i
        for i in range(self.ready_count):
            if self.ready[i] != NULL:
                batch_drop(self.ready[i])
        free(self.ready)
        self.ready = NULL
        self.ready_count = 0

    def prepare(self, uint64_t turns):
        """Makes what the next so many turns use up (batches, where a path takes them)."""
        cdef uint64_t i
        self.drop_ready()
        self.ready = <Batch**>calloc(turns, sizeof(Batch*))
        if self.ready == NULL:
            raise MemoryError
        self.ready_count = turns
        for i in range(turns):
            self.ready[i] = self.make(self.done + i)

    def run(self, uint64_t turns, bint measured=True):
        """So many turns, which `prepare` was told of; outside of callgrind's sight unless `measured`."""
        cdef Turn turn = self.turn()
        cdef int status
        if turns > self.ready_count:
            raise ValueError(f"{turns} turns, prepared are {self.ready_count}")
        if measured:
            status = ql_measured(turn, <void*>self, self.done, turns)
        else:
            status = ql_turns(turn, <void*>self, self.done, turns)
        self.done += turns
        self.drop_ready()
        if status != OK:
            raise RuntimeError(f"{type(self).__name__}: status {status}")


# Sealing ------------------------------------------------------------------------------------------------

cdef class Seal(Path):
    """A batch made of what a caller hands in: a list of bytes, or (buffer, offsets)."""
    cdef object payloads

    def __init__(self, payloads):
        self.payloads = payloads
        self.entries = len(payloads[1]) - 1 if isinstance(payloads, tuple) else len(payloads)

    cdef Turn turn(self):
        return seal_turn


cdef int seal_turn(void* context, uint64_t at) noexcept:
    cdef Seal path = <Seal>context
    try:
        batch_drop(seal_payloads(path.payloads, path.pool))
    except Exception:
        return ERR_USAGE
    return OK


cdef class Checksum(Path):
    """CRC32C of one buffer; an entry is a byte."""
    cdef uint8_t[::1] data

    def __init__(self, uint32_t size):
        self.data = bytearray(size)
        self.entries = size

    cdef Turn turn(self):
        return checksum_turn


cdef int checksum_turn(void* context, uint64_t at) noexcept:
    cdef Checksum path = <Checksum>context
    path.data[0] = <uint8_t>crc32c(0, &path.data[0], path.entries)
    return OK


# Frames -------------------------------------------------------------------------------------------------

cdef class FrameEncode(Path):
    """The head of a frame with one batch; the body travels by reference."""
    cdef Message message
    cdef Batch* batch
    cdef uint8_t out[FRAME_HEAD_BYTES_MAX]

    def __init__(self, uint32_t entries, uint32_t payload):
        self.batch = batch_of(self.pool, entries, payload)
        if self.batch == NULL:
            raise MemoryError
        self.entries = entries
        self.batch.term = TERM
        self.batch.first = 1
        batch_stamp(self.batch)
        self.message.kind = 5
        self.message.protocol = PROTOCOL_RAFT
        self.message.group = GROUP
        self.message.sender = 2
        self.message.target = 1
        self.message.term = TERM
        self.message.batch_count = 1
        self.message.batches = &self.batch

    def __dealloc__(self):
        if self.batch != NULL:
            batch_drop(self.batch)

    cdef Turn turn(self):
        return encode_turn

    def frame(self) -> bytes:
        """Head and body, as they travel."""
        cdef uint32_t head = frame_head_bytes(&self.message)
        frame_encode(&self.message, self.out)
        return (<const char*>self.out)[:head] + (<const char*>self.batch.body)[:self.batch.body_bytes]


cdef int encode_turn(void* context, uint64_t at) noexcept:
    cdef FrameEncode path = <FrameEncode>context
    frame_encode(&path.message, path.out)
    return OK


cdef class FrameDecode(Path):
    """A frame as a connection receives it: copied in, its head decoded, its batch allocated and verified."""
    cdef Receiver* receiver
    cdef bytes frame

    def __init__(self, uint32_t entries, uint32_t payload):
        self.frame = FrameEncode(entries, payload).frame()
        self.entries = entries
        self.receiver = receiver_open(self.pool, 1, 2)
        if self.receiver == NULL:
            raise MemoryError

    def __dealloc__(self):
        receiver_close(self.receiver)

    cdef Turn turn(self):
        return decode_turn


cdef int decode_turn(void* context, uint64_t at) noexcept:
    cdef FrameDecode path = <FrameDecode>context
    cdef const uint8_t* data = <const uint8_t*><const char*>path.frame
    cdef size_t left = <size_t>len(path.frame)
    cdef size_t count, taken
    cdef iovec vectors[4]
    cdef uint32_t rooms, i
    cdef int status = receiver_next(path.receiver)
    while status == ERR_AGAIN and left > 0:
        rooms = receiver_room(path.receiver, vectors, 4)
        taken = 0
        for i in range(rooms):
            count = min(vectors[i].iov_len, left)
            memcpy(vectors[i].iov_base, data, count)
            data += count
            left -= count
            taken += count
        receiver_filled(path.receiver, taken)
        status = receiver_next(path.receiver)
    if status != OK or left > 0:
        return ERR_PEER
    receiver_done(path.receiver)
    return OK


# The quorum ---------------------------------------------------------------------------------------------

cdef class Acked(Path):
    """The index that a majority of so many voters has; the match indexes move from turn to turn."""
    cdef Quorum quorum
    cdef index_t match[NODES_MAX]
    cdef uint32_t voters
    cdef readonly index_t acked

    def __init__(self, uint32_t voters):
        self.voters = voters
        quorum_majority(&self.quorum, (<uint32_t>1 << voters) - 1)

    cdef Turn turn(self):
        return acked_turn


cdef int acked_turn(void* context, uint64_t at) noexcept:
    cdef Acked path = <Acked>context
    path.match[at % path.voters] = at + 1
    path.acked = acked_index(&path.quorum, path.match)
    return OK


# The log ------------------------------------------------------------------------------------------------

cdef class LogWrite(Path):
    """A record appended, planned as a sync group of its own, and reported durable; nothing is written."""
    cdef Wal* wal
    cdef uint32_t payload

    def __init__(self, str path, uint32_t entries, uint32_t payload):
        cdef WalOptions options
        cdef const WalReport* report
        cdef int status = OK
        cdef bytes name = path.encode()
        cdef uint64_t wsn
        self.entries = entries
        self.payload = payload
        memset(&options, 0, sizeof(options))
        options.segment_bytes = SEGMENT_BYTES
        options.sync_group_bytes_max = 1 << 20
        options.direct = False
        options.cache_bytes = 1 << 20
        self.wal = wal_open(system_files(), name, &options, &report, &status)
        if self.wal == NULL:
            raise OSError(status, report.detail.decode())
        status = wal_open_group(self.wal, GROUP, b"bench", MODE_SUFFIX, &wsn)
        if status != OK:
            raise RuntimeError(f"opening the group: status {status}")
        self.settle()

    def __dealloc__(self):
        if self.wal != NULL:
            wal_close(self.wal)

    cdef settle(self):
        """Writes what opening left to be written."""
        cdef WritePlan plan
        while wal_plan(self.wal, &plan, False) == OK:
            wal_complete(self.wal, plan.number, wal_execute(self.wal, &plan))

    cdef Batch* make(self, uint64_t at):
        cdef Batch* batch = batch_of(self.pool, self.entries, self.payload)
        if batch != NULL:
            batch.term = TERM
            batch.first = 1 + at * self.entries
            batch_stamp(batch)
        return batch

    cdef Turn turn(self):
        return log_turn


cdef int log_turn(void* context, uint64_t at) noexcept:
    cdef LogWrite path = <LogWrite>context
    cdef WritePlan plan
    cdef Batch* batch = path.take(at)
    cdef int status
    if batch == NULL or wal_append(path.wal, batch) == 0:
        return ERR_IO
    batch_drop(batch)
    status = wal_plan(path.wal, &plan, False)
    return status if status != OK else wal_complete(path.wal, plan.number, OK)


# Applying -----------------------------------------------------------------------------------------------

cdef class ApplyPython(Path):
    """A view of a batch handed to a state machine's `apply`, as the applier does it."""
    cdef object machine
    cdef Batch* batch

    def __init__(self, machine, uint32_t entries, uint32_t payload):
        self.machine = machine
        self.entries = entries
        self.batch = batch_of(self.pool, entries, payload)
        if self.batch == NULL:
            raise MemoryError
        self.batch.first = 1

    def __dealloc__(self):
        if self.batch != NULL:
            batch_drop(self.batch)

    cdef Turn turn(self):
        return apply_turn


cdef int apply_turn(void* context, uint64_t at) noexcept:
    cdef ApplyPython path = <ApplyPython>context
    try:
        path.machine.apply(view_of(path.batch))
    except Exception:
        return ERR_USAGE
    return OK
