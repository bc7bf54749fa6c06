"""See loops.pxd."""

cimport cython

from quorumlog._core.base.atomics cimport exchange_ptr, load_ptr, load_u32, store_u32
from quorumlog._core.base.clock cimport monotonic_ns

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t

import os
import weakref
from asyncio import get_running_loop
from collections import deque

from quorumlog import errors

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int initial, int flags)
    cdef enum:
        EFD_CLOEXEC
        EFD_NONBLOCK

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    ssize_t read(int fd, void* data, size_t size)

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef enum:
    WAKES_MAX = 1024               # coroutines woken before the loop sees to its other work

cdef dict bells = {}               # id of a loop: its LoopBell
cdef list orphans = []             # bells of loops that are gone, with notices still left somewhere


def _after_fork() -> None:
    # The eventfds are shared with the parent, whose wake-ups a read here would steal; and no thread
    # of the parent that was ringing one goes on ringing here.
    cdef LoopBell bell
    for bell in [*bells.values(), *orphans]:
        store_u32(&bell.bell.ringing, 0)
    bells.clear()
    orphans.clear()


def _loop_is_gone(number: int) -> None:
    bell = bells.pop(number, None)
    if bell is not None:
        orphans.append(bell)
        sweep_loops()


os.register_at_fork(after_in_child=_after_fork)


@cython.final
cdef class LoopBell:
    def __cinit__(self):
        self.bell.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.bell.event_fd < 0:
            raise OSError("no eventfd for this event loop: too many open files")
        self.happened = deque()
        self.timed = set()

    def __dealloc__(self):
        # Notices refer to us, so none is left; but their last ringer may still be on its way out.
        while load_u32(&self.bell.ringing):
            sched_yield()
        if self.bell.event_fd >= 0:
            close(self.bell.event_fd)

    cdef bint is_gone(self) except -1:
        loop = self.loop()
        return loop is None or loop.is_closed()

    def on_readable(self):
        """The loop's callback: something was hung on the bell."""
        cdef uint64_t count
        cdef ssize_t _got = read(self.bell.event_fd, &count, 8)     # before taking: what comes now rings again
        self.take(True)
        if not self.going_on:
            self.wake_some()

    def go_on(self):
        self.going_on = False
        self.take(True)
        self.wake_some()

    cdef int take(self, bint wake) except -1:
        """Everything off the bell, oldest first; its waiters are lined up behind the others."""
        cdef Notice* notice
        cdef Notice* oldest = NULL
        cdef Notice* following
        cdef Awaited awaited
        if load_ptr(&self.bell.rung) == NULL:
            return 0
        notice = <Notice*>exchange_ptr(&self.bell.rung, NULL)
        while notice != NULL:
            following = notice.next
            notice.next = oldest
            oldest = notice
            notice = following
        while oldest != NULL:
            following = oldest.next
            awaited = <Awaited>oldest.owner
            oldest = following
            self.notices -= 1
            Py_DECREF(awaited)           # what `leaving` took
            if awaited.nearest_ns:
                self.timed.discard(awaited)
            if wake:
                self.happened.extend(awaited.waiters)
            awaited.waiters.clear()
            awaited.happened()
        return 0

    cdef int wake_some(self) except -1:
        cdef int room = WAKES_MAX
        while self.happened:
            if room == 0:
                loop = self.loop()
                if loop is not None and not self.going_on:
                    self.going_on = True
                    loop.call_soon(self.go_on)
                return 0
            future = self.happened.popleft()
            if not future.done():        # else it was cancelled, or its time ran out
                future.set_result(None)
                room -= 1
        return 0

    cdef int set_timer(self, uint64_t deadline_ns) except -1:
        """One timer for all, at the nearest deadline; waiters that were woken meanwhile don't move it."""
        if self.timer is not None:
            if self.timer_ns <= deadline_ns:
                return 0
            self.timer.cancel()
        cdef int64_t left_ns = <int64_t>(deadline_ns - monotonic_ns())
        self.timer = self.loop().call_later(max(left_ns, 0) / 1e9, self.on_timer)
        self.timer_ns = deadline_ns
        return 0

    def on_timer(self):
        cdef uint64_t now_ns = monotonic_ns()
        cdef uint64_t nearest_ns = 0
        cdef Awaited awaited
        self.timer = None
        for awaited in list(self.timed):
            if awaited.nearest_ns <= now_ns:
                awaited.expire(now_ns)
            if awaited.nearest_ns == 0:
                self.timed.discard(awaited)
            elif nearest_ns == 0 or awaited.nearest_ns < nearest_ns:
                nearest_ns = awaited.nearest_ns
        if nearest_ns:
            self.set_timer(nearest_ns)


cdef LoopBell bell_here():
    loop = get_running_loop()
    found = bells.get(id(loop))
    if found is not None and (<LoopBell>found).loop() is loop:
        return <LoopBell>found
    return new_bell(loop)


cdef LoopBell new_bell(object loop):
    cdef LoopBell made = LoopBell.__new__(LoopBell)
    sweep_loops()
    number = id(loop)
    made.loop = weakref.ref(loop, lambda _gone: _loop_is_gone(number))
    loop.add_reader(made.bell.event_fd, made.on_readable)
    bells[number] = made
    return made


cdef int sweep_loops() except -1:
    cdef LoopBell bell
    for number, bell in list(bells.items()):
        if bell.is_gone():
            del bells[number]
            orphans.append(bell)
    for bell in list(orphans):
        bell.take(False)
        if bell.notices == 0:
            orphans.remove(bell)
    return 0


cdef uint64_t deadline_of(object timeout) except? 0:
    if timeout is None:
        return 0
    cdef double seconds = timeout
    if not seconds >= 0:
        raise errors.UsageError(f"timeout must be None or at least 0 seconds, not {timeout!r}")
    if seconds > 1e9:
        return 0
    return monotonic_ns() + <uint64_t>(seconds * 1e9)


cdef class Awaited:
    def __cinit__(self):
        self.waiters = {}
        self.notice.owner = <void*>self

    cdef Notice* leaving(self) except NULL:
        """The notice, to be left somewhere; from now on, until it is taken off the bell, we live."""
        self.notice.bell = &self.bell.bell
        self.bell.notices += 1
        Py_INCREF(self)
        return &self.notice

    cdef int not_left(self) except -1:
        self.bell.notices -= 1
        Py_DECREF(self)
        return 0

    cdef int happened(self) except -1:
        """It was taken off the bell: nothing native refers to us any more."""
        return 0

    cdef object join(self, uint64_t deadline_ns):
        """A future that is woken when it happens, or at its deadline (0: none)."""
        future = self.bell.loop().create_future()        # a weak reference; and it runs, as we do in it
        future._asyncio_future_blocking = True           # as its own __await__ would hand it to the task
        self.waiters[future] = deadline_ns
        if deadline_ns:
            if self.nearest_ns == 0 or deadline_ns < self.nearest_ns:
                self.nearest_ns = deadline_ns
                self.bell.timed.add(self)
                self.bell.set_timer(deadline_ns)
        return future

    cdef int leave(self, object future) except -1:
        self.waiters.pop(future, None)
        return 0

    cdef int expire(self, uint64_t now_ns) except -1:
        self.nearest_ns = 0
        for future, deadline_ns in list(self.waiters.items()):
            if deadline_ns == 0:
                continue
            if deadline_ns <= now_ns:
                del self.waiters[future]
                self.bell.happened.append(future)
            elif self.nearest_ns == 0 or deadline_ns < self.nearest_ns:
                self.nearest_ns = deadline_ns
        if not self.bell.going_on:
            self.bell.wake_some()
        return 0
