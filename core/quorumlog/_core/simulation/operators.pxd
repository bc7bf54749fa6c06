"""What people do for a node that lost its directory: a new one, made to rejoin, and the command `readmit` at each peer.

Until a peer was told, it refuses the new directory's connections, and keeps those of the old one.
"""

from quorumlog._core.simulation.schedule cimport Occurrence
from quorumlog._core.simulation.world_state cimport Host, Parcel, World

# All that the node held is gone.  It is started by whoever starts nodes, and readmitted some time.
cdef void operators_replace(World* world, Host* host) noexcept nogil
cdef void operators_readmit(World* world, const Occurrence* occurrence) noexcept nogil
# The faults have ended: what is still to be readmitted is, soon.
cdef void operators_hurry(World* world) noexcept nogil
# Whether the two nodes' directories know each other / the one that the message is from and the one it is for.
cdef bint operators_introduced(const World* world, const Host* host, const Host* peer) noexcept nogil
cdef bint operators_let_pass(const World* world, const Host* host, const Parcel* parcel) noexcept nogil
