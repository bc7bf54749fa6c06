"""One connection: a descriptor, how far its opening is, and what was received of a frame.

The memory of a connection is kept for the next one when it closes, and goes
only with the transport: an event that epoll had already handed to the reactor
may still name it, and then meets a descriptor that has nothing to say.
"""

from quorumlog._core.base.types cimport node_t
from quorumlog._core.engine.message cimport Message
from quorumlog._core.runtime.opening cimport Opening, OpeningSelf
from quorumlog._core.runtime.receiving cimport Receiver
from quorumlog._core.runtime.sending cimport SendQueue
from quorumlog._core.runtime.sockets cimport Address
from quorumlog._core.runtime.source cimport Source
from quorumlog._core.storage.batch cimport BatchPool

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    TURN_BYTES_MAX = 1 << 20           # read, and written, per connection and turn: fairness

cdef enum ConnectionState:
    CONNECTION_FREE = 0
    CONNECTION_OPENING = 1
    CONNECTION_OPEN = 2

cdef struct Connection:
    Source source                      # what epoll names
    void* owner                        # the transport
    Connection* next                   # of all live ones, oldest first; or of the free ones
    Connection* previous
    int fd
    int epoll_fd
    uint32_t armed                     # what epoll watches for; 0: it doesn't know the descriptor
    uint8_t state
    bint dialer                        # we dialed; otherwise accepted
    bint connected                     # a dialer's first bytes went
    bint paused                        # not read until the pool has memory
    bint known_host                    # accepted from an address of a configured peer
    node_t peer                        # 0: not known yet
    uint64_t deadline_ns               # of the opening
    uint64_t opened_ns
    uint64_t progress_ns               # bytes came
    Address address
    Opening opening
    Receiver* receiver                 # of an accepted one, from the end of its opening

# Counters of all connections together.
cdef struct Traffic:
    uint64_t sent_bytes
    uint64_t received_bytes
    uint64_t sent_frames
    uint64_t received_frames

# Who gets the messages.
cdef struct Delivery:
    void (*on_message)(void* context, const Message* message, uint64_t now_ns) noexcept nogil
    void* context


# Watches for `events`, or for nothing at all.  OK or ERR_IO.
cdef int connection_arm(Connection* connection, uint32_t events) noexcept nogil
# Closes and forgets everything but its place in memory.
cdef void connection_close(Connection* connection) noexcept nogil
# Goes on with the opening: OK when the other side is proved, ERR_AGAIN, ERR_PEER, ERR_CONNECTION_LOST.
cdef int connection_opening(Connection* connection, const OpeningSelf* self) noexcept nogil
# The opening is accepted: sends what is left of it (an acceptor's proof) and opens for frames.
cdef int connection_opened(Connection* connection, BatchPool* pool, node_t node,
                           uint64_t now_ns) noexcept nogil
# Accepted ones.  OK (perhaps now paused), ERR_PEER or ERR_CONNECTION_LOST.
cdef int connection_read(Connection* connection, const Delivery* delivery, Traffic* traffic,
                         uint64_t now_ns) noexcept nogil
# Dialed ones have nothing to receive: OK, ERR_PEER or ERR_CONNECTION_LOST.
cdef int connection_read_nothing(Connection* connection) noexcept nogil
# OK (what is left waits for EPOLLOUT) or ERR_CONNECTION_LOST.
cdef int connection_write(Connection* connection, SendQueue* queue, Traffic* traffic) noexcept nogil
