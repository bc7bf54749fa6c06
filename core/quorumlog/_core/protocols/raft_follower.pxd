"""What the current leader sends: appends, heartbeats, moved commit indexes."""

from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.protocols.raft_state cimport Raft

# All of the current term.  False: the peer broke the protocol, nothing was changed.
cdef bint follower_on_append(Raft* raft, Outbox* out, const Message* message) noexcept nogil
cdef bint follower_on_heartbeat(Raft* raft, Outbox* out, const Message* message) noexcept nogil
cdef bint follower_on_commit(Raft* raft, Outbox* out, const Message* message) noexcept nogil
