"""See explaining.pxd."""

from quorumlog._core.base.atomics cimport load_u32, load_u64
from quorumlog._core.engine.explain cimport Standing, Surroundings, explain
from quorumlog._core.runtime.transport cimport transport_reachable

from libc.stdint cimport uint32_t
from libc.string cimport memset


cdef void group_explain(Node* node, HostedGroup* hosted, GroupExplanation* out) noexcept nogil:
    cdef Standing standing
    cdef Surroundings around
    cdef uint32_t i
    hosted.protocol.status(hosted.state, &out.status)
    out.count = 0
    if hosted.protocol.standing == NULL:
        return
    hosted.protocol.standing(hosted.state, &standing)
    for i in range(standing.peer_count):
        standing.peers[i].reachable = transport_reachable(node.transport, standing.peers[i].node)
    memset(&around, 0, sizeof(Surroundings))
    around.now_ns = node.now_ns
    around.failure = <int>load_u32(&node.failure)
    around.stopped = <int>load_u32(&hosted.apply.stopped)
    around.disk_since_ns = node.disk_since_ns
    around.starved_since_ns = node.starved_since_ns
    around.proposals = hosted.proposals.next - hosted.proposals.first
    around.applied = load_u64(&hosted.apply.applied)
    out.count = explain(&standing, &around, out.findings)
