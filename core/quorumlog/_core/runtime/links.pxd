"""The life of connections: who is dialed when, who is let in, what is lost and what is refused.

One `Peer` for each configured node: the connection we dialed (to send), the one
it dialed (to receive), and what waits to be sent.  The transport is the face of
this; epoll calls into it through each connection's `Source`.
"""

from quorumlog._core.base.prng cimport Prng
from quorumlog._core.base.types cimport node_t
from quorumlog._core.runtime.connection cimport Connection, Delivery, Traffic
from quorumlog._core.runtime.connections cimport Connections
from quorumlog._core.runtime.opening cimport OpeningSelf
from quorumlog._core.runtime.sending cimport SendQueue
from quorumlog._core.runtime.sockets cimport Address
from quorumlog._core.runtime.source cimport Source
from quorumlog._core.runtime.transport cimport TransportOptions

from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef enum:
    PEERS_MAX = 64

cdef struct Peer:
    Links* links
    node_t node
    Address address
    Connection* outgoing               # dialed by us: connecting, opening or open
    Connection* incoming               # dialed by it, proved
    SendQueue queue
    uint64_t dial_ns                   # when to dial, while there is no outgoing connection
    uint64_t back_off_ns
    bint reachable                     # `outgoing` is open

cdef struct Links:
    const TransportOptions* options
    OpeningSelf self
    Delivery delivery
    Source listener_source
    int listener                       # -1: none
    uint16_t port
    bint listening                     # epoll watches the listener
    uint64_t listen_ns                 # when to watch it again
    Peer peers[PEERS_MAX]
    uint32_t peer_count
    Connections all
    uint64_t epoch_next
    Prng prng
    Traffic traffic
    uint64_t refused_openings
    uint64_t refused_frames
    uint64_t dropped_messages
    uint64_t next_ns                   # nothing is due before


# The options outlive the links.
cdef void links_open(Links* links, const TransportOptions* options) noexcept nogil
cdef void links_close(Links* links) noexcept nogil
# OK or a negative errno.
cdef int links_listen(Links* links, const Address* address) noexcept nogil
# A new peer, dialed at the next turn; or another address for a known one, from its next dial on.
# ERR_USAGE: no room for its connections.
cdef int links_add_peer(Links* links, node_t node, const Address* address) noexcept nogil
cdef Peer* links_find_peer(Links* links, node_t node) noexcept nogil
cdef void links_flush(Links* links, uint64_t now_ns) noexcept nogil
cdef uint64_t links_time(Links* links, uint64_t now_ns) noexcept nogil
