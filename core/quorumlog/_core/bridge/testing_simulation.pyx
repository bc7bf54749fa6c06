"""Test-facing: one run of the simulated cluster, by its seed.  Here, and not below, a protocol is named."""

from quorumlog._core.base.mutants cimport mutants_built
from quorumlog._core.bridge.testing_disk cimport VirtualDisk
from quorumlog._core.bridge.testing_machine cimport Machines
from quorumlog._core.engine.faults cimport Fault
from quorumlog._core.engine.log cimport GroupLog
from quorumlog._core.protocols.paxos cimport PaxosOptions, paxos_open, paxos_protocol
from quorumlog._core.protocols.raft cimport RaftOptions, raft_open, raft_protocol
from quorumlog._core.simulation.disk cimport disk_clone
from quorumlog._core.simulation.fault_kinds cimport FAULT_KINDS
from quorumlog._core.simulation.history cimport (
    History, Operation, history_call, history_close, history_is_linearizable,
    history_return,
)
from quorumlog._core.simulation.ledger cimport ledger_committed_last
from quorumlog._core.simulation.marks cimport MARKS
from quorumlog._core.simulation.swarm cimport draw_options
from quorumlog._core.simulation.trace cimport TraceRecord
from quorumlog._core.simulation.world cimport world_close, world_open, world_run
from quorumlog._core.simulation.world_state cimport Host, OpenRequest, World, WorldOptions

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef enum:
    UNCOMMITTED_BYTES_MAX = 1 << 20

# In the order of simulation/fault_kinds.pxd, simulation/marks.pxd and simulation/trace.pxd.
FAULTS = (
    "loss", "duplication", "delay", "reordering", "replay", "partition", "one_way_cut", "bridge", "clog",
    "process_crash", "power_cut", "blackout", "second_crash", "recovery_crash", "pause", "wipe",
    "write_error", "sync_error", "read_error", "no_space", "late_write", "swapped_writes",
    "bit_rot", "zeroed_sector", "misdirected_sector", "stale_sector", "lost_tail", "rotten_batch", "clock_drift",
    "clock_jump", "clock_freeze", "disk_stall",
)
MARK_NAMES = (
    "elected", "campaign_lost", "pre_campaign_lost", "stepped_down", "deposed", "leader_paused", "quorum_down",
    "truncated", "truncated_many", "old_term_committed", "compacted", "fetched", "fetch_failed", "applied_cold",
    "held", "held_lost", "repeated", "gap", "given_up", "given_up_happened", "refused", "read_refused",
    "read_waited", "read_forwarded", "unproved_tail", "tail_settled", "recovery_crashed",
    "recovery_crashed_twice", "write_failed", "sync_failed", "swapped", "segment_rolled", "segment_retired",
    "name_lost", "garbage", "damaged", "damage_found", "damage_outlived", "second_crash", "duplicate_delivered",
    "replayed", "unclogged", "clock_froze_leader", "read_by_lease", "read_bounded", "read_too_stale", "read_looked",
    "handed_over", "transfer_given_up", "disk_stalled",
    "snapshot_made", "snapshot_failed", "snapshot_installed", "suffix_kept", "snapshot_restored", "snapshot_crashed",
    "snapshot_damaged", "snapshot_needed", "install_redone", "pieces_resumed",
    "hole_found", "listens", "admitted", "admitted_wiped", "fault_read", "fault_scrubbed", "repair_served",
    "repaired", "repaired_leading", "stood_down_faulty", "all_rotten", "whole_again",
    "client_repeated", "client_expired", "session_expired", "proposed_again",
)
OPERATION_NAMES = ("", "write", "read", "look")
PROFILES = {"swarm": 0, "hot": 1, "reference": 2, "beyond": 3, "quiet": 4, "clocks": 5}
TRACED = (
    "", "sent", "arrived", "role", "voted", "wrote", "flushed", "committed", "started", "not_started", "stopped",
    "out", "fault", "mended", "healed", "proposed", "acked", "read", "served", "compacted",
    "snapshot", "installed", "bad", "repair", "listens", "admitted", "readmitted",
)
MESSAGES = (
    "", "pre_vote", "pre_vote_reply", "vote", "vote_reply", "append", "append_reply", "heartbeat",
    "heartbeat_reply", "commit", "read_index", "read_index_reply", "stale_term",
    "fetch", "fetch_reply", "barrier", "barrier_reply", "snapshot", "snapshot_reply", "", "", "", "timeout_now",
    "removed",
)
PAXOS_MESSAGES = (                      # from 47 on
    "canvass", "canvass_reply", "prepare", "promise", "accept", "accepted", "reject", "heartbeat", "heartbeat_reply",
    "chosen", "learn", "taught", "fetch", "fetch_reply", "read_index", "read_index_reply",
)
ROLES = ("", "follower", "pre-candidate", "candidate", "leader", "learner")
KINDS = {1: "entries", 2: "blank", 3: "hard_state", 4: "truncate", 7: "compact", 10: "membership", 15: "chosen"}

assert len(FAULTS) == FAULT_KINDS and len(MARK_NAMES) == MARKS, "a name for each"


def has_mutants():
    """Whether this is the build profile whose wrong behaviours can be chosen."""
    return bool(mutants_built)


cdef void* open_raft(const OpenRequest* request, GroupLog* log, uint64_t now_ns) noexcept nogil:
    cdef RaftOptions options
    cdef Fault* faults
    cdef void* state
    cdef uint32_t i
    memset(&options, 0, sizeof(RaftOptions))
    options.group = request.group
    options.self = request.self
    options.voter_count = request.voter_count
    for i in range(request.voter_count):
        options.voters[i] = request.voters[i]
    options.election_timeout_ns = request.election_timeout_ns
    options.heartbeat_ns = request.heartbeat_ns
    options.append_bytes_max = request.append_bytes_max
    options.uncommitted_bytes_max = UNCOMMITTED_BYTES_MAX
    options.leases = request.leases
    options.clock_drift_ppm = request.clock_drift_ppm
    options.seed = request.seed
    options.hard_state_term = request.hard_state_term
    options.vote = request.vote
    options.unproved_last = request.unproved_last
    options.unproved_term = request.unproved_term
    options.snapshot = request.snapshot
    options.snapshot_needed = request.snapshot_needed
    options.snapshot_log_bytes = request.snapshot_log_bytes
    options.retained_log_bytes = request.retained_log_bytes
    options.snapshot_bytes_per_s = request.snapshot_bytes_per_s
    options.piece_bytes = request.piece_bytes
    options.priority = request.priority
    options.listening = request.listening
    faults = <Fault*>calloc(request.hole_count + 1, sizeof(Fault))
    if faults == NULL:
        return NULL
    for i in range(request.hole_count):
        faults[i].first = request.holes[i].first
        faults[i].last = request.holes[i].last
        faults[i].term = request.holes[i].term
        faults[i].body_crc = request.holes[i].body_crc
        faults[i].identified = request.holes[i].identified
    options.faults = faults
    options.fault_count = request.hole_count
    state = raft_open(&options, log, now_ns)
    free(faults)
    return state


cdef void* open_paxos(const OpenRequest* request, GroupLog* log, uint64_t now_ns) noexcept nogil:
    cdef PaxosOptions options
    cdef uint32_t i
    memset(&options, 0, sizeof(PaxosOptions))
    options.group = request.group
    options.self = request.self
    options.voter_count = request.voter_count
    for i in range(request.voter_count):
        options.voters[i] = request.voters[i]
    options.election_timeout_ns = request.election_timeout_ns
    options.heartbeat_ns = request.heartbeat_ns
    options.accept_bytes_max = request.append_bytes_max
    options.uncommitted_bytes_max = UNCOMMITTED_BYTES_MAX
    options.window_slots = request.window_slots
    options.mark_slots = request.mark_slots
    options.page_slots = request.page_slots
    options.seed = request.seed
    options.copies = request.copies
    options.promised_round = request.hard_state_term
    options.promised_node = request.vote
    options.accepted = request.accepted
    options.accepted_count = request.accepted_count
    return paxos_open(&options, log, now_ns)


# What a run has to say -------------------------------------------------------------------

cdef dict host_told(const Host* host):
    return {
        "up": bool(host.up), "ended": bool(host.ended), "stop": (<bytes>host.stop).decode(),
        "role": ROLES[host.status.role], "term": host.status.term, "leader": host.status.leader,
        "first": host.status.first, "last": host.status.last, "flushed": host.status.flushed,
        "commit": host.status.commit, "applied": host.applied, "unproved_last": host.status.unproved_last,
        "directory": host.directory, "listening": bool(host.status.listening), "faulty": host.status.faulty,
    }


cdef dict told(const World* world):
    """In numbers; `timeouts_to_progress` is in election timeouts from the end of all faults."""
    cdef uint64_t timeout_ns = world.options.election_timeout_ns
    cdef dict faults = {FAULTS[i]: world.faults[i] for i in range(<int>FAULT_KINDS) if world.faults[i]}
    return {
        "seed": world.options.seed,
        "failure": (<bytes>world.ledger.failure).decode(),
        "hash": world.hash,
        "nodes": world.options.node_count,
        "virtual_ms": world.now_ns // 1000000,
        "events": world.events,
        "committed": ledger_committed_last(world.ledger),
        "proposals": world.proposals,
        "refusals": world.refusals,
        "acked": world.acked,
        "operations": world.history.count,
        "reads_served": world.reads_served,
        "messages": world.network.sent,
        "cut_off": world.network.cut_off,
        "recoveries": world.recoveries,
        "leader_changes": world.leader_changes,
        "truncations": world.ledger.truncations,
        "compactions": world.compactions,
        "faults": faults,
        "marks": {MARK_NAMES[i]: world.marks[i] for i in range(<int>MARKS) if world.marks[i]},
        # What keeps a node from serving at the end, by file and offset.
        "stopped": [(<bytes>world.hosts[i].stop).decode() for i in range(world.options.node_count)
                    if world.hosts[i].ended or world.hosts[i].status.listening or world.hosts[i].status.faulty],
        "hosts": [host_told(&world.hosts[i]) for i in range(world.options.node_count)],
        "timeouts_to_progress": ((world.progress_at_ns - world.healed_at_ns) / timeout_ns
                                 if world.progress_at_ns else None),
    }


cdef VirtualDisk disk_of(const World* world, uint32_t host):
    cdef VirtualDisk disk = VirtualDisk(empty=True)
    disk.disk = disk_clone(world.hosts[host].disk, 0)
    return disk


cdef list history_of(const World* world):
    """As (client, kind, key, value, call_ns, return_ns or None): None is an outcome nobody knows."""
    cdef list operations = []
    cdef const Operation* operation
    cdef uint32_t i
    for i in range(world.history.count):
        operation = &world.history.operations[i]
        operations.append((operation.client, OPERATION_NAMES[operation.kind],
                           operation.key, operation.value, operation.call_ns, operation.return_ns or None))
    return operations


def history_holds(operations):
    """The simulation's own check, of (client, kind, key, value, call_ns, return_ns or None) in any order.

    Written values differ, and are not 0; times are above 0.
    """
    cdef History history
    cdef uint32_t culprit = 0
    cdef uint32_t number
    cdef bint holds
    memset(&history, 0, sizeof(History))
    for client, kind, key, value, call_ns, return_ns in operations:
        number = history_call(&history, client, OPERATION_NAMES.index(kind), key, value, call_ns)
        if return_ns is not None:
            history_return(&history, number, 1, value, return_ns)
    holds = history_is_linearizable(&history, &culprit)
    history_close(&history)
    return bool(holds)


# The trace ---------------------------------------------------------------------------------

cdef dict record_told(const TraceRecord* record):
    """One happening, with the names of the protocol for its numbers."""
    cdef str event = TRACED[record.kind]
    cdef dict line = {"at_ms": record.at_ns / 1000000, "event": event}
    if event not in ("mended", "healed"):
        line["node"] = record.node + 1
    if record.term:
        line["term"] = record.term
    if event in ("sent", "arrived"):
        line["to" if event == "sent" else "from"] = record.peer
        line["message"] = PAXOS_MESSAGES[record.a - 47] if record.a >= 47 else MESSAGES[record.a]
        line["number"] = record.number
        line["copies" if event == "sent" else "again"] = record.b
    elif event == "role":
        line["role"] = ROLES[record.a]
        line["leader"] = record.peer
    elif event == "voted":
        line["for"] = record.peer
    elif event == "wrote":
        line.update(kind=KINDS.get(record.a, str(record.a)), first=record.b, last=record.c, wsn=record.number)
    elif event == "flushed":
        line["wsn"] = record.number
    elif event in ("committed", "snapshot", "installed"):
        line["index"] = record.a
    elif event == "started":
        line.update(first=record.a, last=record.b, unproved_last=record.c)
    elif event == "stopped":
        line["power"] = bool(record.a)
    elif event == "fault":
        line["fault"] = FAULTS[record.a]
    elif event == "bad":
        line.update(index=record.a, scrubbed=bool(record.b))
    elif event == "repair":
        line.update(first=record.a, last=record.b, wsn=record.number)
    elif event == "readmitted":
        line.update(at=record.peer, directory=record.a)
    elif event == "compacted":
        line["first"] = record.a
    elif event == "not_started":
        line["status"] = record.a
    elif event in ("proposed", "acked", "read", "served"):
        line["operation"] = record.number
        if event == "served":
            line["value"] = record.a
    return line


cdef list trace_of(const World* world):
    cdef uint32_t i
    return [record_told(&world.trace.records[i]) for i in range(world.trace.count)]


# Runs --------------------------------------------------------------------------------------

def run(uint64_t seed, *, str profile="swarm", uint32_t nodes=0, uint64_t safety_ms=0, uint64_t healed_ms=0,
        uint32_t progress=0, bint keep_disks=False, bint history=False, bint trace=False, Machines machines=None,
        str protocol="raft"):
    """Runs one seed: `failure` is empty if all invariants held, and the healed phase got on.

    `keep_disks` adds the nodes' disks, as VirtualDisk; `history` what the clients did; `trace` all that
    happened, as dictionaries.  `machines` are a user's state machines, in place of the simulation's own.
    """
    cdef WorldOptions options
    cdef World* world
    memset(&options, 0, sizeof(WorldOptions))
    options.seed = seed
    options.profile = <uint8_t>PROFILES[profile]
    options.node_count = nodes
    options.safety_ns = safety_ms * 1000000
    options.healed_ns = healed_ms * 1000000
    options.progress = progress
    options.tracing = trace
    if machines is not None:
        options.machine = machines.table()
    draw_options(&options)
    options.open = open_raft
    options.protocol = raft_protocol()
    if protocol == "paxos":
        options.open = open_paxos
        options.protocol = paxos_protocol()
    with nogil:
        world = world_open(&options)
        world_run(world)
    result = told(world)
    if keep_disks:
        result["disks"] = [disk_of(world, i) for i in range(options.node_count)]
    if history:
        result["history"] = history_of(world)
    if trace:
        result["trace"] = trace_of(world)
    with nogil:
        world_close(world)
    return result
