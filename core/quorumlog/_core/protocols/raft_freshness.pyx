"""See raft_freshness.pxd."""

from libc.stdint cimport uint32_t, uint64_t

from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport NODES_MAX, index_t
from quorumlog._core.engine.outbox cimport outbox_read_as_of
from quorumlog._core.engine.protocol cimport ROLE_LEADER
from quorumlog._core.engine.quorum cimport acked_index

cdef enum:
    AGE_UNKNOWN = 0x4000000000000000              # longer than any clock has run


# The leader

cdef uint64_t led_at_ns(const Raft* raft) noexcept nogil:
    """It surely led then: the newest start of a round that a commit quorum answered.  0: no such round yet."""
    cdef index_t answered[NODES_MAX]
    cdef uint32_t slot
    if raft.commit < raft.term_first:
        return 0                       # what its predecessors committed is not all known to be (A-R13)
    for slot in range(NODES_MAX):
        answered[slot] = 0
    for slot in range(raft.membership.count):
        answered[slot] = raft.now_ns if <int>slot == raft.self_slot else raft.progress[slot].answered_ns
    return acked_index(&raft.membership.quorum, answered)


cdef void freshness_say(const Raft* raft, const Progress* p, HeartbeatFields* fields) noexcept nogil:
    cdef uint64_t led_ns = led_at_ns(raft)
    fields.mark = p.mark
    fields.age_ns = raft.now_ns - led_ns if led_ns != 0 else AGE_UNKNOWN
    fields.newest = raft.commit
    if mutant(b"freshness-of-any-leader"):
        fields.age_ns = 0


cdef void freshness_on_answer(Raft* raft, Progress* p, const HeartbeatReplyFields* reply) noexcept nogil:
    p.answered_ns = max(p.answered_ns, reply.sent_ns)
    if reply.round >= p.round_acked:
        p.mark = reply.mark


# The follower

cdef void freshness_on_heartbeat(Raft* raft, const HeartbeatFields* fields) noexcept nogil:
    cdef uint64_t at_ns = raft.mark_ns
    if fields.mark != raft.mark and not mutant(b"freshness-from-receipt"):
        return
    raft.mark_echoed = True
    if mutant(b"freshness-from-receipt"):
        at_ns = raft.now_ns
    if fields.age_ns < at_ns and at_ns - fields.age_ns > raft.as_of_ns:
        raft.as_of_ns = at_ns - fields.age_ns
        raft.as_of_index = fields.newest


cdef void freshness_answer(Raft* raft, HeartbeatReplyFields* reply) noexcept nogil:
    if raft.mark_echoed:
        raft.mark += 1                 # one under way at a time: its time is all there is to keep
        raft.mark_ns = raft.now_ns
        raft.mark_echoed = False
    reply.mark = raft.mark


# Reads

cdef uint64_t freshness_as_of(const Raft* raft, index_t* index) noexcept nogil:
    cdef uint64_t led_ns = led_at_ns(raft) if raft.role == ROLE_LEADER else 0
    if led_ns > raft.as_of_ns:
        index[0] = raft.commit
        return led_ns
    index[0] = raft.as_of_index
    return raft.as_of_ns


cdef void freshness_read(const Raft* raft, Outbox* out, uint64_t read) noexcept nogil:
    cdef index_t index = 0
    cdef uint64_t as_of_ns = freshness_as_of(raft, &index)
    outbox_read_as_of(out, read, index, as_of_ns)
