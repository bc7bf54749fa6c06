"""Multi-Paxos: opening, the one step function, and the table.

Paxos here is a pure function of its state and one event (DESIGN 4.2).  The cases that have broken other
implementations are quoted as A-P<n> at the branch that handles them; docs/divergence.md says where and why this
differs from the papers.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.prng cimport prng_next, prng_seed
from quorumlog._core.base.status cimport ERR_OVERLOADED, ERR_USAGE, OK
from quorumlog._core.base.types cimport NODES_MAX
from quorumlog._core.engine.membership cimport membership_open, membership_slot, membership_votes
from quorumlog._core.engine.message cimport PROTOCOL_PAXOS, Message
from quorumlog._core.engine.outbox cimport Outbox, outbox_read_as_of, outbox_refuse
from quorumlog._core.engine.protocol cimport (
    EVENT_FETCHED, EVENT_FLUSHED, EVENT_MESSAGE, EVENT_PROPOSE, EVENT_REACHABLE, EVENT_READ, EVENT_TIME,
    EVENT_TRANSFER, EVENT_UNREACHABLE, PEER_STREAM, READ_AS_OF, ROLE_CANDIDATE, ROLE_FOLLOWER, ROLE_LEADER,
    Event, GroupStatus, PeerStatus, Protocol)
from quorumlog._core.engine.quorum cimport quorum_intersects, quorum_members
from quorumlog._core.engine.reads cimport reads_close, reads_deadline_ns, reads_expire, reads_number, reads_open
from quorumlog._core.protocols.paxos_acceptor cimport (
    acceptor_on_accept, acceptor_on_chosen, acceptor_on_fetch, acceptor_on_heartbeat, acceptor_on_prepare)
from quorumlog._core.protocols.paxos_leader cimport (
    leader_on_accepted, leader_on_flushed, leader_on_heartbeat_reply, leader_on_reachable, leader_propose,
    leader_send_all, leader_tell)
from quorumlog._core.protocols.paxos_learner cimport (
    learner_go_on, learner_on_ask, learner_on_fetched, learner_on_taught)
from quorumlog._core.protocols.paxos_phase1 cimport (
    phase1_ask_again, phase1_check_quorum, phase1_close, phase1_on_canvass, phase1_on_canvass_reply,
    phase1_on_fetch_reply, phase1_on_leader_lost, phase1_on_promise, phase1_on_reject, phase1_reset_timer,
    phase1_timeout, phase1_turn)
from quorumlog._core.protocols.paxos_reads cimport (
    reads_begin_round, reads_on_reply, reads_on_request, reads_propose, reads_quorum_heard_ns)
from quorumlog._core.protocols.paxos_records cimport paxos_drop_spares, paxos_refill
from quorumlog._core.protocols.paxos_state cimport (
    MARK_SLOTS_MAX, PAGE_SLOTS_MAX, PAXOS_ACCEPT, PAXOS_ACCEPTED, PAXOS_CANVASS, PAXOS_CANVASS_REPLY,
    PAXOS_CHOSEN, PAXOS_FETCH, PAXOS_FETCH_REPLY, PAXOS_HEARTBEAT, PAXOS_LEARN,
    PAXOS_PREPARE, PAXOS_PROMISE, PAXOS_READ_INDEX, PAXOS_READ_INDEX_REPLY, PAXOS_REJECT, PAXOS_TAUGHT,
    RING_SLOTS, WINDOW_SLOTS_MAX, Found, Paxos, Slot,
    ballot_below, number_max, slot_bit)
from quorumlog._core.protocols.paxos_window cimport window_advance, window_close, window_restore
from quorumlog._core.storage.batch cimport pool_close, pool_open

cdef enum:
    POOL_BYTES = 2 << 20           # promises, marks, no-ops and pages not flushed, sent or applied yet


# Opening

cdef bint options_make_sense(const PaxosOptions* options, const GroupLog* log) noexcept nogil:
    if options.self == 0 or options.voter_count == 0 or options.voter_count > NODES_MAX:
        return False
    if options.heartbeat_ns == 0 or options.election_timeout_ns <= options.heartbeat_ns:
        return False
    if options.election_timeout_ns > number_max() or options.accept_bytes_max == 0 or options.copies == NULL:
        return False
    if not (1 <= options.window_slots <= WINDOW_SLOTS_MAX and 1 <= options.mark_slots <= MARK_SLOTS_MAX
            and 1 <= options.page_slots <= PAGE_SLOTS_MAX):
        return False
    return (options.uncommitted_bytes_max > 0 and options.promised_round <= number_max()
            and log.last <= number_max() and log.group == options.group and log.slots)


cdef bint restore_accepted(Paxos* paxos, const PaxosOptions* options) noexcept nogil:
    cdef uint32_t i
    for i in range(options.accepted_count):
        if not window_restore(paxos, options.accepted[i]):
            return False
        # An accept is a promise (A-P6), and its hard state was written before it.
        if ballot_below(paxos.promised_round, paxos.promised_node, options.accepted[i].term,
                        options.accepted[i].ballot_node):
            paxos.promised_round = options.accepted[i].term
            paxos.promised_node = options.accepted[i].ballot_node
    return True


cdef bint rules_are_safe(Paxos* paxos, const PaxosOptions* options) noexcept nogil:
    """Flexible Paxos: every elect quorum meets every commit quorum, and there are no quorums of strangers."""
    cdef uint32_t elect = 0
    cdef uint32_t commit = 0
    if options.quorum != NULL:
        paxos.membership.quorum = options.quorum[0]
    return (quorum_members(&paxos.membership.quorum) & ~paxos.membership.voters) == 0 \
        and quorum_intersects(&paxos.membership.quorum, &elect, &commit)


cdef void* paxos_open(const PaxosOptions* options, GroupLog* log, uint64_t now_ns) noexcept nogil:
    cdef Paxos* paxos
    if not options_make_sense(options, log):
        return NULL
    paxos = <Paxos*>calloc(1, sizeof(Paxos))
    if paxos == NULL:
        return NULL
    paxos.ring = <Slot*>calloc(RING_SLOTS, sizeof(Slot))
    paxos.found = <Found*>calloc(RING_SLOTS, sizeof(Found))
    paxos.pool = pool_open(POOL_BYTES)
    paxos.log = log
    paxos.promised_round = options.promised_round
    paxos.promised_node = options.promised_node
    if (reads_open(&paxos.reads) != OK or paxos.ring == NULL or paxos.found == NULL or paxos.pool == NULL
            or membership_open(&paxos.membership, options.voters, options.voter_count) != OK
            or not membership_votes(&paxos.membership, options.self) or not rules_are_safe(paxos, options)):
        paxos_close(paxos)
        return NULL
    paxos.accepted_last = log.last
    if not restore_accepted(paxos, options):
        paxos_close(paxos)
        return NULL
    paxos.group = options.group
    paxos.self = options.self
    paxos.self_slot = membership_slot(&paxos.membership, options.self)
    paxos.election_timeout_ns = options.election_timeout_ns
    paxos.heartbeat_ns = options.heartbeat_ns
    paxos.accept_bytes_max = options.accept_bytes_max
    paxos.uncommitted_bytes_max = options.uncommitted_bytes_max
    paxos.window_slots = options.window_slots
    paxos.mark_slots = options.mark_slots
    paxos.page_slots = options.page_slots
    paxos.copies = options.copies
    paxos.now_ns = now_ns
    paxos.chosen = log.last
    paxos.marked = log.last
    paxos.round_seen = paxos.promised_round
    paxos.role = ROLE_FOLLOWER
    paxos.reachable = <uint32_t>0xFFFFFFFF
    # Nodes given the same seed must not draw the same timeouts.
    prng_seed(&paxos.prng, options.seed ^ paxos.self * 0x9E3779B97F4A7C15ULL)
    reads_number(&paxos.reads, prng_next(&paxos.prng), now_ns, paxos.promised_round)
    phase1_reset_timer(paxos)
    if paxos.membership.count == 1:
        paxos.election_deadline_ns = now_ns + 1
    return paxos


cdef void paxos_close(void* state) noexcept nogil:
    cdef Paxos* paxos = <Paxos*>state
    if paxos == NULL:
        return
    window_close(paxos)
    phase1_close(paxos)
    paxos_drop_spares(paxos)
    if paxos.pool != NULL:
        pool_close(paxos.pool)
    reads_close(&paxos.reads)
    free(paxos)


# The step

cdef void paxos_step(void* state, const Event* event, Outbox* out) noexcept nogil:
    cdef Paxos* paxos = <Paxos*>state
    cdef bint more = paxos.more_to_do
    cdef bint room
    check2(out.write_count == 0 and out.message_count == 0, b"Q-PAXOS-70 a step begins with an empty outbox",
           out.write_count, out.message_count)
    paxos.now_ns = max(paxos.now_ns, event.now_ns)
    paxos.wall_ns = event.wall_ns
    paxos.wsn_next = event.wsn_next
    paxos.more_to_do = False
    room = paxos_refill(paxos)
    if event.kind == EVENT_MESSAGE:
        if room:                       # without memory it is as if the message had been lost
            on_message(paxos, out, event.message)
    elif event.kind == EVENT_PROPOSE:
        if room:
            leader_propose(paxos, out, event)
        else:
            outbox_refuse(out, event.batch, ERR_OVERLOADED)
    elif event.kind == EVENT_FLUSHED:
        paxos.flushed_wsn = max(paxos.flushed_wsn, event.wsn)
        window_advance(paxos, out)
        if paxos.role == ROLE_LEADER:
            leader_on_flushed(paxos, out)
        else:
            learner_go_on(paxos, out)
    elif event.kind == EVENT_TIME:
        on_time(paxos, out, room)
    elif event.kind == EVENT_TRANSFER:
        out.answer = ERR_USAGE         # nobody hands over here: any node may win
    elif event.kind == EVENT_READ:
        if event.read_kind == READ_AS_OF:
            outbox_read_as_of(out, event.read, paxos.log.last, 0)      # how old that is nobody says here
        else:
            reads_propose(paxos, out, event.read)      # without leases: by a round
    else:
        on_peer_event(paxos, out, event)
    if more and paxos.role == ROLE_LEADER:
        leader_send_all(paxos, out)
    if room:
        phase1_turn(paxos, out)
    finish(paxos, out)


cdef void on_time(Paxos* paxos, Outbox* out, bint room) noexcept nogil:
    if paxos.role == ROLE_LEADER:
        if phase1_check_quorum(paxos, out):
            if paxos.now_ns >= paxos.heartbeat_deadline_ns:
                reads_begin_round(paxos, out)
            leader_tell(paxos, out)
        return
    reads_expire(&paxos.reads, out, paxos.now_ns)
    phase1_ask_again(paxos, out)
    if paxos.now_ns >= paxos.election_deadline_ns:
        if room:
            phase1_timeout(paxos, out)
        else:
            phase1_reset_timer(paxos)


cdef void on_peer_event(Paxos* paxos, Outbox* out, const Event* event) noexcept nogil:
    cdef int slot = membership_slot(&paxos.membership, event.peer)
    if slot < 0 or slot == paxos.self_slot:
        return                         # of a peer of other groups
    if event.kind == EVENT_FETCHED:
        learner_on_fetched(paxos, out, event)
    elif event.kind == EVENT_REACHABLE:
        paxos.reachable |= slot_bit(slot)
        leader_on_reachable(paxos, out, slot, True)
    elif event.kind == EVENT_UNREACHABLE:
        paxos.reachable &= ~slot_bit(slot)
        if event.peer == paxos.leader:
            phase1_on_leader_lost(paxos)
        leader_on_reachable(paxos, out, slot, False)
    else:
        check2(False, b"Q-PAXOS-71 an event is of a known kind", event.kind, slot)


cdef uint64_t nearest(uint64_t one, uint64_t other) noexcept nogil:
    return other if one == 0 or (other != 0 and other < one) else one


cdef void finish(Paxos* paxos, Outbox* out) noexcept nogil:
    cdef uint32_t i
    for i in range(out.message_count):
        # Promise after persist (DESIGN 4.3).
        check2(out.messages[i].term == paxos.promised_round, b"Q-PAXOS-72 a message carries the promised round",
               out.messages[i].kind, out.messages[i].term)
        check2(paxos.hard_state_wsn <= paxos.flushed_wsn or out.messages[i].after_io >= paxos.hard_state_wsn,
               b"Q-PAXOS-73 a message waits for its promise", out.messages[i].kind, out.messages[i].after_io)
    out.commit = paxos.log.last
    if paxos.role == ROLE_LEADER:
        out.deadline_ns = 0            # alone: nobody to tell, nobody to lose
        if paxos.membership.count > 1:
            out.deadline_ns = min(paxos.heartbeat_deadline_ns,
                                  reads_quorum_heard_ns(paxos) + paxos.election_timeout_ns)
            out.deadline_ns = nearest(out.deadline_ns, paxos.chosen_due_ns)
        if paxos.adopted < paxos.recovered_last:
            out.deadline_ns = nearest(out.deadline_ns, paxos.now_ns + paxos.heartbeat_ns)
        if paxos.more_to_do:
            out.deadline_ns = paxos.now_ns
        return
    out.deadline_ns = nearest(paxos.election_deadline_ns, reads_deadline_ns(&paxos.reads))
    if paxos.role == ROLE_CANDIDATE:
        out.deadline_ns = nearest(out.deadline_ns, paxos.prepare_deadline_ns)


# Messages

cdef bint envelope_makes_sense(const Paxos* paxos, const Message* message, int slot) noexcept nogil:
    if slot < 0 or slot == paxos.self_slot or message.group != paxos.group or message.protocol != PROTOCOL_PAXOS:
        return False
    if message.term > number_max() or message.kind < PAXOS_CANVASS or message.kind > PAXOS_READ_INDEX_REPLY:
        return False
    if message.batch_count != 0 and message.kind != PAXOS_ACCEPT and message.kind != PAXOS_PROMISE \
            and message.kind != PAXOS_TAUGHT and message.kind != PAXOS_FETCH_REPLY:
        return False
    # Round 0 has no leader and no candidate.
    return message.term > 0 or message.kind == PAXOS_CANVASS or message.kind == PAXOS_CANVASS_REPLY \
        or message.kind == PAXOS_LEARN or message.kind == PAXOS_TAUGHT


cdef void on_message(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    # Who it is, the transport has proved.
    cdef int slot = membership_slot(&paxos.membership, message.sender)
    if not envelope_makes_sense(paxos, message, slot):
        paxos.peer_errors += 1
        return
    paxos.round_seen = max(paxos.round_seen, message.term)
    if not dispatch(paxos, out, slot, message):
        paxos.peer_errors += 1


cdef bint dispatch(Paxos* paxos, Outbox* out, int slot, const Message* message) noexcept nogil:
    """What is of any ballot, and requests, which say their own.  False: the peer broke the protocol."""
    if message.kind == PAXOS_CANVASS:
        phase1_on_canvass(paxos, out, message)
    elif message.kind == PAXOS_CANVASS_REPLY:
        phase1_on_canvass_reply(paxos, out, slot, message)
    elif message.kind == PAXOS_PREPARE:
        return acceptor_on_prepare(paxos, out, message)
    elif message.kind == PAXOS_PROMISE:
        return phase1_on_promise(paxos, out, slot, message)
    elif message.kind == PAXOS_ACCEPT:
        return acceptor_on_accept(paxos, out, message)
    elif message.kind == PAXOS_REJECT:
        return phase1_on_reject(paxos, out, message)
    elif message.kind == PAXOS_HEARTBEAT:
        return acceptor_on_heartbeat(paxos, out, message)
    elif message.kind == PAXOS_CHOSEN:
        return acceptor_on_chosen(paxos, out, message)
    elif message.kind == PAXOS_LEARN:
        return learner_on_ask(paxos, out, message)
    elif message.kind == PAXOS_TAUGHT:
        return on_taught(paxos, out, message)
    elif message.kind == PAXOS_FETCH:
        return acceptor_on_fetch(paxos, out, message)
    elif message.kind == PAXOS_FETCH_REPLY:
        return phase1_on_fetch_reply(paxos, out, slot, message)
    elif message.kind == PAXOS_READ_INDEX:
        reads_on_request(paxos, out, message)
    elif message.kind == PAXOS_READ_INDEX_REPLY:
        reads_on_reply(paxos, out, message)
    else:
        return to_leader(paxos, out, slot, message)
    return True


cdef bint to_leader(Paxos* paxos, Outbox* out, int slot, const Message* message) noexcept nogil:
    """Answers of the leader's own ballot; of others they are late."""
    if paxos.role != ROLE_LEADER or message.term != paxos.promised_round:
        return True
    paxos.progress[slot].heard_ns = paxos.now_ns
    if message.kind == PAXOS_ACCEPTED:
        return leader_on_accepted(paxos, out, slot, message)
    return leader_on_heartbeat_reply(paxos, out, slot, message)


cdef bint on_taught(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    cdef uint64_t before = paxos.chosen
    if not learner_on_taught(paxos, out, message):
        return False
    if paxos.chosen > before and paxos.role == ROLE_CANDIDATE:
        phase1_reset_timer(paxos)      # it is getting on
    elif paxos.chosen > before and paxos.role == ROLE_LEADER:
        leader_on_flushed(paxos, out)  # what was counted behind it may be chosen now
    return True


# The table

cdef void paxos_status(void* state, GroupStatus* out) noexcept nogil:
    cdef Paxos* paxos = <Paxos*>state
    cdef int slot
    cdef PeerStatus* peer
    memset(out, 0, sizeof(GroupStatus))
    out.role = paxos.role
    out.term = paxos.promised_round
    out.leader = paxos.leader
    out.vote = paxos.promised_node
    out.first = paxos.log.first
    out.last = paxos.accepted_last
    out.flushed = paxos.log.last
    out.commit = paxos.log.last
    out.elections = paxos.elections
    out.leader_changes = paxos.leader_changes
    out.peer_errors = paxos.peer_errors
    for slot in range(<int>paxos.membership.count):
        if slot == paxos.self_slot:
            continue
        peer = &out.peers[out.peer_count]
        out.peer_count += 1
        peer.node = paxos.membership.nodes[slot]
        if paxos.role == ROLE_LEADER:
            peer.state = PEER_STREAM
            peer.match = paxos.progress[slot].match
            peer.next = paxos.progress[slot].next
            peer.window_bytes = paxos.progress[slot].window_bytes
            peer.in_flight_bytes = paxos.progress[slot].in_flight_bytes


cdef Protocol PAXOS_TABLE
PAXOS_TABLE.name = b"paxos"
PAXOS_TABLE.number = PROTOCOL_PAXOS
PAXOS_TABLE.mode = 2                   # MODE_SLOT of storage/wal.pxd
PAXOS_TABLE.step = paxos_step
PAXOS_TABLE.status = paxos_status
PAXOS_TABLE.close = paxos_close


cdef const Protocol* paxos_protocol() noexcept nogil:
    return &PAXOS_TABLE
