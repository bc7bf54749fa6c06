"""See survey.pxd."""

from quorumlog._core.base.atomics cimport load_u64
from quorumlog._core.base.status cimport ERR_NOT_FOUND, OK
from quorumlog._core.runtime.explaining cimport group_explain
from quorumlog._core.runtime.node_state cimport APPLIER_NONE, HostedGroup
from quorumlog._core.runtime.reactor cimport reactor_status
from quorumlog._core.runtime.transport cimport transport_port, transport_reachable
from quorumlog._core.storage.usage cimport wal_group_bytes

from libc.string cimport memcpy, memset

cdef extern from "<unistd.h>" nogil:
    int getpid()


cdef void survey_node(Node* node, NodeSurvey* out) noexcept nogil:
    cdef uint32_t i
    memset(out, 0, sizeof(NodeSurvey))
    memcpy(out.cluster, node.identity.cluster, 16)
    out.node = node.identity.node
    memcpy(out.name, node.identity.name, 64)
    out.incarnation = node.identity.incarnation
    out.pid = <uint64_t>getpid()
    out.port = transport_port(node.transport)
    out.pinned_bytes = node.pinned_bytes()
    out.segment_bytes = node.segment_bytes
    out.group_count = node.group_count
    out.peer_count = node.peer_count
    for i in range(node.peer_count):
        out.peers[i].node = node.peers[i]
        memcpy(out.peers[i].name, node.peer_names[i], 64)
        out.peers[i].connected = transport_reachable(node.transport, node.peers[i])
    reactor_status(node, &out.status)


cdef int survey_group(Node* node, GroupSurvey* out) noexcept nogil:
    cdef uint32_t position = out.position
    cdef HostedGroup* hosted
    if position >= node.group_count:
        return ERR_NOT_FOUND
    hosted = node.groups[position]
    out.group = hosted.group
    memcpy(out.name, hosted.name, 256)
    out.has_machine = hosted.applier != APPLIER_NONE
    out.applied = load_u64(&hosted.apply.applied)
    out.log_bytes = wal_group_bytes(node.wal, hosted.group)
    out.cached_bytes = hosted.log.cached_bytes
    out.outstanding_bytes = load_u64(&hosted.intake.outstanding_bytes)
    out.sessions = load_u64(&hosted.apply.session_count)
    group_explain(node, hosted, &out.explanation)
    return OK
