"""What a seed decides beforehand: sizes, speeds, and which faults there are and how hot (swarm testing)."""

from quorumlog._core.simulation.world_state cimport WorldOptions

# Fills everything that the seed and the profile decide; what is set already (not 0) is left.
cdef void draw_options(WorldOptions* options) noexcept nogil
