"""Multi-Paxos as a pure protocol; sources and modules stand in paxos_state.pxd."""

from quorumlog._core.base.types cimport NODES_MAX, group_t, index_t, node_t, term_t
from quorumlog._core.engine.log cimport GroupLog
from quorumlog._core.engine.protocol cimport Protocol
from quorumlog._core.engine.quorum cimport Quorum
from quorumlog._core.storage.batch cimport Batch, BatchPool

from libc.stdint cimport uint32_t, uint64_t

cdef struct PaxosOptions:
    group_t group
    node_t self
    node_t voters[NODES_MAX]
    uint32_t voter_count
    const Quorum* quorum               # over slots in order of node id; NULL: majorities
    uint64_t election_timeout_ns       # drawn anew each time from [1, 2) times this
    uint64_t heartbeat_ns
    uint64_t accept_bytes_max          # of batches in one accept message (one batch may exceed it)
    uint64_t uncommitted_bytes_max     # a leader refuses proposals above it: ERR_OVERLOADED
    uint32_t window_slots              # how far proposals run ahead of what is chosen and durable here; 1 to 512
    uint32_t mark_slots                # how often it is written down how far all is chosen; 1 to 256
    uint32_t page_slots                # of one answer in phase 1; 1 to 64
    uint64_t seed
    BatchPool* copies                  # for values that are proposed again; of the thread that steps
    term_t promised_round              # what recovery found
    node_t promised_node
    Batch** accepted                   # the newest batch of each slot behind the log's end; kept by reference
    uint32_t accepted_count

# Opens at `now_ns` as a follower over `log`, a log of slots that ends with what is known to be chosen (restored by the
# caller, which keeps owning it).  NULL: no memory, or options that make no sense.
cdef void* paxos_open(const PaxosOptions* options, GroupLog* log, uint64_t now_ns) noexcept nogil
cdef const Protocol* paxos_protocol() noexcept nogil
