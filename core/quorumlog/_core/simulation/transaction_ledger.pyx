"""See transaction_ledger.pxd."""

from quorumlog._core.engine.decisions cimport VERDICT_ABORT, VERDICT_COMMIT, VERDICT_IN_DOUBT, Decided
from quorumlog._core.engine.transactions cimport CoordinatorStatus, ParticipantStatus
from quorumlog._core.engine.txids cimport TXID_NOWHERE, Txid, txids_find
from quorumlog._core.simulation.transaction_state cimport (
    FAILURE_BYTES, Node, Transfer, TransactionWorld, is_coordinator)

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memset


cdef void world_fail(TransactionWorld* world, const char* what, uint32_t node, uint64_t a, uint64_t b) noexcept nogil:
    if world.failure[0] == 0:
        snprintf(world.failure, FAILURE_BYTES, b"%s (node %u, %llu, %llu, at %llu ms)", what, node,
                 <unsigned long long>a, <unsigned long long>b, <unsigned long long>(world.now_ns // 1000000))


cdef void world_note(TransactionWorld* world, uint64_t a, uint64_t b) noexcept nogil:
    world.hash = (world.hash ^ a) * 0x100000001B3ULL
    world.hash = (world.hash ^ b) * 0x9E3779B97F4A7C15ULL
    world.hash ^= world.hash >> 31


cdef Transfer* transfer_of(TransactionWorld* world, const Txid* txid) noexcept nogil:
    cdef uint32_t place = txids_find(&world.transfer_index, txid)
    return &world.transfers[place] if place != TXID_NOWHERE else NULL


cdef uint32_t branch_at(const Transfer* transfer, uint32_t node) noexcept nogil:
    cdef uint32_t branch
    for branch in range(transfer.branch_count):
        if transfer.nodes[branch] == node:
            return branch
    return transfer.branch_count


cdef void ledger_decided(TransactionWorld* world, const Txid* txid) noexcept nogil:
    cdef Transfer* transfer = transfer_of(world, txid)
    cdef uint32_t branch
    if transfer == NULL:
        world_fail(world, b"a transaction was decided that nobody began", 0, txid.number, txid.incarnation)
        return
    if transfer.decided:
        return
    transfer.decided = True
    if transfer.told == VERDICT_ABORT:
        world_fail(world, b"a commit was decided after its client was told that it was aborted", transfer.coordinator,
                   txid.number, txid.incarnation)
    for branch in range(transfer.branch_count):
        if transfer.rolled_back[branch] and transfer.said_yes[branch]:
            world_fail(world, b"a commit was decided after a branch that had said yes rolled back",
                       transfer.nodes[branch], txid.number, txid.incarnation)


cdef void ledger_commit_leaves(TransactionWorld* world, uint32_t node, const Txid* txid) noexcept nogil:
    cdef const Transfer* transfer = transfer_of(world, txid)
    if transfer == NULL or not transfer.decided:
        world_fail(world, b"COMMIT left before the decision was durable", node, txid.number, txid.incarnation)


cdef void ledger_told(TransactionWorld* world, uint32_t node, const Txid* txid, int outcome) noexcept nogil:
    cdef Transfer* transfer = transfer_of(world, txid)
    cdef uint32_t branch
    cdef bint wrote = False
    transfer.told = outcome
    if outcome == VERDICT_IN_DOUBT:
        world.in_doubt += 1
        return
    for branch in range(transfer.branch_count):
        wrote = wrote or (transfer.amounts[branch] != 0)
    if outcome == VERDICT_ABORT:
        world.aborted += 1
        if transfer.decided:
            world_fail(world, b"a client was told ABORTED of what is committed", node, txid.number, txid.incarnation)
        return
    world.committed += 1
    world.committed_healed += world.healed
    if wrote and not transfer.decided and not transfer.one_phase:
        world_fail(world, b"a client was told COMMITTED before the decision was durable", node, txid.number,
                   txid.incarnation)


cdef void ledger_yes_leaves(TransactionWorld* world, Node* node, const Txid* txid) noexcept nogil:
    cdef Transfer* transfer = transfer_of(world, txid)
    cdef uint32_t branch = branch_at(transfer, node.number)
    transfer.said_yes[branch] = True
    if transfer.prepared_wsn[branch] == 0 or transfer.prepared_wsn[branch] > node.log.flushed:
        world_fail(world, b"YES left before the prepared record was durable", node.number,
                   transfer.prepared_wsn[branch], node.log.flushed)


cdef void ledger_ack_leaves(TransactionWorld* world, Node* node, const Txid* txid) noexcept nogil:
    """Of a commit; an old copy is answered too, when its record is long durable."""
    cdef Transfer* transfer = transfer_of(world, txid)
    cdef uint32_t branch = branch_at(transfer, node.number)
    if transfer.committed_wsn[branch] == 0 or transfer.committed_wsn[branch] > node.log.flushed:
        world_fail(world, b"an acknowledgement left before the commit was durable", node.number,
                   transfer.committed_wsn[branch], node.log.flushed)


cdef void ledger_branch_commits(TransactionWorld* world, Node* node, const Txid* txid) noexcept nogil:
    cdef Transfer* transfer = transfer_of(world, txid)
    cdef uint32_t branch = branch_at(transfer, node.number)
    if transfer.committed[branch]:
        world_fail(world, b"a branch committed twice", node.number, txid.number, txid.incarnation)
    if transfer.rolled_back[branch] and transfer.said_yes[branch]:
        world_fail(world, b"a branch committed after it had rolled back", node.number, txid.number, txid.incarnation)
    if not transfer.decided and not transfer.one_phase:
        world_fail(world, b"a branch committed and nobody decided so", node.number, txid.number, txid.incarnation)
    transfer.committed[branch] = True


cdef void ledger_branch_rolls_back(TransactionWorld* world, Node* node, const Txid* txid) noexcept nogil:
    cdef Transfer* transfer = transfer_of(world, txid)
    cdef uint32_t branch = branch_at(transfer, node.number)
    transfer.rolled_back[branch] = True
    if transfer.committed[branch]:
        world_fail(world, b"a branch rolled back after it had committed", node.number, txid.number, txid.incarnation)
    if transfer.decided:
        world_fail(world, b"a branch rolled back what is committed", node.number, txid.number, txid.incarnation)


cdef void ledger_look_at_locks(TransactionWorld* world, Node* node) noexcept nogil:
    cdef ParticipantStatus status
    memset(&status, 0, sizeof(ParticipantStatus))
    world.options.protocol.participant_status(node.participant, &status)
    if status.prepared != node.locks:
        world_fail(world, b"locks are not those of prepared branches", node.number, status.prepared, node.locks)
    if status.alarms != 0:
        world_fail(world, b"a participant was told the opposite of what it had done", node.number, status.alarms, 0)


cdef void end_of_transfer(TransactionWorld* world, const Transfer* transfer) noexcept nogil:
    cdef uint32_t branch
    cdef uint32_t committed = 0
    cdef uint32_t writing = 0
    for branch in range(transfer.branch_count):
        if transfer.amounts[branch] != 0:
            writing += 1
            committed += transfer.committed[branch]
    if committed != 0 and committed != writing:
        world_fail(world, b"committed at some participants and not at others", transfer.coordinator, committed, writing)
    if transfer.told == VERDICT_COMMIT and committed != writing:
        world_fail(world, b"a client was told COMMITTED and it is not", transfer.coordinator, transfer.txid.number,
                   transfer.txid.incarnation)
    if transfer.told == VERDICT_ABORT and committed != 0:
        world_fail(world, b"a client was told ABORTED and it is committed", transfer.coordinator,
                   transfer.txid.number, transfer.txid.incarnation)
    if transfer.decided and committed != writing:
        world_fail(world, b"what was decided was not carried out", transfer.coordinator, transfer.txid.number,
                   transfer.txid.incarnation)


cdef void end_of_node(TransactionWorld* world, Node* node) noexcept nogil:
    cdef CoordinatorStatus status
    cdef const Decided* entry
    cdef uint32_t i
    if is_coordinator(world, node.number):
        memset(&status, 0, sizeof(CoordinatorStatus))
        if node.coordinator == NULL:
            world_fail(world, b"a coordinator did not come back", node.number, 0, 0)
            return
        world.options.protocol.coordinator_status(node.coordinator, &status)
        if status.in_hand != 0:
            world_fail(world, b"a transaction did not end", node.number, status.in_hand,
                       status.committing * 100 + status.aborting * 10 + status.deciding)
        for i in range(node.decisions.capacity):
            entry = &node.decisions.decided[i]
            if entry.txid.number != 0 and not entry.ended and not entry.resolved:
                world_fail(world, b"the decision log has what did not end", node.number, entry.txid.number,
                           entry.txid.incarnation)
    elif not node.up or node.locks != 0:
        world_fail(world, b"something stays prepared", node.number, node.locks, node.up)


cdef void ledger_end(TransactionWorld* world) noexcept nogil:
    cdef uint32_t i, account
    cdef int64_t total = 0
    for i in range(world.transfer_count):
        end_of_transfer(world, &world.transfers[i])
        if world.transfers[i].one_phase and world.transfers[i].committed[0]:
            total -= world.transfers[i].amounts[0]      # paid in from outside
    for i in range(world.node_count):
        end_of_node(world, &world.nodes[i])
        for account in range(world.options.accounts):
            total += world.nodes[i].balance[account]
    if total != 0:
        world_fail(world, b"money was made or lost", 0, <uint64_t>total, 0)
