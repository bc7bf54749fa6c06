"""Snapshots of a Raft group: made, received and installed, and the head of the log dropped behind them.

Paper section 7.  What compacts is decided here, purely; who makes a snapshot, writes
and reads files is whoever carries out the outbox.  The head of a log goes only when
the snapshot that covers it is durable, which EVENT_SNAPSHOT_MADE and _STORED say.
"""

from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.engine.protocol cimport Event
from quorumlog._core.protocols.raft_state cimport Raft
from quorumlog._core.protocols.raft cimport RaftOptions

from libc.stdint cimport uint64_t

# At opening, over the restored log: a snapshot that the log doesn't reach takes its place (an install that was cut
# short).  False: no such log and snapshot can be.
cdef bint snapshot_restore(Raft* raft, const RaftOptions* options) noexcept nogil
# The first step writes the records that belong to it.
cdef void snapshot_write_reset(Raft* raft, Outbox* out) noexcept nogil
# This node's own snapshot is durable, or failed.
cdef void snapshot_on_made(Raft* raft, Outbox* out, const Event* event) noexcept nogil
# A piece from the leader.  False: it broke the protocol.
cdef bint snapshot_on_piece(Raft* raft, Outbox* out, const Message* message) noexcept nogil
# Storage has a piece, or all, of what comes in.
cdef void snapshot_on_stored(Raft* raft, Outbox* out, const Event* event) noexcept nogil
# Remembers how far the log has grown.
cdef void snapshot_mark(Raft* raft) noexcept nogil
# Says whether a snapshot is due.
cdef void snapshot_look(Raft* raft, Outbox* out) noexcept nogil


cdef inline void snapshot_turn(Raft* raft, Outbox* out) noexcept nogil:
    """At the end of each step, nearly all of which have nothing to do here."""
    cdef uint64_t bytes = raft.log.appended_bytes
    if raft.mark_count == 0 or bytes - raft.marks[raft.mark_count - 1].bytes >= raft.mark_bytes:
        snapshot_mark(raft)
    # A node's share comes on top of snapshot_log_bytes.
    if raft.snapshot_forced or (raft.snapshot_log_bytes != 0
                                and bytes - raft.snapshot_seen_bytes >= raft.snapshot_log_bytes):
        snapshot_look(raft, out)
