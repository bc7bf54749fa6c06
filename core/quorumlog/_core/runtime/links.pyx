"""Dialing, accepting, opening, losing: every change in a connection's life is made here."""

from quorumlog._core.base.prng cimport prng_below, prng_seed
from quorumlog._core.base.status cimport ERR_AGAIN, ERR_CONNECTION_LOST, ERR_PEER, ERR_USAGE, OK
from quorumlog._core.base.types cimport node_t
from quorumlog._core.runtime.connection cimport (
    CONNECTION_FREE, CONNECTION_OPEN, CONNECTION_OPENING, Connection, connection_arm, connection_close,
    connection_opened, connection_opening, connection_read, connection_read_nothing, connection_write,
)
from quorumlog._core.runtime.connections cimport (
    connections_add, connections_free, connections_open, connections_remove, connections_to_evict,
)
from quorumlog._core.runtime.opening cimport (
    CLUSTER_BYTES, NONCE_BYTES, TOKEN_BYTES, opening_accept, opening_dial,
)
from quorumlog._core.runtime.receiving cimport receiver_partial
from quorumlog._core.runtime.sending cimport (
    send_queue_clear, send_queue_close, send_queue_empty, send_queue_open,
)
from quorumlog._core.runtime.sockets cimport (
    EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, Address,
    address_same_host, poll_add, poll_remove, random_bytes, socket_accept, socket_close, socket_dial,
    socket_listen, wall_clock_ns,
)
from quorumlog._core.runtime.transport cimport TransportOptions

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    ACCEPTS_PER_TURN = 32
    MILLISECOND_NS = 1000000
    BACK_OFF_FIRST_NS = 10 * MILLISECOND_NS
    BACK_OFF_LAST_NS = 640 * MILLISECOND_NS
    MEMORY_RETRY_NS = MILLISECOND_NS
    LISTEN_RETRY_NS = 100 * MILLISECOND_NS
    CALM_NS = 1000 * MILLISECOND_NS        # a connection that lived so long resets the back-off


cdef uint64_t opening_timeout_ns() noexcept nogil:
    return 5000 * <uint64_t>MILLISECOND_NS


cdef uint64_t stall_timeout_ns() noexcept nogil:
    """A frame of which nothing came for so long is given up: it may hold memory of the pool."""
    return 10000 * <uint64_t>MILLISECOND_NS


cdef uint64_t never_ns() noexcept nogil:
    return ~<uint64_t>0


cdef void due(Links* links, uint64_t when_ns) noexcept nogil:
    if when_ns < links.next_ns:
        links.next_ns = when_ns


cdef Peer* links_find_peer(Links* links, node_t node) noexcept nogil:
    cdef uint32_t i
    for i in range(links.peer_count):
        if links.peers[i].node == node:
            return &links.peers[i]
    return NULL


# ---- losing and refusing

cdef void redial_later(Peer* peer, uint64_t now_ns) noexcept nogil:
    """Doubling from 10-20 ms to 0.64-1.28 s, drawn so that nodes don't dial in step."""
    cdef Links* links = peer.links
    peer.dial_ns = now_ns + peer.back_off_ns + prng_below(&links.prng, peer.back_off_ns)
    if peer.back_off_ns < BACK_OFF_LAST_NS:
        peer.back_off_ns *= 2
    due(links, peer.dial_ns)


cdef void outgoing_lost(Peer* peer, uint64_t now_ns) noexcept nogil:
    cdef Links* links = peer.links
    cdef Connection* c = peer.outgoing
    cdef bint was_reachable = peer.reachable
    if c.state == CONNECTION_OPEN and now_ns - c.opened_ns >= CALM_NS:
        peer.back_off_ns = BACK_OFF_FIRST_NS
    connection_close(c)
    connections_remove(&links.all, c)
    peer.outgoing = NULL
    peer.reachable = False
    links.dropped_messages += send_queue_clear(&peer.queue)
    redial_later(peer, now_ns)
    if was_reachable:
        links.options.on_reachable(links.options.context, peer.node, False, now_ns)


cdef void incoming_lost(Links* links, Connection* c) noexcept nogil:
    cdef Peer* peer = links_find_peer(links, c.peer) if c.state == CONNECTION_OPEN else NULL
    if peer != NULL and peer.incoming == c:
        peer.incoming = NULL
    connection_close(c)
    connections_remove(&links.all, c)


cdef void connection_failed(Links* links, Connection* c, int status, uint64_t now_ns) noexcept nogil:
    """Closes it, and counts what the other side did wrong; does nothing else."""
    if c.state == CONNECTION_OPENING:
        # Whoever came and did not prove himself was refused; a dial that fails is no refusal of ours.
        if status == ERR_PEER or not c.dialer:
            links.refused_openings += 1
    elif status == ERR_PEER:
        links.refused_frames += 1
    if c.dialer:
        outgoing_lost(links_find_peer(links, c.peer), now_ns)
    else:
        incoming_lost(links, c)


# ---- dialing

cdef Connection* connection_begin(Links* links, int fd, bint dialer, uint64_t now_ns) noexcept nogil:
    """Takes over the descriptor, also when it returns NULL."""
    cdef Connection* c = connections_add(&links.all)
    if c == NULL:
        socket_close(fd)
        return NULL
    c.source.ready = connection_ready
    c.source.self = c
    c.owner = links
    c.fd = fd
    c.epoll_fd = links.options.epoll_fd
    c.dialer = dialer
    c.state = CONNECTION_OPENING
    c.deadline_ns = now_ns + opening_timeout_ns()
    due(links, c.deadline_ns)
    return c


cdef void dial(Peer* peer, uint64_t now_ns) noexcept nogil:
    cdef Links* links = peer.links
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
    c = connection_begin(links, fd, True, now_ns)
    if c == NULL:
        redial_later(peer, now_ns)
        return
    c.peer = peer.node
    c.address = peer.address
    peer.outgoing = c
    links.epoch_next += 1
    opening_dial(&c.opening, &links.self, peer.node, links.epoch_next, nonce)
    if connection_arm(c, EPOLLIN | EPOLLOUT) != OK:
        outgoing_lost(peer, now_ns)


cdef void dialed_opened(Peer* peer, Connection* c, uint64_t now_ns) noexcept nogil:
    """The acceptor holds the token: is it the node we knew under that name?"""
    cdef Links* links = peer.links
    cdef int status = ERR_PEER
    if links.options.accept_incarnation(links.options.context, peer.node, c.opening.incarnation):
        status = connection_opened(c, links.options.pool, links.self.node, now_ns)
    if status != OK:
        connection_failed(links, c, status, now_ns)
        return
    peer.reachable = True
    links.options.on_reachable(links.options.context, peer.node, True, now_ns)


# ---- accepting

cdef void listen_later(Links* links, uint64_t now_ns) noexcept nogil:
    """Out of descriptors or memory: the waiting connection would wake us for ever."""
    poll_remove(links.options.epoll_fd, links.listener)
    links.listening = False
    links.listen_ns = now_ns + LISTEN_RETRY_NS
    due(links, links.listen_ns)


cdef bint listen_now(Links* links) noexcept nogil:
    links.listening = poll_add(links.options.epoll_fd, links.listener, EPOLLIN, &links.listener_source) == 0
    return links.listening


cdef bint is_peer_host(Links* links, const Address* address) noexcept nogil:
    cdef uint32_t i
    for i in range(links.peer_count):
        if address_same_host(&links.peers[i].address, address):
            return True
    return False


cdef uint32_t half_open_max(Links* links, bint known_host) noexcept nogil:
    """Every peer keeps one proved connection; what remains is shared by the two half-open classes."""
    cdef uint32_t rest = links.options.connections_max - links.peer_count
    cdef uint32_t known = 2 * links.peer_count + 2
    if known > rest // 2:
        known = rest // 2
    return known if known_host else rest - known


cdef void admit(Links* links, int fd, const Address* address, uint64_t now_ns) noexcept nogil:
    cdef uint8_t nonce[NONCE_BYTES]
    cdef bint known_host = is_peer_host(links, address)
    cdef Connection* evicted = connections_to_evict(&links.all, address, known_host,
                                                    half_open_max(links, known_host))
    cdef Connection* c
    if evicted != NULL:
        connection_failed(links, evicted, ERR_CONNECTION_LOST, now_ns)
    c = connection_begin(links, fd, False, now_ns)
    if c == NULL:
        return
    c.address = address[0]
    c.known_host = known_host
    c.connected = True
    if not random_bytes(nonce, NONCE_BYTES):
        connection_failed(links, c, ERR_CONNECTION_LOST, now_ns)
        return
    opening_accept(&c.opening, &links.self, nonce)
    if connection_arm(c, EPOLLIN) != OK:
        connection_failed(links, c, ERR_CONNECTION_LOST, now_ns)


cdef void listener_ready(void* self, uint32_t events, uint64_t now_ns) noexcept nogil:
    cdef Links* links = <Links*>self
    cdef Address address
    cdef int _i, fd
    for _i in range(ACCEPTS_PER_TURN):
        fd = socket_accept(links.listener, &address)
        if fd == -EAGAIN:
            return
        if fd == -EMFILE or fd == -ENFILE or fd == -ENOBUFS or fd == -ENOMEM:
            if links.listening:
                listen_later(links, now_ns)
            return
        if fd >= 0:
            admit(links, fd, &address, now_ns)
        # Anything else concerns the one connection that was to be accepted.


cdef void accepted_opened(Links* links, Connection* c, uint64_t now_ns) noexcept nogil:
    """The dialer holds the token: a configured peer, the incarnation we know, a newer connection?"""
    cdef Peer* peer = links_find_peer(links, c.opening.peer)
    cdef int status = ERR_PEER
    if (peer != NULL
            and (peer.incoming == NULL or peer.incoming.opening.epoch < c.opening.epoch)
            and links.options.accept_incarnation(links.options.context, peer.node, c.opening.incarnation)):
        status = connection_opened(c, links.options.pool, links.self.node, now_ns)
    if status != OK:
        connection_failed(links, c, status, now_ns)
        return
    if peer.incoming != NULL:
        incoming_lost(links, peer.incoming)        # the higher epoch wins
    peer.incoming = c
    if peer.outgoing == NULL:
        # It is up: no reason to wait any longer.
        peer.dial_ns = now_ns
        peer.back_off_ns = BACK_OFF_FIRST_NS
        due(links, now_ns)


# ---- events

cdef void opening_ready(Links* links, Connection* c, uint64_t now_ns) noexcept nogil:
    cdef int status = connection_opening(c, &links.self)
    if status == ERR_AGAIN:
        # A hello that names nobody we know gets no proof to think about.
        if not c.dialer and c.opening.peer != 0 and links_find_peer(links, c.opening.peer) == NULL:
            connection_failed(links, c, ERR_PEER, now_ns)
    elif status != OK:
        connection_failed(links, c, status, now_ns)
    elif c.dialer:
        dialed_opened(links_find_peer(links, c.peer), c, now_ns)
    else:
        accepted_opened(links, c, now_ns)


cdef void incoming_ready(Links* links, Connection* c, uint64_t now_ns) noexcept nogil:
    cdef int status = connection_read(c, &links.delivery, &links.traffic, now_ns)
    if status != OK:
        connection_failed(links, c, status, now_ns)
    elif c.paused:
        due(links, now_ns + MEMORY_RETRY_NS)
    elif receiver_partial(c.receiver):
        due(links, c.progress_ns + stall_timeout_ns())


cdef void outgoing_ready(Links* links, Connection* c, uint32_t events, uint64_t now_ns) noexcept nogil:
    cdef Peer* peer = links_find_peer(links, c.peer)
    cdef int status = OK
    if events & (EPOLLIN | EPOLLERR | EPOLLHUP):
        status = connection_read_nothing(c)
    if status == OK and events & EPOLLOUT:
        status = connection_write(c, &peer.queue, &links.traffic)
    if status != OK:
        connection_failed(links, c, status, now_ns)


cdef void connection_ready(void* self, uint32_t events, uint64_t now_ns) noexcept nogil:
    """`events` is a hint: it may be of an earlier life of this memory (see connection.pxd)."""
    cdef Connection* c = <Connection*>self
    cdef Links* links = <Links*>c.owner
    if c.state == CONNECTION_FREE or c.paused:
        return
    if c.state == CONNECTION_OPENING:
        opening_ready(links, c, now_ns)
    elif c.dialer:
        outgoing_ready(links, c, events, now_ns)
    else:
        incoming_ready(links, c, now_ns)


cdef void connection_time(Links* links, Connection* c, uint64_t now_ns) noexcept nogil:
    if c.state == CONNECTION_OPENING:
        if c.deadline_ns <= now_ns:
            connection_failed(links, c, ERR_CONNECTION_LOST, now_ns)
        else:
            due(links, c.deadline_ns)
    elif c.dialer:
        return
    elif c.paused:
        incoming_ready(links, c, now_ns)
        if not c.paused:
            due(links, now_ns)         # what was delivered may have answers to flush: another turn at once
    elif receiver_partial(c.receiver):
        if c.progress_ns + stall_timeout_ns() <= now_ns:
            connection_failed(links, c, ERR_PEER, now_ns)
        else:
            due(links, c.progress_ns + stall_timeout_ns())


cdef void do_what_is_due(Links* links, uint64_t now_ns) noexcept nogil:
    cdef Connection* c
    cdef Connection* next
    cdef uint32_t i
    links.next_ns = never_ns()
    c = links.all.oldest
    while c != NULL:
        next = c.next                  # handling `c` closes at most `c`
        connection_time(links, c, now_ns)
        c = next
    for i in range(links.peer_count):
        if links.peers[i].outgoing == NULL:
            if links.peers[i].dial_ns <= now_ns:
                dial(&links.peers[i], now_ns)
            else:
                due(links, links.peers[i].dial_ns)
    if not links.listening:
        if links.listen_ns > now_ns:
            due(links, links.listen_ns)
        elif not listen_now(links):
            links.listen_ns = now_ns + LISTEN_RETRY_NS
            due(links, links.listen_ns)


cdef uint64_t links_time(Links* links, uint64_t now_ns) noexcept nogil:
    if now_ns >= links.next_ns:
        do_what_is_due(links, now_ns)
    return links.next_ns if links.next_ns != never_ns() else 0


cdef void links_flush(Links* links, uint64_t now_ns) noexcept nogil:
    cdef Peer* peer
    cdef uint32_t i
    for i in range(links.peer_count):
        peer = &links.peers[i]
        # Armed for EPOLLOUT: the socket is full, it will say when it isn't.
        if not peer.reachable or send_queue_empty(&peer.queue) or peer.outgoing.armed & EPOLLOUT:
            continue
        if connection_write(peer.outgoing, &peer.queue, &links.traffic) != OK:
            connection_failed(links, peer.outgoing, ERR_CONNECTION_LOST, now_ns)


# ---- opening and closing

cdef void links_open(Links* links, const TransportOptions* options) noexcept nogil:
    memset(links, 0, sizeof(Links))
    links.options = options
    links.listener = -1
    links.self.node = options.node
    links.self.incarnation = options.incarnation
    memcpy(links.self.cluster, options.cluster, CLUSTER_BYTES)
    memcpy(links.self.token, options.token, TOKEN_BYTES)
    links.delivery.on_message = options.on_message
    links.delivery.context = options.context
    connections_open(&links.all)
    prng_seed(&links.prng, options.seed)
    links.epoch_next = wall_clock_ns()     # above those of the process that ran here before


cdef void links_close(Links* links) noexcept nogil:
    cdef Connection* c
    cdef uint32_t i
    while links.all.oldest != NULL:
        c = links.all.oldest
        connection_close(c)
        connections_remove(&links.all, c)
    connections_free(&links.all)
    for i in range(links.peer_count):
        send_queue_close(&links.peers[i].queue)
    if links.listener >= 0:
        if links.listening:
            poll_remove(links.options.epoll_fd, links.listener)
        socket_close(links.listener)
        links.listener = -1


cdef int links_listen(Links* links, const Address* address) noexcept nogil:
    cdef int fd = socket_listen(address, &links.port)
    if fd < 0:
        return fd
    links.listener = fd
    links.listener_source.ready = listener_ready
    links.listener_source.self = links
    return OK if listen_now(links) else -ENOMEM


cdef int links_add_peer(Links* links, node_t node, const Address* address) noexcept nogil:
    cdef Peer* peer = links_find_peer(links, node)
    if peer != NULL:
        peer.address = address[0]
        return OK
    if links.peer_count == PEERS_MAX or links.peer_count + 1 >= links.options.connections_max // 2:
        return ERR_USAGE
    peer = &links.peers[links.peer_count]
    links.peer_count += 1
    peer.links = links
    peer.node = node
    peer.address = address[0]
    peer.back_off_ns = BACK_OFF_FIRST_NS
    send_queue_open(&peer.queue, links.options.send_queue_bytes_max)
    due(links, 0)
    return OK
