"""Why a group's commit does or doesn't move, put together by the reactor from protocol, disk and connections."""

from quorumlog._core.runtime.node_state cimport GroupExplanation, HostedGroup, Node

cdef void group_explain(Node* node, HostedGroup* hosted, GroupExplanation* out) noexcept nogil
