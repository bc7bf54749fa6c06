"""What is known to be chosen, and catching up with it.

The leader says up to which slot all are chosen.  That makes an accepted value a chosen one only where it was
accepted in that leader's ballot; other slots are asked for: any node teaches what lies in its log.
"""

from quorumlog._core.base.types cimport index_t, node_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.engine.protocol cimport Event
from quorumlog._core.protocols.paxos_state cimport Paxos

from libc.stdint cimport uint64_t

# The leader of the promised ballot says that slots up to `chosen` are.
cdef void learner_heard(Paxos* paxos, Outbox* out, index_t chosen) noexcept nogil
# Asks `node` for what is chosen behind the own knowledge, unless somebody was asked lately.
cdef void learner_ask(Paxos* paxos, Outbox* out, node_t node) noexcept nogil
# What was learnt is durable: there is room for more.
cdef void learner_go_on(Paxos* paxos, Outbox* out) noexcept nogil
# A node asks.  False: it broke the protocol.
cdef bint learner_on_ask(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil
cdef void learner_on_fetched(Paxos* paxos, Outbox* out, const Event* event) noexcept nogil
cdef bint learner_on_taught(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil
