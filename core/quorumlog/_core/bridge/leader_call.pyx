"""What the leader of a group is asked for, from Python: one question, one answer; `quorumlog.leadership` asks again."""

from quorumlog._core.base.status cimport (
    ERR_AGAIN, ERR_BUSY, ERR_CONNECTION_LOST, ERR_NOT_LEADER, ERR_USAGE, OK)
from quorumlog._core.bridge.errors cimport simple_error
from quorumlog._core.bridge.node cimport Deadline, GroupCore
from quorumlog._core.runtime.node cimport ticket_leave, ticket_new
from quorumlog._core.runtime.node_state cimport COMMAND_TRANSFER, LeaderCall, Ticket

from libc.stdint cimport uint64_t

cdef dict OUTCOMES = {
    OK: "taken", ERR_AGAIN: "unanswered", ERR_BUSY: "busy", ERR_CONNECTION_LOST: "nobody",
    ERR_NOT_LEADER: "not leader", ERR_USAGE: "no such voter",
}


def ask_transfer(GroupCore group not None, uint64_t leader, uint64_t target, double timeout):
    """Asks `leader` (0: whoever leads) to hand over to `target` (0: to whom it fits best): one of OUTCOMES' words."""
    cdef Ticket* ticket
    cdef LeaderCall* call
    group.core.check_open()
    ticket = ticket_new(COMMAND_TRANSFER, group.hosted, sizeof(LeaderCall))
    if ticket == NULL:
        raise MemoryError()
    call = <LeaderCall*>ticket.answer
    call.leader, call.target = leader, target
    ticket = group.core.answered(ticket, Deadline(timeout))
    cdef int status = (<LeaderCall*>ticket.answer).status
    ticket_leave(ticket)
    if status not in OUTCOMES:
        raise simple_error(status, "transfer")
    return OUTCOMES[status]
