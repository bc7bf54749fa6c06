"""The loop of the simulated transactions: one seed, one run."""

from quorumlog._core.simulation.transaction_state cimport TransactionOptions, TransactionWorld

# What the seed draws; what is set already stays.
cdef void transactions_draw(TransactionOptions* options) noexcept nogil
cdef TransactionWorld* transactions_open(const TransactionOptions* options) noexcept nogil
cdef void transactions_run(TransactionWorld* world) noexcept nogil
cdef void transactions_close(TransactionWorld* world) noexcept nogil
