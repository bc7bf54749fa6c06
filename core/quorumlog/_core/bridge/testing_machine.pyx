"""See testing_machine.pxd.  Only here does the simulation meet Python, and only with a user's machine in it."""

from quorumlog._core.base.bytes cimport put_u32, round_up
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.bridge.batch cimport view_of
from quorumlog._core.storage.batch cimport Batch, BatchPool, batch_new, offsets_bytes

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    BATCH_BYTES_MAX = 12 << 10     # what the simulation's smallest segments take


cdef bytes result_bytes(object result):
    """What a result is compared by: its type and its bytes, or its words."""
    if result is None:
        return b"none"
    if isinstance(result, (bytes, bytearray)):
        return b"bytes " + bytes(result)
    if hasattr(result, "tobytes"):
        return b"array " + result.tobytes()
    return f"{type(result).__name__} {result!r}".encode(errors="backslashreplace")


cdef uint64_t digest_of(object results, uint32_t count) except? 1:
    """Of what `apply` returned for a batch."""
    cdef uint64_t digest = 14695981039346656037ULL
    cdef bytes piece
    if results is None:
        return 0
    if len(results) != count:
        raise ValueError(f"apply returned {len(results)} results for {count} entries: None, or one for each entry")
    for result in results:
        piece = result_bytes(result)
        digest = (digest ^ crc32c(0, <const uint8_t*>(<const char*>piece), len(piece))) * 1099511628211ULL
    return digest


cdef bint begin(void* context, uint32_t host) noexcept nogil:
    with gil:
        return begin_machine(<Machines>context, host)


cdef bint begin_machine(Machines machines, uint32_t host) noexcept:
    try:
        machines.live[host + 1] = machines.factory()
        return True
    except BaseException as error:
        machines.note(error)
        return False


cdef bint apply(void* context, uint32_t host, Batch* batch, uint64_t* digest) noexcept nogil:
    with gil:
        return apply_batch(<Machines>context, host, batch, digest)


cdef bint apply_batch(Machines machines, uint32_t host, Batch* batch, uint64_t* digest) noexcept:
    try:
        machine = machines.live[host + 1]
        digest[0] = digest_of(machine.apply(view_of(batch)), batch.count)
        if machines.look is not None:
            machines.look(machine)
        return True
    except BaseException as error:
        machines.note(error)
        return False


cdef Batch* command(void* context, BatchPool* pool, uint64_t session, uint64_t sequence) noexcept nogil:
    with gil:
        return command_batch(<Machines>context, pool, session, sequence)


cdef Batch* command_batch(Machines machines, BatchPool* pool, uint64_t session, uint64_t sequence) noexcept:
    """An empty payload stands for a command that could not be made; the error ends the run's verdict."""
    cdef list payloads
    try:
        payloads = machines.payloads_of(session, sequence)
    except BaseException as error:
        machines.note(error)
        payloads = [b""]
    return batch_of(pool, payloads)


cdef Batch* batch_of(BatchPool* pool, list payloads) noexcept:
    cdef uint32_t count = <uint32_t>len(payloads)
    cdef uint32_t at = 0
    cdef uint32_t size
    cdef uint32_t total = 0
    cdef uint32_t i
    for payload in payloads:
        total += <uint32_t>len(payload)
    cdef Batch* batch = batch_new(pool, <uint32_t>round_up(offsets_bytes(count) + total, 8))
    if batch == NULL:
        return NULL
    memset(batch.body, 0, batch.body_bytes)
    for i in range(count):
        payload = payloads[i]
        size = <uint32_t>len(payload)
        put_u32(batch.body + 4 * i, at)
        memcpy(batch.body + offsets_bytes(count) + at, <const char*>(<bytes>payload), size)
        at += size
    put_u32(batch.body + 4 * count, at)
    batch.count = count
    return batch


cdef class Machines:
    """`factory()` makes a machine; `command(session, sequence)` the payloads of one batch, always the same
    for the same two numbers; `look(machine)`, if given, is called after every batch."""

    def __init__(self, factory, command_of, look=None):
        self.factory = factory
        self.command = command_of
        self.look = look
        self.live = {}
        self.drawn = {}
        self.error = None

    cdef void note(self, object error) noexcept:
        """The first one is the cause."""
        if self.error is None:
            self.error = error

    def payloads_of(self, session, sequence):
        """The batch's payloads, checked: some, each bytes, together at most 12 KiB."""
        payloads = self.drawn.get((session, sequence))
        if payloads is None:
            payloads = [bytes(payload) for payload in self.command(session, sequence)]
            if not payloads or sum(len(payload) + 8 for payload in payloads) > BATCH_BYTES_MAX:
                raise ValueError(f"a batch of {len(payloads)} commands: at least one, and at most 12 KiB of them")
            self.drawn[session, sequence] = payloads
        return payloads

    cdef const MachineTable* table(self) except NULL:
        self.functions.context = <void*>self
        self.functions.begin = begin
        self.functions.apply = apply
        self.functions.command = command
        return &self.functions
