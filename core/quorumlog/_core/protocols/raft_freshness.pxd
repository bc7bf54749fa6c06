"""How old what a node knows may be, for reads of bounded staleness.

A node learns: *all that was acknowledged before `as_of` lies at or below `as_of_index`*, `as_of`
being a time of its own clock.  When a message arrives says nothing about when it left; so a
node's answer to a heartbeat carries a mark, whose time it keeps, and a heartbeat that echoes
the mark surely left later.  With it comes how long ago the leader was sure to lead: the start of
the newest round that a quorum answered.  Durations are measured by one clock each.
"""

from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.engine.progress cimport Progress
from quorumlog._core.protocols.raft_state cimport HeartbeatFields, HeartbeatReplyFields, Raft

from libc.stdint cimport uint64_t

# Leader: fills in what a heartbeat says about it.
cdef void freshness_say(const Raft* raft, const Progress* p, HeartbeatFields* fields) noexcept nogil
cdef void freshness_on_answer(Raft* raft, Progress* p, const HeartbeatReplyFields* reply) noexcept nogil
# Follower.
cdef void freshness_on_heartbeat(Raft* raft, const HeartbeatFields* fields) noexcept nogil
cdef void freshness_answer(Raft* raft, HeartbeatReplyFields* reply) noexcept nogil
# Any node: READ_AS_OF.
cdef void freshness_read(const Raft* raft, Outbox* out, uint64_t read) noexcept nogil
# As of when this node knows, and up to which index; 0: nothing.
cdef uint64_t freshness_as_of(const Raft* raft, index_t* index) noexcept nogil
