"""What a protocol step wants done, as data; reused, never allocated in a step.

Order of carrying out: append `writes` to the write-ahead log in order, then
release `messages` whose `after_io` is flushed, hold the others.  The WSN that
the n-th write will get is event.wsn_next + n, so a step can name it.
"""

from quorumlog._core.base.types cimport SnapshotId, group_t, index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.storage.batch cimport Batch

from libc.stdint cimport uint32_t, uint64_t

# A proposal that was not taken: it did not happen.
cdef struct Refusal:
    Batch* batch                   # the reference that the event handed in
    int status                     # ERR_NOT_LEADER, ERR_OVERLOADED

# The answer to a read: serve it once `index` is applied (status OK), or tell why not.
cdef struct ReadReady:
    uint64_t read
    index_t index
    int status
    uint64_t as_of_ns              # READ_AS_OF: all that was acknowledged before lies at or below `index`; else 0

# Batches that are no longer in memory: read them and hand them back as EVENT_FETCHED.
cdef struct Fetch:
    node_t peer
    index_t first
    uint64_t bytes_max
    bint repair                    # one batch, for a peer's repair

# A piece of a snapshot's file here, for a peer: read it and hand it back as EVENT_SNAPSHOT_READ.
cdef struct PieceRead:
    node_t peer
    SnapshotId id
    uint64_t offset
    uint32_t size

# A piece of a snapshot that comes in: store it, in order, and say so by EVENT_SNAPSHOT_STORED.
cdef struct PieceStore:
    SnapshotId id
    uint64_t offset
    Batch* batch                   # a reference
    bint last                      # then verify the whole and make it durable

cdef struct Outbox:
    Batch** writes                 # references
    uint32_t repair                # 1 + place in `writes` of a batch that the log has already, but bad; 0: none
    uint32_t write_count
    uint32_t write_capacity
    Message* messages
    uint32_t message_count
    uint32_t message_capacity
    Batch** message_batches        # where messages' batch pointers lie
    uint32_t message_batch_count
    uint32_t message_batch_capacity
    Refusal* refusals
    uint32_t refusal_count
    uint32_t refusal_capacity
    ReadReady* reads
    uint32_t read_count
    uint32_t read_capacity
    Fetch* fetches
    uint32_t fetch_count
    uint32_t fetch_capacity
    PieceRead* piece_reads
    uint32_t piece_read_count
    PieceStore piece_store         # batch NULL: none
    bint snapshot_due              # this node should make a snapshot: said again until one is made
    SnapshotId install             # index 0: none; else the state machine is to be restored from it, if it is behind
    uint64_t deadline_ns           # when to send EVENT_TIME next; 0: never
    index_t commit                 # the group's commit index after the step
    bint leader_changed            # the known leader or the own role changed
    index_t faulty_first           # first index of the log that is not to be read after the step; 0: none
    int answer                     # Status: what became of what EVENT_TRANSFER asked for


cdef Outbox* outbox_open() noexcept nogil
cdef void outbox_close(Outbox* out) noexcept nogil
cdef void outbox_clear(Outbox* out) noexcept nogil       # after everything in it was taken over
# Each of these has room by construction (sizes in outbox.pyx) and checks that it has.
cdef void outbox_write(Outbox* out, Batch* batch) noexcept nogil           # keeps a reference
cdef void outbox_repair(Outbox* out, Batch* batch) noexcept nogil          # at most one in a step
cdef Message* outbox_message(Outbox* out) noexcept nogil                   # zeroed, appended
# To the newest message; keeps a reference.
cdef void outbox_attach(Outbox* out, Message* message, Batch* batch) noexcept nogil
# For one more message with so many batches.
cdef bint outbox_has_room(const Outbox* out, uint32_t batches) noexcept nogil
cdef void outbox_refuse(Outbox* out, Batch* batch, int status) noexcept nogil
cdef void outbox_read(Outbox* out, uint64_t read, index_t index, int status) noexcept nogil
cdef void outbox_read_as_of(Outbox* out, uint64_t read, index_t index, uint64_t as_of_ns) noexcept nogil
cdef void outbox_fetch(Outbox* out, node_t peer, index_t first, uint64_t bytes_max) noexcept nogil
cdef bint outbox_has_room_to_read(const Outbox* out) noexcept nogil       # for a piece of a snapshot
cdef void outbox_read_piece(Outbox* out, node_t peer, const SnapshotId* id, uint64_t offset,
                            uint32_t size) noexcept nogil
# At most one in a step; keeps a reference.
cdef void outbox_store_piece(Outbox* out, const SnapshotId* id, uint64_t offset, Batch* batch,
                             bint last) noexcept nogil
cdef void outbox_fetch_repair(Outbox* out, node_t peer, index_t first) noexcept nogil
