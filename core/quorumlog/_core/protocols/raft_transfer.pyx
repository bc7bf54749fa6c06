"""Handing over leadership: to whom, until when; see raft_transfer.pxd."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_BUSY, ERR_CONNECTION_LOST, ERR_NOT_LEADER, ERR_USAGE, OK
from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.membership cimport membership_slot
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.protocol cimport ROLE_LEADER
from quorumlog._core.protocols.raft_lease cimport lease_break
from quorumlog._core.protocols.raft_records cimport raft_message
from quorumlog._core.protocols.raft_state cimport RAFT_TIMEOUT_NOW, TimeoutNowFields, slot_bit

cdef enum:
    SETTLE_TIMEOUTS = 4            # of leading, before it may go to a higher priority
    AGAIN_TIMEOUTS = 8             # after an attempt that failed


# Whom

cdef bint may_take_over(const Raft* raft, int slot) noexcept nogil:
    return (slot != raft.self_slot and (raft.membership.voters & slot_bit(slot)) != 0
            and raft.progress[slot].reachable and not raft.peer_listening[slot])


cdef int successor(const Raft* raft, index_t at_least) noexcept nogil:
    """Of those that acknowledged so much, the highest priority, and the longest log; -1: nobody."""
    cdef int best = -1
    cdef int slot
    for slot in range(<int>raft.membership.count):
        if not may_take_over(raft, slot) or raft.counted[slot] < at_least:
            continue
        if best < 0 or raft.priorities[slot] > raft.priorities[best] \
                or (raft.priorities[slot] == raft.priorities[best] and raft.counted[slot] > raft.counted[best]):
            best = slot
    return best


# The leader's side

cdef void transfer_start(Raft* raft) noexcept nogil:
    transfer_forget(raft)
    raft.transfer_again_ns = raft.now_ns + SETTLE_TIMEOUTS * raft.election_timeout_ns


cdef void transfer_forget(Raft* raft) noexcept nogil:
    raft.transfer_target = 0
    raft.transfer_round = 0


cdef void tell(Raft* raft, Outbox* out, int slot) noexcept nogil:
    cdef Message* message = raft_message(raft, out, RAFT_TIMEOUT_NOW, raft.membership.nodes[slot])
    (<TimeoutNowFields*>message.fields).last_index = raft.log.last
    lease_break(raft)


cdef int transfer_begin(Raft* raft, Outbox* out, node_t target) noexcept nogil:
    cdef int slot
    if raft.role != ROLE_LEADER:
        return ERR_NOT_LEADER
    if target == raft.self:
        return OK
    if raft.transfer_target != 0:
        return OK if target == 0 or target == raft.transfer_target else ERR_BUSY
    slot = successor(raft, 0) if target == 0 else membership_slot(&raft.membership, target)
    if target != 0 and (slot < 0 or not raft.membership.voters & slot_bit(slot)):
        return ERR_USAGE
    if slot < 0 or not may_take_over(raft, slot):
        return ERR_CONNECTION_LOST
    raft.transfers += 1
    raft.transfer_target = raft.membership.nodes[slot]
    raft.transfer_until_ns = raft.now_ns + raft.election_timeout_ns
    raft.transfer_round = 0
    transfer_turn(raft, out)
    return OK


cdef void transfer_expire(Raft* raft) noexcept nogil:
    if raft.transfer_target == 0 or raft.now_ns < raft.transfer_until_ns or mutant(b"transfer-never-cleared"):
        return
    check(raft.role == ROLE_LEADER, b"Q-TRANSFER-01 only a leader hands over")
    raft.transfers_failed += 1
    raft.transfer_again_ns = raft.now_ns + AGAIN_TIMEOUTS * raft.election_timeout_ns
    transfer_forget(raft)


cdef void transfer_turn(Raft* raft, Outbox* out) noexcept nogil:
    """A lost TIMEOUT_NOW is said again with the next round of heartbeats."""
    cdef int slot
    if raft.transfer_target == 0 or raft.transfer_round == raft.round:
        return
    slot = membership_slot(&raft.membership, raft.transfer_target)
    if slot < 0:
        transfer_forget(raft)
    elif raft.counted[slot] == raft.log.last or mutant(b"transfer-to-who-lags"):
        tell(raft, out, slot)
        raft.transfer_round = raft.round


cdef void transfer_to_priority(Raft* raft, Outbox* out) noexcept nogil:
    cdef int slot
    if raft.transfer_target != 0 or raft.now_ns < raft.transfer_again_ns:
        return
    slot = successor(raft, raft.commit)
    if slot >= 0 and raft.priorities[slot] > raft.priority:
        transfer_begin(raft, out, raft.membership.nodes[slot])


# The disk

cdef bint disk_stands_still(const Raft* raft) noexcept nogil:
    return (waits_for_disk(raft) and raft.now_ns - raft.disk_moved_ns >= raft.disk_patience_ns
            and not mutant(b"stalled-disk-leads"))


cdef void transfer_at_once(Raft* raft, Outbox* out) noexcept nogil:
    cdef int slot = successor(raft, raft.log.last)
    if slot >= 0:
        tell(raft, out, slot)
