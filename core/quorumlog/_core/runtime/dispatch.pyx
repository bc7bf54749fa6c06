"""See dispatch.pxd."""

from quorumlog._core.base.atomics cimport add_u32, exchange_u32, fence, futex_wake, load_u32
from quorumlog._core.base.bell cimport notice_ring
from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.clock cimport wall_ns
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_IO, OK
from quorumlog._core.base.types cimport NODES_MAX, index_t, node_t, wsn_t
from quorumlog._core.engine.log cimport log_batch, log_pin
from quorumlog._core.engine.message cimport message_drop_batches
from quorumlog._core.engine.outbox cimport Fetch, Outbox, outbox_clear
from quorumlog._core.engine.protocol cimport EVENT_FETCHED, EVENT_FLUSHED, EVENT_PROPOSE, EVENT_TIME
from quorumlog._core.runtime.apply cimport apply_commit, apply_offer
from quorumlog._core.runtime.node_state cimport APPLIER_PYTHON, TICKET_ABANDONED, TICKET_DONE, Ticket
from quorumlog._core.runtime.reads cimport reads_answered
from quorumlog._core.runtime.snapshot_jobs cimport jobs_hand_over, jobs_install
from quorumlog._core.runtime.transport cimport transport_send
from quorumlog._core.storage.batch cimport batch_drop, batch_last
from quorumlog._core.storage.wal cimport wal_append, wal_flushed, wal_next, wal_read, wal_repair

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

cdef enum:
    FETCH_BATCHES_MAX = 64


cdef HostedGroup* node_group(Node* node, uint64_t group) noexcept nogil:
    cdef uint32_t i
    for i in range(node.group_count):
        if node.groups[i].group == group:
            return node.groups[i]
    return NULL


cdef void ticket_done(void* ticket, int status) noexcept nogil:
    cdef Ticket* t = <Ticket*>ticket
    t.status = status
    if t.notice != NULL:
        notice_ring(t.notice)        # first: from the exchange on it may be gone
    if exchange_u32(&t.state, TICKET_DONE) == TICKET_ABANDONED:
        free(t)
    else:
        futex_wake(&t.state, 1)      # by address alone: the caller may have freed it already


cdef int node_send(Node* node, Message* message) noexcept nogil:
    message.sender = node.identity.node
    return transport_send(node.transport, message)


cdef void hold(Node* node, const Message* message) noexcept nogil:
    """Keeps a message until its WSN is flushed; without room it is lost, as on any network."""
    cdef Message* held
    check(node.held_count <= node.held_capacity, b"Q-DISP-01 held messages stay within their room")
    if node.held_count == node.held_capacity:
        node.dropped_messages += 1
        message_drop_batches(<Message*>message)
        return
    held = &node.held[node.held_count]
    memcpy(held, message, sizeof(Message))
    if message.batch_count:
        held.batches = <Batch**>malloc(message.batch_count * sizeof(Batch*))
        if held.batches == NULL:
            message_drop_batches(<Message*>message)
            return
        memcpy(held.batches, message.batches, message.batch_count * sizeof(Batch*))
    else:
        held.batches = NULL
    node.held_count += 1


cdef void release_held(Node* node) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t left = 0
    cdef Batch** batches
    for i in range(node.held_count):
        if node.held[i].after_io <= node.flushed:
            batches = node.held[i].batches
            node_send(node, &node.held[i])
            free(batches)
        else:
            if left != i:
                memcpy(&node.held[left], &node.held[i], sizeof(Message))
            left += 1
    node.held_count = left


cdef void append_writes(Node* node, Outbox* out, wsn_t wsn_next) noexcept nogil:
    cdef uint32_t i
    cdef wsn_t wsn
    for i in range(out.write_count):
        wsn = wal_repair(node.wal, out.writes[i]) if i + 1 == out.repair else wal_append(node.wal, out.writes[i])
        check2(wsn == wsn_next + i, b"Q-DISP-02 a step's writes get the WSNs it was told", wsn, wsn_next + i)
        batch_drop(out.writes[i])


cdef void send_messages(Node* node, Outbox* out) noexcept nogil:
    """The one place where promise-after-persist is enforced (DESIGN 4.3)."""
    cdef uint32_t i
    for i in range(out.message_count):
        check2(out.messages[i].after_io < wal_next(node.wal), b"Q-DISP-03 a message waits for a WSN that exists",
               out.messages[i].after_io, wal_next(node.wal))
        if out.messages[i].after_io <= node.flushed:
            node_send(node, &out.messages[i])
        else:
            hold(node, &out.messages[i])


cdef void wake_applier(Node* node) noexcept nogil:
    add_u32(&node.apply_signal, 1)
    fence()
    if load_u32(&node.apply_waiting):
        futex_wake(&node.apply_signal, 1)


cdef void publish_commit(Node* node, HostedGroup* hosted, index_t commit) noexcept nogil:
    cdef index_t index = hosted.commit + 1
    cdef Batch* batch
    while index <= commit:
        batch = log_batch(&hosted.log, index)
        if batch == NULL:
            break                    # not in memory: the applying thread reads it from the log
        apply_offer(&hosted.apply, batch)
        index = batch_last(batch) + 1
    hosted.commit = commit
    log_pin(&hosted.log, commit + 1)
    apply_commit(&hosted.apply, commit)
    if hosted.applier == APPLIER_PYTHON:
        wake_applier(node)


cdef void note_refusals(HostedGroup* hosted, Outbox* out) noexcept nogil:
    cdef uint32_t i
    for i in range(out.refusal_count):
        hosted.refusal = out.refusals[i].status
        batch_drop(out.refusals[i].batch)


cdef void answer_reads(Node* node, HostedGroup* hosted, Outbox* out) noexcept nogil:
    cdef uint32_t i
    cdef bint to_applying = False
    for i in range(out.read_count):
        to_applying |= reads_answered(&hosted.reads, &out.reads[i], node.now_ns)
    if to_applying:
        wake_applier(node)


cdef void note_fetches(HostedGroup* hosted, Outbox* out) noexcept nogil:
    """One of each kind per peer: a later one takes the place of one that waits."""
    cdef uint32_t i, place
    for i in range(out.fetch_count):
        place = 0
        while place < hosted.fetch_count and (hosted.fetches[place].peer != out.fetches[i].peer
                                              or hosted.fetches[place].repair != out.fetches[i].repair):
            place += 1
        check(place < 2 * NODES_MAX, b"Q-DISP-04 a bounded number of fetches per peer")
        hosted.fetches[place] = out.fetches[i]
        hosted.fetch_count = max(hosted.fetch_count, place + 1)


cdef int read_cold(Node* node, HostedGroup* hosted, index_t index, Batch** batch) noexcept nogil:
    """What the disk refuses twice is as lost as what it garbles."""
    cdef int status = wal_read(node.wal, hosted.group, index, node.pool, batch)
    if status == ERR_IO:
        status = wal_read(node.wal, hosted.group, index, node.pool, batch)
        if status == ERR_IO:
            return ERR_CORRUPT
    return status


cdef void group_step(Node* node, HostedGroup* hosted, Event* event) noexcept nogil:
    cdef Outbox* out = node.outbox
    event.now_ns = node.now_ns
    event.wall_ns = wall_ns()
    event.wsn_next = wal_next(node.wal)
    hosted.protocol.step(hosted.state, event, out)
    jobs_install(hosted, out)
    append_writes(node, out, event.wsn_next)
    send_messages(node, out)
    note_refusals(hosted, out)
    if out.leader_changed:
        hosted.fetch_count = 0       # asked for in a leadership that is over
    answer_reads(node, hosted, out)
    note_fetches(hosted, out)
    hosted.deadline_ns = out.deadline_ns
    hosted.faulty_first = out.faulty_first
    hosted.snapshot_due = out.snapshot_due
    if out.piece_read_count or out.piece_store.batch != NULL:
        jobs_hand_over(node, hosted, out)
    hosted.answer = out.answer
    if out.commit > hosted.commit:
        publish_commit(node, hosted, out.commit)
    if out.leader_changed:
        hosted.protocol.status(hosted.state, &hosted.status)
        hosted.proposals.routed = hosted.proposals.first      # a new leader may have none of ours
    outbox_clear(out)


cdef void group_time(Node* node, HostedGroup* hosted) noexcept nogil:
    cdef Event event
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_TIME
    group_step(node, hosted, &event)


cdef int group_propose(Node* node, HostedGroup* hosted, Batch* batch, node_t proposer) noexcept nogil:
    cdef Event event
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_PROPOSE
    event.batch = batch
    event.peer = proposer
    hosted.refusal = OK
    group_step(node, hosted, &event)
    return hosted.refusal


cdef void group_fetch(Node* node, HostedGroup* hosted) noexcept nogil:
    cdef Batch* batches[FETCH_BATCHES_MAX]
    cdef Fetch fetch
    cdef Event event
    cdef Batch* batch
    cdef uint32_t i
    cdef uint32_t count = 0
    cdef uint64_t total = 0
    cdef index_t index
    cdef int status = OK
    if hosted.fetch_count == 0:
        return
    fetch = hosted.fetches[0]
    hosted.fetch_count -= 1
    for i in range(hosted.fetch_count):
        hosted.fetches[i] = hosted.fetches[i + 1]
    index = fetch.first
    while count < FETCH_BATCHES_MAX and total < fetch.bytes_max:
        status = read_cold(node, hosted, index, &batch)
        if status != OK:
            break
        batches[count] = batch
        count += 1
        total += batch.body_bytes
        index = batch_last(batch) + 1
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_FETCHED
    event.peer = fetch.peer
    event.first = fetch.first
    event.repair = fetch.repair
    event.batches = batches
    event.batch_count = count
    event.status = OK if count else status
    group_step(node, hosted, &event)
    for i in range(count):
        batch_drop(batches[i])


cdef void node_flushed(Node* node) noexcept nogil:
    cdef wsn_t flushed = wal_flushed(node.wal)
    cdef Event event
    cdef uint32_t i
    check2(flushed >= node.flushed, b"Q-DISP-05 flushed never moves back", flushed, node.flushed)
    if flushed == node.flushed:
        return
    node.flushed = flushed
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_FLUSHED
    event.wsn = flushed
    for i in range(node.group_count):
        group_step(node, node.groups[i], &event)
    release_held(node)
