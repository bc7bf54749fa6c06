"""Who belongs to a group, in which slot, and by which quorum they decide.

A *roster* is what one record of the log says (docs/format.md 1.4): every node with its
role now, the one it had before, and the one it is to get once learners have caught up.
It is in force from the moment it is appended, and holds enough to be taken back by a
truncation: at most one record of a log can be uncommitted, so one step back is all there is.
A change of voters takes two records, *joint* and *left* (Ongaro 2014, 4.3); one that
concerns learners alone is *simple*.

A node keeps its slot as long as it belongs to the group: slots have holes, and differ between nodes.
"""

from quorumlog._core.base.types cimport NODES_MAX, index_t, node_t
from quorumlog._core.engine.quorum cimport Quorum

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t

cdef enum MemberRole:
    MEMBER_NONE = 0
    MEMBER_VOTER = 1
    MEMBER_LEARNER = 2         # gets the log; neither votes nor counts

cdef enum MembershipStage:
    MEMBERSHIP_SIMPLE = 1      # the roles now are in force
    MEMBERSHIP_JOINT = 2       # those now and those before, both
    MEMBERSHIP_LEFT = 3        # those now; before it was joint
    # Of requests, never in a log: what the named nodes are to become; the others stay, or go.
    MEMBERSHIP_DELTA = 4
    MEMBERSHIP_SET = 5

cdef enum:
    ROSTER_BYTES_MAX = 4096
    MEMBER_HOST_BYTES = 46     # numeric IPv4 or IPv6, with its zero
    MEMBER_NAME_BYTES = 64

cdef struct Member:
    node_t node
    uint8_t role
    uint8_t before
    uint8_t goal               # what it is to become; its role where nothing is to change
    uint8_t before_goal
    uint16_t port              # 0: its address is not known
    char host[MEMBER_HOST_BYTES]
    char name[MEMBER_NAME_BYTES]

cdef struct Roster:
    uint8_t stage
    index_t before_index       # of the record before; 0: the voters that the group began with
    uint32_t count             # those who were there before and are gone among them
    Member members[NODES_MAX]

cdef struct Membership:
    node_t nodes[NODES_MAX]    # by slot; 0: free
    uint32_t count             # all slots in use are below
    uint32_t voters            # bit set of slots; of either half when joint
    uint32_t learners
    index_t index              # of the entry that made it; 0: from the start
    Quorum quorum
    Roster roster


# Voters by majority, ordered by node id.  ERR_USAGE: none, too many, twice the same, or node 0.
cdef int membership_open(Membership* membership, const node_t* voters, uint32_t count) noexcept nogil
cdef int32_t membership_slot(const Membership* membership, node_t node) noexcept nogil    # -1: not a member
cdef bint membership_votes(const Membership* membership, node_t node) noexcept nogil
cdef bint membership_is_joint(const Membership* membership) noexcept nogil
# Anything that is to change and has not.
cdef bint membership_pends(const Membership* membership) noexcept nogil
# The roster of the record at `index` is in force.  Who stays keeps its slot.
cdef void membership_adopt(Membership* membership, const Roster* roster, index_t index) noexcept nogil
# What was in force before the newest record.
cdef void membership_before(const Membership* membership, Roster* out) noexcept nogil

cdef Member* roster_find(Roster* roster, node_t node) noexcept nogil       # or NULL
# A batch's body with one entry; its bytes, a multiple of 8, at most ROSTER_BYTES_MAX.
cdef uint32_t roster_encode(const Roster* roster, uint8_t* body) noexcept nogil
# OK or ERR_CORRUPT: any bytes will do.
cdef int roster_decode(Roster* roster, const uint8_t* body, uint32_t bytes) noexcept nogil
# Both at once: what a snapshot's header keeps.
cdef int membership_decode(Membership* membership, const uint8_t* body, uint32_t bytes, index_t index) noexcept nogil
