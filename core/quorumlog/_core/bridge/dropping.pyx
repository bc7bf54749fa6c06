"""Dropping a group, as its callers wait for it."""

from quorumlog._core.base.status cimport ERR_DROPPED, ERR_NOT_LEADER, OK
from quorumlog._core.bridge.errors cimport simple_error
from quorumlog._core.bridge.node cimport Deadline, GroupCore
from quorumlog._core.runtime.apply cimport apply_wait
from quorumlog._core.runtime.node cimport ticket_leave
from quorumlog._core.runtime.node_state cimport COMMAND_DROP_GROUP, Ticket

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint64_t

from quorumlog import errors

cdef enum:
    TURNS = 10                     # of a deadline's slices, before it is asked for again


def drop(GroupCore group not None, timeout):
    """Returns when the group is dropped here, whoever asked for it."""
    cdef Deadline deadline = Deadline(timeout)
    cdef int64_t left_ns
    cdef int turns = 0
    cdef int status = ERR_NOT_LEADER
    group.core.check_open()
    what = f"group {group.hosted.name.decode()!r}"
    while True:
        if turns % TURNS == 0 or status == ERR_NOT_LEADER or group.dropped:
            status = ask(group, deadline)
            if status == ERR_DROPPED:
                return
            if status != OK and status != ERR_NOT_LEADER:
                raise simple_error(status, f"drop {what}")
        turns += 1
        left_ns = deadline.left_ns()
        if left_ns == 0:
            raise errors.ProposalTimeout(f"{what} was not dropped within {timeout} s; it may still be")
        group.core.active += 1
        with nogil:
            apply_wait(&group.hosted.apply, <uint64_t>-1, left_ns)
        group.core.active -= 1
        PyErr_CheckSignals()
        group.core.check_open()


cdef int ask(GroupCore group, Deadline deadline) except -1:
    cdef Ticket* ticket = group.core.ask(COMMAND_DROP_GROUP, group.hosted, sizeof(int), deadline)
    cdef int status = (<int*>ticket.answer)[0]
    ticket_leave(ticket)
    group.core.check_open()
    return status
