"""What must hold after every event, whatever the protocol (hard-cases.md, "Invariants").

The ledger keeps its own account of what each node wrote, what was flushed, what
was said, what was committed, and compares.  A broken rule does not abort: the
sentence goes into `failure` and the run ends, so that a test can name the seed.
What a node finds again when it starts, and what its disk lost, is in ledger_back.
"""

from quorumlog._core.base.types cimport NODES_MAX, index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.log cimport GroupLog
from quorumlog._core.engine.protocol cimport GroupStatus
from quorumlog._core.simulation.slot_account cimport SlotLedger
from quorumlog._core.storage.batch cimport Batch

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    FAILURE_BYTES = 256
    TERMS_MAX = 1 << 16
    LEDGER_SESSIONS = 1024
    NEVER_MENDED = 0xFFFFFFFFFFFFFFFF

# A batch by what identifies it.
cdef struct Issued:
    index_t first              # 0: free slot
    term_t term
    index_t last
    uint64_t content           # body crc, session, sequence, mixed
    index_t before_first       # the batch before it in the log it was first seen in; 0, 0: none
    term_t before_term

cdef struct Kept:
    index_t first
    index_t last
    term_t term
    uint64_t content
    wsn_t wsn                  # 0: found by recovery, durable
    wsn_t mended               # 0: intact; NEVER_MENDED: bad on disk; else the repair's WSN

cdef struct Committed:
    index_t first
    index_t last
    term_t term
    uint64_t content
    term_t seen_term           # of the node that first called it committed
    uint64_t applied_hash      # of the state machine behind it

# A node's account.
cdef struct Account:
    Kept* kept                 # the log as written, ascending
    uint32_t kept_count
    uint32_t kept_capacity
    Kept* before               # the log of the life before, while a new one is read
    uint32_t before_count
    bint truncated             # entries, in this step
    bint damaged               # something on its disk was destroyed, by the atlas, and it may not be whole again
    bint listening
    index_t unproved_last      # its votes count as if it had this
    term_t unproved_term
    Kept* owed                 # what it had acknowledged and knows that it lost: it was a copy when that counted
    uint32_t owed_count
    uint32_t owed_capacity
    wsn_t flushed
    index_t head               # first index kept after compaction
    index_t snapshot           # of the newest durable snapshot
    term_t term                # in this life
    index_t commit
    uint8_t role
    uint64_t applied_sequence[LEDGER_SESSIONS]
    # What was said or could have been: the vote at its step, and the WSN behind which it is public.
    term_t vote_term
    node_t vote
    wsn_t vote_wsn
    term_t promised_term       # binding across restarts
    node_t promised_vote       # in promised_term; 0: none

# A client's session, and where each of its commands was applied.
cdef struct Commands:
    uint64_t session
    index_t* applied           # by sequence; 0: not yet
    uint64_t capacity

# Up to which index clients had been told of writes, from when on.
cdef struct AckedAt:
    uint64_t at_ns
    index_t index

cdef struct Ledger:
    char failure[FAILURE_BYTES]        # empty: all is well
    uint32_t node_count
    Account accounts[NODES_MAX]
    uint32_t* leader_of_term           # host number + 1
    Issued* issued                     # open addressing, power of two
    uint32_t issued_count
    uint32_t issued_capacity
    Committed* committed
    uint32_t committed_count
    uint32_t committed_capacity
    Commands commands[LEDGER_SESSIONS]
    uint32_t commands_count
    AckedAt* acked                     # rising
    uint32_t acked_count
    uint32_t acked_capacity
    index_t acked_index                # highest index of an entry acknowledged to a client
    uint64_t truncations               # of batches, for what must have happened in a campaign
    uint64_t truncations_long          # of three or more at once
    uint64_t old_term_commits          # an earlier term's batch, committed by one of the own term
    SlotLedger* slots                  # of a Paxos group, which keeps no log of terms; else NULL


cdef Ledger* ledger_open(uint32_t node_count, bint slots) noexcept nogil
cdef void ledger_close(Ledger* ledger) noexcept nogil
cdef void ledger_fail(Ledger* ledger, const char* sentence, uint32_t node, uint64_t a,
                      uint64_t b) noexcept nogil
cdef index_t ledger_committed_last(const Ledger* ledger) noexcept nogil
# The batch of its log that holds `index`, or NULL.
cdef Kept* ledger_kept(const Ledger* ledger, uint32_t node, index_t index) noexcept nogil
# Durable, and not bad on its disk as far as anybody knows.
cdef bint ledger_intact(const Ledger* ledger, uint32_t node, const Kept* entry) noexcept nogil
# A record went to the write-ahead log of `node`.
cdef void ledger_wrote(Ledger* ledger, uint32_t node, const Batch* batch, wsn_t wsn) noexcept nogil
cdef void ledger_flushed(Ledger* ledger, uint32_t node, wsn_t wsn) noexcept nogil
# A message with this term left `node`.
cdef void ledger_sent(Ledger* ledger, uint32_t node, term_t term) noexcept nogil
# After every step of `node`; `wsn_last` is the newest write it has asked for.
cdef void ledger_stepped(Ledger* ledger, uint32_t node, const GroupStatus* status, const GroupLog* log,
                         wsn_t wsn_last) noexcept nogil
# Entries before `first` go, of which the last has this term; a snapshot that holds them is durable (or was, before
# damage).
cdef void ledger_compacted(Ledger* ledger, uint32_t node, index_t first, term_t term) noexcept nogil
# The newest snapshot of `node` is of this index now, and durable.
cdef void ledger_snapshot(Ledger* ledger, uint32_t node, index_t index, term_t term) noexcept nogil
# The state machine of `node` is behind the batch that ends at `last`.
cdef void ledger_applied(Ledger* ledger, uint32_t node, index_t last, uint64_t applied_hash) noexcept nogil
# It applies a session's batch (again from the start after `ledger_back`, or from a snapshot's state).
cdef void ledger_admitted(Ledger* ledger, uint32_t node, uint64_t session, uint64_t sequence,
                          bint begins) noexcept nogil
cdef void ledger_restored(Ledger* ledger, uint32_t node, uint64_t session, uint64_t sequence) noexcept nogil
# One step of every state machine's hash; the ledger's and the hosts' alike.
cdef uint64_t applied_step(uint64_t hash, uint64_t session, uint64_t sequence,
                           uint64_t body_crc) noexcept nogil
# Identity of a batch's content: what it carries, not where.
cdef uint64_t content_of(const Batch* batch) noexcept nogil

# For ledger_back.
cdef const Kept* kept_at(const Kept* kept, uint32_t count, index_t index) noexcept nogil
cdef void keep(Ledger* ledger, uint32_t node, const Kept* entry) noexcept nogil
cdef Kept kept_of(const Batch* batch, wsn_t wsn) noexcept nogil
cdef const Issued* ledger_issued(const Ledger* ledger, index_t first, term_t term) noexcept nogil      # NULL: nobody
cdef void check_vote(Ledger* ledger, uint32_t node, term_t term, node_t vote) noexcept nogil
