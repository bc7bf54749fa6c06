"""The membership in force, and what changes with it; see raft_membership.pxd."""

from libc.stdint cimport uint32_t

from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport OK
from quorumlog._core.base.types cimport NODES_MAX, node_t
from quorumlog._core.engine.membership cimport (
    MEMBERSHIP_LEFT, MEMBER_NONE, Member, membership_adopt, membership_before, membership_pends,
    membership_slot, roster_decode)
from quorumlog._core.engine.progress cimport progress_open
from quorumlog._core.engine.protocol cimport ROLE_LEADER
from quorumlog._core.engine.transfer cimport sending_end
from quorumlog._core.protocols.raft_records cimport raft_message
from quorumlog._core.protocols.raft_state cimport RAFT_REMOVED, RemovedFields, is_peer, slot_bit
from quorumlog._core.storage.batch cimport KIND_MEMBERSHIP

from libc.string cimport memcpy


cdef bint membership_well_formed(const Batch* batch) noexcept nogil:
    cdef Roster roster
    return (batch.count == 1 and roster_decode(&roster, batch.body, batch.body_bytes) == OK
            and roster.stage <= MEMBERSHIP_LEFT and roster.before_index < batch.first)


cdef void forget_slot(Raft* raft, int slot) noexcept nogil:
    """What was known of whoever had this slot says nothing of who has it now."""
    cdef uint32_t i
    raft.granted &= ~slot_bit(slot)
    raft.refused &= ~slot_bit(slot)
    raft.tail_heard &= ~slot_bit(slot)
    raft.tail_holds &= ~slot_bit(slot)
    raft.reachable |= slot_bit(slot)
    raft.commit_sent[slot] = 0
    raft.commit_wanted[slot] = 0
    raft.counted[slot] = 0
    raft.peer_listening[slot] = False
    raft.barrier_asked[slot] = 0
    raft.barriers[slot] = 0
    raft.priorities[slot] = 0
    raft.caught_up_to[slot] = 0
    for i in range(raft.faults.count):
        if raft.faults.faults[i].asked == slot:
            raft.faults.faults[i].asked_ns = 0
    sending_end(&raft.sending[slot])
    progress_open(&raft.progress[slot], raft.membership.nodes[slot], raft.log.last + 1)
    raft.progress[slot].heard_ns = raft.now_ns


cdef void membership_take(Raft* raft, const Roster* roster, index_t index) noexcept nogil:
    cdef node_t[NODES_MAX] before
    cdef int slot
    memcpy(before, raft.membership.nodes, sizeof(before))
    membership_adopt(&raft.membership, roster, index)
    slot = membership_slot(&raft.membership, raft.self)
    raft.self_slot = slot if slot >= 0 else NODES_MAX
    for slot in range(NODES_MAX):
        if raft.membership.nodes[slot] != before[slot]:
            forget_slot(raft, slot)
    # Each step asks for these.
    raft.alone = True
    for slot in range(<int>raft.membership.count):
        raft.alone = raft.alone and not is_peer(raft, slot)
    raft.change_pends = membership_pends(&raft.membership)
    raft.quorum_heard_ns = 0           # it was another quorum


cdef void membership_appended(Raft* raft, Outbox* out, const Batch* batch) noexcept nogil:
    cdef Roster roster
    if batch.kind != KIND_MEMBERSHIP or roster_decode(&roster, batch.body, batch.body_bytes) != OK:
        return
    membership_take(raft, &roster, batch.first)
    out.membership_changed = True


cdef bint membership_may_truncate(const Raft* raft, index_t first) noexcept nogil:
    return raft.membership.index < first or raft.membership.roster.before_index < first


cdef void membership_truncated(Raft* raft, Outbox* out, index_t first) noexcept nogil:
    cdef Roster roster
    if raft.membership.index < first or mutant(b"membership-survives-truncation"):
        return
    membership_before(&raft.membership, &roster)
    membership_take(raft, &roster, raft.membership.roster.before_index)
    out.membership_changed = True


# Removed nodes

cdef void tell(Raft* raft, Outbox* out, node_t node) noexcept nogil:
    (<RemovedFields*>raft_message(raft, out, RAFT_REMOVED, node).fields).index = raft.membership.index


cdef bint membership_refuse_stranger(Raft* raft, Outbox* out, node_t sender, index_t knows) noexcept nogil:
    if membership_slot(&raft.membership, sender) >= 0 or raft.membership.index > raft.commit \
            or knows >= raft.membership.index or raft.removed_index != 0:
        return False                   # it may know better
    tell(raft, out, sender)
    return True


cdef void membership_on_removed(Raft* raft, Outbox* out, const Message* message) noexcept nogil:
    cdef index_t index = (<const RemovedFields*>message.fields).index
    if index > raft.membership.index and raft.role != ROLE_LEADER:
        raft.removed_index = index


cdef void membership_tell_removed(Raft* raft, Outbox* out) noexcept nogil:
    cdef const Member* member
    cdef uint32_t i
    for i in range(raft.membership.roster.count):
        member = &raft.membership.roster.members[i]
        if member.role == MEMBER_NONE and member.node != raft.self:
            tell(raft, out, member.node)
