"""What waits to be written to one peer: two lanes of frames, one of them with right of way.

Control frames (no batches: heartbeats, votes, acknowledgements) pass bulk
frames at frame boundaries; within a lane the order is kept.  Headers lie in the
lane's own bytes, bodies are referenced and dropped once written.  Each lane is
bounded in bytes.  Knows no sockets: `gather` says what to write, `written` is
told how much went.
"""

from quorumlog._core.engine.message cimport Message
from quorumlog._core.runtime.sockets cimport iovec
from quorumlog._core.storage.batch cimport Batch

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    CONTROL_LANE_BYTES = 256 << 10     # reserve for control frames, beside the bulk's bound

cdef enum:
    LANE_CONTROL = 0
    LANE_BULK = 1
    LANES = 2
    LANE_NONE = 3

# A run of bytes of one frame: its header with the identities, or one body.
cdef struct Piece:
    Batch* batch                       # NULL: the bytes come from the lane's heads
    uint32_t bytes
    bint starts_frame

cdef struct Lane:
    uint8_t* heads                     # [heads_begin, heads_end) is not written yet
    uint32_t heads_begin
    uint32_t heads_end
    uint32_t heads_capacity
    Piece* pieces                      # [begin, end) is not wholly written yet
    uint32_t begin
    uint32_t end
    uint32_t capacity
    uint32_t first_written             # bytes of the first piece
    uint64_t queued_bytes
    uint64_t queued_frames
    uint64_t bytes_max

cdef struct SendQueue:
    Lane lanes[LANES]
    uint8_t current                    # the lane whose frame is partly written, or LANE_NONE


cdef void send_queue_open(SendQueue* queue, uint64_t bulk_bytes_max) noexcept nogil
cdef void send_queue_close(SendQueue* queue) noexcept nogil
# Takes over the batch references whatever it returns: OK, or ERR_OVERLOADED when the lane is full.
# A frame larger than the bound goes when its lane is empty: it could never be sent otherwise.
cdef int send_queue_push(SendQueue* queue, Message* message) noexcept nogil
cdef bint send_queue_empty(const SendQueue* queue) noexcept nogil
cdef uint64_t send_queue_bytes(const SendQueue* queue) noexcept nogil
# What to write next, at most so many runs and bytes; the number of runs.
cdef uint32_t send_queue_gather(const SendQueue* queue, iovec* vectors, uint32_t vectors_max,
                                uint64_t bytes_max) noexcept nogil
# So many of the gathered bytes went; how many frames that completed.
cdef uint64_t send_queue_written(SendQueue* queue, uint64_t bytes) noexcept nogil
# Drops all of it, and the partly written frame; how many frames that were.
cdef uint64_t send_queue_clear(SendQueue* queue) noexcept nogil
