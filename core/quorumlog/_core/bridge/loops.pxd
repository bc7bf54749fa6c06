"""Event loops: how what native threads finish reaches the coroutines that wait for it.

A loop has one LoopBell (an eventfd that it watches, see base/bell).  For each thing
that coroutines of a loop wait for (a receipt, a cursor, a ticket) there is one
Awaited with a future for each waiting coroutine, so that cancelling one concerns no
other.  The loop's callback takes all that has happened off the bell and wakes its
waiters, a bounded number at a time.  Everything here needs the GIL, and but for the
sweeping of closed loops runs in the loop's thread.
"""

from quorumlog._core.base.bell cimport Bell, Notice

from libc.stdint cimport int64_t, uint64_t


cdef class LoopBell:
    cdef Bell bell
    cdef object loop                   # weak: it would be kept by the table that we are found in
    cdef object happened               # deque of futures still to be woken
    cdef set timed                     # Awaited with a deadline among their waiters
    cdef object timer                  # its handle, or None
    cdef uint64_t timer_ns             # when it rings
    cdef bint going_on                 # a callback that wakes more is on its way
    cdef Py_ssize_t notices            # left and not taken off the bell yet

    cdef int take(self, bint wake) except -1
    cdef int wake_some(self) except -1
    cdef int set_timer(self, uint64_t deadline_ns) except -1
    cdef bint is_gone(self) except -1


cdef class Awaited:
    cdef Notice notice
    cdef LoopBell bell
    cdef dict waiters                  # future: when it gives up, or 0
    cdef uint64_t nearest_ns           # of these, 0: none gives up

    cdef Notice* leaving(self) except NULL
    cdef int not_left(self) except -1
    cdef int happened(self) except -1
    cdef object join(self, uint64_t deadline_ns)
    cdef int leave(self, object future) except -1
    cdef int expire(self, uint64_t now_ns) except -1


# Of the running loop; raises RuntimeError outside of one.
cdef LoopBell bell_here()
# Lets go of what closed loops had waited for, as far as it has happened.
cdef int sweep_loops() except -1
# When a wait of so many seconds ends; 0 for None.
cdef uint64_t deadline_of(object timeout) except? 0
