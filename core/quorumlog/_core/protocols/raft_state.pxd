"""Raft's state, its messages laid over the envelope's fields, and the smallest helpers.

The envelope's `term` is the sender's current term in every kind; it waits in the
outbox until the hard state that holds it is flushed (raft_records.pyx sees to it).
The modules, from the bottom:

    raft_records      the protocol's own records and messages
    raft_lease        promises of peers, and what the leader answers alone while they last
    raft_freshness    how old what a node knows may be
    raft_reads        heartbeat rounds and what they confirm: reads, check-quorum
    raft_shipping     the leader: snapshots on their way to peers
    raft_replication  the leader: propose, send, acknowledge, commit
    raft_membership   who belongs to the group, by the newest record of the log
    raft_changes      the leader: from a request to the last record of a change
    raft_repair       bad batches of the own log: whom to ask, what to take
    raft_tail         a tail that recovery could not prove
    raft_admission    a node that may have forgotten what it promised
    raft_transfer     handing over leadership: asked for, to a higher priority, from a disk that stands still
    raft_election     roles, terms, votes
    raft_follower     appends and heartbeats received
    raft_snapshot     snapshots made, received and installed; the log's head
    raft              open, step, status
"""

from quorumlog._core.base.prng cimport Prng
from quorumlog._core.base.types cimport NODES_MAX, SnapshotId, group_t, index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.faults cimport Faults
from quorumlog._core.engine.log cimport GroupLog
from quorumlog._core.engine.membership cimport Membership
from quorumlog._core.engine.progress cimport Progress
from quorumlog._core.engine.reads cimport Reads
from quorumlog._core.engine.transfer cimport Receiving, Sending
from quorumlog._core.storage.batch cimport Batch, BatchPool

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum RaftMessage:
    RAFT_PRE_VOTE = 1
    RAFT_PRE_VOTE_REPLY = 2
    RAFT_VOTE = 3
    RAFT_VOTE_REPLY = 4
    RAFT_APPEND = 5
    RAFT_APPEND_REPLY = 6
    RAFT_HEARTBEAT = 7
    RAFT_HEARTBEAT_REPLY = 8
    RAFT_COMMIT = 9                # a moved commit index; no answer
    RAFT_READ_INDEX = 10
    RAFT_READ_INDEX_REPLY = 11
    RAFT_STALE_TERM = 12           # an answer to any request of an older term; says nothing but the term
    RAFT_FETCH = 13                # one batch for a repair; of any role and term, and changes neither
    RAFT_FETCH_REPLY = 14          # with the batch, if `found`
    RAFT_BARRIER = 15              # a listening node to the leader
    RAFT_BARRIER_REPLY = 16
    RAFT_SNAPSHOT = 17             # a piece of a snapshot's file; without one: where are you?
    RAFT_SNAPSHOT_REPLY = 18       # there; when it is installed, an append reply says so
    RAFT_TIMEOUT_NOW = 22          # the leader to who is to follow it in office
    RAFT_REMOVED = 23              # to a node that is no member, of any term

cdef enum:
    VOTE_FLAG_TAIL = 1             # a tail round: nobody grants, everybody says where its log ends

# RAFT_PRE_VOTE and RAFT_VOTE
cdef struct VoteFields:
    index_t last_index             # of the intact log
    term_t last_term
    term_t proposed                # the term it is about; equals the envelope's in RAFT_VOTE
    uint64_t flags
    uint64_t transfer              # the leader asked for this campaign: whoever heard it just now votes too
    index_t membership             # of the newest membership that the candidate knows of

# RAFT_PRE_VOTE_REPLY and RAFT_VOTE_REPLY
cdef struct VoteReplyFields:
    uint64_t granted
    term_t proposed                # as asked
    index_t last_index             # of the answering node's intact log
    term_t last_term

# RAFT_APPEND; the batches lie at prev_index + 1 and behind, without a gap
cdef struct AppendFields:
    index_t prev_index
    term_t prev_term
    index_t commit

# RAFT_APPEND_REPLY
cdef struct AppendReplyFields:
    uint64_t rejected
    index_t match                  # accepted: the end of what this request covered (A-R5)
    index_t prev_index             # as asked
    index_t hint_index             # rejected: the last place where the logs may agree
    term_t hint_term               # and the term there
    index_t withheld               # accepted: the last so many entries before `match` don't count as acknowledged

# RAFT_HEARTBEAT
cdef struct HeartbeatFields:
    uint64_t round
    index_t commit                 # never beyond what this peer is known to hold
    uint64_t sent_ns               # the leader's clock
    uint64_t mark                  # of the peer's newest answer, echoed; 0: none yet
    uint64_t age_ns                # how long ago the leader was sure to lead
    index_t newest                 # the leader's commit index

# RAFT_HEARTBEAT_REPLY
cdef struct HeartbeatReplyFields:
    uint64_t round
    index_t verified               # how far the log is known to agree with the leader's
    uint64_t sent_ns               # echoed
    uint64_t listening             # it confirms nothing
    uint64_t mark                  # to be echoed
    uint64_t holds_ns              # so long, by its clock, it helps nobody else to be elected; 0: no promise
    uint64_t priority              # of the answering node
    index_t wants                  # it needs a snapshot of this index or a later one; 0: none

# RAFT_COMMIT
cdef struct CommitFields:
    index_t commit

# RAFT_READ_INDEX and its reply: ReadIndexFields of engine/reads

cdef enum:
    FETCH_IDENTIFIED = 1           # index is the batch's first and body_crc its checksum

# RAFT_FETCH
cdef struct FetchFields:
    index_t index
    term_t entry_term
    uint64_t body_crc
    uint64_t flags

# RAFT_FETCH_REPLY
cdef struct FetchReplyFields:
    index_t index                  # as asked
    uint64_t found                 # number of batches that follow: 1 or 0

# RAFT_BARRIER and its reply
cdef struct BarrierFields:
    uint64_t request               # drawn by the listening node, echoed
    index_t index                  # the reply: the barrier, which is committed

# RAFT_TIMEOUT_NOW
cdef struct TimeoutNowFields:
    index_t last_index             # of the leader's log: who has less is not the one meant

# RAFT_REMOVED
cdef struct RemovedFields:
    index_t index                  # of the committed membership without the node

# RAFT_SNAPSHOT: all of a SnapshotId, and where in its file the piece lies
cdef struct SnapshotFields:
    index_t index
    term_t entry_term
    node_t writer
    uint64_t number
    uint64_t file_bytes
    uint64_t offset

# RAFT_SNAPSHOT_REPLY
cdef struct SnapshotReplyFields:
    index_t index
    node_t writer
    uint64_t number
    uint64_t offset                # all before it is stored
    uint64_t restart               # go on there, wherever you are

cdef enum:
    HEAD_MARKS = 32                # places of the log whose distance in bytes is known

# Where the log had grown to so many bytes.
cdef struct HeadMark:
    index_t index                  # a batch's end
    uint64_t bytes                 # of GroupLog.appended_bytes

cdef enum:
    SPARES = 8                     # batches at hand for the protocol's own records
    SPARES_PER_STEP = 3            # at most used by one step

cdef enum:
    # Highest term and index that is taken from a peer: room above for arithmetic (P8).
    NUMBER_BITS_MAX = 62

cdef struct Raft:
    # Options
    group_t group
    node_t self
    int self_slot
    uint64_t election_timeout_ns
    uint64_t heartbeat_ns
    uint64_t append_bytes_max
    uint64_t uncommitted_bytes_max
    Membership membership
    GroupLog* log                  # the caller's
    Prng prng
    BatchPool* pool
    Batch* spares[SPARES]
    uint32_t spare_count

    # The step's
    uint64_t now_ns
    uint64_t wall_ns
    wsn_t wsn_next

    # Hard state
    term_t term
    node_t vote
    wsn_t hard_state_wsn           # of the record that holds them
    wsn_t flushed_wsn

    # Volatile, all nodes
    int role
    node_t leader
    index_t commit
    index_t verified               # the log agrees with this term's leader up to here
    uint64_t election_deadline_ns
    uint64_t heard_leader_ns
    uint32_t reachable             # bit set of slots

    # Campaigns
    uint32_t granted
    uint32_t refused
    bint tail_campaign             # the pre-vote under way is for a tail round
    bint transfer_campaign         # the leader asked for the one under way

    # Leader
    Progress progress[NODES_MAX]   # by slot
    index_t commit_sent[NODES_MAX]
    index_t commit_wanted[NODES_MAX]   # callers wait there for what is committed up to here
    uint64_t commit_due_ns             # when the others are told of a commit that nothing else told them; 0: all are
    index_t term_first             # first index of the own term
    uint64_t uncommitted_bytes     # proposed in this term, not committed
    uint64_t heartbeat_deadline_ns
    uint64_t quorum_heard_ns       # a commit quorum was heard at or after this: reads_quorum_heard_ns, some time ago
    uint64_t round                 # of heartbeats, over all terms led
    bint more_to_send              # the outbox was full

    Reads reads

    # Leases (raft_lease.pyx)
    bint leases
    uint64_t lease_share_ppm
    bint lease_broken              # for the rest of the term

    # Bounded staleness (raft_freshness.pyx)
    uint64_t mark                  # of the newest answer to a heartbeat
    uint64_t mark_ns               # when it was first said
    bint mark_echoed
    uint64_t as_of_ns              # all that was acknowledged before, by this node's clock, ...
    index_t as_of_index            # ... lies at or below this

    # A tail that recovery could not prove (raft_tail.pyx)
    index_t unproved_last
    term_t unproved_term           # of its last entry as a list names it; 0: not known
    term_t unproved_term_max       # no entry of the tail has a higher term
    bint tail_truncated            # its truncation is written
    uint32_t tail_heard            # voters that said in this term where their log ends
    uint32_t tail_holds            # of these, those that may hold the tail

    # Bad batches of the log (raft_repair.pyx)
    Faults faults
    int repair_slot                # of the peer asked last
    uint64_t faults_found
    uint64_t faults_repaired

    # Listening (raft_admission.pyx)
    bint listening
    uint64_t barrier_request       # 0: none sent in this term
    index_t barrier                # committed by this term's leader; 0: none yet
    # Leader, by slot
    index_t counted[NODES_MAX]     # of the peer's match, what it acknowledges
    bint peer_listening[NODES_MAX]
    uint64_t barrier_asked[NODES_MAX]
    index_t barriers[NODES_MAX]    # acknowledgements below it are forgotten ones; 0: none

    # Snapshots (raft_snapshot.pyx)
    SnapshotId snapshot            # the newest one here, durable; index 0: none
    index_t snapshot_needed        # the state can't be built without one of this index, or a later one; 0: it can
    bint snapshot_forced           # a peer needs a newer one than there is
    uint64_t snapshot_log_bytes
    uint64_t retained_log_bytes
    uint64_t snapshot_seen_bytes   # log.appended_bytes at the snapshot's last entry
    HeadMark marks[HEAD_MARKS]     # rising
    uint32_t mark_count
    uint64_t mark_bytes            # they lie so far apart
    Receiving receiving
    bint reset_unwritten           # at opening the log began anew behind the snapshot, and no record says so yet
    index_t reset_truncate         # first of them: != 0: drop everything from here on
    # To peers, by slot (raft_shipping.pyx)
    Sending sending[NODES_MAX]
    bint shipping                  # some peer may be sent one: False is sure
    uint64_t snapshot_bytes_per_s
    uint32_t piece_bytes

    # Handing over leadership (raft_transfer.pyx)
    uint8_t priority
    uint64_t disk_patience_ns
    uint64_t disk_moved_ns         # since then something of this group waits for the disk, and nothing was flushed
    node_t transfer_target         # 0: none
    uint64_t transfer_until_ns     # it is given up then, whatever has happened
    uint64_t transfer_round        # the target was told in this round of heartbeats; 0: not yet
    uint64_t transfer_again_ns     # no hand-over to a higher priority before
    uint8_t priorities[NODES_MAX]  # by slot, as they said

    # Membership (raft_membership.pyx, raft_changes.pyx)
    index_t removed_index          # of the membership that this node is said not to belong to; 0: it is not said
    bint alone                     # nobody else belongs to the group
    bint heeds_strangers           # else who isn't named in the membership has no say at all
    bint change_pends              # membership_pends: what a leader has to go on with
    index_t membership_done        # the newest one whose commit the leader has seen
    index_t caught_up_to[NODES_MAX]            # by slot: where a learner has to get in this round; 0: none yet
    uint64_t caught_up_since_ns[NODES_MAX]

    # Counters
    uint64_t transfers
    uint64_t transfers_failed
    uint64_t disk_stalls
    uint64_t snapshots_installed
    uint64_t elections
    uint64_t leader_changes
    uint64_t peer_errors
    uint64_t fetch_errors


cdef inline uint64_t number_max() noexcept nogil:
    return 1ULL << NUMBER_BITS_MAX


cdef inline bint is_peer(const Raft* raft, int slot) noexcept nogil:
    """Another node of the group has this slot."""
    return slot != raft.self_slot and raft.membership.nodes[slot] != 0


cdef inline uint32_t slot_bit(int slot) noexcept nogil:
    return <uint32_t>1 << slot


cdef inline void forget_marks(Raft* raft, index_t first) noexcept nogil:
    """The log is truncated at `first`: what comes there instead has other batch ends."""
    while raft.mark_count > 0 and raft.marks[raft.mark_count - 1].index >= first:
        raft.mark_count -= 1
