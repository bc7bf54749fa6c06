"""Linearizable reads by read index (thesis section 6.4), and the rounds they share.

A read is confirmed by a round of heartbeats that *started after it arrived* (A-R14),
acknowledged by a commit quorum: any such quorum meets every elect quorum, so nobody
else was elected before the round began.  Many reads share a round: while one is
under way, later reads wait for the next, which begins when the first is confirmed.
A follower does the same with its requests to the leader.
"""

from libc.stdint cimport uint32_t, uint64_t

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.status cimport ERR_NOT_LEADER, ERR_OVERLOADED, OK
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport NODES_MAX, index_t, node_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox, outbox_read
from quorumlog._core.engine.protocol cimport READ_AS_OF, READ_BY_LEASE, READ_BY_ROUND, ROLE_LEADER, Event
from quorumlog._core.engine.quorum cimport acked_index
from quorumlog._core.protocols.raft_freshness cimport freshness_read, freshness_say
from quorumlog._core.protocols.raft_lease cimport lease_held
from quorumlog._core.protocols.raft_records cimport raft_message
from quorumlog._core.protocols.raft_state cimport (
    PENDING_READS_MAX, RAFT_HEARTBEAT, RAFT_READ_INDEX, RAFT_READ_INDEX_REPLY, ForwardedRead, HeartbeatFields,
    PendingRead, Raft, ReadIndexFields, is_peer)


# Rounds

cdef void reads_begin_round(Raft* raft, Outbox* out) noexcept nogil:
    cdef uint32_t slot
    cdef Message* message
    cdef HeartbeatFields* fields
    check(raft.role == ROLE_LEADER, b"Q-RAFT-10 only a leader sends heartbeats")
    raft.round += 1
    raft.heartbeat_deadline_ns = raft.now_ns + raft.heartbeat_ns
    for slot in range(raft.membership.count):
        if not is_peer(raft, <int>slot):
            continue
        message = raft_message(raft, out, RAFT_HEARTBEAT, raft.membership.nodes[slot])
        fields = <HeartbeatFields*>message.fields
        fields.round = raft.round
        # Never beyond what this peer is known to hold (A-R2); it checks again for itself.
        fields.commit = min(raft.commit, raft.progress[slot].match)
        fields.sent_ns = raft.now_ns
        freshness_say(raft, &raft.progress[slot], fields)
        raft.commit_sent[slot] = max(raft.commit_sent[slot], fields.commit)


cdef uint64_t acked_round(const Raft* raft) noexcept nogil:
    cdef index_t rounds[NODES_MAX]
    cdef uint32_t slot
    for slot in range(NODES_MAX):
        rounds[slot] = 0
    for slot in range(raft.membership.count):
        rounds[slot] = raft.round if <int>slot == raft.self_slot else raft.progress[slot].round_acked
    return acked_index(&raft.membership.quorum, rounds)


cdef uint64_t reads_quorum_heard_ns(const Raft* raft) noexcept nogil:
    """The same arithmetic over times: a commit quorum was heard at or after this."""
    cdef index_t heard[NODES_MAX]
    cdef uint32_t slot
    for slot in range(NODES_MAX):
        heard[slot] = 0
    for slot in range(raft.membership.count):
        heard[slot] = raft.now_ns if <int>slot == raft.self_slot else raft.progress[slot].heard_ns
    return acked_index(&raft.membership.quorum, heard)


cdef void reads_confirm(Raft* raft, Outbox* out) noexcept nogil:
    cdef uint64_t acked
    cdef PendingRead* pending
    cdef index_t index
    if raft.reads_count == 0:
        return
    acked = acked_round(raft)
    # A fresh leader's commit index may lie behind its predecessor's until an entry of its own
    # term is committed: until then no read has an answer (A-R13).
    while raft.reads_count > 0 and (
            raft.commit >= raft.term_first or mutant(b"read-on-a-fresh-leader")):
        pending = &raft.reads[raft.reads_head]
        if pending.round > acked and not mutant(b"read-without-a-round"):
            break
        index = pending.index if pending.index != 0 else raft.commit
        if pending.origin == 0:
            outbox_read(out, pending.read, index, OK)
        else:
            answer(raft, out, pending.origin, pending.read, index, OK)
        raft.reads_head = (raft.reads_head + 1) & (PENDING_READS_MAX - 1)
        raft.reads_count -= 1
    # What arrived while that round was under way.
    if raft.reads_count > 0 and acked >= raft.round and newest_read_round(raft) > raft.round:
        reads_begin_round(raft, out)


cdef uint64_t newest_read_round(const Raft* raft) noexcept nogil:
    return raft.reads[(raft.reads_head + raft.reads_count - 1) & (PENDING_READS_MAX - 1)].round


# The leader's side

cdef bint add_pending(Raft* raft, Outbox* out, uint64_t read, node_t origin) noexcept nogil:
    cdef PendingRead* pending
    if raft.reads_count == PENDING_READS_MAX:
        return False
    pending = &raft.reads[(raft.reads_head + raft.reads_count) & (PENDING_READS_MAX - 1)]
    pending.read = read
    pending.origin = origin
    pending.index = raft.commit if raft.commit >= raft.term_first else 0
    pending.round = raft.round + (0 if mutant(b"read-joins-the-round") else 1)
    raft.reads_count += 1
    # Begin at once if no round is under way, else when it is confirmed (or at the next heartbeat).
    if acked_round(raft) >= raft.round:
        reads_begin_round(raft, out)
        reads_confirm(raft, out)       # a single voter confirms alone
    elif mutant(b"read-without-a-round"):
        reads_confirm(raft, out)
    return True


cdef void answer(Raft* raft, Outbox* out, node_t target, uint64_t request, index_t index,
                 int status) noexcept nogil:
    cdef Message* message = raft_message(raft, out, RAFT_READ_INDEX_REPLY, target)
    cdef ReadIndexFields* fields = <ReadIndexFields*>message.fields
    fields.request = request
    fields.index = index
    fields.status = status


cdef void reads_on_request(Raft* raft, Outbox* out, const Message* message) noexcept nogil:
    cdef const ReadIndexFields* asked = <const ReadIndexFields*>message.fields
    if raft.role != ROLE_LEADER:
        answer(raft, out, message.sender, asked.request, 0, ERR_NOT_LEADER)
    elif asked.by_lease != 0 and lease_held(raft):
        answer(raft, out, message.sender, asked.request, raft.commit, OK)
    elif not add_pending(raft, out, asked.request, message.sender):
        answer(raft, out, message.sender, asked.request, 0, ERR_OVERLOADED)


# The follower's side

cdef ForwardedRead* forwarded_at(Raft* raft, uint64_t place) noexcept nogil:
    return &raft.forwarded[(raft.forwarded_head + place) & (PENDING_READS_MAX - 1)]


cdef void send_request(Raft* raft, Outbox* out) noexcept nogil:
    """One request for all forwarded reads so far; by lease only if that is good enough for each."""
    cdef Message* message = raft_message(raft, out, RAFT_READ_INDEX, raft.leader)
    cdef ReadIndexFields* fields = <ReadIndexFields*>message.fields
    cdef uint64_t place = 0
    while place < raft.forwarded_count and forwarded_at(raft, place).by_lease:
        place += 1
    raft.request += 1
    raft.request_sent_ns = raft.now_ns
    fields.request = raft.request
    fields.by_lease = place == raft.forwarded_count


cdef void propose_here(Raft* raft, Outbox* out, const Event* event) noexcept nogil:
    if event.read_kind == READ_BY_LEASE and lease_held(raft):
        outbox_read(out, event.read, raft.commit, OK)
    elif not add_pending(raft, out, event.read, 0):
        outbox_read(out, event.read, 0, ERR_OVERLOADED)


cdef void reads_propose(Raft* raft, Outbox* out, const Event* event) noexcept nogil:
    cdef ForwardedRead* forwarded
    if event.read_kind == READ_AS_OF:
        freshness_read(raft, out, event.read)
        return
    if raft.role == ROLE_LEADER:
        propose_here(raft, out, event)
        return
    if raft.leader == 0:
        outbox_read(out, event.read, 0, ERR_NOT_LEADER)
        return
    if raft.forwarded_count == PENDING_READS_MAX:
        outbox_read(out, event.read, 0, ERR_OVERLOADED)
        return
    forwarded = forwarded_at(raft, raft.forwarded_count)
    forwarded.read = event.read
    forwarded.request = raft.request + 1
    forwarded.expires_ns = raft.now_ns + 2 * raft.election_timeout_ns
    forwarded.by_lease = event.read_kind != READ_BY_ROUND
    raft.forwarded_count += 1
    if raft.request_answered == raft.request:
        send_request(raft, out)


cdef void pop_forwarded(Raft* raft, Outbox* out, index_t index, int status) noexcept nogil:
    check2(raft.forwarded_count > 0, b"Q-RAFT-11 an answered read was pending", index, status)
    outbox_read(out, raft.forwarded[raft.forwarded_head].read, index, status)
    raft.forwarded_head = (raft.forwarded_head + 1) & (PENDING_READS_MAX - 1)
    raft.forwarded_count -= 1


cdef void reads_on_reply(Raft* raft, Outbox* out, const Message* message) noexcept nogil:
    cdef const ReadIndexFields* reply = <const ReadIndexFields*>message.fields
    cdef int status
    if message.sender != raft.leader or reply.request <= raft.request_answered:
        return                         # late, or said twice
    if reply.request > raft.request:
        return                         # asked in an earlier life of this node
    status = OK
    if reply.status != OK:
        status = ERR_OVERLOADED if reply.status == ERR_OVERLOADED else ERR_NOT_LEADER
    raft.request_answered = reply.request
    # A later request's index is good for earlier reads too: it was taken after they arrived.
    while raft.forwarded_count > 0 and raft.forwarded[raft.forwarded_head].request <= reply.request:
        pop_forwarded(raft, out, reply.index if status == OK else 0, status)
    if raft.forwarded_count > 0 and raft.request_answered == raft.request:
        send_request(raft, out)


cdef void reads_on_leader_heard(Raft* raft, Outbox* out) noexcept nogil:
    if raft.forwarded_count > 0 and raft.now_ns - raft.request_sent_ns >= 2 * raft.heartbeat_ns:
        send_request(raft, out)


cdef void reads_expire(Raft* raft, Outbox* out) noexcept nogil:
    while raft.forwarded_count > 0 and raft.forwarded[raft.forwarded_head].expires_ns <= raft.now_ns:
        pop_forwarded(raft, out, 0, ERR_NOT_LEADER)


cdef uint64_t reads_deadline_ns(const Raft* raft) noexcept nogil:
    return raft.forwarded[raft.forwarded_head].expires_ns if raft.forwarded_count > 0 else 0


cdef void reads_refuse_all(Raft* raft, Outbox* out) noexcept nogil:
    while raft.reads_count > 0:
        # A follower that asked finds out by itself: it loses its leader too, or its reads expire.
        if raft.reads[raft.reads_head].origin == 0 and not mutant(b"reads-forgotten"):
            outbox_read(out, raft.reads[raft.reads_head].read, 0, ERR_NOT_LEADER)
        raft.reads_head = (raft.reads_head + 1) & (PENDING_READS_MAX - 1)
        raft.reads_count -= 1
    while raft.forwarded_count > 0:
        pop_forwarded(raft, out, 0, ERR_NOT_LEADER)
    # Answers to what was asked so far are of no use to anybody.
    raft.request_answered = raft.request
