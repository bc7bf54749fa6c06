"""The virtual world of two-phase commit: coordinators, participants, the network and disks between them.

    transaction_log          a node's write-ahead log over its virtual disk
    transaction_shared       a replicated decision log, by what it promises (raft has a simulation of its own)
    transaction_coordinator  a coordinator's host, and its clients
    transaction_participant  a participant's host: accounts and locks
    transaction_ledger       what must hold
    transaction_faults       what breaks when
    transaction_run          the loop

Coordinators are nodes 0 up to coordinator_count, participants follow.
"""

from quorumlog._core.base.prng cimport Prng
from quorumlog._core.base.types cimport NODES_MAX, index_t, node_t, wsn_t
from quorumlog._core.engine.decisions cimport BRANCHES_MAX, DECISION_BYTES_MAX, Decisions
from quorumlog._core.engine.transactions cimport Effects, TransactionProtocol
from quorumlog._core.engine.txids cimport Txid, TxidIndex
from quorumlog._core.simulation.disk cimport Disk
from quorumlog._core.simulation.network cimport Network, NetworkOptions
from quorumlog._core.simulation.schedule cimport Schedule
from quorumlog._core.storage.batch cimport BatchPool
from quorumlog._core.storage.wal cimport Wal, WritePlan, WRITES_IN_FLIGHT_MAX

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    ACCOUNTS_MAX = 8           # of a participant
    TRANSFERS_MAX = 4096       # of a run
    OLD_PARCELS_MAX = 32
    FAILURE_BYTES = 200

cdef enum TransactionFault:
    TFAULT_LOSS = 0
    TFAULT_DUPLICATION = 1
    TFAULT_DELAY = 2
    TFAULT_REORDERING = 3
    TFAULT_REPLAY = 4
    TFAULT_PARTITION = 5
    TFAULT_ONE_WAY = 6
    TFAULT_CLOG = 7
    TFAULT_CRASH = 8
    TFAULT_POWER_CUT = 9
    TFAULT_DISK_ERROR = 10
    TFAULT_LATE_WRITE = 11
    TFAULT_LOG_SILENT = 12     # the replicated log takes it and doesn't say so, or doesn't take it
    TFAULT_LOST_DECISIONS = 13  # a coordinator's log comes back damaged
    TFAULTS = 14

cdef enum TransactionMark:     # rare paths that were taken
    TMARK_LATE_YES = 0         # after the decision to abort
    TMARK_LATE_PREPARE = 1     # after the end
    TMARK_IN_DOUBT_TOLD = 2    # a client was told that nobody knows yet
    TMARK_ONE_PHASE = 3
    TMARK_READ_ONLY = 4
    TMARK_ALL_READ_ONLY = 5
    TMARK_REFUSED = 6          # a vote was no
    TMARK_TIMED_OUT = 7
    TMARK_INQUIRED = 8
    TMARK_UNFINISHED_RESUMED = 9
    TMARK_TAKEN_OVER = 10      # finished by another coordinator
    TMARK_FENCED = 11          # a decision was refused to a fenced incarnation
    TMARK_RESOLVED = 12        # by the operator, from doubt
    TMARK_PREPARED_RESTORED = 13
    TMARK_POISONED = 14
    TMARK_DECIDED_UNHEARD = 15  # the log took it, and its caller crashed or heard nothing
    TMARKS = 16

cdef enum TransactionOccurrence:   # beside those of schedule.pxd
    OCCURS_PROPOSED = 101      # a record reaches the replicated decision log
    OCCURS_ANSWERED = 102      # and its caller hears so
    OCCURS_OPERATOR = 103      # somebody resolves what is in doubt

cdef struct TransactionOptions:
    uint64_t seed
    bint quiet                 # no faults
    uint32_t coordinator_count  # 0: drawn.  1: its own log; more: a replicated one
    uint32_t participant_count
    uint32_t accounts
    uint64_t safety_ns
    uint64_t healed_ns
    uint64_t client_ns         # mean time between transfers of a coordinator
    uint64_t timeout_ns        # of a transfer
    uint64_t retry_ns
    uint64_t inquire_ns
    uint64_t fault_ns
    uint64_t disk_min_ns
    uint64_t disk_max_ns
    uint8_t level[TFAULTS]     # 0: off, 1: rare, 2: hot
    NetworkOptions network
    const TransactionProtocol* protocol

cdef struct Writing:
    WritePlan plan
    bint busy
    bint written

cdef struct NodeLog:
    Disk* disk
    Wal* wal
    BatchPool* pool
    Writing writing[WRITES_IN_FLIGHT_MAX]
    wsn_t flushed
    index_t last

# A message on its way, or held back until a record is flushed.
cdef struct TransactionParcel:
    int kind                   # EffectKind from a coordinator, TransactionMessage from a participant
    uint32_t source
    uint32_t target
    Txid txid
    int outcome
    uint32_t low_incarnation
    uint64_t low_number
    uint32_t account
    int64_t amount
    wsn_t after_io

# What has been proposed to a decision log and not yet answered.
cdef struct Proposed:
    uint32_t node
    uint64_t incarnation       # of the process that asked
    bint unheard               # the answer will be lost
    wsn_t wsn                  # in an own log
    uint32_t index             # in the replicated log; SHARED_NOWHERE: it never came there
    uint32_t bytes
    uint8_t data[DECISION_BYTES_MAX]

cdef enum:
    PROPOSED_MAX = 512
    SHARED_NOWHERE = 0xFFFFFFFF

cdef struct Node:
    uint32_t number
    bint up
    bint starting
    uint64_t incarnation       # of the process: what was meant for an earlier life is void
    NodeLog log                # not of coordinators with a replicated decision log
    Effects effects
    uint64_t deadline_ns
    uint64_t timer_ns
    TransactionParcel** held
    uint32_t held_count
    uint32_t held_capacity
    # A coordinator
    bint has_decisions
    Decisions decisions
    void* coordinator          # NULL: not yet, its incarnation is not durable
    Txid self
    bint asking                # for an incarnation
    uint32_t applied           # of the replicated log's records
    Proposed* proposed         # of an own log, in the order of their WSNs
    uint32_t proposed_first
    uint32_t proposed_count
    uint32_t live_reports      # of inquiries about another coordinator that may be dead
    bint lost_decisions        # in its next life
    # A participant
    void* participant
    int64_t balance[ACCOUNTS_MAX]
    uint64_t locked_by[ACCOUNTS_MAX]     # 1 + transfer; 0: free
    uint32_t locks

# A transfer as the world knows it.
cdef struct Transfer:
    Txid txid
    uint32_t coordinator
    uint32_t branch_count
    uint32_t nodes[BRANCHES_MAX]
    uint32_t accounts[BRANCHES_MAX]
    int64_t amounts[BRANCHES_MAX]        # 0: only read
    bint one_phase
    bint decided               # its commit is durable in the decision log
    bint resolved              # an operator's word took its place
    bint lost                  # from the decision log, for good
    int told                   # Verdict; 0: nothing yet
    wsn_t prepared_wsn[BRANCHES_MAX]
    wsn_t committed_wsn[BRANCHES_MAX]
    bint said_yes[BRANCHES_MAX]
    bint committed[BRANCHES_MAX]         # in the participant's present life
    bint rolled_back[BRANCHES_MAX]

# A record of the replicated decision log.
cdef struct SharedRecord:
    uint32_t bytes
    uint8_t* data
    int verdict                # as the first replica found it: all must
    uint64_t coordinator
    uint32_t incarnation

cdef struct TransactionWorld:
    TransactionOptions options
    Prng prng
    uint64_t now_ns
    bint healed
    bint mending
    Schedule schedule
    Network network
    uint32_t node_count
    Node nodes[NODES_MAX]
    Transfer* transfers
    uint32_t transfer_count
    TxidIndex transfer_index
    SharedRecord* shared
    uint32_t shared_count
    uint32_t shared_capacity
    Decisions reference        # of the replicated log, as it is written
    uint64_t silent_until_ns   # the replicated log answers nobody
    TransactionParcel old[OLD_PARCELS_MAX]
    uint32_t old_count
    char failure[FAILURE_BYTES]
    uint64_t hash
    uint64_t events
    uint64_t committed         # as told to clients
    uint64_t aborted
    uint64_t in_doubt
    uint64_t committed_healed
    uint64_t recoveries
    uint64_t resolutions
    uint64_t faults[TFAULTS]
    uint64_t marks[TMARKS]


cdef inline bint is_coordinator(const TransactionWorld* world, uint32_t node) noexcept nogil:
    return node < world.options.coordinator_count


cdef inline bint is_replicated(const TransactionWorld* world) noexcept nogil:
    return world.options.coordinator_count > 1
