"""Roles, the canvass, phase 1, and the adoption of what it found.

Any node may win: no log has to be longer than another.  What a candidate lacks it learns, and what may have been
chosen before it proposes again, in its own ballot, before anything else can be chosen there.
"""

from quorumlog._core.base.types cimport node_t, term_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.protocols.paxos_state cimport Paxos

from libc.stdint cimport uint64_t

# Roles
cdef void phase1_reset_timer(Paxos* paxos) noexcept nogil
cdef void phase1_follow(Paxos* paxos, Outbox* out, node_t leader) noexcept nogil
cdef bint phase1_heard_leader_lately(const Paxos* paxos) noexcept nogil
cdef void phase1_on_leader_lost(Paxos* paxos) noexcept nogil
# Leader: False and a follower, if no commit quorum was heard for an election timeout.
cdef bint phase1_check_quorum(Paxos* paxos, Outbox* out) noexcept nogil
# The election timer ran out.
cdef void phase1_timeout(Paxos* paxos, Outbox* out) noexcept nogil
# Candidate: asks again who has not answered.
cdef void phase1_ask_again(Paxos* paxos, Outbox* out) noexcept nogil
# After every event: what the candidate or the new leader can go on with.
cdef void phase1_turn(Paxos* paxos, Outbox* out) noexcept nogil
# Messages; False: the peer broke the protocol.
cdef void phase1_on_canvass(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil
cdef void phase1_on_canvass_reply(Paxos* paxos, Outbox* out, int slot, const Message* message) noexcept nogil
cdef bint phase1_on_promise(Paxos* paxos, Outbox* out, int slot, const Message* message) noexcept nogil
cdef bint phase1_on_reject(Paxos* paxos, Outbox* out, const Message* message) noexcept nogil
cdef bint phase1_on_fetch_reply(Paxos* paxos, Outbox* out, int slot, const Message* message) noexcept nogil
cdef void phase1_close(Paxos* paxos) noexcept nogil
