"""Leases: a leader's right to answer reads alone for a while, bought with promises of its peers.

A peer that answers a heartbeat promises: for so long, by my clock, I help nobody else to be
elected.  It made the promise after the round began, so the leader may count on it from the
*start* of the round (A-R15), for the promised time less what two clocks may differ in rate.
While a commit quorum's promises last no elect quorum can come together, as the two meet.
This is the one argument that rests on clocks (P7): off unless RaftOptions.leases.
"""

from quorumlog._core.engine.progress cimport Progress
from quorumlog._core.protocols.raft_state cimport HeartbeatReplyFields, Raft

from libc.stdint cimport uint64_t

# Of a promised span, the millionths to count on if each clock may be off by so many.
cdef uint64_t lease_share_ppm(uint64_t drift_ppm) noexcept nogil

# Leader: a peer answered a round.
cdef void lease_on_answer(Raft* raft, Progress* p, const HeartbeatReplyFields* reply) noexcept nogil
# Leader: may a read be answered now without asking anybody?
cdef bint lease_held(const Raft* raft) noexcept nogil
# Leader: until when; 0: it has none whatever the time.
cdef uint64_t lease_until_ns(const Raft* raft) noexcept nogil
# Leader: before it asks anybody to campaign whatever others have promised (a transfer of leadership).
# No lease again in this term: what was asked may be carried out at any time.
cdef void lease_break(Raft* raft) noexcept nogil

# Any node: what it promises with an answer.
cdef uint64_t lease_promise_ns(const Raft* raft) noexcept nogil
# Any node: is it bound by a promise, one of an earlier life among them?  Then it neither campaigns nor votes
# for a candidate that it has not voted for already.
cdef bint lease_binds(const Raft* raft) noexcept nogil
