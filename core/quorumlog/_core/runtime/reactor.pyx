"""See reactor.pxd.

A turn: completed writes, commands, proposals, timers, new plans, frames out, then
sockets in.  It blocks only when a turn found nothing to do, after announcing it in
`sleeping` and looking once more (the other half is in reactor_wake).
"""

from quorumlog._core.base.atomics cimport (
    exchange_ptr, exchange_u32, fence, load_ptr, load_u32, load_u64, store_u32)
from quorumlog._core.base.clock cimport monotonic_ns
from quorumlog._core.base.status cimport (
    ERR_AGAIN, ERR_IO, ERR_MEMORY, ERR_NO_SPACE, ERR_USAGE, OK)
from quorumlog._core.base.types cimport GROUPS_MAX
from quorumlog._core.engine.log cimport log_limit, log_pin, log_relieve
from quorumlog._core.engine.protocol cimport (
    EVENT_MESSAGE, EVENT_REACHABLE, EVENT_READ, EVENT_UNREACHABLE, READ_BY_ROUND, Event, GroupStatus)
from quorumlog._core.runtime.apply cimport RECENT_BYTES_MAX, apply_nothing
from quorumlog._core.runtime.leader_call cimport (
    MESSAGE_CALL, MESSAGE_CALL_REPLY, call_answered, call_ask, call_asked, call_deadline,
    call_fail, call_time)
from quorumlog._core.runtime.dispatch cimport (
    group_fetch, group_step, group_time, node_flushed, node_group, ticket_done)
from quorumlog._core.runtime.explaining cimport group_explain
from quorumlog._core.runtime.node_state cimport (
    APPLIER_NONE, COMMAND_ADD_GROUP, COMMAND_EXPLAIN, COMMAND_GROUP_STATUS, COMMAND_NODE_STATUS, COMMAND_READMIT,
    COMMAND_SNAPSHOT, COMMAND_SNAPSHOT_MADE, COMMAND_SURVEY_GROUP, COMMAND_SURVEY_NODE, COMMAND_TRANSFER,
    LOG_CACHE_BYTES, GroupExplanation, HostedGroup, NodeStatus, Readmission, SnapshotMade, Ticket)
from quorumlog._core.runtime.node cimport node_readmit
from quorumlog._core.runtime.repair cimport repair_group, repair_scrubbed, repair_waits
from quorumlog._core.runtime.scrubber cimport scrubber_waits
from quorumlog._core.runtime.proposals cimport (
    MESSAGE_FORWARD, MESSAGE_FORWARD_REFUSED, proposals_deadline, proposals_fail, proposals_forwarded,
    proposals_refused, proposals_rewind, proposals_turn, proposals_waiting)
from quorumlog._core.runtime.reads cimport (
    Read, reads_asked, reads_deadline, reads_fail, reads_next)
from quorumlog._core.runtime.snapshots cimport snapshots_answered
from quorumlog._core.runtime.snapshotting cimport (
    snapshotting_asked, snapshotting_fail, snapshotting_group, snapshotting_made, snapshotting_turn)
from quorumlog._core.runtime.survey cimport GroupSurvey, NodeSurvey, survey_group, survey_node
from quorumlog._core.runtime.threads cimport thread_join, thread_short_slice, thread_start
from quorumlog._core.runtime.transport cimport (
    Source, transport_flush, transport_status, transport_time)
from quorumlog._core.runtime.writer cimport (
    writer_completed, writer_kind, writer_prepare, writer_submit)
from quorumlog._core.storage.wal cimport (
    WritePlan, wal_body_bytes_max, wal_complete, wal_open_group, wal_plan, wal_ready,
    wal_status)

from libc.errno cimport ENOSPC
from libc.stdint cimport int64_t, uint16_t
from libc.string cimport memset

cdef extern from *:
    """
    #ifndef QUORUMLOG_REACTOR
    #define QUORUMLOG_REACTOR
    #include <errno.h>
    #include <stdint.h>
    #include <time.h>
    #include <unistd.h>
    #include <sys/epoll.h>
    #include <sys/syscall.h>
    /* Waits at most timeout_ns (< 0: for ever); nanoseconds where the kernel has epoll_pwait2 (5.11). */
    static int ql_epoll_wait(int fd, struct epoll_event *events, int count, int64_t timeout_ns) {
    #ifdef SYS_epoll_pwait2
        struct timespec t, *tp = NULL;
        if (timeout_ns >= 0) { t.tv_sec = timeout_ns / 1000000000; t.tv_nsec = timeout_ns % 1000000000; tp = &t; }
        int got = (int)syscall(SYS_epoll_pwait2, fd, events, count, tp, NULL, 0);
        if (got >= 0 || errno != ENOSYS) return got;
    #endif
        return epoll_wait(fd, events, count, timeout_ns < 0 ? -1 : (int)((timeout_ns + 999999) / 1000000));
    }
    #endif
    """
    cdef struct epoll_event:
        uint32_t events
        void* ptr "data.ptr"
    int epoll_wait_ns "ql_epoll_wait"(int fd, epoll_event* events, int count, int64_t timeout_ns) noexcept nogil

cdef extern from "<unistd.h>" nogil:
    ssize_t write(int fd, const void* data, size_t size)

cdef enum:
    EVENTS_MAX = 64
    APPLY_BATCHES_A_TURN = 512
    DRAIN_POLL_NS = 1000000
    SPARE_POLL_NS = 1000000        # how often to look for a segment while none is ready
    MARK_DELAY_NS = 10000000       # an idle writer says what is flushed after so long


cdef void ring_bell(Node* node) noexcept nogil:
    cdef uint64_t one = 1
    cdef ssize_t _written = write(node.event_fd, &one, 8)      # fails only when it is readable anyway


cdef void reactor_wake(Node* node) noexcept nogil:
    fence()
    if load_u32(&node.sleeping) and exchange_u32(&node.sleeping, 0):
        ring_bell(node)


cdef void reactor_fail(Node* node, int status) noexcept nogil:
    cdef uint32_t i
    if load_u32(&node.failure):
        return
    store_u32(&node.failure, <uint32_t>status)
    for i in range(node.group_count):
        proposals_fail(node.groups[i], status)
        snapshotting_fail(node.groups[i], status)
        call_fail(node.groups[i], status)
    refuse_reads(node)


cdef bint batches_fit(Node* node, const Message* message) noexcept nogil:
    """A peer with larger segments may send what ours can't hold: it stays behind, nothing breaks."""
    cdef uint16_t i
    for i in range(message.batch_count):
        if message.batches[i].body_bytes > wal_body_bytes_max(node.wal):
            return False
    return True


cdef void reactor_on_message(void* context, const Message* message, uint64_t now_ns) noexcept nogil:
    cdef Node* node = <Node*>context
    cdef HostedGroup* hosted = node_group(node, message.group)
    cdef Event event
    if load_u32(&node.failure):
        return
    if hosted == NULL or hosted.protocol.number != message.protocol or not batches_fit(node, message):
        node.dropped_messages += 1
        return
    if message.kind == MESSAGE_FORWARD:
        proposals_forwarded(node, hosted, message)
    elif message.kind == MESSAGE_FORWARD_REFUSED:
        proposals_refused(node, hosted, message)
    elif message.kind == MESSAGE_CALL:
        call_asked(node, hosted, message)
    elif message.kind == MESSAGE_CALL_REPLY:
        call_answered(hosted, message)
    elif message.kind < 100:
        if message.batch_count == 0:
            # Later than its arrival, however long this thread stood still: a promise made now is counted from
            # when the question left (protocols/raft_lease), and a lease must still last when it is used.
            node.now_ns = monotonic_ns()
        memset(&event, 0, sizeof(Event))
        event.kind = EVENT_MESSAGE
        event.message = message
        event.peer = message.sender
        group_step(node, hosted, &event)
    else:
        node.dropped_messages += 1


cdef void reactor_on_reachable(void* context, node_t peer, bint reachable, uint64_t now_ns) noexcept nogil:
    cdef Node* node = <Node*>context
    cdef Event event
    cdef uint32_t i
    if load_u32(&node.failure):
        return
    memset(&event, 0, sizeof(Event))
    event.kind = EVENT_REACHABLE if reachable else EVENT_UNREACHABLE
    event.peer = peer
    for i in range(node.group_count):
        if node.groups[i].status.leader == peer:
            proposals_rewind(node.groups[i])
        group_step(node, node.groups[i], &event)


cdef void start_reads(Node* node, HostedGroup* hosted) noexcept nogil:
    """All of a kind that were asked since the last turn, as one."""
    cdef Read* read
    cdef Event event
    while True:
        read = reads_next(&hosted.reads, hosted.status.leader != 0, node.now_ns)
        if read == NULL:
            return
        if read.wanted.kind != READ_BY_ROUND:
            node.now_ns = monotonic_ns()     # later than the calls, however long this thread stood still
        memset(&event, 0, sizeof(Event))
        event.kind = EVENT_READ
        event.read = <uint64_t>read
        event.read_kind = read.wanted.kind
        group_step(node, hosted, &event)


cdef void refuse_reads(Node* node) noexcept nogil:
    """On a node that failed no protocol steps any more."""
    cdef uint32_t i
    for i in range(node.group_count):
        reads_fail(&node.groups[i].reads, <int>load_u32(&node.failure))


cdef void share_caches(Node* node) noexcept nogil:
    """Batches kept to save reading them back lie in the pool that everything new is made of: of it the
    logs have a quarter and the appliers, however far they are behind, an eighth."""
    cdef uint64_t each = node.pool.limit_bytes // 4 // max(node.group_count, 1)
    cdef uint32_t i
    for i in range(node.group_count):
        log_limit(&node.groups[i].log, min(each, <uint64_t>LOG_CACHE_BYTES))
        node.groups[i].apply.recent_limit_bytes = min(each // 2, <uint64_t>RECENT_BYTES_MAX)


cdef void relieve_pool(Node* node) noexcept nogil:
    """Close to the pool's limit the caches give way altogether."""
    cdef uint32_t i
    if load_u64(&node.pool.used_bytes) > node.pool.limit_bytes // 4 * 3:
        for i in range(node.group_count):
            log_relieve(&node.groups[i].log)


cdef int add_group(Node* node, HostedGroup* hosted) noexcept nogil:
    cdef uint64_t wsn = 0
    cdef int status
    if node.group_count == GROUPS_MAX or node_group(node, hosted.group) != NULL:
        return ERR_USAGE
    status = wal_open_group(node.wal, hosted.group, hosted.name, hosted.protocol.mode, &wsn)
    if status != OK:
        return status
    node.groups[node.group_count] = hosted
    node.group_count += 1
    share_caches(node)
    log_pin(&hosted.log, hosted.commit + 1)
    hosted.protocol.status(hosted.state, &hosted.status)
    group_time(node, hosted)
    return OK


cdef void reactor_status(Node* node, NodeStatus* status) noexcept nogil:
    cdef GroupStatus group
    cdef uint32_t i
    wal_status(node.wal, &status.wal)
    transport_status(node.transport, &status.transport)
    status.writer_kind = writer_kind(node.writer)
    status.failure = <int>load_u32(&node.failure)
    status.boot = node.report.boot
    status.turns = node.turns
    status.wakes = node.wakes
    status.held_messages = node.held_count
    status.dropped_messages = node.dropped_messages
    status.used_bytes = load_u64(&node.pool.used_bytes)
    status.scrubbed_bytes = load_u64(&node.scrubber.scrubbed_bytes)
    status.scrub_passes = load_u64(&node.scrubber.passes)
    status.scrub_faults = node.scrub_faults
    for i in range(node.group_count):
        node.groups[i].protocol.status(node.groups[i].state, &group)
        status.faults_found += group.faults_found
        status.faults_repaired += group.faults_repaired


cdef void carry_out(Node* node, Ticket* ticket) noexcept nogil:
    cdef HostedGroup* hosted = <HostedGroup*>ticket.subject
    cdef int status = OK
    if ticket.kind == COMMAND_NODE_STATUS:
        reactor_status(node, <NodeStatus*>ticket.answer)
    elif ticket.kind == COMMAND_GROUP_STATUS:
        hosted.protocol.status(hosted.state, <GroupStatus*>ticket.answer)
    elif ticket.kind == COMMAND_EXPLAIN:
        group_explain(node, hosted, <GroupExplanation*>ticket.answer)
    elif ticket.kind == COMMAND_SURVEY_NODE:
        survey_node(node, <NodeSurvey*>ticket.answer)
    elif ticket.kind == COMMAND_SURVEY_GROUP:
        status = survey_group(node, <GroupSurvey*>ticket.answer)
    elif load_u32(&node.failure):
        status = <int>load_u32(&node.failure)
    elif ticket.kind == COMMAND_ADD_GROUP:
        status = add_group(node, hosted)
    elif ticket.kind == COMMAND_READMIT:
        status = node_readmit(node, <const Readmission*>ticket.answer)
    elif ticket.kind == COMMAND_SNAPSHOT:
        snapshotting_asked(node, hosted, ticket)
        return                       # it is answered when there is one
    elif ticket.kind == COMMAND_SNAPSHOT_MADE:
        snapshotting_made(node, hosted, <const SnapshotMade*>ticket.answer)
    elif ticket.kind == COMMAND_TRANSFER:
        call_ask(node, hosted, ticket)
        return                       # which answers it, now or later
    else:
        status = ERR_USAGE
    ticket_done(ticket, status)


cdef void run_commands(Node* node) noexcept nogil:
    """All of the stack, oldest first."""
    cdef Ticket* ticket = <Ticket*>exchange_ptr(&node.commands, NULL)
    cdef Ticket* oldest = NULL
    cdef Ticket* following
    while ticket != NULL:
        following = ticket.next
        ticket.next = oldest
        oldest = ticket
        ticket = following
    while oldest != NULL:
        following = oldest.next      # the ticket is the caller's again once it is done
        carry_out(node, oldest)
        oldest = following


cdef bint collect_writes(Node* node) noexcept nogil:
    cdef uint64_t number = 0
    cdef int error = 0
    cdef bint any_done = False
    while writer_completed(node.writer, &number, &error):
        any_done = True
        node.writes_in_flight -= 1
        if wal_complete(node.wal, number, error) != OK:
            reactor_fail(node, ERR_NO_SPACE if error == ENOSPC else ERR_IO)
    if any_done:
        node.disk_since_ns = node.now_ns if node.writes_in_flight else 0
    if any_done and not load_u32(&node.failure):
        node.mark_ns = node.now_ns + MARK_DELAY_NS
        node_flushed(node)
    return any_done


cdef void plan_writes(Node* node) noexcept nogil:
    cdef WritePlan plan
    cdef bint mark = node.mark_ns != 0 and node.now_ns >= node.mark_ns
    cdef int status
    node.starved_ns = 0
    while True:
        if not wal_ready(node.wal):
            # Filling a file here would stall heartbeats: the preparing thread does it, we look again.
            writer_prepare(node.writer)
            node.starved_ns = node.now_ns + SPARE_POLL_NS
            if node.starved_since_ns == 0:
                node.starved_since_ns = node.now_ns
            break
        node.starved_since_ns = 0
        status = wal_plan(node.wal, &plan, mark)
        if status == ERR_AGAIN:
            break
        if status != OK:
            reactor_fail(node, status)
            return
        if node.writes_in_flight == 0:
            node.disk_since_ns = node.now_ns
        node.writes_in_flight += 1
        writer_submit(node.writer, &plan)
    if mark:
        node.mark_ns = 0


cdef bint run_groups(Node* node) noexcept nogil:
    """Timers, reads, proposals, cold reads, and groups without a state machine; True if one has more to do."""
    cdef HostedGroup* hosted
    cdef bint more = False
    cdef uint32_t i
    cdef int status
    if scrubber_waits(&node.scrubber):
        repair_scrubbed(node)
    for i in range(node.group_count):
        hosted = node.groups[i]
        if hosted.deadline_ns and node.now_ns >= hosted.deadline_ns:
            group_time(node, hosted)
        call_time(node, hosted)
        start_reads(node, hosted)
        proposals_turn(node, hosted)
        if hosted.fetch_count:
            group_fetch(node, hosted)
            more = True
        if hosted.snapshot_due or hosted.piece_lost.index or load_u64(&hosted.apply.restore):
            snapshotting_group(node, hosted)
        if load_u64(&hosted.apply.faulty):
            more = repair_group(node, hosted) or more
        if hosted.applier == APPLIER_NONE:
            status = apply_nothing(&hosted.apply, APPLY_BATCHES_A_TURN)
            if status == OK:
                more = True
            elif status != ERR_AGAIN:
                reactor_fail(node, status)
                return False         # it has answered all reads: no protocol may step any more
    return more


cdef uint64_t next_deadline(Node* node) noexcept nogil:
    cdef uint64_t nearest = transport_time(node.transport, node.now_ns)
    cdef uint64_t one
    cdef uint32_t i
    if load_u32(&node.failure):
        return nearest               # no timer of a group is served any more
    for i in range(node.group_count):
        one = node.groups[i].deadline_ns
        if one and (nearest == 0 or one < nearest):
            nearest = one
        one = proposals_deadline(node.groups[i])
        if one and (nearest == 0 or one < nearest):
            nearest = one
        one = reads_deadline(&node.groups[i].reads)
        if one and (nearest == 0 or one < nearest):
            nearest = one
        one = call_deadline(node.groups[i])
        if one and (nearest == 0 or one < nearest):
            nearest = one
    if node.mark_ns and (nearest == 0 or node.mark_ns < nearest):
        nearest = node.mark_ns
    if node.starved_ns and (nearest == 0 or node.starved_ns < nearest):
        nearest = node.starved_ns
    return nearest


cdef bint anything_new(Node* node) noexcept nogil:
    cdef uint32_t i
    if load_ptr(&node.commands) != NULL or load_u32(&node.stopping) or scrubber_waits(&node.scrubber) \
            or snapshots_answered(&node.snapshots):
        return True
    for i in range(node.group_count):
        if proposals_waiting(node.groups[i]) or reads_asked(&node.groups[i].reads) \
                or repair_waits(node.groups[i]):
            return True
    return False


cdef void wait_for_events(Node* node, bint busy) noexcept nogil:
    cdef epoll_event events[EVENTS_MAX]
    cdef Source* source
    cdef uint64_t deadline = next_deadline(node)
    cdef int64_t timeout_ns = -1
    cdef int count
    cdef int i
    if busy:
        timeout_ns = 0
    elif deadline:
        timeout_ns = <int64_t>(deadline - node.now_ns) if deadline > node.now_ns else 0
    if timeout_ns != 0:
        store_u32(&node.sleeping, 1)
        fence()
        if anything_new(node) or collect_writes(node):
            timeout_ns = 0
    count = epoll_wait_ns(node.epoll_fd, events, EVENTS_MAX, timeout_ns)
    store_u32(&node.sleeping, 0)
    node.now_ns = monotonic_ns()
    for i in range(count):
        source = <Source*>events[i].ptr
        source.ready(source.self, events[i].events, node.now_ns)


cdef void drain_writes(Node* node) noexcept nogil:
    """Nothing may be under way when the log is closed."""
    cdef epoll_event event
    while node.writes_in_flight:
        if not collect_writes(node):
            epoll_wait_ns(node.epoll_fd, &event, 1, DRAIN_POLL_NS)


cdef void* reactor_body(void* context) noexcept nogil:
    cdef Node* node = <Node*>context
    cdef bint busy
    thread_short_slice()
    node.now_ns = monotonic_ns()
    while not load_u32(&node.stopping):
        node.turns += 1
        busy = collect_writes(node)
        busy = snapshotting_turn(node) or busy
        run_commands(node)
        if load_u32(&node.failure):
            refuse_reads(node)
        else:
            relieve_pool(node)
            busy = run_groups(node) or busy
        if not load_u32(&node.failure):
            # Peers first: a commit waits for the way there and back and their disk, the own disk is nearer.
            transport_flush(node.transport, node.now_ns)
            plan_writes(node)
        wait_for_events(node, busy)
    drain_writes(node)
    return NULL


cdef int reactor_start(Node* node) noexcept nogil:
    if thread_start(&node.thread, b"ql-reactor", reactor_body, node) != 0:
        return ERR_MEMORY
    node.started = True
    return OK


cdef void reactor_stop(Node* node) noexcept nogil:
    if node.started:
        store_u32(&node.stopping, 1)
        ring_bell(node)
        thread_join(node.thread)
        node.started = False
