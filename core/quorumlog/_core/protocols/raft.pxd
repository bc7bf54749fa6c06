"""Raft as a pure protocol (Ongaro and Ousterhout 2014; Ongaro's thesis 2014)."""

from quorumlog._core.base.types cimport NODES_MAX, SnapshotId, group_t, index_t, node_t, term_t
from quorumlog._core.engine.faults cimport Fault
from quorumlog._core.engine.log cimport GroupLog
from quorumlog._core.engine.membership cimport Member
from quorumlog._core.engine.protocol cimport Protocol

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef struct RaftOptions:
    group_t group
    node_t self
    node_t voters[NODES_MAX]
    uint32_t voter_count
    Member members[NODES_MAX]          # names and addresses, as far as they are known, of these and others
    uint32_t member_count
    bint joining                       # not one of the voters: it waits to be added
    bint heeds_strangers               # the membership may change: a leader that it doesn't name may be ahead of it
    const uint8_t* membership          # body of the newest membership record, of the log or before its head; NULL: none
    uint32_t membership_bytes
    index_t membership_index
    uint64_t election_timeout_ns       # drawn anew each time from [1, 2) times this
    uint64_t heartbeat_ns
    uint64_t append_bytes_max          # of batches in one append message (one batch may exceed it)
    uint64_t uncommitted_bytes_max     # a leader refuses proposals above it: ERR_OVERLOADED
    uint64_t seed
    term_t hard_state_term             # what recovery found
    node_t vote
    index_t unproved_last              # 0: the log's tail is intact
    term_t unproved_term               # of the entry there, 0: not known
    const Fault* faults                # bad batches of the log, in order; `first`, `last`, `term` and identity count
    uint32_t fault_count
    uint8_t priority                   # leadership goes to the highest, once that is caught up
    uint64_t disk_patience_ns          # a leader whose disk flushes nothing for so long gives up; 0: twice the timeout
    bint leases                        # it promises, and reads by lease (raft_lease.pxd); the same on all nodes
    uint32_t clock_drift_ppm           # of any node's monotonic clock, at most
    bint listening                     # it may have forgotten what it promised: it waits to be admitted
    SnapshotId snapshot                # the newest one here, from which the state was built; index 0: none
    index_t snapshot_needed            # != 0: the log begins behind it, and no snapshot here reaches it
    uint64_t snapshot_log_bytes        # of the log behind a snapshot before the next one is due; 0: never by itself
    uint64_t retained_log_bytes        # of the log before a snapshot that stay, for peers a little behind
    uint64_t snapshot_bytes_per_s      # at which one is sent to a peer; 0: no limit
    uint32_t piece_bytes               # of a snapshot's file in one message; a multiple of 8

# Opens at `now_ns` as a follower over `log` (restored by the caller, which keeps owning it).
# NULL: no memory, or options that make no sense.  The caller pins the log at what is applied (log_pin, at
# most commit + 1): a leader counts on what is not committed being in memory.
cdef void* raft_open(const RaftOptions* options, GroupLog* log, uint64_t now_ns) noexcept nogil
cdef const Protocol* raft_protocol() noexcept nogil
