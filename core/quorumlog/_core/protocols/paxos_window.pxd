"""Slots beyond the log's end: what this node has accepted there, in any order.

The ring covers log.last + 1 .. log.last + RING_SLOTS.  A slot leaves it for the log when it is chosen, its value is
here and durable, and all slots before it have gone: chosen in any order, applied in order.
"""

from quorumlog._core.base.types cimport index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.protocols.paxos_state cimport Paxos, Slot
from quorumlog._core.storage.batch cimport Batch

cdef bint window_covers(const Paxos* paxos, index_t slot) noexcept nogil
cdef Slot* window_at(Paxos* paxos, index_t slot) noexcept nogil       # it must be covered
# Accepts the stamped batch into its slot: writes it, keeps a reference.
cdef void window_accept(Paxos* paxos, Outbox* out, Batch* batch) noexcept nogil
# The same of a batch that recovery found.
cdef bint window_restore(Paxos* paxos, Batch* batch) noexcept nogil
cdef bint window_holds(Paxos* paxos, index_t slot, term_t round, node_t node) noexcept nogil
# The WSN whose flush makes the slot's accept durable; 0: it is.
cdef wsn_t window_wsn(Paxos* paxos, index_t slot) noexcept nogil
# Moves what is chosen and durable from the ring to the log; writes a chosen mark when it is due.
cdef void window_advance(Paxos* paxos, Outbox* out) noexcept nogil
# Is it the same in all that is applied, its leader's time and flags too?  Whatever the ballot.  A client's retry,
# proposed by another leader, has the same bytes and another time, by which sessions end.
cdef bint same_value(const Batch* one, const Batch* other) noexcept nogil
cdef void window_close(Paxos* paxos) noexcept nogil
