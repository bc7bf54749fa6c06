"""Slots and quorums from rosters; see membership.pxd."""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset, strlen

from quorumlog._core.base.bytes cimport get_u16, get_u32, get_u64, put_u16, put_u32, put_u64, round_up
from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_USAGE, OK
from quorumlog._core.base.types cimport NODES_MAX, index_t, node_t
from quorumlog._core.engine.quorum cimport RULE_MAJORITY, Rule, quorum_majority


cdef int membership_open(Membership* membership, const node_t* voters, uint32_t count) noexcept nogil:
    cdef Roster roster
    cdef uint32_t i, place
    memset(membership, 0, sizeof(Membership))
    memset(&roster, 0, sizeof(Roster))
    if count == 0 or count > NODES_MAX:
        return ERR_USAGE
    for i in range(count):
        if voters[i] == 0:
            return ERR_USAGE
        place = i
        while place > 0 and roster.members[place - 1].node > voters[i]:
            roster.members[place].node = roster.members[place - 1].node
            place -= 1
        roster.members[place].node = voters[i]
    for i in range(count):
        if i > 0 and roster.members[i - 1].node == roster.members[i].node:
            return ERR_USAGE
        roster.members[i].role = MEMBER_VOTER
        roster.members[i].before = MEMBER_VOTER
        roster.members[i].goal = MEMBER_VOTER
        roster.members[i].before_goal = MEMBER_VOTER
    roster.stage = MEMBERSHIP_SIMPLE
    roster.count = count
    membership_adopt(membership, &roster, 0)
    return OK


cdef int32_t membership_slot(const Membership* membership, node_t node) noexcept nogil:
    cdef uint32_t slot
    if node == 0:
        return -1
    for slot in range(membership.count):
        if membership.nodes[slot] == node:
            return <int32_t>slot
    return -1


cdef bint membership_votes(const Membership* membership, node_t node) noexcept nogil:
    cdef int32_t slot = membership_slot(membership, node)
    return slot >= 0 and (membership.voters >> slot & 1) != 0


cdef bint membership_is_joint(const Membership* membership) noexcept nogil:
    return membership.roster.stage == MEMBERSHIP_JOINT


cdef bint membership_pends(const Membership* membership) noexcept nogil:
    cdef uint32_t i
    for i in range(membership.roster.count):
        if membership.roster.members[i].goal != membership.roster.members[i].role:
            return True
    return membership_is_joint(membership)


# What a roster means

cdef bint belongs(const Roster* roster, const Member* member) noexcept nogil:
    if roster.stage == MEMBERSHIP_JOINT and member.before != MEMBER_NONE:
        return True
    return member.role != MEMBER_NONE


cdef Member* roster_find(Roster* roster, node_t node) noexcept nogil:
    cdef uint32_t i
    for i in range(roster.count):
        if roster.members[i].node == node:
            return &roster.members[i]
    return NULL


cdef void give_slots(Membership* membership) noexcept nogil:
    cdef Roster* roster = &membership.roster
    cdef Member* member
    cdef uint32_t slot, i
    for slot in range(membership.count):
        member = roster_find(roster, membership.nodes[slot])
        if member == NULL or not belongs(roster, member):
            membership.nodes[slot] = 0
    for i in range(roster.count):
        member = &roster.members[i]
        if not belongs(roster, member) or membership_slot(membership, member.node) >= 0:
            continue
        slot = 0
        while membership.nodes[slot] != 0:
            slot += 1
            check2(slot < NODES_MAX, b"Q-MEMBERSHIP-01 a group has a bounded number of nodes", slot, roster.count)
        membership.nodes[slot] = member.node
        membership.count = max(membership.count, slot + 1)
    while membership.count > 0 and membership.nodes[membership.count - 1] == 0:
        membership.count -= 1


cdef void majority_of(Rule* elect, Rule* commit, uint32_t members) noexcept nogil:
    memset(elect, 0, sizeof(Rule))
    elect.kind = RULE_MAJORITY
    elect.members = members
    commit[0] = elect[0]


cdef void membership_adopt(Membership* membership, const Roster* roster, index_t index) noexcept nogil:
    cdef const Member* member
    cdef uint32_t now = 0
    cdef uint32_t before = 0
    cdef uint32_t i, bit
    cdef int32_t slot
    membership.roster = roster[0]
    membership.index = index
    give_slots(membership)
    membership.learners = 0
    for i in range(roster.count):
        member = &roster.members[i]
        slot = membership_slot(membership, member.node)
        if slot < 0:
            continue
        bit = <uint32_t>1 << slot
        if member.role == MEMBER_VOTER or mutant(b"learner-counts"):
            now |= bit
        if roster.stage == MEMBERSHIP_JOINT and member.before == MEMBER_VOTER:
            before |= bit
        if not (now | before) & bit:
            membership.learners |= bit
    membership.voters = now | before
    quorum_majority(&membership.quorum, now)
    if roster.stage == MEMBERSHIP_JOINT and not mutant(b"joint-by-the-new-half"):
        check(before != 0, b"Q-MEMBERSHIP-02 each half of a joint membership has voters")
        majority_of(&membership.quorum.elect[1], &membership.quorum.commit[1], before)
        membership.quorum.count = 2


cdef void membership_before(const Membership* membership, Roster* out) noexcept nogil:
    cdef Member* member
    cdef uint32_t i
    out[0] = membership.roster
    out.before_index = 0               # it is committed: nobody asks for what came before it
    if membership.roster.stage == MEMBERSHIP_LEFT:
        out.stage = MEMBERSHIP_JOINT   # whose two halves it names
        return
    out.stage = MEMBERSHIP_SIMPLE
    out.count = 0
    for i in range(membership.roster.count):
        if membership.roster.members[i].before == MEMBER_NONE:
            continue
        member = &out.members[out.count]
        member[0] = membership.roster.members[i]
        member.role = member.before
        member.goal = member.before_goal
        out.count += 1


cdef int membership_decode(Membership* membership, const uint8_t* body, uint32_t bytes, index_t index) noexcept nogil:
    cdef Roster roster
    cdef int status = roster_decode(&roster, body, bytes)
    if status == OK and roster.stage > MEMBERSHIP_LEFT:
        status = ERR_CORRUPT
    if status == OK:
        memset(membership, 0, sizeof(Membership))
        membership_adopt(membership, &roster, index)
    return status


# On the wire and on disk (docs/format.md 1.4)

cdef enum:
    ENTRY_AT = 8                       # offsets 0 and the entry's length
    HEAD_BYTES = 16
    MEMBER_HEAD_BYTES = 16


cdef uint32_t roster_encode(const Roster* roster, uint8_t* body) noexcept nogil:
    cdef const Member* member
    cdef uint32_t at = ENTRY_AT + HEAD_BYTES
    cdef uint32_t i, name_bytes, host_bytes
    memset(body, 0, ROSTER_BYTES_MAX)
    body[ENTRY_AT] = 1
    body[ENTRY_AT + 1] = roster.stage
    body[ENTRY_AT + 2] = <uint8_t>roster.count
    put_u64(body + ENTRY_AT + 8, roster.before_index)
    for i in range(roster.count):
        member = &roster.members[i]
        name_bytes = <uint32_t>strlen(member.name)
        host_bytes = <uint32_t>strlen(member.host)
        put_u64(body + at, member.node)
        body[at + 8] = member.role | member.before << 4
        body[at + 9] = member.goal | member.before_goal << 4
        put_u16(body + at + 10, member.port)
        body[at + 12] = <uint8_t>name_bytes
        body[at + 13] = <uint8_t>host_bytes
        memcpy(body + at + MEMBER_HEAD_BYTES, member.name, name_bytes)
        memcpy(body + at + MEMBER_HEAD_BYTES + name_bytes, member.host, host_bytes)
        at += MEMBER_HEAD_BYTES + <uint32_t>round_up(name_bytes + host_bytes, 8)
    put_u32(body + 4, at - ENTRY_AT)
    check2(at <= ROSTER_BYTES_MAX, b"Q-MEMBERSHIP-03 a roster has a bounded size", at, roster.count)
    return at


cdef bint roles_make_sense(const Roster* roster) noexcept nogil:
    """Voters in each half; a simple record changes none."""
    cdef const Member* member
    cdef uint32_t i, k
    cdef bint now = False
    cdef bint before = False
    cdef bint moved = False
    for i in range(roster.count):
        member = &roster.members[i]
        if member.node == 0 or member.role > MEMBER_LEARNER or member.before > MEMBER_LEARNER \
                or member.goal > MEMBER_LEARNER or member.before_goal > MEMBER_LEARNER:
            return False
        for k in range(i):
            if roster.members[k].node == member.node:
                return False
        now |= member.role == MEMBER_VOTER
        before |= member.before == MEMBER_VOTER
        moved |= (member.role == MEMBER_VOTER) != (member.before == MEMBER_VOTER)
    if roster.stage >= MEMBERSHIP_DELTA:
        return True
    return now and before and not (moved and roster.stage == MEMBERSHIP_SIMPLE)


cdef int roster_decode(Roster* roster, const uint8_t* body, uint32_t bytes) noexcept nogil:
    cdef Member* member
    cdef uint32_t at = ENTRY_AT + HEAD_BYTES
    cdef uint32_t i, name_bytes, host_bytes
    memset(roster, 0, sizeof(Roster))
    if bytes < at or bytes > ROSTER_BYTES_MAX or get_u32(body) != 0 or get_u32(body + 4) != bytes - ENTRY_AT:
        return ERR_CORRUPT
    roster.stage = body[ENTRY_AT + 1]
    roster.count = body[ENTRY_AT + 2]
    roster.before_index = get_u64(body + ENTRY_AT + 8)
    if body[ENTRY_AT] != 1 or roster.count == 0 or roster.count > NODES_MAX \
            or roster.stage < MEMBERSHIP_SIMPLE or roster.stage > MEMBERSHIP_SET:
        return ERR_CORRUPT
    for i in range(roster.count):
        if bytes - at < MEMBER_HEAD_BYTES:
            return ERR_CORRUPT
        member = &roster.members[i]
        name_bytes = body[at + 12]
        host_bytes = body[at + 13]
        if name_bytes >= MEMBER_NAME_BYTES or host_bytes >= MEMBER_HOST_BYTES \
                or bytes - at < MEMBER_HEAD_BYTES + round_up(name_bytes + host_bytes, 8):
            return ERR_CORRUPT
        member.node = get_u64(body + at)
        member.role = body[at + 8] & 15
        member.before = body[at + 8] >> 4
        member.goal = body[at + 9] & 15
        member.before_goal = body[at + 9] >> 4
        member.port = get_u16(body + at + 10)
        memcpy(member.name, body + at + MEMBER_HEAD_BYTES, name_bytes)
        memcpy(member.host, body + at + MEMBER_HEAD_BYTES + name_bytes, host_bytes)
        at += MEMBER_HEAD_BYTES + <uint32_t>round_up(name_bytes + host_bytes, 8)
    return OK if at == bytes and roles_make_sense(roster) else ERR_CORRUPT
