"""Messages of transactions through the virtual network."""

from quorumlog._core.engine.transactions cimport Effect
from quorumlog._core.simulation.transaction_state cimport Node, TransactionParcel, TransactionWorld

from libc.stdint cimport uint32_t

# A message of an effect (DO_PREPARE and its like, DO_SEND), on its way or, until `after_io` is flushed, held.
cdef void post(TransactionWorld* world, Node* node, const Effect* effect, uint32_t target) noexcept nogil
# What waited for a flush.
cdef void post_held(TransactionWorld* world, Node* node) noexcept nogil
cdef void drop_held(Node* node) noexcept nogil
cdef void replay_old(TransactionWorld* world) noexcept nogil
