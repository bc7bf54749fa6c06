"""The transport: options checked, then a face over the links."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.sha256 cimport wipe_bytes
from quorumlog._core.base.status cimport ERR_CONNECTION_LOST, ERR_IO, ERR_MEMORY, ERR_USAGE, OK
from quorumlog._core.base.types cimport node_t
from quorumlog._core.engine.message cimport Message, message_drop_batches
from quorumlog._core.runtime.links cimport (
    Links, Peer, links_add_peer, links_close, links_find_peer, links_flush, links_listen, links_open,
    links_time,
)
from quorumlog._core.runtime.sending cimport send_queue_push
from quorumlog._core.runtime.sockets cimport Address, address_parse, errno_text

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free

cdef enum:
    CONNECTIONS_MIN = 16
    CONNECTIONS_LIMIT = 1 << 16
    SEND_QUEUE_BYTES_LIMIT = 1 << 30

cdef struct Transport:
    TransportOptions options
    Links links


cdef int explain(char* detail, uint32_t detail_bytes, int status, const char* text) noexcept nogil:
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


cdef int listen_at(Transport* t, char* detail, uint32_t detail_bytes) noexcept nogil:
    cdef char reason[128]
    cdef Address address
    cdef char* host = t.options.listen_host
    cdef int error
    host[sizeof(t.options.listen_host) - 1] = 0
    if not address_parse(&address, host, t.options.listen_port):
        snprintf(detail, detail_bytes, b"listen address %s is no numeric IPv4 or IPv6 address", host)
        return ERR_USAGE
    error = links_listen(&t.links, &address)
    if error != 0:
        errno_text(error, reason, sizeof(reason))
        snprintf(detail, detail_bytes, b"cannot listen on %s port %u: %s", host,
                 <unsigned int>t.options.listen_port, reason)
        return ERR_IO
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
    links_open(&t.links, &t.options)
    status = listen_at(t, detail, detail_bytes)
    if status != OK:
        transport_close(t)
        return status
    out[0] = t
    return OK


cdef void transport_close(Transport* t) noexcept nogil:
    if t == NULL:
        return
    links_close(&t.links)
    wipe_bytes(t, sizeof(Transport))   # it holds the token
    free(t)


cdef uint16_t transport_port(const Transport* t) noexcept nogil:
    return t.links.port


cdef int transport_add_peer(Transport* t, node_t node, const char* host, uint16_t port) noexcept nogil:
    cdef Address address
    if node == 0 or node == t.options.node or port == 0 or not address_parse(&address, host, port):
        return ERR_USAGE
    return links_add_peer(&t.links, node, &address)


cdef int transport_send(Transport* t, Message* message) noexcept nogil:
    cdef Peer* peer = links_find_peer(&t.links, message.target)
    cdef int status = ERR_CONNECTION_LOST
    check(message.sender == t.options.node, b"Q-TRANSPORT-01 a message is sent in another node's name")
    if peer == NULL or not peer.reachable:
        message_drop_batches(message)
    else:
        status = send_queue_push(&peer.queue, message)
    if status != OK:
        t.links.dropped_messages += 1
    return status


cdef void transport_flush(Transport* t, uint64_t now_ns) noexcept nogil:
    links_flush(&t.links, now_ns)


cdef uint64_t transport_time(Transport* t, uint64_t now_ns) noexcept nogil:
    return links_time(&t.links, now_ns)


cdef bint transport_reachable(const Transport* t, node_t peer) noexcept nogil:
    cdef Peer* found = links_find_peer(<Links*>&t.links, peer)
    return found != NULL and found.reachable


cdef void transport_status(const Transport* t, TransportStatus* out) noexcept nogil:
    out.sent_bytes = t.links.traffic.sent_bytes
    out.received_bytes = t.links.traffic.received_bytes
    out.sent_frames = t.links.traffic.sent_frames
    out.received_frames = t.links.traffic.received_frames
    out.refused_openings = t.links.refused_openings
    out.refused_frames = t.links.refused_frames
    out.dropped_messages = t.links.dropped_messages
    out.connections = t.links.all.live
