"""The ledger's list of what is committed; see ledger_committed.pxd."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.simulation.ledger cimport ledger_committed_last, ledger_fail

from libc.stdlib cimport realloc
from libc.string cimport memset


cdef Committed* committed_at(const Ledger* ledger, index_t index) noexcept nogil:
    cdef uint32_t low = 0
    cdef uint32_t high = ledger.committed_count
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if ledger.committed[middle].last < index:
            low = middle + 1
        else:
            high = middle
    if low < ledger.committed_count and ledger.committed[low].first <= index:
        return &ledger.committed[low]
    return NULL


cdef Committed* new_committed(Ledger* ledger) noexcept nogil:
    if ledger.committed_count == ledger.committed_capacity:
        ledger.committed_capacity = 2 * ledger.committed_capacity + 256
        ledger.committed = <Committed*>realloc(ledger.committed, ledger.committed_capacity * sizeof(Committed))
        check(ledger.committed != NULL, b"Q-LEDGER-06 there is memory for what is committed")
    ledger.committed_count += 1
    memset(&ledger.committed[ledger.committed_count - 1], 0, sizeof(Committed))
    return &ledger.committed[ledger.committed_count - 1]


cdef void committed_slot(Ledger* ledger, uint32_t node, index_t slot, term_t term, uint64_t content) noexcept nogil:
    cdef Committed* committed
    if slot != ledger_committed_last(ledger) + 1:
        ledger_fail(ledger, b"a commit leaves a hole", node, slot, ledger_committed_last(ledger))
        return
    committed = new_committed(ledger)
    committed.first = slot
    committed.last = slot
    committed.term = term
    committed.content = content
