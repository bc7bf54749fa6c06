"""Heartbeat rounds and the reads that they confirm (engine/reads), in Paxos."""

from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.protocols.paxos_state cimport Paxos

from libc.stdint cimport uint64_t

# Leader: a new round to all peers.
cdef void reads_begin_round(Paxos* paxos, Outbox* out) noexcept nogil
# Leader: answers what the acknowledged rounds confirm; begins the next round if reads wait for it.
cdef void reads_confirm(Paxos* paxos, Outbox* out) noexcept nogil
# Leader: when a commit quorum, oneself included, was last heard.
cdef uint64_t reads_quorum_heard_ns(const Paxos* paxos) noexcept nogil
# EVENT_READ, in any role.
cdef void reads_propose(Paxos* paxos, Outbox* out, uint64_t read) noexcept nogil
# Leader: a follower asks.
cdef void reads_on_request(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil
# Follower: the leader answers.
cdef void reads_on_reply(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil
# Follower: the leader was heard; asks again if the last request seems lost.
cdef void reads_on_leader_heard(Paxos* paxos, Outbox* out) noexcept nogil
