"""Why does commit not move?  Findings from what a protocol knows of itself and the runtime of its surroundings.

A protocol fills a `Standing` (the table's `standing`), the runtime adds what only it knows, and one
pure function tells what stands in the way.  Nobody is asked: it works without a leader,
without a quorum, and on a node whose disk hangs.
"""

from quorumlog._core.base.types cimport NODES_MAX, index_t, node_t, term_t
from quorumlog._core.engine.quorum cimport Quorum

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum FindingKind:
    FINDING_FAILED = 1         # the node's disk failed; `number`: the status
    FINDING_MACHINE_STOPPED = 2    # nothing more is applied here; `number`: the status
    FINDING_NO_QUORUM = 3      # this node and those it is connected to are none; `number`: how many they are
    FINDING_NO_LEADER = 4      # `since`: a leader was last heard
    FINDING_LEADER_CUT = 5     # no connection to the leader
    FINDING_LISTENING = 6      # it may have forgotten what it promised and waits to be admitted
    FINDING_UNPROVED = 7       # a torn tail up to `index` is being judged
    FINDING_FAULTY = 8         # `number` batches wait for their repair
    FINDING_DISK = 9           # own entries aren't flushed; `since`: the disk last completed something
    FINDING_NO_SEGMENT = 10    # no file of the log is ready; `since`
    FINDING_PEER_CUT = 11      # `node` lacks `number` entries and is not connected
    FINDING_PEER_LISTENING = 12    # and doesn't count before it is admitted
    FINDING_PEER_PROBED = 13   # where its log meets the leader's is being found out
    FINDING_PEER_SNAPSHOT = 14     # and is sent a snapshot
    FINDING_PEER_FETCHED = 15  # and what it lacks is being read from the leader's disk
    FINDING_PEER_SENT = 16     # it was sent all that its window takes; `since`: without an answer
    FINDING_PEER_IDLE = 17     # it is not being sent anything
    FINDING_OWN_TERM = 18      # entries of older terms are committed by one of the leader's own, at `index`
    FINDING_FULL = 19          # the leader takes no more before something is committed; `number`: bytes
    FINDING_MEMBERSHIP = 20    # a change at `index` is not done
    FINDING_FOLLOWS = 21       # `node` decides; `since` it was last heard
    FINDING_PROPOSALS = 22     # `number` batches proposed here are not settled
    FINDING_APPLYING = 23      # `number` entries are committed and not applied here
    FINDING_NOTHING = 24       # everything that is in the log is committed

cdef enum:
    FINDINGS_MAX = 48

cdef struct Finding:
    int kind                   # FindingKind
    bint blocks                # commit can't move while this lasts (of peers: while it lasts for too many)
    node_t node                # whom it is about; 0: this node
    index_t index
    uint64_t number
    uint64_t since_ns          # for how long, 0: not known

cdef struct PeerStanding:
    node_t node
    int slot
    uint8_t state              # PeerState; 0: this node doesn't lead
    bint listening
    bint fetching
    bint reachable             # the runtime's
    index_t match              # what it acknowledges
    uint64_t asked_ns          # since when it owes an answer; 0: it owes none

# What a protocol knows.  Times are monotonic, 0: never.
cdef struct Standing:
    uint8_t role
    term_t term
    node_t leader
    index_t commit
    index_t last
    index_t flushed
    index_t unproved_last
    uint32_t faulty
    bint listening
    bint membership_pending
    index_t membership_index
    index_t term_first         # of a leader: the first index of its term
    uint64_t uncommitted_bytes
    uint64_t uncommitted_bytes_max
    uint64_t heard_leader_ns
    int self_slot
    Quorum quorum
    uint32_t peer_count
    PeerStanding peers[NODES_MAX]

# What only the runtime knows.
cdef struct Surroundings:
    uint64_t now_ns
    int failure                # Status
    int stopped                # Status: of the state machine
    uint64_t disk_since_ns     # something is being written, and since then nothing was completed; 0: nothing is
    uint64_t starved_since_ns  # no segment is ready; 0: one is
    uint64_t proposals         # of this node, unsettled
    index_t applied


# In the order of their weight; how many.  `out` has room for FINDINGS_MAX.
cdef uint32_t explain(const Standing* standing, const Surroundings* around, Finding* out) noexcept nogil
