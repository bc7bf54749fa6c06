"""What a node consists of: its log, its connections, its groups.  Types alone.

Threads: the reactor owns everything in here but what says otherwise; callers reach
it through intakes, reads and commands; applying threads through `Apply` and `Reads`.
"""

from quorumlog._core.base.atomics cimport atomic_ptr, atomic_u32, atomic_u64
from quorumlog._core.base.bell cimport Notice
from quorumlog._core.base.types cimport GROUPS_MAX, NODES_MAX, SnapshotId, group_t, index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.explain cimport FINDINGS_MAX, Finding
from quorumlog._core.engine.log cimport GroupLog
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Fetch, Outbox
from quorumlog._core.engine.protocol cimport GroupStatus, Protocol
from quorumlog._core.engine.receipt cimport Receipt
from quorumlog._core.runtime.apply cimport Apply
from quorumlog._core.runtime.control cimport Control
from quorumlog._core.runtime.intake cimport Intake
from quorumlog._core.runtime.reads cimport Reads
from quorumlog._core.runtime.scrubber cimport Scrubber
from quorumlog._core.runtime.snapshots cimport Snapshots
from quorumlog._core.runtime.threads cimport thread_t
from quorumlog._core.runtime.transport cimport Source, Transport, TransportStatus
from quorumlog._core.runtime.writer cimport Writer
from quorumlog._core.storage.batch cimport Batch, BatchPool
from quorumlog._core.storage.dropped cimport DroppedGroups
from quorumlog._core.storage.identity cimport Identity, KnownPeers
from quorumlog._core.storage.wal cimport RecoveredGroup, Wal, WalReport, WalStatus

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum TicketState:
    TICKET_WAITING = 0
    TICKET_DONE = 1
    TICKET_ABANDONED = 2           # the caller left; whoever answers frees it

# A caller that waits for the reactor to carry out a command.  One allocation with its answer.
cdef struct Ticket:
    atomic_u32 state               # futex word: TicketState
    int status
    int kind                       # CommandKind
    void* subject                  # HostedGroup*
    void* answer                   # behind the ticket in its allocation, or NULL
    Notice* notice                 # of an event loop that waits for it, or NULL
    Ticket* next                   # in the stack of commands

cdef enum CommandKind:
    COMMAND_ADD_GROUP = 1
    COMMAND_GROUP_STATUS = 2       # answer: GroupStatus*
    COMMAND_NODE_STATUS = 3        # answer: NodeStatus*
    COMMAND_READMIT = 4            # answer: Readmission*, to be carried out
    COMMAND_TRANSFER = 20          # answer: LeaderCall*
    COMMAND_EXPLAIN = 5            # answer: GroupExplanation*
    COMMAND_SURVEY_NODE = 6        # answer: NodeSurvey*
    COMMAND_SURVEY_GROUP = 7       # answer: GroupSurvey*, with the position asked for
    COMMAND_DROP_GROUP = 8         # answer: int*, what drop_ask says
    COMMAND_CHECK_DROPPED = 9      # answer: group_t*, whose id it is; ERR_DROPPED
    COMMAND_SNAPSHOT = 30          # answer: index_t*, of the snapshot that is durable then
    COMMAND_SNAPSHOT_MADE = 31     # answer: SnapshotMade*, from whoever wrote it

# A node that lost its directory comes back with this incarnation.
cdef struct Readmission:
    node_t node
    uint64_t incarnation

# Why a group's commit does or doesn't move, as its node sees it.
cdef struct GroupExplanation:
    GroupStatus status
    uint32_t count
    Finding findings[FINDINGS_MAX]

# What became of the snapshot that a state machine was asked for.
cdef struct SnapshotMade:
    SnapshotId id
    int status

cdef enum ApplierKind:
    APPLIER_NONE = 1               # settled at commit, in the reactor
    APPLIER_PYTHON = 2

cdef enum:
    CALLS_MAX = 8               # asked of a leader elsewhere and not answered, of a group

# What a caller asks of a group's leader, wherever that is (runtime/leader_call).
cdef struct LeaderCall:
    node_t leader                  # who must lead, or 0: whoever does
    node_t target                  # COMMAND_TRANSFER: to whom; 0: to whom it fits best
    int status                     # the answer: Status of the protocol, ERR_AGAIN if nobody answered

cdef struct Asked:
    Ticket* ticket                 # NULL: free
    uint64_t number
    uint64_t until_ns

cdef enum:
    LOG_CACHE_BYTES = 32 << 20     # of one group at most; all together have a quarter of the pool

# A batch proposed here that is not settled yet.
cdef struct Proposal:
    Batch* batch
    bint sent                      # it may be in somebody's log

cdef struct Proposals:
    uint64_t session
    uint64_t birth                 # an index committed before the first was made; sequences begin behind it
    uint64_t first                 # oldest sequence not settled
    uint64_t next                  # the sequence that the next batch gets
    uint64_t routed                # next sequence to hand to the leader
    Proposal* ring                 # by sequence
    Receipt* taken                 # taken from the intake, not sealed yet
    uint64_t retry_ns              # when to hand over again if nothing is settled; 0: nothing is unsettled
    uint64_t refused_ns            # the leader refused: not again before
    uint64_t memory_ns             # no memory to seal the next batch: try again then; 0: there was

# What the leader has appended of a peer's session in this term.
cdef struct Forwarded:
    uint64_t session
    term_t term
    uint64_t next

cdef struct HostedGroup:
    group_t group
    char name[256]
    const Protocol* protocol
    void* state
    GroupLog log
    Intake intake
    Apply apply
    Reads reads
    int applier                    # ApplierKind
    bint forward                   # hand proposals to the leader, or refuse them here
    uint64_t deadline_ns
    index_t commit
    const RecoveredGroup* recovered    # for the protocol's opening alone; NULL: a new group
    index_t unproved_last
    term_t unproved_term
    bint listening                 # it may have forgotten what it promised in this group
    index_t faulty_first           # first index that is not to be read; 0: none
    bint fault_told                # the protocol knows of apply.faulty
    GroupStatus status             # as of the last change of leader, role or term
    Proposals proposals
    Forwarded forwarded[NODES_MAX]
    node_t forwarded_nodes[NODES_MAX]
    Fetch fetches[2 * NODES_MAX]   # cold batches that the protocol wants, oldest first
    uint32_t fetch_count
    int refusal                    # of the batch proposed in the current step
    HostedGroup* following         # in the list of those that were closed
    int answer                     # of the newest step, to what it was asked for
    Asked asked[CALLS_MAX]
    uint64_t asked_last            # their numbers
    bint unsettled_failed          # receipts were failed; nothing more is expected
    bint snapshots                 # the state machine can make them, or there is none
    bint snapshot_due              # the protocol wants one
    bint making                    # a snapshot is being made
    Ticket* snapshot_tickets       # who waits for it
    SnapshotId snapshot            # the newest one here, durable; index 0: none
    index_t snapshot_needed        # at opening: the log begins behind it, and no snapshot here reaches it
    SnapshotId piece_lost          # index != 0: there was no memory to store a piece
    uint32_t snapshots_damaged     # found bad when it was opened, and removed
    bint loading                   # what an installed one says is being read (no state machine)

cdef struct NodeStatus:
    WalStatus wal
    TransportStatus transport
    int writer_kind
    int failure
    uint64_t boot
    uint64_t turns                 # of the reactor
    uint64_t wakes                 # by eventfd
    uint64_t held_messages
    uint64_t dropped_messages      # for groups we don't have
    uint64_t used_bytes            # of the reactor's batch pool
    uint64_t scrubbed_bytes
    uint64_t scrub_passes
    uint64_t scrub_faults          # bad batches that the scrub found
    uint64_t faults_found          # by whoever read them, of the groups that are open
    uint64_t faults_repaired

cdef struct Node:
    Identity identity
    KnownPeers known_peers
    char path[4096]
    int lock_fd
    Wal* wal
    const WalReport* report
    Writer* writer
    Transport* transport
    BatchPool* pool                # the reactor's: received, sealed and copied batches
    Outbox* outbox
    int epoll_fd
    int event_fd
    Source event_source
    Source writer_source
    atomic_u32 sleeping            # 1 while the reactor is about to block or blocks
    atomic_u32 stopping
    atomic_u32 failure             # Status: the node no longer acknowledges anything
    atomic_u32 apply_signal        # futex word of the Python applier
    atomic_u32 apply_waiting
    atomic_ptr commands            # stack of Ticket
    thread_t thread
    bint started
    Scrubber scrubber
    Control* control
    uint64_t segment_bytes
    uint64_t (*pinned_bytes)() noexcept nogil
    uint32_t peer_count
    node_t peers[NODES_MAX]
    char peer_names[NODES_MAX][64]
    uint64_t scrub_faults
    Snapshots snapshots
    HostedGroup* groups[GROUPS_MAX]
    uint32_t group_count
    DroppedGroups dropped
    HostedGroup* closed_groups     # dropped: what of them callers may still look at
    Message* held                  # wait for their after_io; each owns its `batches` array
    uint32_t held_count
    uint32_t held_capacity
    wsn_t flushed
    uint32_t writes_in_flight
    uint64_t disk_since_ns         # something is in flight, and since then nothing was completed; 0: nothing is
    uint64_t now_ns
    uint64_t starved_ns            # when to look for a ready segment again; 0: one is ready
    uint64_t starved_since_ns      # 0: a segment is ready
    uint64_t mark_ns               # when an idle writer appends a mark; 0: nothing to say
    uint64_t turns
    uint64_t wakes
    uint64_t dropped_messages

cdef struct NodeOptions:
    char path[4096]
    char listen_host[64]
    uint16_t listen_port
    uint32_t peer_count
    node_t peers[NODES_MAX]
    char peer_names[NODES_MAX][64]
    char peer_hosts[NODES_MAX][64]
    uint16_t peer_ports[NODES_MAX]
    uint64_t segment_bytes
    uint32_t spare_segments
    uint64_t sync_group_bytes_max
    bint direct
    uint64_t scrub_bytes_per_s     # 0: no scrub
    int writer                     # WriterKind
    uint64_t memory_bytes          # of the reactor's pool
    uint64_t send_queue_bytes_max
    uint64_t seed
    uint64_t (*pinned_bytes)() noexcept nogil      # held by views, of the whole process
