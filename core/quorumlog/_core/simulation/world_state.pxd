"""The virtual world's structures: options, nodes, clients, and the world that holds them.

    schedule    what happens when
    occurring   asking for something to happen later
    network     what becomes of a message
    disk        what becomes of a write
    ledger      what must hold, after every event
    host_snapshot   its snapshots
    host        one node: the real protocol over the real log over its virtual disk
    clients     who proposes and reads
    history     what clients did and saw
    swarm       which faults a seed has, and how hot
    faults      what breaks when
    atlas       what may be destroyed on whose disk
    damage      what rots there
    inspection  what a disk holds, looked at from outside
    noticing    cold reads that failed
    mending     what is bad is told to the protocol, and the scrub
    operators   who replaces a lost directory and readmits its node
    marks       rare paths that were taken
    trace       what happened, for a reader
    world       the loop
"""

from quorumlog._core.base.prng cimport Prng
from quorumlog._core.base.types cimport NODES_MAX, SnapshotId, group_t, index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.log cimport GroupLog
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.engine.protocol cimport GroupStatus, Protocol
from quorumlog._core.engine.sessions cimport Sessions
from quorumlog._core.simulation.disk cimport Disk
from quorumlog._core.simulation.fault_kinds cimport FAULT_KINDS
from quorumlog._core.simulation.history cimport History
from quorumlog._core.simulation.ledger cimport Ledger
from quorumlog._core.simulation.marks cimport MARKS
from quorumlog._core.simulation.network cimport Network, NetworkOptions
from quorumlog._core.simulation.schedule cimport Schedule
from quorumlog._core.simulation.trace cimport Trace
from quorumlog._core.storage.batch cimport Batch, BatchPool
from quorumlog._core.storage.holes cimport Hole
from quorumlog._core.storage.scrub cimport Scrub
from quorumlog._core.storage.snapshot cimport SnapshotMeta, SnapshotReader
from quorumlog._core.storage.snapshot_files cimport SnapshotInflow
from quorumlog._core.storage.wal cimport Wal, WritePlan, WRITES_IN_FLIGHT_MAX

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    WAITS_FOR_SNAPSHOT = 0x7FFFFFFFFFFFFFFF    # Host.restore: one that is still to come

cdef enum:
    CLIENTS_MAX = 8
    WINDOW_MAX = 8             # batches that a client has outstanding
    READS_MAX = 64
    KEYS_MAX = 8               # registers of the simulated state machine
    OLD_FRAMES_MAX = 32        # frames kept to be replayed
    STOP_BYTES = 256
    THE_GROUP = 7              # the one group of the simulation

# What a protocol is opened with; the factory that the bridge hands in knows the protocol by name.
cdef struct OpenRequest:
    group_t group
    node_t self
    node_t voters[NODES_MAX]
    uint32_t voter_count
    uint64_t election_timeout_ns
    uint64_t heartbeat_ns
    uint64_t append_bytes_max
    bint leases
    uint32_t clock_drift_ppm
    uint64_t seed
    term_t hard_state_term
    node_t vote
    index_t unproved_last
    term_t unproved_term
    bint listening             # it may have forgotten what it promised
    const Hole* holes          # batches of the log that are bad
    uint32_t hole_count
    # A Paxos group's: see protocols/paxos.pxd
    Batch** accepted
    uint32_t accepted_count
    BatchPool* copies
    uint32_t window_slots
    uint32_t mark_slots
    uint32_t page_slots
    SnapshotId snapshot
    index_t snapshot_needed
    uint64_t snapshot_log_bytes
    uint64_t retained_log_bytes
    uint64_t snapshot_bytes_per_s
    uint32_t piece_bytes
    uint8_t priority

ctypedef void* (*ProtocolOpen)(const OpenRequest* request, GroupLog* log, uint64_t now_ns) noexcept nogil

# A user's state machine in place of the simulated one.  Equal machines give equal digests; False: it raised.
cdef struct MachineTable:
    void* context
    bint (*begin)(void* context, uint32_t host) noexcept nogil      # afresh: applies from index 1 on
    bint (*apply)(void* context, uint32_t host, Batch* batch, uint64_t* digest) noexcept nogil
    # The batch that a session proposes as `sequence`: the same whenever it is asked for.
    Batch* (*command)(void* context, BatchPool* pool, uint64_t session, uint64_t sequence) noexcept nogil

cdef struct WorldOptions:
    uint64_t seed
    uint8_t profile
    uint32_t node_count
    uint32_t client_count
    uint32_t window                    # batches a client has outstanding
    uint32_t payload_bytes_max
    uint32_t entries_max               # in a batch
    uint32_t keys                      # registers in use
    uint32_t read_per_cent             # of a client's turns
    bint leases                        # reads by lease too; clocks keep their bound, but in the profile for that
    bint stamped                       # clients have sessions of their own (stamped.pxd)
    uint64_t client_lifetime_ns        # of these, in log time
    uint32_t sessions_max              # of nodes' sessions; the longest unused is forgotten
    uint32_t give_up_per_cent          # of a client's time-outs: it goes on in a new session
    uint64_t safety_ns                 # virtual time with faults
    uint64_t healed_ns                 # and without, in which progress must be made
    uint32_t progress                  # batches that must be acknowledged in it
    uint64_t election_timeout_ns
    uint64_t heartbeat_ns
    uint64_t append_bytes_max
    uint64_t cache_bytes               # of each group log
    uint64_t segment_bytes
    uint64_t client_ns                 # mean time between a client's turns
    uint64_t disk_min_ns
    uint64_t disk_max_ns
    uint64_t fault_ns                  # mean time between turns of faults; 0: none
    uint8_t level[FAULT_KINDS]         # FaultLevel
    uint64_t snapshot_log_bytes
    uint64_t retained_log_bytes
    uint64_t snapshot_bytes_per_s
    uint32_t chunk_bytes
    uint32_t piece_bytes
    uint32_t state_bytes_max           # of the state machine, beside its registers
    uint32_t weight_compact            # chores, not faults
    uint32_t weight_transfer
    uint32_t priorities                # of nodes: 0 to this
    uint32_t damaged_nodes_max         # the atlas: so many nodes at a time may have lost anything at all
    uint32_t wipes_max                 # in a run
    bint snapshots_rot                 # only they do; else only logs, whose heads stay
    uint64_t scrub_ns                  # between two turns of the background scrub; 0: there is none
    NetworkOptions network
    ProtocolOpen open
    const Protocol* protocol
    const MachineTable* machine        # NULL: the simulated one
    bint tracing

# A message on its way or held back; the batches follow it in the same allocation.
cdef struct Parcel:
    Message message
    uint64_t number            # the same for all copies
    uint64_t sent_ns
    uint32_t from_directory    # a connection is between two directories, not between two names
    uint32_t to_directory
    bint again                 # a copy that the network made

cdef struct Writing:
    WritePlan plan
    bint busy
    bint written
    wsn_t said                 # `flushed` in its headers

cdef enum SnapshotJobKind:
    JOB_MAKE = 1
    JOB_READ = 2                       # a piece for a peer
    JOB_STORE = 3                      # a piece of what comes in
    JOB_RESTORE = 4

cdef struct SnapshotJob:
    int kind
    int status
    SnapshotId id
    node_t peer
    uint64_t offset
    uint32_t size
    bint last
    Batch* batch
    SnapshotMeta meta
    uint8_t* records
    uint8_t* state
    uint64_t state_bytes
    SnapshotJob* next

cdef struct Host:
    uint32_t number            # 0-based
    node_t id
    bint up
    bint starting              # an OCCURS_START is scheduled
    uint64_t incarnation
    Disk* disk
    Wal* wal
    BatchPool* pool
    GroupLog log
    Outbox* out
    void* state
    GroupStatus status
    wsn_t flushed
    uint64_t deadline_ns
    uint64_t timer_ns          # earliest OCCURS_TIME scheduled; 0: none
    uint64_t clock_offset_ns
    int64_t drift_per_mille
    uint64_t paused_until_ns
    uint64_t frozen_until_ns   # the clock stands at frozen_clock_ns
    uint64_t frozen_clock_ns
    uint64_t wall_offset_ns
    bint idle_scheduled
    uint64_t disk_done_ns      # of the newest plan, where completions keep their order
    uint64_t stalled_until_ns  # its disk completes nothing before
    uint64_t transfers         # of its status, as of the last step
    uint64_t transfer_until_ns     # by its clock: what the newest one must end by
    # What was destroyed on its disk, and what became of it
    uint32_t directory         # which of its directories: a lost one is replaced by the next
    bint deep                  # nobody knows which batches are bad, or all are gone; until it is whole again
    uint32_t damages           # sectors of this directory that were destroyed
    bint snapshot_hurt         # of a snapshot, which no inspection reads
    bint ended                 # it refuses to start, saying why
    char stop[STOP_BYTES]      # file and offset of the damage that was found last
    wsn_t proved               # `flushed` in a header that is durable: what is bad up to it is corrupt
    wsn_t rolled               # records before it lie in sealed segments
    index_t faulty_first       # not to be read, said the last step; 0: nothing
    index_t waits_for          # the state machine can't read this entry; 0: it waits for nothing
    bint told                  # and the protocol knows
    bint failing               # what it read is bad, and nobody else has it: it stops after this event
    Scrub scrub
    bint scrubbing
    uint32_t recovery_crashes  # in a row
    uint32_t second_crash      # to come once it is back: 1 the process, 2 the power; 0: none
    uint32_t segments          # as of the last look
    Batch** accepted           # of a Paxos group, while it opens
    uint32_t accepted_count
    uint32_t accepted_capacity
    Parcel** held
    uint32_t held_count
    uint32_t held_capacity
    Writing writing[WRITES_IN_FLIGHT_MAX]
    index_t applied
    uint64_t applied_hash
    uint64_t registers[KEYS_MAX]
    uint32_t reads_waiting     # for the state machine
    Sessions sessions
    term_t applied_term
    # Snapshots (host_snapshot.pyx)
    SnapshotId snapshot        # the newest one here; index 0: none
    index_t snapshot_needed    # at the start: the log begins behind it, and no snapshot here reaches it
    index_t restore            # != 0: nothing is applied before the state is restored from it
    bint making
    uint64_t snapshots         # written here, ever
    SnapshotJob* first_job
    SnapshotJob* last_job
    SnapshotInflow inflow
    SnapshotReader outflows[NODES_MAX]     # by peer
    uint32_t crash_due         # after this event: 1 the process, 2 the power

cdef struct Client:
    uint64_t session           # its number + 1, and CLIENTS_MAX more whenever it gives up
    uint64_t id                # stamped: the index that opened it; 0: not open yet
    uint64_t birth             # its first sequence is one more
    bint born
    uint64_t begun             # highest sequence ever proposed in this session
    uint64_t sent              # the same since the last rewind
    uint64_t acked             # highest sequence known applied
    uint32_t operations[WINDOW_MAX]      # in the history, by sequence
    uint32_t target            # host it talks to
    uint64_t retry_ns          # gives up waiting then, and sends again
    uint64_t acked_healed      # acknowledgements in the healed phase

cdef struct PendingRead:
    uint64_t number            # 0: free
    uint32_t host
    uint64_t incarnation
    index_t at_least           # what was acknowledged when it was asked
    uint32_t operation         # in the history
    uint8_t kind               # ReadKind
    uint64_t max_lag_ns        # READ_AS_OF
    uint64_t asked_ns
    bint answered
    index_t index              # where it may be served, once it is answered

cdef struct World:
    WorldOptions options
    Prng prng
    uint64_t now_ns
    bint healed
    Schedule schedule
    Network network
    Ledger* ledger
    BatchPool* wire            # batches on their way
    Host hosts[NODES_MAX]
    Client clients[CLIENTS_MAX]
    PendingRead reads[READS_MAX]
    uint64_t read_next
    History history
    Parcel* old_frames[OLD_FRAMES_MAX]
    uint64_t parcels           # numbered
    uint64_t hash              # of all that happened
    Trace trace
    uint32_t known[NODES_MAX][NODES_MAX]       # the directory of the second that the first talks to
    uint32_t wipes
    uint32_t due_crashes       # in the hot profile: still to come
    uint32_t due_cuts
    bint mending               # links will be whole again some time
    # Counters, for the report and for what must have happened in a campaign.
    uint64_t faults[FAULT_KINDS]
    uint64_t marks[MARKS]
    uint64_t events
    uint64_t at_this_instant   # in a row
    uint64_t proposals
    uint64_t refusals
    uint64_t acked
    uint64_t reads_served
    uint64_t recoveries
    uint64_t fetches
    uint64_t compactions
    uint64_t leader_changes
    uint64_t healed_at_ns
    uint64_t progress_at_ns    # when the healed phase had what it must reach; 0: not yet
