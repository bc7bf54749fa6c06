"""What is bad on a node's disk, from whoever notices it to the protocol: as runtime/repair and runtime/scrubber do."""

from quorumlog._core.simulation.world_state cimport Host, World

# Tells the protocol what the state machine waits for, and lets it go on once that is repaired.
cdef void mend_turn(World* world, Host* host) noexcept nogil
# The background scrub, with the node's life.
cdef void mend_start(World* world, Host* host) noexcept nogil
cdef void mend_stop(Host* host) noexcept nogil
cdef void mend_scrub(World* world, Host* host) noexcept nogil
