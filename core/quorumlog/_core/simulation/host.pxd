"""One simulated node's steps: events in, records to its log, messages to the network."""

from quorumlog._core.engine.protocol cimport Event
from quorumlog._core.simulation.world_state cimport Host, Parcel, World

from libc.stdint cimport uint64_t

# What the node's own clock shows.
cdef uint64_t host_clock_ns(const World* world, const Host* host) noexcept nogil
# One event for the protocol, and all that follows but the disk's work.
cdef void host_step(World* world, Host* host, Event* event) noexcept nogil
# The log's flushed WSN moved.
cdef void host_flushed(World* world, Host* host) noexcept nogil
cdef void parcel_drop(Parcel* parcel) noexcept nogil
