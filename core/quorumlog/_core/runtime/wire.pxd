"""Frames: the wire form of a message (docs/format.md 8.2).

Encoding writes the header and the identity headers; bodies travel by
reference.  Decoding looks at the header, then at header and identities
together, and proves every length before anyone takes memory for a body.
"""

from quorumlog._core.engine.message cimport FRAME_BYTES_MAX, MESSAGE_BATCHES_MAX, Message

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    FRAME_MAGIC = 0x31464C51           # "QLF1"
    FRAME_HEADER_BYTES = 120
    FRAME_HEAD_BYTES_MAX = 120 + 256 * 80

# What a checked head says of the bytes behind it.
cdef struct FrameBodies:
    uint32_t bytes[MESSAGE_BATCHES_MAX]    # of each body
    uint64_t total_bytes


# Bytes of header and identities, and of the whole frame.
cdef uint32_t frame_head_bytes(const Message* message) noexcept nogil
cdef uint64_t frame_bytes(const Message* message) noexcept nogil
# Writes header and identities to `out`, which has room for frame_head_bytes; its batches are stamped.
cdef void frame_encode(const Message* message, uint8_t* out) noexcept nogil

# `header` holds FRAME_HEADER_BYTES: OK and the bytes of header and identities, or ERR_PEER.
cdef int frame_peek(const uint8_t* header, uint32_t* head_bytes) noexcept nogil
# `head` holds as many bytes as frame_peek said: fills the message (not `batches`) and the bodies' sizes.
# ERR_PEER: crc, an identity, or a bound is wrong.
cdef int frame_decode(const uint8_t* head, uint32_t head_bytes, Message* message,
                      FrameBodies* bodies) noexcept nogil
# The identity header of the frame's batch `i`.
cdef const uint8_t* frame_identity(const uint8_t* head, uint32_t i) noexcept nogil
