"""The list of connections, and the choice of which half-open one goes."""

from quorumlog._core.base.checks cimport check
from quorumlog._core.runtime.connection cimport CONNECTION_FREE, CONNECTION_OPENING, Connection
from quorumlog._core.runtime.sockets cimport Address, address_same_host

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset


cdef void connections_open(Connections* all) noexcept nogil:
    memset(all, 0, sizeof(Connections))


cdef void connections_free(Connections* all) noexcept nogil:
    cdef Connection* c = all.closed
    cdef Connection* next
    check(all.live == 0, b"Q-CONNECTIONS-01 the memory of a live connection is freed")
    while c != NULL:
        next = c.next
        free(c)
        c = next
    all.closed = NULL


cdef Connection* connections_add(Connections* all) noexcept nogil:
    cdef Connection* c = all.closed
    if c != NULL:
        all.closed = c.next
    else:
        c = <Connection*>malloc(sizeof(Connection))
        if c == NULL:
            return NULL
    memset(c, 0, sizeof(Connection))
    c.fd = -1
    c.previous = all.newest
    if all.newest != NULL:
        all.newest.next = c
    else:
        all.oldest = c
    all.newest = c
    all.live += 1
    return c


cdef void connections_remove(Connections* all, Connection* c) noexcept nogil:
    check(c.state == CONNECTION_FREE, b"Q-CONNECTIONS-02 a connection is removed before it is closed")
    if c.previous != NULL:
        c.previous.next = c.next
    else:
        all.oldest = c.next
    if c.next != NULL:
        c.next.previous = c.previous
    else:
        all.newest = c.previous
    all.live -= 1
    c.previous = NULL
    c.next = all.closed
    all.closed = c


cdef Connection* connections_to_evict(Connections* all, const Address* address, bint known_host,
                                      uint32_t class_max) noexcept nogil:
    cdef Connection* c = all.oldest
    cdef Connection* oldest = NULL             # of the class
    cdef Connection* oldest_here = NULL        # of the address
    cdef uint32_t in_class = 0
    cdef uint32_t from_here = 0
    while c != NULL:
        if c.state == CONNECTION_OPENING and not c.dialer and c.known_host == known_host:
            in_class += 1
            if oldest == NULL:
                oldest = c
            if address_same_host(&c.address, address):
                from_here += 1
                if oldest_here == NULL:
                    oldest_here = c
        c = c.next
    if from_here >= HALF_OPEN_PER_ADDRESS:
        return oldest_here
    return oldest if in_class >= class_max else NULL
