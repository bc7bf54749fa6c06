"""A look at a whole node for somebody outside its process; put together by the reactor, one group at a time.

The structs travel as they are over the control socket (runtime/control), to a program of the same build.
"""

from quorumlog._core.base.types cimport NODES_MAX, group_t, node_t
from quorumlog._core.runtime.node_state cimport GroupExplanation, Node, NodeStatus

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef struct SurveyedPeer:
    node_t node
    char name[64]
    bint connected

cdef struct NodeSurvey:
    uint8_t cluster[16]
    node_t node
    char name[64]
    uint64_t incarnation
    uint64_t pid
    uint16_t port
    uint64_t pinned_bytes
    uint64_t segment_bytes         # of one file
    uint32_t group_count
    uint32_t peer_count
    SurveyedPeer peers[NODES_MAX]
    NodeStatus status

cdef struct GroupSurvey:
    uint32_t position              # as asked: 0, 1, ...
    group_t group
    char name[256]
    bint has_machine
    uint64_t applied
    uint64_t log_bytes             # on disk
    uint64_t cached_bytes          # of the log, in memory
    uint64_t outstanding_bytes     # proposed here, not settled
    uint64_t sessions
    GroupExplanation explanation


cdef void survey_node(Node* node, NodeSurvey* out) noexcept nogil
# ERR_NOT_FOUND: there are no more groups.
cdef int survey_group(Node* node, GroupSurvey* out) noexcept nogil
