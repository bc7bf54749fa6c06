"""The send queue: two lanes, gathered in the order in which they will be consumed."""

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.status cimport ERR_OVERLOADED, OK
from quorumlog._core.engine.message cimport Message, message_drop_batches
from quorumlog._core.runtime.sockets cimport iovec
from quorumlog._core.runtime.wire cimport frame_bytes, frame_encode, frame_head_bytes
from quorumlog._core.storage.batch cimport Batch, batch_drop

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove, memset

cdef enum:
    HEADS_FIRST_BYTES = 4096
    PIECES_FIRST = 64

# Where a walk over the queue stands: `gather` walks ahead of what is written.
cdef struct Walk:
    uint32_t piece[LANES]
    uint8_t lane                       # inside a frame of this lane, or LANE_NONE


cdef void send_queue_open(SendQueue* queue, uint64_t bulk_bytes_max) noexcept nogil:
    memset(queue, 0, sizeof(SendQueue))
    queue.current = LANE_NONE
    queue.lanes[LANE_CONTROL].bytes_max = CONTROL_LANE_BYTES
    queue.lanes[LANE_BULK].bytes_max = bulk_bytes_max


cdef void send_queue_close(SendQueue* queue) noexcept nogil:
    cdef int i
    send_queue_clear(queue)
    for i in range(LANES):
        free(queue.lanes[i].heads)
        free(queue.lanes[i].pieces)
    memset(queue, 0, sizeof(SendQueue))


cdef bint heads_room(Lane* lane, uint32_t bytes) noexcept nogil:
    """Room for `bytes` at `heads_end`, by moving what is left to the front or by growing."""
    cdef uint32_t left = lane.heads_end - lane.heads_begin
    cdef uint64_t capacity = lane.heads_capacity if lane.heads_capacity else HEADS_FIRST_BYTES
    cdef void* grown
    if lane.heads_capacity - lane.heads_end >= bytes:
        return True
    while capacity < 2 * (<uint64_t>left + bytes):     # half free after the move: moves are rare
        capacity *= 2
    if capacity > lane.heads_capacity:
        grown = realloc(lane.heads, capacity)
        if grown == NULL:
            return False
        lane.heads = <uint8_t*>grown
        lane.heads_capacity = <uint32_t>capacity
    memmove(lane.heads, lane.heads + lane.heads_begin, left)
    lane.heads_begin = 0
    lane.heads_end = left
    return True


cdef bint pieces_room(Lane* lane, uint32_t count) noexcept nogil:
    cdef uint32_t left = lane.end - lane.begin
    cdef uint64_t capacity = lane.capacity if lane.capacity else PIECES_FIRST
    cdef void* grown
    if lane.capacity - lane.end >= count:
        return True
    while capacity < 2 * (<uint64_t>left + count):
        capacity *= 2
    if capacity > lane.capacity:
        grown = realloc(lane.pieces, capacity * sizeof(Piece))
        if grown == NULL:
            return False
        lane.pieces = <Piece*>grown
        lane.capacity = <uint32_t>capacity
    memmove(lane.pieces, lane.pieces + lane.begin, left * sizeof(Piece))
    lane.begin = 0
    lane.end = left
    return True


cdef void lane_append(Lane* lane, Batch* batch, uint32_t bytes) noexcept nogil:
    cdef Piece* piece = &lane.pieces[lane.end]
    piece.batch = batch
    piece.bytes = bytes
    piece.starts_frame = batch == NULL
    lane.end += 1


cdef int send_queue_push(SendQueue* queue, Message* message) noexcept nogil:
    cdef Lane* lane = &queue.lanes[LANE_CONTROL if message.batch_count == 0 else LANE_BULK]
    cdef uint32_t head_bytes = frame_head_bytes(message)
    cdef uint64_t bytes = frame_bytes(message)
    cdef uint16_t i
    if ((lane.queued_bytes != 0 and lane.queued_bytes + bytes > lane.bytes_max)
            or not heads_room(lane, head_bytes) or not pieces_room(lane, 1 + <uint32_t>message.batch_count)):
        message_drop_batches(message)
        return ERR_OVERLOADED
    frame_encode(message, lane.heads + lane.heads_end)
    lane.heads_end += head_bytes
    lane_append(lane, NULL, head_bytes)
    for i in range(message.batch_count):
        if message.batches[i].body_bytes == 0:
            batch_drop(message.batches[i])
        else:
            lane_append(lane, message.batches[i], message.batches[i].body_bytes)
    message.batch_count = 0            # the references are the lane's now
    lane.queued_bytes += bytes
    lane.queued_frames += 1
    return OK


cdef bint send_queue_empty(const SendQueue* queue) noexcept nogil:
    return queue.lanes[LANE_CONTROL].queued_frames == 0 and queue.lanes[LANE_BULK].queued_frames == 0


cdef uint64_t send_queue_bytes(const SendQueue* queue) noexcept nogil:
    return queue.lanes[LANE_CONTROL].queued_bytes + queue.lanes[LANE_BULK].queued_bytes


cdef void walk_open(Walk* walk, const SendQueue* queue) noexcept nogil:
    walk.piece[LANE_CONTROL] = queue.lanes[LANE_CONTROL].begin
    walk.piece[LANE_BULK] = queue.lanes[LANE_BULK].begin
    walk.lane = queue.current


cdef bint walk_next(Walk* walk, const SendQueue* queue) noexcept nogil:
    """Chooses the lane of the next piece: a begun frame first, then control, then bulk."""
    if walk.lane != LANE_NONE:
        return True
    if walk.piece[LANE_CONTROL] < queue.lanes[LANE_CONTROL].end:
        walk.lane = LANE_CONTROL
    elif walk.piece[LANE_BULK] < queue.lanes[LANE_BULK].end:
        walk.lane = LANE_BULK
    return walk.lane != LANE_NONE


cdef void walk_past(Walk* walk, const SendQueue* queue) noexcept nogil:
    """Behind the piece it stands at; out of the frame if that was its last."""
    cdef const Lane* lane = &queue.lanes[walk.lane]
    walk.piece[walk.lane] += 1
    if walk.piece[walk.lane] == lane.end or lane.pieces[walk.piece[walk.lane]].starts_frame:
        walk.lane = LANE_NONE


cdef uint32_t send_queue_gather(const SendQueue* queue, iovec* vectors, uint32_t vectors_max,
                                uint64_t bytes_max) noexcept nogil:
    cdef Walk walk
    cdef uint32_t heads[LANES]         # of each lane: how many head bytes the walk has passed
    cdef uint32_t count = 0
    cdef uint32_t written
    cdef uint64_t bytes
    cdef const Lane* lane
    cdef const Piece* piece
    cdef uint8_t* data
    walk_open(&walk, queue)
    heads[LANE_CONTROL] = queue.lanes[LANE_CONTROL].heads_begin
    heads[LANE_BULK] = queue.lanes[LANE_BULK].heads_begin
    while bytes_max > 0 and walk_next(&walk, queue):
        lane = &queue.lanes[walk.lane]
        piece = &lane.pieces[walk.piece[walk.lane]]
        written = lane.first_written if walk.piece[walk.lane] == lane.begin else 0
        bytes = piece.bytes - written
        if piece.batch != NULL:
            data = piece.batch.body + written
        else:
            data = lane.heads + heads[walk.lane]
            heads[walk.lane] += <uint32_t>bytes
        if bytes > bytes_max:
            bytes = bytes_max
        # Small frames lie one behind the other: one run for all of them.
        if count > 0 and <uint8_t*>vectors[count - 1].iov_base + vectors[count - 1].iov_len == data:
            vectors[count - 1].iov_len += bytes
        elif count == vectors_max:
            return count
        else:
            vectors[count].iov_base = data
            vectors[count].iov_len = bytes
            count += 1
        bytes_max -= bytes
        walk_past(&walk, queue)
    return count


cdef void piece_done(Lane* lane) noexcept nogil:
    cdef Piece* piece = &lane.pieces[lane.begin]
    if piece.batch != NULL:
        batch_drop(piece.batch)
        piece.batch = NULL
    lane.begin += 1
    lane.first_written = 0
    if lane.begin == lane.end:
        check2(lane.heads_begin == lane.heads_end, b"Q-SENDING-01 a lane without pieces has head bytes left",
               lane.heads_begin, lane.heads_end)
        lane.begin = lane.end = 0
        lane.heads_begin = lane.heads_end = 0


cdef uint64_t send_queue_written(SendQueue* queue, uint64_t bytes) noexcept nogil:
    cdef Walk walk
    cdef uint64_t taken, frames = 0
    cdef Lane* lane
    cdef Piece* piece
    walk_open(&walk, queue)
    while bytes > 0:
        check(walk_next(&walk, queue), b"Q-SENDING-02 more was written than was queued")
        queue.current = walk.lane
        lane = &queue.lanes[walk.lane]
        piece = &lane.pieces[lane.begin]
        taken = piece.bytes - lane.first_written
        if taken > bytes:
            taken = bytes
        if piece.batch == NULL:
            lane.heads_begin += <uint32_t>taken
        lane.first_written += <uint32_t>taken
        check(lane.queued_bytes >= taken,
              b"Q-SENDING-03 a lane's count of queued bytes fell below what it held")
        lane.queued_bytes -= taken
        bytes -= taken
        if lane.first_written == piece.bytes:
            walk_past(&walk, queue)
            if walk.lane == LANE_NONE:
                lane.queued_frames -= 1
                frames += 1
            queue.current = walk.lane
            piece_done(lane)
            walk.piece[LANE_CONTROL] = queue.lanes[LANE_CONTROL].begin
            walk.piece[LANE_BULK] = queue.lanes[LANE_BULK].begin
    check((queue.lanes[LANE_BULK].queued_frames == 0) == (queue.lanes[LANE_BULK].queued_bytes == 0),
          b"Q-SENDING-04 a lane without frames has bytes, or the other way round")
    return frames


cdef uint64_t send_queue_clear(SendQueue* queue) noexcept nogil:
    cdef uint64_t frames = 0
    cdef uint32_t i
    cdef int number
    cdef Lane* lane
    for number in range(LANES):
        lane = &queue.lanes[number]
        frames += lane.queued_frames
        for i in range(lane.begin, lane.end):
            if lane.pieces[i].batch != NULL:
                batch_drop(lane.pieces[i].batch)
        lane.begin = lane.end = lane.first_written = 0
        lane.heads_begin = lane.heads_end = 0
        lane.queued_bytes = lane.queued_frames = 0
    queue.current = LANE_NONE
    return frames
