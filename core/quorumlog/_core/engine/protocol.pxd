"""The table that a protocol fills, and the events it is given (DESIGN 4.2).

`step(state, event, outbox)`: no I/O, no clock, no allocation after open, no
randomness but the generator in its state.  The runtime and the simulation know
protocols only through this.
"""

from quorumlog._core.base.types cimport SnapshotId, group_t, index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.explain cimport Standing
from quorumlog._core.engine.log cimport GroupLog
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.storage.batch cimport Batch

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum EventKind:
    EVENT_TIME = 1             # `now_ns` reached the deadline
    EVENT_MESSAGE = 2          # `message` arrived, checked: sender, target and group are right
    EVENT_PROPOSE = 3          # `batch`, stamped with session and sequence; the reference is handed over
    EVENT_FLUSHED = 4          # `wsn` and all before it are durable
    EVENT_READ = 5             # `read` wants an index to be answered from, as `read_kind` says
    EVENT_FETCHED = 6          # answer to a Fetch: `batches` (or none: `status` says why) for `peer`
    EVENT_UNREACHABLE = 7      # the connection to `peer` was lost
    EVENT_REACHABLE = 8        # and is there again
    EVENT_FAULTY = 9           # the batch that holds `first` (to `last`, 0: not known) is bad on this node's disk
    EVENT_TRANSFER = 20        # leadership is to go to `peer` (0: to whom it fits best); answered in outbox.answer
    EVENT_SNAPSHOT_MADE = 30   # this node wrote `snapshot`, durably (or not: `status` says why)
    EVENT_SNAPSHOT_READ = 31   # answer to a PieceRead: `batch`, the piece at `offset` (or none: `status`), for `peer`
    EVENT_SNAPSHOT_STORED = 32  # of a snapshot that comes in: all before `offset`; `whole`: it is durable, verified

# How a read is made sure of.
cdef enum ReadKind:
    READ_BY_ROUND = 0          # linearizable, whatever clocks do
    READ_BY_LEASE = 1          # linearizable while clocks keep their bound; by a round where there is no lease
    READ_AS_OF = 2             # no question to anybody: what this node knows, and as of when
    READ_KINDS = 3

cdef struct Event:
    int kind
    uint64_t now_ns            # monotonic; rises from event to event
    uint64_t wall_ns           # Unix time, for leader_time_ns alone
    wsn_t wsn_next             # what the first write of this step will get
    const Message* message     # batches in it stay the runtime's; keep what you keep
    Batch* batch
    wsn_t wsn
    uint64_t read
    uint8_t read_kind              # ReadKind
    node_t peer                    # of the message, or whose the proposal is (0: not known)
    Batch** batches
    uint32_t batch_count
    int status
    index_t first              # EVENT_FETCHED: as asked; EVENT_FAULTY
    index_t last
    bint repair                # EVENT_FETCHED: for a peer's repair, one batch
    const SnapshotId* snapshot     # EVENT_SNAPSHOT_*
    uint64_t offset
    bint whole

cdef enum Role:
    ROLE_FOLLOWER = 1
    ROLE_PRE_CANDIDATE = 2
    ROLE_CANDIDATE = 3
    ROLE_LEADER = 4
    ROLE_LEARNER = 5

cdef enum PeerState:
    PEER_PROBE = 1
    PEER_STREAM = 2
    PEER_SNAPSHOT = 3

cdef struct PeerStatus:
    node_t node
    uint8_t state
    index_t match
    index_t next
    uint64_t window_bytes
    uint64_t in_flight_bytes
    uint64_t snapshot_bytes    # of the file being sent to it; 0: none
    uint64_t snapshot_acked_bytes

cdef struct GroupStatus:
    uint8_t role
    term_t term
    node_t leader              # 0: unknown
    node_t vote
    index_t first
    index_t last
    index_t flushed
    index_t commit
    index_t unproved_last
    uint64_t elections         # campaigns started here
    uint64_t leader_changes
    uint64_t peer_errors       # messages that broke the protocol: dropped and counted
    uint64_t lease_until_ns    # a leader: until then it answers reads by its lease; 0: it has none
    uint64_t as_of_ns          # all that was acknowledged before is known here to be committed; 0: nothing known
    bint listening             # it may have forgotten what it promised: neither votes nor acknowledges
    uint32_t faulty            # batches of the log that wait for their repair
    uint64_t faults_found
    uint64_t faults_repaired
    node_t transfer            # to whom leadership is being handed over; 0: it is not
    uint64_t transfers         # begun here
    uint64_t transfers_failed  # of these, given up in time
    uint64_t disk_stalls       # how often leadership was given up as the disk stood still
    uint8_t priority
    index_t snapshot_index     # of the newest snapshot here; 0: none
    uint64_t snapshot_log_bytes    # appended behind it
    index_t snapshot_needed    # 0, or: the state can't be built here before a snapshot of it, or a newer one, has come
    uint64_t snapshots_installed   # that came from peers
    uint32_t peer_count
    PeerStatus peers[16]

cdef struct Protocol:
    const char* name
    uint32_t number                                              # ProtocolNumber, on the wire
    uint8_t mode                                                 # GroupMode of its log group
    void (*step)(void* state, const Event* event, Outbox* out) noexcept nogil
    void (*status)(void* state, GroupStatus* out) noexcept nogil
    void (*standing)(void* state, Standing* out) noexcept nogil  # NULL: it has nothing to say
    void (*close)(void* state) noexcept nogil
