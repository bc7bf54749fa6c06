"""What the ledger keeps of a Paxos group: see ledger_slots.pxd."""

from quorumlog._core.base.types cimport NODES_MAX, index_t, node_t, term_t, wsn_t

from libc.stdint cimport uint32_t, uint64_t

# A value in a slot in a ballot, and who accepted it.
cdef struct Vote:
    index_t slot                   # 0: free place of the table
    term_t round
    node_t node
    uint64_t content
    uint32_t durable               # bit set of nodes that ever held it durably

# A record of a node, in the order written.
cdef struct Accepted:
    index_t slot
    term_t round
    node_t node
    uint64_t content
    wsn_t wsn                      # 0: found by recovery

cdef struct Choice:
    bint chosen
    term_t round                   # the lowest ballot in which it was
    node_t node
    uint64_t content

cdef struct SlotAccount:
    Accepted* accepted
    uint32_t accepted_count
    uint32_t accepted_capacity
    uint32_t durable_count         # so many of them are flushed and counted
    Accepted* before               # of the life before, while a new one is read
    uint32_t before_count
    index_t head
    index_t commit
    index_t marked                 # durably, in whatever life
    index_t mark_written
    wsn_t mark_wsn
    term_t round                   # promised, in this life
    node_t node
    wsn_t promise_wsn
    term_t said_round              # promised for ever: it was durable, or spoken of
    node_t said_node

cdef struct SlotLedger:
    SlotAccount accounts[NODES_MAX]
    Vote* votes                    # open addressing, power of two
    uint32_t vote_count
    uint32_t vote_capacity
    Choice* choices                # by slot
    uint64_t choice_capacity
    uint64_t proposed_again        # chosen values in a higher ballot, for what must have happened in a campaign
