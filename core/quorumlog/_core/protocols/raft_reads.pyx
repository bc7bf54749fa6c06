"""See raft_reads.pxd; which reads wait, and what confirms them: engine/reads."""

from libc.stdint cimport uint32_t, uint64_t

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.status cimport ERR_NOT_LEADER, ERR_OVERLOADED, OK
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport index_t, node_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox, outbox_read
from quorumlog._core.engine.protocol cimport READ_AS_OF, READ_BY_LEASE, READ_BY_ROUND, ROLE_LEADER, Event
from quorumlog._core.engine.reads cimport (
    PendingRead, ReadIndexFields, reads_add, reads_answered, reads_ask, reads_forward, reads_take, reads_unanswered,
    reads_wait_beyond)
from quorumlog._core.engine.rounds cimport rounds_acked, rounds_heard_ns
from quorumlog._core.protocols.raft_freshness cimport freshness_read, freshness_say
from quorumlog._core.protocols.raft_lease cimport lease_held
from quorumlog._core.protocols.raft_records cimport raft_message
from quorumlog._core.protocols.raft_state cimport (
    RAFT_HEARTBEAT, RAFT_READ_INDEX, RAFT_READ_INDEX_REPLY, HeartbeatFields, Raft, is_peer)


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
    return rounds_acked(&raft.membership, raft.progress, raft.self_slot, raft.round)


cdef uint64_t reads_quorum_heard_ns(const Raft* raft) noexcept nogil:
    return rounds_heard_ns(&raft.membership, raft.progress, raft.self_slot, raft.now_ns)


cdef void reads_confirm(Raft* raft, Outbox* out) noexcept nogil:
    cdef PendingRead read
    cdef uint64_t acked
    cdef index_t index
    if raft.reads.pending_count == 0:
        return
    acked = acked_round(raft)
    # A fresh leader's commit index may lie behind its predecessor's until an entry of its own
    # term is committed: until then no read has an answer (A-R13).
    if raft.commit >= raft.term_first or mutant(b"read-on-a-fresh-leader"):
        while reads_take(&raft.reads, acked if not mutant(b"read-without-a-round") else <uint64_t>-1, &read):
            index = read.index if read.index != 0 else raft.commit
            if read.origin == 0:
                outbox_read(out, read.read, index, OK)
            else:
                answer(raft, out, read.origin, read.read, index, OK)
    # What arrived while that round was under way.
    if acked >= raft.round and reads_wait_beyond(&raft.reads, raft.round):
        reads_begin_round(raft, out)


# The leader's side

cdef bint add_pending(Raft* raft, Outbox* out, uint64_t read, node_t origin) noexcept nogil:
    if not reads_add(&raft.reads, read, origin, raft.commit if raft.commit >= raft.term_first else 0,
                     raft.round + (0 if mutant(b"read-joins-the-round") else 1)):
        return False
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


cdef void propose_here(Raft* raft, Outbox* out, const Event* event) noexcept nogil:
    if event.read_kind == READ_BY_LEASE and lease_held(raft):
        outbox_read(out, event.read, raft.commit, OK)
    elif not add_pending(raft, out, event.read, 0):
        outbox_read(out, event.read, 0, ERR_OVERLOADED)


# The follower's side

cdef void ask(Raft* raft, Outbox* out) noexcept nogil:
    cdef Message* message = raft_message(raft, out, RAFT_READ_INDEX, raft.leader)
    reads_ask(&raft.reads, raft.now_ns, <ReadIndexFields*>message.fields)


cdef void reads_propose(Raft* raft, Outbox* out, const Event* event) noexcept nogil:
    if event.read_kind == READ_AS_OF:
        freshness_read(raft, out, event.read)
    elif raft.role == ROLE_LEADER:
        propose_here(raft, out, event)
    elif raft.leader == 0:
        outbox_read(out, event.read, 0, ERR_NOT_LEADER)
    elif reads_forward(&raft.reads, out, event.read, raft.now_ns + 2 * raft.election_timeout_ns,
                       event.read_kind != READ_BY_ROUND):
        ask(raft, out)


cdef void reads_on_reply(Raft* raft, Outbox* out, const Message* message) noexcept nogil:
    if message.sender == raft.leader and reads_answered(&raft.reads, out, <const ReadIndexFields*>message.fields):
        ask(raft, out)


cdef void reads_on_leader_heard(Raft* raft, Outbox* out) noexcept nogil:
    if reads_unanswered(&raft.reads, raft.now_ns, 2 * raft.heartbeat_ns):
        ask(raft, out)
