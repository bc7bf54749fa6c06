"""What this node knows of how its group stands, for whoever asks why commit does not move."""

from quorumlog._core.engine.explain cimport Standing

cdef void raft_standing(void* state, Standing* out) noexcept nogil
