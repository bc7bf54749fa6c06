"""A simulated node's write-ahead log: the product's, over a virtual disk, written in virtual time."""

from quorumlog._core.base.types cimport wsn_t
from quorumlog._core.simulation.schedule cimport Occurrence
from quorumlog._core.simulation.transaction_state cimport Node, TransactionWorld

from libc.stdint cimport uint8_t, uint32_t

# Called for each entry that recovery brings back, in order.
ctypedef void (*RecoveredEntry)(TransactionWorld* world, Node* node, const uint8_t* data, uint32_t size) noexcept nogil

cdef void node_log_create(TransactionWorld* world, Node* node) noexcept nogil
cdef void node_log_destroy(Node* node) noexcept nogil
# Recovers.  False: a fault hit it; to be tried again.
cdef bint node_log_open(TransactionWorld* world, Node* node, RecoveredEntry entry) noexcept nogil
# The process dies; with `power` what was not synced is lost, kept or spoilt.
cdef void node_log_crash(TransactionWorld* world, Node* node, bint power) noexcept nogil
cdef wsn_t node_log_append(Node* node, const void* data, uint32_t size) noexcept nogil     # 0: poisoned
cdef wsn_t node_log_next(Node* node) noexcept nogil
cdef void node_log_plan(TransactionWorld* world, Node* node) noexcept nogil
cdef void node_log_written(TransactionWorld* world, Node* node, const Occurrence* occurrence) noexcept nogil
# False: the log is poisoned, the node must stop (P5).
cdef bint node_log_done(TransactionWorld* world, Node* node, const Occurrence* occurrence) noexcept nogil
cdef void node_later(TransactionWorld* world, Node* node, int kind, unsigned long long delay_ns,
                     unsigned long long number) noexcept nogil
