"""See paxos_reads.pxd; which reads wait, and what confirms them: engine/reads."""

from libc.stdint cimport uint32_t, uint64_t

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.status cimport ERR_NOT_LEADER, ERR_OVERLOADED, OK
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport index_t, node_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox, outbox_read
from quorumlog._core.engine.protocol cimport ROLE_LEADER
from quorumlog._core.engine.reads cimport (
    PendingRead, ReadIndexFields, reads_add, reads_answered, reads_ask, reads_forward, reads_take, reads_unanswered,
    reads_wait_beyond)
from quorumlog._core.engine.rounds cimport rounds_acked, rounds_heard_ns
from quorumlog._core.protocols.paxos_records cimport paxos_message
from quorumlog._core.protocols.paxos_state cimport (
    PAXOS_HEARTBEAT, PAXOS_READ_INDEX, PAXOS_READ_INDEX_REPLY, BeatFields, Paxos)


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
    return rounds_acked(&paxos.membership, paxos.progress, paxos.self_slot, paxos.beat)


cdef uint64_t reads_quorum_heard_ns(const Paxos* paxos) noexcept nogil:
    return rounds_heard_ns(&paxos.membership, paxos.progress, paxos.self_slot, paxos.now_ns)


cdef void reads_confirm(Paxos* paxos, Outbox* out) noexcept nogil:
    cdef PendingRead read
    cdef uint64_t acked
    cdef index_t index
    if paxos.reads.pending_count == 0:
        return
    acked = acked_round(paxos)
    # What earlier leaders had chosen lies at or below what phase 1 found: until that is chosen again, or known to
    # be, no read has an answer (A-R13).
    if paxos.chosen >= paxos.recovered_last or mutant(b"paxos-read-on-a-fresh-leader"):
        while reads_take(&paxos.reads, acked if not mutant(b"paxos-read-without-a-round") else <uint64_t>-1, &read):
            index = read.index if read.index != 0 else paxos.chosen
            if read.origin == 0:
                outbox_read(out, read.read, index, OK)
            else:
                answer(paxos, out, read.origin, read.read, index, OK)
    # What arrived while that round was under way.
    if acked >= paxos.beat and reads_wait_beyond(&paxos.reads, paxos.beat):
        reads_begin_round(paxos, out)


# The leader's side

cdef bint add_pending(Paxos* paxos, Outbox* out, uint64_t read, node_t origin) noexcept nogil:
    if not reads_add(&paxos.reads, read, origin, paxos.chosen if paxos.chosen >= paxos.recovered_last else 0,
                     paxos.beat + (0 if mutant(b"paxos-read-joins-the-round") else 1)):
        return False
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

cdef void ask(Paxos* paxos, Outbox* out) noexcept nogil:
    cdef Message* message = paxos_message(paxos, out, PAXOS_READ_INDEX, paxos.leader)
    reads_ask(&paxos.reads, paxos.now_ns, <ReadIndexFields*>message.fields)


cdef void reads_propose(Paxos* paxos, Outbox* out, uint64_t read) noexcept nogil:
    if paxos.role == ROLE_LEADER:
        if not add_pending(paxos, out, read, 0):
            outbox_read(out, read, 0, ERR_OVERLOADED)
    elif paxos.leader == 0:
        outbox_read(out, read, 0, ERR_NOT_LEADER)
    elif reads_forward(&paxos.reads, out, read, paxos.now_ns + 2 * paxos.election_timeout_ns, False):
        ask(paxos, out)


cdef void reads_on_reply(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil:
    if message.sender == paxos.leader and reads_answered(&paxos.reads, out, <const ReadIndexFields*>message.fields):
        ask(paxos, out)


cdef void reads_on_leader_heard(Paxos* paxos, Outbox* out) noexcept nogil:
    if reads_unanswered(&paxos.reads, paxos.now_ns, 2 * paxos.heartbeat_ns):
        ask(paxos, out)
