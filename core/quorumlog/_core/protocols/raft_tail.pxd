"""A tail that recovery could not prove: when it may be dropped (DESIGN section 5, rule 4)."""

from quorumlog._core.base.types cimport index_t, term_t
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.protocols.raft_state cimport Raft

# Does a tail that is neither repaired nor dropped stand in the way of campaigns?
cdef bint tail_unproved(const Raft* raft) noexcept nogil
# A new term: what was said in an earlier one counts no more.
cdef void tail_forget(Raft* raft) noexcept nogil
# A voter said, in the current term, that its intact log ends at `last`.
cdef void tail_heard(Raft* raft, int slot, index_t last, term_t last_term) noexcept nogil
# Drops the tail if no commit quorum can have it; True if it is gone.
cdef bint tail_decide(Raft* raft, Outbox* out) noexcept nogil
# The first batch of a leader's append is about to land behind the log's end.
cdef void tail_before_append(Raft* raft, Outbox* out) noexcept nogil
# A leader's batch up to `last` with `term` is in the log: does it settle the matter?
cdef void tail_after_append(Raft* raft, index_t last, term_t term) noexcept nogil
