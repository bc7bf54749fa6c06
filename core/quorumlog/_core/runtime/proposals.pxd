"""Proposals made on this node, from the intake to the leader's log, however often that takes.

Each batch gets the next sequence of this node's session and stays here until the
applying thread has seen it applied.  It is handed to the leader (ourselves, or by
a forward message) in order; after a change of leader, a lost connection or a
refusal everything unsettled is handed over again, and the session table applies
it once (engine/sessions).
"""

from quorumlog._core.engine.message cimport Message
from quorumlog._core.runtime.node_state cimport HostedGroup, Node, Proposals

from libc.stdint cimport uint64_t

cdef enum RuntimeMessage:
    MESSAGE_FORWARD = 100              # batches with session and sequence; fields: oldest sequence not settled
    MESSAGE_FORWARD_REFUSED = 101      # fields: session, sequence expected, status


cdef int proposals_open(Proposals* proposals, uint64_t session) noexcept nogil
cdef void proposals_close(Proposals* proposals) noexcept nogil
# One turn: takes from the intake, lets go of what is settled, hands over what can be.
cdef void proposals_turn(Node* node, HostedGroup* hosted) noexcept nogil
# Is there something for a turn to do that came from another thread?  A look before the reactor sleeps.
cdef bint proposals_waiting(HostedGroup* hosted) noexcept nogil
# When to have a turn although nothing happened; 0: never.
cdef uint64_t proposals_deadline(const HostedGroup* hosted) noexcept nogil
cdef void proposals_forwarded(Node* node, HostedGroup* hosted, const Message* message) noexcept nogil
cdef void proposals_refused(Node* node, HostedGroup* hosted, const Message* message) noexcept nogil
# The connection to the leader came back or went: what was on it may be lost.
cdef void proposals_rewind(HostedGroup* hosted) noexcept nogil
# Nothing will be settled any more: what never left fails as definite, the rest as unknown.
cdef void proposals_fail(HostedGroup* hosted, int status) noexcept nogil
