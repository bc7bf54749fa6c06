"""Opening and closing a node, and what other threads may ask of it."""

from quorumlog._core.base.types cimport group_t, index_t
from quorumlog._core.runtime.node_state cimport HostedGroup, Node, NodeOptions, Readmission, Ticket

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t


# Opens, recovers and starts.  On failure a status, with the reason in `detail`.
cdef int node_open(const NodeOptions* options, Node** out, char* detail, uint32_t detail_bytes) noexcept nogil
# Stops the threads.  Every receipt, ticket and wait ends: what never left this node fails as definite,
# the rest as unknown.  What callers still hold stays valid until node_free.
cdef void node_stop(Node* node) noexcept nogil
# No other thread may be in a call on the node any more, applying threads neither.
cdef void node_free(Node* node) noexcept nogil
cdef uint16_t node_port(Node* node) noexcept nogil
# Wakes the reactor if it sleeps.  Any thread.
cdef void node_wake(Node* node) noexcept nogil
# A ticket with zeroed room for its answer, or NULL.
cdef Ticket* ticket_new(int kind, void* subject, size_t answer_bytes) noexcept nogil
# The caller is done with it, whether it was answered or not.
cdef void ticket_leave(Ticket* ticket) noexcept nogil
# Has the reactor carry out a ticket.  Any thread.
cdef void node_command(Node* node, Ticket* ticket) noexcept nogil
# Waits for a ticket: OK, ERR_TIMEOUT, or ERR_AGAIN (a signal came).
cdef int ticket_wait(Ticket* ticket, int64_t timeout_ns) noexcept nogil

# A group from what recovery found, not yet running: COMMAND_ADD_GROUP starts it.  NULL and *status.
cdef HostedGroup* group_prepare(Node* node, group_t group, const char* name, int applier, bint forward,
                                uint64_t intake_bytes, uint64_t session, bint has_peers, int* status) noexcept nogil
# By the reactor: the peer's new incarnation is the one to be believed from now on, durably.
cdef int node_readmit(Node* node, const Readmission* readmission) noexcept nogil
cdef void group_discard(HostedGroup* hosted) noexcept nogil
