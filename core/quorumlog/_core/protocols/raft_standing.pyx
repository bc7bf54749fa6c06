"""See raft_standing.pxd."""

from quorumlog._core.engine.explain cimport PeerStanding
from quorumlog._core.engine.protocol cimport PEER_PROBE, ROLE_LEADER
from quorumlog._core.engine.progress cimport Progress
from quorumlog._core.protocols.raft_state cimport Raft

from libc.stdint cimport uint64_t
from libc.string cimport memset


cdef uint64_t owes_since_ns(const Progress* progress) noexcept nogil:
    """Since when it owes an answer to what it was sent."""
    if progress.state == PEER_PROBE:
        return progress.probe_sent_ns if progress.probe_sent else 0
    if progress.in_flight_count == 0:
        return 0
    return progress.in_flight[progress.in_flight_head].sent_ns


cdef void raft_standing(void* state, Standing* out) noexcept nogil:
    cdef const Raft* raft = <const Raft*>state
    cdef PeerStanding* peer
    cdef int slot
    memset(out, 0, sizeof(Standing))
    out.role = raft.role
    out.term = raft.term
    out.leader = raft.leader
    out.commit = raft.commit
    out.last = raft.log.last
    out.flushed = raft.log.flushed
    out.unproved_last = raft.unproved_last
    out.faulty = raft.faults.count
    out.listening = raft.listening
    out.heard_leader_ns = raft.heard_leader_ns
    out.self_slot = raft.self_slot
    out.quorum = raft.membership.quorum
    if raft.role == ROLE_LEADER:
        out.term_first = raft.term_first
        out.uncommitted_bytes = raft.uncommitted_bytes
        out.uncommitted_bytes_max = raft.uncommitted_bytes_max
    for slot in range(<int>raft.membership.count):
        if slot == raft.self_slot or raft.membership.nodes[slot] == 0:
            continue
        peer = &out.peers[out.peer_count]
        out.peer_count += 1
        peer.node = raft.membership.nodes[slot]
        peer.slot = slot
        if raft.role == ROLE_LEADER:
            peer.state = raft.progress[slot].state
            peer.listening = raft.peer_listening[slot]
            peer.fetching = raft.progress[slot].fetching
            peer.match = raft.counted[slot]        # of one that repairs its log less than where the logs agree
            peer.asked_ns = owes_since_ns(&raft.progress[slot])
