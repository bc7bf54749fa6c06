"""See transaction_coordinator.pxd."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.prng cimport prng_below, prng_chance, prng_next
from quorumlog._core.base.status cimport OK
from quorumlog._core.engine.decisions cimport (
    DECISION_COMMIT, DECISION_DOUBT, DECISION_END, DECISION_FENCE, DECISION_INCARNATION, DECISION_RESOLVE,
    VERDICT_ABORT, VERDICT_COMMIT, VERDICT_FOREIGN, VERDICT_FORGOTTEN, VERDICT_IN_DOUBT, VERDICT_LIVE, VERDICT_TAKEN,
    VERDICT_UNKNOWN, Decided, DecisionRecord, KnownCoordinator, decisions_close, decisions_coordinator,
    decisions_open, decisions_presume,
)
from quorumlog._core.engine.transactions cimport (
    ASKED_ABORT, ASKED_BEGIN, ASKED_COMMIT, ASKED_ENLIST, DO_COMMIT, DO_COMMIT_ONE_PHASE, DO_DECIDE, DO_END,
    DO_PREPARE, DO_REPORT, DO_ROLLBACK, DO_SETTLE, HEARD_ACK, HEARD_DECISION, HEARD_INQUIRY, HEARD_TIME,
    HEARD_UNFINISHED, HEARD_VOTE, REASON_TIME, TELL_ACK, TELL_INQUIRY, TELL_VOTE, CoordinatorOptions,
    CoordinatorStatus, Effect, TransactionEvent,
)
from quorumlog._core.engine.txids cimport Txid, txids_put
from quorumlog._core.simulation.schedule cimport OCCURS_TIME
from quorumlog._core.simulation.transaction_decisions cimport decisions_restore, propose, shared_apply
from quorumlog._core.simulation.transaction_ledger cimport (
    ledger_told, transfer_of, world_fail, world_note)
from quorumlog._core.simulation.transaction_log cimport node_later, node_log_open
from quorumlog._core.simulation.transaction_network cimport post
from quorumlog._core.simulation.transaction_state cimport (
    OCCURS_OPERATOR, TFAULT_LOST_DECISIONS, TMARK_ALL_READ_ONLY, TMARK_FENCED, TMARK_IN_DOUBT_TOLD, TMARK_LATE_YES,
    TMARK_ONE_PHASE, TMARK_RESOLVED, TMARK_TAKEN_OVER, TMARK_TIMED_OUT, TMARK_UNFINISHED_RESUMED,
    TRANSFERS_MAX, Node, TransactionParcel, TransactionWorld, Transfer, is_replicated)

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

cdef enum:
    IN_HAND_MAX = 64
    UNFINISHED_MAX = 4096
    REMEMBERED_MAX = 8
    LIVE_REPORTS_MAX = 6       # before a coordinator that may be dead is fenced
    MILLISECOND = 1000000


# --- proposing --------------------------------------------------------------------------------

cdef void propose_about(TransactionWorld* world, Node* node, int kind, const Txid* txid, int outcome) noexcept nogil:
    cdef DecisionRecord record
    memset(&record, 0, sizeof(DecisionRecord))
    record.kind = kind
    record.txid = txid[0]
    record.outcome = outcome
    propose(world, node, &record)


cdef void propose_incarnation(TransactionWorld* world, Node* node) noexcept nogil:
    cdef DecisionRecord record
    cdef uint8_t[1] name
    memset(&record, 0, sizeof(DecisionRecord))
    name[0] = 65 + <uint8_t>node.number
    record.kind = DECISION_INCARNATION
    record.txid.coordinator = 1000 + node.number
    record.txid.nonce = <uint32_t>prng_next(&world.prng) | 1
    record.text = name
    record.text_bytes = 1
    node.asking = True
    propose(world, node, &record)


cdef void propose_commit(TransactionWorld* world, Node* node, const Effect* effect) noexcept nogil:
    cdef DecisionRecord record
    cdef const Transfer* transfer = transfer_of(world, &effect.txid)
    cdef uint32_t i
    memset(&record, 0, sizeof(DecisionRecord))
    record.kind = DECISION_COMMIT
    record.txid = effect.txid
    for i in range(transfer.branch_count):
        if effect.branch >> i & 1:
            record.branches[record.branch_count] = transfer.nodes[i] + 1
            record.branch_count += 1
    propose(world, node, &record)


# --- effects ----------------------------------------------------------------------------------

cdef void settle(TransactionWorld* world, Node* node, const Effect* effect) noexcept nogil:
    ledger_told(world, node.number, &effect.txid, effect.outcome)
    world.marks[<int>TMARK_IN_DOUBT_TOLD] += effect.outcome == VERDICT_IN_DOUBT
    world.marks[<int>TMARK_TIMED_OUT] += effect.outcome == VERDICT_ABORT and effect.reason == REASON_TIME


cdef void report(TransactionWorld* world, Node* node, const Effect* effect) noexcept nogil:
    """Somebody waits for what is not decided here."""
    cdef Transfer* transfer = transfer_of(world, &effect.txid)
    cdef int said
    if is_replicated(world) and effect.outcome != VERDICT_LIVE:
        # A replica that is behind: nothing is believed of what it does not know before it has caught up.
        shared_apply(world, node, world.shared_count)
        said = decisions_presume(&node.decisions, &effect.txid)
        if said == VERDICT_IN_DOUBT or said == VERDICT_FOREIGN:
            world_fail(world, b"a whole decision log is in doubt", node.number, effect.txid.number, said)
        return
    if effect.outcome == VERDICT_IN_DOUBT:
        if world.faults[<int>TFAULT_LOST_DECISIONS] == 0:
            world_fail(world, b"a whole decision log is in doubt", node.number, effect.txid.number,
                       effect.txid.incarnation)
        node_later(world, node, OCCURS_OPERATOR, prng_below(&world.prng, 500 * <uint64_t>MILLISECOND),
                   <uint64_t>(transfer - world.transfers))
    elif effect.outcome == VERDICT_LIVE and effect.txid.coordinator != node.self.coordinator:
        node.live_reports += 1
        if node.live_reports > LIVE_REPORTS_MAX:
            node.live_reports = 0
            propose_about(world, node, DECISION_FENCE, &effect.txid, 0)
    elif effect.outcome != VERDICT_LIVE:
        world_fail(world, b"an inquiry has no answer", node.number, effect.txid.number, effect.outcome)


cdef void carry_out(TransactionWorld* world, Node* node) noexcept nogil:
    cdef const Effect* effect
    cdef uint32_t i
    for i in range(node.effects.count):
        effect = &node.effects.items[i]
        world_note(world, effect.kind + (<uint64_t>node.number << 8), effect.txid.number)
        if effect.kind == DO_PREPARE or effect.kind == DO_COMMIT or effect.kind == DO_ROLLBACK \
                or effect.kind == DO_COMMIT_ONE_PHASE:
            post(world, node, effect, <uint32_t>effect.participant - 1)
        elif effect.kind == DO_DECIDE:
            propose_commit(world, node, effect)
        elif effect.kind == DO_END:
            propose_about(world, node, DECISION_END, &effect.txid, 0)
        elif effect.kind == DO_SETTLE:
            settle(world, node, effect)
        elif effect.kind == DO_REPORT:
            report(world, node, effect)
    node.effects.count = 0


cdef void step(TransactionWorld* world, Node* node, TransactionEvent* event) noexcept nogil:
    event.now_ns = world.now_ns
    world.options.protocol.coordinator_step(node.coordinator, event, &node.effects)
    carry_out(world, node)
    node.deadline_ns = node.effects.deadline_ns
    if node.deadline_ns != 0 and (node.timer_ns <= world.now_ns or node.deadline_ns < node.timer_ns):
        node.timer_ns = max(node.deadline_ns, world.now_ns + 1)
        node_later(world, node, OCCURS_TIME, node.timer_ns - world.now_ns, 0)


# --- clients ----------------------------------------------------------------------------------

cdef Transfer* draw_transfer(TransactionWorld* world, Node* node, const Txid* txid) noexcept nogil:
    """Between some participants; amounts add up to nothing, and some only read."""
    cdef Transfer* transfer = &world.transfers[world.transfer_count]
    cdef uint32_t participants = world.options.participant_count
    cdef uint32_t first = <uint32_t>prng_below(&world.prng, participants)
    cdef uint32_t count = 1 + <uint32_t>prng_below(&world.prng, participants)
    cdef uint32_t i
    cdef int64_t amount
    memset(transfer, 0, sizeof(Transfer))
    transfer.txid = txid[0]
    transfer.coordinator = node.number
    transfer.branch_count = count
    transfer.one_phase = count == 1
    for i in range(count):
        transfer.nodes[i] = world.options.coordinator_count + (first + i) % participants
        transfer.accounts[i] = <uint32_t>prng_below(&world.prng, world.options.accounts)
        if prng_chance(&world.prng, 1, 5):
            continue                       # it only reads
        if i > 0:
            amount = 1 + <int64_t>prng_below(&world.prng, 100)
            transfer.amounts[i] += amount
            transfer.amounts[0] -= amount
    if count == 1 and prng_chance(&world.prng, 2, 3):
        transfer.amounts[0] = 7            # paid in from outside
    world.marks[<int>TMARK_ONE_PHASE] += count == 1
    txids_put(&world.transfer_index, txid, world.transfer_count)
    world.transfer_count += 1
    return transfer


cdef void coordinator_client(TransactionWorld* world, Node* node) noexcept nogil:
    cdef TransactionEvent event
    cdef Transfer* transfer
    cdef uint32_t i, writing = 0
    if node.coordinator == NULL or world.transfer_count == TRANSFERS_MAX:
        return
    memset(&event, 0, sizeof(TransactionEvent))
    event.kind = ASKED_BEGIN
    event.now_ns = world.now_ns
    event.deadline_ns = world.now_ns + world.options.timeout_ns
    world.options.protocol.coordinator_step(node.coordinator, &event, &node.effects)
    event.txid = node.effects.items[0].txid
    node.effects.count = 0
    if event.txid.number == 0:
        return                             # too many are in hand
    transfer = draw_transfer(world, node, &event.txid)
    event.kind = ASKED_ENLIST
    for i in range(transfer.branch_count):
        event.participant = transfer.nodes[i] + 1
        writing += transfer.amounts[i] != 0
        step(world, node, &event)
    world.marks[<int>TMARK_ALL_READ_ONLY] += writing == 0
    event.kind = ASKED_COMMIT
    step(world, node, &event)
    if prng_chance(&world.prng, 1, 20):
        event.kind = ASKED_ABORT           # second thoughts, while it prepares
        step(world, node, &event)


cdef void coordinator_resolve(TransactionWorld* world, Node* node, unsigned long long transfer) noexcept nogil:
    cdef Transfer* wanted = &world.transfers[transfer]
    if node.coordinator == NULL or wanted.resolved:
        return
    propose_about(world, node, DECISION_RESOLVE, &wanted.txid, VERDICT_COMMIT if wanted.decided else VERDICT_ABORT)


# --- what is heard ----------------------------------------------------------------------------

cdef void adopt(TransactionWorld* world, Node* node, const Decided* decided) noexcept nogil:
    """A commit whose coordinator is no more: it is carried on from here."""
    cdef TransactionEvent event
    memset(&event, 0, sizeof(TransactionEvent))
    event.kind = HEARD_UNFINISHED
    event.txid = decided.txid
    event.branches = decided.branches
    event.branch_count = decided.branch_count
    step(world, node, &event)


cdef void adopt_unfinished(TransactionWorld* world, Node* node) noexcept nogil:
    """Of all incarnations that are fenced."""
    cdef Decided* decided
    cdef KnownCoordinator* known
    cdef uint32_t i
    for i in range(node.decisions.capacity):
        decided = &node.decisions.decided[i]
        if decided.txid.number == 0 or decided.ended or decided.resolved:
            continue
        known = decisions_coordinator(&node.decisions, decided.txid.coordinator)
        if known.fenced >= decided.txid.incarnation:
            world.marks[<int>TMARK_TAKEN_OVER if known.id != node.self.coordinator
                        else <int>TMARK_UNFINISHED_RESUMED] += 1
            adopt(world, node, decided)


cdef void open_incarnation(TransactionWorld* world, Node* node, const DecisionRecord* record) noexcept nogil:
    cdef CoordinatorOptions options
    node.self = record.txid
    node.asking = False
    if node.coordinator != NULL:
        world.options.protocol.coordinator_renew(node.coordinator, &node.self)
        return
    options.in_hand_max = IN_HAND_MAX
    options.retry_ns = world.options.retry_ns
    options.retry_max_ns = 4 * world.options.retry_ns
    options.retransmit = True
    options.one_phase = True
    node.coordinator = world.options.protocol.coordinator_open(&options, &node.self, &node.decisions)
    check(node.coordinator != NULL, b"Q-TXCOORD-01 there is memory for a coordinator")
    adopt_unfinished(world, node)


cdef void coordinator_verdict(TransactionWorld* world, Node* node, const DecisionRecord* record,
                              int verdict) noexcept nogil:
    cdef TransactionEvent event
    cdef Transfer* transfer
    if record.kind == DECISION_INCARNATION:
        if verdict == VERDICT_TAKEN:
            open_incarnation(world, node, record)
        elif verdict == VERDICT_UNKNOWN:
            propose_incarnation(world, node)
        return
    if record.kind == DECISION_DOUBT:
        node.lost_decisions = False
        return
    if node.coordinator == NULL:
        return
    if record.kind == DECISION_FENCE and verdict == VERDICT_TAKEN:
        adopt_unfinished(world, node)
    if record.kind == DECISION_RESOLVE:
        transfer = transfer_of(world, &record.txid)
        if not transfer.resolved:
            transfer.resolved = True
            world.resolutions += 1
            world.marks[<int>TMARK_RESOLVED] += 1
    if record.kind != DECISION_COMMIT:
        return
    memset(&event, 0, sizeof(TransactionEvent))
    event.kind = HEARD_DECISION
    event.txid = record.txid
    event.verdict = verdict
    step(world, node, &event)
    if (verdict == VERDICT_ABORT or verdict == VERDICT_FORGOTTEN) and not node.asking \
            and record.txid.incarnation == node.self.incarnation:
        world.marks[<int>TMARK_FENCED] += 1
        propose_incarnation(world, node)


cdef void coordinator_hear(TransactionWorld* world, Node* node, const TransactionParcel* parcel) noexcept nogil:
    cdef TransactionEvent event
    cdef CoordinatorStatus status
    if node.coordinator == NULL:
        return
    memset(&event, 0, sizeof(TransactionEvent))
    event.txid = parcel.txid
    event.participant = parcel.source + 1
    if parcel.kind == TELL_VOTE:
        event.kind = HEARD_VOTE
        event.vote = parcel.outcome
    elif parcel.kind == TELL_ACK:
        event.kind = HEARD_ACK
        event.verdict = parcel.outcome
    elif parcel.kind == TELL_INQUIRY:
        event.kind = HEARD_INQUIRY
    step(world, node, &event)
    memset(&status, 0, sizeof(CoordinatorStatus))
    world.options.protocol.coordinator_status(node.coordinator, &status)
    world.marks[<int>TMARK_LATE_YES] += status.late_votes != 0


cdef void coordinator_time(TransactionWorld* world, Node* node) noexcept nogil:
    cdef TransactionEvent event
    node.timer_ns = 0
    if node.coordinator == NULL:
        return
    memset(&event, 0, sizeof(TransactionEvent))
    event.kind = HEARD_TIME
    step(world, node, &event)


# --- life -------------------------------------------------------------------------------------

cdef void say_doubt(TransactionWorld* world, Node* node) noexcept nogil:
    """The log came back damaged: nothing is presumed of what was begun before."""
    cdef Txid about
    if node.decisions.coordinator_count == 0:
        node.lost_decisions = False
        return
    memset(&about, 0, sizeof(Txid))
    about.coordinator = node.decisions.coordinators[0].id
    about.incarnation = node.decisions.coordinators[0].incarnation
    propose_about(world, node, DECISION_DOUBT, &about, 0)


cdef bint coordinator_start(TransactionWorld* world, Node* node) noexcept nogil:
    check(decisions_open(&node.decisions, UNFINISHED_MAX, REMEMBERED_MAX) == OK,
          b"Q-TXCOORD-02 there is memory for decisions")
    node.has_decisions = True
    node.proposed_first = node.proposed_count = 0
    node.effects.count = 0
    node.timer_ns = 0
    node.applied = 0
    node.live_reports = 0
    node.asking = False
    memset(&node.self, 0, sizeof(Txid))
    if is_replicated(world):
        # Some of it; the rest comes with the first answer.
        shared_apply(world, node, <uint32_t>prng_below(&world.prng, world.shared_count + 1))
    elif not node_log_open(world, node, decisions_restore):
        coordinator_stop(world, node)
        return False
    node.up = True
    if node.lost_decisions:
        say_doubt(world, node)
    propose_incarnation(world, node)
    return True


cdef void coordinator_stop(TransactionWorld* world, Node* node) noexcept nogil:
    if node.coordinator != NULL:
        world.options.protocol.coordinator_close(node.coordinator)
        node.coordinator = NULL
    if node.has_decisions:
        decisions_close(&node.decisions)
        node.has_decisions = False
