"""Changes of the membership, driven by the leader to their end (thesis 4.3).

A request says what some nodes are to become.  It becomes a *simple* record with goals: new nodes
are learners first.  When all that are to vote have caught up, a *joint* record follows, and when that is
committed, the one that leaves it.  The goals lie in the records, so whoever leads next goes on
where the last one stopped (A-M4, A-M5).  One record at a time, and none before an entry of the
leader's own term is committed (A-M1).
"""

from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.protocols.raft_state cimport Raft
from quorumlog._core.storage.batch cimport Batch

# A Status: OK (it is so, and committed), ERR_AGAIN (on its way: ask again), ERR_BUSY (another record is not committed,
# or leadership moves), ERR_NOT_LEADER, ERR_USAGE (no voter would be left, too many nodes, no request at all).
cdef int change_begin(Raft* raft, Outbox* out, const Batch* request) noexcept nogil
# Leader, ends a step: whatever can be done next.
cdef void change_turn(Raft* raft, Outbox* out) noexcept nogil
