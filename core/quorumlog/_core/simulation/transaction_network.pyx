"""See transaction_network.pxd."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.prng cimport prng_below, prng_chance
from quorumlog._core.engine.decisions cimport VERDICT_COMMIT
from quorumlog._core.engine.transactions cimport DO_COMMIT, DO_SEND, TELL_ACK, TELL_VOTE, VOTE_YES, Effect
from quorumlog._core.simulation.network cimport ARRIVALS_MAX, network_send
from quorumlog._core.simulation.schedule cimport OCCURS_DELIVERY, Occurrence, schedule_add
from quorumlog._core.simulation.transaction_ledger cimport (
    branch_at, ledger_ack_leaves, ledger_commit_leaves, ledger_yes_leaves, transfer_of)
from quorumlog._core.simulation.transaction_state cimport (
    OLD_PARCELS_MAX, TFAULT_REPLAY, Node, TransactionParcel, TransactionWorld, Transfer, is_coordinator)

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset


cdef void deliver_at(TransactionWorld* world, const TransactionParcel* parcel, uint64_t at_ns) noexcept nogil:
    cdef Occurrence occurrence
    cdef TransactionParcel* copy = <TransactionParcel*>malloc(sizeof(TransactionParcel))
    check(copy != NULL, b"Q-TXNET-01 there is memory for a message")
    copy[0] = parcel[0]
    memset(&occurrence, 0, sizeof(Occurrence))
    occurrence.kind = OCCURS_DELIVERY
    occurrence.node = parcel.target
    occurrence.at_ns = at_ns
    occurrence.parcel = copy
    schedule_add(&world.schedule, occurrence)


cdef void leave(TransactionWorld* world, Node* node, const TransactionParcel* parcel) noexcept nogil:
    """On the wire from here on; what must be durable before is looked at here."""
    cdef uint64_t[ARRIVALS_MAX] arrivals
    cdef uint32_t copies, i
    if is_coordinator(world, node.number):
        if parcel.kind == DO_COMMIT:
            ledger_commit_leaves(world, node.number, &parcel.txid)
    elif parcel.kind == TELL_VOTE and parcel.outcome == VOTE_YES:
        ledger_yes_leaves(world, node, &parcel.txid)
    elif parcel.kind == TELL_ACK and parcel.outcome == VERDICT_COMMIT:
        ledger_ack_leaves(world, node, &parcel.txid)
    if world.options.level[<int>TFAULT_REPLAY] != 0 and not world.healed and prng_chance(&world.prng, 1, 20):
        world.old[world.old_count % OLD_PARCELS_MAX] = parcel[0]
        world.old_count += 1
    copies = network_send(&world.network, parcel.source, parcel.target, world.now_ns, &world.prng, arrivals)
    for i in range(copies):
        deliver_at(world, parcel, arrivals[i])


cdef void hold(Node* node, const TransactionParcel* parcel) noexcept nogil:
    cdef TransactionParcel* copy
    if node.held_count == node.held_capacity:
        node.held_capacity = max(16, 2 * node.held_capacity)
        node.held = <TransactionParcel**>realloc(node.held, node.held_capacity * sizeof(TransactionParcel*))
    copy = <TransactionParcel*>malloc(sizeof(TransactionParcel))
    check(node.held != NULL and copy != NULL, b"Q-TXNET-02 there is memory for a message that is held")
    copy[0] = parcel[0]
    node.held[node.held_count] = copy
    node.held_count += 1


cdef void post(TransactionWorld* world, Node* node, const Effect* effect, uint32_t target) noexcept nogil:
    cdef TransactionParcel parcel
    cdef const Transfer* transfer = transfer_of(world, &effect.txid)
    cdef uint32_t branch
    memset(&parcel, 0, sizeof(TransactionParcel))
    parcel.kind = effect.message if effect.kind == DO_SEND else effect.kind
    parcel.source = node.number
    parcel.target = target
    parcel.txid = effect.txid
    parcel.outcome = effect.outcome
    parcel.low_incarnation = effect.low_incarnation
    parcel.low_number = effect.low_number
    parcel.after_io = effect.after_io
    if transfer != NULL and effect.kind != DO_SEND:
        branch = branch_at(transfer, target)
        if branch < transfer.branch_count:
            parcel.account = transfer.accounts[branch]
            parcel.amount = transfer.amounts[branch]
    if parcel.after_io > node.log.flushed and not is_coordinator(world, node.number):
        hold(node, &parcel)
    else:
        leave(world, node, &parcel)


cdef void post_held(TransactionWorld* world, Node* node) noexcept nogil:
    cdef TransactionParcel* parcel
    cdef uint32_t i
    cdef uint32_t left = 0
    for i in range(node.held_count):
        parcel = node.held[i]
        if parcel.after_io <= node.log.flushed:
            leave(world, node, parcel)
            free(parcel)
        else:
            node.held[left] = parcel
            left += 1
    node.held_count = left


cdef void drop_held(Node* node) noexcept nogil:
    cdef uint32_t i
    for i in range(node.held_count):
        free(node.held[i])
    node.held_count = 0


cdef void replay_old(TransactionWorld* world) noexcept nogil:
    """What somebody kept from long ago arrives again."""
    cdef uint32_t i
    for i in range(min(world.old_count, <uint32_t>OLD_PARCELS_MAX)):
        world.faults[<int>TFAULT_REPLAY] += 1
        deliver_at(world, &world.old[i], world.now_ns + 1 + prng_below(&world.prng, 50000000))
    world.old_count = 0
