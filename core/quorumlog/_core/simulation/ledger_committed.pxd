"""The ledger's list of what is committed, one behind the other."""

from quorumlog._core.base.types cimport index_t, term_t
from quorumlog._core.simulation.ledger cimport Committed, Ledger

from libc.stdint cimport uint32_t, uint64_t


# The batch that holds `index`, or NULL.
cdef Committed* committed_at(const Ledger* ledger, index_t index) noexcept nogil
# One more, zeroed, at the end.
cdef Committed* new_committed(Ledger* ledger) noexcept nogil
# The next slot that any node calls chosen.
cdef void committed_slot(Ledger* ledger, uint32_t node, index_t slot, term_t term, uint64_t content) noexcept nogil
