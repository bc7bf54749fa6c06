"""What breaks in the simulated cluster, drawn per seed: some faults off, some hot (swarm testing)."""

from quorumlog._core.simulation.world_state cimport Host, World, WorldOptions

from libc.stdint cimport uint64_t

# Fills everything that a seed decides; sizes and times of the run that are set (not 0) are left.
cdef void draw_options(WorldOptions* options) noexcept nogil
# One fault, or the end of one.
cdef void fault_turn(World* world) noexcept nogil
cdef void crash(World* world, Host* host, bint power) noexcept nogil
cdef void start_later(World* world, Host* host, uint64_t delay_ns) noexcept nogil
# All faults end; every node is up or about to be.
cdef void heal_world(World* world) noexcept nogil
