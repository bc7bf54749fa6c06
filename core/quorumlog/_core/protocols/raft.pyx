"""Raft: opening, the one step function, and the table.

Raft here is a pure function of its state and one event (DESIGN 4.2).  The cases that
have broken other implementations are quoted as A-R<n> at the branch that handles
them; docs/divergence.md says where and why this differs from the papers.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.prng cimport prng_next, prng_seed
from quorumlog._core.base.status cimport ERR_OVERLOADED, OK
from quorumlog._core.base.types cimport NODES_MAX, index_t, term_t
from quorumlog._core.engine.faults cimport Fault, faults_add, faults_close, faults_first
from quorumlog._core.engine.log cimport GroupLog, log_flush, log_term
from quorumlog._core.engine.membership cimport (
    MEMBERSHIP_LEFT, Member, Roster, membership_open, membership_slot, membership_votes, roster_decode, roster_find)
from quorumlog._core.engine.message cimport PROTOCOL_RAFT, Message
from quorumlog._core.engine.outbox cimport Outbox, outbox_refuse
from quorumlog._core.engine.protocol cimport (
    EVENT_FAULTY, EVENT_FETCHED, EVENT_FLUSHED, EVENT_MEMBERSHIP, EVENT_MESSAGE, EVENT_PROPOSE, EVENT_REACHABLE,
    EVENT_READ, EVENT_SNAPSHOT_MADE, EVENT_SNAPSHOT_READ, EVENT_SNAPSHOT_STORED, EVENT_TIME, EVENT_TRANSFER,
    EVENT_UNREACHABLE, PEER_SNAPSHOT, ROLE_CANDIDATE, ROLE_FOLLOWER, ROLE_LEADER, ROLE_LEARNER, ROLE_PRE_CANDIDATE,
    Event, GroupStatus, MemberStatus, PeerStatus, Protocol)
from quorumlog._core.engine.quorum cimport quorum_intersects
from quorumlog._core.engine.reads cimport reads_close, reads_deadline_ns, reads_expire, reads_number, reads_open
from quorumlog._core.protocols.raft_admission cimport (
    admission_on_barrier, admission_on_reply, admission_turn)
from quorumlog._core.protocols.raft_changes cimport change_begin, change_turn
from quorumlog._core.protocols.raft_election cimport (
    election_check_quorum, election_follow, election_new_term, election_on_flushed, election_on_leader_lost,
    election_on_pre_vote, election_on_pre_vote_reply, election_on_timeout_now, election_on_vote,
    election_on_vote_reply, election_reset_timer, election_timeout)
from quorumlog._core.protocols.raft_follower cimport (
    follower_on_append, follower_on_commit, follower_on_heartbeat)
from quorumlog._core.protocols.raft_freshness cimport freshness_as_of
from quorumlog._core.protocols.raft_lease cimport lease_share_ppm, lease_until_ns
from quorumlog._core.protocols.raft_membership cimport (
    membership_is_voter, membership_on_removed, membership_take)
from quorumlog._core.protocols.raft_reads cimport (
    reads_begin_round, reads_on_reply, reads_on_request, reads_propose, reads_quorum_heard_ns)
from quorumlog._core.protocols.raft_records cimport raft_drop_spares, raft_message, raft_refill
from quorumlog._core.protocols.raft_repair cimport (
    repair_deadline_ns, repair_found, repair_on_fetch, repair_on_fetched, repair_on_flushed, repair_on_reply,
    repair_overdue, repair_turn)
from quorumlog._core.protocols.raft_replication cimport (
    replication_commit, replication_on_append_reply, replication_on_fetched, replication_on_heartbeat_reply,
    replication_on_reachable, replication_propose, replication_send_all, replication_tell_commits)
from quorumlog._core.protocols.raft_standing cimport raft_standing
from quorumlog._core.protocols.raft_state cimport (
    RAFT_APPEND, RAFT_APPEND_REPLY, RAFT_COMMIT, RAFT_HEARTBEAT, RAFT_HEARTBEAT_REPLY, SPARES,
    RAFT_BARRIER, RAFT_BARRIER_REPLY, RAFT_FETCH, RAFT_FETCH_REPLY, RAFT_PRE_VOTE, RAFT_PRE_VOTE_REPLY,
    RAFT_READ_INDEX, RAFT_READ_INDEX_REPLY, RAFT_REMOVED, RAFT_SNAPSHOT, RAFT_SNAPSHOT_REPLY, RAFT_STALE_TERM,
    RAFT_TIMEOUT_NOW, RAFT_VOTE, RAFT_VOTE_REPLY, Raft, VoteFields, is_peer, number_max,
    slot_bit)
from quorumlog._core.protocols.raft_shipping cimport (
    shipping_deadline_ns, shipping_on_read, shipping_on_reply, shipping_turn)
from quorumlog._core.protocols.raft_snapshot cimport (
    snapshot_on_made, snapshot_on_piece, snapshot_on_stored, snapshot_restore, snapshot_turn, snapshot_write_reset)
from quorumlog._core.protocols.raft_transfer cimport (
    disk_look, disk_stands_still, transfer_at_once, transfer_begin, transfer_expire, transfer_to_priority,
    transfer_turn)
from quorumlog._core.storage.batch cimport pool_close, pool_open

cdef enum:
    POOL_BYTES = 1 << 20           # hard states, truncations and blank batches not flushed or applied yet


# Opening

cdef bint options_make_sense(const RaftOptions* options, const GroupLog* log) noexcept nogil:
    if options.self == 0 or options.voter_count == 0 or options.voter_count > NODES_MAX \
            or options.member_count > NODES_MAX:
        return False
    # A heartbeat must fit into an election timeout, and sums of times into 64 bits.
    if options.heartbeat_ns == 0 or options.election_timeout_ns <= options.heartbeat_ns:
        return False
    if options.election_timeout_ns > number_max() or options.append_bytes_max == 0:
        return False
    if options.disk_patience_ns > number_max():
        return False
    return (options.uncommitted_bytes_max > 0 and options.hard_state_term <= number_max()
            and log.last <= number_max() and log.group == options.group)


cdef void* raft_open(const RaftOptions* options, GroupLog* log, uint64_t now_ns) noexcept nogil:
    cdef Raft* raft
    if not options_make_sense(options, log):
        return NULL
    raft = <Raft*>calloc(1, sizeof(Raft))
    if raft == NULL:
        return NULL
    raft.log = log
    raft.now_ns = now_ns
    raft.pool = pool_open(POOL_BYTES)
    if (reads_open(&raft.reads) != OK or raft.pool == NULL
            or membership_open(&raft.membership, options.voters, options.voter_count) != OK
            or not (membership_votes(&raft.membership, options.self) or options.joining)
            or not restore_membership(raft, options) or not rules_are_safe(raft)
            or not restore_faults(raft, options, log, now_ns) or not snapshot_restore(raft, options)):
        raft_close(raft)
        return NULL
    raft.group = options.group
    raft.heeds_strangers = options.heeds_strangers
    raft.election_timeout_ns = options.election_timeout_ns
    raft.heartbeat_ns = options.heartbeat_ns
    raft.append_bytes_max = options.append_bytes_max
    raft.uncommitted_bytes_max = options.uncommitted_bytes_max
    raft.priority = options.priority
    raft.disk_patience_ns = options.disk_patience_ns if options.disk_patience_ns else 2 * options.election_timeout_ns
    restore(raft, options)
    return raft


cdef bint restore_membership(Raft* raft, const RaftOptions* options) noexcept nogil:
    """The newest record's, if there is one; else the voters that the group began with."""
    cdef Roster roster
    cdef Member* member
    cdef uint32_t i
    roster = raft.membership.roster
    raft.self = options.self
    if options.membership != NULL and (
            roster_decode(&roster, options.membership, options.membership_bytes) != OK
            or roster.stage > MEMBERSHIP_LEFT):
        return False
    for i in range(options.member_count):
        member = roster_find(&roster, options.members[i].node)
        if member != NULL and member.port == 0:
            member.port = options.members[i].port
            member.host = options.members[i].host
            member.name = options.members[i].name
    membership_take(raft, &roster, options.membership_index if options.membership != NULL else 0)
    # Nobody to repair it, nobody to admit it.
    return not raft.alone or (options.fault_count == 0 and not options.listening and options.snapshot_needed == 0)


cdef bint rules_are_safe(const Raft* raft) noexcept nogil:
    """Leader completeness rests on every elect quorum meeting every commit quorum."""
    cdef uint32_t elect = 0
    cdef uint32_t commit = 0
    return quorum_intersects(&raft.membership.quorum, &elect, &commit)


cdef bint restore_faults(Raft* raft, const RaftOptions* options, const GroupLog* log,
                         uint64_t now_ns) noexcept nogil:
    cdef Fault fault
    cdef term_t at_first, at_last
    cdef uint32_t i
    for i in range(options.fault_count):
        fault = options.faults[i]
        if log_term(log, fault.first, &at_first) != OK or log_term(log, fault.last, &at_last) != OK \
                or fault.first > fault.last or at_first != fault.term or at_last != fault.term:
            return False
        fault.wsn = 0
        fault.found_ns = now_ns
        fault.asked_ns = 0
        fault.refusals = 0
        if faults_add(&raft.faults, &fault) != OK:
            return False
    raft.faults_found = raft.faults.count
    return True


cdef void restore(Raft* raft, const RaftOptions* options) noexcept nogil:
    raft.term = options.hard_state_term
    raft.vote = options.vote
    if raft.log.last_term > raft.term:
        # The entries prove a later term than the hard state; how this node voted in it is not known,
        # so it votes for nobody else there.
        raft.term = raft.log.last_term
        raft.vote = raft.self if not options.listening else 0
    raft.listening = options.listening
    raft.role = ROLE_FOLLOWER
    raft.commit = max(raft.log.first - 1, raft.snapshot.index)
    raft.verified = raft.commit
    raft.reachable = <uint32_t>0xFFFFFFFF
    if options.unproved_last > raft.log.last and raft.reset_truncate == 0:
        raft.unproved_last = options.unproved_last
        raft.unproved_term = options.unproved_term
        raft.unproved_term_max = raft.term
    # Nodes given the same seed must not draw the same timeouts.
    prng_seed(&raft.prng, options.seed ^ raft.self * 0x9E3779B97F4A7C15ULL)
    reads_number(&raft.reads, prng_next(&raft.prng), raft.now_ns, raft.term)
    raft.mark = raft.reads.request     # nor may the echo of an earlier life's mark match
    raft.mark_echoed = True
    # What this node promised in an earlier life is not known: as if it had been a moment ago (A-R15).
    raft.leases = options.leases
    raft.lease_share_ppm = lease_share_ppm(options.clock_drift_ppm)
    if raft.leases:
        raft.heard_leader_ns = raft.now_ns
    election_reset_timer(raft)
    if raft.membership.voters == slot_bit(raft.self_slot):
        raft.election_deadline_ns = raft.now_ns + 1    # nobody to wait for (0 would be never)


cdef void raft_close(void* state) noexcept nogil:
    cdef Raft* raft = <Raft*>state
    if raft == NULL:
        return
    raft_drop_spares(raft)
    faults_close(&raft.faults)
    if raft.pool != NULL:
        pool_close(raft.pool)
    reads_close(&raft.reads)
    free(raft)


# The step

cdef void raft_step(void* state, const Event* event, Outbox* out) noexcept nogil:
    cdef Raft* raft = <Raft*>state
    cdef bint more = raft.more_to_send
    cdef bint room
    check2(out.write_count == 0 and out.message_count == 0, b"Q-RAFT-60 a step begins with an empty outbox",
           out.write_count, out.message_count)
    raft.now_ns = max(raft.now_ns, event.now_ns)
    raft.wall_ns = event.wall_ns
    raft.wsn_next = event.wsn_next
    raft.more_to_send = False
    room = raft.spare_count == SPARES or raft_refill(raft)
    disk_look(raft)
    if raft.transfer_target != 0:
        transfer_expire(raft)
    if raft.reset_unwritten and room:
        snapshot_write_reset(raft, out)
        room = raft_refill(raft)
    if raft.listening:
        admission_turn(raft, out)
    if event.kind == EVENT_MESSAGE:
        if room:                       # without memory it is as if the message had been lost
            on_message(raft, out, event.message)
    elif event.kind == EVENT_PROPOSE:
        if room:
            replication_propose(raft, out, event)
        else:
            outbox_refuse(out, event.batch, ERR_OVERLOADED)
    elif event.kind == EVENT_FLUSHED:
        on_flushed(raft, out, event)
    elif event.kind == EVENT_TIME:
        on_time(raft, out, room)
    elif event.kind == EVENT_READ:
        reads_propose(raft, out, event)
    elif event.kind == EVENT_FAULTY:
        repair_found(raft, event.first, event.last)
    elif event.kind == EVENT_MEMBERSHIP:
        out.answer = change_begin(raft, out, event.batch) if room else ERR_OVERLOADED
    elif event.kind == EVENT_TRANSFER:
        out.answer = transfer_begin(raft, out, event.peer)
    elif event.kind == EVENT_SNAPSHOT_MADE and room:
        snapshot_on_made(raft, out, event)
    elif event.kind == EVENT_SNAPSHOT_STORED and room:
        snapshot_on_stored(raft, out, event)
    else:
        on_peer_event(raft, out, event)
    if more and raft.role == ROLE_LEADER:
        replication_send_all(raft, out)
    if raft.role == ROLE_LEADER:
        change_turn(raft, out)
        leave_if_removed(raft, out)
    if raft.transfer_target != 0:
        transfer_turn(raft, out)
    if raft.faults.count > 0:
        if raft.role == ROLE_CANDIDATE or raft.role == ROLE_PRE_CANDIDATE:
            election_follow(raft, out, 0)      # found on the way
        repair_turn(raft, out)
    snapshot_turn(raft, out)
    if raft.shipping and raft.role == ROLE_LEADER:
        shipping_turn(raft, out)
    finish(raft, out)


cdef void leave_if_removed(Raft* raft, Outbox* out) noexcept nogil:
    """4.2.2: "a leader that is removed from the configuration steps down once the Cnew entry is committed"."""
    if membership_is_voter(raft) or raft.membership.index > raft.commit:
        return
    transfer_at_once(raft, out)
    election_follow(raft, out, 0)
    election_reset_timer(raft)
    if raft.self_slot == NODES_MAX:
        raft.removed_index = raft.membership.index


cdef void on_flushed(Raft* raft, Outbox* out, const Event* event) noexcept nogil:
    cdef bint repaired
    if event.wsn > raft.flushed_wsn:
        raft.flushed_wsn = event.wsn
        raft.disk_moved_ns = raft.now_ns
    repaired = raft.faults.count > 0 and repair_on_flushed(raft)
    if (log_flush(raft.log, raft.flushed_wsn) or repaired) and raft.role == ROLE_LEADER:
        replication_commit(raft, out)
        if repaired:
            replication_send_all(raft, out)
    election_on_flushed(raft, out)


cdef void on_time(Raft* raft, Outbox* out, bint room) noexcept nogil:
    if raft.faults.count > 0 and raft.role == ROLE_LEADER and repair_overdue(raft):
        election_follow(raft, out, 0)  # rule 10: "a leader that finds one repairs it or steps down"
        election_reset_timer(raft)
        return
    if raft.role == ROLE_LEADER and disk_stands_still(raft) and not raft.alone:
        raft.disk_stalls += 1
        transfer_at_once(raft, out)
        election_follow(raft, out, 0)
        election_reset_timer(raft)
        return
    if raft.role == ROLE_LEADER:
        if election_check_quorum(raft, out):
            if raft.now_ns >= raft.heartbeat_deadline_ns:
                reads_begin_round(raft, out)       # heartbeats carry the commit index too
                transfer_to_priority(raft, out)
            replication_tell_commits(raft, out)
        return
    reads_expire(&raft.reads, out, raft.now_ns)
    if raft.now_ns >= raft.election_deadline_ns:
        if room:
            election_timeout(raft, out)
        else:
            election_reset_timer(raft)


cdef void on_peer_event(Raft* raft, Outbox* out, const Event* event) noexcept nogil:
    cdef int slot = membership_slot(&raft.membership, event.peer)
    if slot < 0 or slot == raft.self_slot:
        return                         # of a peer of other groups
    if event.kind == EVENT_FETCHED and event.repair:
        repair_on_fetched(raft, out, event)
    elif event.kind == EVENT_FETCHED:
        replication_on_fetched(raft, out, slot, event)
    elif event.kind == EVENT_SNAPSHOT_READ:
        shipping_on_read(raft, out, slot, event)
    elif event.kind == EVENT_REACHABLE:
        raft.reachable |= slot_bit(slot)
        replication_on_reachable(raft, out, slot, True)
    elif event.kind == EVENT_UNREACHABLE:
        raft.reachable &= ~slot_bit(slot)
        if event.peer == raft.leader:
            election_on_leader_lost(raft)
        replication_on_reachable(raft, out, slot, False)
    else:
        check2(False, b"Q-RAFT-61 an event is of a known kind", event.kind, slot)


cdef void finish(Raft* raft, Outbox* out) noexcept nogil:
    cdef uint64_t reads_ns, repair_ns, shipping_ns
    cdef uint32_t i
    for i in range(out.message_count):
        # Promise after persist (DESIGN 4.3): what carries the term waits for the record that holds it.
        check2(out.messages[i].term == raft.term, b"Q-RAFT-62 a message carries the current term",
               out.messages[i].kind, out.messages[i].term)
        check2(raft.hard_state_wsn <= raft.flushed_wsn or out.messages[i].after_io >= raft.hard_state_wsn,
               b"Q-RAFT-63 a message waits for its term", out.messages[i].kind, out.messages[i].after_io)
    out.commit = raft.commit
    if raft.faults.count > 0:
        out.faulty_first = faults_first(&raft.faults)
    if raft.role == ROLE_LEADER:
        if raft.alone:
            out.deadline_ns = 0        # nobody to tell, nobody to lose
        else:
            out.deadline_ns = raft.heartbeat_deadline_ns
            # Times of hearing only rise: who was heard late enough then need not be looked at again.
            if raft.quorum_heard_ns + raft.election_timeout_ns < out.deadline_ns:
                raft.quorum_heard_ns = reads_quorum_heard_ns(raft)
                out.deadline_ns = min(out.deadline_ns, raft.quorum_heard_ns + raft.election_timeout_ns)
            if raft.commit_due_ns != 0:
                out.deadline_ns = min(out.deadline_ns, raft.commit_due_ns)
            if raft.transfer_target != 0:
                out.deadline_ns = min(out.deadline_ns, raft.transfer_until_ns)
            shipping_ns = shipping_deadline_ns(raft) if raft.shipping else 0
            if shipping_ns != 0:
                out.deadline_ns = min(out.deadline_ns, shipping_ns)
        if raft.more_to_send:
            out.deadline_ns = raft.now_ns
    else:
        out.deadline_ns = raft.election_deadline_ns
        reads_ns = reads_deadline_ns(&raft.reads)
        if reads_ns != 0 and reads_ns < out.deadline_ns:
            out.deadline_ns = reads_ns
    if raft.faults.count > 0:
        repair_ns = repair_deadline_ns(raft)
        if repair_ns != 0 and repair_ns < out.deadline_ns:
            out.deadline_ns = repair_ns


# Messages

cdef bint is_request(uint16_t kind) noexcept nogil:
    return (kind == RAFT_VOTE or kind == RAFT_APPEND or kind == RAFT_HEARTBEAT or kind == RAFT_COMMIT
            or kind == RAFT_READ_INDEX or kind == RAFT_BARRIER or kind == RAFT_TIMEOUT_NOW
            or kind == RAFT_SNAPSHOT)


cdef bint is_known(uint16_t kind) noexcept nogil:
    return RAFT_PRE_VOTE <= kind <= RAFT_SNAPSHOT_REPLY or kind == RAFT_TIMEOUT_NOW or kind == RAFT_REMOVED


cdef bint may_be_a_strangers(const Raft* raft, const Message* message) noexcept nogil:
    """4.1: a node heeds leaders that its own membership doesn't name, as it may be behind; candidates too, if they
    know of a newer membership.  Who knows of an older one was removed, and is told so."""
    cdef const VoteFields* asked = <const VoteFields*>message.fields
    if message.sender == 0 or not raft.heeds_strangers:
        return False
    if message.kind == RAFT_PRE_VOTE:
        return asked.membership != raft.membership.index
    if message.kind == RAFT_VOTE:
        return asked.membership > raft.membership.index
    return (message.kind == RAFT_APPEND or message.kind == RAFT_HEARTBEAT or message.kind == RAFT_COMMIT
            or message.kind == RAFT_SNAPSHOT or message.kind == RAFT_TIMEOUT_NOW or message.kind == RAFT_REMOVED)


cdef bint envelope_makes_sense(const Raft* raft, const Message* message, int slot) noexcept nogil:
    cdef const VoteFields* asked = <const VoteFields*>message.fields
    if (slot < 0 and not may_be_a_strangers(raft, message)) or message.sender == raft.self \
            or message.group != raft.group or message.protocol != PROTOCOL_RAFT:
        return False
    if message.term > number_max() or not is_known(message.kind):
        return False
    if message.batch_count > 1 and message.kind != RAFT_APPEND:
        return False
    if message.batch_count != 0 and message.kind != RAFT_APPEND and message.kind != RAFT_FETCH_REPLY \
            and message.kind != RAFT_SNAPSHOT:
        return False
    if message.kind == RAFT_PRE_VOTE and asked.proposed != message.term + 1:
        return False
    if message.kind == RAFT_VOTE and asked.proposed != message.term:
        return False
    # Term 0 has neither leader nor candidate.
    return message.term > 0 or not is_request(message.kind)


cdef void on_message(Raft* raft, Outbox* out, const Message* message) noexcept nogil:
    # Who it is, the transport has proved (A-R30).
    cdef int slot = membership_slot(&raft.membership, message.sender)
    if not envelope_makes_sense(raft, message, slot):
        raft.peer_errors += 1
        return
    if message.kind == RAFT_PRE_VOTE:
        election_on_pre_vote(raft, out, slot, message)         # never changes our term (A-R11, A-R29)
        return
    if message.kind == RAFT_REMOVED:
        membership_on_removed(raft, out, message)
        return
    if message.kind == RAFT_FETCH or message.kind == RAFT_FETCH_REPLY:
        # Of any role and any term (rule 10): it is about what lies in a log, not about who leads.
        if not (repair_on_fetch(raft, out, slot, message) if message.kind == RAFT_FETCH
                else repair_on_reply(raft, out, slot, message)):
            raft.peer_errors += 1
        return
    if message.term < raft.term and is_request(message.kind):
        # Figure 2: "Reply false if term < currentTerm".  The sender learns the term and steps down.
        raft_message(raft, out, RAFT_STALE_TERM, message.sender)
        return
    if message.kind == RAFT_VOTE:
        election_on_vote(raft, out, slot, message)
        return
    if message.term > raft.term and not (mutant(b"refusal-teaches-no-term")
                                         and message.kind == RAFT_PRE_VOTE_REPLY):
        election_new_term(raft, out, message.term)
    if message.kind == RAFT_PRE_VOTE_REPLY:
        election_on_pre_vote_reply(raft, out, slot, message)   # of a lower term too: a yes changes no term
        return
    if message.term < raft.term and not mutant(b"old-answers-count"):
        return                                                 # an answer to an earlier term's question
    if not dispatch(raft, out, slot, message):
        raft.peer_errors += 1


cdef bint dispatch(Raft* raft, Outbox* out, int slot, const Message* message) noexcept nogil:
    """A message of the current term.  False: the peer broke the protocol."""
    if raft.role == ROLE_LEADER and slot >= 0:
        if not raft.peer_listening[slot]:
            raft.progress[slot].heard_ns = raft.now_ns
        raft.progress[slot].active = True
    if message.kind == RAFT_APPEND:
        return follower_on_append(raft, out, message)
    if message.kind == RAFT_HEARTBEAT:
        return follower_on_heartbeat(raft, out, message)
    if message.kind == RAFT_COMMIT:
        return follower_on_commit(raft, out, message)
    if message.kind == RAFT_VOTE_REPLY:
        election_on_vote_reply(raft, out, slot, message)
        return True
    if message.kind == RAFT_READ_INDEX:
        reads_on_request(raft, out, message)
        return True
    if message.kind == RAFT_READ_INDEX_REPLY:
        reads_on_reply(raft, out, message)
        return True
    if message.kind == RAFT_BARRIER_REPLY:
        return admission_on_reply(raft, out, message)
    if message.kind == RAFT_TIMEOUT_NOW:
        return election_on_timeout_now(raft, out, message)
    if message.kind == RAFT_SNAPSHOT:
        return snapshot_on_piece(raft, out, message)
    if raft.role != ROLE_LEADER:
        return True                    # of a term that this node led before it crashed; or STALE_TERM
    if message.kind == RAFT_APPEND_REPLY:
        return replication_on_append_reply(raft, out, slot, message)
    if message.kind == RAFT_HEARTBEAT_REPLY:
        return replication_on_heartbeat_reply(raft, out, slot, message)
    if message.kind == RAFT_SNAPSHOT_REPLY:
        return shipping_on_reply(raft, out, slot, message)
    if message.kind == RAFT_BARRIER:
        admission_on_barrier(raft, out, slot, message)
    return True


# The table

cdef void tell_members(const Raft* raft, GroupStatus* out) noexcept nogil:
    cdef const Roster* roster = &raft.membership.roster
    cdef MemberStatus* member
    cdef uint32_t i
    out.membership_index = raft.membership.index
    out.membership_stage = roster.stage
    out.removed = raft.removed_index != 0
    if raft.role == ROLE_FOLLOWER and raft.membership.learners & slot_bit(raft.self_slot):
        out.role = ROLE_LEARNER
    for i in range(roster.count):
        member = &out.members[out.member_count]
        member.node = roster.members[i].node
        member.role = roster.members[i].role
        member.before = roster.members[i].before
        member.goal = roster.members[i].goal
        out.member_count += 1


cdef void raft_status(void* state, GroupStatus* out) noexcept nogil:
    cdef Raft* raft = <Raft*>state
    cdef int slot
    cdef PeerStatus* peer
    cdef index_t as_of_index
    memset(out, 0, sizeof(GroupStatus))
    out.role = raft.role
    out.term = raft.term
    out.leader = raft.leader
    out.vote = raft.vote
    out.first = raft.log.first
    out.last = raft.log.last
    out.flushed = raft.log.flushed
    out.commit = raft.commit
    out.unproved_last = raft.unproved_last
    out.elections = raft.elections
    out.leader_changes = raft.leader_changes
    out.peer_errors = raft.peer_errors
    out.lease_until_ns = lease_until_ns(raft)
    out.as_of_ns = freshness_as_of(raft, &as_of_index)
    out.listening = raft.listening
    out.faulty = raft.faults.count
    out.faults_found = raft.faults_found
    out.faults_repaired = raft.faults_repaired
    out.transfer = raft.transfer_target
    out.transfers = raft.transfers
    out.transfers_failed = raft.transfers_failed
    out.disk_stalls = raft.disk_stalls
    out.priority = raft.priority
    tell_members(raft, out)
    out.snapshot_index = raft.snapshot.index
    out.snapshot_log_bytes = raft.log.appended_bytes - raft.snapshot_seen_bytes
    out.snapshot_needed = raft.snapshot_needed
    out.snapshots_installed = raft.snapshots_installed
    for slot in range(<int>raft.membership.count):
        if not is_peer(raft, slot):
            continue
        peer = &out.peers[out.peer_count]
        out.peer_count += 1
        peer.node = raft.membership.nodes[slot]
        if raft.role == ROLE_LEADER:
            peer.state = raft.progress[slot].state
            peer.match = raft.progress[slot].match
            peer.next = raft.progress[slot].next
            peer.window_bytes = raft.progress[slot].window_bytes
            peer.in_flight_bytes = raft.progress[slot].in_flight_bytes
            if raft.progress[slot].state == PEER_SNAPSHOT:
                peer.snapshot_bytes = raft.sending[slot].id.file_bytes
                peer.snapshot_acked_bytes = raft.sending[slot].acked


cdef Protocol RAFT_TABLE
RAFT_TABLE.name = b"raft"
RAFT_TABLE.number = PROTOCOL_RAFT
RAFT_TABLE.mode = 1                    # MODE_SUFFIX of storage/wal.pxd
RAFT_TABLE.step = raft_step
RAFT_TABLE.status = raft_status
RAFT_TABLE.standing = raft_standing
RAFT_TABLE.close = raft_close


cdef const Protocol* raft_protocol() noexcept nogil:
    return &RAFT_TABLE
