"""See reads.pxd.

A read is one native object from the call to its end (runtime/reads): the reactor has it
confirmed and hands it straight to the applier, which answers all that are ready in one GIL
hold.  The caller sleeps on its futex and is woken once, after the applier has let the GIL go.
The questions and answers lie in a `Reading`; the applier finds it by the native read's `owner`,
with the GIL, as long as somebody waits for the answer.
"""

cimport cython

from quorumlog._core.base.atomics cimport load_u32, load_u64
from quorumlog._core.base.clock cimport monotonic_ns
from quorumlog._core.base.status cimport ERR_STALE, ERR_STOPPED, OK
from quorumlog._core.bridge.errors cimport simple_error
from quorumlog._core.bridge.loops cimport Awaited
from quorumlog._core.bridge.node cimport Deadline, GroupCore
from quorumlog._core.bridge.submission cimport timeout_to_ns
from quorumlog._core.engine.protocol cimport READ_AS_OF, READ_BY_LEASE, READ_BY_ROUND
from quorumlog._core.runtime.apply cimport Apply
from quorumlog._core.runtime.dispatch cimport wake_applier
from quorumlog._core.runtime.node cimport node_wake
from quorumlog._core.runtime.reads cimport (
    NEVER_HEARD, READ_CONFIRMED, READ_DONE, READS_MAX, Read, ReadList, Wanted, read_drop, read_new, read_wait,
    reads_ask, reads_ask_stale, reads_end, reads_ready)

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint32_t, uint64_t

from quorumlog import errors
from quorumlog.machine import StateMachine


# As quorumlog.group numbers them.
cdef enum Consistency:
    LINEARIZABLE = 0
    LEASE = 1
    BOUNDED = 2
    STALE = 3


# The collector may not empty it while the applier can still find it.
@cython.final
@cython.no_gc_clear
cdef class Reading:
    """A read on its way.  Dropping it gives up the answer."""

    def __cinit__(self):
        self.read = NULL

    def __dealloc__(self):
        if self.read != NULL:
            self.read.owner = NULL
            read_drop(self.read)

    cdef bint wait(self, Deadline deadline) except -1:
        """True once it has ended; False when the time is up.  Ctrl-C raises."""
        cdef Read* read = self.read
        cdef int64_t left_ns
        while load_u32(&read.state) != READ_DONE:
            left_ns = deadline.left_ns()
            if left_ns == 0:
                return False
            with nogil:
                read_wait(read, left_ns)
            if load_u32(&read.state) == READ_DONE:
                break
            PyErr_CheckSignals()
        return True

    cdef bint ended(self):
        return load_u32(&self.read.state) == READ_DONE

    cdef object not_ended(self, object timeout):
        cdef uint32_t refused = load_u32(&self.read.refused)
        if load_u32(&self.read.state) == READ_CONFIRMED:
            return errors.ReadTimeout(f"the state machine did not answer within {timeout} s")
        if not refused:
            return errors.ReadTimeout(
                f"not confirmed within {timeout} s: no leader is known, or no quorum answered it")
        return errors.ReadTimeout(
            f"not confirmed within {timeout} s: {simple_error(<int>refused, 'the last attempt')}")

    cdef object outcome(self):
        """Of one that has ended: the answer (of a barrier: the index), or raises."""
        if self.stopped is not None:
            raise errors.ReplicaStopped(*self.stopped)
        if self.read.status == ERR_STALE:
            raise too_stale(self.read)
        if self.read.status != OK:
            raise simple_error(self.read.status, "read")
        if self.error is not None:
            raise self.error
        return self.read.index if self.read.wanted.barrier else self.answer


cdef object too_stale(const Read* read):
    bound = read.wanted.max_lag_ns / 1e9
    if read.lag_ns >= NEVER_HEARD:
        return errors.TooStale(
            f"nothing is known here of what a leader committed, so not within {bound} s either", None)
    lag = read.lag_ns / 1e9
    return errors.TooStale(f"what is known here is {lag:.3f} s old, more than the {bound} s asked for", lag)


cdef Wanted wanted_of(GroupCore group, int consistency, object max_lag, bint barrier) except *:
    """From the Python side's numbers; raises for what this group can't give."""
    cdef Wanted wanted
    wanted.barrier = barrier
    wanted.max_lag_ns = 0
    wanted.kind = READ_BY_ROUND
    if consistency == LEASE:
        if not group.leases:
            raise errors.UsageError(
                "reads by lease are off: open the group with RaftOptions(clock_drift=...) on all its nodes")
        wanted.kind = READ_BY_LEASE
    elif consistency == BOUNDED:
        wanted.kind = READ_AS_OF
        wanted.max_lag_ns = <uint64_t>timeout_to_ns(max_lag)
    return wanted


cdef Reading start(GroupCore group, Reading reading, Wanted wanted, bint here, Awaited awaited):
    """From the check that the node is open to the wake-up nobody else has the GIL."""
    cdef bint taken
    group.check_open()
    reading.read = read_new(wanted, <void*>reading)
    if reading.read == NULL:
        raise MemoryError()
    if awaited is not None:
        reading.read.notice = awaited.leaving()
    if here:
        taken = reads_ask_stale(&group.hosted.reads, reading.read)
    else:
        taken = reads_ask(&group.hosted.reads, reading.read)
    if not taken:
        if awaited is not None:
            awaited.not_left()
        raise errors.Overloaded(f"{READS_MAX} reads of the group wait for their answers, which is the most",
                                READS_MAX)
    if here:
        wake_applier(group.core.node)
    else:
        node_wake(group.core.node)
    return reading


cdef Reading start_read(GroupCore group, object questions, bint many, int consistency, object max_lag,
                        Awaited awaited):
    cdef Reading reading = Reading.__new__(Reading)
    if group.machine is None:
        raise errors.UsageError("the group has no state machine to ask")
    reading.questions = questions
    reading.many = many
    return start(group, reading, wanted_of(group, consistency, max_lag, False), consistency == STALE, awaited)


cdef Reading start_barrier(GroupCore group, int consistency, Awaited awaited):
    return start(group, Reading.__new__(Reading), wanted_of(group, consistency, None, True), False, awaited)


cdef object counted(object questions):
    if isinstance(questions, (str, bytes, bytearray)):
        raise errors.UsageError(f"read_many takes a list of questions, not {type(questions).__name__}")
    return questions if hasattr(questions, "__len__") else list(questions)


cdef object wait_for(Reading reading, Deadline deadline):
    if not reading.wait(deadline):
        raise reading.not_ended(deadline.timeout)
    return reading.outcome()


def read(GroupCore group, question, int consistency, max_lag, timeout):
    """The state machine's answer to one question."""
    cdef Deadline deadline = Deadline(timeout)
    return wait_for(start_read(group, question, False, consistency, max_lag, None), deadline)


def read_many(GroupCore group, questions, int consistency, max_lag, timeout):
    """Its answers to all of them, in order."""
    cdef Deadline deadline = Deadline(timeout)
    return wait_for(start_read(group, counted(questions), True, consistency, max_lag, None), deadline)


def read_barrier(GroupCore group, int consistency, timeout):
    """A linearizable read index: every write acknowledged before the call lies at or below it."""
    cdef Deadline deadline = Deadline(timeout)
    return wait_for(start_barrier(group, consistency, None), deadline)


# The applier

cdef object ask_each(object machine, object questions):
    """A query that raises takes nobody else's answer."""
    query = machine.query
    cdef list answers = []
    cdef list positions = []
    for question in questions:
        try:
            answers.append(query(question))
        except BaseException as error:
            positions.append(len(answers))
            answers.append(error)
    if positions:
        raise errors.QueriesFailed(
            f"{len(positions)} of {len(answers)} queries raised, the first of them (number {positions[0]}) "
            f"{type(answers[positions[0]]).__name__}", answers, tuple(positions)) from answers[positions[0]]
    return answers


cdef object ask_all(object machine, object questions):
    answers = machine.query_many(questions)
    if len(answers) != len(questions):
        raise errors.UsageError(
            f"query_many returned {len(answers)} answers to {len(questions)} questions; return one for each")
    return answers


cdef bint takes_many(object machine):
    method = getattr(machine, "query_many", None)
    return method is not None and getattr(method, "__func__", None) is not StateMachine.query_many


cdef int answer(GroupCore group, Reading reading) except -1:
    """Whatever a query raises is the reader's business."""
    machine = group.machine
    try:
        if not reading.many:
            reading.answer = machine.query(reading.questions)
        elif takes_many(machine):
            reading.answer = ask_all(machine, reading.questions)
        else:
            reading.answer = ask_each(machine, reading.questions)
    except BaseException as error:
        reading.error = error
    return 0


cdef bint answer_reads(GroupCore group, ReadList* ended, unsigned long long stop_ns) except -1:
    cdef Apply* apply = &group.hosted.apply
    cdef Read* read
    cdef Reading reading
    cdef int status
    while True:
        # A replica that has stopped answers all, whatever they wait for.
        read = reads_ready(&group.hosted.reads,
                           <uint64_t>-1 if load_u32(&apply.stopped) else load_u64(&apply.applied))
        if read == NULL:
            return False
        status = OK
        if read.owner != NULL:
            reading = <Reading>read.owner
            if not load_u32(&apply.stopped):
                answer(group, reading)
            elif group.stopped_error is not None:
                reading.stopped = group.stopped_error
            else:
                status = ERR_STOPPED
        reads_end(&group.hosted.reads, read, status, ended)
        reading = None
        if monotonic_ns() > stop_ns:
            return True
