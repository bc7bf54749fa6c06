"""The leader: snapshots on their way to peers that lack what is compacted here (engine/transfer)."""

from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.engine.protocol cimport Event
from quorumlog._core.protocols.raft_state cimport Raft

from libc.stdint cimport uint64_t

# A peer needs a snapshot of `index` or a later one: what there is goes to it, or one is due.
cdef void shipping_begin(Raft* raft, Outbox* out, int slot, index_t index) noexcept nogil
cdef void shipping_end(Raft* raft, int slot) noexcept nogil
# Answers to reads of pieces, and of the peer.  False: the peer broke the protocol.
cdef void shipping_on_read(Raft* raft, Outbox* out, int slot, const Event* event) noexcept nogil
cdef bint shipping_on_reply(Raft* raft, Outbox* out, int slot, const Message* message) noexcept nogil
# Once in each step of a leader; when to come again (0: not for this).
cdef void shipping_turn(Raft* raft, Outbox* out) noexcept nogil
cdef uint64_t shipping_deadline_ns(const Raft* raft) noexcept nogil
