"""Rules of quorums for Python: whether a set decides, whether two rules meet, and what a rule costs.

A rule comes as (kind, members, number, weights): bit sets over 16 node slots; the number is k, the
threshold or the columns.  All of it is asked when a group is made, never while it runs.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memset

from quorumlog._core.base.types cimport NODES_MAX
from quorumlog._core.engine.quorum cimport (
    RULE_ALL, RULE_GRID_COVER, RULE_GRID_ROW, RULE_K_OF_N, RULE_MAJORITY, RULE_WEIGHTED, Quorum, Rule,
    quorum_intersects, rule_holds, rule_valid,
)

cdef extern from *:
    int bits_of "__builtin_popcount"(uint32_t x) noexcept nogil

KINDS = {
    "majority": RULE_MAJORITY, "all": RULE_ALL, "k of n": RULE_K_OF_N, "weighted": RULE_WEIGHTED,
    "row": RULE_GRID_ROW, "cover": RULE_GRID_COVER,
}
NODES_LIMIT = NODES_MAX


cdef Rule rule_of(described) except *:
    """ValueError if it means nothing: no member reaches the number."""
    cdef Rule rule
    memset(&rule, 0, sizeof(rule))
    kind, members, number, weights = described
    rule.kind = KINDS[kind]
    rule.members = members
    if kind == "k of n":
        rule.k = number
    elif kind == "weighted":
        rule.threshold = number
        for slot, weight in enumerate(weights):
            rule.weights[slot] = weight
    elif kind == "row" or kind == "cover":
        rule.columns = number
    if not rule_valid(&rule):
        raise ValueError(f"no set of these nodes is a quorum by {kind} {number}")
    return rule


def holds(rule, uint32_t nodes, /):
    """Whether the nodes of this bit set are a quorum."""
    cdef Rule r = rule_of(rule)
    return bool(rule_holds(&r, nodes))


def disjoint(elect, commit, /):
    """None if every quorum of the one meets every quorum of the other; else two smallest that don't, as bit sets."""
    cdef Quorum quorum
    cdef uint32_t one = 0
    cdef uint32_t other = 0
    memset(&quorum, 0, sizeof(quorum))
    quorum.count = 1
    quorum.elect[0] = rule_of(elect)
    quorum.commit[0] = rule_of(commit)
    return None if quorum_intersects(&quorum, &one, &other) else (one, other)


cdef bint is_smallest(const Rule* rule, uint32_t nodes) noexcept nogil:
    """Whether it is a quorum from which no node can go."""
    cdef uint32_t left = nodes
    if not rule_holds(rule, nodes):
        return False
    while left:
        if rule_holds(rule, nodes & ~(left & (~left + 1))):
            return False
        left &= left - 1
    return True


def smallest(rule, /):
    """All quorums from which no node can go, as bit sets in rising order."""
    cdef Rule r = rule_of(rule)
    cdef uint32_t nodes = 0
    found = []
    while True:
        if is_smallest(&r, nodes):
            found.append(nodes)
        if nodes == r.members:
            return found
        nodes = (nodes - r.members) & r.members


def resilience(rule, /):
    """How many nodes may fail, whichever they are, so that a quorum is left."""
    cdef Rule r = rule_of(rule)
    cdef uint32_t failed = 0
    cdef int fewest = bits_of(r.members)
    while True:
        if bits_of(failed) < fewest and not rule_holds(&r, r.members & ~failed):
            fewest = bits_of(failed)
        if failed == r.members:
            return fewest - 1
        failed = (failed - r.members) & r.members
