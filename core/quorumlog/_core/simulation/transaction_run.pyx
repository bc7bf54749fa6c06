"""See transaction_run.pxd."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.prng cimport Prng, prng_below, prng_chance, prng_seed
from quorumlog._core.base.status cimport OK
from quorumlog._core.base.types cimport NODES_MAX
from quorumlog._core.engine.decisions cimport decisions_close, decisions_open
from quorumlog._core.engine.txids cimport txids_close, txids_open
from quorumlog._core.simulation.schedule cimport (
    OCCURS_CLIENT, OCCURS_DELIVERY, OCCURS_DISK_DONE, OCCURS_DISK_WRITE, OCCURS_FAULT, OCCURS_IDLE, OCCURS_REACHABLE,
    OCCURS_START,
    OCCURS_TIME, Occurrence, schedule_close, schedule_next)
from quorumlog._core.simulation.transaction_coordinator cimport (
    coordinator_client, coordinator_hear, coordinator_resolve, coordinator_stop, coordinator_time)
from quorumlog._core.simulation.transaction_decisions cimport (
    decisions_flushed, shared_answered, shared_apply, shared_proposed)
from quorumlog._core.simulation.transaction_faults cimport (
    transaction_crash, transaction_fault, transaction_start, transactions_heal, transactions_mend)
from quorumlog._core.simulation.transaction_ledger cimport ledger_end, world_fail, world_note
from quorumlog._core.simulation.transaction_log cimport (
    node_later, node_log_create, node_log_destroy, node_log_done, node_log_plan, node_log_written)
from quorumlog._core.simulation.transaction_network cimport drop_held, post_held
from quorumlog._core.simulation.transaction_participant cimport participant_hear, participant_stop, participant_time
from quorumlog._core.simulation.transaction_state cimport (
    ACCOUNTS_MAX, OCCURS_ANSWERED, OCCURS_OPERATOR, OCCURS_PROPOSED, PROPOSED_MAX, TFAULT_DELAY, TFAULT_DUPLICATION,
    TFAULT_LATE_WRITE, TFAULT_LOG_SILENT, TFAULT_LOSS, TFAULT_LOST_DECISIONS, TFAULT_REORDERING, TFAULTS,
    TMARK_POISONED, TRANSFERS_MAX, Node, Proposed, TransactionOptions, TransactionParcel, TransactionWorld, Transfer,
    is_coordinator, is_replicated)

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

cdef enum:
    MILLISECOND = 1000000
    UNFINISHED_MAX = 4096
    REMEMBERED_MAX = 8
    CALM_NS = 6000000000       # of the healed phase, in which nobody begins anything


# --- options ----------------------------------------------------------------------------------

cdef uint32_t per_mille(const TransactionOptions* options, int kind, uint32_t rare, uint32_t hot,
                        Prng* prng) noexcept nogil:
    if options.level[kind] == 0:
        return 0
    return 1 + <uint32_t>prng_below(prng, rare if options.level[kind] == 1 else hot)


cdef void draw_network(TransactionOptions* options, Prng* prng) noexcept nogil:
    options.network.loss_per_mille = per_mille(options, TFAULT_LOSS, 20, 200, prng)
    options.network.duplicate_per_mille = per_mille(options, TFAULT_DUPLICATION, 20, 300, prng)
    options.network.slow_per_mille = per_mille(options, TFAULT_DELAY, 20, 200, prng)
    options.network.reorder_per_mille = per_mille(options, TFAULT_REORDERING, 50, 400, prng)
    options.network.delay_min_ns = 200000
    options.network.delay_max_ns = 200000 + prng_below(prng, 20 * <uint64_t>MILLISECOND)
    options.network.slow_ns = 2000 * <uint64_t>MILLISECOND
    options.network.reorder_ns = 200 * <uint64_t>MILLISECOND


cdef void transactions_draw(TransactionOptions* options) noexcept nogil:
    """Swarm testing: each seed has some faults on, and some of those hot."""
    cdef Prng prng
    cdef uint32_t kind
    prng_seed(&prng, options.seed ^ 0x2FC0117EDULL)
    for kind in range(TFAULTS):
        if not options.quiet and prng_chance(&prng, 1, 2):
            options.level[kind] = <uint8_t>(2 if prng_chance(&prng, 1, 3) else 1)
    if options.coordinator_count == 0:
        options.coordinator_count = 1 if prng_chance(&prng, 1, 2) else 2 + <uint32_t>prng_below(&prng, 2)
    if options.participant_count == 0:
        options.participant_count = 2 + <uint32_t>prng_below(&prng, 4)
    # Damage of a replicated log is repaired by its own protocol; an own log that is never silent is its owner.
    if options.coordinator_count > 1 or not prng_chance(&prng, 1, 2):
        options.level[<int>TFAULT_LOST_DECISIONS] = 0
    if options.coordinator_count == 1:
        options.level[<int>TFAULT_LOG_SILENT] = 0
    options.accounts = 2 + <uint32_t>prng_below(&prng, ACCOUNTS_MAX - 1)
    options.safety_ns = (10000 + prng_below(&prng, 10000)) * MILLISECOND
    options.healed_ns = 16000 * <uint64_t>MILLISECOND
    options.client_ns = (40 + prng_below(&prng, 200)) * MILLISECOND
    options.timeout_ns = (300 + prng_below(&prng, 2000)) * MILLISECOND
    options.retry_ns = (50 + prng_below(&prng, 150)) * MILLISECOND
    options.inquire_ns = (100 + prng_below(&prng, 500)) * MILLISECOND
    options.fault_ns = 0 if options.quiet else (100 + prng_below(&prng, 1500)) * MILLISECOND
    options.disk_min_ns = 500000
    options.disk_max_ns = 1000000
    if options.level[<int>TFAULT_LATE_WRITE] != 0:
        options.disk_max_ns += prng_below(&prng, 300 * <uint64_t>MILLISECOND)
    draw_network(options, &prng)


# --- the world --------------------------------------------------------------------------------

cdef TransactionWorld* transactions_open(const TransactionOptions* options) noexcept nogil:
    cdef TransactionWorld* world = <TransactionWorld*>calloc(1, sizeof(TransactionWorld))
    cdef Node* node
    cdef uint32_t i
    check(world != NULL and options.coordinator_count + options.participant_count <= NODES_MAX,
          b"Q-TXRUN-01 there is memory and room for the nodes of a world")
    world.options = options[0]
    prng_seed(&world.prng, options.seed)
    world.now_ns = 1
    world.node_count = options.coordinator_count + options.participant_count
    world.network.options = options.network
    world.network.node_count = world.node_count
    world.transfers = <Transfer*>calloc(TRANSFERS_MAX, sizeof(Transfer))
    check(world.transfers != NULL and txids_open(&world.transfer_index, TRANSFERS_MAX) == OK
          and decisions_open(&world.reference, UNFINISHED_MAX, REMEMBERED_MAX) == OK,
          b"Q-TXRUN-02 there is memory for transfers")
    for i in range(world.node_count):
        node = &world.nodes[i]
        node.number = i
        node.incarnation = 1
        if is_coordinator(world, i):
            node.proposed = <Proposed*>calloc(PROPOSED_MAX, sizeof(Proposed))
            check(node.proposed != NULL, b"Q-TXRUN-03 there is memory for proposals")
        if not is_coordinator(world, i) or not is_replicated(world):
            node_log_create(world, node)
        node.starting = True
        node_later(world, node, OCCURS_START, 0, 0)
    for i in range(options.coordinator_count):
        node_later(world, &world.nodes[i], OCCURS_CLIENT, 100 * <uint64_t>MILLISECOND, 0)
    if options.fault_ns != 0:
        node_later(world, &world.nodes[0], OCCURS_FAULT, options.fault_ns, 0)
    return world


cdef void transactions_close(TransactionWorld* world) noexcept nogil:
    cdef Occurrence occurrence
    cdef Node* node
    cdef uint32_t i
    while schedule_next(&world.schedule, &occurrence):
        free(occurrence.parcel)
    schedule_close(&world.schedule)
    for i in range(world.node_count):
        node = &world.nodes[i]
        coordinator_stop(world, node)
        participant_stop(world, node)
        drop_held(node)
        free(node.held)
        free(node.proposed)
        if node.log.disk != NULL:
            node_log_destroy(node)
    for i in range(world.shared_count):
        free(world.shared[i].data)
    free(world.shared)
    decisions_close(&world.reference)
    txids_close(&world.transfer_index)
    free(world.transfers)
    free(world)


# --- occurrences ------------------------------------------------------------------------------

cdef void deliver(TransactionWorld* world, Node* node, TransactionParcel* parcel) noexcept nogil:
    world_note(world, <uint64_t>parcel.kind + (<uint64_t>parcel.source << 16), parcel.txid.number)
    if node.up and is_coordinator(world, node.number):
        coordinator_hear(world, node, parcel)
    elif node.up:
        participant_hear(world, node, parcel)
    free(parcel)


cdef void poisoned(TransactionWorld* world, Node* node) noexcept nogil:
    """A failed write is final for this log (P5): the node ends, and recovers."""
    world.marks[<int>TMARK_POISONED] += 1
    transaction_crash(world, node, prng_chance(&world.prng, 1, 2))


cdef void disk_done(TransactionWorld* world, Node* node, const Occurrence* occurrence) noexcept nogil:
    if not node_log_done(world, node, occurrence):
        poisoned(world, node)
        return
    if is_coordinator(world, node.number):
        decisions_flushed(world, node)
    else:
        post_held(world, node)
    if node.up:
        node_log_plan(world, node)


cdef void client(TransactionWorld* world, Node* node, uint64_t calm_from_ns) noexcept nogil:
    if world.now_ns > calm_from_ns:
        return
    if node.up:
        coordinator_client(world, node)
    node_later(world, node, OCCURS_CLIENT, 1 + prng_below(&world.prng, 2 * world.options.client_ns), 0)


cdef void occur(TransactionWorld* world, const Occurrence* occurrence, uint64_t calm_from_ns) noexcept nogil:
    cdef Node* node = &world.nodes[occurrence.node]
    cdef bint current = node.incarnation == occurrence.incarnation
    if occurrence.kind == OCCURS_DELIVERY:
        deliver(world, node, <TransactionParcel*>occurrence.parcel)
    elif occurrence.kind == OCCURS_PROPOSED:
        shared_proposed(world, occurrence)
    elif occurrence.kind == OCCURS_ANSWERED:
        shared_answered(world, occurrence)
    elif occurrence.kind == OCCURS_CLIENT:
        client(world, node, calm_from_ns)
    elif occurrence.kind == OCCURS_REACHABLE:
        transactions_mend(world)
    elif occurrence.kind == OCCURS_FAULT:
        if not world.healed:
            transaction_fault(world)
            node_later(world, &world.nodes[0], OCCURS_FAULT, 1 + prng_below(&world.prng, 2 * world.options.fault_ns), 0)
    elif not current:
        return
    elif occurrence.kind == OCCURS_START:
        transaction_start(world, node)
    elif not node.up:
        return
    elif occurrence.kind == OCCURS_DISK_WRITE:
        node_log_written(world, node, occurrence)
    elif occurrence.kind == OCCURS_DISK_DONE:
        disk_done(world, node, occurrence)
    elif occurrence.kind == OCCURS_IDLE:
        poisoned(world, node)
    elif occurrence.kind == OCCURS_OPERATOR:
        coordinator_resolve(world, node, occurrence.number)
    elif occurrence.kind == OCCURS_TIME and is_coordinator(world, node.number):
        coordinator_time(world, node)
    elif occurrence.kind == OCCURS_TIME:
        participant_time(world, node)


cdef void transactions_run(TransactionWorld* world) noexcept nogil:
    cdef Occurrence occurrence
    cdef uint64_t healed_from_ns = world.options.safety_ns
    cdef uint64_t end_ns = healed_from_ns + world.options.healed_ns
    cdef uint32_t i
    while world.failure[0] == 0 and schedule_next(&world.schedule, &occurrence):
        if not world.healed and occurrence.at_ns >= healed_from_ns:
            world.now_ns = healed_from_ns
            transactions_heal(world)
        if occurrence.at_ns > end_ns:
            free(occurrence.parcel)
            break
        world.now_ns = occurrence.at_ns
        world.events += 1
        occur(world, &occurrence, end_ns - CALM_NS)
    if world.failure[0] != 0:
        return
    for i in range(world.options.coordinator_count):
        if is_replicated(world) and world.nodes[i].has_decisions:
            shared_apply(world, &world.nodes[i], world.shared_count)
    ledger_end(world)
    if world.committed_healed == 0:
        world_fail(world, b"nothing was committed after all was healed", 0, world.transfer_count, 0)
