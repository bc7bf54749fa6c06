"""The awaitable verbs of nodes and groups: what quorumlog.aio calls.

Each is an object with an `__await__`, which runs in the thread of an event loop and
asks the same core in the same way as the blocking verb of bridge/node.  None of them
blocks; none lets go of the GIL, so what they have checked holds until they return.
"""

from quorumlog._core.bridge.loops cimport Awaited
from quorumlog._core.bridge.node cimport GroupCore, NodeCore
from quorumlog._core.bridge.submission cimport Submission
from quorumlog._core.runtime.node_state cimport Ticket

from libc.stdint cimport uint32_t, uint64_t


# A ticket that the reactor answers to an event loop.
cdef class AwaitedTicket(Awaited):
    cdef Ticket* ticket
    cdef bint answered


# Something without memory of its own: room in an intake, an applied index.
cdef class AwaitedMove(Awaited):
    cdef bint moved


cdef class Settling:
    cdef GroupCore group
    cdef Submission submission
    cdef object timeout


cdef class Room:
    cdef GroupCore group
    cdef uint32_t seen
    cdef object timeout


cdef class Asking:
    cdef NodeCore core
    cdef GroupCore group               # or None, about the node
    cdef int kind
    cdef object timeout

    cdef int hand_in(self, AwaitedTicket awaited) except -1
    cdef object answer(self, Ticket* ticket)


cdef class Applying:
    cdef GroupCore group
    cdef uint64_t index
    cdef object timeout


cdef class ReadAwaitable:
    cdef GroupCore group
    cdef object questions
    cdef bint many
    cdef bint barrier
    cdef int consistency
    cdef object max_lag
    cdef object timeout
