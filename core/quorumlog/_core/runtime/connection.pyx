"""One connection: moves bytes between its socket and the pure state machines beside it."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.base.status cimport (
    ERR_AGAIN, ERR_CONNECTION_LOST, ERR_IO, ERR_MEMORY, ERR_PEER, OK,
)
from quorumlog._core.base.types cimport node_t
from quorumlog._core.runtime.opening cimport (
    OPENING_PROVED, OpeningSelf, opening_missing, opening_step,
)
from quorumlog._core.runtime.receiving cimport (
    receiver_close, receiver_done, receiver_filled, receiver_next, receiver_open, receiver_partial,
    receiver_room,
)
from quorumlog._core.runtime.sending cimport (
    SendQueue, send_queue_empty, send_queue_gather, send_queue_written,
)
from quorumlog._core.runtime.sockets cimport (
    EAGAIN, EPOLLIN, EPOLLOUT, iovec, poll_add, poll_change, poll_remove, socket_close, socket_read,
    socket_write,
)
from quorumlog._core.storage.batch cimport BatchPool

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    VECTORS_MAX = 128
    READ_VECTORS_MAX = 16
    WRITE_BYTES_MAX = 512 << 10        # of one system call


cdef int connection_arm(Connection* c, uint32_t events) noexcept nogil:
    cdef int error = 0
    if events == c.armed:
        return OK
    if events == 0:
        # Removed, not masked: EPOLLHUP can't be masked and would come again and again.
        poll_remove(c.epoll_fd, c.fd)
    elif c.armed == 0:
        error = poll_add(c.epoll_fd, c.fd, events, &c.source)
    else:
        error = poll_change(c.epoll_fd, c.fd, events, &c.source)
    if error != 0:
        return ERR_IO
    c.armed = events
    return OK


cdef void connection_close(Connection* c) noexcept nogil:
    check(c.state != CONNECTION_FREE, b"Q-CONNECTION-01 a connection is closed twice")
    connection_arm(c, 0)
    socket_close(c.fd)
    receiver_close(c.receiver)
    c.receiver = NULL
    c.fd = -1
    c.armed = 0
    c.paused = False
    c.state = CONNECTION_FREE


cdef int outbox_send(Connection* c) noexcept nogil:
    """OK when nothing of the opening is left to be sent."""
    cdef iovec vector
    cdef ssize_t n
    if c.opening.outbox_bytes == 0:
        return OK
    vector.iov_base = c.opening.outbox
    vector.iov_len = c.opening.outbox_bytes
    n = socket_write(c.fd, &vector, 1)
    if n == -EAGAIN and not c.connected:
        return ERR_AGAIN               # connect is still under way
    # A fresh socket always has room for a piece of the opening.
    if n < 0 or n != c.opening.outbox_bytes:
        return ERR_CONNECTION_LOST
    c.connected = True
    c.opening.outbox_bytes = 0
    return OK


cdef int connection_opening(Connection* c, const OpeningSelf* self) noexcept nogil:
    cdef iovec vector
    cdef ssize_t n
    cdef int status
    while c.opening.step != OPENING_PROVED:
        status = outbox_send(c)
        if status != OK:
            return status
        if connection_arm(c, EPOLLIN) != OK:
            return ERR_CONNECTION_LOST
        vector.iov_base = c.opening.inbox + c.opening.inbox_bytes
        vector.iov_len = opening_missing(&c.opening)
        n = socket_read(c.fd, &vector, 1)
        if n == -EAGAIN:
            return ERR_AGAIN
        if n <= 0:
            return ERR_CONNECTION_LOST
        c.opening.inbox_bytes += <uint32_t>n
        if opening_step(&c.opening, self) != OK:
            return ERR_PEER
    return OK


cdef int connection_opened(Connection* c, BatchPool* pool, node_t node, uint64_t now_ns) noexcept nogil:
    check(c.state == CONNECTION_OPENING and c.opening.step == OPENING_PROVED,
          b"Q-CONNECTION-02 a connection opens before the other side is proved")
    if not c.dialer:
        c.receiver = receiver_open(pool, node, c.opening.peer)
        if c.receiver == NULL:
            return ERR_MEMORY
    if outbox_send(c) != OK:
        return ERR_CONNECTION_LOST
    c.peer = c.opening.peer
    c.state = CONNECTION_OPEN
    c.opened_ns = now_ns
    c.progress_ns = now_ns
    return OK


cdef int deliver_all(Connection* c, const Delivery* delivery, Traffic* traffic,
                     uint64_t now_ns) noexcept nogil:
    """Hands over every whole message; why there is no further one."""
    cdef int reason
    while True:
        reason = receiver_next(c.receiver)
        if reason != OK:
            return reason
        traffic.received_frames += 1
        delivery.on_message(delivery.context, &c.receiver.message, now_ns)
        receiver_done(c.receiver)


cdef ssize_t read_some(Connection* c, bint* drained) noexcept nogil:
    cdef iovec vectors[READ_VECTORS_MAX]
    cdef uint32_t count = receiver_room(c.receiver, vectors, READ_VECTORS_MAX)
    cdef uint64_t asked = 0
    cdef uint32_t i
    cdef ssize_t n
    for i in range(count):
        asked += vectors[i].iov_len
    check(asked > 0, b"Q-CONNECTION-03 a connection is read without room for a byte")
    n = socket_read(c.fd, vectors, count)
    drained[0] = n < <ssize_t>asked
    return n


cdef int connection_read(Connection* c, const Delivery* delivery, Traffic* traffic,
                         uint64_t now_ns) noexcept nogil:
    cdef uint64_t bytes = 0
    cdef bint drained = False
    cdef int reason
    cdef ssize_t n
    if c.paused:
        c.progress_ns = now_ns         # the waiting was ours
    while True:
        # Also before the first read: what waited for memory lies in the buffer.
        reason = deliver_all(c, delivery, traffic, now_ns)
        if reason == ERR_MEMORY:
            c.paused = True
            return OK if connection_arm(c, 0) == OK else ERR_CONNECTION_LOST
        if reason != ERR_AGAIN:
            return reason
        if drained or bytes >= TURN_BYTES_MAX:
            break
        n = read_some(c, &drained)
        if n == -EAGAIN:
            break
        if n == 0 and receiver_partial(c.receiver):
            return ERR_PEER            # closed in order, but inside a frame
        if n <= 0:
            return ERR_CONNECTION_LOST
        receiver_filled(c.receiver, n)
        bytes += n
        traffic.received_bytes += n
        c.progress_ns = now_ns
    c.paused = False
    return OK if connection_arm(c, EPOLLIN) == OK else ERR_CONNECTION_LOST


cdef int connection_read_nothing(Connection* c) noexcept nogil:
    cdef char byte
    cdef iovec vector
    cdef ssize_t n
    vector.iov_base = &byte
    vector.iov_len = 1
    n = socket_read(c.fd, &vector, 1)
    if n == -EAGAIN:
        return OK
    return ERR_PEER if n > 0 else ERR_CONNECTION_LOST


cdef int connection_write(Connection* c, SendQueue* queue, Traffic* traffic) noexcept nogil:
    cdef iovec vectors[VECTORS_MAX]
    cdef uint32_t count, i
    cdef uint64_t asked, bytes = 0
    cdef ssize_t n
    while not send_queue_empty(queue) and bytes < TURN_BYTES_MAX:
        count = send_queue_gather(queue, vectors, VECTORS_MAX, WRITE_BYTES_MAX)
        asked = 0
        for i in range(count):
            asked += vectors[i].iov_len
        n = socket_write(c.fd, vectors, count)
        if n == -EAGAIN:
            break
        if n < 0:
            return ERR_CONNECTION_LOST
        traffic.sent_frames += send_queue_written(queue, n)
        traffic.sent_bytes += n
        bytes += n
        if <uint64_t>n < asked:
            break                      # the socket is full: EPOLLOUT tells when it isn't
    if connection_arm(c, EPOLLIN if send_queue_empty(queue) else EPOLLIN | EPOLLOUT) != OK:
        return ERR_CONNECTION_LOST
    return OK
