"""Two rings of reads; see reads.pxd."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_MEMORY, ERR_NOT_LEADER, ERR_OVERLOADED, OK
from quorumlog._core.base.types cimport index_t, node_t, term_t
from quorumlog._core.engine.outbox cimport Outbox, outbox_read


cdef int reads_open(Reads* reads) noexcept nogil:
    reads.pending = <PendingRead*>calloc(PENDING_READS_MAX, sizeof(PendingRead))
    reads.forwarded = <ForwardedRead*>calloc(PENDING_READS_MAX, sizeof(ForwardedRead))
    return OK if reads.pending != NULL and reads.forwarded != NULL else ERR_MEMORY


cdef void reads_close(Reads* reads) noexcept nogil:
    free(reads.pending)
    free(reads.forwarded)
    reads.pending = NULL
    reads.forwarded = NULL


cdef void reads_number(Reads* reads, uint64_t drawn, uint64_t now_ns, term_t term) noexcept nogil:
    reads.request = (drawn ^ now_ns * 0x9E3779B97F4A7C15ULL ^ term) >> 8       # A-R14
    reads.request_answered = reads.request


# The leader's side

cdef bint reads_add(Reads* reads, uint64_t read, node_t origin, index_t index, uint64_t round) noexcept nogil:
    cdef PendingRead* pending
    if reads.pending_count == PENDING_READS_MAX:
        return False
    pending = &reads.pending[(reads.pending_head + reads.pending_count) & (PENDING_READS_MAX - 1)]
    pending.read = read
    pending.origin = origin
    pending.index = index
    pending.round = round
    reads.pending_count += 1
    return True


cdef void drop_oldest(Reads* reads) noexcept nogil:
    reads.pending_head = (reads.pending_head + 1) & (PENDING_READS_MAX - 1)
    reads.pending_count -= 1


cdef bint reads_take(Reads* reads, uint64_t acked, PendingRead* out) noexcept nogil:
    if reads.pending_count == 0 or reads.pending[reads.pending_head].round > acked:
        return False
    out[0] = reads.pending[reads.pending_head]
    drop_oldest(reads)
    return True


cdef bint reads_wait_beyond(const Reads* reads, uint64_t round) noexcept nogil:
    cdef uint64_t newest = (reads.pending_head + reads.pending_count - 1) & (PENDING_READS_MAX - 1)
    return reads.pending_count > 0 and reads.pending[newest].round > round


# The follower's side

cdef ForwardedRead* forwarded_at(Reads* reads, uint64_t place) noexcept nogil:
    return &reads.forwarded[(reads.forwarded_head + place) & (PENDING_READS_MAX - 1)]


cdef bint reads_forward(Reads* reads, Outbox* out, uint64_t read, uint64_t expires_ns, bint by_lease) noexcept nogil:
    cdef ForwardedRead* forwarded
    if reads.forwarded_count == PENDING_READS_MAX:
        outbox_read(out, read, 0, ERR_OVERLOADED)
        return False
    forwarded = forwarded_at(reads, reads.forwarded_count)
    forwarded.read = read
    forwarded.request = reads.request + 1
    forwarded.expires_ns = expires_ns
    forwarded.by_lease = by_lease
    reads.forwarded_count += 1
    return reads.request_answered == reads.request


cdef void reads_ask(Reads* reads, uint64_t now_ns, ReadIndexFields* fields) noexcept nogil:
    cdef uint64_t place = 0
    while place < reads.forwarded_count and forwarded_at(reads, place).by_lease:
        place += 1
    reads.request += 1
    reads.request_sent_ns = now_ns
    fields.request = reads.request
    fields.by_lease = place == reads.forwarded_count


cdef void pop_forwarded(Reads* reads, Outbox* out, index_t index, int status) noexcept nogil:
    check2(reads.forwarded_count > 0, b"Q-READS-01 an answered read was pending", index, status)
    outbox_read(out, reads.forwarded[reads.forwarded_head].read, index, status)
    reads.forwarded_head = (reads.forwarded_head + 1) & (PENDING_READS_MAX - 1)
    reads.forwarded_count -= 1


cdef bint reads_answered(Reads* reads, Outbox* out, const ReadIndexFields* reply) noexcept nogil:
    cdef int status = OK
    if reply.request <= reads.request_answered:
        return False                   # late, or said twice
    if reply.request > reads.request:
        return False                   # asked in an earlier life of this node
    if reply.status != OK:
        status = ERR_OVERLOADED if reply.status == ERR_OVERLOADED else ERR_NOT_LEADER
    reads.request_answered = reply.request
    # A later request's index is good for earlier reads too: it was taken after they arrived.
    while reads.forwarded_count > 0 and reads.forwarded[reads.forwarded_head].request <= reply.request:
        pop_forwarded(reads, out, reply.index if status == OK else 0, status)
    return reads.forwarded_count > 0 and reads.request_answered == reads.request


cdef bint reads_unanswered(const Reads* reads, uint64_t now_ns, uint64_t patience_ns) noexcept nogil:
    return reads.forwarded_count > 0 and now_ns - reads.request_sent_ns >= patience_ns


cdef void reads_expire(Reads* reads, Outbox* out, uint64_t now_ns) noexcept nogil:
    while reads.forwarded_count > 0 and reads.forwarded[reads.forwarded_head].expires_ns <= now_ns:
        pop_forwarded(reads, out, 0, ERR_NOT_LEADER)


# Both

cdef void reads_refuse_all(Reads* reads, Outbox* out) noexcept nogil:
    while reads.pending_count > 0:
        # A follower that asked finds out by itself: it loses its leader too, or its reads expire.
        if reads.pending[reads.pending_head].origin == 0 and not mutant(b"reads-forgotten"):
            outbox_read(out, reads.pending[reads.pending_head].read, 0, ERR_NOT_LEADER)
        drop_oldest(reads)
    while reads.forwarded_count > 0:
        pop_forwarded(reads, out, 0, ERR_NOT_LEADER)
    # Answers to what was asked so far are of no use to anybody.
    reads.request_answered = reads.request
