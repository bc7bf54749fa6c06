"""The transport: peers, who is dialed when, who is let in, deadlines and counters."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.prng cimport Prng, prng_below, prng_seed
from quorumlog._core.base.sha256 cimport wipe_bytes
from quorumlog._core.base.status cimport (
    ERR_AGAIN, ERR_CONNECTION_LOST, ERR_IO, ERR_MEMORY, ERR_PEER, ERR_USAGE, OK,
)
from quorumlog._core.base.types cimport node_t
from quorumlog._core.engine.message cimport Message, message_drop_batches
from quorumlog._core.runtime.connection cimport (
    CONNECTION_FREE, CONNECTION_OPEN, CONNECTION_OPENING, Connection, Delivery, Traffic, connection_arm,
    connection_close, connection_opened, connection_opening, connection_read, connection_read_nothing,
    connection_write,
)
from quorumlog._core.runtime.connections cimport (
    Connections, connections_add, connections_free, connections_open, connections_remove,
    connections_to_evict,
)
from quorumlog._core.runtime.opening cimport (
    CLUSTER_BYTES, NONCE_BYTES, TOKEN_BYTES, OpeningSelf, opening_accept, opening_dial,
)
from quorumlog._core.runtime.receiving cimport receiver_partial
from quorumlog._core.runtime.sending cimport (
    SendQueue, send_queue_clear, send_queue_close, send_queue_empty, send_queue_open, send_queue_push,
)
from quorumlog._core.runtime.sockets cimport (
    EMFILE, ENFILE, ENOBUFS, ENOMEM, EAGAIN, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, Address, address_parse,
    address_same_host, errno_text, poll_add, poll_remove, random_bytes, socket_accept, socket_close,
    socket_dial, socket_listen, wall_clock_ns,
)

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cdef enum:
    PEERS_MAX = 64
    CONNECTIONS_MIN = 16
    CONNECTIONS_LIMIT = 1 << 16
    SEND_QUEUE_BYTES_LIMIT = 1 << 30
    ACCEPTS_PER_TURN = 32
    MILLISECOND_NS = 1000000
    BACK_OFF_FIRST_NS = 10 * MILLISECOND_NS
    BACK_OFF_LAST_NS = 640 * MILLISECOND_NS
    MEMORY_RETRY_NS = MILLISECOND_NS
    LISTEN_RETRY_NS = 100 * MILLISECOND_NS
    CALM_NS = 1000 * MILLISECOND_NS        # a connection that lived so long resets the back-off

cdef struct Peer:
    Transport* transport
    node_t node
    Address address
    Connection* outgoing               # dialed by us: connecting, opening or open
    Connection* incoming               # dialed by it, proved
    SendQueue queue
    uint64_t dial_ns                   # when to dial, while there is no outgoing connection
    uint64_t back_off_ns
    bint reachable

cdef struct Transport:
    TransportOptions options
    OpeningSelf self
    Delivery delivery
    Source listener_source
    int listener
    uint16_t port
    bint listening                     # epoll watches the listener
    uint64_t listen_ns                 # when to watch it again
    Peer peers[PEERS_MAX]
    uint32_t peer_count
    Connections all
    uint64_t epoch_next
    Prng prng
    Traffic traffic
    TransportStatus status             # the rest of it
    uint64_t next_ns                   # nothing is due before


cdef uint64_t opening_timeout_ns() noexcept nogil:
    return 5000 * <uint64_t>MILLISECOND_NS


cdef uint64_t stall_timeout_ns() noexcept nogil:
    """A frame of which nothing came for so long is given up: it may hold memory of the pool."""
    return 10000 * <uint64_t>MILLISECOND_NS


cdef void due(Transport* t, uint64_t when_ns) noexcept nogil:
    if when_ns < t.next_ns:
        t.next_ns = when_ns


cdef Peer* find_peer(Transport* t, node_t node) noexcept nogil:
    cdef uint32_t i
    for i in range(t.peer_count):
        if t.peers[i].node == node:
            return &t.peers[i]
    return NULL


# ---- losing and refusing

cdef void redial_later(Peer* peer, uint64_t now_ns) noexcept nogil:
    """Doubling from 10-20 ms to 0.64-1.28 s, drawn so that nodes don't dial in step."""
    cdef Transport* t = peer.transport
    peer.dial_ns = now_ns + peer.back_off_ns + prng_below(&t.prng, peer.back_off_ns)
    if peer.back_off_ns < BACK_OFF_LAST_NS:
        peer.back_off_ns *= 2
    due(t, peer.dial_ns)


cdef void outgoing_lost(Peer* peer, uint64_t now_ns) noexcept nogil:
    cdef Transport* t = peer.transport
    cdef Connection* c = peer.outgoing
    cdef bint was_reachable = peer.reachable
    if c.state == CONNECTION_OPEN and now_ns - c.opened_ns >= CALM_NS:
        peer.back_off_ns = BACK_OFF_FIRST_NS
    connection_close(c)
    connections_remove(&t.all, c)
    peer.outgoing = NULL
    peer.reachable = False
    t.status.dropped_messages += send_queue_clear(&peer.queue)
    redial_later(peer, now_ns)
    if was_reachable:
        t.options.on_reachable(t.options.context, peer.node, False, now_ns)


cdef void incoming_lost(Transport* t, Connection* c) noexcept nogil:
    cdef Peer* peer = find_peer(t, c.peer) if c.state == CONNECTION_OPEN else NULL
    if peer != NULL and peer.incoming == c:
        peer.incoming = NULL
    connection_close(c)
    connections_remove(&t.all, c)


cdef void connection_failed(Transport* t, Connection* c, int status, uint64_t now_ns) noexcept nogil:
    """Closes it, and counts what the other side did wrong; does nothing else."""
    if c.state == CONNECTION_OPENING:
        # Whoever came and did not prove himself was refused; a dial that fails is no refusal of ours.
        if status == ERR_PEER or not c.dialer:
            t.status.refused_openings += 1
    elif status == ERR_PEER:
        t.status.refused_frames += 1
    if c.dialer:
        outgoing_lost(find_peer(t, c.peer), now_ns)
    else:
        incoming_lost(t, c)


# ---- dialing

cdef Connection* connection_begin(Transport* t, int fd, bint dialer, uint64_t now_ns) noexcept nogil:
    """Takes over the descriptor, also when it returns NULL."""
    cdef Connection* c = connections_add(&t.all)
    if c == NULL:
        socket_close(fd)
        return NULL
    c.source.ready = connection_ready
    c.source.self = c
    c.owner = t
    c.fd = fd
    c.epoll_fd = t.options.epoll_fd
    c.dialer = dialer
    c.state = CONNECTION_OPENING
    c.deadline_ns = now_ns + opening_timeout_ns()
    due(t, c.deadline_ns)
    return c


cdef void dial(Peer* peer, uint64_t now_ns) noexcept nogil:
    cdef Transport* t = peer.transport
    cdef uint8_t nonce[NONCE_BYTES]
    cdef Connection* c
    cdef int fd
    if not random_bytes(nonce, NONCE_BYTES):
        redial_later(peer, now_ns)
        return
    fd = socket_dial(&peer.address)
    if fd < 0:
        redial_later(peer, now_ns)
        return
    c = connection_begin(t, fd, True, now_ns)
    if c == NULL:
        redial_later(peer, now_ns)
        return
    c.peer = peer.node
    c.address = peer.address
    peer.outgoing = c
    t.epoch_next += 1
    opening_dial(&c.opening, &t.self, peer.node, t.epoch_next, nonce)
    if connection_arm(c, EPOLLIN | EPOLLOUT) != OK:
        outgoing_lost(peer, now_ns)


cdef void dialed_opened(Peer* peer, Connection* c, uint64_t now_ns) noexcept nogil:
    """The acceptor holds the token: is it the node we knew under that name?"""
    cdef Transport* t = peer.transport
    cdef int status = ERR_PEER
    if t.options.accept_incarnation(t.options.context, peer.node, c.opening.incarnation):
        status = connection_opened(c, t.options.pool, t.self.node, now_ns)
    if status != OK:
        connection_failed(t, c, status, now_ns)
        return
    peer.reachable = True
    t.options.on_reachable(t.options.context, peer.node, True, now_ns)


# ---- accepting

cdef void listen_later(Transport* t, uint64_t now_ns) noexcept nogil:
    """Out of descriptors or memory: the waiting connection would wake us for ever."""
    poll_remove(t.options.epoll_fd, t.listener)
    t.listening = False
    t.listen_ns = now_ns + LISTEN_RETRY_NS
    due(t, t.listen_ns)


cdef bint listen_now(Transport* t) noexcept nogil:
    t.listening = poll_add(t.options.epoll_fd, t.listener, EPOLLIN, &t.listener_source) == 0
    return t.listening


cdef bint is_peer_host(Transport* t, const Address* address) noexcept nogil:
    cdef uint32_t i
    for i in range(t.peer_count):
        if address_same_host(&t.peers[i].address, address):
            return True
    return False


cdef uint32_t half_open_max(Transport* t, bint known_host) noexcept nogil:
    """Every peer keeps one proved connection; what remains is shared by the two half-open classes."""
    cdef uint32_t rest = t.options.connections_max - t.peer_count
    cdef uint32_t known = 2 * t.peer_count + 2
    if known > rest // 2:
        known = rest // 2
    return known if known_host else rest - known


cdef void admit(Transport* t, int fd, const Address* address, uint64_t now_ns) noexcept nogil:
    cdef uint8_t nonce[NONCE_BYTES]
    cdef bint known_host = is_peer_host(t, address)
    cdef Connection* evicted = connections_to_evict(&t.all, address, known_host,
                                                    half_open_max(t, known_host))
    cdef Connection* c
    if evicted != NULL:
        connection_failed(t, evicted, ERR_CONNECTION_LOST, now_ns)
    c = connection_begin(t, fd, False, now_ns)
    if c == NULL:
        return
    c.address = address[0]
    c.known_host = known_host
    c.connected = True
    if not random_bytes(nonce, NONCE_BYTES):
        connection_failed(t, c, ERR_CONNECTION_LOST, now_ns)
        return
    opening_accept(&c.opening, &t.self, nonce)
    if connection_arm(c, EPOLLIN) != OK:
        connection_failed(t, c, ERR_CONNECTION_LOST, now_ns)


cdef void listener_ready(void* self, uint32_t events, uint64_t now_ns) noexcept nogil:
    cdef Transport* t = <Transport*>self
    cdef Address address
    cdef int _i, fd
    for _i in range(ACCEPTS_PER_TURN):
        fd = socket_accept(t.listener, &address)
        if fd == -EAGAIN:
            return
        if fd == -EMFILE or fd == -ENFILE or fd == -ENOBUFS or fd == -ENOMEM:
            if t.listening:
                listen_later(t, now_ns)
            return
        if fd >= 0:
            admit(t, fd, &address, now_ns)
        # Anything else concerns the one connection that was to be accepted.


cdef void accepted_opened(Transport* t, Connection* c, uint64_t now_ns) noexcept nogil:
    """The dialer holds the token: a configured peer, the incarnation we know, a newer connection?"""
    cdef Peer* peer = find_peer(t, c.opening.peer)
    cdef int status = ERR_PEER
    if (peer != NULL
            and (peer.incoming == NULL or peer.incoming.opening.epoch < c.opening.epoch)
            and t.options.accept_incarnation(t.options.context, peer.node, c.opening.incarnation)):
        status = connection_opened(c, t.options.pool, t.self.node, now_ns)
    if status != OK:
        connection_failed(t, c, status, now_ns)
        return
    if peer.incoming != NULL:
        incoming_lost(t, peer.incoming)        # the higher epoch wins
    peer.incoming = c
    if peer.outgoing == NULL:
        # It is up: no reason to wait any longer.
        peer.dial_ns = now_ns
        peer.back_off_ns = BACK_OFF_FIRST_NS
        due(t, now_ns)


# ---- events

cdef void opening_ready(Transport* t, Connection* c, uint64_t now_ns) noexcept nogil:
    cdef int status = connection_opening(c, &t.self)
    if status == ERR_AGAIN:
        # A hello that names nobody we know gets no proof to think about.
        if not c.dialer and c.opening.peer != 0 and find_peer(t, c.opening.peer) == NULL:
            connection_failed(t, c, ERR_PEER, now_ns)
    elif status != OK:
        connection_failed(t, c, status, now_ns)
    elif c.dialer:
        dialed_opened(find_peer(t, c.peer), c, now_ns)
    else:
        accepted_opened(t, c, now_ns)


cdef void incoming_ready(Transport* t, Connection* c, uint64_t now_ns) noexcept nogil:
    cdef int status = connection_read(c, &t.delivery, &t.traffic, now_ns)
    if status != OK:
        connection_failed(t, c, status, now_ns)
    elif c.paused:
        due(t, now_ns + MEMORY_RETRY_NS)
    elif receiver_partial(c.receiver):
        due(t, c.progress_ns + stall_timeout_ns())


cdef void outgoing_ready(Transport* t, Connection* c, uint32_t events, uint64_t now_ns) noexcept nogil:
    cdef Peer* peer = find_peer(t, c.peer)
    cdef int status = OK
    if events & (EPOLLIN | EPOLLERR | EPOLLHUP):
        status = connection_read_nothing(c)
    if status == OK and events & EPOLLOUT:
        status = connection_write(c, &peer.queue, &t.traffic)
    if status != OK:
        connection_failed(t, c, status, now_ns)


cdef void connection_ready(void* self, uint32_t events, uint64_t now_ns) noexcept nogil:
    """`events` is a hint: it may be of an earlier life of this memory (see connection.pxd)."""
    cdef Connection* c = <Connection*>self
    cdef Transport* t = <Transport*>c.owner
    if c.state == CONNECTION_FREE or c.paused:
        return
    if c.state == CONNECTION_OPENING:
        opening_ready(t, c, now_ns)
    elif c.dialer:
        outgoing_ready(t, c, events, now_ns)
    else:
        incoming_ready(t, c, now_ns)


cdef void connection_time(Transport* t, Connection* c, uint64_t now_ns) noexcept nogil:
    if c.state == CONNECTION_OPENING:
        if c.deadline_ns <= now_ns:
            connection_failed(t, c, ERR_CONNECTION_LOST, now_ns)
        else:
            due(t, c.deadline_ns)
    elif c.dialer:
        return
    elif c.paused:
        incoming_ready(t, c, now_ns)
    elif receiver_partial(c.receiver):
        if c.progress_ns + stall_timeout_ns() <= now_ns:
            connection_failed(t, c, ERR_PEER, now_ns)
        else:
            due(t, c.progress_ns + stall_timeout_ns())


cdef uint64_t transport_time(Transport* t, uint64_t now_ns) noexcept nogil:
    cdef Connection* c
    cdef Connection* next
    cdef uint32_t i
    if now_ns < t.next_ns:
        return t.next_ns
    t.next_ns = ~<uint64_t>0
    c = t.all.oldest
    while c != NULL:
        next = c.next                  # handling `c` closes at most `c`
        connection_time(t, c, now_ns)
        c = next
    for i in range(t.peer_count):
        if t.peers[i].outgoing == NULL:
            if t.peers[i].dial_ns <= now_ns:
                dial(&t.peers[i], now_ns)
            else:
                due(t, t.peers[i].dial_ns)
    if not t.listening:
        if t.listen_ns > now_ns:
            due(t, t.listen_ns)
        elif not listen_now(t):
            t.listen_ns = now_ns + LISTEN_RETRY_NS
            due(t, t.listen_ns)
    return t.next_ns


# ---- sending

cdef int transport_send(Transport* t, Message* message) noexcept nogil:
    cdef Peer* peer = find_peer(t, message.target)
    cdef int status = ERR_CONNECTION_LOST
    check(message.sender == t.self.node, b"Q-TRANSPORT-01 a message is sent in another node's name")
    if peer == NULL or not peer.reachable:
        message_drop_batches(message)
    else:
        status = send_queue_push(&peer.queue, message)
    if status != OK:
        t.status.dropped_messages += 1
    return status


cdef void transport_flush(Transport* t, uint64_t now_ns) noexcept nogil:
    cdef Peer* peer
    cdef uint32_t i
    for i in range(t.peer_count):
        peer = &t.peers[i]
        # Armed for EPOLLOUT: the socket is full, it will say when it isn't.
        if not peer.reachable or send_queue_empty(&peer.queue) or peer.outgoing.armed & EPOLLOUT:
            continue
        if connection_write(peer.outgoing, &peer.queue, &t.traffic) != OK:
            connection_failed(t, peer.outgoing, ERR_CONNECTION_LOST, now_ns)


# ---- opening and closing

cdef int explain(char* detail, uint32_t detail_bytes, int status, const char* text) noexcept nogil:
    if detail != NULL and detail_bytes > 0:
        snprintf(detail, detail_bytes, b"%s", text)
    return status


cdef int options_check(const TransportOptions* o, char* detail, uint32_t detail_bytes) noexcept nogil:
    cdef const char* wrong = NULL
    if o.node == 0 or o.incarnation == 0:
        wrong = b"a transport needs the node's id and incarnation, neither of them 0"
    elif o.pool == NULL or o.epoll_fd < 0:
        wrong = b"a transport needs a pool for received batches and an epoll descriptor"
    elif o.on_message == NULL or o.on_reachable == NULL or o.accept_incarnation == NULL:
        wrong = b"a transport needs all three of its callbacks"
    elif o.connections_max < CONNECTIONS_MIN or o.connections_max > CONNECTIONS_LIMIT:
        wrong = b"connections_max must be from 16 to 65536"
    elif o.send_queue_bytes_max == 0 or o.send_queue_bytes_max > SEND_QUEUE_BYTES_LIMIT:
        wrong = b"send_queue_bytes_max must be from 1 to 1073741824"
    return OK if wrong == NULL else explain(detail, detail_bytes, ERR_USAGE, wrong)


cdef int listen_open(Transport* t, char* detail, uint32_t detail_bytes) noexcept nogil:
    cdef char reason[128]
    cdef Address address
    t.options.listen_host[sizeof(t.options.listen_host) - 1] = 0
    if not address_parse(&address, t.options.listen_host, t.options.listen_port):
        if detail != NULL:
            snprintf(detail, detail_bytes, b"listen address %s is no numeric IPv4 or IPv6 address",
                     t.options.listen_host)
        return ERR_USAGE
    t.listener = socket_listen(&address, &t.port)
    if t.listener < 0:
        errno_text(t.listener, reason, sizeof(reason))
        if detail != NULL:
            snprintf(detail, detail_bytes, b"cannot listen on %s port %u: %s", t.options.listen_host,
                     <unsigned int>t.options.listen_port, reason)
        return ERR_IO
    t.listener_source.ready = listener_ready
    t.listener_source.self = t
    if not listen_now(t):
        return explain(detail, detail_bytes, ERR_IO, b"epoll refuses the listening descriptor")
    return OK


cdef int transport_open(const TransportOptions* options, Transport** out, char* detail,
                        uint32_t detail_bytes) noexcept nogil:
    cdef Transport* t
    cdef int status = options_check(options, detail, detail_bytes)
    out[0] = NULL
    if status != OK:
        return status
    t = <Transport*>calloc(1, sizeof(Transport))
    if t == NULL:
        return explain(detail, detail_bytes, ERR_MEMORY, b"no memory for a transport")
    t.options = options[0]
    t.listener = -1
    t.self.node = options.node
    t.self.incarnation = options.incarnation
    memcpy(t.self.cluster, options.cluster, CLUSTER_BYTES)
    memcpy(t.self.token, options.token, TOKEN_BYTES)
    t.delivery.on_message = options.on_message
    t.delivery.context = options.context
    connections_open(&t.all)
    prng_seed(&t.prng, options.seed)
    t.epoch_next = wall_clock_ns()     # above those of the process that ran here before
    status = listen_open(t, detail, detail_bytes)
    if status != OK:
        transport_close(t)
        return status
    out[0] = t
    return OK


cdef void transport_close(Transport* t) noexcept nogil:
    cdef Connection* c
    cdef uint32_t i
    if t == NULL:
        return
    while t.all.oldest != NULL:
        c = t.all.oldest
        connection_close(c)
        connections_remove(&t.all, c)
    connections_free(&t.all)
    for i in range(t.peer_count):
        send_queue_close(&t.peers[i].queue)
    if t.listener >= 0:
        if t.listening:
            poll_remove(t.options.epoll_fd, t.listener)
        socket_close(t.listener)
    wipe_bytes(t, sizeof(Transport))   # it holds the token
    free(t)


cdef uint16_t transport_port(const Transport* t) noexcept nogil:
    return t.port


cdef int transport_add_peer(Transport* t, node_t node, const char* host, uint16_t port) noexcept nogil:
    cdef Peer* peer = find_peer(t, node)
    cdef Address address
    if node == 0 or node == t.self.node or port == 0 or not address_parse(&address, host, port):
        return ERR_USAGE
    if peer != NULL:
        peer.address = address         # for the next dial
        return OK
    if t.peer_count == PEERS_MAX or t.peer_count + 1 >= t.options.connections_max // 2:
        return ERR_USAGE
    peer = &t.peers[t.peer_count]
    t.peer_count += 1
    peer.transport = t
    peer.node = node
    peer.address = address
    peer.back_off_ns = BACK_OFF_FIRST_NS
    send_queue_open(&peer.queue, t.options.send_queue_bytes_max)
    due(t, 0)                          # dialed at the next turn
    return OK


cdef bint transport_reachable(const Transport* t, node_t peer) noexcept nogil:
    cdef Peer* found = find_peer(<Transport*>t, peer)
    return found != NULL and found.reachable


cdef void transport_status(const Transport* t, TransportStatus* out) noexcept nogil:
    out[0] = t.status
    out.sent_bytes = t.traffic.sent_bytes
    out.received_bytes = t.traffic.received_bytes
    out.sent_frames = t.traffic.sent_frames
    out.received_frames = t.traffic.received_frames
    out.connections = t.all.live
