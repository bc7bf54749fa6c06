"""Heartbeat rounds, and the reads that they confirm; see paxos_reads.pxd.

A read is confirmed by a round of heartbeats that *started after it arrived* (A-R14), acknowledged by a commit
quorum: any such quorum meets every elect quorum, so no elect quorum had promised a higher ballot when the round
began.  Many reads share a round: while one is under way, later reads wait for the next.
A follower does the same with its requests to the leader.
"""

from libc.stdint cimport uint32_t, uint64_t

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.status cimport ERR_NOT_LEADER, ERR_OVERLOADED, OK
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport NODES_MAX, index_t, node_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox, outbox_read
from quorumlog._core.engine.protocol cimport ROLE_LEADER
from quorumlog._core.engine.quorum cimport acked_index
from quorumlog._core.protocols.paxos_records cimport paxos_message
from quorumlog._core.protocols.paxos_state cimport (
    PENDING_READS_MAX, PAXOS_HEARTBEAT, PAXOS_READ_INDEX, PAXOS_READ_INDEX_REPLY, ForwardedRead, BeatFields,
    PendingRead, Paxos, ReadIndexFields)


# Rounds

cdef void reads_begin_round(Paxos* paxos, Outbox* out) noexcept nogil:
    cdef uint32_t slot
    cdef Message* message
    cdef BeatFields* fields
    check(paxos.role == ROLE_LEADER, b"Q-PAXOS-40 only a leader sends heartbeats")
    paxos.beat += 1
    paxos.heartbeat_deadline_ns = paxos.now_ns + paxos.heartbeat_ns
    for slot in range(paxos.membership.count):
        if <int>slot == paxos.self_slot:
            continue
        message = paxos_message(paxos, out, PAXOS_HEARTBEAT, paxos.membership.nodes[slot])
        fields = <BeatFields*>message.fields
        fields.round = paxos.beat
        fields.chosen = paxos.chosen
        fields.sent_ns = paxos.now_ns
        paxos.chosen_sent[slot] = max(paxos.chosen_sent[slot], paxos.chosen)
        paxos.next_at_beat[slot] = paxos.progress[slot].next


cdef uint64_t acked_round(const Paxos* paxos) noexcept nogil:
    cdef index_t rounds[NODES_MAX]
    cdef uint32_t slot
    for slot in range(NODES_MAX):
        rounds[slot] = 0
    for slot in range(paxos.membership.count):
        rounds[slot] = paxos.beat if <int>slot == paxos.self_slot else paxos.progress[slot].round_acked
    return acked_index(&paxos.membership.quorum, rounds)


cdef uint64_t reads_quorum_heard_ns(const Paxos* paxos) noexcept nogil:
    """The same arithmetic over times: a commit quorum was heard at or after this."""
    cdef index_t heard[NODES_MAX]
    cdef uint32_t slot
    for slot in range(NODES_MAX):
        heard[slot] = 0
    for slot in range(paxos.membership.count):
        heard[slot] = paxos.now_ns if <int>slot == paxos.self_slot else paxos.progress[slot].heard_ns
    return acked_index(&paxos.membership.quorum, heard)


cdef void reads_confirm(Paxos* paxos, Outbox* out) noexcept nogil:
    cdef uint64_t acked
    cdef PendingRead* pending
    cdef index_t index
    if paxos.reads_count == 0:
        return
    acked = acked_round(paxos)
    # What earlier leaders had chosen lies at or below what phase 1 found: until that is chosen again, or known to
    # be, no read has an answer (A-R13).
    while paxos.reads_count > 0 and (
            paxos.chosen >= paxos.recovered_last or mutant(b"paxos-read-on-a-fresh-leader")):
        pending = &paxos.reads[paxos.reads_head]
        if pending.round > acked and not mutant(b"paxos-read-without-a-round"):
            break
        index = pending.index if pending.index != 0 else paxos.chosen
        if pending.origin == 0:
            outbox_read(out, pending.read, index, OK)
        else:
            answer(paxos, out, pending.origin, pending.read, index, OK)
        paxos.reads_head = (paxos.reads_head + 1) & (PENDING_READS_MAX - 1)
        paxos.reads_count -= 1
    # What arrived while that round was under way.
    if paxos.reads_count > 0 and acked >= paxos.beat and newest_read_round(paxos) > paxos.beat:
        reads_begin_round(paxos, out)


cdef uint64_t newest_read_round(const Paxos* paxos) noexcept nogil:
    return paxos.reads[(paxos.reads_head + paxos.reads_count - 1) & (PENDING_READS_MAX - 1)].round


# The leader's side

cdef bint add_pending(Paxos* paxos, Outbox* out, uint64_t read, node_t origin) noexcept nogil:
    cdef PendingRead* pending
    if paxos.reads_count == PENDING_READS_MAX:
        return False
    pending = &paxos.reads[(paxos.reads_head + paxos.reads_count) & (PENDING_READS_MAX - 1)]
    pending.read = read
    pending.origin = origin
    pending.index = paxos.chosen if paxos.chosen >= paxos.recovered_last else 0
    pending.round = paxos.beat + (0 if mutant(b"paxos-read-joins-the-round") else 1)
    paxos.reads_count += 1
    # Begin at once if no round is under way, else when it is confirmed (or at the next heartbeat).
    if acked_round(paxos) >= paxos.beat:
        reads_begin_round(paxos, out)
        reads_confirm(paxos, out)       # a single voter confirms alone
    elif mutant(b"paxos-read-without-a-round"):
        reads_confirm(paxos, out)
    return True


cdef void answer(Paxos* paxos, Outbox* out, node_t target, uint64_t request, index_t index,
                 int status) noexcept nogil:
    cdef Message* message = paxos_message(paxos, out, PAXOS_READ_INDEX_REPLY, target)
    cdef ReadIndexFields* fields = <ReadIndexFields*>message.fields
    fields.request = request
    fields.index = index
    fields.status = status


cdef void reads_on_request(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    cdef const ReadIndexFields* asked = <const ReadIndexFields*>message.fields
    if paxos.role != ROLE_LEADER:
        answer(paxos, out, message.sender, asked.request, 0, ERR_NOT_LEADER)
    elif not add_pending(paxos, out, asked.request, message.sender):
        answer(paxos, out, message.sender, asked.request, 0, ERR_OVERLOADED)


# The follower's side

cdef void send_request(Paxos* paxos, Outbox* out) noexcept nogil:
    """One request for all forwarded reads so far."""
    cdef Message* message = paxos_message(paxos, out, PAXOS_READ_INDEX, paxos.leader)
    cdef ReadIndexFields* fields = <ReadIndexFields*>message.fields
    paxos.request += 1
    paxos.request_sent_ns = paxos.now_ns
    fields.request = paxos.request


cdef void reads_propose(Paxos* paxos, Outbox* out, uint64_t read) noexcept nogil:
    cdef ForwardedRead* forwarded
    if paxos.role == ROLE_LEADER:
        if not add_pending(paxos, out, read, 0):
            outbox_read(out, read, 0, ERR_OVERLOADED)
        return
    if paxos.leader == 0:
        outbox_read(out, read, 0, ERR_NOT_LEADER)
        return
    if paxos.forwarded_count == PENDING_READS_MAX:
        outbox_read(out, read, 0, ERR_OVERLOADED)
        return
    forwarded = &paxos.forwarded[(paxos.forwarded_head + paxos.forwarded_count) & (PENDING_READS_MAX - 1)]
    forwarded.read = read
    forwarded.request = paxos.request + 1
    forwarded.expires_ns = paxos.now_ns + 2 * paxos.election_timeout_ns
    paxos.forwarded_count += 1
    if paxos.request_answered == paxos.request:
        send_request(paxos, out)


cdef void pop_forwarded(Paxos* paxos, Outbox* out, index_t index, int status) noexcept nogil:
    check2(paxos.forwarded_count > 0, b"Q-PAXOS-41 an answered read was pending", index, status)
    outbox_read(out, paxos.forwarded[paxos.forwarded_head].read, index, status)
    paxos.forwarded_head = (paxos.forwarded_head + 1) & (PENDING_READS_MAX - 1)
    paxos.forwarded_count -= 1


cdef void reads_on_reply(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    cdef const ReadIndexFields* reply = <const ReadIndexFields*>message.fields
    cdef int status
    if message.sender != paxos.leader or reply.request <= paxos.request_answered:
        return                         # late, or said twice
    if reply.request > paxos.request:
        return                         # asked in an earlier life of this node
    status = OK
    if reply.status != OK:
        status = ERR_OVERLOADED if reply.status == ERR_OVERLOADED else ERR_NOT_LEADER
    paxos.request_answered = reply.request
    # A later request's index is good for earlier reads too: it was taken after they arrived.
    while paxos.forwarded_count > 0 and paxos.forwarded[paxos.forwarded_head].request <= reply.request:
        pop_forwarded(paxos, out, reply.index if status == OK else 0, status)
    if paxos.forwarded_count > 0 and paxos.request_answered == paxos.request:
        send_request(paxos, out)


cdef void reads_on_leader_heard(Paxos* paxos, Outbox* out) noexcept nogil:
    if paxos.forwarded_count > 0 and paxos.now_ns - paxos.request_sent_ns >= 2 * paxos.heartbeat_ns:
        send_request(paxos, out)


cdef void reads_expire(Paxos* paxos, Outbox* out) noexcept nogil:
    while paxos.forwarded_count > 0 and paxos.forwarded[paxos.forwarded_head].expires_ns <= paxos.now_ns:
        pop_forwarded(paxos, out, 0, ERR_NOT_LEADER)


cdef uint64_t reads_deadline_ns(const Paxos* paxos) noexcept nogil:
    return paxos.forwarded[paxos.forwarded_head].expires_ns if paxos.forwarded_count > 0 else 0


cdef void reads_refuse_all(Paxos* paxos, Outbox* out) noexcept nogil:
    while paxos.reads_count > 0:
        # A follower that asked finds out by itself: it loses its leader too, or its reads expire.
        if paxos.reads[paxos.reads_head].origin == 0:
            outbox_read(out, paxos.reads[paxos.reads_head].read, 0, ERR_NOT_LEADER)
        paxos.reads_head = (paxos.reads_head + 1) & (PENDING_READS_MAX - 1)
        paxos.reads_count -= 1
    while paxos.forwarded_count > 0:
        pop_forwarded(paxos, out, 0, ERR_NOT_LEADER)
    # Answers to what was asked so far are of no use to anybody.
    paxos.request_answered = paxos.request
