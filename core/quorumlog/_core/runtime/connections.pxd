"""All connections of a transport: the live ones by age, the memory of closed ones, and who may come in.

Admission is about strangers.  A connection whose opening is not finished is
*half open*; there are two bounded classes of them, from addresses of configured
peers and from anywhere else, so that a flood from elsewhere leaves the peers'
places alone.  A full class gives up its oldest: an honest dialer finishes
within a round trip or two, so the oldest is the least likely to be one.
"""

from quorumlog._core.runtime.connection cimport Connection
from quorumlog._core.runtime.sockets cimport Address

from libc.stdint cimport uint32_t

cdef enum:
    HALF_OPEN_PER_ADDRESS = 16

cdef struct Connections:
    Connection* oldest                 # of the live ones
    Connection* newest
    Connection* closed                 # memory for the next ones
    uint32_t live


cdef void connections_open(Connections* all) noexcept nogil
cdef void connections_free(Connections* all) noexcept nogil        # none is live any more
# Zeroed and appended to the live ones; NULL: no memory.
cdef Connection* connections_add(Connections* all) noexcept nogil
cdef void connections_remove(Connections* all, Connection* connection) noexcept nogil
# The half-open connection to close so that one more from `address` keeps within the bounds, or NULL.
cdef Connection* connections_to_evict(Connections* all, const Address* address, bint known_host,
                                      uint32_t class_max) noexcept nogil
