"""Slots beyond the log's end; see paxos_window.pxd."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free

from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.log cimport log_append_chosen
from quorumlog._core.protocols.paxos_records cimport paxos_write, paxos_write_mark
from quorumlog._core.protocols.paxos_state cimport RING_SLOTS
from quorumlog._core.storage.batch cimport IDENTITY_BYTES, batch_drop, batch_keep


cdef bint window_covers(const Paxos* paxos, index_t slot) noexcept nogil:
    return slot > paxos.log.last and slot - paxos.log.last <= RING_SLOTS


cdef Slot* window_at(Paxos* paxos, index_t slot) noexcept nogil:
    check2(window_covers(paxos, slot), b"Q-PAXOS-10 a slot lies in the window", slot, paxos.log.last)
    return &paxos.ring[slot & (RING_SLOTS - 1)]


cdef bint same_value(const Batch* one, const Batch* other) noexcept nogil:
    return (one.body_crc == other.body_crc and one.body_bytes == other.body_bytes and one.session == other.session
            and one.sequence == other.sequence and one.kind == other.kind and one.count == other.count
            and one.flags == other.flags and one.leader_time_ns == other.leader_time_ns)


cdef void put(Paxos* paxos, Slot* at, Batch* batch, wsn_t wsn) noexcept nogil:
    if at.batch != NULL:
        batch_drop(at.batch)
    at.batch = batch_keep(batch)
    at.wsn = wsn
    at.acks = 0
    at.proposed = False
    paxos.accepted_last = max(paxos.accepted_last, batch.first)


cdef void window_accept(Paxos* paxos, Outbox* out, Batch* batch) noexcept nogil:
    check2(batch.slot != 0 and batch.count >= 1, b"Q-PAXOS-11 a slot holds a batch", batch.first, batch.count)
    paxos.accepted_wsn = paxos_write(paxos, out, batch)
    put(paxos, window_at(paxos, batch.first), batch, paxos.accepted_wsn)


cdef bint window_restore(Paxos* paxos, Batch* batch) noexcept nogil:
    if not batch.slot or not window_covers(paxos, batch.first):
        return False
    put(paxos, window_at(paxos, batch.first), batch, 0)
    return True


cdef bint window_holds(Paxos* paxos, index_t slot, term_t round, node_t node) noexcept nogil:
    cdef const Batch* batch
    if not window_covers(paxos, slot):
        return False
    batch = window_at(paxos, slot).batch
    return batch != NULL and batch.term == round and batch.ballot_node == node


cdef wsn_t window_wsn(Paxos* paxos, index_t slot) noexcept nogil:
    cdef wsn_t wsn
    if slot <= paxos.log.last:
        return 0
    wsn = window_at(paxos, slot).wsn
    return wsn if wsn > paxos.flushed_wsn else 0


cdef void window_advance(Paxos* paxos, Outbox* out) noexcept nogil:
    cdef Slot* at
    while paxos.log.last < paxos.chosen:
        at = window_at(paxos, paxos.log.last + 1)
        check2(at.batch != NULL, b"Q-PAXOS-12 what is known to be chosen is here", paxos.log.last + 1, paxos.chosen)
        if at.wsn > paxos.flushed_wsn:
            break
        if at.proposed:
            paxos.uncommitted_bytes -= min(paxos.uncommitted_bytes, <uint64_t>(IDENTITY_BYTES + at.batch.body_bytes))
        log_append_chosen(paxos.log, at.batch)
        batch_drop(at.batch)
        at.batch = NULL
        at.wsn = 0
        at.acks = 0
        at.proposed = False
    paxos.accepted_last = max(paxos.accepted_last, paxos.log.last)
    if paxos.log.last - paxos.marked >= paxos.mark_slots and paxos.spare_count > 0:
        # What is marked is never asked of in phase 1 again: the values must lie here, chosen and durable.
        paxos_write_mark(paxos, out, paxos.log.last + 1 if not mutant(b"paxos-marks-too-much")
                         else paxos.accepted_last + 1)


cdef void window_close(Paxos* paxos) noexcept nogil:
    cdef int i
    if paxos.ring != NULL:
        for i in range(RING_SLOTS):
            if paxos.ring[i].batch != NULL:
                batch_drop(paxos.ring[i].batch)
    free(paxos.ring)
    paxos.ring = NULL
