"""A cold read failed; see noticing.pxd."""

from quorumlog._core.base.status cimport ERR_CORRUPT
from quorumlog._core.base.types cimport index_t
from quorumlog._core.simulation.ledger cimport ledger_fail
from quorumlog._core.simulation.ledger_back cimport ledger_bad
from quorumlog._core.simulation.marks cimport MARK_FAULT_READ, mark
from quorumlog._core.simulation.trace cimport TRACE_BAD, trace_note
from quorumlog._core.simulation.world_state cimport Host, World
from quorumlog._core.storage.wal cimport wal_damage

from libc.stdint cimport uint32_t


cdef bint held_elsewhere(const World* world, const Host* host, index_t index) noexcept nogil:
    """Not compacted by others, and not to be: a batch is all that a peer can send for a repair."""
    cdef uint32_t i
    if world.ledger.slots != NULL or world.options.snapshot_log_bytes != 0 or world.options.weight_compact != 0:
        return False
    for i in range(world.options.node_count):
        if i != host.number and world.ledger.accounts[i].head <= index:
            return True
    return False


cdef void notice_bad(World* world, Host* host, index_t index, int status) noexcept nogil:
    if world.ledger.slots != NULL:
        return                         # a slot that was never written reads as bad, and whoever asked is told so
    mark(world.marks, MARK_FAULT_READ)
    trace_note(&world.trace, world.now_ns, TRACE_BAD, host.number, 0, 0, index, 0, 0)
    if status == ERR_CORRUPT:
        if host.stop[0] == 0:      # else a recovery has named the place
            wal_damage(host.wal, host.stop, sizeof(host.stop))
        ledger_bad(world.ledger, host.number, index)
    elif world.healed:
        ledger_fail(world.ledger, b"a batch can't be read, and nothing is wrong with the disk", host.number, index,
                    status)


cdef void notice_and_wait(World* world, Host* host, index_t index, int status) noexcept nogil:
    notice_bad(world, host, index, status)
    if world.ledger.slots != NULL:
        if status == ERR_CORRUPT or world.healed:
            ledger_fail(world.ledger, b"a committed batch can't be read", host.number, index, status)
        return
    if world.options.node_count == 1:
        # Nobody has another copy: the recovery says what is to be done.
        host.failing = status == ERR_CORRUPT
    elif status == ERR_CORRUPT or held_elsewhere(world, host, index):
        host.waits_for = index
        host.told = False
