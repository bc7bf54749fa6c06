"""See dropping.pxd."""

from quorumlog._core.base.atomics cimport load_u32
from quorumlog._core.base.status cimport ERR_DROPPED, ERR_MEMORY, ERR_NOT_LEADER, ERR_OVERLOADED, OK
from quorumlog._core.base.types cimport group_t, index_t
from quorumlog._core.engine.last_word cimport last_word
from quorumlog._core.engine.log cimport log_close
from quorumlog._core.engine.protocol cimport ROLE_LEADER
from quorumlog._core.runtime.apply cimport apply_stop
from quorumlog._core.runtime.dispatch cimport group_propose, node_send
from quorumlog._core.runtime.leader_call cimport call_fail
from quorumlog._core.runtime.proposals cimport proposals_fail
from quorumlog._core.runtime.reactor cimport reactor_fail
from quorumlog._core.runtime.reads cimport reads_fail
from quorumlog._core.runtime.snapshotting cimport snapshotting_fail
from quorumlog._core.storage.batch cimport Batch
from quorumlog._core.storage.dropped cimport DROPPED_MAX, dropped_add, dropped_holds
from quorumlog._core.storage.files cimport system_files
from quorumlog._core.storage.snapshot_files cimport snapshots_drop_older
from quorumlog._core.storage.wal cimport wal_drop_group

from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memset


cdef int send_about(Node* node, const HostedGroup* hosted, uint16_t kind, const Message* answered) noexcept nogil:
    """To the leader, or as an answer."""
    cdef Message message
    memset(&message, 0, sizeof(Message))
    message.kind = kind
    if answered != NULL:
        message.protocol = answered.protocol
        message.group = answered.group
        message.target = answered.sender
        message.term = answered.term
    else:
        message.protocol = hosted.protocol.number
        message.group = hosted.group
        message.target = hosted.status.leader
        message.term = hosted.status.term
    return node_send(node, &message)


cdef int propose_drop(Node* node, HostedGroup* hosted) noexcept nogil:
    cdef Batch* batch = last_word(node.pool)
    if batch == NULL:
        return ERR_MEMORY
    batch.group = hosted.group
    return group_propose(node, hosted, batch, node.identity.node)


cdef int drop_ask(Node* node, HostedGroup* hosted) noexcept nogil:
    if hosted.state == NULL:
        return ERR_DROPPED
    if drop_waits(hosted):
        return OK
    if node.dropped.count == DROPPED_MAX:
        return ERR_OVERLOADED
    if hosted.status.role == ROLE_LEADER:
        # Refused while leadership moves, or too much is uncommitted: asked again soon.
        return OK if propose_drop(node, hosted) == OK else ERR_NOT_LEADER
    if hosted.status.leader == 0:
        return ERR_NOT_LEADER
    send_about(node, hosted, MESSAGE_DROP, NULL)       # lost if the leader is not connected: asked again
    return OK


cdef bint drop_on_message(Node* node, HostedGroup* hosted, const Message* message) noexcept nogil:
    if message.kind == MESSAGE_DROP:
        if hosted.status.role == ROLE_LEADER and not drop_waits(hosted):
            propose_drop(node, hosted)                 # what is refused is asked again
        return True
    if message.kind == MESSAGE_DROPPED:
        apply_stop(&hosted.apply, ERR_DROPPED)
        return True
    return False


cdef bint drop_tell(Node* node, const Message* message) noexcept nogil:
    if not dropped_holds(&node.dropped, message.group):
        return False
    if message.kind != MESSAGE_DROPPED:
        send_about(node, NULL, MESSAGE_DROPPED, message)
    return True


cdef bint drop_waits(HostedGroup* hosted) noexcept nogil:
    return load_u32(&hosted.apply.stopped) == <uint32_t>ERR_DROPPED


cdef void drop_files(Node* node, group_t group) noexcept nogil:
    if dropped_holds(&node.dropped, group):
        snapshots_drop_older(system_files(), node.path, group, <index_t>-1)


cdef int close_one(Node* node, uint32_t position) noexcept nogil:
    """The id is durable before anything of the group goes: after a crash in between it goes when the node opens."""
    cdef HostedGroup* hosted = node.groups[position]
    cdef int status = dropped_add(system_files(), node.path, &node.dropped, hosted.group)
    if status != OK:
        return status
    proposals_fail(hosted, ERR_DROPPED)
    reads_fail(&hosted.reads, ERR_DROPPED)
    call_fail(hosted, ERR_DROPPED)
    snapshotting_fail(hosted, ERR_DROPPED)
    node.group_count -= 1
    while position < node.group_count:
        node.groups[position] = node.groups[position + 1]
        position += 1
    hosted.protocol.close(hosted.state)
    hosted.state = NULL
    log_close(&hosted.log)
    wal_drop_group(node.wal, hosted.group)
    drop_files(node, hosted.group)
    # Callers and the applying thread may still look at it: its memory goes with the node.
    hosted.following = node.closed_groups
    node.closed_groups = hosted
    return OK


cdef bint drop_close(Node* node) noexcept nogil:
    cdef uint32_t position = 0
    cdef bint closed_any = False
    cdef int status
    while position < node.group_count:
        if not drop_waits(node.groups[position]):
            position += 1
            continue
        status = close_one(node, position)
        if status != OK:
            reactor_fail(node, status)
            break
        closed_any = True
    return closed_any


cdef void drop_leftovers(Node* node) noexcept nogil:
    cdef uint32_t i
    for i in range(node.report.group_count):
        if dropped_holds(&node.dropped, node.report.groups[i].group):
            wal_drop_group(node.wal, node.report.groups[i].group)
            drop_files(node, node.report.groups[i].group)
