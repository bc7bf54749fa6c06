"""See node.pxd."""

from quorumlog._core.base.atomics cimport (
    cas_ptr, cas_u32, exchange_ptr, futex_wait, load_ptr, load_u32, store_u32, store_u64)
from quorumlog._core.base.status cimport (
    ERR_AGAIN, ERR_CORRUPT, ERR_IO, ERR_MEMORY, ERR_STOPPED, ERR_TIMEOUT, OK)
from quorumlog._core.base.types cimport NODES_MAX, node_t
from quorumlog._core.engine.log cimport LogRun, log_close, log_open, log_restore
from quorumlog._core.engine.message cimport Message, message_drop_batches
from quorumlog._core.engine.outbox cimport outbox_close, outbox_open
from quorumlog._core.runtime.apply cimport apply_close, apply_open, apply_stop
from quorumlog._core.runtime.control cimport control_start, control_stop
from quorumlog._core.runtime.leader_call cimport call_fail
from quorumlog._core.runtime.dispatch cimport ticket_done
from quorumlog._core.runtime.group_snapshot cimport group_take_snapshot
from quorumlog._core.runtime.intake cimport intake_close, intake_open
from quorumlog._core.runtime.node_state cimport LOG_CACHE_BYTES, TICKET_ABANDONED, TICKET_WAITING
from quorumlog._core.runtime.proposals cimport proposals_close, proposals_fail, proposals_open
from quorumlog._core.runtime.reactor cimport (
    reactor_on_message, reactor_on_reachable, reactor_start, reactor_stop, reactor_wake)
from quorumlog._core.runtime.reads cimport reads_close, reads_fail
from quorumlog._core.runtime.scrubber cimport scrubber_start, scrubber_stop
from quorumlog._core.runtime.snapshots cimport snapshots_start, snapshots_stop
from quorumlog._core.runtime.snapshotting cimport snapshotting_fail
from quorumlog._core.runtime.transport cimport (
    Source, TransportOptions, transport_add_peer, transport_close, transport_open, transport_port)
from quorumlog._core.runtime.writer cimport writer_close, writer_event_fd, writer_noticed, writer_open
from quorumlog._core.storage.batch cimport pool_close, pool_open
from quorumlog._core.storage.files cimport Files, system_files
from quorumlog._core.storage.identity cimport (
    KnownPeers, identity_lock, identity_read, made_to_rejoin, peers_read, peers_readmit, peers_write)
from quorumlog._core.storage.wal cimport (
    RecoveredGroup, WalOptions, wal_close, wal_flushed, wal_open)

from libc.errno cimport ETIMEDOUT
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset, strncpy

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    ssize_t read(int fd, void* data, size_t size)

cdef extern from "<sys/epoll.h>" nogil:
    int epoll_create1(int flags)
    cdef enum:
        EPOLL_CLOEXEC
        EPOLL_CTL_ADD
        EPOLLIN
    cdef struct epoll_event:
        uint32_t events
        void* ptr "data.ptr"
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int initial, int flags)
    cdef enum:
        EFD_CLOEXEC
        EFD_NONBLOCK

cdef enum:
    HELD_MESSAGES_MAX = 4096
    CONNECTIONS_MAX = 256
    COLD_CACHE_BYTES = 16 << 20
    SNAPSHOT_NUMBER_BITS = 24      # so many written in one boot: never reached
    APPLY_POOL_BYTES = 64 << 20


cdef void on_event(void* context, uint32_t events, uint64_t now_ns) noexcept nogil:
    cdef Node* node = <Node*>context
    cdef uint64_t count
    cdef ssize_t _got = read(node.event_fd, &count, 8)
    node.wakes += 1


cdef void on_writer(void* context, uint32_t events, uint64_t now_ns) noexcept nogil:
    writer_noticed((<Node*>context).writer)        # the turn collects what completed


cdef bint accept_incarnation(void* context, node_t peer, uint64_t incarnation) noexcept nogil:
    """A known id with another incarnation is not the node we knew (DESIGN 5, rule 9)."""
    cdef Node* node = <Node*>context
    cdef KnownPeers* known = &node.known_peers
    cdef uint32_t i
    for i in range(known.count):
        if known.nodes[i] == peer:
            return known.incarnations[i] == incarnation
    if known.count == NODES_MAX * 4:
        return False
    known.nodes[known.count] = peer
    known.incarnations[known.count] = incarnation
    known.count += 1
    if peers_write(system_files(), node.path, known) != OK:
        known.count -= 1
        return False
    return True


cdef int watch(Node* node, int fd, Source* source) noexcept nogil:
    cdef epoll_event event
    memset(&event, 0, sizeof(epoll_event))
    event.events = EPOLLIN
    event.ptr = source
    return OK if epoll_ctl(node.epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 else ERR_IO


cdef int open_files(Node* node, const NodeOptions* options, char* detail, uint32_t detail_bytes) noexcept nogil:
    """Lock, identity, write-ahead log."""
    cdef Files* files = system_files()
    cdef WalOptions wal_options
    cdef int status = identity_lock(files, node.path, &node.lock_fd)
    if status != OK:
        return status
    status = identity_read(files, node.path, &node.identity)
    if status != OK:
        return status
    status = peers_read(files, node.path, &node.known_peers)
    if status != OK:
        return status
    memset(&wal_options, 0, sizeof(WalOptions))
    wal_options.segment_bytes = options.segment_bytes
    wal_options.sync_group_bytes_max = options.sync_group_bytes_max
    wal_options.spare_segments = options.spare_segments
    wal_options.direct = options.direct
    wal_options.cache_bytes = COLD_CACHE_BYTES
    node.wal = wal_open(files, node.path, &wal_options, &node.report, &status)
    if node.wal == NULL:
        if node.report != NULL:
            snprintf(detail, detail_bytes, b"%s", node.report.detail)
        return status
    node.flushed = wal_flushed(node.wal)
    return OK


cdef int open_transport(Node* node, const NodeOptions* options, char* detail, uint32_t detail_bytes) noexcept nogil:
    cdef TransportOptions wire
    cdef uint32_t i
    cdef int status
    memset(&wire, 0, sizeof(TransportOptions))
    wire.node = node.identity.node
    wire.incarnation = node.identity.incarnation
    memcpy(wire.cluster, node.identity.cluster, 16)
    memcpy(wire.token, node.identity.token, 32)
    memcpy(wire.listen_host, options.listen_host, 64)
    wire.listen_port = options.listen_port
    wire.epoll_fd = node.epoll_fd
    wire.seed = options.seed
    wire.send_queue_bytes_max = options.send_queue_bytes_max
    wire.pool = node.pool
    wire.connections_max = CONNECTIONS_MAX
    wire.on_message = reactor_on_message
    wire.on_reachable = reactor_on_reachable
    wire.accept_incarnation = accept_incarnation
    wire.context = node
    status = transport_open(&wire, &node.transport, detail, detail_bytes)
    for i in range(options.peer_count):
        if status == OK:
            status = transport_add_peer(node.transport, options.peers[i], options.peer_hosts[i],
                                        options.peer_ports[i])
    return status


cdef int open_threads(Node* node, const NodeOptions* options) noexcept nogil:
    cdef int status = writer_open(node.wal, options.writer, &node.sleeping, &node.writer)
    if status == OK:
        status = snapshots_start(&node.snapshots, system_files(), node.path, node.report.boot << SNAPSHOT_NUMBER_BITS,
                                 wake_reactor, node)
    if status != OK:
        return status
    status = watch(node, writer_event_fd(node.writer), &node.writer_source)
    if status == OK:
        status = reactor_start(node)
    if status == OK:
        status = control_start(node, node.path, &node.control)
    if status == OK:
        status = scrubber_start(&node.scrubber, node.wal, options.scrub_bytes_per_s, wake_reactor, node)
    return status


cdef void wake_reactor(void* context) noexcept nogil:
    reactor_wake(<Node*>context)


cdef int open_memory(Node* node, const NodeOptions* options) noexcept nogil:
    cdef uint32_t i
    node.lock_fd = -1
    node.segment_bytes = options.segment_bytes
    node.pinned_bytes = options.pinned_bytes
    node.peer_count = options.peer_count
    for i in range(options.peer_count):
        node.peers[i] = options.peers[i]
        memcpy(node.peer_names[i], options.peer_names[i], 64)
    memcpy(node.path, options.path, sizeof(node.path))
    node.event_source.ready = on_event
    node.event_source.self = node
    node.writer_source.ready = on_writer
    node.writer_source.self = node
    node.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
    node.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    if node.epoll_fd < 0 or node.event_fd < 0:
        return ERR_IO
    node.pool = pool_open(options.memory_bytes)
    node.outbox = outbox_open()
    node.held_capacity = HELD_MESSAGES_MAX
    node.held = <Message*>calloc(HELD_MESSAGES_MAX, sizeof(Message))
    if node.pool == NULL or node.outbox == NULL or node.held == NULL:
        return ERR_MEMORY
    return watch(node, node.event_fd, &node.event_source)


cdef int node_open(const NodeOptions* options, Node** out, char* detail, uint32_t detail_bytes) noexcept nogil:
    cdef Node* node = <Node*>calloc(1, sizeof(Node))
    cdef int status
    detail[0] = 0
    if node == NULL:
        return ERR_MEMORY
    status = open_memory(node, options)
    if status == OK:
        status = open_files(node, options, detail, detail_bytes)
    if status == OK:
        status = open_transport(node, options, detail, detail_bytes)
    if status == OK:
        status = open_threads(node, options)
    if status != OK:
        node_stop(node)
        node_free(node)
        return status
    out[0] = node
    return OK


cdef void fail_commands(Node* node) noexcept nogil:
    """After the reactor ended: nobody else will answer."""
    cdef Ticket* ticket = <Ticket*>exchange_ptr(&node.commands, NULL)
    cdef Ticket* following
    while ticket != NULL:
        following = ticket.next
        ticket_done(ticket, ERR_STOPPED)
        ticket = following


cdef void close_fd(int fd) noexcept nogil:
    if fd >= 0:
        close(fd)


cdef void node_stop(Node* node) noexcept nogil:
    cdef uint32_t i
    scrubber_stop(&node.scrubber)
    control_stop(node.control)       # while the reactor can still answer it
    node.control = NULL
    reactor_stop(node)
    snapshots_stop(&node.snapshots)
    fail_commands(node)
    for i in range(node.group_count):
        proposals_fail(node.groups[i], ERR_STOPPED)
        call_fail(node.groups[i], ERR_STOPPED)
        reads_fail(&node.groups[i].reads, ERR_STOPPED)
        snapshotting_fail(node.groups[i], ERR_STOPPED)
        apply_stop(&node.groups[i].apply, ERR_STOPPED)
    if node.writer != NULL:
        writer_close(node.writer)
        node.writer = NULL
    if node.transport != NULL:
        transport_close(node.transport)
        node.transport = NULL


cdef void node_free(Node* node) noexcept nogil:
    cdef uint32_t i
    for i in range(node.held_count):
        message_drop_batches(&node.held[i])
        free(node.held[i].batches)
    for i in range(node.group_count):
        group_discard(node.groups[i])
    if node.wal != NULL:
        wal_close(node.wal)
    if node.outbox != NULL:
        outbox_close(node.outbox)
    if node.pool != NULL:
        pool_close(node.pool)
    close_fd(node.epoll_fd)
    close_fd(node.event_fd)
    close_fd(node.lock_fd)
    free(node.held)
    free(node)


cdef uint16_t node_port(Node* node) noexcept nogil:
    return transport_port(node.transport)


cdef void node_wake(Node* node) noexcept nogil:
    reactor_wake(node)


cdef void node_command(Node* node, Ticket* ticket) noexcept nogil:
    cdef void* top
    store_u32(&ticket.state, TICKET_WAITING)
    while True:
        top = load_ptr(&node.commands)
        ticket.next = <Ticket*>top
        if cas_ptr(&node.commands, top, ticket):
            break
    reactor_wake(node)


cdef Ticket* ticket_new(int kind, void* subject, size_t answer_bytes) noexcept nogil:
    cdef Ticket* ticket = <Ticket*>calloc(1, sizeof(Ticket) + answer_bytes)
    if ticket != NULL:
        ticket.kind = kind
        ticket.subject = subject
        ticket.answer = ticket + 1
    return ticket


cdef void ticket_leave(Ticket* ticket) noexcept nogil:
    if not cas_u32(&ticket.state, TICKET_WAITING, TICKET_ABANDONED):
        free(ticket)


cdef int ticket_wait(Ticket* ticket, int64_t timeout_ns) noexcept nogil:
    cdef int result
    if load_u32(&ticket.state):
        return OK
    result = futex_wait(&ticket.state, 0, timeout_ns)
    if load_u32(&ticket.state):
        return OK
    if result == ETIMEDOUT:
        return ERR_TIMEOUT
    return ERR_AGAIN


cdef const RecoveredGroup* recovered_group(Node* node, group_t group) noexcept nogil:
    cdef uint32_t i
    for i in range(node.report.group_count):
        if node.report.groups[i].group == group:
            return &node.report.groups[i]
    return NULL


cdef int restore_log(HostedGroup* hosted, const RecoveredGroup* found) noexcept nogil:
    cdef LogRun* runs
    cdef uint32_t i
    cdef int status
    runs = <LogRun*>calloc(found.whole_run_count + 1, sizeof(LogRun))
    if runs == NULL:
        return ERR_MEMORY
    for i in range(found.whole_run_count):
        runs[i].first = found.runs[i].first
        runs[i].term = found.runs[i].term
    status = log_restore(&hosted.log, found.first, found.term_before_first, found.whole_last, runs,
                         found.whole_run_count)
    free(runs)
    return status


cdef void take_recovered(HostedGroup* hosted, const RecoveredGroup* found) noexcept nogil:
    hosted.recovered = found
    hosted.unproved_last = found.unproved_last
    hosted.unproved_term = found.unproved_term
    if found.boundless and found.faulty_last > found.whole_last and found.faulty_last > hosted.unproved_last:
        # What is lost there has no known place: it is dropped when a leader's entries come, and until a leader
        # has admitted this node it has no say.
        hosted.unproved_last = found.faulty_last
        hosted.unproved_term = 0


cdef bint listens(Node* node, const RecoveredGroup* found) noexcept nogil:
    """Whether this node may have forgotten votes and acknowledgements in a group (A-R28)."""
    if found != NULL and (found.listening or found.boundless):
        return True
    return made_to_rejoin(node.identity.incarnation) and (found == NULL or found.hard_state_term == 0)


cdef int node_readmit(Node* node, const Readmission* readmission) noexcept nogil:
    cdef KnownPeers changed = node.known_peers
    cdef int status = peers_readmit(&changed, readmission.node, readmission.incarnation)
    if status == OK:
        status = peers_write(system_files(), node.path, &changed)
    if status == OK:
        node.known_peers = changed
    return status


cdef HostedGroup* group_prepare(Node* node, group_t group, const char* name, int applier, bint forward,
                                uint64_t intake_bytes, uint64_t session, bint has_peers, int* status) noexcept nogil:
    cdef const RecoveredGroup* found = recovered_group(node, group)
    cdef HostedGroup* hosted
    if found != NULL and (found.faulty_first != 0 or found.hard_state_damaged) and not has_peers:
        status[0] = ERR_CORRUPT          # nobody has another copy: stop and say so, never guess
        return NULL
    hosted = <HostedGroup*>calloc(1, sizeof(HostedGroup))
    if hosted == NULL:
        status[0] = ERR_MEMORY
        return NULL
    hosted.group = group
    strncpy(hosted.name, name, sizeof(hosted.name) - 1)
    hosted.applier = applier
    hosted.forward = forward
    status[0] = log_open(&hosted.log, group, LOG_CACHE_BYTES)
    if status[0] == OK:
        status[0] = intake_open(&hosted.intake, intake_bytes)
    if status[0] == OK and found != NULL:
        status[0] = restore_log(hosted, found)
        take_recovered(hosted, found)
    hosted.listening = has_peers and listens(node, found)
    if status[0] == OK:
        status[0] = apply_open(&hosted.apply, group, node.wal, &hosted.intake, session, 0, APPLY_POOL_BYTES)
        hosted.apply.repairable = has_peers
    if status[0] == OK:
        status[0] = group_take_snapshot(node, hosted, has_peers)
    hosted.commit = max(hosted.log.first - 1, hosted.snapshot.index)
    store_u64(&hosted.apply.commit, hosted.commit)
    if status[0] == OK:
        status[0] = proposals_open(&hosted.proposals, session)
    if status[0] != OK:
        group_discard(hosted)
        return NULL
    return hosted


cdef void group_discard(HostedGroup* hosted) noexcept nogil:
    if hosted.proposals.ring != NULL:
        proposals_fail(hosted, ERR_STOPPED)
        proposals_close(&hosted.proposals)
    if hosted.protocol != NULL and hosted.state != NULL:
        hosted.protocol.close(hosted.state)
    apply_close(&hosted.apply, ERR_STOPPED)
    reads_close(&hosted.reads, ERR_STOPPED)
    intake_close(&hosted.intake)
    log_close(&hosted.log)
    free(hosted)
