"""A node and its groups in Python's hands."""

from quorumlog._core.bridge.submission cimport ReceiptHolder, Submission
from quorumlog._core.engine.protocol cimport GroupStatus
from quorumlog._core.runtime.node_state cimport GroupExplanation, HostedGroup, Node, NodeStatus, Ticket
from quorumlog._core.storage.batch cimport Batch, BatchPool

from libc.stdint cimport int64_t, uint64_t


cdef class Deadline:
    cdef object timeout                # as the caller said it
    cdef uint64_t at_ns
    cdef bint endless

    cdef int64_t left_ns(self)
    cdef int64_t all_left_ns(self)


cdef class NodeCore:
    cdef Node* node
    cdef object __weakref__
    cdef public str name
    cdef readonly bint closed
    cdef bint forked                   # we are the child of a fork: nothing of it works here
    cdef int active                    # calls that use the node's memory without the GIL at this moment
    cdef list groups
    cdef object applier_thread
    cdef object applier_ended          # Event; not Thread.join, which after a Ctrl-C takes a live thread for dead
    cdef object applier_lock           # one applier, whoever opens the first group that needs it
    cdef object snapshot_thread
    cdef object snapshot_jobs          # SimpleQueue of the snapshot thread; None: none was started
    cdef object snapshots_ended        # Event
    cdef object closing_lock           # reentrant: a signal handler may close in the middle of close

    cdef int check_open(self) except -1
    cdef int wait_answered(self, Ticket* ticket, Deadline deadline) except -1
    cdef Ticket* answered(self, Ticket* ticket, Deadline deadline) except NULL
    cdef Ticket* ask(self, int kind, void* subject, size_t answer_bytes, Deadline deadline) except NULL


cdef class GroupCore:
    cdef NodeCore core
    cdef HostedGroup* hosted
    cdef BatchPool* pool               # of callers' batches; the GIL is its lock
    cdef ReceiptHolder newest          # of the open buffer that submits go to
    cdef readonly object machine
    cdef public bint leases            # reads by lease are on
    cdef bint warned                   # of views that hold too much
    cdef public object stopped_error   # (message, index) once `apply` has raised
    cdef public object snapshot_error  # what the last snapshot that failed raised
    cdef bint restoring                # the snapshot thread has the state machine

    cdef int detach(self) except -1
    cdef int check_open(self) except -1
    cdef object refused(self, int status, str what)
    cdef Submission submit_bytes(self, object payload)
    cdef Submission submit_batch(self, Batch* batch, bint whole)
    cdef object snapshot_refused(self, int status)
    cdef object wait_for(self, object payload, bint many, object timeout)
    cdef Submission submit_patiently(self, object payload, bint many, Deadline deadline)


# What `status` and `explain` answer.
cdef dict node_status_dict(const NodeStatus* s, uint64_t boot, uint64_t pinned)
cdef dict group_status_dict(const GroupStatus* s, uint64_t applied)
cdef dict explanation_dict(const GroupExplanation* e, uint64_t applied)
# What seal_payloads takes without running Python code; can be taken apart again.
cdef object taken_apart(object payloads)
