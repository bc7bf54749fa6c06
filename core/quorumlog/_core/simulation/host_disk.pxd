"""The log writer of a simulated node: plans in virtual time, sector by sector at the mercy of crashes."""

from quorumlog._core.simulation.schedule cimport Occurrence
from quorumlog._core.simulation.world_state cimport Host, World

# Gives out what the log wants written.
cdef void host_plan(World* world, Host* host) noexcept nogil
# A plan's bytes are in the cache; its sync comes later.
cdef void host_disk_write(World* world, Host* host, const Occurrence* occurrence) noexcept nogil
# It is synced or has failed; False: the node must stop (P5).
cdef bint host_disk_done(World* world, Host* host, const Occurrence* occurrence) noexcept nogil
# The writer has had nothing to do for a while.
cdef void host_idle(World* world, Host* host) noexcept nogil
# Cold batches for a peer.
cdef void host_fetch(World* world, Host* host, const Occurrence* occurrence) noexcept nogil
