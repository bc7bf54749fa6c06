"""Handing over leadership (thesis 3.10), for one of three reasons.

- Somebody asks for it (EVENT_TRANSFER).
- A node of a higher priority is caught up.
- The own disk flushes nothing any more: this node's log is of no use to the group, and what piles up in
  front of its disk would in the end stop everybody (hashicorp/raft 503, 612).

The leader takes no proposals meanwhile, which are held where they were made.  When the target
has acknowledged the whole log it is told TIMEOUT_NOW: it campaigns at once, and whoever
heard the leader just now may vote for it (A-R16).  After an election timeout the leader gives up the attempt and goes
on, whatever became of it; a target that wins later is a leader like any other.
"""

from quorumlog._core.base.types cimport node_t
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.protocols.raft_state cimport Raft

# A Status: OK (it is under way, or the node leads already), ERR_NOT_LEADER, ERR_USAGE (no such voter), ERR_BUSY (to
# somebody else), ERR_CONNECTION_LOST (nobody is there to take over).
cdef int transfer_begin(Raft* raft, Outbox* out, node_t target) noexcept nogil
# Begins a step: an attempt that took too long is over.
cdef void transfer_expire(Raft* raft) noexcept nogil
# Leader, ends a step: tells the target if it is caught up, in each round anew.
cdef void transfer_turn(Raft* raft, Outbox* out) noexcept nogil
# Leader, with each round: a higher priority that is caught up takes over.
cdef void transfer_to_priority(Raft* raft, Outbox* out) noexcept nogil
# A new leader / the end of leading.
cdef void transfer_start(Raft* raft) noexcept nogil
cdef void transfer_forget(Raft* raft) noexcept nogil
cdef bint disk_stands_still(const Raft* raft) noexcept nogil
# Leader whose disk stands still: tells the best successor, if one is caught up.
cdef void transfer_at_once(Raft* raft, Outbox* out) noexcept nogil


cdef inline bint waits_for_disk(const Raft* raft) noexcept nogil:
    return raft.log.flushed < raft.log.last or raft.hard_state_wsn > raft.flushed_wsn


cdef inline void disk_look(Raft* raft) noexcept nogil:
    """Begins a step: notes since when the disk is waited for."""
    if not waits_for_disk(raft):
        raft.disk_moved_ns = raft.now_ns
