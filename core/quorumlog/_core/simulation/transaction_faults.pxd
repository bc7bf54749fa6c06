"""What breaks among transactions, and the mending of it."""

from quorumlog._core.simulation.transaction_state cimport Node, TransactionWorld

cdef void transaction_fault(TransactionWorld* world) noexcept nogil
cdef void transaction_start(TransactionWorld* world, Node* node) noexcept nogil
cdef void transaction_crash(TransactionWorld* world, Node* node, bint power) noexcept nogil
cdef void transactions_heal(TransactionWorld* world) noexcept nogil
cdef void transactions_mend(TransactionWorld* world) noexcept nogil
