"""Reads in Python's hands: started by any thread, answered by the applier."""

from quorumlog._core.bridge.loops cimport Awaited
from quorumlog._core.bridge.node cimport Deadline, GroupCore
from quorumlog._core.runtime.reads cimport Read, ReadList


cdef class Reading:
    cdef Read* read
    cdef object questions              # the one question, or all of them
    cdef bint many
    cdef object answer                 # set by the applier, before the read ends, as is `error`
    cdef object error
    cdef tuple stopped                 # of a replica that stopped: (message, index)

    cdef bint wait(self, Deadline deadline) except -1
    cdef bint ended(self)
    cdef object outcome(self)
    cdef object not_ended(self, object timeout)    # the exception for a wait that ran out


# Ask without waiting; `awaited`, unless None, leaves its notice.  A Reading that is dropped before it has
# ended is answered to nobody.
# `consistency` is numbered as in quorumlog.group.
cdef Reading start_read(GroupCore group, object questions, bint many, int consistency, object max_lag,
                        Awaited awaited)
cdef Reading start_barrier(GroupCore group, int consistency, Awaited awaited)
# The questions of a read_many in a form that has a length.
cdef object counted(object questions)
# The applier: answers what can be answered now, until stop_ns; adds it to `ended`.  True if there is more.
cdef bint answer_reads(GroupCore group, ReadList* ended, unsigned long long stop_ns) except -1
