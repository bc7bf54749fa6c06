"""Listening nodes and the barrier that admits them; see raft_admission.pxd."""

from libc.stdint cimport uint64_t

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.prng cimport prng_next
from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.protocol cimport ROLE_FOLLOWER, ROLE_LEADER
from quorumlog._core.protocols.raft_records cimport raft_message, raft_save_hard_state
from quorumlog._core.protocols.raft_replication cimport replication_barrier
from quorumlog._core.protocols.raft_state cimport (
    RAFT_BARRIER, RAFT_BARRIER_REPLY, SPARES_PER_STEP, BarrierFields)


cdef void admission_new_term(Raft* raft) noexcept nogil:
    raft.barrier = 0
    raft.barrier_request = 0


cdef void admission_ask(Raft* raft, Outbox* out) noexcept nogil:
    cdef Message* message
    if raft.barrier != 0 or raft.leader == 0:
        return
    if raft.barrier_request == 0:
        # Of this life alone: an answer to an earlier one's question is no barrier for it.
        raft.barrier_request = (prng_next(&raft.prng) ^ raft.now_ns) | 1
    message = raft_message(raft, out, RAFT_BARRIER, raft.leader)
    (<BarrierFields*>message.fields).request = raft.barrier_request


cdef void admission_on_barrier(Raft* raft, Outbox* out, int slot, const Message* message) noexcept nogil:
    cdef uint64_t request = (<const BarrierFields*>message.fields).request
    cdef Message* reply
    check(raft.role == ROLE_LEADER, b"Q-RAFT-80 only a leader sets a barrier")
    raft.peer_listening[slot] = True
    if raft.barrier_asked[slot] != request:
        raft.counted[slot] = 0
        if raft.barriers[slot] > raft.commit:
            return                     # one at a time: it asks again
        raft.barrier_asked[slot] = request
        raft.barriers[slot] = replication_barrier(raft, out)
    if raft.commit < raft.barriers[slot] and not mutant(b"barrier-at-once"):
        return                         # it asks again
    reply = raft_message(raft, out, RAFT_BARRIER_REPLY, message.sender)
    (<BarrierFields*>reply.fields).request = request
    (<BarrierFields*>reply.fields).index = raft.barriers[slot] if not mutant(b"barrier-at-once") else 1


cdef bint admission_on_reply(Raft* raft, Outbox* out, const Message* message) noexcept nogil:
    cdef const BarrierFields* fields = <const BarrierFields*>message.fields
    if not raft.listening or message.sender != raft.leader or fields.request != raft.barrier_request:
        return True                    # late
    if fields.index == 0:
        return False
    raft.barrier = fields.index
    return True


cdef bint holds_the_barrier(const Raft* raft) noexcept nogil:
    cdef index_t barrier = raft.barrier
    return barrier != 0 and raft.verified >= barrier and raft.log.flushed >= barrier


cdef void admission_turn(Raft* raft, Outbox* out) noexcept nogil:
    # Without a leader (its connection was lost) not now: the vote to be saved is one for whoever leads.
    if not holds_the_barrier(raft) or raft.leader == 0 or raft.faults.count > 0 \
            or raft.spare_count <= SPARES_PER_STEP:
        return
    check2(raft.role == ROLE_FOLLOWER and raft.leader != 0,
           b"Q-RAFT-81 who is admitted follows the leader who admits it", raft.role, raft.term)
    raft.listening = False
    raft.unproved_last = 0             # before the barrier, so the leader's log has settled it
    # It may have voted in this term before: from here on for nobody but who leads it.
    raft_save_hard_state(raft, out, raft.term, raft.vote if raft.vote != 0 else raft.leader)
