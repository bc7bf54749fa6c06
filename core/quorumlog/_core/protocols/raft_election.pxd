"""Roles, terms and votes (Ongaro and Ousterhout 2014, 5.2 and 5.4.1; thesis 9.6 for pre-vote)."""

from quorumlog._core.base.types cimport node_t, term_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.protocols.raft_state cimport Raft

# It may not lead: something of its log is faulty, or it listens only.
cdef bint election_barred(const Raft* raft) noexcept nogil
cdef void election_reset_timer(Raft* raft) noexcept nogil
# A follower of `leader` (0: unknown) in the current term.
cdef void election_follow(Raft* raft, Outbox* out, node_t leader) noexcept nogil
# A higher term was seen: take it on, with no vote given and no leader known.
cdef void election_new_term(Raft* raft, Outbox* out, term_t term) noexcept nogil
# The election timer ran out.
cdef void election_timeout(Raft* raft, Outbox* out) noexcept nogil
cdef void election_on_pre_vote(Raft* raft, Outbox* out, int slot, const Message* message) noexcept nogil
cdef void election_on_pre_vote_reply(Raft* raft, Outbox* out, int slot, const Message* message) noexcept nogil
cdef void election_on_vote(Raft* raft, Outbox* out, int slot, const Message* message) noexcept nogil
cdef void election_on_vote_reply(Raft* raft, Outbox* out, int slot, const Message* message) noexcept nogil
# The leader hands over.  False: the peer broke the protocol.
cdef bint election_on_timeout_now(Raft* raft, Outbox* out, const Message* message) noexcept nogil
# The connection to the leader broke: it has most likely died.
cdef void election_on_leader_lost(Raft* raft) noexcept nogil
# The own vote may have become durable.
cdef void election_on_flushed(Raft* raft, Outbox* out) noexcept nogil
# Leader: steps down unless a commit quorum was heard within an election timeout.
cdef bint election_check_quorum(Raft* raft, Outbox* out) noexcept nogil
