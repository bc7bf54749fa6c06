"""What breaks in the simulated cluster, turn by turn, as hot as the seed has it."""

from quorumlog._core.simulation.schedule cimport Occurrence
from quorumlog._core.simulation.world_state cimport Host, World

from libc.stdint cimport uint64_t

cdef enum FaultTurn:
    TURN_DRAWN = 0             # one fault, drawn
    TURN_MEND = 1              # all links are whole again
    TURN_SECOND_CRASH = 2      # of `node`, with the power if `extra`

cdef void fault_turn(World* world, const Occurrence* occurrence) noexcept nogil
cdef void crash(World* world, Host* host, bint power) noexcept nogil
cdef void start_later(World* world, Host* host, uint64_t delay_ns) noexcept nogil
# The host is back: what was waiting for that.
cdef void fault_after_start(World* world, Host* host) noexcept nogil
# All faults end; every node is up or about to be.
cdef void heal_world(World* world) noexcept nogil
