"""See transaction_faults.pxd."""

from quorumlog._core.base.prng cimport prng_below, prng_chance
from quorumlog._core.simulation.disk cimport DISK_SYNC, DISK_WRITE, disk_fail
from quorumlog._core.simulation.network cimport (
    network_be_kind, network_clog, network_heal, network_one_way, network_partition)
from quorumlog._core.simulation.schedule cimport OCCURS_REACHABLE, OCCURS_START
from quorumlog._core.simulation.transaction_coordinator cimport coordinator_start, coordinator_stop
from quorumlog._core.simulation.transaction_ledger cimport world_note
from quorumlog._core.simulation.transaction_log cimport node_later, node_log_crash
from quorumlog._core.simulation.transaction_network cimport drop_held, replay_old
from quorumlog._core.simulation.transaction_participant cimport participant_start, participant_stop
from quorumlog._core.simulation.transaction_state cimport (
    TFAULT_CLOG, TFAULT_CRASH, TFAULT_DISK_ERROR, TFAULT_LOG_SILENT, TFAULT_LOST_DECISIONS, TFAULT_ONE_WAY,
    TFAULT_PARTITION, TFAULT_POWER_CUT, TFAULT_REPLAY, TFAULTS, Node, TransactionWorld, Transfer, is_coordinator,
    is_replicated)

from libc.errno cimport EIO
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

cdef enum:
    MILLISECOND = 1000000
    DOWN_NS = 1500000000


cdef inline bint has_log(const TransactionWorld* world, const Node* node) noexcept nogil:
    return not is_coordinator(world, node.number) or not is_replicated(world)


cdef void start_later(TransactionWorld* world, Node* node, uint64_t delay_ns) noexcept nogil:
    if not node.starting:
        node.starting = True
        node_later(world, node, OCCURS_START, delay_ns, 0)


cdef void transaction_crash(TransactionWorld* world, Node* node, bint power) noexcept nogil:
    """A node that is down can still lose its cache."""
    world_note(world, node.number + 77, power)
    node.up = False
    coordinator_stop(world, node)
    participant_stop(world, node)
    drop_held(node)
    if has_log(world, node):
        node_log_crash(world, node, power)
    # What was meant for the life that ends is void; it starts once.
    node.starting = False
    node.incarnation += 1
    start_later(world, node, prng_below(&world.prng, 200 * <uint64_t>MILLISECOND if world.healed else DOWN_NS))


cdef void transaction_start(TransactionWorld* world, Node* node) noexcept nogil:
    cdef bint started
    node.starting = False
    if node.up:
        return
    world.recoveries += 1
    if is_coordinator(world, node.number):
        started = coordinator_start(world, node)
    else:
        started = participant_start(world, node)
    if not started:
        start_later(world, node, prng_below(&world.prng, 100 * <uint64_t>MILLISECOND))


cdef void lose_decisions(TransactionWorld* world, Node* node) noexcept nogil:
    """Some commits that were durable come back as damage; the log says that it lost something."""
    cdef Transfer* transfer
    cdef uint32_t i
    if is_replicated(world):
        return
    world.faults[<int>TFAULT_LOST_DECISIONS] += 1
    node.lost_decisions = True
    for i in range(world.transfer_count):
        transfer = &world.transfers[i]
        if transfer.decided and not transfer.resolved and prng_chance(&world.prng, 1, 2):
            transfer.lost = True
    transaction_crash(world, node, False)


cdef void break_one(TransactionWorld* world, int kind) noexcept nogil:
    cdef Node* node = &world.nodes[<uint32_t>prng_below(&world.prng, world.node_count)]
    if kind != TFAULT_LOST_DECISIONS and kind != TFAULT_REPLAY:
        world.faults[kind] += 1
    if kind == TFAULT_CRASH or kind == TFAULT_POWER_CUT:
        if prng_chance(&world.prng, 1, 2):
            node = &world.nodes[<uint32_t>prng_below(&world.prng, world.options.coordinator_count)]
        transaction_crash(world, node, kind == TFAULT_POWER_CUT)
    elif kind == TFAULT_DISK_ERROR and has_log(world, node):
        disk_fail(node.log.disk, DISK_SYNC if prng_chance(&world.prng, 1, 2) else DISK_WRITE,
                  prng_below(&world.prng, 6), EIO, False)
    elif kind == TFAULT_REPLAY:
        replay_old(world)
    elif kind == TFAULT_LOG_SILENT:
        world.silent_until_ns = world.now_ns + prng_below(&world.prng, 3000 * <uint64_t>MILLISECOND)
    elif kind == TFAULT_LOST_DECISIONS:
        lose_decisions(world, &world.nodes[0])
    elif kind == TFAULT_CLOG:
        network_clog(&world.network, world.now_ns + prng_below(&world.prng, 2000 * <uint64_t>MILLISECOND), &world.prng)
    elif kind == TFAULT_PARTITION or kind == TFAULT_ONE_WAY:
        if kind == TFAULT_PARTITION:
            network_partition(&world.network, &world.prng)
        else:
            network_one_way(&world.network, &world.prng)
        if not world.mending:
            world.mending = True
            node_later(world, node, OCCURS_REACHABLE, prng_below(&world.prng, 3000 * <uint64_t>MILLISECOND), 0)


cdef void transactions_mend(TransactionWorld* world) noexcept nogil:
    world.mending = False
    network_heal(&world.network)


cdef void transaction_fault(TransactionWorld* world) noexcept nogil:
    """One of those that the seed has on; hot ones more often."""
    cdef uint32_t weight = 0
    cdef uint32_t kind
    cdef uint64_t drawn
    for kind in range(TFAULT_REPLAY, TFAULTS):
        weight += world.options.level[kind]
    if weight == 0:
        return
    drawn = prng_below(&world.prng, weight)
    for kind in range(TFAULT_REPLAY, TFAULTS):
        if drawn < world.options.level[kind]:
            break_one(world, <int>kind)
            return
        drawn -= world.options.level[kind]


cdef void transactions_heal(TransactionWorld* world) noexcept nogil:
    cdef uint32_t i
    cdef Node* node
    world.healed = True
    world.silent_until_ns = 0
    network_heal(&world.network)
    network_be_kind(&world.network)
    for i in range(world.node_count):
        node = &world.nodes[i]
        if has_log(world, node):
            memset(node.log.disk.faults, 0, sizeof(node.log.disk.faults))
        if not node.up:
            start_later(world, node, prng_below(&world.prng, 100 * <uint64_t>MILLISECOND))
