"""One simulated node: starting it from its disk, stepping its protocol, ending it."""

from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.protocol cimport Event
from quorumlog._core.simulation.world_state cimport Host, Parcel, World

from libc.stdint cimport uint32_t, uint64_t

cdef void host_create(World* world, uint32_t number) noexcept nogil
cdef void host_destroy(World* world, Host* host) noexcept nogil
# Recovers and opens; False if a fault hit the recovery, which is then to be tried again.
cdef bint host_start(World* world, Host* host) noexcept nogil
# The process dies at once; what was being written stays as it is.
cdef void host_stop(World* world, Host* host) noexcept nogil
# What the node's own clock shows.
cdef uint64_t host_clock_ns(const World* world, const Host* host) noexcept nogil
# One event for the protocol, and all that follows but the disk's work.
cdef void host_step(World* world, Host* host, Event* event) noexcept nogil
# The log's flushed WSN moved.
cdef void host_flushed(World* world, Host* host) noexcept nogil
cdef void parcel_drop(Parcel* parcel) noexcept nogil
