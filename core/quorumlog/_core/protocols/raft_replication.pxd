"""The leader: proposes, sends, counts acknowledgements, commits (paper 5.3 and 5.4.2)."""

from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.engine.protocol cimport Event
from quorumlog._core.protocols.raft_state cimport Raft
from quorumlog._core.storage.batch cimport Batch

# A leader of a new term: fresh progress, its blank batch, the first appends and heartbeats.
cdef void replication_start(Raft* raft, Outbox* out) noexcept nogil
# EVENT_PROPOSE; takes over the reference.
cdef void replication_propose(Raft* raft, Outbox* out, const Event* event) noexcept nogil
# Tells of commits that no append has carried meanwhile.
cdef void replication_tell_commits(Raft* raft, Outbox* out) noexcept nogil
# Sends what windows and outbox allow.
cdef void replication_send(Raft* raft, Outbox* out, int slot) noexcept nogil
cdef void replication_send_all(Raft* raft, Outbox* out) noexcept nogil
# Commits what a commit quorum has made durable, and tells those whose callers wait at once.
cdef void replication_commit(Raft* raft, Outbox* out) noexcept nogil
# Leader: a batch of its own behind everything, stamped.
cdef void replication_append(Raft* raft, Outbox* out, Batch* batch) noexcept nogil
# Leader: a blank batch behind everything; its index.
cdef index_t replication_barrier(Raft* raft, Outbox* out) noexcept nogil
# Answers; False: the peer broke the protocol.
cdef bint replication_on_append_reply(Raft* raft, Outbox* out, int slot,
                                      const Message* message) noexcept nogil
cdef bint replication_on_heartbeat_reply(Raft* raft, Outbox* out, int slot,
                                         const Message* message) noexcept nogil
cdef void replication_on_fetched(Raft* raft, Outbox* out, int slot, const Event* event) noexcept nogil
cdef void replication_on_reachable(Raft* raft, Outbox* out, int slot, bint reachable) noexcept nogil
# The commit index moves up to `index`, which any role may learn.
cdef void replication_commit_to(Raft* raft, index_t index) noexcept nogil
# The largest end of a batch in memory at or before `index`; `index` itself where nothing is in memory.
cdef index_t replication_batch_end(const Raft* raft, index_t index) noexcept nogil
