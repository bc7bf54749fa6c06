"""What arrives on one authenticated connection: bytes in, whole checked messages out.

A fixed buffer takes heads and whatever came with them; the rest of a body is
received straight into its batch.  Knows no sockets: `room` says where the next
bytes go, `filled` is told how many came, `next` hands out what is whole.
"""

from quorumlog._core.base.types cimport node_t
from quorumlog._core.engine.message cimport MESSAGE_BATCHES_MAX, Message
from quorumlog._core.runtime.sockets cimport iovec
from quorumlog._core.storage.batch cimport Batch, BatchPool

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    RECEIVE_BUFFER_BYTES = 256 << 10
    # While large frames come, only so much is read beyond the body that is awaited: the next body
    # then goes into its batch without a copy, and its head costs no system call of its own.
    READ_AHEAD_BYTES = 4096
    LARGE_FRAME_BYTES = 32 << 10

cdef struct Receiver:
    BatchPool* pool
    node_t node                        # ours: every frame's target
    node_t peer                        # every frame's sender
    uint32_t begin                     # [begin, end) of the buffer is not used yet
    uint32_t end
    bint in_frame                      # its head is accepted, its batches are allocated
    bint large                         # the newest frame was
    uint32_t filling                   # the batch whose body is arriving
    uint32_t filled_bytes              # of that body
    uint32_t verified                  # bodies [0, verified) passed batch_verify_body
    Message message
    Batch* batches[MESSAGE_BATCHES_MAX]
    uint8_t* buffer


# NULL: no memory.
cdef Receiver* receiver_open(BatchPool* pool, node_t node, node_t peer) noexcept nogil
cdef void receiver_close(Receiver* receiver) noexcept nogil
# Where the next bytes go: at least one byte of room, unless a message or ERR_MEMORY is pending.
cdef uint32_t receiver_room(Receiver* receiver, iovec* vectors, uint32_t vectors_max) noexcept nogil
cdef void receiver_filled(Receiver* receiver, uint64_t bytes) noexcept nogil
# OK: receiver.message is whole and checked, until receiver_done.  ERR_AGAIN: more bytes are needed.
# ERR_MEMORY: the pool is at its limit, ask again later.  ERR_PEER: malformed or foreign, close.
cdef int receiver_next(Receiver* receiver) noexcept nogil
cdef void receiver_done(Receiver* receiver) noexcept nogil     # drops the message's batches
# Has part of a frame arrived?
cdef bint receiver_partial(const Receiver* receiver) noexcept nogil
