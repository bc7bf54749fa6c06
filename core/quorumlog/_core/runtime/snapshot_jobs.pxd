"""What a step wants of the snapshot thread, and of who applies: handed over at once, answered later (snapshotting)."""

from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.runtime.node_state cimport HostedGroup, Node

# Before the step's records go to the log: nothing is applied any more behind a snapshot that was installed.
cdef void jobs_install(HostedGroup* hosted, const Outbox* out) noexcept nogil
# Pieces to be read and stored.
cdef void jobs_hand_over(Node* node, HostedGroup* hosted, Outbox* out) noexcept nogil
