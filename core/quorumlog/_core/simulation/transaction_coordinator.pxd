"""A coordinator's host: carries out what the protocol wants, and plays its clients and its operator."""

from quorumlog._core.engine.decisions cimport DecisionRecord
from quorumlog._core.engine.txids cimport Txid
from quorumlog._core.simulation.transaction_state cimport Node, TransactionParcel, TransactionWorld

# From its decision log.  False: a fault hit the recovery.
cdef bint coordinator_start(TransactionWorld* world, Node* node) noexcept nogil
cdef void coordinator_stop(TransactionWorld* world, Node* node) noexcept nogil
cdef void coordinator_hear(TransactionWorld* world, Node* node, const TransactionParcel* parcel) noexcept nogil
cdef void coordinator_time(TransactionWorld* world, Node* node) noexcept nogil
# A client wants a transfer.
cdef void coordinator_client(TransactionWorld* world, Node* node) noexcept nogil
# What the decision log says of a record that this coordinator proposed.
cdef void coordinator_verdict(TransactionWorld* world, Node* node, const DecisionRecord* record,
                              int verdict) noexcept nogil
# Somebody looks at what is in doubt, and knows the truth.
cdef void coordinator_resolve(TransactionWorld* world, Node* node, unsigned long long transfer) noexcept nogil
