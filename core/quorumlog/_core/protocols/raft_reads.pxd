"""Heartbeat rounds and the reads that they confirm (engine/reads), in Raft."""

from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.engine.protocol cimport Event
from quorumlog._core.protocols.raft_state cimport Raft

from libc.stdint cimport uint64_t

# Leader: a new round to all peers.
cdef void reads_begin_round(Raft* raft, Outbox* out) noexcept nogil
# Leader: answers what the acknowledged rounds confirm; begins the next round if reads wait for it.
cdef void reads_confirm(Raft* raft, Outbox* out) noexcept nogil
# Leader: when a commit quorum, oneself included, was last heard.
cdef uint64_t reads_quorum_heard_ns(const Raft* raft) noexcept nogil
# EVENT_READ, in any role.
cdef void reads_propose(Raft* raft, Outbox* out, const Event* event) noexcept nogil
# Leader: a follower asks.
cdef void reads_on_request(Raft* raft, Outbox* out, const Message* message) noexcept nogil
# Follower: the leader answers.
cdef void reads_on_reply(Raft* raft, Outbox* out, const Message* message) noexcept nogil
# Follower: the leader was heard; asks again if the last request seems lost.
cdef void reads_on_leader_heard(Raft* raft, Outbox* out) noexcept nogil
