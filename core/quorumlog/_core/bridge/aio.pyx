"""See aio.pxd."""

cimport cython

from quorumlog._core.base.atomics cimport load_u32, load_u64
from quorumlog._core.base.status cimport ERR_TIMEOUT, OK
from quorumlog._core.bridge.batch cimport pinned_bytes
from quorumlog._core.bridge.errors cimport simple_error
from quorumlog._core.bridge.loops cimport bell_here, deadline_of
from quorumlog._core.bridge.node cimport explanation_dict, group_status_dict, node_status_dict, taken_apart
from quorumlog._core.bridge.reads cimport Reading, counted, start_barrier, start_read
from quorumlog._core.bridge.submission cimport AwaitedReceipt, awaited_here, not_settled, outcome_of
from quorumlog._core.engine.protocol cimport GroupStatus
from quorumlog._core.engine.receipt cimport RECEIPT_PENDING, Receipt
from quorumlog._core.runtime.apply cimport apply_notice
from quorumlog._core.runtime.intake cimport intake_notice_space, intake_space, intake_withdraw
from quorumlog._core.runtime.node cimport node_command, ticket_leave, ticket_new
from quorumlog._core.runtime.node_state cimport (
    COMMAND_EXPLAIN, COMMAND_GROUP_STATUS, COMMAND_NODE_STATUS, COMMAND_SNAPSHOT, GroupExplanation, NodeStatus)

from quorumlog import errors


@cython.final
cdef class AwaitedTicket(Awaited):
    cdef int happened(self) except -1:
        self.answered = True
        return 0

    def __dealloc__(self):
        if self.ticket != NULL:
            ticket_leave(self.ticket)


@cython.final
cdef class AwaitedMove(Awaited):
    cdef int happened(self) except -1:
        self.moved = True
        return 0


@cython.final
@cython.no_gc                          # nothing that it refers to refers to those who await it
cdef class Settling:
    """Awaits a submission for a limited time; what the node had not taken by then is withdrawn."""

    def __init__(self, GroupCore group not None, Submission submission not None, timeout):
        self.group = group
        self.submission = submission
        self.timeout = timeout

    def __await__(self):
        cdef Receipt* receipt = self.submission.holder.receipt
        cdef AwaitedReceipt awaited
        if load_u32(&receipt.state) == RECEIPT_PENDING:
            awaited = awaited_here(self.submission.holder)
            if awaited is not None:
                future = awaited.join(deadline_of(self.timeout))
                try:
                    yield future
                finally:
                    awaited.leave(future)
                if load_u32(&receipt.state) == RECEIPT_PENDING and not self.group.core.closed:
                    intake_withdraw(&self.group.hosted.intake, receipt, ERR_TIMEOUT)
                if load_u32(&receipt.state) == RECEIPT_PENDING:
                    raise not_settled(receipt, self.timeout)
        return outcome_of(self.submission)


@cython.final
cdef class Room:
    """Awaits that bytes in flight were given back, or that the group takes no more; True, or False when
    the time ran out.  The look that it compares with is taken when it is made."""

    def __init__(self, GroupCore group not None, timeout):
        group.check_open()
        self.group = group
        self.timeout = timeout
        self.seen = intake_space(&group.hosted.intake)

    def __await__(self):
        cdef AwaitedMove awaited = AwaitedMove.__new__(AwaitedMove)
        awaited.bell = bell_here()
        future = awaited.join(deadline_of(self.timeout))
        try:
            self.group.check_open()
            intake_notice_space(&self.group.hosted.intake, self.seen, awaited.leaving())
            yield future
        finally:
            awaited.leave(future)
        return awaited.moved


@cython.final
cdef class Applying:
    """Awaits that this node has applied `index`."""

    def __init__(self, GroupCore group not None, uint64_t index, timeout):
        self.group = group
        self.index = index
        self.timeout = timeout

    def __await__(self):
        cdef uint64_t deadline_ns = deadline_of(self.timeout)
        cdef AwaitedMove awaited
        while True:
            awaited = AwaitedMove.__new__(AwaitedMove)
            awaited.bell = bell_here()
            future = awaited.join(deadline_ns)
            try:
                self.group.check_open()
                if not apply_notice(&self.group.hosted.apply, self.index, awaited.leaving()):
                    awaited.not_left()
                    break
                yield future
            finally:
                awaited.leave(future)
            if not awaited.moved:
                self.group.check_open()
                applied = load_u64(&self.group.hosted.apply.applied)
                raise errors.ReadTimeout(
                    f"index {self.index} is not applied within {self.timeout} s; the newest is {applied}")
        if load_u64(&self.group.hosted.apply.applied) < self.index:      # open still: we came by `break`
            raise simple_error(<int>load_u32(&self.group.hosted.apply.stopped), "wait_applied")


@cython.final
cdef class Asking:
    """Awaits the reactor's answer to a command: a status as a dict, or a snapshot's index."""

    def __init__(self, NodeCore core not None, GroupCore group, int kind, timeout):
        self.core = core
        self.group = group
        self.kind = kind
        self.timeout = timeout

    def __await__(self):
        cdef AwaitedTicket awaited = AwaitedTicket.__new__(AwaitedTicket)
        awaited.bell = bell_here()
        future = awaited.join(deadline_of(self.timeout))
        try:
            self.hand_in(awaited)
            yield future
        finally:
            awaited.leave(future)
        if not awaited.answered:
            raise errors.ReadTimeout(f"the node did not answer within {self.timeout} s")
        if awaited.ticket.status != OK and self.kind == COMMAND_SNAPSHOT:
            raise self.group.snapshot_refused(awaited.ticket.status)
        if awaited.ticket.status != OK:
            raise simple_error(awaited.ticket.status, "the node's answer")
        return self.answer(awaited.ticket)

    cdef int hand_in(self, AwaitedTicket awaited) except -1:
        self.core.check_open()
        awaited.ticket = ticket_new(
            self.kind, self.group.hosted if self.group is not None else NULL,
            max(sizeof(GroupExplanation), sizeof(NodeStatus)))
        if awaited.ticket == NULL:
            raise MemoryError()
        awaited.ticket.notice = awaited.leaving()
        node_command(self.core.node, awaited.ticket)
        return 0

    cdef object answer(self, Ticket* ticket):
        if self.kind == COMMAND_SNAPSHOT:
            return (<uint64_t*>ticket.answer)[0]
        self.core.check_open()
        if self.kind == COMMAND_NODE_STATUS:
            return node_status_dict(<NodeStatus*>ticket.answer, self.core.boot, pinned_bytes())
        if self.kind == COMMAND_EXPLAIN:
            return explanation_dict(<GroupExplanation*>ticket.answer, self.group.applied)
        return group_status_dict(<GroupStatus*>ticket.answer, self.group.applied)


@cython.final
cdef class ReadAwaitable:
    """Awaits a read: the state machine's answers, given on the applier's thread, or a barrier's index."""

    def __await__(self):
        cdef Awaited awaited = Awaited.__new__(Awaited)
        cdef Reading reading
        awaited.bell = bell_here()
        future = awaited.join(deadline_of(self.timeout))
        try:
            if self.barrier:
                reading = start_barrier(self.group, self.consistency, awaited)
            else:
                reading = start_read(
                    self.group, self.questions, self.many, self.consistency, self.max_lag, awaited)
            yield future
        finally:
            awaited.leave(future)
        if not reading.ended():
            raise reading.not_ended(self.timeout)
        return reading.outcome()


def read(GroupCore group not None, question, int consistency, max_lag, timeout):
    cdef ReadAwaitable made = ReadAwaitable.__new__(ReadAwaitable)
    made.group, made.questions, made.timeout = group, question, timeout
    made.consistency, made.max_lag = consistency, max_lag
    return made


def read_many(GroupCore group not None, questions, int consistency, max_lag, timeout):
    cdef ReadAwaitable made = read(group, counted(questions), consistency, max_lag, timeout)
    made.many = True
    return made


def read_barrier(GroupCore group not None, int consistency, timeout):
    cdef ReadAwaitable made = read(group, None, consistency, None, timeout)
    made.barrier = True
    return made


def group_status(GroupCore group not None, timeout):
    return Asking(group.core, group, COMMAND_GROUP_STATUS, timeout)


def group_snapshot(GroupCore group not None, timeout):
    group.check_open()
    return Asking(group.core, group, COMMAND_SNAPSHOT, timeout)


def group_explain(GroupCore group not None, timeout):
    return Asking(group.core, group, COMMAND_EXPLAIN, timeout)


def node_status(NodeCore core not None, timeout):
    return Asking(core, None, COMMAND_NODE_STATUS, timeout)


def taken(payloads):
    """A batch's payloads in a form that can be handed in more than once."""
    return taken_apart(payloads)
