"""The reactor's part in snapshots: who makes one, and what protocols are told.

A snapshot is made where the state is: of a group without a state machine right here and by
the snapshot thread; else the applying thread is asked for a view.
"""

from quorumlog._core.runtime.node_state cimport HostedGroup, Node, SnapshotMade, Ticket

# What the snapshot thread has done; True if it was anything.
cdef bint snapshotting_turn(Node* node) noexcept nogil
# What a group has to do: begin one that is due, go on with one that was installed.
cdef void snapshotting_group(Node* node, HostedGroup* hosted) noexcept nogil
# COMMAND_SNAPSHOT: the ticket is answered when one is durable, that holds all that is applied here now.
cdef void snapshotting_asked(Node* node, HostedGroup* hosted, Ticket* ticket) noexcept nogil
# COMMAND_SNAPSHOT_MADE
cdef void snapshotting_made(Node* node, HostedGroup* hosted, const SnapshotMade* made) noexcept nogil
# The node failed or ends: nobody will make one any more.
cdef void snapshotting_fail(HostedGroup* hosted, int status) noexcept nogil
