"""What a caller asks of the leader of a group: on this node, or by a message to the one that leads.

Whatever is asked may be asked again: the leader answers at once what it makes of it, and a request or
an answer that is lost shows as ERR_AGAIN after a second.  Nothing is queued.
"""

from quorumlog._core.engine.message cimport Message
from quorumlog._core.runtime.node_state cimport HostedGroup, Node, Ticket

from libc.stdint cimport uint64_t

cdef enum CallMessage:
    MESSAGE_CALL = 107              # fields: number, command, target
    MESSAGE_CALL_REPLY = 108        # fields: number, Status


# A ticket with a LeaderCall; answered now or later.
cdef void call_ask(Node* node, HostedGroup* hosted, Ticket* ticket) noexcept nogil
# The leader is asked / has answered.
cdef void call_asked(Node* node, HostedGroup* hosted, const Message* message) noexcept nogil
cdef void call_answered(HostedGroup* hosted, const Message* message) noexcept nogil
# Those that waited too long.
cdef void call_time(Node* node, HostedGroup* hosted) noexcept nogil
cdef uint64_t call_deadline(const HostedGroup* hosted) noexcept nogil         # 0: nobody waits
# Nobody will answer any more: ERR_AGAIN, or the node ends.
cdef void call_fail(HostedGroup* hosted, int status) noexcept nogil
