"""The acceptor: promises and accepts.

P1a: "An acceptor can accept a proposal numbered n iff it has not responded to a prepare request having a number
greater than n" (Paxos Made Simple 2.2).  A promise is for all slots, also those that don't exist yet.
"""

from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.protocols.paxos_state cimport Paxos

# Each False: the peer broke the protocol.
cdef bint acceptor_on_prepare(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil
cdef bint acceptor_on_accept(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil
cdef bint acceptor_on_heartbeat(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil
cdef bint acceptor_on_chosen(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil
cdef bint acceptor_on_fetch(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil
