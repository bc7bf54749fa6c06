"""The acceptor; see paxos_acceptor.pxd."""

from libc.stdint cimport uint32_t
from libc.string cimport memcpy, memset

from quorumlog._core.base.bytes cimport put_u32
from quorumlog._core.base.checks cimport check
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport index_t, wsn_t
from quorumlog._core.engine.log cimport log_batch
from quorumlog._core.engine.outbox cimport outbox_attach, outbox_has_room
from quorumlog._core.protocols.paxos_learner cimport learner_heard
from quorumlog._core.protocols.paxos_phase1 cimport phase1_follow, phase1_heard_leader_lately, phase1_reset_timer
from quorumlog._core.protocols.paxos_reads cimport reads_on_leader_heard
from quorumlog._core.protocols.paxos_records cimport paxos_message, paxos_save_promise
from quorumlog._core.protocols.paxos_state cimport (
    PAGE_SLOTS_MAX, PAXOS_ACCEPTED, PAXOS_FETCH_REPLY, PAXOS_HEARTBEAT_REPLY, PAXOS_PROMISE, PAXOS_REJECT,
    AcceptedFields, AcceptFields, BeatFields, ChosenFields, FetchFields, PrepareFields, PromiseFields, RejectFields,
    ballot_below, number_max)
from quorumlog._core.protocols.paxos_window cimport (
    same_value, window_accept, window_at, window_covers, window_holds, window_wsn)
from quorumlog._core.storage.batch cimport (
    IDENTITY_BYTES, KIND_BLANK, KIND_ENTRIES, Batch, batch_drop, batch_new, batch_stamp, offsets_bytes)


cdef bint refused(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    """A request of a lower ballot than the promise: its sender is told."""
    cdef Message* reply
    if not ballot_below(message.term, message.sender, paxos.promised_round, paxos.promised_node):
        return False
    reply = paxos_message(paxos, out, PAXOS_REJECT, message.sender)
    (<RejectFields*>reply.fields).node = paxos.promised_node
    return True


cdef void raise_promise(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    """To the ballot of a request that was not refused."""
    if ballot_below(paxos.promised_round, paxos.promised_node, message.term, message.sender):
        phase1_follow(paxos, out, 0)
        paxos_save_promise(paxos, out, message.term, message.sender)
        phase1_reset_timer(paxos)


# Phase 1b

cdef bint page_of(Paxos* paxos, index_t start, PromiseFields* fields, Batch** out) noexcept nogil:
    """The identities of what is accepted from `start` on, as many as fit a page; NULL: nothing.  False: no memory."""
    cdef index_t slot = start
    cdef index_t slots[PAGE_SLOTS_MAX]
    cdef uint32_t count = 0
    cdef uint32_t i, table
    cdef Batch* page
    out[0] = NULL
    fields.covers = start - 1
    while slot <= paxos.accepted_last and count < paxos.page_slots:
        if window_at(paxos, slot).batch != NULL:
            slots[count] = slot
            count += 1
        fields.covers = slot
        slot += 1
    fields.more = slot <= paxos.accepted_last
    if count == 0:
        return True
    table = offsets_bytes(count)
    page = batch_new(paxos.pool, table + count * IDENTITY_BYTES)
    if page == NULL:
        return False
    memset(page.body, 0, table)
    for i in range(count):
        put_u32(page.body + 4 * (i + 1), (i + 1) * IDENTITY_BYTES)
        memcpy(page.body + table + i * IDENTITY_BYTES, window_at(paxos, slots[i]).batch.identity, IDENTITY_BYTES)
    page.kind = KIND_ENTRIES
    page.group = paxos.group
    page.term = paxos.promised_round
    page.first = 1
    page.count = count
    page.body_crc = crc32c(0, page.body, page.body_bytes)
    batch_stamp(page)
    out[0] = page
    return True


cdef bint acceptor_on_prepare(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    """Phase 1b (Paxos Made Simple 2.2): "If an acceptor receives a prepare request with number n greater than that
    of any prepare request to which it has already responded, then it responds to the request with a promise not to
    accept any more proposals numbered less than n and with the highest-numbered proposal (if any) that it has
    accepted"."""
    cdef PromiseFields fields
    cdef Message* reply
    cdef Batch* page
    cdef index_t start = (<const PrepareFields*>message.fields).start
    if start == 0 or start > number_max():
        return False
    if phase1_heard_leader_lately(paxos) and message.sender != paxos.leader:
        return True                    # a leader that works is left alone: as if the request had been lost
    if refused(paxos, out, message) or not outbox_has_room(out, 1):
        return True
    raise_promise(paxos, out, message)
    memset(&fields, 0, sizeof(fields))
    fields.start = start
    fields.chosen = paxos.log.last
    if not page_of(paxos, max(start, paxos.log.last + 1), &fields, &page):
        return True                    # it asks again
    reply = paxos_message(paxos, out, PAXOS_PROMISE, message.sender)
    memcpy(reply.fields, &fields, sizeof(fields))
    # What is said to be accepted is durable before it is said.
    if paxos.accepted_wsn > paxos.flushed_wsn:
        reply.after_io = max(reply.after_io, paxos.accepted_wsn)
    if page != NULL:
        outbox_attach(out, reply, page)
        batch_drop(page)
    return True


# Phase 2b

cdef bint fits_slot(const Paxos* paxos, const Message* message, const Batch* batch, index_t slot) noexcept nogil:
    return (batch.slot != 0 and batch.first == slot and batch.group == paxos.group and batch.term == message.term
            and batch.ballot_node == message.sender and (batch.kind == KIND_ENTRIES or batch.kind == KIND_BLANK))


cdef bint accept_one(Paxos* paxos, Outbox* out, Batch* batch) noexcept nogil:
    """False: it lies beyond the window, and is not accepted."""
    cdef index_t slot = batch.first
    if slot <= paxos.chosen:
        # Its value is known, and P2 makes it the proposed one: there is nothing left to be accepted.
        return slot <= paxos.log.last or same_value(window_at(paxos, slot).batch, batch)
    if slot > paxos.log.last + paxos.window_slots:
        return False
    if not window_holds(paxos, slot, batch.term, batch.ballot_node):
        window_accept(paxos, out, batch)
    return True


cdef bint acceptor_on_accept(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    """Phase 2b: "If an acceptor receives an accept request for a proposal numbered n, it accepts the proposal unless
    it has already responded to a prepare request having a number greater than n"."""
    cdef const AcceptFields* asked = <const AcceptFields*>message.fields
    cdef AcceptedFields* fields
    cdef Message* reply
    cdef wsn_t wsn = 0
    cdef uint32_t i
    cdef uint32_t count = 0
    if asked.first == 0 or asked.first > number_max() or asked.chosen > number_max() or message.batch_count == 0:
        return False
    for i in range(message.batch_count):
        if not fits_slot(paxos, message, message.batches[i], asked.first + i):
            return False
    if not mutant(b"paxos-accepts-below-promise") and refused(paxos, out, message):
        return True
    # An accept of a higher ballot is a promise too, or a lower one could be accepted after it (A-P6).
    if not mutant(b"paxos-accept-is-no-promise"):
        raise_promise(paxos, out, message)
    heard_leader(paxos, out, message)
    while count < message.batch_count and accept_one(paxos, out, message.batches[count]):
        wsn = max(wsn, window_wsn(paxos, asked.first + count))
        count += 1
    if count > 0:
        reply = paxos_message(paxos, out, PAXOS_ACCEPTED, message.sender)
        fields = <AcceptedFields*>reply.fields
        fields.first = asked.first
        fields.count = count
        # Durable before it is spoken (A-P1).
        if not mutant(b"paxos-accepted-before-flushed"):
            reply.after_io = max(reply.after_io, wsn)
    learner_heard(paxos, out, asked.chosen)
    return True


# Hearing the leader

cdef void heard_leader(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    """A request of phase 2 in the promised ballot: its sender has an elect quorum of promises."""
    check(message.sender != paxos.self, b"Q-PAXOS-30 nobody follows itself")
    if paxos.leader != message.sender:
        phase1_follow(paxos, out, message.sender)
        paxos.chosen_heard = 0
    paxos.heard_leader_ns = paxos.now_ns
    phase1_reset_timer(paxos)


cdef bint acceptor_on_heartbeat(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    cdef const BeatFields* beat = <const BeatFields*>message.fields
    cdef BeatFields* fields
    cdef Message* reply
    cdef index_t held
    if beat.chosen > number_max():
        return False
    if refused(paxos, out, message):
        return True
    raise_promise(paxos, out, message)
    heard_leader(paxos, out, message)
    learner_heard(paxos, out, beat.chosen)
    reads_on_leader_heard(paxos, out)
    held = max(paxos.chosen, paxos.log.last) + 1
    while held <= paxos.accepted_last and window_holds(paxos, held, message.term, message.sender):
        held += 1
    reply = paxos_message(paxos, out, PAXOS_HEARTBEAT_REPLY, message.sender)
    fields = <BeatFields*>reply.fields
    fields.round = beat.round
    fields.sent_ns = beat.sent_ns
    fields.chosen = paxos.log.last
    fields.held = held
    return True


cdef bint acceptor_on_chosen(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    cdef index_t chosen = (<const ChosenFields*>message.fields).chosen
    if chosen > number_max():
        return False
    if message.term == paxos.promised_round and message.sender == paxos.promised_node \
            and message.sender == paxos.leader:
        learner_heard(paxos, out, chosen)
    return True


# Values that phase 1 found

cdef bint acceptor_on_fetch(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    cdef const FetchFields* asked = <const FetchFields*>message.fields
    cdef FetchFields* fields
    cdef Message* reply
    cdef Batch* batch = NULL
    if asked.slot == 0 or asked.slot > number_max():
        return False
    if not outbox_has_room(out, 1):
        return True
    if window_covers(paxos, asked.slot):
        batch = window_at(paxos, asked.slot).batch
    elif asked.slot <= paxos.log.last:
        batch = log_batch(paxos.log, asked.slot)
    reply = paxos_message(paxos, out, PAXOS_FETCH_REPLY, message.sender)
    fields = <FetchFields*>reply.fields
    fields[0] = asked[0]
    fields.chosen = paxos.log.last
    if batch != NULL and batch.term == asked.round and batch.ballot_node == asked.node:
        outbox_attach(out, reply, batch)
    return True
