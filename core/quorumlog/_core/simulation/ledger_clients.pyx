"""See ledger_clients.pxd."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.engine.protocol cimport READ_AS_OF, READ_BY_LEASE
from quorumlog._core.simulation.ledger cimport (
    LEDGER_SESSIONS, AckedAt, Commands, ledger_committed_last, ledger_fail)

from libc.stdlib cimport free, realloc
from libc.string cimport memset


cdef Commands* commands_of(Ledger* ledger, uint64_t session) noexcept nogil:
    cdef uint32_t i
    for i in range(ledger.commands_count):
        if ledger.commands[i].session == session:
            return &ledger.commands[i]
    check(ledger.commands_count < LEDGER_SESSIONS, b"Q-LEDGER-09 the simulation has few clients' sessions")
    ledger.commands[ledger.commands_count].session = session
    ledger.commands_count += 1
    return &ledger.commands[ledger.commands_count - 1]


cdef void ledger_command(Ledger* ledger, uint32_t node, uint64_t session, uint64_t sequence,
                         index_t index) noexcept nogil:
    cdef Commands* commands = commands_of(ledger, session)
    cdef uint64_t capacity
    if sequence >= commands.capacity:
        capacity = 2 * sequence + 64
        commands.applied = <index_t*>realloc(commands.applied, capacity * sizeof(index_t))
        check(commands.applied != NULL, b"Q-LEDGER-10 there is memory for clients' commands")
        memset(commands.applied + commands.capacity, 0, (capacity - commands.capacity) * sizeof(index_t))
        commands.capacity = capacity
    if commands.applied[sequence] == 0:
        commands.applied[sequence] = index
    elif commands.applied[sequence] != index:
        ledger_fail(ledger, b"a client's command was applied twice", node, session, sequence)


cdef void ledger_acked(Ledger* ledger, index_t last, uint64_t now_ns) noexcept nogil:
    if last > ledger_committed_last(ledger):
        ledger_fail(ledger, b"acknowledged and not committed", 0, last, ledger_committed_last(ledger))
    if last <= ledger.acked_index:
        return
    if ledger.acked_count == ledger.acked_capacity:
        ledger.acked_capacity = 2 * ledger.acked_capacity + 256
        ledger.acked = <AckedAt*>realloc(ledger.acked, ledger.acked_capacity * sizeof(AckedAt))
        check(ledger.acked != NULL, b"Q-LEDGER-08 there is memory for what is acknowledged")
    ledger.acked_index = last
    ledger.acked[ledger.acked_count].at_ns = now_ns
    ledger.acked[ledger.acked_count].index = last
    ledger.acked_count += 1


cdef index_t ledger_acked_by(const Ledger* ledger, uint64_t at_ns) noexcept nogil:
    cdef uint32_t low = 0
    cdef uint32_t high = ledger.acked_count
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if ledger.acked[middle].at_ns <= at_ns:
            low = middle + 1
        else:
            high = middle
    return ledger.acked[low - 1].index if low > 0 else 0


cdef void ledger_read(Ledger* ledger, uint32_t node, int kind, index_t index, index_t at_least) noexcept nogil:
    if index >= at_least:
        return
    if kind == READ_BY_LEASE:
        ledger_fail(ledger, b"a read by lease is stale", node, index, at_least)
    elif kind == READ_AS_OF:
        ledger_fail(ledger, b"a read of bounded staleness is staler", node, index, at_least)
    else:
        ledger_fail(ledger, b"a linearizable read is stale", node, index, at_least)


cdef void ledger_forget_clients(Ledger* ledger) noexcept nogil:
    cdef uint32_t i
    free(ledger.acked)
    for i in range(ledger.commands_count):
        free(ledger.commands[i].applied)
