"""See transaction_decisions.pxd."""

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.prng cimport prng_below, prng_chance
from quorumlog._core.engine.decisions cimport (
    DECISION_COMMIT, DECISION_END, DECISION_RESOLVE, VERDICT_COMMIT, VERDICT_UNKNOWN, DecisionRecord, decision_decode,
    decision_encode, decisions_apply,
)
from quorumlog._core.simulation.schedule cimport Occurrence, schedule_add
from quorumlog._core.simulation.transaction_coordinator cimport coordinator_verdict
from quorumlog._core.simulation.transaction_ledger cimport ledger_decided, transfer_of, world_fail
from quorumlog._core.simulation.transaction_log cimport node_log_append, node_log_plan
from quorumlog._core.simulation.transaction_state cimport (
    OCCURS_ANSWERED, OCCURS_PROPOSED, PROPOSED_MAX, SHARED_NOWHERE, TFAULT_LOG_SILENT, TMARK_DECIDED_UNHEARD, Node,
    Proposed, SharedRecord, TransactionWorld, Transfer, is_replicated)

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

cdef enum:
    MILLISECOND = 1000000


cdef void note_decided(TransactionWorld* world, const DecisionRecord* record, int verdict) noexcept nogil:
    if verdict == VERDICT_COMMIT and (record.kind == DECISION_COMMIT or record.kind == DECISION_RESOLVE):
        ledger_decided(world, &record.txid)


# --- an own log -------------------------------------------------------------------------------

cdef void propose_own(TransactionWorld* world, Node* node, const DecisionRecord* record) noexcept nogil:
    cdef Proposed* proposed
    if node.proposed_count == PROPOSED_MAX:
        world_fail(world, b"too much is proposed to a decision log", node.number, node.proposed_count, 0)
        return
    proposed = &node.proposed[(node.proposed_first + node.proposed_count) % PROPOSED_MAX]
    proposed.bytes = decision_encode(record, proposed.data)
    proposed.wsn = node_log_append(node, proposed.data, proposed.bytes)
    node.proposed_count += 1
    node_log_plan(world, node)


cdef void decisions_flushed(TransactionWorld* world, Node* node) noexcept nogil:
    cdef Proposed* proposed
    cdef DecisionRecord record
    cdef int verdict
    while node.proposed_count != 0 and node.up:
        proposed = &node.proposed[node.proposed_first]
        if proposed.wsn > node.log.flushed:
            return
        node.proposed_first = (node.proposed_first + 1) % PROPOSED_MAX
        node.proposed_count -= 1
        check(decision_decode(proposed.data, proposed.bytes, &record), b"Q-TXDEC-01 a record that was made is one")
        verdict = decisions_apply(&node.decisions, &record)
        note_decided(world, &record, verdict)
        coordinator_verdict(world, node, &record, verdict)


cdef void decisions_restore(TransactionWorld* world, Node* node, const uint8_t* data, uint32_t size) noexcept nogil:
    cdef DecisionRecord record
    cdef const Transfer* transfer
    cdef int verdict
    if not decision_decode(data, size, &record):
        world_fail(world, b"a decision came back that nobody wrote", node.number, size, 0)
        return
    transfer = transfer_of(world, &record.txid)
    if transfer != NULL and transfer.lost and (record.kind == DECISION_COMMIT or record.kind == DECISION_END):
        return
    verdict = decisions_apply(&node.decisions, &record)
    note_decided(world, &record, verdict)


# --- a replicated log -------------------------------------------------------------------------

cdef void later(TransactionWorld* world, Proposed* proposed, int kind, uint64_t delay_ns) noexcept nogil:
    cdef Occurrence occurrence
    memset(&occurrence, 0, sizeof(Occurrence))
    occurrence.kind = kind
    occurrence.node = proposed.node
    occurrence.at_ns = world.now_ns + 1 + delay_ns
    occurrence.parcel = proposed
    schedule_add(&world.schedule, occurrence)


cdef void propose_shared(TransactionWorld* world, Node* node, const DecisionRecord* record) noexcept nogil:
    """It comes into the log some time, whatever becomes of who asked; or never."""
    cdef Proposed* proposed = <Proposed*>malloc(sizeof(Proposed))
    cdef bint silent = world.now_ns < world.silent_until_ns
    cdef uint64_t delay_ns = prng_below(&world.prng, 20 * <uint64_t>MILLISECOND)
    check(proposed != NULL, b"Q-TXDEC-02 there is memory for a proposal")
    proposed.node = node.number
    proposed.incarnation = node.incarnation
    proposed.unheard = silent and prng_chance(&world.prng, 1, 2)
    proposed.index = SHARED_NOWHERE
    proposed.bytes = decision_encode(record, proposed.data)
    if silent and record.kind != DECISION_END and prng_chance(&world.prng, 1, 2):
        world.faults[<int>TFAULT_LOG_SILENT] += 1
        later(world, proposed, OCCURS_ANSWERED, 500 * <uint64_t>MILLISECOND)
        return
    if silent:
        delay_ns += prng_below(&world.prng, 2 * (world.silent_until_ns - world.now_ns))
    later(world, proposed, OCCURS_PROPOSED, delay_ns)


cdef void shared_add(TransactionWorld* world, const Proposed* proposed) noexcept nogil:
    cdef SharedRecord* entry
    cdef DecisionRecord record
    if world.shared_count == world.shared_capacity:
        world.shared_capacity = max(64, 2 * world.shared_capacity)
        world.shared = <SharedRecord*>realloc(world.shared, world.shared_capacity * sizeof(SharedRecord))
    check(world.shared != NULL, b"Q-TXDEC-03 there is memory for the replicated log")
    entry = &world.shared[world.shared_count]
    entry.bytes = proposed.bytes
    entry.data = <uint8_t*>malloc(proposed.bytes)
    check(entry.data != NULL, b"Q-TXDEC-04 there is memory for a record of it")
    memcpy(entry.data, proposed.data, proposed.bytes)
    check(decision_decode(entry.data, entry.bytes, &record), b"Q-TXDEC-05 what is proposed is a record")
    entry.verdict = decisions_apply(&world.reference, &record)
    entry.coordinator = record.txid.coordinator
    entry.incarnation = record.txid.incarnation
    world.shared_count += 1
    note_decided(world, &record, entry.verdict)


cdef void shared_proposed(TransactionWorld* world, const Occurrence* occurrence) noexcept nogil:
    cdef Proposed* proposed = <Proposed*>occurrence.parcel
    proposed.index = world.shared_count
    shared_add(world, proposed)
    later(world, proposed, OCCURS_ANSWERED,
          500 * <uint64_t>MILLISECOND if proposed.unheard else prng_below(&world.prng, 20 * <uint64_t>MILLISECOND))


cdef void shared_apply(TransactionWorld* world, Node* node, uint32_t end) noexcept nogil:
    cdef DecisionRecord record
    cdef const SharedRecord* entry
    cdef int verdict
    while node.applied < end:
        entry = &world.shared[node.applied]
        check(decision_decode(entry.data, entry.bytes, &record), b"Q-TXDEC-06 a record of the replicated log is one")
        verdict = decisions_apply(&node.decisions, &record)
        check2(verdict == entry.verdict and record.txid.incarnation == entry.incarnation
               and record.txid.coordinator == entry.coordinator,
               b"Q-TXDEC-07 all replicas of a decision log say the same", verdict, entry.verdict)
        node.applied += 1


cdef void shared_answered(TransactionWorld* world, const Occurrence* occurrence) noexcept nogil:
    cdef Proposed* proposed = <Proposed*>occurrence.parcel
    cdef Node* node = &world.nodes[proposed.node]
    cdef DecisionRecord record
    cdef int verdict = VERDICT_UNKNOWN
    check(decision_decode(proposed.data, proposed.bytes, &record), b"Q-TXDEC-08 what was proposed is a record")
    if proposed.index != SHARED_NOWHERE and (proposed.unheard or proposed.incarnation != node.incarnation):
        world.marks[<int>TMARK_DECIDED_UNHEARD] += 1
    elif proposed.index != SHARED_NOWHERE:
        shared_apply(world, node, proposed.index + 1)
        verdict = world.shared[proposed.index].verdict
        record.txid.coordinator = world.shared[proposed.index].coordinator
        record.txid.incarnation = world.shared[proposed.index].incarnation
    if node.up and node.incarnation == proposed.incarnation:
        coordinator_verdict(world, node, &record, verdict)
    free(proposed)


cdef void propose(TransactionWorld* world, Node* node, const DecisionRecord* record) noexcept nogil:
    if is_replicated(world):
        propose_shared(world, node, record)
    else:
        propose_own(world, node, record)
