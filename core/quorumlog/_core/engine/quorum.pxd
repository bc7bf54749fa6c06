"""Given who acknowledged what, what is decided?  Rules and two questions (DESIGN 6).

A rule is a monotone predicate over sets of nodes, as bit sets over the group's
node slots (0..15).  Everything is arithmetic on it: no protocol knows a rule by
name.  Sources: Gifford 1979 (weights), Cheung et al. 1992 (grid), Howard et al.
2016 (flexible), Ongaro 2014 section 4.3 (joint).
"""

from quorumlog._core.base.types cimport NODES_MAX, index_t

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum RuleKind:
    RULE_MAJORITY = 1
    RULE_ALL = 2
    RULE_K_OF_N = 3
    RULE_WEIGHTED = 4
    RULE_GRID_ROW = 5          # one whole row
    RULE_GRID_COVER = 6        # one of each row (meets every whole row)

cdef struct Rule:
    uint8_t kind
    uint8_t k                  # RULE_K_OF_N: how many
    uint8_t columns            # grids: node slots fill rows in order of slot
    uint32_t members           # bit set of node slots
    uint32_t weights[NODES_MAX]
    uint32_t threshold         # RULE_WEIGHTED: at least so much weight

# What a group decides by: an elect rule and a commit rule, each once or twice (joint).
cdef struct Quorum:
    Rule elect[2]
    Rule commit[2]
    uint8_t count              # 1, or 2 when joint: both must hold

cdef enum Tally:
    TALLY_PENDING = 0
    TALLY_WON = 1
    TALLY_LOST = 2


# Members, and a number or weights that the members can reach: to be asked when a rule is made.
cdef bint rule_valid(const Rule* rule) noexcept nogil
cdef bint rule_holds(const Rule* rule, uint32_t nodes) noexcept nogil        # is this set a quorum?
# A node in both sets counts as refused.
cdef int rule_tally(const Rule* rule, uint32_t granted, uint32_t refused) noexcept nogil
cdef index_t rule_acked(const Rule* rule, const index_t* match) noexcept nogil   # match by slot

cdef int tally_elect(const Quorum* quorum, uint32_t granted, uint32_t refused) noexcept nogil
cdef int tally_commit(const Quorum* quorum, uint32_t granted, uint32_t refused) noexcept nogil
cdef index_t acked_index(const Quorum* quorum, const index_t* match) noexcept nogil
cdef uint32_t quorum_members(const Quorum* quorum) noexcept nogil

cdef void quorum_majority(Quorum* quorum, uint32_t members) noexcept nogil
# True if every elect quorum meets every commit quorum (of each half); else a disjoint pair as witness, each
# of which is a smallest quorum.  Tries all subsets: for when a rule is made.
cdef bint quorum_intersects(const Quorum* quorum, uint32_t* elect, uint32_t* commit) noexcept nogil
