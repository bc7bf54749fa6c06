"""The virtual world's structures: options, nodes, clients, and the world that holds them.

    schedule    what happens when
    network     what becomes of a message
    disk        what becomes of a write
    ledger      what must hold, after every event
    host        one node: the real protocol over the real log over its virtual disk
    clients     who proposes and reads
    faults      what breaks
    world       the loop
"""

from quorumlog._core.base.prng cimport Prng
from quorumlog._core.base.types cimport NODES_MAX, group_t, index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.log cimport GroupLog
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.engine.protocol cimport GroupStatus, Protocol
from quorumlog._core.engine.sessions cimport Sessions
from quorumlog._core.simulation.disk cimport Disk
from quorumlog._core.simulation.ledger cimport Ledger
from quorumlog._core.simulation.network cimport Network, NetworkOptions
from quorumlog._core.simulation.schedule cimport Schedule
from quorumlog._core.storage.batch cimport Batch, BatchPool
from quorumlog._core.storage.holes cimport Hole
from quorumlog._core.storage.wal cimport Wal, WritePlan, WRITES_IN_FLIGHT_MAX

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    CLIENTS_MAX = 8
    READS_MAX = 64
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
    uint64_t seed
    term_t hard_state_term
    node_t vote
    index_t unproved_last
    const Hole* holes
    uint32_t hole_count

ctypedef void* (*ProtocolOpen)(const OpenRequest* request, GroupLog* log, uint64_t now_ns) noexcept nogil

cdef struct WorldOptions:
    uint64_t seed
    uint32_t node_count
    uint32_t client_count
    uint32_t window                    # batches a client has outstanding
    uint32_t payload_bytes_max
    uint32_t entries_max               # in a batch
    uint32_t read_per_cent             # of a client's turns
    uint64_t safety_ns                 # virtual time with faults
    uint64_t healed_ns                 # and without, in which progress must be made
    uint32_t progress                  # batches that must be acknowledged in it
    uint64_t election_timeout_ns
    uint64_t heartbeat_ns
    uint64_t append_bytes_max
    uint64_t cache_bytes               # of each group log
    uint64_t client_ns                 # mean time between a client's turns
    uint64_t disk_min_ns
    uint64_t disk_max_ns
    uint64_t fault_ns                  # mean time between faults; 0: none
    # How likely each fault is among faults.
    uint32_t weight_break
    uint32_t weight_heal
    uint32_t weight_process_crash
    uint32_t weight_power_cut
    uint32_t weight_blackout           # a power cut of all nodes at once
    uint32_t weight_disk_error
    uint32_t weight_compact
    uint32_t weight_rot                # a flushed batch goes bad on one disk; a quorum of others holds it
    uint32_t weight_pause              # a process that stands still while its clock runs
    uint32_t drift_per_mille           # clocks run at most so much too fast or slow
    uint32_t recovery_crash_per_cent
    NetworkOptions network
    ProtocolOpen open
    const Protocol* protocol

# A message on its way or held back; the batches follow it in the same allocation.
cdef struct Parcel:
    Message message

cdef struct Writing:
    WritePlan plan
    bint busy
    bint written
    wsn_t said                 # `flushed` in its headers

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
    wsn_t proved               # `flushed` in a header that is durable: what is bad below it is corrupt
    uint64_t deadline_ns
    uint64_t timer_ns          # earliest OCCURS_TIME scheduled; 0: none
    uint64_t clock_offset_ns
    int64_t drift_per_mille
    uint64_t paused_until_ns
    bint idle_scheduled
    Parcel** held
    uint32_t held_count
    uint32_t held_capacity
    Writing writing[WRITES_IN_FLIGHT_MAX]
    index_t applied
    uint64_t applied_hash
    Sessions sessions
    # The state machine's snapshot, durable by assumption: what compaction stands on.
    index_t snapshot_index
    uint64_t snapshot_hash
    uint64_t snapshot_sequence[CLIENTS_MAX]      # by client

cdef struct Client:
    uint64_t session
    uint64_t sent              # highest sequence proposed since the last rewind
    uint64_t acked             # highest sequence known applied
    uint32_t target            # host it talks to
    uint64_t retry_ns          # gives up waiting then, and sends again
    uint64_t acked_healed      # acknowledgements in the healed phase

cdef struct PendingRead:
    uint64_t number            # 0: free
    uint32_t host
    uint64_t incarnation
    index_t at_least           # what was acknowledged when it was asked

# The one batch that is bad on one disk, until it is repaired or gone.
cdef struct Rot:
    uint32_t host              # number + 1; 0: none
    index_t first
    term_t term
    wsn_t repair_wsn           # of its repair in this life of the host; 0: none written

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
    Rot rot
    uint64_t hash              # of all that happened
    # Counters, for the report and for `sometimes` assertions.
    uint64_t events
    uint64_t proposals
    uint64_t refusals
    uint64_t acked
    uint64_t reads_served
    uint64_t process_crashes
    uint64_t power_cuts
    uint64_t recoveries
    uint64_t recovery_crashes
    uint64_t unproved_tails
    uint64_t disk_errors
    uint64_t fetches
    uint64_t compactions
    uint64_t pauses
    uint64_t rotten
    uint64_t repaired
    uint64_t healed_at_ns
    uint64_t progress_at_ns    # when the healed phase had what it must reach; 0: not yet
