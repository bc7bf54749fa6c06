"""See transaction_participant.pxd."""

from quorumlog._core.base.bytes cimport (
    Reader, Writer, read_u32, read_u64, reader_open, write_u32, write_u64, writer_open)
from quorumlog._core.base.checks cimport check
from quorumlog._core.base.prng cimport prng_below, prng_chance
from quorumlog._core.base.types cimport wsn_t
from quorumlog._core.engine.transactions cimport (
    BRANCH_COMMITTED, BRANCH_PREPARED, DO_ALARM, DO_COMMIT, DO_COMMIT_ONE_PHASE, DO_PREPARE, DO_RESOURCE_COMMIT,
    DO_RESOURCE_PREPARE, DO_RESOURCE_ROLLBACK, DO_ROLLBACK, DO_SEND, DO_WRITE, PARTICIPANT_TIME, RESOURCE_VOTED,
    RESTORED, TELL_INQUIRY, TOLD_COMMIT, TOLD_COMMIT_ONE_PHASE, TOLD_PREPARE, TOLD_ROLLBACK, VOTE_NO, VOTE_READ_ONLY,
    VOTE_YES, Effect, ParticipantOptions, ParticipantStatus, TransactionEvent,
)
from quorumlog._core.engine.txids cimport Txid
from quorumlog._core.simulation.schedule cimport OCCURS_TIME
from quorumlog._core.simulation.transaction_ledger cimport (
    branch_at, ledger_branch_commits, ledger_branch_rolls_back, ledger_look_at_locks, transfer_of, world_fail)
from quorumlog._core.simulation.transaction_log cimport (
    node_later, node_log_append, node_log_next, node_log_open, node_log_plan)
from quorumlog._core.simulation.transaction_network cimport post
from quorumlog._core.simulation.transaction_state cimport (
    TMARK_INQUIRED, TMARK_LATE_PREPARE, TMARK_PREPARED_RESTORED, TMARK_READ_ONLY, TMARK_REFUSED, Node,
    TransactionParcel, TransactionWorld, Transfer, is_replicated)

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

cdef enum:
    BRANCHES_OF_ONE = 1024
    RECORD_BYTES = 64


# --- the resource: accounts and locks ---------------------------------------------------------

cdef void lock(Node* node, uint32_t account, uint64_t owner) noexcept nogil:
    if node.locked_by[account] == 0:
        node.locked_by[account] = owner
        node.locks += 1


cdef void unlock(Node* node, uint32_t account, uint64_t owner) noexcept nogil:
    if node.locked_by[account] == owner:
        node.locked_by[account] = 0
        node.locks -= 1


cdef inline uint64_t owner_of(const TransactionWorld* world, const Transfer* transfer) noexcept nogil:
    return 1 + <uint64_t>(transfer - world.transfers)


cdef int resource_prepare(TransactionWorld* world, Node* node, const TransactionParcel* parcel) noexcept nogil:
    """Locks, or says no: somebody else has it, or it just can't."""
    cdef Transfer* transfer = transfer_of(world, &parcel.txid)
    if node.locked_by[parcel.account] != 0 or prng_chance(&world.prng, 1, 40):
        world.marks[<int>TMARK_REFUSED] += 1
        return VOTE_NO
    if parcel.amount == 0:
        world.marks[<int>TMARK_READ_ONLY] += 1
        return VOTE_READ_ONLY
    lock(node, parcel.account, owner_of(world, transfer))
    return VOTE_YES


cdef void resource_end(TransactionWorld* world, Node* node, const Txid* txid, bint commit) noexcept nogil:
    cdef Transfer* transfer = transfer_of(world, txid)
    cdef uint32_t branch = branch_at(transfer, node.number)
    if commit:
        node.balance[transfer.accounts[branch]] += transfer.amounts[branch]
        ledger_branch_commits(world, node, txid)
    else:
        ledger_branch_rolls_back(world, node, txid)
    unlock(node, transfer.accounts[branch], owner_of(world, transfer))


# --- steps ------------------------------------------------------------------------------------

cdef void write_record(TransactionWorld* world, Node* node, const Effect* effect) noexcept nogil:
    cdef Writer w
    cdef uint8_t[RECORD_BYTES] data
    cdef Transfer* transfer = transfer_of(world, &effect.txid)
    cdef uint32_t branch = branch_at(transfer, node.number)
    cdef wsn_t wsn
    writer_open(&w, data, RECORD_BYTES)
    write_u32(&w, <uint32_t>effect.outcome)
    write_u32(&w, effect.txid.incarnation)
    write_u32(&w, effect.txid.nonce)
    write_u32(&w, transfer.accounts[branch])
    write_u64(&w, effect.txid.coordinator)
    write_u64(&w, effect.txid.number)
    write_u64(&w, effect.target)
    write_u64(&w, <uint64_t>transfer.amounts[branch])
    check(not w.failed, b"Q-TXPART-01 a record of a participant fits")
    wsn = node_log_append(node, data, <uint32_t>w.position)
    if effect.outcome == BRANCH_PREPARED:
        transfer.prepared_wsn[branch] = wsn
    elif effect.outcome == BRANCH_COMMITTED:
        transfer.committed_wsn[branch] = wsn


cdef uint32_t asked_of(TransactionWorld* world, const Effect* effect) noexcept nogil:
    """An inquiry goes to whoever may know: with a replicated log, to any coordinator."""
    if effect.message == TELL_INQUIRY and is_replicated(world) and prng_chance(&world.prng, 1, 2):
        return <uint32_t>prng_below(&world.prng, world.options.coordinator_count)
    return <uint32_t>effect.target - 1


cdef bint carry_out(TransactionWorld* world, Node* node) noexcept nogil:
    """True: the resource is asked to prepare."""
    cdef const Effect* effect
    cdef uint32_t i
    cdef bint asked = False
    for i in range(node.effects.count):
        effect = &node.effects.items[i]
        if effect.kind == DO_WRITE:
            write_record(world, node, effect)
        elif effect.kind == DO_SEND:
            if effect.message == TELL_INQUIRY:
                world.marks[<int>TMARK_INQUIRED] += 1
            post(world, node, effect, asked_of(world, effect))
        elif effect.kind == DO_RESOURCE_PREPARE:
            asked = True
        elif effect.kind == DO_RESOURCE_COMMIT:
            resource_end(world, node, &effect.txid, True)
        elif effect.kind == DO_RESOURCE_ROLLBACK:
            resource_end(world, node, &effect.txid, False)
        elif effect.kind == DO_ALARM:
            world_fail(world, b"a participant was told the opposite of what it had done", node.number,
                       effect.txid.number, effect.outcome)
    node.effects.count = 0
    return asked


cdef void step(TransactionWorld* world, Node* node, TransactionEvent* event,
               const TransactionParcel* parcel) noexcept nogil:
    event.now_ns = world.now_ns
    event.wsn_next = node_log_next(node)
    world.options.protocol.participant_step(node.participant, event, &node.effects)
    if carry_out(world, node):
        event.kind = RESOURCE_VOTED
        event.vote = resource_prepare(world, node, parcel)
        world.options.protocol.participant_step(node.participant, event, &node.effects)
        carry_out(world, node)
    node.deadline_ns = node.effects.deadline_ns
    ledger_look_at_locks(world, node)
    node_log_plan(world, node)
    if node.deadline_ns != 0 and (node.timer_ns <= world.now_ns or node.deadline_ns < node.timer_ns):
        node.timer_ns = max(node.deadline_ns, world.now_ns + 1)
        node_later(world, node, OCCURS_TIME, node.timer_ns - world.now_ns, 0)


cdef void participant_hear(TransactionWorld* world, Node* node, const TransactionParcel* parcel) noexcept nogil:
    cdef TransactionEvent event
    cdef ParticipantStatus status
    memset(&event, 0, sizeof(TransactionEvent))
    if parcel.kind == DO_PREPARE:
        event.kind = TOLD_PREPARE
    elif parcel.kind == DO_COMMIT_ONE_PHASE:
        event.kind = TOLD_COMMIT_ONE_PHASE
    elif parcel.kind == DO_COMMIT:
        event.kind = TOLD_COMMIT
    elif parcel.kind == DO_ROLLBACK:
        event.kind = TOLD_ROLLBACK
    else:
        return
    event.txid = parcel.txid
    event.sender = parcel.source + 1
    event.low_incarnation = parcel.low_incarnation
    event.low_number = parcel.low_number
    step(world, node, &event, parcel)
    memset(&status, 0, sizeof(ParticipantStatus))
    world.options.protocol.participant_status(node.participant, &status)
    world.marks[<int>TMARK_LATE_PREPARE] += status.refused_late != 0 and event.kind == TOLD_PREPARE


cdef void participant_time(TransactionWorld* world, Node* node) noexcept nogil:
    cdef TransactionEvent event
    node.timer_ns = 0
    memset(&event, 0, sizeof(TransactionEvent))
    event.kind = PARTICIPANT_TIME
    step(world, node, &event, NULL)


# --- life -------------------------------------------------------------------------------------

cdef void restore(TransactionWorld* world, Node* node, const uint8_t* data, uint32_t size) noexcept nogil:
    cdef Reader r
    cdef TransactionEvent event
    cdef Transfer* transfer
    cdef uint32_t account
    cdef int64_t amount
    memset(&event, 0, sizeof(TransactionEvent))
    reader_open(&r, data, size)
    event.kind = RESTORED
    event.state = <int>read_u32(&r)
    event.txid.incarnation = read_u32(&r)
    event.txid.nonce = read_u32(&r)
    account = read_u32(&r)
    event.txid.coordinator = read_u64(&r)
    event.txid.number = read_u64(&r)
    event.sender = read_u64(&r)
    amount = <int64_t>read_u64(&r)
    event.now_ns = world.now_ns
    transfer = transfer_of(world, &event.txid)
    if r.failed or transfer == NULL:
        world_fail(world, b"a record came back that nobody wrote", node.number, event.txid.number, size)
        return
    world.options.protocol.participant_step(node.participant, &event, &node.effects)
    if event.state == BRANCH_PREPARED:
        lock(node, account, owner_of(world, transfer))
    else:
        unlock(node, account, owner_of(world, transfer))
    if event.state == BRANCH_COMMITTED:
        node.balance[account] += amount
        ledger_branch_commits(world, node, &event.txid)


cdef bint participant_start(TransactionWorld* world, Node* node) noexcept nogil:
    cdef ParticipantOptions options
    cdef uint32_t i, branch
    options.branches_max = BRANCHES_OF_ONE
    options.inquire_ns = world.options.inquire_ns
    node.participant = world.options.protocol.participant_open(&options)
    check(node.participant != NULL, b"Q-TXPART-02 there is memory for a participant")
    memset(node.balance, 0, sizeof(node.balance))
    memset(node.locked_by, 0, sizeof(node.locked_by))
    node.locks = 0
    node.effects.count = 0
    node.timer_ns = 0
    for i in range(world.transfer_count):
        branch = branch_at(&world.transfers[i], node.number)
        if branch < world.transfers[i].branch_count:
            world.transfers[i].committed[branch] = False
    if not node_log_open(world, node, restore):
        world.options.protocol.participant_close(node.participant)
        node.participant = NULL
        return False
    node.up = True
    world.marks[<int>TMARK_PREPARED_RESTORED] += node.locks != 0
    participant_time(world, node)
    return True


cdef void participant_stop(TransactionWorld* world, Node* node) noexcept nogil:
    if node.participant != NULL:
        world.options.protocol.participant_close(node.participant)
        node.participant = NULL
