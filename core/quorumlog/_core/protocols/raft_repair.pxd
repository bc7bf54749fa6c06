"""Repair from peers (DESIGN section 5, rule 10): batches of the own log that are bad on this disk.

Such a batch counts as an entry of the log wherever logs are compared, so this node votes as
if it had it.  Until it is repaired the node doesn't campaign, acknowledges nothing at or
behind it, and neither serves nor sends it.  Any peer in any role is asked for it by index
and term, which name one batch in the whole group (there was one leader in that term);
its bytes were verified where they were read and are again where they arrive.
"""

from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.engine.protocol cimport Event
from quorumlog._core.protocols.raft_state cimport Raft

from libc.stdint cimport uint64_t

# A batch that holds `first` (to `last`, 0: not known) was read and found bad.
cdef void repair_found(Raft* raft, index_t first, index_t last) noexcept nogil
# The last index up to `index` that may be acknowledged.
cdef index_t repair_intact(const Raft* raft, index_t index) noexcept nogil
cdef bint repair_blocks(const Raft* raft, index_t index) noexcept nogil          # not to be read or sent
# A peer asks, of any term; and answers.  False: it broke the protocol.
cdef bint repair_on_fetch(Raft* raft, Outbox* out, int slot, const Message* message) noexcept nogil
cdef bint repair_on_reply(Raft* raft, Outbox* out, int slot, const Message* message) noexcept nogil
# What a peer asked for was read.
cdef void repair_on_fetched(Raft* raft, Outbox* out, const Event* event) noexcept nogil
# Repairs may have become durable: True if all is intact now that was not.
cdef bint repair_on_flushed(Raft* raft) noexcept nogil
# Ends a step: asks whoever is to be asked.
cdef void repair_turn(Raft* raft, Outbox* out) noexcept nogil
cdef uint64_t repair_deadline_ns(const Raft* raft) noexcept nogil                # 0: none
# A leader that could not repair within an election timeout has to step down.
cdef bint repair_overdue(const Raft* raft) noexcept nogil
