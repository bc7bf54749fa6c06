"""The protocol's own records (hard state, truncation, blank batch) and the making of messages.

The records come from a small pool that the state owns.  A step begins with the
spares topped up, so that no branch has to think about memory in the middle of a
change: without spares the whole event is dropped as if it had been lost.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from quorumlog._core.base.bytes cimport put_u64
from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.log cimport log_relieve
from quorumlog._core.engine.message cimport PROTOCOL_RAFT, Message
from quorumlog._core.engine.outbox cimport Outbox, outbox_message, outbox_write
from quorumlog._core.protocols.raft_state cimport SPARES, SPARES_PER_STEP, Raft
from quorumlog._core.storage.batch cimport (
    KIND_BLANK, KIND_COMPACT, KIND_HARD_STATE, KIND_TRUNCATE, Batch, batch_drop, batch_new, batch_stamp)

from libc.string cimport memset

cdef enum:
    RECORD_BODY_BYTES = 16         # of the largest of the three


cdef bint raft_refill(Raft* raft) noexcept nogil:
    cdef Batch* batch
    while raft.spare_count < SPARES:
        batch = batch_new(raft.pool, RECORD_BODY_BYTES)
        if batch == NULL and raft.spare_count < SPARES_PER_STEP:
            log_relieve(raft.log)      # blank batches of earlier terms may lie in its cache
            batch = batch_new(raft.pool, RECORD_BODY_BYTES)
        if batch == NULL:
            break
        raft.spares[raft.spare_count] = batch
        raft.spare_count += 1
    return raft.spare_count >= SPARES_PER_STEP


cdef void raft_drop_spares(Raft* raft) noexcept nogil:
    while raft.spare_count > 0:
        raft.spare_count -= 1
        batch_drop(raft.spares[raft.spare_count])


cdef Batch* take_spare(Raft* raft, uint8_t kind, term_t term, index_t first, uint32_t count,
                       uint32_t body_bytes) noexcept nogil:
    check2(raft.spare_count > 0, b"Q-RAFT-01 a step begins with enough spare records", kind, first)
    raft.spare_count -= 1
    cdef Batch* batch = raft.spares[raft.spare_count]
    batch.kind = kind
    batch.stamped = 0
    batch.group = raft.group
    batch.term = term
    batch.ballot_node = 0
    batch.first = first
    batch.count = count
    batch.body_bytes = body_bytes
    batch.session = 0
    batch.sequence = 0
    batch.leader_time_ns = 0
    batch.wsn = 0
    batch.receipt = NULL
    memset(batch.body, 0, RECORD_BODY_BYTES)
    return batch


cdef void seal(Batch* batch) noexcept nogil:
    batch.body_crc = crc32c(0, batch.body, batch.body_bytes)
    batch_stamp(batch)


cdef wsn_t raft_write(Raft* raft, Outbox* out, Batch* batch) noexcept nogil:
    cdef wsn_t wsn = raft.wsn_next + out.write_count
    check2(wsn > raft.flushed_wsn, b"Q-RAFT-02 a write to come is not flushed yet", wsn, raft.flushed_wsn)
    check(batch.stamped != 0, b"Q-RAFT-03 only stamped batches are written")
    outbox_write(out, batch)
    return wsn


cdef void raft_save_hard_state(Raft* raft, Outbox* out, term_t term, node_t vote) noexcept nogil:
    check2(term >= raft.term, b"Q-RAFT-04 terms never fall", term, raft.term)
    check2(term > raft.term or raft.vote == 0 or raft.vote == vote, b"Q-RAFT-05 one vote in a term", term,
           vote)
    # Figure 2: "Updated on stable storage before responding to RPCs".  Term and vote are one record.
    cdef Batch* batch = take_spare(raft, KIND_HARD_STATE, term, 0, 0, RECORD_BODY_BYTES)
    put_u64(batch.body, vote if not mutant(b"vote-not-saved") else 0)
    put_u64(batch.body + 8, 1 if raft.listening else 0)      # STANDING_LISTENING
    seal(batch)
    raft.term = term
    raft.vote = vote
    raft.hard_state_wsn = raft_write(raft, out, batch)
    batch_drop(batch)


cdef void raft_write_truncate(Raft* raft, Outbox* out, index_t first) noexcept nogil:
    check2(first > raft.commit, b"Q-RAFT-06 a committed entry is never truncated", first, raft.commit)
    cdef Batch* batch = take_spare(raft, KIND_TRUNCATE, raft.term, first, 0, 0)
    seal(batch)
    raft_write(raft, out, batch)
    batch_drop(batch)


cdef void raft_write_compact(Raft* raft, Outbox* out, index_t first, term_t term_before_first) noexcept nogil:
    check2(first > 1 and term_before_first > 0, b"Q-RAFT-08 what lies before a head has a term", first,
           term_before_first)
    cdef Batch* batch = take_spare(raft, KIND_COMPACT, term_before_first, first, 0, 8)
    put_u64(batch.body, term_before_first)
    seal(batch)
    raft_write(raft, out, batch)
    batch_drop(batch)


cdef void raft_write_reset(Raft* raft, Outbox* out, index_t truncate_first, index_t first,
                           term_t term_before_first) noexcept nogil:
    cdef Batch* batch
    if truncate_first != 0:
        batch = take_spare(raft, KIND_TRUNCATE, raft.term, truncate_first, 0, 0)
        seal(batch)
        raft_write(raft, out, batch)
        batch_drop(batch)
    raft_write_compact(raft, out, first, term_before_first)


cdef Batch* raft_blank(Raft* raft) noexcept nogil:
    # One empty entry: offsets 0, 0 and no payload (docs/format.md 1.1).
    cdef Batch* batch = take_spare(raft, KIND_BLANK, raft.term, raft.log.last + 1, 1, 8)
    batch.leader_time_ns = raft.wall_ns
    seal(batch)
    return batch


cdef Message* raft_message(Raft* raft, Outbox* out, uint16_t kind, node_t target) noexcept nogil:
    check2(target != raft.self and target != 0, b"Q-RAFT-07 messages go to others", kind, target)
    cdef Message* message = outbox_message(out)
    message.kind = kind
    message.protocol = PROTOCOL_RAFT
    message.group = raft.group
    message.sender = raft.self
    message.target = target
    message.term = raft.term
    message.after_io = raft.hard_state_wsn if raft.hard_state_wsn > raft.flushed_wsn else 0
    if mutant(b"speak-before-saved"):
        message.after_io = 0
    return message
