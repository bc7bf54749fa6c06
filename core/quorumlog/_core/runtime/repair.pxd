"""What reading the log finds bad, from whoever reads it to the group's protocol, and back when it is repaired."""

from quorumlog._core.runtime.node_state cimport HostedGroup, Node

# The reactor's: the applying thread waits for an entry that can't be read.  True: it may go on.
cdef bint repair_group(Node* node, HostedGroup* hosted) noexcept nogil
# The reactor's: what the scrubber has found.
cdef void repair_scrubbed(Node* node) noexcept nogil
# Something was found that the protocol doesn't know of yet.
cdef bint repair_waits(HostedGroup* hosted) noexcept nogil
