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
# At the end of each step: remembers how far the log has grown, and says when a snapshot is due.
cdef void snapshot_turn(Raft* raft, Outbox* out) noexcept nogil
