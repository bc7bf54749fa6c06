"""Rules as monotone predicates over bit sets of slots, and the two questions asked of them.

Nothing here allocates or keeps state.  Since every rule is monotone (more nodes
never unmake a quorum), a vote is lost as soon as all who have not refused are
no quorum, and two rules can miss each other only if some set and its complement
satisfy one each.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.types cimport NODES_MAX, index_t

cdef extern from *:
    int bits_of "__builtin_popcount"(uint32_t x) noexcept nogil
    int lowest_bit "__builtin_ctz"(uint32_t x) noexcept nogil


cdef bint rule_valid(const Rule* rule) noexcept nogil:
    cdef int members = bits_of(rule.members)
    if members == 0 or rule.members >= <uint32_t>1 << NODES_MAX:
        return False
    if rule.kind == RULE_MAJORITY or rule.kind == RULE_ALL:
        return True
    if rule.kind == RULE_K_OF_N:
        return 1 <= rule.k <= members
    if rule.kind == RULE_WEIGHTED:
        return 1 <= rule.threshold <= weight_of(rule, rule.members)
    if rule.kind == RULE_GRID_ROW or rule.kind == RULE_GRID_COVER:
        return 1 <= rule.columns <= members
    return False


cdef uint64_t weight_of(const Rule* rule, uint32_t nodes) noexcept nogil:
    """Sixteen weights of 32 bits: the sum can't overflow."""
    cdef uint64_t sum = 0
    cdef int slot
    while nodes:
        slot = lowest_bit(nodes)
        nodes &= nodes - 1
        sum += rule.weights[slot]
    return sum


cdef bint grid_holds(const Rule* rule, uint32_t nodes) noexcept nogil:
    """Rows are filled in order of slot; the last may be shorter (Cheung, Ammar, Ahamad 1992)."""
    cdef uint32_t left = rule.members
    cdef uint32_t row
    cdef int _column
    while left:
        row = 0
        for _column in range(rule.columns):
            row |= left & (~left + 1)
            left &= left - 1
            if left == 0:
                break
        if rule.kind == RULE_GRID_ROW and nodes & row == row:
            return True
        if rule.kind == RULE_GRID_COVER and nodes & row == 0:
            return False
    return rule.kind == RULE_GRID_COVER


cdef bint rule_holds(const Rule* rule, uint32_t nodes) noexcept nogil:
    nodes &= rule.members
    if rule.kind == RULE_MAJORITY:
        return 2 * bits_of(nodes) > bits_of(rule.members)
    check2(rule_valid(rule), b"Q-QUORUM-01 a rule is well-formed", rule.kind, rule.members)
    if rule.kind == RULE_ALL:
        return nodes == rule.members
    if rule.kind == RULE_K_OF_N:
        return bits_of(nodes) >= rule.k
    if rule.kind == RULE_WEIGHTED:
        return weight_of(rule, nodes) >= rule.threshold
    return grid_holds(rule, nodes)


cdef int rule_tally(const Rule* rule, uint32_t granted, uint32_t refused) noexcept nogil:
    """A node in both sets counts as refused: what a peer says twice may cost a vote, never make one."""
    if rule_holds(rule, granted & ~refused):
        return TALLY_WON
    if not rule_holds(rule, rule.members & ~refused):
        return TALLY_LOST
    return TALLY_PENDING


cdef int votes_needed(const Rule* rule) noexcept nogil:
    """For rules that only count nodes; 0 for the others."""
    if rule.kind == RULE_MAJORITY:
        return bits_of(rule.members) // 2 + 1
    if rule.kind == RULE_ALL:
        return bits_of(rule.members)
    if rule.kind == RULE_K_OF_N:
        return rule.k
    return 0


cdef index_t rule_acked(const Rule* rule, const index_t* match) noexcept nogil:
    """The largest i such that the slots with match >= i are a quorum; 0 if there is none above."""
    cdef index_t[NODES_MAX] falling
    cdef uint32_t left = rule.members
    cdef uint32_t reached
    cdef index_t value
    cdef int count = 0, place, slot
    cdef int needed = votes_needed(rule)
    check(rule_valid(rule), b"Q-QUORUM-02 a rule is well-formed when it counts acknowledgements")
    while left:
        slot = lowest_bit(left)
        left &= left - 1
        value = match[slot]
        place = count
        while place > 0 and falling[place - 1] < value:
            falling[place] = falling[place - 1]
            place -= 1
        falling[place] = value
        count += 1
    if needed:
        return falling[needed - 1]
    for place in range(count):
        reached = 0
        for slot in range(NODES_MAX):
            if rule.members >> slot & 1 and match[slot] >= falling[place]:
                reached |= <uint32_t>1 << slot
        if rule_holds(rule, reached):
            return falling[place]
    return 0


cdef int tally_both(const Rule* rules, int count, uint32_t granted, uint32_t refused) noexcept nogil:
    """Joint consensus: "agreement requires separate majorities from both" (Ongaro 2014, 4.3)."""
    cdef int i, tally
    cdef int result = TALLY_WON
    check2(count == 1 or count == 2, b"Q-QUORUM-03 a quorum has one half or two", count, 0)
    for i in range(count):
        tally = rule_tally(&rules[i], granted, refused)
        if tally == TALLY_LOST:
            return TALLY_LOST
        if tally == TALLY_PENDING:
            result = TALLY_PENDING
    return result


cdef int tally_elect(const Quorum* quorum, uint32_t granted, uint32_t refused) noexcept nogil:
    return tally_both(quorum.elect, quorum.count, granted, refused)


cdef int tally_commit(const Quorum* quorum, uint32_t granted, uint32_t refused) noexcept nogil:
    return tally_both(quorum.commit, quorum.count, granted, refused)


cdef index_t acked_index(const Quorum* quorum, const index_t* match) noexcept nogil:
    cdef index_t index = rule_acked(&quorum.commit[0], match)
    check2(quorum.count == 1 or quorum.count == 2, b"Q-QUORUM-04 a quorum has one half or two",
           quorum.count, 0)
    if quorum.count == 2:
        index = min(index, rule_acked(&quorum.commit[1], match))
    return index


cdef uint32_t quorum_members(const Quorum* quorum) noexcept nogil:
    cdef uint32_t members = 0
    cdef int i
    for i in range(quorum.count):
        members |= quorum.elect[i].members | quorum.commit[i].members
    return members


cdef void quorum_majority(Quorum* quorum, uint32_t members) noexcept nogil:
    memset(quorum, 0, sizeof(Quorum))
    quorum.count = 1
    quorum.elect[0].kind = RULE_MAJORITY
    quorum.elect[0].members = members
    quorum.commit[0] = quorum.elect[0]
    check2(rule_valid(&quorum.elect[0]), b"Q-QUORUM-05 a majority is of 1 to 16 nodes", members, 0)


cdef uint32_t smallest_within(const Rule* rule, uint32_t nodes) noexcept nogil:
    """A quorum within the quorum `nodes` from which no node can go."""
    cdef uint32_t left = nodes & rule.members
    cdef uint32_t one
    nodes = left
    while left:
        one = left & (~left + 1)
        left &= left - 1
        if rule_holds(rule, nodes & ~one):
            nodes &= ~one
    return nodes


cdef bint quorum_intersects(const Quorum* quorum, uint32_t* elect, uint32_t* commit) noexcept nogil:
    """All subsets are tried, at most 65,536; a subset of what remains is a quorum only if all of it is."""
    cdef uint32_t nodes
    cdef int i
    cdef const Rule* electing
    cdef const Rule* committing
    elect[0] = commit[0] = 0
    for i in range(quorum.count):
        electing = &quorum.elect[i]
        committing = &quorum.commit[i]
        nodes = electing.members
        while True:
            if rule_holds(electing, nodes) and rule_holds(committing, committing.members & ~nodes):
                elect[0] = smallest_within(electing, nodes)
                commit[0] = smallest_within(committing, committing.members & ~nodes)
                return False
            if nodes == 0:
                break
            nodes = (nodes - 1) & electing.members
    return True
