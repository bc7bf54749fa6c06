"""See snapshots.pxd.

`machine.snapshot()` runs on the applier's thread and is to be quick; what it returns is
gone through by the snapshot thread, piece by piece, while applying goes on.  A restore
is gone through by the same thread, while the group applies nothing and answers nothing.
"""

cimport cython

from quorumlog._core.base.atomics cimport exchange_u32, load_u64
from quorumlog._core.base.status cimport ERR_NOT_FOUND, ERR_SNAPSHOT, ERR_STOPPED, OK
from quorumlog._core.base.types cimport SnapshotId, index_t
from quorumlog._core.bridge.errors cimport simple_error
from quorumlog._core.runtime.apply cimport NOT_THERE_YET, apply_stop
from quorumlog._core.runtime.apply_snapshot cimport apply_meta, apply_restored, apply_resume
from quorumlog._core.runtime.dispatch cimport wake_applier
from quorumlog._core.runtime.node cimport node_command, node_wake, ticket_leave, ticket_new
from quorumlog._core.runtime.node_state cimport COMMAND_SNAPSHOT_MADE, SnapshotMade, Ticket
from quorumlog._core.runtime.snapshots cimport snapshots_number
from quorumlog._core.storage.files cimport system_files
from quorumlog._core.storage.snapshot cimport (
    SNAPSHOT_CHUNK_BYTES, SnapshotMeta, SnapshotReader, SnapshotWriter, snapshot_abandon, snapshot_add,
    snapshot_begin, snapshot_close, snapshot_finish, snapshot_meta, snapshot_next, snapshot_open)
from quorumlog._core.storage.snapshot_files cimport snapshots_drop_older

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

import logging
import queue
import threading

from quorumlog import errors

cdef object logger = logging.getLogger("quorumlog")


cdef class SnapshotSource:
    """The bytes of a snapshot, from the beginning, in pieces of at most 1 MiB; each is verified before it is given
    out.  To be gone through once."""

    cdef SnapshotReader reader
    cdef NodeCore core

    def __cinit__(self):
        memset(&self.reader, 0, sizeof(SnapshotReader))
        self.reader.fd = -1

    def __dealloc__(self):
        snapshot_close(&self.reader)

    @property
    def index(self):
        """Of the last entry that the state holds."""
        return self.reader.header.index

    @property
    def size_bytes(self):
        """Of the whole state."""
        return self.reader.header.state_bytes

    def __iter__(self):
        return self

    def __next__(self):
        cdef const uint8_t* data = NULL
        cdef uint32_t size = 0
        cdef int status
        if self.core.closed:
            raise errors.Closed("the node was closed while a state machine was being restored")
        if self.reader.fd < 0:
            raise StopIteration
        with nogil:
            status = snapshot_next(&self.reader, &data, &size)
        if status == ERR_NOT_FOUND:
            raise StopIteration
        if status != OK:
            raise simple_error(status, f"read {self.reader.path.decode()}")
        return PyBytes_FromStringAndSize(<const char*>data, size)

    cdef int opened(self, NodeCore core, uint64_t group, index_t index) except -1:
        cdef int status
        self.core = core
        status = snapshot_open(&self.reader, system_files(), core.node.path, group, index)
        if status != OK:
            raise simple_error(status, f"open the snapshot at index {index}")
        return 0


# Making one -----------------------------------------------------------------------------------------------

@cython.final
cdef class Writing:
    """A view that the state machine gave out, and what is written beside it."""

    cdef GroupCore group
    cdef object view
    cdef SnapshotMeta meta
    cdef uint8_t* records
    cdef SnapshotWriter writer
    cdef bint begun

    def __dealloc__(self):
        if self.begun:
            snapshot_abandon(&self.writer)
        free(self.records)

    cdef int add(self, object piece) except -1:
        cdef Py_buffer buffer
        cdef int status
        PyObject_GetBuffer(piece, &buffer, PyBUF_SIMPLE)
        try:
            with nogil:
                status = snapshot_add(&self.writer, buffer.buf, <uint64_t>buffer.len)
        finally:
            PyBuffer_Release(&buffer)
        if status != OK:
            raise simple_error(status, "write a snapshot")
        return 0

    cdef int write(self, SnapshotId* id) except -1:
        cdef NodeCore core = self.group.core
        cdef int status
        self.meta.id.writer = core.node.identity.node
        self.meta.id.number = snapshots_number(&core.node.snapshots)
        status = snapshot_begin(&self.writer, system_files(), core.node.path, &self.meta, SNAPSHOT_CHUNK_BYTES)
        if status != OK:
            raise simple_error(status, "begin a snapshot")
        self.begun = True
        for piece in self.view:
            if core.closed:
                raise errors.Closed("the node was closed while a snapshot was being written")
            self.add(piece)
        if core.closed:
            raise errors.Closed("the node was closed while a snapshot was being written")
        self.begun = False
        with nogil:
            status = snapshot_finish(&self.writer, id)
        if status != OK:
            raise simple_error(status, "make a snapshot durable")
        snapshots_drop_older(system_files(), core.node.path, self.meta.group, id.index)
        return 0

    def __call__(self):
        cdef SnapshotId id
        cdef int status = OK
        memset(&id, 0, sizeof(SnapshotId))
        try:
            self.write(&id)
        except BaseException as error:
            status = ERR_SNAPSHOT
            failed(self.group, error)
        finally:
            self.view = None
        report(self.group, &id, status)


cdef int failed(GroupCore group, object error) except -1:
    group.snapshot_error = error
    if group.core.closed:
        return 0
    try:
        logger.error("group %r: no snapshot could be made", group.hosted.name.decode(), exc_info=error)
    except BaseException:
        pass                             # a handler of the user's, or the exception's own text
    return 0


cdef int report(GroupCore group, const SnapshotId* id, int status) except -1:
    """To the reactor, which compacts and answers those who wait.  Whatever happens, it must hear of it."""
    cdef Ticket* ticket
    cdef SnapshotMade* made
    if group.core.closed:
        return 0
    ticket = ticket_new(COMMAND_SNAPSHOT_MADE, group.hosted, sizeof(SnapshotMade))
    if ticket == NULL:
        raise MemoryError()
    made = <SnapshotMade*>ticket.answer
    made.id = id[0]
    made.status = status
    node_command(group.core.node, ticket)
    ticket_leave(ticket)
    return 0


cdef int begin_writing(GroupCore group, Apply* apply) except -1:
    cdef Writing writing = Writing.__new__(Writing)
    cdef SnapshotId none
    memset(&none, 0, sizeof(SnapshotId))
    writing.group = group
    if apply_meta(apply, &writing.meta, &writing.records) != OK:
        failed(group, MemoryError("no memory for the session table of a snapshot"))
        report(group, &none, ERR_SNAPSHOT)
        return 0
    try:
        writing.view = iter(group.machine.snapshot())
    except BaseException as error:
        failed(group, error)
        report(group, &none, ERR_SNAPSHOT)
        return 0
    hand_over(group.core, writing)
    return 0


# Restoring ------------------------------------------------------------------------------------------------

cdef bint machine_has(GroupCore group, index_t index) except -1:
    """A durable state machine that is further already."""
    return group.hosted.apply.machine_applied >= index


@cython.final
cdef class Restoring:
    cdef GroupCore group
    cdef index_t index

    def __call__(self):
        cdef GroupCore group = self.group
        cdef Apply* apply = &group.hosted.apply
        cdef SnapshotSource source = SnapshotSource.__new__(SnapshotSource)
        cdef SnapshotMeta meta
        cdef int status
        try:
            source.opened(group.core, group.hosted.group, self.index)
            if not machine_has(group, self.index):
                group.machine.restore(source)
            snapshot_meta(&source.reader, &meta)
            status = apply_resume(apply, &meta)
            if status != OK:
                raise simple_error(status, "take over a snapshot's sessions")
        except BaseException as error:
            if not group.core.closed:
                stop_by_restore(group, self.index, error)
            return
        apply_restored(apply, self.index)
        group.restoring = False
        wake_applier(group.core.node)
        node_wake(group.core.node)       # it settles what was overtaken


cdef int stop_by_restore(GroupCore group, index_t index, object error) except -1:
    text = (f"the state machine of group {group.hosted.name.decode()!r} could not be restored from the snapshot at "
            f"index {index} ({type(error).__name__}); this replica applies nothing more")
    group.stopped_error = (text, index)
    apply_stop(&group.hosted.apply, ERR_STOPPED)
    node_wake(group.core.node)
    try:
        logger.error("%s", text, exc_info=error)
    except BaseException:
        pass
    return 0


cdef bint snapshot_turn(GroupCore group, Apply* apply) except -1:
    cdef uint64_t index = load_u64(&apply.restore)
    cdef Restoring restoring
    if index != 0:
        if index != NOT_THERE_YET and not group.restoring:
            restoring = Restoring.__new__(Restoring)
            restoring.group = group
            restoring.index = index
            group.restoring = True
            hand_over(group.core, restoring)
        return False
    if exchange_u32(&apply.snapshot_asked, 0):
        begin_writing(group, apply)
    return True


cdef int restore_at_opening(NodeCore core, GroupCore group) except -1:
    cdef SnapshotSource source
    cdef index_t index = group.hosted.snapshot.index
    if index == 0 or machine_has(group, index):
        return 0
    source = SnapshotSource.__new__(SnapshotSource)
    source.opened(core, group.hosted.group, index)
    group.machine.restore(source)
    return 0


# The thread -----------------------------------------------------------------------------------------------

cdef int hand_over(NodeCore core, object job) except -1:
    """Started with the first job."""
    if core.snapshot_jobs is None:
        core.snapshot_jobs = queue.SimpleQueue()
        core.snapshot_thread = threading.Thread(
            target=run_snapshots, args=(core,), name=f"quorumlog-snapshots-{core.name}", daemon=True)
        core.snapshot_thread.start()
    core.snapshot_jobs.put(job)
    return 0


def run_snapshots(NodeCore core):
    """Body of the thread; ends with the node."""
    try:
        while True:
            job = core.snapshot_jobs.get()
            if core.closed or job is None:
                return
            try:
                job()
            except BaseException:
                logger.exception("a snapshot failed")
            job = None
    finally:
        core.snapshots_ended.set()       # from here on the node's memory may go
