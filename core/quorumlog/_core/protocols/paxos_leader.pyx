"""Phase 2; see paxos_leader.pxd."""

from libc.stdint cimport uint32_t, uint64_t

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_NOT_LEADER, ERR_OVERLOADED
from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.membership cimport membership_slot
from quorumlog._core.engine.message cimport MESSAGE_BATCHES_MAX
from quorumlog._core.engine.outbox cimport outbox_attach, outbox_has_room, outbox_refuse
from quorumlog._core.engine.progress cimport (
    Progress, progress_acked, progress_may_send, progress_open, progress_sent, progress_to_stream)
from quorumlog._core.engine.protocol cimport ROLE_LEADER
from quorumlog._core.engine.quorum cimport TALLY_WON, tally_commit
from quorumlog._core.protocols.paxos_reads cimport reads_begin_round, reads_confirm
from quorumlog._core.protocols.paxos_records cimport paxos_message
from quorumlog._core.protocols.paxos_state cimport (
    PAXOS_ACCEPT, PAXOS_CHOSEN, AcceptedFields, AcceptFields, BeatFields, ChosenFields, Slot, slot_bit)
from quorumlog._core.protocols.paxos_window cimport window_accept, window_advance, window_at, window_covers
from quorumlog._core.storage.batch cimport IDENTITY_BYTES, KIND_BLANK, KIND_ENTRIES, batch_drop, batch_stamp

cdef enum:
    ACCEPT_BYTES_CEILING = 15 << 20
    TELL_DELAY_NS = 1000000        # how long a chosen slot may wait for an accept message to tell of it


cdef uint64_t batch_cost(const Batch* batch) noexcept nogil:
    return IDENTITY_BYTES + batch.body_bytes


# Proposing

cdef void leader_start(Paxos* paxos, Outbox* out) noexcept nogil:
    cdef uint32_t slot
    cdef Progress* p
    paxos.uncommitted_bytes = 0
    paxos.chosen_due_ns = 0
    paxos.next_slot = paxos.recovered_last + 1
    for slot in range(paxos.membership.count):
        p = &paxos.progress[slot]
        progress_open(p, paxos.membership.nodes[slot], paxos.chosen + 1)
        progress_to_stream(p)
        p.next = paxos.chosen + 1
        p.match = paxos.chosen
        p.reachable = (paxos.reachable & slot_bit(slot)) != 0
        p.heard_ns = paxos.now_ns
        paxos.chosen_sent[slot] = 0
        paxos.chosen_wanted[slot] = 0
        paxos.next_at_beat[slot] = 0
    reads_begin_round(paxos, out)


cdef void leader_issue(Paxos* paxos, Outbox* out, Batch* batch, index_t slot) noexcept nogil:
    cdef Slot* at
    check2(paxos.role == ROLE_LEADER and paxos.promised_node == paxos.self,
           b"Q-PAXOS-50 a leader proposes in its own ballot", paxos.promised_node, slot)
    check2(slot > paxos.chosen, b"Q-PAXOS-51 nothing is proposed where something is known to be chosen", slot,
           paxos.chosen)
    batch.group = paxos.group
    batch.term = paxos.promised_round
    batch.ballot_node = paxos.self
    batch.first = slot
    batch.slot = 1
    batch_stamp(batch)
    at = window_at(paxos, slot)
    check2(not at.proposed, b"Q-PAXOS-52 a ballot proposes one value in a slot", slot, paxos.promised_round)
    window_accept(paxos, out, batch)
    at.proposed = True
    paxos.uncommitted_bytes += batch_cost(batch)


cdef void leader_propose(Paxos* paxos, Outbox* out, const Event* event) noexcept nogil:
    cdef Batch* batch = event.batch
    cdef int slot
    check((batch.kind == KIND_ENTRIES or batch.kind == KIND_BLANK) and batch.count >= 1,
          b"Q-PAXOS-53 a proposal has entries")
    if paxos.role != ROLE_LEADER:
        outbox_refuse(out, batch, ERR_NOT_LEADER)
        return
    if paxos.next_slot > paxos.log.last + paxos.window_slots or (
            paxos.uncommitted_bytes > 0 and paxos.uncommitted_bytes + batch_cost(batch) > paxos.uncommitted_bytes_max):
        outbox_refuse(out, batch, ERR_OVERLOADED)
        return
    check(batch.stamped == 0, b"Q-PAXOS-54 a proposal is stamped once")
    batch.leader_time_ns = paxos.wall_ns
    leader_issue(paxos, out, batch, paxos.next_slot)
    slot = membership_slot(&paxos.membership, event.peer)
    if slot >= 0:
        paxos.chosen_wanted[slot] = paxos.next_slot
    paxos.next_slot += 1
    batch_drop(batch)
    leader_send_all(paxos, out)


# Sending

cdef void leader_send_all(Paxos* paxos, Outbox* out) noexcept nogil:
    cdef int slot
    for slot in range(<int>paxos.membership.count):
        if slot != paxos.self_slot:
            send(paxos, out, slot)


cdef bint is_open(Paxos* paxos, index_t slot) noexcept nogil:
    """Proposed here, and not in the log yet."""
    return window_covers(paxos, slot) and window_at(paxos, slot).proposed


cdef index_t send_run(Paxos* paxos, Outbox* out, int slot, index_t first, index_t last, uint64_t* bytes) noexcept nogil:
    """One accept message of proposed slots in a row from `first` on; the last one in it."""
    cdef Message* message = paxos_message(paxos, out, PAXOS_ACCEPT, paxos.membership.nodes[slot])
    cdef AcceptFields* fields = <AcceptFields*>message.fields
    cdef uint64_t limit = min(paxos.accept_bytes_max, <uint64_t>ACCEPT_BYTES_CEILING)
    cdef Batch* batch
    cdef index_t at = first
    bytes[0] = 0
    while at <= last and message.batch_count < MESSAGE_BATCHES_MAX and is_open(paxos, at):
        batch = window_at(paxos, at).batch
        if at > first and bytes[0] + batch_cost(batch) > limit:
            break
        outbox_attach(out, message, batch)
        bytes[0] += batch_cost(batch)
        at += 1
    fields.first = first
    fields.chosen = paxos.chosen
    paxos.chosen_sent[slot] = max(paxos.chosen_sent[slot], paxos.chosen)
    return at - 1


cdef void send(Paxos* paxos, Outbox* out, int slot) noexcept nogil:
    cdef Progress* p = &paxos.progress[slot]
    cdef uint64_t bytes = 0
    cdef index_t last
    # What left for the log is learnt by those who missed it, not accepted.
    p.next = max(p.next, paxos.log.last + 1)
    while p.next < paxos.next_slot and progress_may_send(p):
        if not is_open(paxos, p.next):
            p.next += 1                # chosen, or still to be adopted: it is sent when it is
            continue
        if not outbox_has_room(out, MESSAGE_BATCHES_MAX):
            paxos.more_to_do = True
            return
        last = send_run(paxos, out, slot, p.next, paxos.next_slot - 1, &bytes)
        progress_sent(p, last, bytes, paxos.now_ns)


cdef void leader_send_again(Paxos* paxos, Outbox* out, index_t first, index_t last) noexcept nogil:
    cdef int slot
    cdef uint64_t bytes = 0
    cdef index_t at
    for slot in range(<int>paxos.membership.count):
        if slot == paxos.self_slot or not paxos.progress[slot].reachable:
            continue
        at = first
        while at <= last and at < paxos.progress[slot].next and outbox_has_room(out, MESSAGE_BATCHES_MAX):
            if is_open(paxos, at):
                at = send_run(paxos, out, slot, at, last, &bytes)
            at += 1


cdef void leader_on_reachable(Paxos* paxos, Outbox* out, int slot, bint reachable) noexcept nogil:
    cdef Progress* p = &paxos.progress[slot]
    if paxos.role != ROLE_LEADER or p.reachable == reachable:
        return
    p.reachable = reachable
    if reachable:
        send(paxos, out, slot)
    else:
        progress_to_stream(p)          # what was on its way is lost: from `match` on again


# Counting

cdef void count(Paxos* paxos, int slot, index_t first, index_t last) noexcept nogil:
    """Phase 2: "If the proposer receives a response to its ... request from a majority of acceptors": a commit quorum
    of distinct acceptors, of one slot in one ballot (A-P5)."""
    cdef index_t at
    for at in range(first, last + 1):
        if is_open(paxos, at):
            window_at(paxos, at).acks |= slot_bit(slot)


cdef bint is_chosen(Paxos* paxos, index_t slot) noexcept nogil:
    cdef uint32_t acks
    if not is_open(paxos, slot):
        return False
    acks = window_at(paxos, slot).acks
    if mutant(b"paxos-chosen-by-one") and acks != 0:
        return True
    return tally_commit(&paxos.membership.quorum, acks, 0) == TALLY_WON


cdef void choose(Paxos* paxos, Outbox* out) noexcept nogil:
    cdef index_t before = paxos.chosen
    cdef int slot
    while is_chosen(paxos, paxos.chosen + 1):
        paxos.chosen += 1
    if paxos.chosen == before:
        return
    if all_told(paxos, before):
        paxos.chosen_due_ns = paxos.now_ns + TELL_DELAY_NS
    window_advance(paxos, out)
    for slot in range(<int>paxos.membership.count):
        if slot != paxos.self_slot:
            send(paxos, out, slot)
            tell(paxos, out, slot)
    reads_confirm(paxos, out)


cdef bint leader_on_accepted(Paxos* paxos, Outbox* out, int slot, const Message* message) noexcept nogil:
    cdef const AcceptedFields* said = <const AcceptedFields*>message.fields
    cdef Progress* p = &paxos.progress[slot]
    cdef index_t last = said.first + said.count - 1
    cdef index_t match
    if said.count == 0 or said.count > MESSAGE_BATCHES_MAX or said.first == 0 or last >= paxos.next_slot:
        return False                   # of what was never proposed
    count(paxos, slot, said.first, last)
    match = max(p.match, paxos.log.last)
    while match + 1 < paxos.next_slot and (
            not is_open(paxos, match + 1) or window_at(paxos, match + 1).acks & slot_bit(slot)) \
            and match + 1 < p.next:
        match += 1
    progress_acked(p, match, paxos.now_ns)
    choose(paxos, out)
    send(paxos, out, slot)
    tell(paxos, out, slot)
    return True


cdef void leader_on_flushed(Paxos* paxos, Outbox* out) noexcept nogil:
    cdef index_t at
    for at in range(paxos.chosen + 1, paxos.next_slot):
        if is_open(paxos, at) and (window_at(paxos, at).wsn <= paxos.flushed_wsn
                                   or mutant(b"paxos-own-accept-counts-at-once")):
            window_at(paxos, at).acks |= slot_bit(paxos.self_slot)
    choose(paxos, out)


cdef bint leader_on_heartbeat_reply(Paxos* paxos, Outbox* out, int slot, const Message* message) noexcept nogil:
    cdef const BeatFields* reply = <const BeatFields*>message.fields
    cdef Progress* p = &paxos.progress[slot]
    cdef uint64_t patience_ns = paxos.election_timeout_ns
    if reply.round > paxos.beat or reply.sent_ns > paxos.now_ns:
        return False
    p.round_acked = max(p.round_acked, reply.round)
    if reply.round == paxos.beat and not mutant(b"paxos-lost-accepts-stay-lost"):
        # All that was sent before the heartbeat is there, or it is lost.
        if reply.held < paxos.next_at_beat[slot] and reply.held < p.next:
            progress_to_stream(p)
            p.next = max(reply.held, paxos.log.last + 1)
        elif p.in_flight_count > 0 and p.in_flight[p.in_flight_head].sent_ns + patience_ns <= reply.sent_ns:
            progress_to_stream(p)      # there, but not acknowledged: the answer may be lost
        paxos.next_at_beat[slot] = min(paxos.next_at_beat[slot], p.next)
    send(paxos, out, slot)
    reads_confirm(paxos, out)
    return True


# Telling

cdef bint all_told(const Paxos* paxos, index_t chosen) noexcept nogil:
    cdef int slot
    for slot in range(<int>paxos.membership.count):
        if slot != paxos.self_slot and paxos.chosen_sent[slot] < chosen:
            return False
    return True


cdef void leader_tell(Paxos* paxos, Outbox* out) noexcept nogil:
    cdef int slot
    if paxos.chosen_due_ns == 0 or paxos.now_ns < paxos.chosen_due_ns:
        return
    paxos.chosen_due_ns = 0
    for slot in range(<int>paxos.membership.count):
        if slot != paxos.self_slot:
            tell(paxos, out, slot)


cdef void tell(Paxos* paxos, Outbox* out, int slot) noexcept nogil:
    """At once where a caller waits for it; otherwise the next accept message may carry it for nothing (ADR 0014)."""
    cdef Message* message
    if paxos.chosen <= paxos.chosen_sent[slot] or not paxos.progress[slot].reachable:
        return
    if paxos.now_ns < paxos.chosen_due_ns and paxos.chosen_wanted[slot] <= paxos.chosen_sent[slot]:
        return
    message = paxos_message(paxos, out, PAXOS_CHOSEN, paxos.membership.nodes[slot])
    (<ChosenFields*>message.fields).chosen = paxos.chosen
    paxos.chosen_sent[slot] = paxos.chosen
