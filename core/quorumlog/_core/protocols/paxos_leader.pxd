"""Phase 2: the leader proposes, sends, counts and chooses.

P2c (Paxos Made Simple 2.2): "For any v and n, if a proposal with value v and number n is issued, then there is a set S
consisting of a majority of acceptors such that either (a) no acceptor in S has accepted any proposal numbered less
than n, or (b) v is the value of the highest-numbered proposal among all proposals numbered less than n accepted by
the acceptors in S."  S is an elect quorum; phase 1 asked it once for all slots.
"""

from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.engine.protocol cimport Event
from quorumlog._core.protocols.paxos_state cimport Paxos
from quorumlog._core.storage.batch cimport Batch

cdef void leader_start(Paxos* paxos, Outbox* out) noexcept nogil
# EVENT_PROPOSE, in any role.
cdef void leader_propose(Paxos* paxos, Outbox* out, const Event* event) noexcept nogil
# Proposes an unstamped batch in `slot`, which phase 1 leaves it free to do; sends nothing.
cdef void leader_issue(Paxos* paxos, Outbox* out, Batch* batch, index_t slot) noexcept nogil
cdef void leader_send_all(Paxos* paxos, Outbox* out) noexcept nogil
# Slots first..last, which were just issued behind what had been sent, to everybody.
cdef void leader_send_again(Paxos* paxos, Outbox* out, index_t first, index_t last) noexcept nogil
cdef bint leader_on_accepted(Paxos* paxos, Outbox* out, int slot, const Message* message) noexcept nogil
cdef bint leader_on_heartbeat_reply(Paxos* paxos, Outbox* out, int slot, const Message* message) noexcept nogil
# The own disk is an acceptor like any other.
cdef void leader_on_flushed(Paxos* paxos, Outbox* out) noexcept nogil
cdef void leader_on_reachable(Paxos* paxos, Outbox* out, int slot, bint reachable) noexcept nogil
# Tells of chosen slots that nothing else tells of.
cdef void leader_tell(Paxos* paxos, Outbox* out) noexcept nogil
