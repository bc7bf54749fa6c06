"""The outbox: arrays of fixed size, filled by a step and emptied by whoever carries it out.

Sizes: a step writes at most the batches of one message plus a few records of its
own; it answers at most all pending reads.  Appends to peers ask `outbox_has_room`
first, which leaves a reserve for the messages that must go: votes, answers,
heartbeats, moved commit indexes.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.status cimport ERR_STALE, OK
from quorumlog._core.base.types cimport NODES_MAX, SnapshotId, index_t, node_t
from quorumlog._core.engine.message cimport MESSAGE_BATCHES_MAX, Message
from quorumlog._core.storage.batch cimport Batch, batch_drop, batch_keep

cdef enum:
    WRITES_MAX = MESSAGE_BATCHES_MAX + 16
    RESERVED_MESSAGES = 4200           # an answer for each pending read, and a few for each peer
    APPENDS_MAX = 512
    MESSAGES_MAX = RESERVED_MESSAGES + APPENDS_MAX
    MESSAGE_BATCHES_ROOM = 8192
    REFUSALS_MAX = 16
    READS_MAX = 8400                   # all pending reads, own and forwarded
    FETCHES_MAX = 2 * NODES_MAX
    PIECE_READS_MAX = 4 * NODES_MAX


cdef Outbox* outbox_open() noexcept nogil:
    cdef Outbox* out = <Outbox*>calloc(1, sizeof(Outbox))
    if out == NULL:
        return NULL
    out.write_capacity = WRITES_MAX
    out.message_capacity = MESSAGES_MAX
    out.message_batch_capacity = MESSAGE_BATCHES_ROOM
    out.refusal_capacity = REFUSALS_MAX
    out.read_capacity = READS_MAX
    out.fetch_capacity = FETCHES_MAX
    out.writes = <Batch**>calloc(WRITES_MAX, sizeof(Batch*))
    out.messages = <Message*>calloc(MESSAGES_MAX, sizeof(Message))
    out.message_batches = <Batch**>calloc(MESSAGE_BATCHES_ROOM, sizeof(Batch*))
    out.refusals = <Refusal*>calloc(REFUSALS_MAX, sizeof(Refusal))
    out.reads = <ReadReady*>calloc(READS_MAX, sizeof(ReadReady))
    out.fetches = <Fetch*>calloc(FETCHES_MAX, sizeof(Fetch))
    out.piece_reads = <PieceRead*>calloc(PIECE_READS_MAX, sizeof(PieceRead))
    if (out.writes == NULL or out.messages == NULL or out.message_batches == NULL or out.refusals == NULL
            or out.reads == NULL or out.fetches == NULL or out.piece_reads == NULL):
        outbox_close(out)
        return NULL
    return out


cdef void outbox_close(Outbox* out) noexcept nogil:
    """Drops the references that nobody took over."""
    cdef uint32_t i
    if out == NULL:
        return
    for i in range(out.write_count):
        batch_drop(out.writes[i])
    for i in range(out.message_batch_count):
        batch_drop(out.message_batches[i])
    for i in range(out.refusal_count):
        batch_drop(out.refusals[i].batch)
    if out.piece_store.batch != NULL:
        batch_drop(out.piece_store.batch)
    free(out.writes)
    free(out.messages)
    free(out.message_batches)
    free(out.refusals)
    free(out.reads)
    free(out.fetches)
    free(out.piece_reads)
    free(out)


cdef void outbox_clear(Outbox* out) noexcept nogil:
    out.write_count = 0
    out.message_count = 0
    out.message_batch_count = 0
    out.refusal_count = 0
    out.read_count = 0
    out.fetch_count = 0
    out.repair = 0
    out.faulty_first = 0
    out.answer = 0
    out.leader_changed = False
    out.piece_read_count = 0
    out.piece_store.batch = NULL
    out.snapshot_due = False
    out.install.index = 0


cdef void outbox_write(Outbox* out, Batch* batch) noexcept nogil:
    check2(out.write_count < out.write_capacity, b"Q-OUTBOX-01 a step writes a bounded number of records",
           out.write_count, out.write_capacity)
    out.writes[out.write_count] = batch_keep(batch)
    out.write_count += 1


cdef Message* outbox_message(Outbox* out) noexcept nogil:
    cdef Message* message
    check2(out.message_count < out.message_capacity, b"Q-OUTBOX-02 a step sends a bounded number of messages",
           out.message_count, out.message_capacity)
    message = &out.messages[out.message_count]
    memset(message, 0, sizeof(Message))
    message.batches = out.message_batches + out.message_batch_count
    out.message_count += 1
    return message


cdef void outbox_attach(Outbox* out, Message* message, Batch* batch) noexcept nogil:
    check(out.message_count > 0 and message == &out.messages[out.message_count - 1],
          b"Q-OUTBOX-03 batches go to the newest message")
    check2(message.batch_count < MESSAGE_BATCHES_MAX, b"Q-OUTBOX-04 a message has at most 256 batches",
           message.batch_count, MESSAGE_BATCHES_MAX)
    check2(out.message_batch_count < out.message_batch_capacity, b"Q-OUTBOX-05 there is room for the batch",
           out.message_batch_count, out.message_batch_capacity)
    out.message_batches[out.message_batch_count] = batch_keep(batch)
    out.message_batch_count += 1
    message.batch_count += 1


cdef bint outbox_has_room(const Outbox* out, uint32_t batches) noexcept nogil:
    return (out.message_count + RESERVED_MESSAGES < out.message_capacity
            and batches <= out.message_batch_capacity - out.message_batch_count)


cdef void outbox_refuse(Outbox* out, Batch* batch, int status) noexcept nogil:
    check2(out.refusal_count < out.refusal_capacity,
           b"Q-OUTBOX-06 a step refuses a bounded number of proposals",
           out.refusal_count, status)
    out.refusals[out.refusal_count].batch = batch
    out.refusals[out.refusal_count].status = status
    out.refusal_count += 1


cdef void outbox_read(Outbox* out, uint64_t read, index_t index, int status) noexcept nogil:
    check2(out.read_count < out.read_capacity, b"Q-OUTBOX-07 a step answers a bounded number of reads",
           out.read_count, status)
    out.reads[out.read_count].read = read
    out.reads[out.read_count].index = index
    out.reads[out.read_count].status = status
    out.reads[out.read_count].as_of_ns = 0
    out.read_count += 1


cdef void outbox_read_as_of(Outbox* out, uint64_t read, index_t index, uint64_t as_of_ns) noexcept nogil:
    outbox_read(out, read, index, OK if as_of_ns != 0 else ERR_STALE)
    out.reads[out.read_count - 1].as_of_ns = as_of_ns


cdef void outbox_fetch(Outbox* out, node_t peer, index_t first, uint64_t bytes_max) noexcept nogil:
    check2(out.fetch_count < out.fetch_capacity, b"Q-OUTBOX-08 a step fetches a bounded number of times",
           out.fetch_count, first)
    out.fetches[out.fetch_count].peer = peer
    out.fetches[out.fetch_count].first = first
    out.fetches[out.fetch_count].bytes_max = bytes_max
    out.fetches[out.fetch_count].repair = False
    out.fetch_count += 1


cdef void outbox_fetch_repair(Outbox* out, node_t peer, index_t first) noexcept nogil:
    outbox_fetch(out, peer, first, 1)
    out.fetches[out.fetch_count - 1].repair = True


cdef void outbox_repair(Outbox* out, Batch* batch) noexcept nogil:
    check2(out.repair == 0, b"Q-OUTBOX-09 a step repairs one batch at most", out.repair, batch.first)
    outbox_write(out, batch)
    out.repair = out.write_count


cdef bint outbox_has_room_to_read(const Outbox* out) noexcept nogil:
    return out.piece_read_count < PIECE_READS_MAX


cdef void outbox_read_piece(Outbox* out, node_t peer, const SnapshotId* id, uint64_t offset,
                            uint32_t size) noexcept nogil:
    cdef PieceRead* read = &out.piece_reads[out.piece_read_count]
    check2(outbox_has_room_to_read(out), b"Q-OUTBOX-10 a step reads a bounded number of pieces", peer, offset)
    read.peer = peer
    read.id = id[0]
    read.offset = offset
    read.size = size
    out.piece_read_count += 1


cdef void outbox_store_piece(Outbox* out, const SnapshotId* id, uint64_t offset, Batch* batch,
                             bint last) noexcept nogil:
    check2(out.piece_store.batch == NULL, b"Q-OUTBOX-11 a step stores one piece at most", id.index, offset)
    out.piece_store.id = id[0]
    out.piece_store.offset = offset
    out.piece_store.batch = batch_keep(batch)
    out.piece_store.last = last
