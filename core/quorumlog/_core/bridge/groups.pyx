"""Opening groups: the one place that names concrete protocols."""

from quorumlog._core.base.clock cimport monotonic_ns
from quorumlog._core.base.types cimport NODES_MAX, group_t
from quorumlog._core.bridge.errors cimport simple_error
from quorumlog._core.bridge.node cimport GroupCore, NodeCore
from quorumlog._core.protocols.raft cimport RaftOptions, raft_open, raft_protocol
from quorumlog._core.runtime.node cimport group_discard, group_prepare, ticket_leave
from quorumlog._core.runtime.node_state cimport (
    APPLIER_NONE, APPLIER_PYTHON, COMMAND_ADD_GROUP, HostedGroup)
from quorumlog._core.storage.batch cimport pool_open

from libc.stdint cimport uint64_t
from libc.string cimport memset

import threading
from collections import deque

from quorumlog import errors
from quorumlog._core.bridge.applier import run_applier


cdef HostedGroup* prepare(NodeCore core, group_t group, bytes name, object machine, dict o) except NULL:
    cdef int status = 0
    cdef int applier = APPLIER_NONE if machine is None else APPLIER_PYTHON
    cdef HostedGroup* hosted = group_prepare(
        core.node, group, name, applier, o["forward"], o["intake_bytes"], o["session"], &status)
    if hosted == NULL:
        error = simple_error(status, f"open group {name.decode()!r}")
        if isinstance(error, errors.Corrupt):
            error.detail = core.node.report.detail.decode(errors="replace")
            error.args = (f"{error} at {error.detail}: entries that others may rely on are damaged here; "
                          "repair from peers is not built yet, so this group stays closed",)
        raise error
    return hosted


cdef GroupCore core_of(NodeCore core, HostedGroup* hosted, object machine, dict o):
    cdef GroupCore made = GroupCore.__new__(GroupCore)
    made.core = core
    made.hosted = hosted
    made.machine = machine
    made.queries = deque()
    made.pool = pool_open(2 * <uint64_t>o["intake_bytes"] + (32 << 20))
    if made.pool == NULL:
        raise MemoryError()
    return made


def open_raft(NodeCore core, uint64_t group, bytes name, list voters, object machine, dict o):
    """A Raft group on this node, running when this returns.  `o`: see quorumlog.options.RaftOptions."""
    cdef RaftOptions options
    cdef HostedGroup* hosted
    cdef GroupCore made
    core.check_open()
    memset(&options, 0, sizeof(RaftOptions))
    if not 1 <= len(voters) <= NODES_MAX:
        raise errors.UsageError(f"{len(voters)} voters; a group has 1 to {NODES_MAX}")
    hosted = prepare(core, group, name, machine, o)
    options.group = group
    options.self = core.node.identity.node
    for voter in voters:
        options.voters[options.voter_count] = voter
        options.voter_count += 1
    options.election_timeout_ns = o["election_timeout_ns"]
    options.heartbeat_ns = o["heartbeat_ns"]
    options.append_bytes_max = o["append_bytes"]
    options.uncommitted_bytes_max = o["uncommitted_bytes"]
    options.seed = o["seed"]
    options.hard_state_term = hosted.recovered_term
    options.vote = hosted.recovered_vote
    options.unproved_last = hosted.unproved_last
    options.unproved_term = hosted.unproved_term
    hosted.protocol = raft_protocol()
    hosted.state = raft_open(&options, &hosted.log, monotonic_ns())
    if hosted.state == NULL:
        group_discard(hosted)
        raise errors.UsageError(
            f"group {name.decode()!r}: Raft refuses these options (this node must be a voter, once, and the "
            "heartbeat shorter than the election timeout)")
    made = core_of(core, hosted, machine, o)
    start(core, made)
    return made


cdef int start(NodeCore core, GroupCore made) except -1:
    try:
        ticket_leave(core.ask(COMMAND_ADD_GROUP, made.hosted, 0, 10.0))
    except errors.ReadTimeout:
        raise                            # the reactor may still take it: it stays the node's
    except BaseException:
        group_discard(made.hosted)
        made.detach()
        raise
    core.groups.append(made)
    if made.machine is not None and core.applier_thread is None:
        core.applier_thread = threading.Thread(
            target=run_applier, args=(core,), name=f"quorumlog-applier-{core.name}", daemon=True)
        core.applier_thread.start()
    return 0
