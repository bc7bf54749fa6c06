"""Multi-Paxos: state, messages laid over the envelope's fields, and the smallest helpers.

Lamport, Paxos Made Simple (2001) and The Part-Time Parliament (1998); van Renesse and Altinbuken, Paxos Made
Moderately Complex (2015); Howard, Malkhi, Spiegelman, Flexible Paxos (2016); Chandra and others, Paxos Made Live
(2007).  A ballot is (round, node); a slot is one batch of the group's log; identities carry slot and ballot.

The envelope's `term` is the round of the sender's promise in every kind; it waits in the outbox until the hard
state that holds the promise is flushed.  A request's ballot is (term, sender), an answer's (term, target).

The modules, from the bottom:

    paxos_records    the protocol's own records and messages
    paxos_window     slots that are accepted and not yet in the log of chosen ones
    paxos_learner    what is known to be chosen; catching up
    paxos_reads      heartbeat rounds and what they confirm
    paxos_acceptor   promises and accepts
    paxos_leader     phase 2: propose, send, count, choose
    paxos_phase1     canvass, phase 1, adoption
    paxos            open, step, status
"""

from quorumlog._core.base.prng cimport Prng
from quorumlog._core.base.types cimport NODES_MAX, group_t, index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.log cimport GroupLog
from quorumlog._core.engine.membership cimport Membership
from quorumlog._core.engine.progress cimport Progress
from quorumlog._core.engine.reads cimport Reads
from quorumlog._core.storage.batch cimport Batch, BatchPool

from libc.stdint cimport uint32_t, uint64_t

cdef enum PaxosMessage:
    PAXOS_CANVASS = 47             # would you promise?  Changes nothing at either side
    PAXOS_CANVASS_REPLY = 48
    PAXOS_PREPARE = 49             # 1a, for all slots from one on; again for each further page of the answer
    PAXOS_PROMISE = 50             # 1b
    PAXOS_ACCEPT = 51              # 2a, slots in a row
    PAXOS_ACCEPTED = 52            # 2b
    PAXOS_REJECT = 53              # a higher ballot is promised
    PAXOS_HEARTBEAT = 54
    PAXOS_HEARTBEAT_REPLY = 55
    PAXOS_CHOSEN = 56              # a moved end of what is chosen; no answer
    PAXOS_LEARN = 57               # chosen slots from one on; of any role and ballot
    PAXOS_TAUGHT = 58
    PAXOS_FETCH = 59               # the value that phase 1 found in a slot
    PAXOS_FETCH_REPLY = 60
    PAXOS_READ_INDEX = 61
    PAXOS_READ_INDEX_REPLY = 62

# PAXOS_CANVASS and its reply
cdef struct CanvassFields:
    term_t proposed
    uint64_t granted               # the reply

# PAXOS_PREPARE
cdef struct PrepareFields:
    index_t start

# PAXOS_PROMISE; its batch, if any, has one entry per accepted slot: its identity header
cdef struct PromiseFields:
    index_t start                  # as asked
    index_t chosen                 # slots up to here are chosen, and can be learnt from this node
    index_t covers                 # what is accepted here from max(start, chosen + 1) to this slot stands in the page
    uint64_t more                  # there is more behind it

# PAXOS_ACCEPT; the batches lie in slots from `first` on, without a gap
cdef struct AcceptFields:
    index_t first
    index_t chosen

# PAXOS_ACCEPTED
cdef struct AcceptedFields:
    index_t first                  # as asked
    uint64_t count                 # slots from `first` on that are accepted and durable

# PAXOS_REJECT
cdef struct RejectFields:
    node_t node                    # the promise is (term, node)

# PAXOS_HEARTBEAT and its reply
cdef struct BeatFields:
    uint64_t round
    uint64_t sent_ns               # the leader's clock, echoed
    index_t chosen                 # by the leader's knowledge; the reply: the end of the own log
    index_t held                   # the reply: all slots before this one are accepted in this ballot, or chosen

# PAXOS_CHOSEN
cdef struct ChosenFields:
    index_t chosen

# PAXOS_LEARN and PAXOS_TAUGHT; the batches lie in slots from `first` on, without a gap
cdef struct LearnFields:
    index_t first
    index_t chosen                 # the reply: the end of the teacher's log
    index_t head                   # the reply: its first slot

# PAXOS_FETCH and its reply, with the batch if it is there
cdef struct FetchFields:
    index_t slot
    term_t round
    node_t node
    index_t chosen                 # the reply: the end of the log

# PAXOS_READ_INDEX and its reply: ReadIndexFields of engine/reads

cdef enum:
    WINDOW_SLOTS_MAX = 512         # how far accepted slots run ahead of the own log
    # A power of two.  What recovery can find beyond the last chosen mark fits in: the marks' interval, and twice
    # two windows (what is accepted runs at most two ahead of the log, and the log as much ahead of what is flushed).
    RING_SLOTS = 4096
    MARK_SLOTS_MAX = 256           # a chosen mark is written after so many
    PAGE_SLOTS_MAX = 64            # identities in one promise
    SPARES = 16                    # records at hand
    SPARES_PER_STEP = 8            # at most used by one step
    NUMBER_BITS_MAX = 62           # of rounds and slots taken from a peer

# A slot beyond the end of the log: what this node has accepted there.
cdef struct Slot:
    Batch* batch                   # NULL: nothing; its identity has the ballot
    wsn_t wsn                      # of its record; 0: found by recovery
    uint32_t acks                  # leader: acceptors that hold it in the leader's ballot, durably
    bint proposed                  # leader: it is of the leader's ballot

# What phase 1 heard of a slot: the highest ballot, and who has it.
cdef struct Found:
    index_t slot                   # 0: nothing
    term_t round
    node_t node
    uint32_t body_crc
    uint32_t holders
    Batch* batch                   # once it was fetched
    uint64_t asked_ns
    int asked                      # the holder that was asked last

cdef struct Paxos:
    # Options
    group_t group
    node_t self
    int self_slot
    uint64_t election_timeout_ns
    uint64_t heartbeat_ns
    uint64_t accept_bytes_max
    uint64_t uncommitted_bytes_max
    uint32_t window_slots
    uint32_t mark_slots
    uint32_t page_slots
    Membership membership
    GroupLog* log                  # the caller's: chosen slots
    BatchPool* copies              # the caller's: values proposed again
    Prng prng
    BatchPool* pool
    Batch* spares[SPARES]
    uint32_t spare_count

    # The step's
    uint64_t now_ns
    uint64_t wall_ns
    wsn_t wsn_next

    # The acceptor's durable state; slots lie in the ring and the log
    term_t promised_round
    node_t promised_node
    wsn_t hard_state_wsn
    wsn_t flushed_wsn
    Slot* ring                     # of slots log.last + 1 .. log.last + RING_SLOTS, by slot modulo RING_SLOTS
    index_t accepted_last          # highest slot in it, log.last if none
    wsn_t accepted_wsn             # of the newest accept written

    # The learner
    index_t chosen                 # slots up to here are chosen, and their values lie in log or ring
    index_t chosen_heard           # the leader says so of slots up to here
    index_t marked                 # by the newest mark on disk
    node_t teacher                 # who was asked; 0: nobody
    uint64_t taught_by_ns          # when to ask again

    # All nodes
    int role
    node_t leader
    uint64_t election_deadline_ns
    uint64_t heard_leader_ns
    term_t round_seen              # highest round heard of
    uint32_t reachable

    # The candidate
    uint32_t granted
    uint32_t refused
    uint32_t paged                 # acceptors whose promise is complete
    index_t page_start[NODES_MAX]
    index_t found_chosen[NODES_MAX]    # what the acceptor called chosen: to be learnt, not proposed
    index_t found_last
    Found* found                   # ring, by slot modulo RING_SLOTS
    uint64_t prepare_deadline_ns

    # The leader
    index_t recovered_last         # phase 1 found nothing behind it
    index_t adopted                # slots up to here need no adoption any more
    uint64_t adopting_since_ns
    index_t next_slot
    Progress progress[NODES_MAX]
    index_t next_at_beat[NODES_MAX]    # of progress.next, at the newest heartbeat
    index_t chosen_sent[NODES_MAX]
    index_t chosen_wanted[NODES_MAX]   # callers wait there for what is chosen up to here
    uint64_t chosen_due_ns
    uint64_t uncommitted_bytes
    uint64_t heartbeat_deadline_ns
    uint64_t beat
    bint more_to_do

    Reads reads

    # Counters
    uint64_t elections
    uint64_t leader_changes
    uint64_t peer_errors


cdef inline uint64_t number_max() noexcept nogil:
    return 1ULL << NUMBER_BITS_MAX


cdef inline uint32_t slot_bit(int slot) noexcept nogil:
    return <uint32_t>1 << slot


cdef inline bint ballot_below(term_t round, node_t node, term_t other_round, node_t other_node) noexcept nogil:
    """Rounds first; of one round the higher node."""
    return round < other_round or (round == other_round and node < other_node)
