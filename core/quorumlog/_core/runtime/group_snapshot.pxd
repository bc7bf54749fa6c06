"""Which snapshot a group begins from when it is opened."""

from quorumlog._core.runtime.node_state cimport HostedGroup, Node

# Over its restored log, before it applies anything: takes the newest snapshot that is whole and that the log
# reaches, with its sessions.  Damaged ones are removed.  `hosted.snapshot_needed` says that there is none and that one
# must come from a peer.  The state itself is the caller's to restore.  OK, ERR_CORRUPT (without peers; `detail` says
# where), ERR_IO or ERR_MEMORY.  The opening thread.
cdef int group_take_snapshot(Node* node, HostedGroup* hosted, bint has_peers) noexcept nogil
