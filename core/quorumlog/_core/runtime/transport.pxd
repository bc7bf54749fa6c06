"""All connections of a node: opening handshakes, frames in, frames out (DESIGN 11, docs/format.md 8).

Non-blocking, driven by the reactor's epoll; owned by the reactor's thread.  One
connection per ordered pair: we dial a peer to send to it, it dials us to send to
us.  Received batches come from the transport's pool; a message is handed to
`on_message` whole and checked (lengths, crcs, sender, target, body offsets).
"""

from quorumlog._core.base.types cimport node_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.runtime.source cimport Source
from quorumlog._core.storage.batch cimport BatchPool

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef struct TransportOptions:
    node_t node
    uint64_t incarnation
    uint8_t cluster[16]
    uint8_t token[32]
    char listen_host[64]               # numeric IPv4 or IPv6 address
    uint16_t listen_port               # 0: any; transport_port tells
    int epoll_fd
    uint64_t seed                      # dial back-off only; nonces come from getrandom
    uint64_t send_queue_bytes_max      # per peer; more is refused
    BatchPool* pool                    # for received bodies; bounded; owner: the reactor
    uint32_t connections_max           # accepted, all together
    # The message's batches are dropped after the call; keep what you keep.
    void (*on_message)(void* context, const Message* message, uint64_t now_ns) noexcept nogil
    void (*on_reachable)(void* context, node_t peer, bint reachable, uint64_t now_ns) noexcept nogil
    # Is this the incarnation we know of that node?  Remembers it durably at first contact.
    bint (*accept_incarnation)(void* context, node_t peer, uint64_t incarnation) noexcept nogil
    void* context

cdef struct TransportStatus:
    uint64_t sent_bytes
    uint64_t received_bytes
    uint64_t sent_frames
    uint64_t received_frames
    uint64_t refused_openings          # wrong token, cluster, node, incarnation, version; timeouts
    uint64_t refused_frames            # malformed, oversized, foreign: each closed a connection
    uint64_t dropped_messages          # send queue full or peer not connected
    uint64_t connections

cdef struct Transport


cdef int transport_open(const TransportOptions* options, Transport** out, char* detail,
                        uint32_t detail_bytes) noexcept nogil
cdef void transport_close(Transport* transport) noexcept nogil
cdef uint16_t transport_port(const Transport* transport) noexcept nogil
cdef int transport_add_peer(Transport* transport, node_t node, const char* host, uint16_t port) noexcept nogil
# Queues a message for its target, taking over its batch references whatever it returns: OK,
# ERR_OVERLOADED (queue full) or ERR_CONNECTION_LOST.  Nothing is written before transport_flush.
cdef int transport_send(Transport* transport, Message* message) noexcept nogil
# Writes what the sockets take; once per reactor turn.
cdef void transport_flush(Transport* transport, uint64_t now_ns) noexcept nogil
# Dials, handshake and idle deadlines; returns the next deadline, 0: none.
cdef uint64_t transport_time(Transport* transport, uint64_t now_ns) noexcept nogil
cdef bint transport_reachable(const Transport* transport, node_t peer) noexcept nogil
cdef void transport_status(const Transport* transport, TransportStatus* out) noexcept nogil
