"""Repair from peers: whom to ask for what, and what to take; see raft_repair.pxd."""

from libc.stdint cimport uint32_t
from libc.string cimport memset

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_CORRUPT, OK
from quorumlog._core.base.types cimport node_t, term_t, wsn_t
from quorumlog._core.engine.faults cimport (
    Fault, faults_add, faults_compact, faults_find, faults_first, faults_flushed, faults_mended)
from quorumlog._core.engine.log cimport log_batch, log_term
from quorumlog._core.engine.outbox cimport (
    outbox_attach, outbox_fetch_repair, outbox_has_room, outbox_repair)
from quorumlog._core.protocols.raft_records cimport raft_message
from quorumlog._core.protocols.raft_state cimport (
    FETCH_IDENTIFIED, RAFT_FETCH, RAFT_FETCH_REPLY, FetchFields, FetchReplyFields, is_peer,
    slot_bit)
from quorumlog._core.storage.batch cimport KIND_BLANK, KIND_ENTRIES, KIND_MEMBERSHIP, Batch, batch_last

cdef enum:
    REPAIRS_IN_FLIGHT = 4          # asked for and not answered: at most so many batches are on their way


cdef void repair_found(Raft* raft, index_t first, index_t last) noexcept nogil:
    cdef Fault fault
    if first < raft.log.first or first > raft.log.flushed or last > raft.log.flushed:
        return                         # truncated or compacted since it was read
    memset(&fault, 0, sizeof(Fault))
    fault.first = first
    fault.last = max(first, last)
    fault.found_ns = raft.now_ns
    check(log_term(raft.log, first, &fault.term) == OK, b"Q-RAFT-70 an entry of the log has a term")
    if faults_find(&raft.faults, first) == NULL and faults_add(&raft.faults, &fault) == OK:
        raft.faults_found += 1


cdef index_t repair_intact(const Raft* raft, index_t index) noexcept nogil:
    cdef index_t first = faults_first(&raft.faults)
    if first == 0 or first > index or mutant(b"acknowledge-what-is-faulty"):
        return index
    return first - 1


cdef bint repair_blocks(const Raft* raft, index_t index) noexcept nogil:
    return raft.faults.count > 0 and faults_find(&raft.faults, index) != NULL


cdef bint repair_overdue(const Raft* raft) noexcept nogil:
    cdef uint32_t i
    for i in range(raft.faults.count):
        if raft.now_ns - raft.faults.faults[i].found_ns >= raft.election_timeout_ns:
            return True
    return False


# Asking

cdef uint64_t patience_ns(const Raft* raft) noexcept nogil:
    """After so long a request or its answer is taken for lost."""
    return raft.election_timeout_ns


cdef int next_peer(Raft* raft) noexcept nogil:
    """In turn, those that are connected; -1: nobody is."""
    cdef int count = <int>raft.membership.count
    cdef int _i
    for _i in range(count):
        raft.repair_slot = (raft.repair_slot + 1) % count
        if is_peer(raft, raft.repair_slot) and raft.reachable & slot_bit(raft.repair_slot):
            return raft.repair_slot
    return -1


cdef void ask(Raft* raft, Outbox* out, Fault* fault, int slot) noexcept nogil:
    cdef Message* message = raft_message(raft, out, RAFT_FETCH, raft.membership.nodes[slot])
    cdef FetchFields* fields = <FetchFields*>message.fields
    fields.index = fault.first
    fields.entry_term = fault.term
    fields.body_crc = fault.body_crc
    fields.flags = FETCH_IDENTIFIED if fault.identified else 0
    fault.asked = slot
    fault.asked_ns = raft.now_ns


cdef void repair_turn(Raft* raft, Outbox* out) noexcept nogil:
    cdef Fault* fault
    cdef uint32_t i
    cdef uint32_t in_flight = 0
    cdef int slot
    if raft.faults.count == 0:
        return
    faults_compact(&raft.faults, raft.log.first)
    for i in range(raft.faults.count):
        fault = &raft.faults.faults[i]
        if fault.asked_ns != 0 and raft.now_ns - fault.asked_ns >= patience_ns(raft):
            fault.asked_ns = 0
            fault.refusals = 0
        if fault.asked_ns != 0 and fault.wsn == 0:
            in_flight += 1
    for i in range(raft.faults.count):
        fault = &raft.faults.faults[i]
        if in_flight >= REPAIRS_IN_FLIGHT:
            return
        if fault.wsn != 0 or fault.asked_ns != 0:
            continue
        slot = next_peer(raft)
        if slot < 0 or not outbox_has_room(out, 0):
            return
        ask(raft, out, fault, slot)
        in_flight += 1


cdef uint64_t repair_deadline_ns(const Raft* raft) noexcept nogil:
    cdef const Fault* fault
    cdef uint64_t nearest = 0
    cdef uint64_t at_ns
    cdef uint32_t i
    for i in range(raft.faults.count):
        fault = &raft.faults.faults[i]
        if fault.wsn != 0:
            continue
        if fault.asked_ns != 0:
            at_ns = fault.asked_ns + patience_ns(raft)
            nearest = at_ns if nearest == 0 else min(nearest, at_ns)
    # With nobody to ask, look again at the pace of elections.
    return nearest if nearest != 0 or raft.faults.count == 0 else raft.now_ns + patience_ns(raft)


# Answering

cdef void answer(Raft* raft, Outbox* out, node_t peer, index_t index, Batch* batch) noexcept nogil:
    """With the batch, or with none."""
    cdef Message* message
    cdef FetchReplyFields* fields
    if not outbox_has_room(out, 1):
        return                         # as good as lost: it asks again
    message = raft_message(raft, out, RAFT_FETCH_REPLY, peer)
    fields = <FetchReplyFields*>message.fields
    fields.index = index
    fields.found = batch != NULL
    if batch != NULL:
        outbox_attach(out, message, batch)


cdef bint repair_on_fetch(Raft* raft, Outbox* out, int slot, const Message* message) noexcept nogil:
    cdef const FetchFields* fields = <const FetchFields*>message.fields
    cdef Batch* batch
    cdef term_t term
    if fields.index == 0:
        return False
    if fields.index < raft.log.first or log_term(raft.log, fields.index, &term) != OK \
            or term != fields.entry_term:
        answer(raft, out, message.sender, fields.index, NULL)
        return True
    batch = log_batch(raft.log, fields.index)
    if batch != NULL:
        answer(raft, out, message.sender, fields.index, batch)
    elif repair_blocks(raft, fields.index):
        answer(raft, out, message.sender, fields.index, NULL)
    else:
        outbox_fetch_repair(out, message.sender, fields.index)
    return True


cdef void repair_on_fetched(Raft* raft, Outbox* out, const Event* event) noexcept nogil:
    cdef Batch* batch = NULL
    cdef term_t term
    if event.status == ERR_CORRUPT:
        repair_found(raft, event.first, 0)
    elif event.status == OK and event.batch_count > 0:
        batch = event.batches[0]
        # The log may have changed since it was asked to be read.
        if log_term(raft.log, batch_last(batch), &term) != OK or term != batch.term:
            batch = NULL
    answer(raft, out, event.peer, event.first, batch)


# Being answered

cdef bint is_the_one(const Raft* raft, const Fault* fault, const Batch* batch, index_t index) noexcept nogil:
    """The same index and term is the same batch; the checksum says so once more where it is known."""
    cdef term_t at_first, at_last
    if batch.group != raft.group or not batch.stamped or batch.count == 0 \
            or (batch.kind != KIND_ENTRIES and batch.kind != KIND_BLANK and batch.kind != KIND_MEMBERSHIP):
        return False
    if batch.first > index or batch_last(batch) < index or batch.first < raft.log.first \
            or batch_last(batch) > raft.log.last:
        return False
    if mutant(b"repair-with-anything"):
        return True
    if batch.term != fault.term or log_term(raft.log, batch.first, &at_first) != OK \
            or log_term(raft.log, batch_last(batch), &at_last) != OK \
            or at_first != batch.term or at_last != batch.term:
        return False
    return not fault.identified or (batch.first == fault.first and batch_last(batch) == fault.last
                                    and batch.body_crc == fault.body_crc)


cdef bint repair_on_reply(Raft* raft, Outbox* out, int slot, const Message* message) noexcept nogil:
    cdef const FetchReplyFields* fields = <const FetchReplyFields*>message.fields
    cdef Fault* fault = faults_find(&raft.faults, fields.index)
    cdef Batch* batch
    cdef wsn_t wsn
    if fields.found != <uint64_t>message.batch_count:
        return False
    if fault == NULL or fault.first != fields.index or fault.wsn != 0:
        return True                    # late, or said twice
    if not fields.found:
        if fault.asked_ns != 0 and fault.asked == slot:
            fault.refusals += 1
            # The next one at once; when all have said no, after a while.
            if fault.refusals < raft.membership.count - 1:
                fault.asked_ns = 0
        return True
    batch = message.batches[0]
    if not is_the_one(raft, fault, batch, fields.index):
        return False
    wsn = raft.wsn_next + out.write_count
    check2(wsn > raft.flushed_wsn, b"Q-RAFT-71 a repair to come is not flushed yet", wsn, raft.flushed_wsn)
    outbox_repair(out, batch)
    faults_mended(&raft.faults, batch.first, batch_last(batch), wsn)
    return True


cdef bint repair_on_flushed(Raft* raft) noexcept nogil:
    cdef uint32_t before = raft.faults.count
    if before == 0:
        return False
    faults_flushed(&raft.faults, raft.flushed_wsn)
    raft.faults_repaired += before - raft.faults.count
    return raft.faults.count < before
