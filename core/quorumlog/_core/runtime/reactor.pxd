"""The one thread that owns a node: sockets, timers, protocol steps, the log's plans."""

from quorumlog._core.base.types cimport node_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.runtime.node_state cimport Node, NodeStatus

from libc.stdint cimport uint32_t, uint64_t


cdef int reactor_start(Node* node) noexcept nogil
cdef void reactor_stop(Node* node) noexcept nogil          # joins
cdef void reactor_wake(Node* node) noexcept nogil          # any thread
# Callbacks of the transport.
cdef void reactor_on_message(void* node, const Message* message, uint64_t now_ns) noexcept nogil
cdef void reactor_on_reachable(void* node, node_t peer, bint reachable, uint64_t now_ns) noexcept nogil
cdef void reactor_status(Node* node, NodeStatus* status) noexcept nogil
# The node stops acknowledging: a failed write or sync, or a damaged log.
cdef void reactor_fail(Node* node, int status) noexcept nogil
