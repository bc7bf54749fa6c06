"""See leader_call.pxd."""

from quorumlog._core.base.status cimport ERR_AGAIN, ERR_NOT_LEADER, ERR_USAGE, OK
from quorumlog._core.base.types cimport node_t
from quorumlog._core.engine.protocol cimport EVENT_TRANSFER, ROLE_LEADER, Event
from quorumlog._core.runtime.dispatch cimport group_step, node_send, ticket_done
from quorumlog._core.runtime.node_state cimport COMMAND_TRANSFER, CALLS_MAX, Asked, LeaderCall

from libc.string cimport memset

cdef enum:
    PATIENCE_NS = 1000000000       # then the request or its answer is taken for lost


cdef void answer(Ticket* ticket, int status) noexcept nogil:
    """The node did what it could: the ticket itself is fine."""
    (<LeaderCall*>ticket.answer).status = status
    ticket_done(ticket, OK)


cdef int carry_out(Node* node, HostedGroup* hosted, int command, node_t target) noexcept nogil:
    """Here, as the leader."""
    cdef Event event
    if command != COMMAND_TRANSFER:
        return ERR_USAGE
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_TRANSFER
    event.peer = target
    group_step(node, hosted, &event)
    return hosted.answer


cdef Asked* free_place(HostedGroup* hosted) noexcept nogil:
    cdef int i
    for i in range(CALLS_MAX):
        if hosted.asked[i].ticket == NULL:
            return &hosted.asked[i]
    return NULL


cdef int send(Node* node, HostedGroup* hosted, const Ticket* ticket, uint64_t number) noexcept nogil:
    cdef Message message
    memset(&message, 0, sizeof(Message))
    message.kind = MESSAGE_CALL
    message.protocol = hosted.protocol.number
    message.group = hosted.group
    message.target = hosted.status.leader
    message.term = hosted.status.term
    message.fields[0] = number
    message.fields[1] = <uint64_t>ticket.kind
    message.fields[2] = (<const LeaderCall*>ticket.answer).target
    return node_send(node, &message)


cdef void call_ask(Node* node, HostedGroup* hosted, Ticket* ticket) noexcept nogil:
    cdef LeaderCall* call = <LeaderCall*>ticket.answer
    cdef Asked* place = free_place(hosted)
    if hosted.status.leader == 0 or (call.leader != 0 and call.leader != hosted.status.leader):
        answer(ticket, ERR_NOT_LEADER)
    elif hosted.status.role == ROLE_LEADER:
        answer(ticket, carry_out(node, hosted, ticket.kind, call.target))
    elif place == NULL:
        answer(ticket, ERR_AGAIN)
    elif send(node, hosted, ticket, hosted.asked_last + 1) != OK:
        answer(ticket, ERR_AGAIN)
    else:
        hosted.asked_last += 1
        place.ticket = ticket
        place.number = hosted.asked_last
        place.until_ns = node.now_ns + PATIENCE_NS


cdef void call_asked(Node* node, HostedGroup* hosted, const Message* message) noexcept nogil:
    cdef Message reply
    cdef int status = ERR_NOT_LEADER
    if hosted.status.role == ROLE_LEADER and message.term == hosted.status.term:
        status = carry_out(node, hosted, <int>min(message.fields[1], <uint64_t>1000), message.fields[2])
    memset(&reply, 0, sizeof(Message))
    reply.kind = MESSAGE_CALL_REPLY
    reply.protocol = hosted.protocol.number
    reply.group = hosted.group
    reply.target = message.sender
    reply.term = hosted.status.term
    reply.fields[0] = message.fields[0]
    reply.fields[1] = <uint64_t>status
    node_send(node, &reply)


cdef void call_answered(HostedGroup* hosted, const Message* message) noexcept nogil:
    cdef Ticket* ticket
    cdef int i
    for i in range(CALLS_MAX):
        ticket = hosted.asked[i].ticket
        if ticket != NULL and hosted.asked[i].number == message.fields[0]:
            hosted.asked[i].ticket = NULL
            answer(ticket, <int>min(message.fields[1], <uint64_t>1000))
            return


cdef void call_time(Node* node, HostedGroup* hosted) noexcept nogil:
    cdef Ticket* ticket
    cdef int i
    for i in range(CALLS_MAX):
        ticket = hosted.asked[i].ticket
        if ticket != NULL and hosted.asked[i].until_ns <= node.now_ns:
            hosted.asked[i].ticket = NULL
            answer(ticket, ERR_AGAIN)


cdef uint64_t call_deadline(const HostedGroup* hosted) noexcept nogil:
    cdef uint64_t nearest = 0
    cdef int i
    for i in range(CALLS_MAX):
        if hosted.asked[i].ticket != NULL and (nearest == 0 or hosted.asked[i].until_ns < nearest):
            nearest = hosted.asked[i].until_ns
    return nearest


cdef void call_fail(HostedGroup* hosted, int status) noexcept nogil:
    cdef Ticket* ticket
    cdef int i
    for i in range(CALLS_MAX):
        ticket = hosted.asked[i].ticket
        if ticket == NULL:
            continue
        hosted.asked[i].ticket = NULL
        if status == ERR_AGAIN:
            answer(ticket, status)
        else:
            ticket_done(ticket, status)
