"""Test-facing: one run of the simulated cluster, by its seed.  Here, and not below, a protocol is named."""

from quorumlog._core.base.mutants cimport mutants_built
from quorumlog._core.bridge.testing_disk cimport VirtualDisk
from quorumlog._core.engine.faults cimport Fault
from quorumlog._core.engine.log cimport GroupLog
from quorumlog._core.protocols.raft cimport RaftOptions, raft_open, raft_protocol
from quorumlog._core.simulation.disk cimport disk_clone
from quorumlog._core.simulation.faults cimport draw_options
from quorumlog._core.simulation.ledger cimport ledger_committed_last
from quorumlog._core.simulation.world cimport world_close, world_open, world_run
from quorumlog._core.simulation.world_state cimport OpenRequest, World, WorldOptions

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

cdef enum:
    UNCOMMITTED_BYTES_MAX = 1 << 20


def has_mutants():
    """Whether this is the build profile whose wrong behaviours can be chosen."""
    return bool(mutants_built)


cdef void* open_raft(const OpenRequest* request, GroupLog* log, uint64_t now_ns) noexcept nogil:
    cdef RaftOptions options
    cdef Fault fault
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
    options.seed = request.seed
    options.hard_state_term = request.hard_state_term
    options.vote = request.vote
    options.unproved_last = request.unproved_last
    if request.hole_count > 0:
        # A world has one bad batch at a time.
        memset(&fault, 0, sizeof(Fault))
        fault.first, fault.last, fault.term = request.holes.first, request.holes.last, request.holes.term
        fault.identified, fault.body_crc = request.holes.identified, request.holes.body_crc
        options.faults = &fault
        options.fault_count = 1
    return raft_open(&options, log, now_ns)


cdef dict told(const World* world):
    """What a run has to say, in numbers."""
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
        "reads_served": world.reads_served,
        "messages": world.network.sent,
        "messages_lost": world.network.lost,
        "messages_duplicated": world.network.duplicated,
        "process_crashes": world.process_crashes,
        "rotten": world.rotten,
        "repaired": world.repaired,
        "power_cuts": world.power_cuts,
        "recoveries": world.recoveries,
        "recovery_crashes": world.recovery_crashes,
        "unproved_tails": world.unproved_tails,
        "disk_errors": world.disk_errors,
        "fetches": world.fetches,
        "compactions": world.compactions,
        "pauses": world.pauses,
        "truncations": world.ledger.truncations,
        "hosts": [{"up": bool(world.hosts[i].up), "role": world.hosts[i].status.role,
                   "term": world.hosts[i].status.term,
                   "leader": world.hosts[i].status.leader, "first": world.hosts[i].status.first,
                   "last": world.hosts[i].status.last, "flushed": world.hosts[i].status.flushed,
                   "commit": world.hosts[i].status.commit, "applied": world.hosts[i].applied,
                   "unproved_last": world.hosts[i].status.unproved_last,
                   "peers": [{"node": world.hosts[i].status.peers[k].node,
                              "state": world.hosts[i].status.peers[k].state,
                              "match": world.hosts[i].status.peers[k].match,
                              "next": world.hosts[i].status.peers[k].next,
                              "in_flight_bytes": world.hosts[i].status.peers[k].in_flight_bytes}
                             for k in range(world.hosts[i].status.peer_count)]}
                  for i in range(world.options.node_count)],
        "progress_ms": (world.progress_at_ns - world.healed_at_ns) // 1000000 if world.progress_at_ns else None,
    }


cdef VirtualDisk disk_of(const World* world, uint32_t host):
    cdef VirtualDisk disk = VirtualDisk(empty=True)
    disk.disk = disk_clone(world.hosts[host].disk, 0)
    return disk


def run(uint64_t seed, *, uint32_t nodes=0, uint64_t safety_ms=0, uint64_t healed_ms=0, uint32_t progress=0,
        bint faults=True, bint keep_disks=False):
    """Runs one seed: `failure` is empty if all invariants held, and the healed phase got on.

    `keep_disks` adds the nodes' disks, as VirtualDisk, for a look at what they held.
    """
    cdef WorldOptions options
    cdef World* world
    memset(&options, 0, sizeof(WorldOptions))
    options.seed = seed
    options.node_count = nodes
    options.safety_ns = safety_ms * 1000000
    options.healed_ns = healed_ms * 1000000
    options.progress = progress
    draw_options(&options)
    if not faults:
        options.fault_ns = 0
    options.open = open_raft
    options.protocol = raft_protocol()
    with nogil:
        world = world_open(&options)
        world_run(world)
    result = told(world)
    if keep_disks:
        result["disks"] = [disk_of(world, i) for i in range(options.node_count)]
    with nogil:
        world_close(world)
    return result
