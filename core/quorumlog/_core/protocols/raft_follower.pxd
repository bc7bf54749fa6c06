"""What the current leader sends: appends, heartbeats, moved commit indexes."""

from quorumlog._core.base.types cimport index_t, node_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.protocols.raft_state cimport Raft

# The sender leads this term.  False: it can't, somebody else does.
cdef bint follower_acknowledge_leader(Raft* raft, Outbox* out, node_t sender) noexcept nogil
# Tells the leader that the logs agree up to `match`, once that is durable here.
cdef void follower_accept(Raft* raft, Outbox* out, node_t leader, index_t prev_index, index_t match) noexcept nogil
# All of the current term.  False: the peer broke the protocol, nothing was changed.
cdef bint follower_on_append(Raft* raft, Outbox* out, const Message* message) noexcept nogil
cdef bint follower_on_heartbeat(Raft* raft, Outbox* out, const Message* message) noexcept nogil
cdef bint follower_on_commit(Raft* raft, Outbox* out, const Message* message) noexcept nogil
