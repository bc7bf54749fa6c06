"""The membership in force: that of the newest record in the log, committed or not (thesis 4.1).

A record counts from the moment it is appended, and no more from the moment it is truncated.
Of a log at most one record can be uncommitted, since a leader appends none before an entry of its own term is
committed (A-M1, A-M2); so one step back is all that is ever needed, and the record itself says where to.
"""

from quorumlog._core.base.types cimport index_t, node_t
from quorumlog._core.engine.membership cimport Roster
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.protocols.raft_state cimport Raft, slot_bit
from quorumlog._core.storage.batch cimport Batch

# Is it a record that a log may hold?
cdef bint membership_well_formed(const Batch* batch) noexcept nogil
# A record lies in the log now.
cdef void membership_appended(Raft* raft, Outbox* out, const Batch* batch) noexcept nogil
# May everything from `first` on be dropped?  False: two records would go, and one of them was committed.
cdef bint membership_may_truncate(const Raft* raft, index_t first) noexcept nogil
cdef void membership_truncated(Raft* raft, Outbox* out, index_t first) noexcept nogil
# A roster from outside the log is in force: a recovered one.
cdef void membership_take(Raft* raft, const Roster* roster, index_t index) noexcept nogil

# Somebody who is no member asks for votes: tells him so if he can't know it (A-M12).  True: told.
cdef bint membership_refuse_stranger(Raft* raft, Outbox* out, node_t sender, index_t knows) noexcept nogil
# "You are removed": counts only if it was later than what this node knows of (A-M13).
cdef void membership_on_removed(Raft* raft, Outbox* out, const Message* message) noexcept nogil
# Leader, when a record was committed: tells those that it removed.
cdef void membership_tell_removed(Raft* raft, Outbox* out) noexcept nogil


cdef inline bint membership_is_voter(const Raft* raft) noexcept nogil:
    """This node votes, and may lead."""
    return (raft.membership.voters & slot_bit(raft.self_slot)) != 0
