"""The protocol's own records (promises, chosen marks, no-ops, pages of a promise) and the making of messages."""

from quorumlog._core.base.types cimport index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.protocols.paxos_state cimport Paxos
from quorumlog._core.storage.batch cimport Batch

from libc.stdint cimport uint16_t

# Tops up the spares; False: too few for a step.
cdef bint paxos_refill(Paxos* paxos) noexcept nogil
cdef void paxos_drop_spares(Paxos* paxos) noexcept nogil
# Writes a stamped batch; the WSN that it gets.
cdef wsn_t paxos_write(Paxos* paxos, Outbox* out, Batch* batch) noexcept nogil
# The promise (round, node), durable before anything that this node says afterwards.
cdef void paxos_save_promise(Paxos* paxos, Outbox* out, term_t round, node_t node) noexcept nogil
# All slots before `first` are chosen, with the values that lie in the log.
cdef void paxos_write_mark(Paxos* paxos, Outbox* out, index_t first) noexcept nogil
# An unstamped no-op with a reference.
cdef Batch* paxos_noop(Paxos* paxos) noexcept nogil
# A message that waits for the promise.
cdef Message* paxos_message(Paxos* paxos, Outbox* out, uint16_t kind, node_t target) noexcept nogil
