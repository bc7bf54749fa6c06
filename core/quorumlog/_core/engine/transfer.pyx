"""See transfer.pxd."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport SnapshotId, node_t, same_snapshot

cdef enum:
    NS_PER_S = 1000000000


# Sending ------------------------------------------------------------------------------------------------

cdef void sending_begin(Sending* sending, const SnapshotId* id, uint64_t now_ns) noexcept nogil:
    check(id.index != 0 and id.file_bytes != 0, b"Q-SENDSNAP-01 a snapshot that is sent has a file")
    memset(sending, 0, sizeof(Sending))
    sending.id = id[0]
    sending.moved_ns = now_ns


cdef void sending_end(Sending* sending) noexcept nogil:
    sending.id.index = 0


cdef uint64_t sending_ready(const Sending* sending, uint32_t piece_bytes, uint64_t now_ns) noexcept nogil:
    if sending.id.index == 0 or not sending.asked or sending.next == sending.id.file_bytes \
            or now_ns < sending.paced_ns:
        return 0
    if sending.next - sending.acked >= PIECES_IN_FLIGHT_MAX * <uint64_t>piece_bytes:
        return 0
    return min(<uint64_t>piece_bytes, sending.id.file_bytes - sending.next)


cdef void sending_took(Sending* sending, uint64_t size, uint64_t bytes_per_s, uint64_t now_ns) noexcept nogil:
    check2(size > 0 and size <= sending.id.file_bytes - sending.next, b"Q-SENDSNAP-02 a piece lies within its file",
           size, sending.next)
    sending.next += size
    if bytes_per_s != 0:
        # From now, not from when it might have gone: what was not used is not saved up.
        sending.paced_ns = now_ns + <uint64_t>(<double>size * NS_PER_S / <double>bytes_per_s)


cdef bint sending_acked(Sending* sending, uint64_t offset, bint restart, uint64_t now_ns) noexcept nogil:
    if offset > sending.id.file_bytes:
        return False
    sending.moved_ns = now_ns
    if restart or not sending.asked:
        sending.acked = offset
        sending.next = offset
        sending.asked = True
        return True
    sending.acked = max(sending.acked, offset)
    sending.next = max(sending.next, sending.acked)
    return True


cdef void sending_again(Sending* sending, uint64_t now_ns) noexcept nogil:
    """The peer is asked anew where it is: it may have begun its life anew, too."""
    sending.asked = False
    sending.moved_ns = now_ns


cdef bint sending_overdue(const Sending* sending, uint64_t patience_ns, uint64_t now_ns) noexcept nogil:
    return sending.id.index != 0 and now_ns - sending.moved_ns >= patience_ns


cdef uint64_t sending_deadline_ns(const Sending* sending, uint32_t piece_bytes, uint64_t patience_ns) noexcept nogil:
    cdef uint64_t at_ns = sending.moved_ns + patience_ns
    if sending.id.index == 0:
        return 0
    if sending.paced_ns < at_ns and sending_ready(sending, piece_bytes, sending.paced_ns) != 0:
        return sending.paced_ns
    return at_ns


# Receiving ----------------------------------------------------------------------------------------------

cdef int receiving_piece(Receiving* receiving, const SnapshotId* id, node_t sender, uint64_t offset,
                         uint64_t size) noexcept nogil:
    if not same_snapshot(id, &receiving.id) and not (mutant(b"piece-of-any-snapshot") and receiving.id.index != 0):
        if receiving.finishing:
            return TAKEN_OLD           # storage has it in hand; what comes of it is heard soon
        if receiving.id.index != 0 and sender == receiving.sender and id.index < receiving.id.index:
            return TAKEN_OLD           # late: the same node has begun a newer one since
        memset(receiving, 0, sizeof(Receiving))
        receiving.id = id[0]
    receiving.sender = sender
    if size == 0 or receiving.finishing:
        return TAKEN_KNOWN
    if offset < receiving.next:
        return TAKEN_KNOWN
    if offset > receiving.next and not mutant(b"chunk-offset-not-checked"):
        return TAKEN_GAP
    receiving.next += size
    receiving.finishing = receiving.next == id.file_bytes
    return TAKEN_STORE


cdef void receiving_end(Receiving* receiving) noexcept nogil:
    memset(receiving, 0, sizeof(Receiving))
