"""Elections: pre-vote, vote, the step to leader and back.

A campaign has two stages.  In the pre-vote nobody changes anything (A-R29): would
you vote for me?  Only with an elect quorum of yes a real term begins.  A node that
heard from a leader within the election timeout says no to both (A-R11, A-R12).
"""

from libc.stdint cimport uint16_t, uint64_t

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.prng cimport prng_below
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport node_t, term_t
from quorumlog._core.engine.faults cimport faults_first
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.engine.protocol cimport (
    ROLE_CANDIDATE, ROLE_FOLLOWER, ROLE_LEADER, ROLE_PRE_CANDIDATE)
from quorumlog._core.engine.quorum cimport TALLY_LOST, TALLY_WON, tally_elect
from quorumlog._core.engine.reads cimport reads_refuse_all
from quorumlog._core.protocols.raft_admission cimport admission_new_term
from quorumlog._core.protocols.raft_lease cimport lease_binds
from quorumlog._core.protocols.raft_membership cimport membership_is_voter, membership_refuse_stranger
from quorumlog._core.protocols.raft_reads cimport reads_quorum_heard_ns
from quorumlog._core.protocols.raft_records cimport raft_message, raft_save_hard_state
from quorumlog._core.protocols.raft_replication cimport replication_start
from quorumlog._core.protocols.raft_state cimport (
    RAFT_PRE_VOTE, RAFT_PRE_VOTE_REPLY, RAFT_VOTE, RAFT_VOTE_REPLY, SPARES_PER_STEP,
    VOTE_FLAG_TAIL, Raft, TimeoutNowFields, VoteFields, VoteReplyFields, is_peer, number_max, slot_bit)
from quorumlog._core.protocols.raft_tail cimport tail_decide, tail_forget, tail_heard, tail_unproved
from quorumlog._core.protocols.raft_transfer cimport disk_stands_still, transfer_forget


# Roles

cdef void election_reset_timer(Raft* raft) noexcept nogil:
    # 5.2: "election timeouts are chosen randomly from a fixed interval".
    raft.election_deadline_ns = (raft.now_ns + raft.election_timeout_ns
                                 + prng_below(&raft.prng, raft.election_timeout_ns))


cdef void election_on_leader_lost(Raft* raft) noexcept nogil:
    """A crash closes connections at once: waiting for the whole timeout would only cost time.

    What is lost may be the connection alone; then the pre-vote is refused by those who
    still hear the leader, or its next heartbeat, for which there is time, calls it off.
    """
    cdef uint64_t soon_ns
    if raft.role != ROLE_FOLLOWER or raft.leader == 0 or raft.leases:
        return                         # what it promised to the lease is about time, not about connections
    raft.heard_leader_ns -= min(raft.heard_leader_ns, raft.election_timeout_ns)
    soon_ns = raft.now_ns + 2 * raft.heartbeat_ns + prng_below(&raft.prng, raft.election_timeout_ns)
    raft.election_deadline_ns = min(raft.election_deadline_ns, soon_ns)


cdef void set_role(Raft* raft, Outbox* out, int role, node_t leader) noexcept nogil:
    if role != raft.role or leader != raft.leader:
        out.leader_changed = True
        # Nothing pending can be confirmed any more, whichever side it was on.
        reads_refuse_all(&raft.reads, out)
        transfer_forget(raft)
        if leader != raft.leader and leader != 0:
            raft.leader_changes += 1
    raft.role = role
    raft.leader = leader


cdef void election_follow(Raft* raft, Outbox* out, node_t leader) noexcept nogil:
    check2(leader == 0 or leader != raft.self, b"Q-RAFT-40 nobody follows itself", leader, raft.term)
    set_role(raft, out, ROLE_FOLLOWER, leader)
    raft.granted = 0
    raft.refused = 0
    raft.tail_campaign = False
    raft.transfer_campaign = False


cdef void election_new_term(Raft* raft, Outbox* out, term_t term) noexcept nogil:
    take_term(raft, out, term, 0)


cdef void take_term(Raft* raft, Outbox* out, term_t term, node_t vote) noexcept nogil:
    """5.1: "if one server's current term is smaller ... it updates its current term to the larger value"."""
    cdef bint led = raft.role == ROLE_LEADER
    check2(term > raft.term, b"Q-RAFT-41 a new term is higher", term, raft.term)
    # The role goes with the old term: nothing of it is stamped with the new one (A-R25).
    if not mutant(b"deposed-keeps-its-role"):
        election_follow(raft, out, 0)
    raft_save_hard_state(raft, out, term, vote)
    # What the log shares with a leader has to be found out anew in every term (A-R2).
    raft.verified = raft.commit
    tail_forget(raft)
    admission_new_term(raft)
    if led:
        election_reset_timer(raft)


cdef bint election_check_quorum(Raft* raft, Outbox* out) noexcept nogil:
    check(raft.role == ROLE_LEADER, b"Q-RAFT-42 only a leader checks its quorum")
    if raft.now_ns - reads_quorum_heard_ns(raft) < raft.election_timeout_ns or mutant(b"no-check-quorum"):
        return True
    election_follow(raft, out, 0)
    election_reset_timer(raft)
    return False


cdef bint heard_leader_recently(const Raft* raft) noexcept nogil:
    """A leader hears itself while its quorum answers (election_check_quorum sees to that)."""
    if mutant(b"leader-not-heard"):
        return False
    if raft.role == ROLE_LEADER or lease_binds(raft):
        return True
    return raft.leader != 0 and raft.now_ns - raft.heard_leader_ns < raft.election_timeout_ns


# Campaigning

cdef void election_timeout(Raft* raft, Outbox* out) noexcept nogil:
    check(raft.role != ROLE_LEADER, b"Q-RAFT-43 a leader does not campaign")
    election_reset_timer(raft)
    if lease_binds(raft):
        return                         # the timer was set before the promise
    if raft.term >= number_max():
        return                         # a peer has spent the terms: nothing is left to campaign in
    if election_barred(raft) and not mutant(b"campaign-while-faulty") or disk_stands_still(raft):
        election_follow(raft, out, 0)
        return
    raft.elections += 1
    raft.tail_campaign = not tail_decide(raft, out) and not mutant(b"unproved-campaigns")
    set_role(raft, out, ROLE_PRE_CANDIDATE, 0)
    raft.refused = 0
    raft.transfer_campaign = False
    raft.granted = slot_bit(raft.self_slot)
    if tally_elect(&raft.membership.quorum, raft.granted, 0) == TALLY_WON:
        campaign(raft, out)
    else:
        ask_all(raft, out, RAFT_PRE_VOTE, raft.term + 1)


cdef bint election_barred(const Raft* raft) noexcept nogil:
    """No leader that lacks what it may have acknowledged, nor one that doesn't know what that was; nobody who has no
    vote, and nobody who was removed (A-M12)."""
    return (raft.faults.count > 0 or raft.listening or raft.snapshot_needed != 0 or raft.removed_index != 0
            or not membership_is_voter(raft))


cdef bint election_on_timeout_now(Raft* raft, Outbox* out, const Message* message) noexcept nogil:
    """Thesis 3.10: "it has the same effect as the target server's election timer firing", without a pre-vote."""
    cdef const TimeoutNowFields* fields = <const TimeoutNowFields*>message.fields
    if raft.role != ROLE_FOLLOWER or raft.leader != message.sender:
        return raft.leader == 0        # late: it follows nobody, as it stands for election itself
    if fields.last_index > raft.log.last or raft.term >= number_max() or election_barred(raft) \
            or tail_unproved(raft) or disk_stands_still(raft):
        return True                    # not the one meant, or not fit to lead: the leader gives up in time
    raft.elections += 1
    raft.transfer_campaign = True
    campaign(raft, out)
    return True


cdef void campaign(Raft* raft, Outbox* out) noexcept nogil:
    """5.2: "a follower increments its current term ... votes for itself and issues RequestVote RPCs"."""
    cdef bint tail = raft.tail_campaign
    cdef bint transfer = raft.transfer_campaign
    # A tail round asks for no votes, and leaves its own free for a candidate whose log reaches far enough.
    take_term(raft, out, raft.term + 1, 0 if tail else raft.self)
    set_role(raft, out, ROLE_CANDIDATE, 0)
    raft.tail_campaign = tail
    raft.transfer_campaign = transfer
    election_reset_timer(raft)
    if tail and tail_decide(raft, out):
        # A single voter: nobody else can hold the tail.  The next timeout campaigns.
        election_follow(raft, out, 0)
        raft.election_deadline_ns = raft.now_ns + 1
        return
    # The own vote counts when it is durable, not before (A-R6): election_on_flushed.
    ask_all(raft, out, RAFT_VOTE, raft.term)


cdef void ask_all(Raft* raft, Outbox* out, uint16_t kind, term_t proposed) noexcept nogil:
    cdef int slot
    cdef Message* message
    cdef VoteFields* fields
    for slot in range(<int>raft.membership.count):
        if not is_peer(raft, slot) or not raft.membership.voters & slot_bit(slot):
            continue
        message = raft_message(raft, out, kind, raft.membership.nodes[slot])
        fields = <VoteFields*>message.fields
        fields.last_index = raft.log.last
        fields.last_term = raft.log.last_term
        fields.proposed = proposed
        fields.flags = VOTE_FLAG_TAIL if raft.tail_campaign else 0
        fields.transfer = raft.transfer_campaign
        fields.membership = raft.membership.index


cdef void tally(Raft* raft, Outbox* out) noexcept nogil:
    """Distinct voters only: a reply that comes twice is one bit (A-R7)."""
    cdef int result = tally_elect(&raft.membership.quorum, raft.granted, raft.refused)
    if result == TALLY_LOST:
        election_follow(raft, out, 0)              # the timer, drawn anew, decides when to try again
    elif result == TALLY_WON and raft.role == ROLE_PRE_CANDIDATE:
        campaign(raft, out)
    elif result == TALLY_WON and raft.granted & slot_bit(raft.self_slot):
        become_leader(raft, out)                   # never before the own vote is durable


cdef void become_leader(Raft* raft, Outbox* out) noexcept nogil:
    check(raft.role == ROLE_CANDIDATE and not raft.tail_campaign,
          b"Q-RAFT-44 only a candidate becomes leader")
    check2(raft.vote == raft.self and raft.hard_state_wsn <= raft.flushed_wsn,
           b"Q-RAFT-45 a leader's own vote is durable", raft.hard_state_wsn, raft.flushed_wsn)
    check(not election_barred(raft) or mutant(b"campaign-while-faulty"),
          b"Q-RAFT-47 a leader's log is whole, and it knows what it promised")
    check2(raft.unproved_last <= raft.log.last, b"Q-RAFT-46 a leader's tail is proved", raft.unproved_last,
           raft.term)
    raft.verified = raft.log.last
    set_role(raft, out, ROLE_LEADER, raft.self)
    replication_start(raft, out)


cdef void election_on_flushed(Raft* raft, Outbox* out) noexcept nogil:
    if (raft.role != ROLE_CANDIDATE or raft.tail_campaign or raft.hard_state_wsn > raft.flushed_wsn
            or raft.granted & slot_bit(raft.self_slot)):
        return
    if raft.spare_count < SPARES_PER_STEP:
        return                         # no memory to lead with: the next timeout tries again
    raft.granted |= slot_bit(raft.self_slot)
    tally(raft, out)


# Being asked

cdef bint log_up_to_date(const Raft* raft, const VoteFields* asked) noexcept nogil:
    """5.4.1: "the voter denies its vote if its own log is more up-to-date than that of the candidate"."""
    # Entries that this node may have acknowledged and lost count as if it had them (DESIGN 5, rule 4).
    if raft.unproved_last != 0 and not mutant(b"unproved-votes-freely") \
            and (asked.last_index < raft.unproved_last or asked.last_term < raft.unproved_term):
        return False
    if raft.faults.count > 0 and mutant(b"vote-without-the-faulty"):
        return asked.last_index >= faults_first(&raft.faults) - 1
    # Faulty entries are entries: the log's end counts them (rule 10).
    if asked.last_term != raft.log.last_term:
        return asked.last_term > raft.log.last_term
    return asked.last_index >= raft.log.last


cdef void reply_vote(Raft* raft, Outbox* out, uint16_t kind, const Message* message,
                     bint granted) noexcept nogil:
    cdef Message* reply = raft_message(raft, out, kind, message.sender)
    cdef VoteReplyFields* fields = <VoteReplyFields*>reply.fields
    fields.granted = granted
    fields.proposed = (<const VoteFields*>message.fields).proposed
    fields.last_index = raft.log.last
    fields.last_term = raft.log.last_term


cdef void election_on_pre_vote(Raft* raft, Outbox* out, int slot, const Message* message) noexcept nogil:
    """No side effects on timer, term or vote (A-R29).  A refusal teaches the asker our term (A-R10)."""
    cdef const VoteFields* asked = <const VoteFields*>message.fields
    cdef bint granted
    if slot < 0 and asked.membership < raft.membership.index:
        membership_refuse_stranger(raft, out, message.sender, asked.membership)
        return
    if mutant(b"pre-vote-takes-the-term") and asked.proposed > raft.term:
        take_term(raft, out, asked.proposed, 0)
    granted = asked.proposed > raft.term and not heard_leader_recently(raft)
    if raft.listening and not mutant(b"vote-while-listening"):
        return                         # it has no say, nor evidence of what others may hold
    if not asked.flags & VOTE_FLAG_TAIL:
        granted = granted and (log_up_to_date(raft, asked) or mutant(b"vote-for-any-log"))
    reply_vote(raft, out, RAFT_PRE_VOTE_REPLY, message, granted)


cdef void election_on_vote(Raft* raft, Outbox* out, int slot, const Message* message) noexcept nogil:
    """Up-to-date check and vote are one step (A-R8); whether we are a voter, the candidate knows (A-R9)."""
    cdef const VoteFields* asked = <const VoteFields*>message.fields
    cdef bint tail = (asked.flags & VOTE_FLAG_TAIL) != 0
    cdef bint granted = not tail and (log_up_to_date(raft, asked) or mutant(b"vote-for-any-log"))
    if raft.listening and not mutant(b"vote-while-listening"):
        return
    if message.term > raft.term:
        # Section 6: "if a server receives a RequestVote within the minimum election timeout of hearing
        # from a current leader, it does not update its term or grant its vote" (A-R11).  Unless that
        # leader asked for it (thesis 4.2.3).
        if heard_leader_recently(raft) and not asked.transfer:
            return
        take_term(raft, out, message.term, message.sender if granted else 0)
    elif granted and raft.vote == 0 and raft.leader == 0 and not lease_binds(raft):
        election_follow(raft, out, 0)              # from a pre-vote or a tail round
        raft_save_hard_state(raft, out, raft.term, message.sender)
    else:
        granted = granted and (raft.vote == message.sender or mutant(b"vote-twice"))
    if granted:
        election_reset_timer(raft)
    if slot >= 0:
        tail_heard(raft, slot, asked.last_index, asked.last_term)
    if tail_unproved(raft) and tail_decide(raft, out):
        end_tail_campaign(raft, out)
    reply_vote(raft, out, RAFT_VOTE_REPLY, message, granted)


# Being answered

cdef void election_on_pre_vote_reply(Raft* raft, Outbox* out, int slot,
                                     const Message* message) noexcept nogil:
    cdef const VoteReplyFields* reply = <const VoteReplyFields*>message.fields
    if raft.role != ROLE_PRE_CANDIDATE or reply.proposed != raft.term + 1:
        return
    if reply.granted:
        raft.granted |= slot_bit(slot)
    else:
        raft.refused |= slot_bit(slot) & ~raft.granted
    tally(raft, out)


cdef void election_on_vote_reply(Raft* raft, Outbox* out, int slot, const Message* message) noexcept nogil:
    cdef const VoteReplyFields* reply = <const VoteReplyFields*>message.fields
    if message.term != raft.term or reply.proposed != raft.term:
        return                         # of the current term only (A-R7)
    tail_heard(raft, slot, reply.last_index, reply.last_term)
    if raft.role != ROLE_CANDIDATE:
        return
    if raft.tail_campaign:
        if tail_decide(raft, out):
            end_tail_campaign(raft, out)
        return
    if reply.granted and mutant(b"votes-counted-twice") and raft.granted & slot_bit(slot):
        slot = (slot + 1) % <int>raft.membership.count
    if reply.granted:
        raft.granted |= slot_bit(slot)
    else:
        raft.refused |= slot_bit(slot) & ~raft.granted
    tally(raft, out)


cdef void end_tail_campaign(Raft* raft, Outbox* out) noexcept nogil:
    """The tail is gone: campaign soon, but not all nodes at the same moment."""
    if raft.tail_campaign:
        election_follow(raft, out, 0)
        raft.election_deadline_ns = raft.now_ns + prng_below(&raft.prng, raft.election_timeout_ns)
