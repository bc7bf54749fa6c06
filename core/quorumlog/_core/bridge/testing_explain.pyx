"""What the tests of engine/explain call: standings as dicts in, findings as tuples out."""

from quorumlog._core.engine.explain cimport (
    FINDING_APPLYING, FINDING_DISK, FINDING_FAILED, FINDING_FAULTY, FINDING_FOLLOWS, FINDING_FULL,
    FINDING_LEADER_CUT, FINDING_LISTENING, FINDING_MACHINE_STOPPED, FINDING_MEMBERSHIP, FINDING_NO_LEADER,
    FINDING_NO_QUORUM, FINDING_NO_SEGMENT, FINDING_NOTHING, FINDING_OWN_TERM, FINDING_PEER_CUT,
    FINDING_PEER_FETCHED, FINDING_PEER_IDLE, FINDING_PEER_LISTENING, FINDING_PEER_PROBED, FINDING_PEER_SENT,
    FINDING_PEER_SNAPSHOT, FINDING_PROPOSALS, FINDING_UNPROVED, FINDINGS_MAX, Finding, Standing, Surroundings,
    explain)
from quorumlog._core.engine.protocol cimport PEER_PROBE, PEER_SNAPSHOT, PEER_STREAM, ROLE_FOLLOWER, ROLE_LEADER
from quorumlog._core.engine.quorum cimport quorum_majority

from libc.stdint cimport uint32_t
from libc.string cimport memset

KINDS = {
    FINDING_FAILED: "failed", FINDING_MACHINE_STOPPED: "machine stopped", FINDING_NO_QUORUM: "no quorum",
    FINDING_NO_LEADER: "no leader", FINDING_LEADER_CUT: "leader cut", FINDING_LISTENING: "listening",
    FINDING_UNPROVED: "unproved", FINDING_FAULTY: "faulty", FINDING_DISK: "disk", FINDING_NO_SEGMENT: "no segment",
    FINDING_PEER_CUT: "peer cut", FINDING_PEER_LISTENING: "peer listening", FINDING_PEER_PROBED: "peer probed",
    FINDING_PEER_SNAPSHOT: "peer snapshot", FINDING_PEER_FETCHED: "peer fetched", FINDING_PEER_SENT: "peer sent",
    FINDING_PEER_IDLE: "peer idle", FINDING_OWN_TERM: "own term", FINDING_FULL: "full",
    FINDING_MEMBERSHIP: "membership", FINDING_FOLLOWS: "follows", FINDING_PROPOSALS: "proposals",
    FINDING_APPLYING: "applying", FINDING_NOTHING: "nothing",
}
STATES = {"probe": PEER_PROBE, "stream": PEER_STREAM, "snapshot": PEER_SNAPSHOT}


cdef int fill_standing(Standing* s, dict said) except -1:
    memset(s, 0, sizeof(Standing))
    s.role = ROLE_LEADER if said.get("leads", True) else ROLE_FOLLOWER
    s.leader = said.get("leader", 1)
    s.commit, s.last, s.flushed = said["commit"], said["last"], said.get("flushed", said["last"])
    s.unproved_last, s.faulty = said.get("unproved_last", 0), said.get("faulty", 0)
    s.listening = said.get("listening", False)
    s.membership_index = said.get("membership", 0)
    s.membership_pending = s.membership_index != 0
    s.term_first, s.heard_leader_ns = said.get("term_first", 0), said.get("heard_leader_ns", 0)
    s.uncommitted_bytes, s.uncommitted_bytes_max = said.get("uncommitted", (0, 0))
    for peer in said["peers"]:
        p = &s.peers[s.peer_count]
        s.peer_count += 1
        p.slot = s.peer_count
        p.node = p.slot + 1
        p.state = STATES[peer.get("state", "stream")]
        p.listening, p.fetching = peer.get("listening", False), peer.get("fetching", False)
        p.reachable, p.match = peer.get("reachable", True), peer.get("match", 0)
        p.asked_ns = peer.get("asked_ns", 0)
    quorum_majority(&s.quorum, said.get("voters", (1 << (s.peer_count + 1)) - 1))
    return 0


cdef int fill_surroundings(Surroundings* around, dict said) except -1:
    memset(around, 0, sizeof(Surroundings))
    around.now_ns = said.get("now_ns", 0)
    around.failure, around.stopped = said.get("failure", 0), said.get("stopped", 0)
    around.disk_since_ns, around.starved_since_ns = said.get("disk_ns", 0), said.get("starved_ns", 0)
    around.proposals, around.applied = said.get("proposals", 0), said.get("applied", said["commit"])
    return 0


def explained(dict said):
    """[(kind, blocks, node, index, number, since_ns)]; this node is 1 in slot 0, its peers 2, 3, ..."""
    cdef Standing standing
    cdef Surroundings around
    cdef Finding findings[FINDINGS_MAX]
    cdef uint32_t count, i
    fill_standing(&standing, said)
    fill_surroundings(&around, said)
    count = explain(&standing, &around, findings)
    return [(KINDS[findings[i].kind], bool(findings[i].blocks), findings[i].node, findings[i].index,
             findings[i].number, findings[i].since_ns) for i in range(count)]
