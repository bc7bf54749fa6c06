"""Roles, the canvass, phase 1 and adoption; see paxos_phase1.pxd."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.prng cimport prng_below
from quorumlog._core.base.types cimport NODES_MAX, index_t, node_t, term_t
from quorumlog._core.engine.protocol cimport ROLE_CANDIDATE, ROLE_FOLLOWER, ROLE_LEADER, ROLE_PRE_CANDIDATE
from quorumlog._core.engine.quorum cimport TALLY_LOST, TALLY_WON, tally_elect
from quorumlog._core.engine.reads cimport reads_refuse_all
from quorumlog._core.protocols.paxos_leader cimport leader_issue, leader_send_again, leader_send_all, leader_start
from quorumlog._core.protocols.paxos_learner cimport learner_ask
from quorumlog._core.protocols.paxos_reads cimport reads_quorum_heard_ns
from quorumlog._core.protocols.paxos_records cimport paxos_message, paxos_noop, paxos_save_promise
from quorumlog._core.protocols.paxos_state cimport (
    PAGE_SLOTS_MAX, PAXOS_CANVASS, PAXOS_CANVASS_REPLY, PAXOS_FETCH, PAXOS_PREPARE, RING_SLOTS, SPARES_PER_STEP,
    CanvassFields, FetchFields, Found, PrepareFields, PromiseFields, RejectFields, Slot, ballot_below, number_max,
    slot_bit)
from quorumlog._core.protocols.paxos_window cimport window_at, window_covers
from quorumlog._core.storage.batch cimport (
    IDENTITY_BYTES, KIND_BLANK, KIND_ENTRIES, Batch, batch_copy, batch_drop, batch_keep, batch_parse_identity,
    batch_payload, offsets_bytes)

cdef enum:
    ADOPTED_PER_STEP = 64


# Roles

cdef void phase1_reset_timer(Paxos* paxos) noexcept nogil:
    """Drawn anew each time: of two candidates in each other's way one waits longer (A-P7)."""
    paxos.election_deadline_ns = (paxos.now_ns + paxos.election_timeout_ns
                                  + prng_below(&paxos.prng, paxos.election_timeout_ns))


cdef void forget_found(Paxos* paxos) noexcept nogil:
    cdef int i
    for i in range(RING_SLOTS):
        if paxos.found[i].batch != NULL:
            batch_drop(paxos.found[i].batch)
    memset(paxos.found, 0, RING_SLOTS * sizeof(Found))
    paxos.found_last = 0


cdef void set_role(Paxos* paxos, Outbox* out, int role, node_t leader) noexcept nogil:
    cdef index_t slot
    if role != paxos.role or leader != paxos.leader:
        out.leader_changed = True
        reads_refuse_all(&paxos.reads, out)
        if leader != paxos.leader and leader != 0:
            paxos.leader_changes += 1
    if paxos.role == ROLE_LEADER and role != ROLE_LEADER:
        for slot in range(paxos.log.last + 1, paxos.accepted_last + 1):
            window_at(paxos, slot).proposed = False
            window_at(paxos, slot).acks = 0
    if (paxos.role == ROLE_LEADER or paxos.role == ROLE_CANDIDATE) and role == ROLE_FOLLOWER:
        forget_found(paxos)
    paxos.role = role
    paxos.leader = leader


cdef void phase1_follow(Paxos* paxos, Outbox* out, node_t leader) noexcept nogil:
    check2(leader == 0 or leader != paxos.self, b"Q-PAXOS-60 nobody follows itself", leader, paxos.promised_round)
    set_role(paxos, out, ROLE_FOLLOWER, leader)
    paxos.granted = 0
    paxos.refused = 0
    paxos.paged = 0


cdef bint phase1_heard_leader_lately(const Paxos* paxos) noexcept nogil:
    """Stickiness: a leader that works is not disturbed (A-P7)."""
    if paxos.role == ROLE_LEADER:
        return True
    return paxos.leader != 0 and paxos.now_ns - paxos.heard_leader_ns < paxos.election_timeout_ns


cdef void phase1_on_leader_lost(Paxos* paxos) noexcept nogil:
    cdef uint64_t soon_ns
    if paxos.role != ROLE_FOLLOWER or paxos.leader == 0:
        return
    paxos.heard_leader_ns -= min(paxos.heard_leader_ns, paxos.election_timeout_ns)
    soon_ns = paxos.now_ns + 2 * paxos.heartbeat_ns + prng_below(&paxos.prng, paxos.election_timeout_ns)
    paxos.election_deadline_ns = min(paxos.election_deadline_ns, soon_ns)


cdef bint phase1_check_quorum(Paxos* paxos, Outbox* out) noexcept nogil:
    cdef bint stuck = (paxos.adopted < paxos.recovered_last
                       and paxos.now_ns - paxos.adopting_since_ns >= 2 * paxos.election_timeout_ns)
    check(paxos.role == ROLE_LEADER, b"Q-PAXOS-61 only a leader checks its quorum")
    # A value that phase 1 found and nobody hands over: another ballot may find another quorum.
    if paxos.now_ns - reads_quorum_heard_ns(paxos) < paxos.election_timeout_ns and not stuck:
        return True
    phase1_follow(paxos, out, 0)
    phase1_reset_timer(paxos)
    return False


# The canvass

cdef void phase1_timeout(Paxos* paxos, Outbox* out) noexcept nogil:
    cdef int slot
    cdef CanvassFields* fields
    check(paxos.role != ROLE_LEADER, b"Q-PAXOS-62 a leader does not campaign")
    phase1_reset_timer(paxos)
    if max(paxos.promised_round, paxos.round_seen) >= number_max():
        return                         # a peer has spent the rounds
    paxos.elections += 1
    set_role(paxos, out, ROLE_FOLLOWER, 0)
    set_role(paxos, out, ROLE_PRE_CANDIDATE, 0)
    paxos.refused = 0
    paxos.granted = slot_bit(paxos.self_slot)
    if tally_elect(&paxos.membership.quorum, paxos.granted, 0) == TALLY_WON:
        campaign(paxos, out)
        return
    for slot in range(<int>paxos.membership.count):
        if slot != paxos.self_slot:
            fields = <CanvassFields*>paxos_message(paxos, out, PAXOS_CANVASS, paxos.membership.nodes[slot]).fields
            fields.proposed = max(paxos.promised_round, paxos.round_seen) + 1


cdef void phase1_on_canvass(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    cdef CanvassFields* fields = <CanvassFields*>paxos_message(
        paxos, out, PAXOS_CANVASS_REPLY, message.sender).fields
    fields.proposed = (<const CanvassFields*>message.fields).proposed
    fields.granted = not phase1_heard_leader_lately(paxos)


cdef void phase1_on_canvass_reply(Paxos* paxos, Outbox* out, int slot, const Message* message) noexcept nogil:
    cdef const CanvassFields* reply = <const CanvassFields*>message.fields
    if paxos.role != ROLE_PRE_CANDIDATE:
        return
    if reply.granted:
        paxos.granted |= slot_bit(slot)
    else:
        paxos.refused |= slot_bit(slot) & ~paxos.granted
    if tally_elect(&paxos.membership.quorum, paxos.granted, paxos.refused) == TALLY_LOST:
        phase1_follow(paxos, out, 0)
    elif tally_elect(&paxos.membership.quorum, paxos.granted, paxos.refused) == TALLY_WON:
        campaign(paxos, out)


# Phase 1a

cdef void campaign(Paxos* paxos, Outbox* out) noexcept nogil:
    """Phase 1a: "A proposer selects a proposal number n and sends a prepare request with number n to a majority of
    acceptors".  Once for all slots; the number is above any that this node has promised, which is durable, so it
    never uses one twice (A-P2)."""
    cdef int slot
    cdef term_t round = max(paxos.promised_round, paxos.round_seen) + 1
    if mutant(b"paxos-ballot-again") and paxos.promised_node == paxos.self:
        round = paxos.promised_round
    if ballot_below(paxos.promised_round, paxos.promised_node, round, paxos.self):
        paxos_save_promise(paxos, out, round, paxos.self)
    set_role(paxos, out, ROLE_CANDIDATE, 0)
    forget_found(paxos)
    paxos.paged = 0
    paxos.adopted = 0
    for slot in range(NODES_MAX):
        paxos.page_start[slot] = paxos.log.last + 1
        paxos.found_chosen[slot] = 0
    phase1_reset_timer(paxos)
    ask(paxos, out)


cdef void ask(Paxos* paxos, Outbox* out) noexcept nogil:
    cdef int slot
    paxos.prepare_deadline_ns = paxos.now_ns + paxos.heartbeat_ns
    for slot in range(<int>paxos.membership.count):
        if slot != paxos.self_slot and not paxos.paged & slot_bit(slot):
            ask_one(paxos, out, slot)


cdef void ask_one(Paxos* paxos, Outbox* out, int slot) noexcept nogil:
    cdef Message* message = paxos_message(paxos, out, PAXOS_PREPARE, paxos.membership.nodes[slot])
    (<PrepareFields*>message.fields).start = paxos.page_start[slot]


cdef void phase1_ask_again(Paxos* paxos, Outbox* out) noexcept nogil:
    cdef int slot
    if paxos.role != ROLE_CANDIDATE or paxos.now_ns < paxos.prepare_deadline_ns:
        return
    ask(paxos, out)
    for slot in range(<int>paxos.membership.count):
        if paxos.paged & slot_bit(slot) and paxos.found_chosen[slot] > paxos.chosen:
            learner_ask(paxos, out, paxos.membership.nodes[slot])


# Phase 1b received

cdef bint note(Paxos* paxos, int slot, const Batch* identity) noexcept nogil:
    """One accepted slot of an acceptor.  False: it lies beyond what this node can hold before it has caught up."""
    cdef Found* found
    if identity.first <= paxos.log.last:
        return True
    if not window_covers(paxos, identity.first):
        return False
    found = &paxos.found[identity.first & (RING_SLOTS - 1)]
    if found.slot != identity.first:
        if found.batch != NULL:
            batch_drop(found.batch)
        memset(found, 0, sizeof(Found))
        found.slot = identity.first
        found.asked = -1
    paxos.found_last = max(paxos.found_last, identity.first)
    # Only a value is evidence, and of values the one of the highest ballot (A-P3, A-P4).
    if ballot_below(found.round, found.node, identity.term, identity.ballot_node) \
            or (mutant(b"paxos-adopts-the-last-heard") and found.round != 0):
        found.round = identity.term
        found.node = identity.ballot_node
        found.body_crc = identity.body_crc
        found.holders = 0
    if found.round == identity.term and found.node == identity.ballot_node:
        found.holders |= slot_bit(slot)
    return True


cdef bint read_page(Paxos* paxos, int slot, const Batch* page, index_t* fits) noexcept nogil:
    """Takes up a page.  `fits`: first slot that there was no room for, 0: all had.  False: it makes no sense."""
    cdef Batch identity
    cdef const unsigned char* payload = batch_payload(page)
    cdef uint32_t i
    cdef index_t before = 0
    fits[0] = 0
    if page.count > PAGE_SLOTS_MAX or page.body_bytes != offsets_bytes(page.count) + page.count * IDENTITY_BYTES:
        return False
    for i in range(page.count):
        memset(&identity, 0, sizeof(Batch))
        if batch_parse_identity(&identity, payload + i * IDENTITY_BYTES) != 0 or not identity.slot \
                or identity.group != paxos.group or identity.first <= before or identity.term == 0 \
                or identity.ballot_node == 0 or (identity.kind != KIND_ENTRIES and identity.kind != KIND_BLANK):
            return False
        before = identity.first
        if fits[0] == 0 and not note(paxos, slot, &identity):
            fits[0] = identity.first
    return True


cdef bint phase1_on_promise(Paxos* paxos, Outbox* out, int slot, const Message* message) noexcept nogil:
    cdef const PromiseFields* said = <const PromiseFields*>message.fields
    cdef index_t fits = 0
    if said.chosen > number_max() or said.covers > number_max() or message.batch_count > 1:
        return False
    if paxos.role != ROLE_CANDIDATE or message.term != paxos.promised_round or paxos.promised_node != paxos.self \
            or said.start != paxos.page_start[slot] or paxos.paged & slot_bit(slot):
        return True                    # late, or said twice
    if message.batch_count == 1 and not read_page(paxos, slot, message.batches[0], &fits):
        return False
    paxos.found_chosen[slot] = max(paxos.found_chosen[slot], said.chosen)
    if said.chosen > paxos.chosen:
        learner_ask(paxos, out, message.sender)
    if fits != 0:
        paxos.page_start[slot] = fits  # asked again when there is room
    elif said.more and not mutant(b"paxos-one-page-is-enough"):
        paxos.page_start[slot] = said.covers + 1
        ask_one(paxos, out, slot)
    else:
        paxos.paged |= slot_bit(slot)
    return True


cdef bint phase1_on_reject(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    """"It is probably a good idea to abandon a proposal if some proposer has begun trying to issue a higher-numbered
    one" (Paxos Made Simple 2.3)."""
    cdef node_t node = (<const RejectFields*>message.fields).node
    if paxos.promised_node != paxos.self or not ballot_below(paxos.promised_round, paxos.self, message.term, node):
        return True
    if paxos.role == ROLE_LEADER or paxos.role == ROLE_CANDIDATE:
        phase1_follow(paxos, out, 0)
        phase1_reset_timer(paxos)
    return True


# Winning

cdef void hear_oneself(Paxos* paxos) noexcept nogil:
    """The own promise counts when it is durable, and what lies in the own window counts as heard."""
    cdef index_t slot
    if paxos.paged & slot_bit(paxos.self_slot) or paxos.hard_state_wsn > paxos.flushed_wsn:
        return
    for slot in range(paxos.log.last + 1, paxos.accepted_last + 1):
        if window_at(paxos, slot).batch != NULL and not mutant(b"paxos-forgets-its-own-accepts"):
            note(paxos, paxos.self_slot, window_at(paxos, slot).batch)
    paxos.paged |= slot_bit(paxos.self_slot)


cdef bint has_caught_up(const Paxos* paxos) noexcept nogil:
    """What an acceptor calls chosen it doesn't report: it has to be learnt before the slots behind it are taken."""
    cdef int slot
    for slot in range(<int>paxos.membership.count):
        if paxos.paged & slot_bit(slot) and paxos.found_chosen[slot] > paxos.chosen:
            return False
    return True


cdef void become_leader(Paxos* paxos, Outbox* out) noexcept nogil:
    check2(paxos.promised_node == paxos.self and paxos.hard_state_wsn <= paxos.flushed_wsn,
           b"Q-PAXOS-63 a leader's own promise is durable", paxos.hard_state_wsn, paxos.flushed_wsn)
    set_role(paxos, out, ROLE_LEADER, paxos.self)
    paxos.recovered_last = max(paxos.found_last, paxos.chosen)
    paxos.adopted = paxos.chosen
    paxos.adopting_since_ns = paxos.now_ns
    leader_start(paxos, out)


cdef void phase1_turn(Paxos* paxos, Outbox* out) noexcept nogil:
    if paxos.role == ROLE_CANDIDATE:
        hear_oneself(paxos)
        if tally_elect(&paxos.membership.quorum, paxos.paged, 0) == TALLY_WON and (
                has_caught_up(paxos) or mutant(b"paxos-leads-before-caught-up")):
            become_leader(paxos, out)
    if paxos.role == ROLE_LEADER and paxos.adopted < paxos.recovered_last:
        adopt(paxos, out)


# Adoption

cdef void ask_for_value(Paxos* paxos, Outbox* out, Found* found) noexcept nogil:
    """Its holders in turn, one at a time."""
    cdef Message* message
    cdef FetchFields* fields
    cdef int slot = found.asked
    cdef int _i
    if found.asked_ns != 0 and paxos.now_ns - found.asked_ns < 2 * paxos.heartbeat_ns:
        return
    for _i in range(NODES_MAX):
        slot = (slot + 1) % NODES_MAX
        if found.holders & slot_bit(slot) and slot != paxos.self_slot:
            break
    if not found.holders & slot_bit(slot) or slot == paxos.self_slot:
        return
    found.asked = slot
    found.asked_ns = paxos.now_ns
    message = paxos_message(paxos, out, PAXOS_FETCH, paxos.membership.nodes[slot])
    fields = <FetchFields*>message.fields
    fields.slot = found.slot
    fields.round = found.round
    fields.node = found.node


cdef Batch* value_of(Paxos* paxos, Outbox* out, index_t slot) noexcept nogil:
    """What must be proposed there, with a reference and unstamped; NULL: not now."""
    cdef Found* found = &paxos.found[slot & (RING_SLOTS - 1)]
    cdef Slot* at = window_at(paxos, slot)
    cdef Batch* copy
    if found.slot != slot or found.round == 0 or mutant(b"paxos-proposes-anything"):
        # P2c (a): "no acceptor in S has accepted any proposal numbered less than n".
        return paxos_noop(paxos) if paxos.spare_count > SPARES_PER_STEP // 2 else NULL
    # P2c (b): "v is the value of the highest-numbered proposal".
    if found.batch == NULL and at.batch != NULL and at.batch.term == found.round \
            and at.batch.ballot_node == found.node:
        found.batch = batch_keep(at.batch)
    if found.batch == NULL:
        ask_for_value(paxos, out, found)
        return NULL
    copy = batch_copy(paxos.copies, found.batch)
    if copy != NULL:
        batch_drop(found.batch)
        found.batch = NULL
    return copy


cdef void adopt(Paxos* paxos, Outbox* out) noexcept nogil:
    """Slots that phase 1 leaves open, in any order as their values come; gaps get no-ops."""
    cdef index_t slot
    cdef index_t issued_first = 0
    cdef index_t issued_last = 0
    cdef Batch* batch
    cdef uint32_t issued = 0
    cdef bint whole = True
    for slot in range(max(paxos.adopted, paxos.chosen) + 1, paxos.recovered_last + 1):
        if not window_covers(paxos, slot):
            whole = False
            break
        if window_at(paxos, slot).proposed:
            continue
        if issued == ADOPTED_PER_STEP:
            paxos.more_to_do = True
            whole = False
            break
        batch = value_of(paxos, out, slot)
        if batch == NULL:
            whole = False
            continue
        leader_issue(paxos, out, batch, slot)
        batch_drop(batch)
        issued += 1
        issued_first = slot if issued_first == 0 else issued_first
        issued_last = slot
    if issued > 0:
        paxos.adopting_since_ns = paxos.now_ns
        leader_send_again(paxos, out, issued_first, issued_last)
        leader_send_all(paxos, out)
    if whole:
        paxos.adopted = paxos.recovered_last
        forget_found(paxos)


cdef bint phase1_on_fetch_reply(Paxos* paxos, Outbox* out, int slot, const Message* message) noexcept nogil:
    cdef const FetchFields* said = <const FetchFields*>message.fields
    cdef Batch* batch
    cdef Found* found
    if said.slot == 0 or said.slot > number_max() or message.batch_count > 1 or said.chosen > number_max():
        return False
    if paxos.role != ROLE_LEADER or said.slot <= paxos.chosen or said.slot > paxos.recovered_last:
        return True
    found = &paxos.found[said.slot & (RING_SLOTS - 1)]
    if found.slot != said.slot or found.round != said.round or found.node != said.node or found.batch != NULL:
        return True
    if message.batch_count == 0:
        if said.chosen >= said.slot:
            learner_ask(paxos, out, message.sender)        # chosen there meanwhile
        return True
    batch = message.batches[0]
    if not batch.slot or batch.first != said.slot or batch.term != said.round or batch.ballot_node != said.node \
            or batch.body_crc != found.body_crc or batch.group != paxos.group:
        return False
    found.batch = batch_keep(batch)
    return True


cdef void phase1_close(Paxos* paxos) noexcept nogil:
    if paxos.found != NULL:
        forget_found(paxos)
    free(paxos.found)
    paxos.found = NULL
