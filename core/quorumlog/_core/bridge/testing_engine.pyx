"""What the tests of engine/quorum, membership and sessions call."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from quorumlog._core.base.types cimport NODES_MAX, index_t, node_t
from quorumlog._core.engine.membership cimport (
    Membership, membership_open, membership_slot, membership_votes,
)
from quorumlog._core.engine.quorum cimport (
    RULE_ALL, RULE_GRID_COVER, RULE_GRID_ROW, RULE_K_OF_N, RULE_MAJORITY, RULE_WEIGHTED, TALLY_LOST,
    TALLY_PENDING, TALLY_WON, Quorum, Rule, acked_index, quorum_intersects, quorum_majority, quorum_members,
    rule_acked, rule_holds, rule_tally, rule_valid, tally_commit, tally_elect,
)
from quorumlog._core.engine.sessions cimport (
    ADMIT_APPLY, ADMIT_EXPIRED, ADMIT_GAP, ADMIT_REPEATED, SESSIONS_MAX, Sessions, sessions_admit,
    sessions_close, sessions_decode, sessions_encode, sessions_encoded_bytes, sessions_last, sessions_open,
)

KINDS = {
    "majority": RULE_MAJORITY, "all": RULE_ALL, "k of n": RULE_K_OF_N, "weighted": RULE_WEIGHTED,
    "grid row": RULE_GRID_ROW, "grid cover": RULE_GRID_COVER,
}
TALLIES = {TALLY_PENDING: "pending", TALLY_WON: "won", TALLY_LOST: "lost"}
ADMISSIONS = {
    ADMIT_APPLY: "apply", ADMIT_REPEATED: "repeated", ADMIT_GAP: "gap", ADMIT_EXPIRED: "expired",
}
SESSIONS_LIMIT_MAX = SESSIONS_MAX


cdef Rule rule_from(tuple described):
    """(kind, members, number, weights): the number is k, the threshold or the columns."""
    cdef Rule rule
    memset(&rule, 0, sizeof(rule))
    kind, rule.members, number, weights = described
    rule.kind = KINDS[kind]
    if kind == "k of n":
        rule.k = number
    elif kind == "weighted":
        rule.threshold = number
        for slot, weight in enumerate(weights):
            rule.weights[slot] = weight
    elif kind.startswith("grid"):
        rule.columns = number
    return rule


cdef Quorum quorum_from(list halves):
    """[(elect rule, commit rule)], once or twice."""
    cdef Quorum quorum
    memset(&quorum, 0, sizeof(quorum))
    quorum.count = len(halves)
    for half in range(len(halves)):
        quorum.elect[half] = rule_from(halves[half][0])
        quorum.commit[half] = rule_from(halves[half][1])
    return quorum


def holds(tuple rule, uint32_t nodes) -> bool:
    cdef Rule r = rule_from(rule)
    return bool(rule_holds(&r, nodes))


def valid(tuple rule) -> bool:
    cdef Rule r = rule_from(rule)
    return bool(rule_valid(&r))


def tally(tuple rule, uint32_t granted, uint32_t refused) -> str:
    cdef Rule r = rule_from(rule)
    return TALLIES[rule_tally(&r, granted, refused)]


def tallies(list halves, uint32_t granted, uint32_t refused) -> tuple:
    cdef Quorum q = quorum_from(halves)
    return TALLIES[tally_elect(&q, granted, refused)], TALLIES[tally_commit(&q, granted, refused)]


cdef void fill(index_t* by_slot, list match):
    memset(by_slot, 0, NODES_MAX * sizeof(index_t))
    for slot, value in enumerate(match):
        by_slot[slot] = value


def acked_by_rule(tuple rule, list match) -> int:
    cdef Rule r = rule_from(rule)
    cdef index_t[NODES_MAX] by_slot
    fill(by_slot, match)
    return rule_acked(&r, by_slot)


def acked(list halves, list match) -> int:
    cdef Quorum q = quorum_from(halves)
    cdef index_t[NODES_MAX] by_slot
    fill(by_slot, match)
    return acked_index(&q, by_slot)


def members(list halves) -> int:
    cdef Quorum q = quorum_from(halves)
    return quorum_members(&q)


def intersects(list halves) -> tuple:
    cdef Quorum q = quorum_from(halves)
    cdef uint32_t elect, commit
    meets = bool(quorum_intersects(&q, &elect, &commit))
    return meets, elect, commit


def majority_of(uint32_t nodes) -> tuple:
    """(elect, commit, halves) of quorum_majority: each rule as (kind, members)."""
    cdef Quorum q
    quorum_majority(&q, nodes)
    names = {number: name for name, number in KINDS.items()}
    return (
        (names[q.elect[0].kind], q.elect[0].members), (names[q.commit[0].kind], q.commit[0].members), q.count,
    )


def membership_of(list voters) -> tuple:
    """(status, nodes by slot, voters' bits, learners' bits, members of the quorum)."""
    cdef Membership membership
    cdef node_t[64] nodes
    for place, node in enumerate(voters):
        nodes[place] = node
    status = membership_open(&membership, nodes, len(voters))
    found = [membership.nodes[slot] for slot in range(membership.count)]
    return (
        status, found, membership.voters, membership.learners,
        quorum_members(&membership.quorum) if status == 0 else 0,
    )


def membership_asked(list voters, node_t node) -> tuple:
    cdef Membership membership
    cdef node_t[64] nodes
    for place, voter in enumerate(voters):
        nodes[place] = voter
    if membership_open(&membership, nodes, len(voters)) != 0:
        raise ValueError(voters)
    return membership_slot(&membership, node), bool(membership_votes(&membership, node))


cdef class SessionTable:
    cdef Sessions sessions

    def __cinit__(self, uint32_t limit):
        status = sessions_open(&self.sessions, limit)
        if status != 0:
            raise ValueError(status)

    def __dealloc__(self):
        sessions_close(&self.sessions)

    def admit(self, uint64_t session, uint64_t sequence, index_t index, bint begins) -> str:
        return ADMISSIONS[sessions_admit(&self.sessions, session, sequence, begins, index)]

    def forgotten(self) -> int:
        return self.sessions.forgotten

    def encoded(self) -> bytes:
        cdef bytearray data = bytearray(sessions_encoded_bytes(&self.sessions))
        sessions_encode(&self.sessions, data)
        return bytes(data)

    def decode(self, bytes data) -> int:
        """The status; into an empty table."""
        return sessions_decode(&self.sessions, data, len(data))

    def last(self, uint64_t session) -> int:
        return sessions_last(&self.sessions, session)

    def contents(self) -> dict:
        """{session: (sequence, used)}, as the slots tell it."""
        return {
            self.sessions.table[place].session: (
                self.sessions.table[place].sequence, self.sessions.table[place].used,
            )
            for place in range(self.sessions.capacity)
            if self.sessions.table[place].session != 0
        }

    def count(self) -> int:
        return self.sessions.count
