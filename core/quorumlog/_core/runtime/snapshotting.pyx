"""See snapshotting.pxd."""

from quorumlog._core.base.atomics cimport load_u32, load_u64, store_u32
from quorumlog._core.base.status cimport ERR_AGAIN, ERR_MEMORY, ERR_STOPPED, ERR_USAGE, OK
from quorumlog._core.base.types cimport SnapshotId, index_t
from quorumlog._core.engine.protocol cimport (
    EVENT_SNAPSHOT_MADE, EVENT_SNAPSHOT_READ, EVENT_SNAPSHOT_STORED, Event)
from quorumlog._core.runtime.apply cimport NOT_THERE_YET, apply_stop
from quorumlog._core.runtime.apply_snapshot cimport apply_meta, apply_restored, apply_resume
from quorumlog._core.runtime.dispatch cimport group_step, node_group, ticket_done, wake_applier
from quorumlog._core.runtime.node_state cimport APPLIER_NONE
from quorumlog._core.runtime.snapshots cimport (
    JOB_LOAD, JOB_MAKE, JOB_READ, SnapshotJob, job_free, job_new, snapshots_answers, snapshots_ask,
    snapshots_number)

from libc.stdint cimport uint64_t
from libc.string cimport memset


cdef void ask_load(Node* node, HostedGroup* hosted) noexcept nogil:
    """Without a state machine there is no state to be restored, but the sessions are."""
    cdef uint64_t index = load_u64(&hosted.apply.restore)
    cdef SnapshotJob* job
    if hosted.applier != APPLIER_NONE or hosted.loading or index == 0 or index == NOT_THERE_YET:
        return
    job = job_new(JOB_LOAD, hosted.group, &hosted.snapshot)
    if job != NULL:                    # without memory: tried again with the next step
        hosted.loading = True
        snapshots_ask(&node.snapshots, job)


cdef void tell_lost(Node* node, HostedGroup* hosted) noexcept nogil:
    """A piece that there was no memory for: what comes in begins again."""
    cdef SnapshotId id = hosted.piece_lost
    cdef Event event
    hosted.piece_lost.index = 0
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_SNAPSHOT_STORED
    event.snapshot = &id
    event.status = ERR_MEMORY
    group_step(node, hosted, &event)


cdef void snapshotting_group(Node* node, HostedGroup* hosted) noexcept nogil:
    if hosted.piece_lost.index != 0:
        tell_lost(node, hosted)
    if hosted.applier == APPLIER_NONE and load_u64(&hosted.apply.restore):
        ask_load(node, hosted)
    if hosted.snapshot_due:
        begin(node, hosted)


# Making one -----------------------------------------------------------------------------------------------

cdef void begin(Node* node, HostedGroup* hosted) noexcept nogil:
    cdef index_t applied = load_u64(&hosted.apply.applied)
    if hosted.making or not hosted.snapshots or applied == 0 or load_u64(&hosted.apply.restore) \
            or load_u32(&hosted.apply.stopped) or load_u32(&node.failure):
        return
    if applied == hosted.snapshot.index and hosted.snapshot_tickets == NULL:
        return                         # it is the same; another one when more is applied
    hosted.making = True
    if hosted.applier == APPLIER_NONE:
        make_here(node, hosted)
    else:
        store_u32(&hosted.apply.snapshot_asked, 1)
        wake_applier(node)


cdef void make_here(Node* node, HostedGroup* hosted) noexcept nogil:
    cdef SnapshotJob* job = job_new(JOB_MAKE, hosted.group, &hosted.snapshot)
    if job == NULL or apply_meta(&hosted.apply, &job.meta, &job.records) != OK:
        if job != NULL:
            job_free(job)
        hosted.making = False          # it stays due
        return
    job.meta.id.writer = node.identity.node
    job.meta.id.number = snapshots_number(&node.snapshots)
    snapshots_ask(&node.snapshots, job)


cdef void snapshotting_asked(Node* node, HostedGroup* hosted, Ticket* ticket) noexcept nogil:
    cdef int status = OK
    if not hosted.snapshots:
        status = ERR_USAGE
    elif load_u32(&hosted.apply.stopped):
        status = ERR_STOPPED
    elif load_u64(&hosted.apply.restore):
        status = ERR_AGAIN
    if status != OK:
        ticket_done(ticket, status)
        return
    (<index_t*>ticket.answer)[0] = hosted.snapshot.index
    if load_u64(&hosted.apply.applied) == hosted.snapshot.index:
        ticket_done(ticket, OK)        # there is one of just this, or nothing at all yet
        return
    ticket.next = hosted.snapshot_tickets
    hosted.snapshot_tickets = ticket
    begin(node, hosted)


cdef void answer(HostedGroup* hosted, int status) noexcept nogil:
    cdef Ticket* ticket = hosted.snapshot_tickets
    cdef Ticket* following
    hosted.snapshot_tickets = NULL
    while ticket != NULL:
        following = ticket.next
        (<index_t*>ticket.answer)[0] = hosted.snapshot.index
        ticket_done(ticket, status)
        ticket = following


cdef void snapshotting_made(Node* node, HostedGroup* hosted, const SnapshotMade* made) noexcept nogil:
    cdef Event event
    hosted.making = False
    if made.status == OK and made.id.index >= hosted.snapshot.index:
        hosted.snapshot = made.id
    if load_u32(&node.failure) == 0:
        memset(&event, 0, sizeof(Event))
        event.kind = EVENT_SNAPSHOT_MADE
        event.snapshot = &made.id
        event.status = made.status
        group_step(node, hosted, &event)
    answer(hosted, made.status)


cdef void snapshotting_fail(HostedGroup* hosted, int status) noexcept nogil:
    answer(hosted, status)


# What the thread has done ---------------------------------------------------------------------------------

cdef void loaded(Node* node, HostedGroup* hosted, SnapshotJob* job) noexcept nogil:
    hosted.loading = False
    if job.status == ERR_MEMORY:
        ask_load(node, hosted)
        return
    if job.id.index == load_u64(&hosted.apply.restore):
        if job.status == OK:
            job.status = apply_resume(&hosted.apply, &job.meta)
        if job.status != OK:
            apply_stop(&hosted.apply, job.status)
            return
        apply_restored(&hosted.apply, job.id.index)
    ask_load(node, hosted)             # a newer one may have come


cdef void tell_piece(Node* node, HostedGroup* hosted, SnapshotJob* job) noexcept nogil:
    cdef Event event
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_SNAPSHOT_READ if job.kind == JOB_READ else EVENT_SNAPSHOT_STORED
    event.peer = job.peer
    event.snapshot = &job.id
    event.status = job.status
    event.offset = job.offset
    if job.kind == JOB_READ:
        event.batch = job.batch if job.status == OK else NULL
    else:
        event.offset += job.batch.body_bytes
        event.whole = job.last
    group_step(node, hosted, &event)


cdef void take_answer(Node* node, HostedGroup* hosted, SnapshotJob* job) noexcept nogil:
    cdef SnapshotMade made
    if job.kind == JOB_MAKE:
        made.id = job.id
        made.status = job.status
        snapshotting_made(node, hosted, &made)
    elif job.kind == JOB_LOAD:
        loaded(node, hosted, job)
    elif load_u32(&node.failure) == 0:
        tell_piece(node, hosted, job)


cdef bint snapshotting_turn(Node* node) noexcept nogil:
    cdef SnapshotJob* job = snapshots_answers(&node.snapshots)
    cdef SnapshotJob* following
    cdef HostedGroup* hosted
    cdef bint any_done = job != NULL
    while job != NULL:
        following = job.next
        hosted = node_group(node, job.group)
        if hosted != NULL:
            take_answer(node, hosted, job)
        job_free(job)
        job = following
    return any_done
