"""Changes of the membership; see raft_changes.pxd."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memset

from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_AGAIN, ERR_BUSY, ERR_NOT_LEADER, ERR_OVERLOADED, ERR_USAGE, OK
from quorumlog._core.base.types cimport NODES_MAX
from quorumlog._core.engine.membership cimport (
    MEMBERSHIP_DELTA, MEMBERSHIP_JOINT, MEMBERSHIP_LEFT, MEMBERSHIP_SET, MEMBERSHIP_SIMPLE, MEMBER_LEARNER, MEMBER_NONE,
    MEMBER_VOTER, Member, Roster, membership_is_joint, membership_pends, membership_slot, roster_decode, roster_find)
from quorumlog._core.engine.protocol cimport PEER_STREAM, ROLE_LEADER
from quorumlog._core.protocols.raft_membership cimport membership_tell_removed
from quorumlog._core.protocols.raft_records cimport raft_roster_batch
from quorumlog._core.protocols.raft_replication cimport replication_append
from quorumlog._core.storage.batch cimport batch_drop


# The next record

cdef void next_roster(const Raft* raft, Roster* out, uint8_t stage) noexcept nogil:
    """The nodes of today, with what they are today as what they were."""
    cdef const Roster* today = &raft.membership.roster
    cdef uint32_t i
    memset(out, 0, sizeof(Roster))
    out.stage = stage
    out.before_index = raft.membership.index
    for i in range(today.count):
        if today.members[i].role == MEMBER_NONE and stage != MEMBERSHIP_LEFT:
            continue                   # gone with the record before
        out.members[out.count] = today.members[i]
        if stage != MEMBERSHIP_LEFT:
            out.members[out.count].before = today.members[i].role
        out.members[out.count].before_goal = today.members[i].goal
        out.count += 1


cdef int append_roster(Raft* raft, Outbox* out, const Roster* roster) noexcept nogil:
    cdef Batch* batch = raft_roster_batch(raft, roster)
    if batch == NULL:
        return ERR_OVERLOADED          # no memory now
    replication_append(raft, out, batch)
    batch_drop(batch)
    return OK


# A request

cdef bint take_wishes(Roster* roster, const Roster* request) noexcept nogil:
    """The goals that a request sets; False: too many nodes."""
    cdef Member* member
    cdef uint32_t i
    if request.stage == MEMBERSHIP_SET:
        for i in range(roster.count):
            roster.members[i].goal = MEMBER_NONE
    for i in range(request.count):
        member = roster_find(roster, request.members[i].node)
        if member == NULL:
            if request.members[i].goal == MEMBER_NONE:
                continue               # it is not there, as wished
            if roster.count == NODES_MAX:
                return False
            member = &roster.members[roster.count]
            roster.count += 1
            member[0] = request.members[i]
            member.role = MEMBER_NONE
            member.before = MEMBER_NONE
            member.before_goal = MEMBER_NONE
        elif request.members[i].port != 0:
            member.port = request.members[i].port
            member.host = request.members[i].host
            member.name = request.members[i].name
        member.goal = request.members[i].goal
    return True


cdef void what_needs_no_vote(Roster* roster) noexcept nogil:
    """New nodes are learners at once, and learners that go are gone at once."""
    cdef Member* member
    cdef uint32_t i
    for i in range(roster.count):
        member = &roster.members[i]
        if member.role == MEMBER_NONE and member.goal != MEMBER_NONE:
            member.role = MEMBER_LEARNER
        elif member.role == MEMBER_LEARNER and member.goal == MEMBER_NONE:
            member.role = MEMBER_NONE


cdef bint leaves_a_voter(const Roster* roster) noexcept nogil:
    cdef uint32_t i
    for i in range(roster.count):
        if roster.members[i].goal == MEMBER_VOTER:
            return True
    return False


cdef bint same(const Roster* a, const Roster* b) noexcept nogil:
    """Of nodes, roles, goals and addresses."""
    cdef const Member* other
    cdef uint32_t i
    cdef uint32_t there = 0
    for i in range(b.count):
        there += b.members[i].role != MEMBER_NONE or b.members[i].goal != MEMBER_NONE
    for i in range(a.count):
        if a.members[i].role == MEMBER_NONE and a.members[i].goal == MEMBER_NONE:
            continue
        other = roster_find(<Roster*>b, a.members[i].node)
        if other == NULL or other.role != a.members[i].role or other.goal != a.members[i].goal \
                or other.port != a.members[i].port or memcmp(other.host, a.members[i].host, sizeof(other.host)) != 0:
            return False
        there -= 1
    return there == 0


cdef bint record_is_open(const Raft* raft) noexcept nogil:
    """A-M1, A-M2: the newest record, and an entry of the own term, come first."""
    if mutant(b"change-before-own-term") and raft.membership.index <= raft.commit:
        return False
    return raft.membership.index > raft.commit or raft.commit < raft.term_first


cdef int change_begin(Raft* raft, Outbox* out, const Batch* request) noexcept nogil:
    cdef Roster wished, roster
    cdef int status
    if raft.role != ROLE_LEADER:
        return ERR_NOT_LEADER
    if roster_decode(&wished, request.body, request.body_bytes) != OK or wished.stage < MEMBERSHIP_DELTA:
        return ERR_USAGE
    next_roster(raft, &roster, MEMBERSHIP_SIMPLE)
    if not take_wishes(&roster, &wished):
        return ERR_USAGE
    what_needs_no_vote(&roster)
    if not leaves_a_voter(&roster):
        return ERR_USAGE
    if same(&roster, &raft.membership.roster):
        return ERR_AGAIN if membership_pends(&raft.membership) or record_is_open(raft) else OK
    if record_is_open(raft) or membership_is_joint(&raft.membership) or raft.transfer_target != 0:
        return ERR_BUSY
    status = append_roster(raft, out, &roster)
    return ERR_AGAIN if status == OK else status


# Onwards

cdef bint caught_up(Raft* raft, const Member* member) noexcept nogil:
    """Thesis 4.2.1: a round of catching up that took no longer than an election timeout."""
    cdef int slot = membership_slot(&raft.membership, member.node)
    if slot < 0 or raft.counted[slot] < raft.caught_up_to[slot] or raft.peer_listening[slot] \
            or raft.progress[slot].state != PEER_STREAM:
        return False
    if raft.caught_up_to[slot] != 0 and raft.now_ns - raft.caught_up_since_ns[slot] < raft.election_timeout_ns:
        return True
    raft.caught_up_to[slot] = raft.log.last
    raft.caught_up_since_ns[slot] = raft.now_ns
    return raft.counted[slot] >= raft.log.last


cdef bint voters_are_ready(Raft* raft) noexcept nogil:
    cdef Member* member
    cdef bint ready = True
    cdef uint32_t i
    for i in range(raft.membership.roster.count):
        member = &raft.membership.roster.members[i]
        if member.goal == MEMBER_VOTER and member.role != MEMBER_VOTER and not caught_up(raft, member):
            ready = False              # the others' rounds go on
    return ready or mutant(b"promoted-before-caught-up")


cdef void change_turn(Raft* raft, Outbox* out) noexcept nogil:
    if raft.role != ROLE_LEADER or record_is_open(raft):
        return
    if raft.membership_done != raft.membership.index:
        raft.membership_done = raft.membership.index
        membership_tell_removed(raft, out)
    if raft.change_pends and raft.transfer_target == 0:
        go_on(raft, out)


cdef void go_on(Raft* raft, Outbox* out) noexcept nogil:
    cdef Roster roster
    cdef uint32_t i
    if membership_is_joint(&raft.membership):
        next_roster(raft, &roster, MEMBERSHIP_LEFT)
    elif voters_are_ready(raft):
        next_roster(raft, &roster, MEMBERSHIP_JOINT)
        for i in range(roster.count):
            roster.members[i].role = roster.members[i].goal
    else:
        return
    append_roster(raft, out, &roster)
