"""Sending a snapshot's file to a peer in pieces, and taking one in: pure, for any protocol.

The pieces of a file are asked for from storage, sent, stored at the peer and
acknowledged by the offset up to which it has all.  Bounded in flight, paced, and
resumed from wherever the peer is: after a lost piece, a new connection, or under a
new leader that has the same file.  A piece of another file never joins in: pieces
carry the whole SnapshotId (hard case A-M10).
"""

from quorumlog._core.base.types cimport SnapshotId, node_t

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    PIECES_IN_FLIGHT_MAX = 4           # read or sent, and not acknowledged

# Towards one peer.
cdef struct Sending:
    SnapshotId id                      # index 0: nothing
    uint64_t next                      # offset of the next piece to be read
    uint64_t acked                     # the peer has all before it
    bint asked                         # the peer said where to begin
    uint64_t moved_ns                  # when something was heard or asked last
    uint64_t paced_ns                  # not before then

# At the receiving node.
cdef struct Receiving:
    SnapshotId id                      # index 0: nothing
    node_t sender
    uint64_t next                      # all before it was handed to storage
    bint finishing                     # all of it was: it is being verified and made durable


cdef void sending_begin(Sending* sending, const SnapshotId* id, uint64_t now_ns) noexcept nogil
cdef void sending_end(Sending* sending) noexcept nogil
# The size of the piece at `next` that may be read and sent now; 0: none.
cdef uint64_t sending_ready(const Sending* sending, uint32_t piece_bytes, uint64_t now_ns) noexcept nogil
# It was asked for: the next one waits until the rate allows it (0: no limit).
cdef void sending_took(Sending* sending, uint64_t size, uint64_t bytes_per_s, uint64_t now_ns) noexcept nogil
# The peer has all before `offset`; `restart`: it wants to go on there, wherever we are.  False: it can't have.
cdef bint sending_acked(Sending* sending, uint64_t offset, bint restart, uint64_t now_ns) noexcept nogil
# Something went wrong with a piece on this side: again from what is acknowledged, after a while.
cdef void sending_again(Sending* sending, uint64_t now_ns) noexcept nogil
# Nothing was heard for so long.
cdef bint sending_overdue(const Sending* sending, uint64_t patience_ns, uint64_t now_ns) noexcept nogil
# When to look again; 0: not at all.
cdef uint64_t sending_deadline_ns(const Sending* sending, uint32_t piece_bytes, uint64_t patience_ns) noexcept nogil

cdef enum Taken:
    TAKEN_STORE = 1                    # hand it to storage
    TAKEN_KNOWN = 2                    # had it already: say where to go on
    TAKEN_GAP = 3                      # something before it is missing: say so
    TAKEN_OLD = 4                      # of an older snapshot than what is coming in: nothing


# A piece of `size` bytes arrived from `sender` (0 bytes: it asks where to begin).
cdef int receiving_piece(Receiving* receiving, const SnapshotId* id, node_t sender, uint64_t offset,
                         uint64_t size) noexcept nogil
cdef void receiving_end(Receiving* receiving) noexcept nogil
