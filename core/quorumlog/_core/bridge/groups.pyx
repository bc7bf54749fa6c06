"""Opening groups: the one place that names concrete protocols."""

from quorumlog._core.base.clock cimport monotonic_ns
from quorumlog._core.base.status cimport ERR_USAGE, OK
from quorumlog._core.base.types cimport GROUPS_MAX, NODES_MAX, group_t
from quorumlog._core.bridge.errors cimport simple_error
from quorumlog._core.bridge.node cimport GroupCore, NodeCore
from quorumlog._core.bridge.snapshots cimport restore_at_opening
from quorumlog._core.engine.faults cimport Fault
from quorumlog._core.protocols.raft cimport RaftOptions, raft_open, raft_protocol
from quorumlog._core.runtime.node cimport (
    group_discard, group_prepare, node_command, ticket_leave, ticket_new, ticket_wait)
from quorumlog._core.runtime.node_state cimport (
    APPLIER_NONE, APPLIER_PYTHON, COMMAND_ADD_GROUP, LOG_CACHE_BYTES, HostedGroup, Ticket)
from quorumlog._core.storage.batch cimport pool_open
from quorumlog._core.storage.snapshot cimport SNAPSHOT_CHUNK_BYTES
from quorumlog._core.storage.wal cimport RecoveredGroup

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

import threading

from quorumlog import errors
from quorumlog._core.bridge.applier import run_applier
from quorumlog.machine import StateMachine


cdef HostedGroup* prepare(NodeCore core, group_t group, bytes name, object machine, bint has_peers,
                          dict o) except NULL:
    cdef int status = 0
    cdef int applier = APPLIER_NONE if machine is None else APPLIER_PYTHON
    cdef HostedGroup* hosted = group_prepare(
        core.node, group, name, applier, o["forward"], o["intake_bytes"], o["session"], has_peers, &status)
    if hosted == NULL:
        error = simple_error(status, f"open group {name.decode()!r}")
        if isinstance(error, errors.Corrupt):
            error.detail = core.node.report.detail.decode(errors="replace")
            error.args = (f"{error} at {error.detail}: entries that were acknowledged are damaged "
                          "here, and the group has no other voter to repair them from: it stays closed",)
        raise error
    return hosted


cdef bint has_snapshots(object machine) except -1:
    """Whether it defines `snapshot` and `restore`: without both, its log is kept from the first entry on."""
    cdef object kind = type(machine)
    for name in ("snapshot", "restore"):
        if not callable(getattr(machine, name, None)) \
                or getattr(kind, name, None) is getattr(StateMachine, name):
            return False
    return True


cdef GroupCore core_of(NodeCore core, HostedGroup* hosted, object machine, dict o):
    cdef GroupCore made = GroupCore.__new__(GroupCore)
    made.core = core
    made.hosted = hosted
    made.machine = machine
    made.leases = o["leases"]
    # Twice what may be in flight, besides what the log keeps in its cache.
    hosted.snapshots = machine is None or has_snapshots(machine)
    hosted.apply.machine_applied = 0 if machine is None else int(getattr(machine, "applied_index", 0) or 0)
    made.pool = pool_open(2 * <uint64_t>o["intake_bytes"] + 2 * <uint64_t>LOG_CACHE_BYTES)
    if made.pool == NULL:
        raise MemoryError()
    return made


cdef int begin_with_snapshot(NodeCore core, GroupCore made, str name) except -1:
    if (made.hosted.snapshot.index or made.hosted.snapshot_needed) and not made.hosted.snapshots:
        raise errors.UsageError(
            f"group {name!r}: its log begins behind a snapshot, and this state machine defines no snapshot and restore")
    return restore_at_opening(core, made)


cdef void* open_recovered(HostedGroup* hosted, RaftOptions* options) noexcept:
    """The protocol over what recovery found of its group; NULL: it refuses, or there is no memory."""
    cdef const RecoveredGroup* found = hosted.recovered
    cdef Fault* faults = NULL
    cdef void* state
    cdef uint32_t i
    options.unproved_last = hosted.unproved_last
    options.unproved_term = hosted.unproved_term
    options.listening = hosted.listening
    options.snapshot = hosted.snapshot
    options.snapshot_needed = hosted.snapshot_needed
    if found != NULL:
        options.hard_state_term = found.hard_state_term
        options.vote = found.vote
        options.fault_count = found.hole_count
        faults = <Fault*>calloc(found.hole_count + 1, sizeof(Fault))
        if faults == NULL:
            return NULL
        for i in range(found.hole_count):
            faults[i].first = found.holes[i].first
            faults[i].last = found.holes[i].last
            faults[i].term = found.holes[i].term
            faults[i].body_crc = found.holes[i].body_crc
            faults[i].identified = found.holes[i].identified
    options.faults = faults
    state = raft_open(options, &hosted.log, monotonic_ns())
    free(faults)
    return state


def open_raft(NodeCore core, uint64_t group, bytes name, list voters, object machine, dict o):
    """A Raft group on this node, running when this returns.  `o`: see quorumlog.options.RaftOptions."""
    cdef RaftOptions options
    cdef HostedGroup* hosted
    cdef GroupCore made
    core.check_open()
    memset(&options, 0, sizeof(RaftOptions))
    if not 1 <= len(voters) <= NODES_MAX:
        raise errors.UsageError(f"{len(voters)} voters; a group has 1 to {NODES_MAX}")
    options.group = group
    options.self = core.node.identity.node
    for voter in voters:
        options.voters[options.voter_count] = voter
        options.voter_count += 1
    options.election_timeout_ns = o["election_timeout_ns"]
    options.heartbeat_ns = o["heartbeat_ns"]
    options.append_bytes_max = o["append_bytes"]
    options.uncommitted_bytes_max = o["uncommitted_bytes"]
    options.leases = o["leases"]
    options.clock_drift_ppm = o["clock_drift_ppm"]
    options.seed = o["seed"]
    options.retained_log_bytes = o["retained_log_bytes"]
    options.snapshot_bytes_per_s = o["snapshot_bytes_per_s"]
    options.piece_bytes = SNAPSHOT_CHUNK_BYTES
    options.priority = o["priority"]
    options.disk_patience_ns = o["disk_patience_ns"]
    hosted = prepare(core, group, name, machine, options.voter_count > 1, o)
    hosted.protocol = raft_protocol()
    if machine is None or has_snapshots(machine):
        options.snapshot_log_bytes = o["snapshot_log_bytes"]
    hosted.state = open_recovered(hosted, &options)
    if hosted.state == NULL:
        group_discard(hosted)
        raise errors.UsageError(
            f"group {name.decode()!r}: Raft refuses these options (this node must be a voter, once, and the "
            "heartbeat shorter than the election timeout)")
    made = None
    try:
        made = core_of(core, hosted, machine, o)
        if machine is not None:
            begin_with_snapshot(core, made, name.decode())
    except BaseException:
        if made is not None:
            made.detach()
        group_discard(hosted)
        raise
    start(core, made, name.decode())
    return made


cdef int start_applier(NodeCore core) except -1:
    """The node's one applier, before the first group that needs it can commit anything."""
    with core.applier_lock:
        if core.applier_thread is None:
            thread = threading.Thread(
                target=run_applier, args=(core,), name=f"quorumlog-applier-{core.name}", daemon=True)
            thread.start()
            core.applier_thread = thread
    return 0


cdef Ticket* prepare_start(NodeCore core, GroupCore made) except NULL:
    cdef Ticket* ticket
    if made.machine is not None:
        start_applier(core)
    core.check_open()
    ticket = ticket_new(COMMAND_ADD_GROUP, made.hosted, 0)
    if ticket == NULL:
        raise MemoryError()
    return ticket


cdef int start(NodeCore core, GroupCore made, str name) except -1:
    """Hands the group to the reactor.  Once asked, the reactor alone knows whether it has the group, so
    this waits for the answer whatever signals come; the reactor, or the end of the node, does answer."""
    cdef Ticket* ticket
    cdef int status
    try:
        ticket = prepare_start(core, made)
    except BaseException:
        group_discard(made.hosted)
        made.detach()
        raise
    node_command(core.node, ticket)
    with nogil:
        while ticket_wait(ticket, -1) != OK:
            pass
    status = ticket.status
    ticket_leave(ticket)
    if status != OK:
        group_discard(made.hosted)
        made.detach()
        if status == ERR_USAGE:
            raise errors.UsageError(
                f"open group {name!r}: it is open on this node already, another group has its id, or there "
                f"are {GROUPS_MAX} groups, which is the most")
        raise simple_error(status, f"open group {name!r}")
    if core.closed:
        made.detach()                    # the group itself goes with the node
        core.check_open()
    core.groups.append(made)
    return 0
