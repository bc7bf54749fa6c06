"""Reads in Python's hands: started by any thread, answered by the applier."""

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
    cdef object outcome(self)


# Asks without waiting.  What is dropped before it is answered is answered to nobody.
cdef Reading start_read(GroupCore group, object questions, bint many, bint linearizable)
# The applier: answers what can be answered now, until stop_ns; adds it to `ended`.  True if there is more.
cdef bint answer_reads(GroupCore group, ReadList* ended, unsigned long long stop_ns) except -1
