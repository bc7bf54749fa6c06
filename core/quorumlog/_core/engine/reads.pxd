"""Linearizable reads by read index (Ongaro 2014, 6.4): which wait here for a heartbeat round, which for the leader.

A read is confirmed by a round of heartbeats that *started after it arrived* (A-R14), acknowledged by a commit quorum:
any such quorum meets every elect quorum, so nobody else was elected, or promised a higher ballot, before the round
began.  Many reads share a round: while one is under way, later reads wait for the next.  A follower does the same with
its requests to the leader.

What a round and a request are on the wire is the protocol's, as is the index that it may answer with.
"""

from quorumlog._core.base.types cimport index_t, node_t, term_t
from quorumlog._core.engine.outbox cimport Outbox

from libc.stdint cimport uint64_t

cdef enum:
    PENDING_READS_MAX = 4096       # a power of two; of each of the two rings

# Of a message from a follower to the leader, and of its reply.
cdef struct ReadIndexFields:
    uint64_t request               # numbered by the asking node, echoed
    index_t index
    uint64_t status
    uint64_t by_lease              # the leader may answer by its lease

# Leader: a read that waits for a round.
cdef struct PendingRead:
    uint64_t read                  # the runtime's number, or the asking node's request
    node_t origin                  # 0: own
    index_t index                  # 0: not known when it came (A-R13)
    uint64_t round                 # the round that confirms it, or any later one

# Follower: a read that waits for the leader's answer.
cdef struct ForwardedRead:
    uint64_t read
    uint64_t request               # the request that covers it, or any later one
    uint64_t expires_ns
    bint by_lease

cdef struct Reads:
    PendingRead* pending           # ring
    uint64_t pending_head
    uint64_t pending_count
    ForwardedRead* forwarded       # ring
    uint64_t forwarded_head
    uint64_t forwarded_count
    uint64_t request               # newest one sent
    uint64_t request_answered
    uint64_t request_sent_ns


cdef int reads_open(Reads* reads) noexcept nogil             # OK, ERR_MEMORY
cdef void reads_close(Reads* reads) noexcept nogil
# Requests are numbered from a place of this life of the node: answers to those of an earlier one must not match.
cdef void reads_number(Reads* reads, uint64_t drawn, uint64_t now_ns, term_t term) noexcept nogil

# Leader.  False: there is no room.
cdef bint reads_add(Reads* reads, uint64_t read, node_t origin, index_t index, uint64_t round) noexcept nogil
# Takes out the oldest if a round up to `acked` confirms it.
cdef bint reads_take(Reads* reads, uint64_t acked, PendingRead* out) noexcept nogil
# Whether a read waits for a later round than this one.
cdef bint reads_wait_beyond(const Reads* reads, uint64_t round) noexcept nogil

# Follower.  True: the leader is to be asked now.  Without room the read is refused.
cdef bint reads_forward(Reads* reads, Outbox* out, uint64_t read, uint64_t expires_ns, bint by_lease) noexcept nogil
# One request for all forwarded ones so far; by lease only if that is good enough for each.
cdef void reads_ask(Reads* reads, uint64_t now_ns, ReadIndexFields* fields) noexcept nogil
# The leader's answer.  True: it is to be asked again, for those that came meanwhile.
cdef bint reads_answered(Reads* reads, Outbox* out, const ReadIndexFields* reply) noexcept nogil
# Whether the newest request, or its answer, seems lost.
cdef bint reads_unanswered(const Reads* reads, uint64_t now_ns, uint64_t patience_ns) noexcept nogil
# Refuses those that waited too long.
cdef void reads_expire(Reads* reads, Outbox* out, uint64_t now_ns) noexcept nogil

# The role or leader changed: nothing pending can be confirmed any more (retryable).
cdef void reads_refuse_all(Reads* reads, Outbox* out) noexcept nogil


cdef inline uint64_t reads_deadline_ns(const Reads* reads) noexcept nogil:
    """Of the oldest forwarded one; 0: none."""
    return reads.forwarded[reads.forwarded_head].expires_ns if reads.forwarded_count > 0 else 0
