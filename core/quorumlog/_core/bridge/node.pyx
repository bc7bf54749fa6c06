"""See node.pxd.

Every call checks that the node is open and then holds the GIL for as long as it uses
the node's memory; where it lets go of it, it counts itself in `active`, so that close()
can wait for it, and runs no Python code meanwhile (a signal handler might close).
What runs Python code, like taking an iterable apart, comes before the check.
Receipts and tickets have memory of their own and are answered before the node goes.
"""

from quorumlog._core.base.atomics cimport load_u32, load_u64
from quorumlog._core.base.clock cimport monotonic_ns
from quorumlog._core.base.status cimport (
    ERR_AGAIN, ERR_SNAPSHOT, ERR_STOPPED, ERR_TIMEOUT, ERR_TOO_LARGE, ERR_USAGE, OK)
from quorumlog._core.base.types cimport NODES_MAX
from quorumlog._core.bridge.batch cimport pinned_bytes
from quorumlog._core.bridge.errors cimport error_of, know_names, simple_error
from quorumlog._core.bridge.loops cimport sweep_loops
from quorumlog._core.bridge.seal cimport seal_one, seal_payloads
from quorumlog._core.bridge.submission cimport (
    Submission, hold_receipt, not_settled, submission_of, timeout_to_ns, wait_settled)
from quorumlog._core.engine.protocol cimport GroupStatus
from quorumlog._core.engine.receipt cimport RECEIPT_PENDING, Receipt
from quorumlog._core.runtime.apply cimport apply_wait
from quorumlog._core.runtime.intake cimport (
    intake_space, intake_submit, intake_submit_batch, intake_wait_space, intake_withdraw)
from quorumlog._core.runtime.node cimport (
    node_command, node_free, node_open, node_port, node_stop, node_wake, ticket_leave, ticket_new, ticket_wait)
from quorumlog._core.runtime.node_state cimport (
    COMMAND_EXPLAIN, COMMAND_GROUP_STATUS, COMMAND_NODE_STATUS, COMMAND_READMIT, COMMAND_SNAPSHOT, GroupExplanation,
    NodeOptions, NodeStatus, Readmission, Ticket)
from quorumlog._core.runtime.scrubber cimport scrubber_wanted
from quorumlog._core.storage.batch cimport Batch, batch_drop, pool_close
from quorumlog._core.storage.wal cimport wal_body_bytes_max

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset, strncpy

import os
import threading
import weakref

from quorumlog import errors

cdef enum:
    SIGNAL_SLICE_NS = 50000000

cdef object live_nodes = weakref.WeakSet()


def _after_fork() -> None:
    for core in list(live_nodes):
        (<NodeCore>core).forked = True


os.register_at_fork(after_in_child=_after_fork)


cdef class Deadline:
    """Time left of a waiting call, in slices short enough for Ctrl-C."""

    def __cinit__(self, timeout):
        self.timeout = timeout
        cdef long long timeout_ns = timeout_to_ns(timeout)
        self.endless = timeout_ns < 0
        self.at_ns = 0 if self.endless else monotonic_ns() + <uint64_t>timeout_ns

    cdef int64_t left_ns(self):
        """At most 50 ms; 0 when the time is up."""
        cdef uint64_t now_ns
        if self.endless:
            return SIGNAL_SLICE_NS
        now_ns = monotonic_ns()
        if now_ns >= self.at_ns:
            return 0
        return <int64_t>min(self.at_ns - now_ns, <uint64_t>SIGNAL_SLICE_NS)

    cdef int64_t all_left_ns(self):
        cdef uint64_t now_ns
        if self.endless:
            return -1
        now_ns = monotonic_ns()
        return <int64_t>(self.at_ns - now_ns) if now_ns < self.at_ns else 0


cdef class NodeCore:
    def __cinit__(self):
        self.node = NULL
        self.closed = True
        self.groups = []
        self.applier_ended = threading.Event()
        self.snapshots_ended = threading.Event()
        self.applier_lock = threading.Lock()
        self.closing_lock = threading.RLock()

    @staticmethod
    def open(dict o):
        """Opens a node; `o` holds what runtime/node_state.NodeOptions names (see quorumlog.node)."""
        cdef NodeOptions options
        cdef NodeCore core = NodeCore.__new__(NodeCore)
        cdef char detail[512]
        cdef int status
        memset(&options, 0, sizeof(NodeOptions))
        fill_text(options.path, sizeof(options.path), o["path"])
        fill_text(options.listen_host, 64, o["listen_host"])
        options.listen_port = o["listen_port"]
        if len(o["peers"]) > NODES_MAX:
            raise errors.UsageError(f"{len(o['peers'])} peers; the most is {NODES_MAX}")
        for number, host, port in o["peers"]:
            options.peers[options.peer_count] = number
            fill_text(options.peer_names[options.peer_count], 64, o["names"][number])
            fill_text(options.peer_hosts[options.peer_count], 64, host)
            options.peer_ports[options.peer_count] = port
            options.peer_count += 1
        options.segment_bytes = o["segment_bytes"]
        options.spare_segments = o["spare_segments"]
        options.sync_group_bytes_max = o["sync_group_bytes"]
        options.direct = o["direct"]
        options.scrub_bytes_per_s = o["scrub_bytes_per_s"]
        options.writer = o["writer"]
        options.memory_bytes = o["memory_bytes"]
        options.send_queue_bytes_max = o["send_queue_bytes"]
        options.seed = o["seed"]
        options.pinned_bytes = pinned_bytes
        with nogil:
            status = node_open(&options, &core.node, detail, sizeof(detail))
        if status != OK:
            said = detail.decode(errors="replace")
            error = simple_error(status, f"open {o['path']}" + (f" ({said})" if said else ""))
            if isinstance(error, errors.Corrupt):
                error.detail = said
            raise error
        know_names(o["names"])
        core.closed = False
        live_nodes.add(core)
        return core

    cdef int check_open(self) except -1:
        if self.forked:
            raise errors.UsageError("this process was forked after the node was opened; open a node of its own here")
        if self.closed:
            raise errors.Closed("the node was closed")
        return 0

    @property
    def port(self):
        self.check_open()
        return node_port(self.node)

    @property
    def boot(self):
        self.check_open()
        return self.node.report.boot

    def recovery(self):
        """What opening found: a dict of numbers, and the first damage in words."""
        self.check_open()
        report = self.node.report
        return {
            "boot": report.boot, "flushed": report.flushed, "wsn_last": report.wsn_last,
            "records": report.records, "bytes_read": report.bytes_read,
            "corrupt_records": report.corrupt_records, "unproved_records": report.unproved_records,
            "detail": report.detail.decode(errors="replace"),
        }

    def close(self):
        """Stops the threads, lets waiting calls out, frees the memory.  Idempotent; waits for a close
        that is under way, goes on with one that Ctrl-C interrupted, and when called by a state machine
        (or by a collector that runs on its thread) leaves the waiting to a thread of its own."""
        self.closed = True
        if self.forked or self.node == NULL:
            return
        if threading.current_thread() in (self.applier_thread, self.snapshot_thread):
            threading.Thread(target=self.finish_closing, name=f"quorumlog-close-{self.name}").start()
        else:
            self.finish_closing()

    def finish_closing(self):
        """Everything in it may be done twice: a signal handler may close between any two steps."""
        cdef Node* node
        with self.closing_lock:
            node = self.node
            if node == NULL:
                return
            with nogil:
                node_stop(node)
            if self.applier_thread is not None:
                self.applier_ended.wait()
            if self.snapshot_jobs is not None:
                self.snapshot_jobs.put(None)
                self.snapshots_ended.wait()
            while self.active and self.node != NULL:
                wait_a_little()          # their receipts and tickets have been answered
            if self.node == NULL:
                return
            for item in self.groups:
                (<GroupCore>item).detach()
            self.node = NULL
            with nogil:
                node_free(node)
            sweep_loops()                # of loops that were closed before we were

    def __dealloc__(self):
        # A node that was never closed: quorumlog.Node warns; the memory stays with its threads.
        pass

    def status(self, double timeout=5.0):
        cdef Ticket* ticket = self.ask(COMMAND_NODE_STATUS, NULL, sizeof(NodeStatus), Deadline(timeout))
        cdef NodeStatus* s = <NodeStatus*>ticket.answer
        try:
            self.check_open()
            return node_status_dict(s, self.node.report.boot, pinned_bytes())
        finally:
            ticket_leave(ticket)

    def scrub(self):
        """A new pass of the scrub, from now on."""
        self.check_open()
        scrubber_wanted(&self.node.scrubber)

    def readmit(self, uint64_t node, uint64_t incarnation, double timeout=5.0):
        """Believes another incarnation of a peer; durable when this returns."""
        cdef Ticket* ticket
        cdef Readmission* readmission
        self.check_open()
        ticket = ticket_new(COMMAND_READMIT, NULL, sizeof(Readmission))
        if ticket == NULL:
            raise MemoryError()
        readmission = <Readmission*>ticket.answer
        readmission.node, readmission.incarnation = node, incarnation
        ticket_leave(self.answered(ticket, Deadline(timeout)))

    cdef Ticket* ask(self, int kind, void* subject, size_t answer_bytes, Deadline deadline) except NULL:
        """A ticket that was answered, to be left by the caller; raises when it was not, or badly.  The
        node may have been closed meanwhile."""
        self.check_open()
        cdef Ticket* ticket = ticket_new(kind, subject, answer_bytes)
        if ticket == NULL:
            raise MemoryError()
        return self.answered(ticket, deadline)

    cdef int wait_answered(self, Ticket* ticket, Deadline deadline) except -1:
        """Hands a ticket in and waits; the caller leaves it in any case."""
        cdef int64_t left_ns
        cdef int status
        node_command(self.node, ticket)
        while True:
            left_ns = deadline.left_ns()
            with nogil:
                status = ticket_wait(ticket, left_ns)
            if status == OK:
                return 0
            PyErr_CheckSignals()
            if left_ns == 0:
                raise errors.ReadTimeout(f"the node did not answer within {deadline.timeout} s")

    cdef Ticket* answered(self, Ticket* ticket, Deadline deadline) except NULL:
        cdef int status
        try:
            self.wait_answered(ticket, deadline)
        except BaseException:
            ticket_leave(ticket)
            raise
        if ticket.status != OK:
            status = ticket.status
            ticket_leave(ticket)
            raise simple_error(status, "the node's answer")
        return ticket


cdef int fill_text(char* target, size_t room, object text) except -1:
    cdef bytes data = os.fsencode(text)
    if len(data) >= room:
        raise errors.UsageError(f"{text!r} is longer than {room - 1} bytes")
    if b"\0" in data:
        raise errors.UsageError(f"{text!r} holds a zero byte")
    strncpy(target, data, room)
    return 0


cdef int wait_a_little() except -1:
    threading.Event().wait(0.001)
    return 0


cdef class GroupCore:
    def __init__(self):
        raise TypeError("a group is opened by its node")

    cdef int detach(self) except -1:
        """The node is about to free what we point at."""
        self.hosted = NULL
        self.newest = None
        if self.pool != NULL:
            pool_close(self.pool)
            self.pool = NULL
        return 0

    cdef int check_open(self) except -1:
        self.core.check_open()
        if self.stopped_error is not None:
            raise errors.ReplicaStopped(*self.stopped_error)
        return 0

    cdef object refused(self, int status, str what):
        return error_of(status, what, True, 0, self.hosted.intake.limit_bytes)

    cdef Submission submit_bytes(self, object payload):
        """NULL-free fast path of submit: one lock, one copy, one small object."""
        cdef ReceiptHolder holder = self.newest
        cdef ReceiptHolder _before
        cdef Receipt* known = holder.receipt if holder is not None else NULL
        cdef Receipt* receipt = NULL
        cdef uint32_t position = 0
        cdef int status
        status = intake_submit(&self.hosted.intake, PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload),
                               known, &receipt, &position)
        if status == ERR_TOO_LARGE:
            return self.submit_batch(
                seal_one(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), self.pool), False)
        if status != OK:
            raise self.refused(status, "submit")
        if receipt != known:
            # The one before goes last of all: with it may go results, whose end may run any Python code.
            _before = holder
            holder = hold_receipt(receipt)
            self.newest = holder
        node_wake(self.core.node)
        return submission_of(holder, position, False)

    cdef Submission submit_batch(self, Batch* batch, bint whole):
        cdef ReceiptHolder _before = self.newest      # see submit_bytes
        cdef Receipt* receipt = NULL
        cdef uint32_t most
        cdef int status
        try:
            self.check_open()            # its checksum may have been computed without the GIL
        except BaseException:
            batch_drop(batch)
            raise
        most = wal_body_bytes_max(self.core.node.wal)
        if batch.body_bytes > most:
            size = batch.body_bytes
            batch_drop(batch)
            raise errors.UsageError(
                f"a batch of {size} bytes; with this node's segment_bytes the most is {most}: split it")
        status = intake_submit_batch(&self.hosted.intake, batch, &receipt)
        if status != OK:
            batch_drop(batch)
            raise self.refused(status, "submit")
        self.newest = None
        node_wake(self.core.node)
        return submission_of(hold_receipt(receipt), 0, whole)

    def submit(self, payload, /):
        if not PyBytes_CheckExact(payload):
            payload = to_bytes(payload)
        self.check_open()
        return self.submit_bytes(payload)

    def submit_many(self, payloads, /):
        payloads = taken_apart(payloads)
        self.check_open()
        return self.submit_batch(seal_payloads(payloads, self.pool), True)

    def propose(self, payload, timeout):
        return self.wait_for(payload, False, timeout)

    def propose_many(self, payloads, timeout):
        return self.wait_for(payloads, True, timeout)

    cdef object wait_for(self, object payload, bint many, object timeout):
        """Submits, waiting for room, and waits for the outcome; what was never taken fails as definite."""
        cdef Deadline deadline = Deadline(timeout)
        cdef Submission submission = self.submit_patiently(payload, many, deadline)
        cdef Receipt* receipt = submission.holder.receipt
        if not wait_settled(submission.holder, deadline.all_left_ns()):
            if not self.core.closed:
                intake_withdraw(&self.hosted.intake, receipt, ERR_TIMEOUT)
            if load_u32(&receipt.state) == RECEIPT_PENDING:
                raise not_settled(receipt, timeout)
        return submission.result(0)

    cdef Submission submit_patiently(self, object payload, bint many, Deadline deadline):
        cdef uint32_t seen
        cdef int64_t left_ns
        if many:
            payload = taken_apart(payload)           # once: an iterator can't be read again
        elif not PyBytes_CheckExact(payload):
            payload = to_bytes(payload)
        while True:
            self.check_open()
            seen = intake_space(&self.hosted.intake)
            try:
                return self.submit_many(payload) if many else self.submit_bytes(payload)
            except errors.Overloaded:
                left_ns = deadline.left_ns()
                if left_ns == 0:
                    raise
            self.check_open()
            self.core.active += 1
            with nogil:
                intake_wait_space(&self.hosted.intake, seen, left_ns)
            self.core.active -= 1
            PyErr_CheckSignals()

    def wait_applied(self, uint64_t index, timeout):
        """Waits until this node's state machine has applied `index`."""
        cdef Deadline deadline = Deadline(timeout)
        cdef int64_t left_ns
        cdef int status
        while True:
            self.check_open()
            left_ns = deadline.left_ns()
            self.core.active += 1
            with nogil:
                status = apply_wait(&self.hosted.apply, index, left_ns)
            self.core.active -= 1
            if status == OK:
                return
            if status == ERR_STOPPED:
                self.check_open()
                raise simple_error(status, "wait_applied")
            applied = load_u64(&self.hosted.apply.applied)
            if left_ns == 0:
                raise errors.ReadTimeout(
                    f"index {index} is not applied within {timeout} s; the newest is {applied}")
            PyErr_CheckSignals()

    cdef object snapshot_refused(self, int status):
        """Why there is no snapshot."""
        name = self.hosted.name.decode() if self.hosted != NULL else ""
        if status == ERR_USAGE:
            return errors.UsageError(f"the state machine of group {name!r} defines no snapshot and restore")
        if status == ERR_AGAIN:
            return errors.Overloaded(f"group {name!r}: its state is being restored from a snapshot just now")
        if status == ERR_STOPPED and self.stopped_error is not None:
            return errors.ReplicaStopped(*self.stopped_error)
        error = simple_error(status, "snapshot")
        if status == ERR_SNAPSHOT:
            error.__cause__ = self.snapshot_error
        return error

    def snapshot(self, timeout):
        """Waits for a durable snapshot of what is applied here; its index."""
        cdef Deadline deadline = Deadline(timeout)
        cdef Ticket* ticket
        self.check_open()
        ticket = ticket_new(COMMAND_SNAPSHOT, self.hosted, sizeof(uint64_t))
        if ticket == NULL:
            raise MemoryError()
        try:
            self.core.wait_answered(ticket, deadline)
            if ticket.status != OK:
                raise self.snapshot_refused(ticket.status)
            return (<uint64_t*>ticket.answer)[0]
        finally:
            ticket_leave(ticket)

    @property
    def applied(self):
        self.core.check_open()
        return load_u64(&self.hosted.apply.applied)

    @property
    def session(self):
        self.core.check_open()
        return self.hosted.proposals.session

    @property
    def outstanding_bytes(self):
        self.core.check_open()
        return load_u64(&self.hosted.intake.outstanding_bytes)

    @property
    def in_flight_bytes_max(self):
        self.core.check_open()
        return self.hosted.intake.limit_bytes

    def status(self, timeout):
        cdef Deadline deadline = Deadline(timeout)
        self.core.check_open()
        cdef Ticket* ticket = self.core.ask(COMMAND_GROUP_STATUS, self.hosted, sizeof(GroupStatus), deadline)
        cdef GroupStatus* s = <GroupStatus*>ticket.answer
        try:
            self.core.check_open()
            return group_status_dict(s, self.applied)
        finally:
            ticket_leave(ticket)

    def explain(self, timeout):
        cdef Deadline deadline = Deadline(timeout)
        self.core.check_open()
        cdef Ticket* ticket = self.core.ask(COMMAND_EXPLAIN, self.hosted, sizeof(GroupExplanation), deadline)
        try:
            self.core.check_open()
            return explanation_dict(<GroupExplanation*>ticket.answer, self.applied)
        finally:
            ticket_leave(ticket)


cdef dict node_status_dict(const NodeStatus* s, uint64_t boot, uint64_t pinned):
    return {
        "wal": {
            "syncs": s.wal.syncs, "bytes_written": s.wal.bytes_written, "appended": s.wal.appended,
            "flushed": s.wal.flushed, "pending_bytes": s.wal.pending_bytes,
            "segments": s.wal.segments, "spare_segments": s.wal.spare_segments,
        },
        "transport": {
            "sent_bytes": s.transport.sent_bytes, "received_bytes": s.transport.received_bytes,
            "sent_frames": s.transport.sent_frames, "received_frames": s.transport.received_frames,
            "refused_openings": s.transport.refused_openings,
            "refused_frames": s.transport.refused_frames,
            "dropped_messages": s.transport.dropped_messages + s.dropped_messages,
            "connections": s.transport.connections,
        },
        "writer": s.writer_kind, "failed": s.failure != OK, "boot": boot,
        "turns": s.turns, "wakes": s.wakes, "held_messages": s.held_messages,
        "used_bytes": s.used_bytes, "pinned_bytes": pinned,
        "scrubbed_bytes": s.scrubbed_bytes, "scrub_passes": s.scrub_passes, "scrub_faults": s.scrub_faults,
        "faults_found": s.faults_found, "faults_repaired": s.faults_repaired,
    }


cdef dict group_status_dict(const GroupStatus* s, uint64_t applied):
    cdef uint64_t now_ns = monotonic_ns()    # one clock for all processes of the machine
    cdef uint32_t i
    return {
        "role": s.role, "term": s.term, "leader": s.leader, "vote": s.vote, "first": s.first,
        "last": s.last, "flushed": s.flushed, "commit": s.commit,
        "applied": applied, "unproved_last": s.unproved_last,
        "faulty": s.faulty, "faults_found": s.faults_found, "faults_repaired": s.faults_repaired,
        "listening": bool(s.listening),
        "lease_left": (s.lease_until_ns - now_ns) / 1e9 if s.lease_until_ns > now_ns else 0.0,
        "lag": (max(now_ns, s.as_of_ns) - s.as_of_ns) / 1e9 if s.as_of_ns else None,
        "snapshot_index": s.snapshot_index, "snapshot_log_bytes": s.snapshot_log_bytes,
        "snapshot_needed": s.snapshot_needed, "snapshots_installed": s.snapshots_installed,
        "elections": s.elections, "leader_changes": s.leader_changes,
        "priority": s.priority, "transfer": s.transfer, "transfers": s.transfers,
        "transfers_failed": s.transfers_failed, "disk_stalls": s.disk_stalls,
        "peers": [
            {"node": s.peers[i].node, "state": s.peers[i].state, "match": s.peers[i].match,
             "next": s.peers[i].next, "window_bytes": s.peers[i].window_bytes,
             "in_flight_bytes": s.peers[i].in_flight_bytes, "snapshot_bytes": s.peers[i].snapshot_bytes,
             "snapshot_acked_bytes": s.peers[i].snapshot_acked_bytes}
            for i in range(s.peer_count)
        ],
    }


cdef dict explanation_dict(const GroupExplanation* e, uint64_t applied):
    cdef uint32_t i
    return {
        "status": group_status_dict(&e.status, applied),
        "findings": [
            {"kind": e.findings[i].kind, "blocks": bool(e.findings[i].blocks), "node": e.findings[i].node,
             "index": e.findings[i].index, "number": e.findings[i].number, "since_ns": e.findings[i].since_ns}
            for i in range(e.count)
        ],
    }


cdef object taken_apart(object payloads):
    cdef object kind = type(payloads)
    if kind is list or kind is bytes:
        return payloads
    if isinstance(payloads, (bytes, bytearray, memoryview, str)):
        raise errors.UsageError("submit_many takes a list of bytes, or (buffer, offsets)")
    if isinstance(payloads, tuple) and len(payloads) == 2:
        if not (isinstance(payloads[0], bytes) and isinstance(payloads[1], bytes)):
            return (memoryview(payloads[0]), memoryview(payloads[1]))
    try:
        entries = iter(payloads)
    except TypeError:
        raise errors.UsageError(
            f"submit_many takes a list of bytes, or (buffer, offsets), not {kind.__name__}") from None
    return list(entries)


cdef bytes to_bytes(object payload):
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    raise errors.UsageError(f"a command is bytes, not {type(payload).__name__}")
