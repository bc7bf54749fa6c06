"""See raft_lease.pxd."""

from libc.stdint cimport uint32_t, uint64_t

from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport NODES_MAX, index_t
from quorumlog._core.engine.protocol cimport ROLE_LEADER
from quorumlog._core.engine.quorum cimport acked_index

cdef enum:
    MILLION = 1000000
    PROMISE_NS_MAX = 0x40000000000           # over an hour: longer than any election timeout, and no overflow below


cdef uint64_t lease_share_ppm(uint64_t drift_ppm) noexcept nogil:
    # The peer's clock may run fast and ours slow: (1 - drift) / (1 + drift).
    return (MILLION - drift_ppm) * MILLION // (MILLION + drift_ppm)


# The leader

cdef void lease_on_answer(Raft* raft, Progress* p, const HeartbeatReplyFields* reply) noexcept nogil:
    cdef uint64_t promised_ns = min(reply.holds_ns, <uint64_t>PROMISE_NS_MAX)
    cdef uint64_t from_ns = raft.now_ns if mutant(b"lease-from-the-answer") else reply.sent_ns
    if promised_ns != 0:
        p.lease_until_ns = max(p.lease_until_ns, from_ns + promised_ns * raft.lease_share_ppm // MILLION)


cdef bint may_hold(const Raft* raft) noexcept nogil:
    if raft.role != ROLE_LEADER or not raft.leases:
        return False
    if raft.lease_broken and not mutant(b"lease-outlives-a-transfer"):
        return False
    # As for any read: before an entry of its own term is committed the commit index may be old (A-R13).
    return raft.commit >= raft.term_first or mutant(b"lease-on-a-fresh-leader")


cdef uint64_t lease_until_ns(const Raft* raft) noexcept nogil:
    """Until then a commit quorum's promises last."""
    cdef index_t until[NODES_MAX]
    cdef uint32_t slot
    if not may_hold(raft):
        return 0
    for slot in range(NODES_MAX):
        until[slot] = 0
    for slot in range(raft.membership.count):
        until[slot] = <index_t>-1 if <int>slot == raft.self_slot else raft.progress[slot].lease_until_ns
    return acked_index(&raft.membership.quorum, until)


cdef bint lease_held(const Raft* raft) noexcept nogil:
    return raft.now_ns < lease_until_ns(raft)


cdef void lease_break(Raft* raft) noexcept nogil:
    raft.lease_broken = True


# Its peers

cdef uint64_t lease_promise_ns(const Raft* raft) noexcept nogil:
    return raft.election_timeout_ns if raft.leases and not raft.listening else 0


cdef bint lease_binds(const Raft* raft) noexcept nogil:
    if not raft.leases or raft.membership.count == 1 or mutant(b"lease-promise-forgotten"):
        return False
    # Whoever leads now, and whatever the term: the promise was about time.
    return raft.now_ns - raft.heard_leader_ns < raft.election_timeout_ns
