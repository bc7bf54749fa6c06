"""Frames: encode and decode.  Nothing here allocates, reads a socket or keeps state."""

from quorumlog._core.base.bytes cimport (
    Reader, Writer, get_u16, get_u32, put_u32, read_u16, read_u32, read_u64, reader_left, reader_open,
    write_bytes, write_u16, write_u32, write_u64, writer_open,
)
from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.status cimport ERR_PEER, OK
from quorumlog._core.base.types cimport BATCH_BODY_BYTES_MAX, SNAPSHOT_PIECE_BYTES_MAX
from quorumlog._core.engine.message cimport (
    FRAME_BYTES_MAX, MESSAGE_BATCHES_MAX, MESSAGE_FIELDS, PROTOCOL_RAFT, Message,
)
from quorumlog._core.storage.batch cimport (
    IDENTITY_BYTES, KIND_BLANK, KIND_ENTRIES, KIND_MEMBERSHIP, KIND_SNAPSHOT, Batch, batch_parse_identity,
    offsets_bytes,
)

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

cdef enum:
    CRC_FROM = 8               # the frame's crc covers what lies behind magic and crc
    LENGTH_AT = 8
    BATCH_COUNT_AT = 14
    RESERVED_AT = 116


cdef uint32_t frame_head_bytes(const Message* message) noexcept nogil:
    return FRAME_HEADER_BYTES + IDENTITY_BYTES * <uint32_t>message.batch_count


cdef uint64_t frame_bytes(const Message* message) noexcept nogil:
    cdef uint64_t total = frame_head_bytes(message)
    cdef uint16_t i
    for i in range(message.batch_count):
        total += message.batches[i].body_bytes
    return total


cdef void frame_encode(const Message* message, uint8_t* out) noexcept nogil:
    cdef uint32_t head_bytes = frame_head_bytes(message)
    cdef uint64_t length = frame_bytes(message) - FRAME_HEADER_BYTES
    cdef Writer w
    cdef int i
    check2(message.batch_count <= MESSAGE_BATCHES_MAX, b"Q-WIRE-01 a message has too many batches",
           message.batch_count, message.kind)
    check2(length <= FRAME_BYTES_MAX, b"Q-WIRE-02 a message is larger than a frame may be",
           <long long>length, message.kind)
    writer_open(&w, out, head_bytes)
    write_u32(&w, FRAME_MAGIC)
    write_u32(&w, 0)
    write_u32(&w, <uint32_t>length)
    write_u16(&w, message.kind)
    write_u16(&w, message.batch_count)
    write_u64(&w, message.group)
    write_u64(&w, message.sender)
    write_u64(&w, message.target)
    write_u64(&w, message.term)
    for i in range(MESSAGE_FIELDS):
        write_u64(&w, message.fields[i])
    write_u32(&w, message.protocol)
    write_u32(&w, 0)
    for i in range(message.batch_count):
        check(message.batches[i].stamped, b"Q-WIRE-03 a batch is sent before its identity was stamped")
        write_bytes(&w, message.batches[i].identity, IDENTITY_BYTES)
    check2(not w.failed and w.position == head_bytes,
           b"Q-WIRE-04 a frame's head has another length than told", <long long>w.position, head_bytes)
    put_u32(out + 4, crc32c(0, out + CRC_FROM, head_bytes - CRC_FROM))


cdef int frame_peek(const uint8_t* header, uint32_t* head_bytes) noexcept nogil:
    cdef uint32_t length = get_u32(header + LENGTH_AT)
    cdef uint32_t batch_count = get_u16(header + BATCH_COUNT_AT)
    head_bytes[0] = 0
    if get_u32(header) != FRAME_MAGIC or get_u32(header + RESERVED_AT) != 0:
        return ERR_PEER
    if length > FRAME_BYTES_MAX or batch_count > MESSAGE_BATCHES_MAX:
        return ERR_PEER
    if length < batch_count * IDENTITY_BYTES or (batch_count == 0 and length != 0):
        return ERR_PEER
    head_bytes[0] = FRAME_HEADER_BYTES + batch_count * IDENTITY_BYTES
    return OK


cdef bint protocol_known(uint32_t protocol) noexcept nogil:
    return protocol == PROTOCOL_RAFT


cdef bint kind_travels(uint8_t kind) noexcept nogil:
    """Only what a protocol replicates may come from outside, never a record of the log itself."""
    return kind == KIND_ENTRIES or kind == KIND_BLANK or kind == KIND_MEMBERSHIP or kind == KIND_SNAPSHOT


cdef int decode_identities(const uint8_t* head, const Message* message, FrameBodies* bodies) noexcept nogil:
    cdef Batch batch                   # only its fields are used: it has no body
    cdef uint32_t i
    bodies.total_bytes = 0
    for i in range(message.batch_count):
        memset(&batch, 0, sizeof(Batch))
        if batch_parse_identity(&batch, frame_identity(head, i)) != OK:
            return ERR_PEER
        if batch.group != message.group or not kind_travels(batch.kind):
            return ERR_PEER
        if batch.body_bytes > BATCH_BODY_BYTES_MAX or batch.body_bytes % 8 != 0:
            return ERR_PEER
        if batch.kind == KIND_SNAPSHOT:
            if batch.body_bytes > SNAPSHOT_PIECE_BYTES_MAX:
                return ERR_PEER
        elif batch.count == 0:
            return ERR_PEER
        elif batch.count > BATCH_BODY_BYTES_MAX or batch.body_bytes < offsets_bytes(batch.count):
            return ERR_PEER
        bodies.bytes[i] = batch.body_bytes
        bodies.total_bytes += batch.body_bytes      # at most 256 * 16 MiB: no overflow
    return OK


cdef int frame_decode(const uint8_t* head, uint32_t head_bytes, Message* message,
                      FrameBodies* bodies) noexcept nogil:
    cdef Reader r
    cdef uint32_t length
    cdef int i
    bodies.total_bytes = 0
    memset(message, 0, sizeof(Message))
    if get_u32(head + 4) != crc32c(0, head + CRC_FROM, head_bytes - CRC_FROM):
        return ERR_PEER
    reader_open(&r, head + LENGTH_AT, FRAME_HEADER_BYTES - LENGTH_AT)
    length = read_u32(&r)
    message.kind = read_u16(&r)
    message.batch_count = read_u16(&r)
    message.group = read_u64(&r)
    message.sender = read_u64(&r)
    message.target = read_u64(&r)
    message.term = read_u64(&r)
    for i in range(MESSAGE_FIELDS):
        message.fields[i] = read_u64(&r)
    message.protocol = read_u32(&r)
    read_u32(&r)                       # reserved: frame_peek has looked at it
    check(not r.failed and reader_left(&r) == 0,
          b"Q-WIRE-05 a frame's header has another length than its fields")
    check2(head_bytes == frame_head_bytes(message),
           b"Q-WIRE-06 a head is decoded that frame_peek did not measure", head_bytes, message.batch_count)
    if not protocol_known(message.protocol) or decode_identities(head, message, bodies) != OK:
        message.batch_count = 0        # it owns nothing yet
        return ERR_PEER
    if length != message.batch_count * <uint64_t>IDENTITY_BYTES + bodies.total_bytes:
        message.batch_count = 0
        return ERR_PEER
    return OK


cdef const uint8_t* frame_identity(const uint8_t* head, uint32_t i) noexcept nogil:
    return head + FRAME_HEADER_BYTES + i * IDENTITY_BYTES
