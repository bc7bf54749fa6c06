"""The protocol's own records, from a small pool that the state owns; see paxos_records.pxd.

A step begins with the spares topped up, so that no branch has to think about memory in
the middle of a change: without spares the whole event is dropped as if it had been lost.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memset

from quorumlog._core.base.bytes cimport put_u64
from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.log cimport log_relieve
from quorumlog._core.engine.message cimport PROTOCOL_PAXOS, Message
from quorumlog._core.engine.outbox cimport Outbox, outbox_message, outbox_write
from quorumlog._core.protocols.paxos_state cimport SPARES, SPARES_PER_STEP, Paxos, ballot_below
from quorumlog._core.storage.batch cimport (
    KIND_BLANK, KIND_CHOSEN, KIND_HARD_STATE, Batch, batch_drop, batch_new, batch_stamp)

cdef enum:
    RECORD_BODY_BYTES = 16         # of the largest of them


cdef bint paxos_refill(Paxos* paxos) noexcept nogil:
    cdef Batch* batch
    while paxos.spare_count < SPARES:
        batch = batch_new(paxos.pool, RECORD_BODY_BYTES)
        if batch == NULL and paxos.spare_count < SPARES_PER_STEP:
            log_relieve(paxos.log)     # old no-ops may lie in its cache
            batch = batch_new(paxos.pool, RECORD_BODY_BYTES)
        if batch == NULL:
            break
        paxos.spares[paxos.spare_count] = batch
        paxos.spare_count += 1
    return paxos.spare_count >= SPARES_PER_STEP


cdef void paxos_drop_spares(Paxos* paxos) noexcept nogil:
    while paxos.spare_count > 0:
        paxos.spare_count -= 1
        batch_drop(paxos.spares[paxos.spare_count])


cdef Batch* take_spare(Paxos* paxos, uint8_t kind, term_t term, index_t first, uint32_t count,
                       uint32_t body_bytes) noexcept nogil:
    cdef Batch* batch
    check2(paxos.spare_count > 0, b"Q-PAXOS-01 a step begins with enough spare records", kind, first)
    paxos.spare_count -= 1
    batch = paxos.spares[paxos.spare_count]
    batch.kind = kind
    batch.group = paxos.group
    batch.term = term
    batch.first = first
    batch.count = count
    batch.body_bytes = body_bytes
    memset(batch.body, 0, RECORD_BODY_BYTES)
    batch.body_crc = crc32c(0, batch.body, body_bytes)
    return batch


cdef wsn_t paxos_write(Paxos* paxos, Outbox* out, Batch* batch) noexcept nogil:
    cdef wsn_t wsn = paxos.wsn_next + out.write_count
    check2(wsn > paxos.flushed_wsn, b"Q-PAXOS-02 a write to come is not flushed yet", wsn, paxos.flushed_wsn)
    check(batch.stamped != 0, b"Q-PAXOS-03 only stamped batches are written")
    outbox_write(out, batch)
    return wsn


cdef void paxos_save_promise(Paxos* paxos, Outbox* out, term_t round, node_t node) noexcept nogil:
    cdef Batch* batch = take_spare(paxos, KIND_HARD_STATE, round, 0, 0, RECORD_BODY_BYTES)
    check2(ballot_below(paxos.promised_round, paxos.promised_node, round, node),
           b"Q-PAXOS-04 promises rise", round, node)
    put_u64(batch.body, node)
    batch.body_crc = crc32c(0, batch.body, batch.body_bytes)
    batch_stamp(batch)
    paxos.promised_round = round
    paxos.promised_node = node
    paxos.round_seen = max(paxos.round_seen, round)
    if mutant(b"paxos-promise-not-saved"):
        batch_drop(batch)
        return
    # Paxos Made Simple 2.5: "stable storage, preserved during failures, is used to maintain the information that
    # the acceptor must remember.  An acceptor records its intended response in stable storage before actually
    # sending the response" (A-P1).
    paxos.hard_state_wsn = paxos_write(paxos, out, batch)
    batch_drop(batch)


cdef void paxos_write_mark(Paxos* paxos, Outbox* out, index_t first) noexcept nogil:
    cdef Batch* batch = take_spare(paxos, KIND_CHOSEN, paxos.promised_round, first, 0, 0)
    batch_stamp(batch)
    paxos_write(paxos, out, batch)
    batch_drop(batch)
    paxos.marked = first - 1


cdef Batch* paxos_noop(Paxos* paxos) noexcept nogil:
    # One empty entry: offsets 0, 0 and no payload (docs/format.md 1.1).
    cdef Batch* batch = take_spare(paxos, KIND_BLANK, 0, 0, 1, 8)
    batch.leader_time_ns = paxos.wall_ns           # whoever adopts it keeps this: it is of the value
    return batch


cdef Message* paxos_message(Paxos* paxos, Outbox* out, uint16_t kind, node_t target) noexcept nogil:
    cdef Message* message
    check2(target != paxos.self and target != 0, b"Q-PAXOS-05 messages go to others", kind, target)
    message = outbox_message(out)
    message.kind = kind
    message.protocol = PROTOCOL_PAXOS
    message.group = paxos.group
    message.sender = paxos.self
    message.target = target
    message.term = paxos.promised_round
    message.after_io = paxos.hard_state_wsn if paxos.hard_state_wsn > paxos.flushed_wsn else 0
    if mutant(b"paxos-speaks-before-saved"):
        message.after_io = 0
    return message
