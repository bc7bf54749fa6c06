"""The receiving side of a connection: parse in place, allocate only for what is proved."""

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.status cimport ERR_AGAIN, ERR_MEMORY, ERR_PEER, OK
from quorumlog._core.base.types cimport node_t
from quorumlog._core.runtime.sockets cimport iovec
from quorumlog._core.runtime.wire cimport (
    FRAME_HEAD_BYTES_MAX, FRAME_HEADER_BYTES, FrameBodies, frame_decode, frame_identity, frame_peek,
)
from quorumlog._core.storage.batch cimport (
    Batch, BatchPool, batch_drop, batch_new, batch_parse_identity, batch_verify_body,
)

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memmove

cdef enum:
    BATCH_OVERHEAD_BYTES = 1024
    ROUNDED_BYTES_MAX = 128 << 10


cdef Receiver* receiver_open(BatchPool* pool, node_t node, node_t peer) noexcept nogil:
    cdef Receiver* r = <Receiver*>calloc(1, sizeof(Receiver))
    if r == NULL:
        return NULL
    r.buffer = <uint8_t*>malloc(RECEIVE_BUFFER_BYTES)
    if r.buffer == NULL:
        free(r)
        return NULL
    r.pool = pool
    r.node = node
    r.peer = peer
    return r


cdef void receiver_close(Receiver* r) noexcept nogil:
    if r == NULL:
        return
    if r.in_frame:
        receiver_done(r)
    free(r.buffer)
    free(r)


cdef uint32_t body_room(Receiver* r, iovec* vectors, uint32_t vectors_max) noexcept nogil:
    """The bodies that are still to come, straight into their batches."""
    cdef uint32_t count = 0
    cdef uint32_t offset = r.filled_bytes
    cdef uint32_t i
    check(r.begin == r.end, b"Q-RECEIVING-01 a body is read past bytes that lie in the buffer")
    for i in range(r.filling, r.message.batch_count):
        if count == vectors_max:
            break
        vectors[count].iov_base = r.batches[i].body + offset
        vectors[count].iov_len = r.batches[i].body_bytes - offset
        offset = 0
        count += 1
    return count


cdef uint32_t receiver_room(Receiver* r, iovec* vectors, uint32_t vectors_max) noexcept nogil:
    cdef uint32_t count = 0
    cdef uint32_t room
    if r.in_frame:
        count = body_room(r, vectors, vectors_max - 1)
        if count < r.message.batch_count - r.filling:
            return count               # the buffer comes behind the last body only
    if r.begin == r.end:
        r.begin = r.end = 0
    elif RECEIVE_BUFFER_BYTES - r.begin < FRAME_HEAD_BYTES_MAX:
        memmove(r.buffer, r.buffer + r.begin, r.end - r.begin)
        r.end -= r.begin
        r.begin = 0
    room = RECEIVE_BUFFER_BYTES - r.end
    if r.large and room > READ_AHEAD_BYTES:
        room = READ_AHEAD_BYTES
    if room > 0:
        vectors[count].iov_base = r.buffer + r.end
        vectors[count].iov_len = room
        count += 1
    return count


cdef void receiver_filled(Receiver* r, uint64_t bytes) noexcept nogil:
    cdef uint64_t missing
    while r.in_frame and r.filling < r.message.batch_count and bytes > 0:
        missing = r.batches[r.filling].body_bytes - r.filled_bytes
        if bytes < missing:
            r.filled_bytes += <uint32_t>bytes
            return
        bytes -= missing
        r.filling += 1
        r.filled_bytes = 0
    check2(bytes <= RECEIVE_BUFFER_BYTES - r.end, b"Q-RECEIVING-02 more bytes came than there was room for",
           <long long>bytes, r.end)
    r.end += <uint32_t>bytes


cdef int take_memory(Receiver* r, const uint8_t* head, const FrameBodies* bodies) noexcept nogil:
    """A batch for each body, all or none: two connections that each hold half could wait for ever."""
    cdef uint32_t i, k
    cdef Batch* batch
    for i in range(r.message.batch_count):
        batch = batch_new(r.pool, bodies.bytes[i])
        if batch == NULL:
            for k in range(i):
                batch_drop(r.batches[k])
            return ERR_MEMORY
        check(batch_parse_identity(batch, frame_identity(head, i)) == OK,
              b"Q-RECEIVING-03 an identity is refused that the frame's decoder took")
        check2(batch.body_bytes == bodies.bytes[i],
               b"Q-RECEIVING-04 a body has another size than was checked", batch.body_bytes, bodies.bytes[i])
        r.batches[i] = batch
    return OK


cdef bint memory_possible(Receiver* r, const FrameBodies* bodies) noexcept nogil:
    """Could an empty pool hold this frame?  Waiting would else be waiting for ever."""
    cdef uint64_t bytes = 0
    cdef uint32_t i
    for i in range(r.message.batch_count):
        # The pool rounds small bodies up to a power of two, and adds a struct.
        bytes += BATCH_OVERHEAD_BYTES + bodies.bytes[i]
        if bodies.bytes[i] <= ROUNDED_BYTES_MAX:
            bytes += bodies.bytes[i]
    return bytes <= r.pool.limit_bytes


cdef int frame_begin(Receiver* r) noexcept nogil:
    """Accepts the head at `begin`, if all of it is there."""
    cdef FrameBodies bodies
    cdef uint32_t head_bytes
    cdef const uint8_t* head = r.buffer + r.begin
    cdef int status
    if r.end - r.begin < FRAME_HEADER_BYTES:
        return ERR_AGAIN
    if frame_peek(head, &head_bytes) != OK:
        return ERR_PEER
    if r.end - r.begin < head_bytes:
        return ERR_AGAIN
    if frame_decode(head, head_bytes, &r.message, &bodies) != OK:
        return ERR_PEER
    # Who sent it is what the opening proved, not what the frame says.
    if r.message.sender != r.peer or r.message.target != r.node or not memory_possible(r, &bodies):
        r.message.batch_count = 0
        return ERR_PEER
    status = take_memory(r, head, &bodies)
    if status != OK:
        r.message.batch_count = 0
        return status
    r.message.batches = r.batches
    r.begin += head_bytes
    r.in_frame = True
    r.large = head_bytes + bodies.total_bytes >= LARGE_FRAME_BYTES
    r.filling = r.filled_bytes = r.verified = 0
    return OK


cdef void take_bodies(Receiver* r) noexcept nogil:
    """Moves what the buffer holds of the bodies into their batches."""
    cdef uint32_t bytes, missing
    cdef Batch* batch
    while r.filling < r.message.batch_count and r.begin < r.end:
        batch = r.batches[r.filling]
        missing = batch.body_bytes - r.filled_bytes
        bytes = r.end - r.begin if r.end - r.begin < missing else missing
        memcpy(batch.body + r.filled_bytes, r.buffer + r.begin, bytes)
        r.begin += bytes
        r.filled_bytes += bytes
        if r.filled_bytes == batch.body_bytes:
            r.filling += 1
            r.filled_bytes = 0


cdef int receiver_next(Receiver* r) noexcept nogil:
    cdef int status
    if not r.in_frame:
        status = frame_begin(r)
        if status != OK:
            return status
    take_bodies(r)
    while r.verified < r.filling:
        if batch_verify_body(r.batches[r.verified]) != OK:
            return ERR_PEER
        r.verified += 1
    return OK if r.verified == r.message.batch_count else ERR_AGAIN


cdef void receiver_done(Receiver* r) noexcept nogil:
    cdef uint32_t i
    check(r.in_frame, b"Q-RECEIVING-05 a message is done with that was not there")
    for i in range(r.message.batch_count):
        batch_drop(r.batches[i])
    r.message.batch_count = 0
    r.in_frame = False
    r.filling = r.filled_bytes = r.verified = 0


cdef bint receiver_partial(const Receiver* r) noexcept nogil:
    return r.in_frame or r.begin != r.end
