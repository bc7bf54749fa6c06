"""A participant's host: accounts, locks, and the records from which both are built again."""

from quorumlog._core.simulation.transaction_state cimport Node, TransactionParcel, TransactionWorld

# From its disk.  False: a fault hit the recovery.
cdef bint participant_start(TransactionWorld* world, Node* node) noexcept nogil
cdef void participant_stop(TransactionWorld* world, Node* node) noexcept nogil
cdef void participant_hear(TransactionWorld* world, Node* node, const TransactionParcel* parcel) noexcept nogil
cdef void participant_time(TransactionWorld* world, Node* node) noexcept nogil
