"""The wire, for tests: frames, send queue, receiver and whole transports, in bytes and ints.

Messages are tuples (kind, protocol, group, sender, target, term, fields, batches);
a batch going in is (kind, group, term, first, count, session, sequence, body),
a batch coming out (identity bytes, body bytes).
"""

from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.status cimport ERR_AGAIN, OK
from quorumlog._core.engine.message cimport MESSAGE_BATCHES_MAX, Message, message_drop_batches
from quorumlog._core.runtime.receiving cimport (
    Receiver, receiver_close, receiver_done, receiver_filled, receiver_next, receiver_open,
    receiver_partial, receiver_room,
)
from quorumlog._core.runtime.sending cimport (
    SendQueue, send_queue_bytes, send_queue_clear, send_queue_close, send_queue_gather, send_queue_open,
    send_queue_push, send_queue_written,
)
from quorumlog._core.runtime.sockets cimport iovec
from quorumlog._core.runtime.source cimport Source
from quorumlog._core.runtime.transport cimport (
    Transport, TransportOptions, TransportStatus, transport_add_peer, transport_close, transport_flush,
    transport_open, transport_port, transport_reachable, transport_send, transport_status, transport_time,
)
from quorumlog._core.runtime.wire cimport frame_encode, frame_head_bytes
from quorumlog._core.storage.batch cimport (
    IDENTITY_BYTES, Batch, BatchPool, batch_drop, batch_new, batch_stamp, pool_close, pool_open,
)
from quorumlog._core.base.atomics cimport load_u64

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        void* ptr
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_wait(int epoll_fd, epoll_event* events, int count, int timeout_ms)
    int EPOLL_CLOEXEC

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef enum:
    EVENTS_MAX = 64
    VECTORS_MAX = 64


cdef Batch* batch_from(BatchPool* pool, tuple made) except NULL:
    kind, group, term, first, count, session, sequence, body = made
    cdef bytes data = body
    cdef Batch* batch = batch_new(pool, <uint32_t>len(data))
    if batch == NULL:
        raise MemoryError("the pool is at its limit")
    memcpy(batch.body, <const uint8_t*>data, len(data))
    batch.kind = kind
    batch.group = group
    batch.term = term
    batch.first = first
    batch.count = count
    batch.session = session
    batch.sequence = sequence
    batch.body_crc = crc32c(0, batch.body, len(data))
    batch_stamp(batch)
    return batch


cdef int message_from(BatchPool* pool, tuple made, Message* message, Batch** batches) except -1:
    """Fills `message`; its batches are references of the caller's."""
    kind, protocol, group, sender, target, term, fields, bodies = made
    cdef int i
    memset(message, 0, sizeof(Message))
    message.kind = kind
    message.protocol = protocol
    message.group = group
    message.sender = sender
    message.target = target
    message.term = term
    for i, field in enumerate(fields):
        message.fields[i] = field
    message.batches = batches
    try:
        for body in bodies:
            batches[message.batch_count] = batch_from(pool, body)
            message.batch_count += 1
    except BaseException:
        message_drop_batches(message)
        raise
    return 0


cdef tuple message_to(const Message* message):
    cdef int i
    cdef list batches = []
    for i in range(message.batch_count):
        batches.append((message.batches[i].identity[:IDENTITY_BYTES],
                        message.batches[i].body[:message.batches[i].body_bytes]))
    return (message.kind, message.protocol, message.group, message.sender, message.target, message.term,
            tuple([message.fields[i] for i in range(8)]), batches)


cdef bytes gathered(const SendQueue* queue, uint64_t bytes_max, uint32_t vectors_max):
    cdef iovec vectors[VECTORS_MAX]
    cdef uint32_t room = min(vectors_max, <uint32_t>VECTORS_MAX)
    cdef uint32_t count = send_queue_gather(queue, vectors, room, bytes_max)
    cdef uint32_t i
    cdef list parts = []
    for i in range(count):
        parts.append((<const char*>vectors[i].iov_base)[:vectors[i].iov_len])
    return b"".join(parts)


cdef class Pool:
    """A batch pool, and how much of it is handed out."""

    cdef BatchPool* pool

    def __cinit__(self, limit_bytes=1 << 28):
        self.pool = pool_open(limit_bytes)
        if self.pool == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.pool != NULL:
            pool_close(self.pool)

    @property
    def used_bytes(self):
        return load_u64(&self.pool.used_bytes)

    def hold(self, body_bytes):
        return Held(self, body_bytes)


cdef class Held:
    """Memory of a pool, taken until `release`."""

    cdef Pool pool
    cdef Batch* batch

    def __cinit__(self, Pool pool, body_bytes):
        self.pool = pool
        self.batch = batch_new(pool.pool, body_bytes)
        if self.batch == NULL:
            raise MemoryError("the pool is at its limit")

    def __dealloc__(self):
        self.release()

    def release(self):
        if self.batch != NULL:
            batch_drop(self.batch)
            self.batch = NULL


def encode(tuple made):
    """The whole frame of a message."""
    cdef Pool pool = Pool()
    cdef Message message
    cdef Batch* batches[MESSAGE_BATCHES_MAX]
    cdef bytearray head
    cdef int i
    message_from(pool.pool, made, &message, batches)
    head = bytearray(frame_head_bytes(&message))
    frame_encode(&message, head)
    out = bytes(head) + b"".join(message_to(&message)[7][i][1] for i in range(message.batch_count))
    message_drop_batches(&message)
    return out


cdef class Queue:
    """One peer's send queue; `write(n)` is a socket that takes at most n bytes."""

    cdef SendQueue queue
    cdef readonly Pool pool

    def __cinit__(self, bulk_bytes_max=1 << 20):
        send_queue_open(&self.queue, bulk_bytes_max)
        self.pool = Pool()

    def __dealloc__(self):
        send_queue_close(&self.queue)

    def push(self, tuple made):
        cdef Message message
        cdef Batch* batches[MESSAGE_BATCHES_MAX]
        message_from(self.pool.pool, made, &message, batches)
        return send_queue_push(&self.queue, &message)

    def write(self, count, vectors_max=VECTORS_MAX):
        """The bytes that went, and how many frames they completed."""
        data = gathered(&self.queue, count, vectors_max)
        return data, send_queue_written(&self.queue, len(data))

    def clear(self):
        return send_queue_clear(&self.queue)

    @property
    def queued_bytes(self):
        return send_queue_bytes(&self.queue)


cdef class Decoder:
    """The receiving side of one connection, fed by hand."""

    cdef Receiver* receiver
    cdef readonly Pool pool
    cdef readonly int status           # of the last receiver_next that was not OK

    def __cinit__(self, node, peer, pool_limit=1 << 26):
        self.pool = Pool(pool_limit)
        self.receiver = receiver_open(self.pool.pool, node, peer)
        self.status = ERR_AGAIN

    def __dealloc__(self):
        receiver_close(self.receiver)

    @property
    def partial(self):
        return bool(receiver_partial(self.receiver))

    def _whole(self):
        cdef list messages = []
        self.status = receiver_next(self.receiver)
        while self.status == OK:
            messages.append(message_to(&self.receiver.message))
            receiver_done(self.receiver)
            self.status = receiver_next(self.receiver)
        return messages

    def feed(self, bytes data):
        """Takes bytes as a socket would give them; the messages that became whole."""
        cdef iovec vectors[VECTORS_MAX]
        cdef uint32_t count, i
        cdef size_t at = 0, n, taken
        cdef list messages = self._whole()
        while at < <size_t>len(data) and self.status == ERR_AGAIN:
            count = receiver_room(self.receiver, vectors, 16)
            taken = 0
            for i in range(count):
                n = min(vectors[i].iov_len, <size_t>len(data) - at)
                memcpy(vectors[i].iov_base, (<const uint8_t*>data) + at, n)
                at += n
                taken += n
            receiver_filled(self.receiver, taken)
            messages += self._whole()
        return messages


cdef void node_message(void* context, const Message* message, uint64_t now_ns) noexcept nogil:
    with gil:
        (<Node>context).messages.append(message_to(message))


cdef void node_reachable(void* context, uint64_t peer, bint reachable, uint64_t now_ns) noexcept nogil:
    with gil:
        (<Node>context).changes.append((peer, bool(reachable)))


cdef bint node_incarnation(void* context, uint64_t peer, uint64_t incarnation) noexcept nogil:
    with gil:
        return (<Node>context).incarnations.setdefault(peer, incarnation) == incarnation


cdef class Node:
    """A transport with its own epoll, stepped by hand; time is whatever the test says it is."""

    cdef Transport* transport
    cdef int epoll_fd
    cdef readonly Pool pool
    cdef readonly list messages
    cdef readonly list changes         # (peer, reachable) as told
    cdef readonly dict incarnations

    def __cinit__(self, node, *, incarnation=1, cluster=b"c" * 16, token=b"t" * 32, host="127.0.0.1", port=0,
                  pool_limit=1 << 28, send_queue_bytes_max=8 << 20, connections_max=64, seed=1):
        cdef TransportOptions options
        cdef char detail[256]
        memset(&options, 0, sizeof(options))
        self.messages = []
        self.changes = []
        self.incarnations = {}
        self.pool = Pool(pool_limit)
        self.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
        options.node = node
        options.incarnation = incarnation
        memcpy(options.cluster, <const uint8_t*><bytes>cluster, 16)
        memcpy(options.token, <const uint8_t*><bytes>token, 32)
        encoded = host.encode()
        memcpy(options.listen_host, <const char*><bytes>encoded, min(<size_t>len(encoded), <size_t>63))
        options.listen_port = port
        options.epoll_fd = self.epoll_fd
        options.seed = seed
        options.send_queue_bytes_max = send_queue_bytes_max
        options.pool = self.pool.pool
        options.connections_max = connections_max
        options.on_message = node_message
        options.on_reachable = node_reachable
        options.accept_incarnation = node_incarnation
        options.context = <void*>self
        detail[0] = 0
        status = transport_open(&options, &self.transport, detail, sizeof(detail))
        if status != OK:
            raise OSError(status, (<bytes>detail).decode())

    def __dealloc__(self):
        self.close()
        if self.epoll_fd >= 0:
            close(self.epoll_fd)

    def close(self):
        transport_close(self.transport)
        self.transport = NULL

    @property
    def port(self):
        return transport_port(self.transport)

    def add_peer(self, node, port, host="127.0.0.1"):
        encoded = host.encode()
        return transport_add_peer(self.transport, node, encoded, port)

    def send(self, tuple made, Pool pool=None):
        cdef Message message
        cdef Batch* batches[MESSAGE_BATCHES_MAX]
        message_from((pool or self.pool).pool, made, &message, batches)
        return transport_send(self.transport, &message)

    def step(self, now_ns, timeout_ms=0):
        """One reactor turn; the next deadline."""
        cdef epoll_event events[EVENTS_MAX]
        cdef Source* source
        cdef int i
        cdef uint64_t now = now_ns
        cdef int count, timeout = timeout_ms
        with nogil:
            count = epoll_wait(self.epoll_fd, events, EVENTS_MAX, timeout)
        for i in range(count):
            source = <Source*>events[i].data.ptr
            source.ready(source.self, events[i].events, now)
        deadline = transport_time(self.transport, now)
        transport_flush(self.transport, now)
        return deadline

    def ready_count(self):
        """How many sources epoll would name now."""
        cdef epoll_event events[EVENTS_MAX]
        return epoll_wait(self.epoll_fd, events, EVENTS_MAX, 0)

    def reachable(self, peer):
        return bool(transport_reachable(self.transport, peer))

    def status(self):
        cdef TransportStatus status
        transport_status(self.transport, &status)
        return status
