"""See explain.pxd."""

from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.types cimport NODES_MAX
from quorumlog._core.engine.protocol cimport PEER_PROBE, PEER_SNAPSHOT, ROLE_LEADER
from quorumlog._core.engine.quorum cimport TALLY_WON, acked_index, quorum_members, tally_commit, tally_elect

from libc.string cimport memset


cdef struct Findings:
    Finding* all
    uint32_t count


cdef Finding* found(Findings* findings, int kind, bint blocks) noexcept nogil:
    cdef Finding* finding = &findings.all[findings.count]
    check2(findings.count < FINDINGS_MAX, b"Q-EXPLAIN-01 findings stay within their room", kind, findings.count)
    findings.count += 1
    memset(finding, 0, sizeof(Finding))
    finding.kind = kind
    finding.blocks = blocks
    return finding


cdef inline uint64_t elapsed(uint64_t since_ns, uint64_t now_ns) noexcept nogil:
    return now_ns - since_ns if since_ns != 0 and since_ns < now_ns else 0


cdef inline bint votes(const Standing* s, int slot) noexcept nogil:
    return quorum_members(&s.quorum) >> slot & 1


cdef void explain_node(const Standing* s, const Surroundings* around, Findings* findings) noexcept nogil:
    """What is wrong with this node, whoever leads."""
    cdef bint leads = s.role == ROLE_LEADER
    if around.failure:
        found(findings, FINDING_FAILED, True).number = <uint64_t>around.failure
    if around.stopped:
        found(findings, FINDING_MACHINE_STOPPED, False).number = <uint64_t>around.stopped
    if s.listening:
        found(findings, FINDING_LISTENING, False)
    if s.unproved_last > s.last:
        found(findings, FINDING_UNPROVED, s.leader == 0).index = s.unproved_last
    if s.faulty:
        found(findings, FINDING_FAULTY, leads or s.leader == 0).number = s.faulty


cdef void explain_quorum(const Standing* s, const Surroundings* around, Findings* findings) noexcept nogil:
    cdef uint32_t connected = <uint32_t>1 << s.self_slot if s.self_slot >= 0 else 0
    cdef uint32_t count = 0
    cdef uint32_t i
    cdef Finding* finding
    for i in range(s.peer_count):
        if s.peers[i].reachable:
            connected |= <uint32_t>1 << s.peers[i].slot
    if tally_elect(&s.quorum, connected, 0) == TALLY_WON and tally_commit(&s.quorum, connected, 0) == TALLY_WON:
        return
    for i in range(NODES_MAX):
        count += (connected & quorum_members(&s.quorum)) >> i & 1
    finding = found(findings, FINDING_NO_QUORUM, True)
    finding.number = count


cdef void explain_no_leader(const Standing* s, const Surroundings* around, Findings* findings) noexcept nogil:
    cdef Finding* finding = found(findings, FINDING_NO_LEADER, True)
    finding.since_ns = elapsed(s.heard_leader_ns, around.now_ns)


cdef void explain_follower(const Standing* s, const Surroundings* around, Findings* findings) noexcept nogil:
    cdef Finding* finding
    cdef uint32_t i
    for i in range(s.peer_count):
        if s.peers[i].node == s.leader and not s.peers[i].reachable:
            found(findings, FINDING_LEADER_CUT, False).node = s.leader
    finding = found(findings, FINDING_FOLLOWS, False)
    finding.node = s.leader
    finding.since_ns = elapsed(s.heard_leader_ns, around.now_ns)


cdef void explain_disk(const Standing* s, const Surroundings* around, bint blocks, Findings* findings) noexcept nogil:
    """Nothing is said of a disk that owes nothing."""
    if around.starved_since_ns != 0:
        found(findings, FINDING_NO_SEGMENT, blocks).since_ns = elapsed(around.starved_since_ns, around.now_ns)
    if around.disk_since_ns != 0:
        found(findings, FINDING_DISK, blocks).since_ns = elapsed(around.disk_since_ns, around.now_ns)


cdef int peer_kind(const PeerStanding* peer) noexcept nogil:
    if not peer.reachable:
        return FINDING_PEER_CUT
    if peer.listening:
        return FINDING_PEER_LISTENING
    if peer.state == PEER_SNAPSHOT:
        return FINDING_PEER_SNAPSHOT
    if peer.fetching:
        return FINDING_PEER_FETCHED
    if peer.state == PEER_PROBE:
        return FINDING_PEER_PROBED
    return FINDING_PEER_SENT if peer.asked_ns != 0 else FINDING_PEER_IDLE


cdef void explain_peer(const Standing* s, const Surroundings* around, const PeerStanding* peer,
                       Findings* findings) noexcept nogil:
    cdef Finding* finding
    cdef bint blocks = s.last > s.commit and peer.match <= s.commit and votes(s, peer.slot)
    if peer.match >= s.last and peer.reachable and not peer.listening:
        return
    finding = found(findings, peer_kind(peer), blocks)
    finding.node = peer.node
    finding.index = peer.match
    finding.number = s.last - peer.match if peer.match < s.last else 0
    finding.since_ns = elapsed(peer.asked_ns, around.now_ns)


cdef void explain_leader(const Standing* s, const Surroundings* around, Findings* findings) noexcept nogil:
    cdef bint waiting = s.last > s.commit
    cdef uint32_t i
    cdef Finding* finding
    if s.flushed < s.last:
        explain_disk(s, around, waiting and s.flushed <= s.commit and votes(s, s.self_slot), findings)
    # Those that commit waits for first.
    for i in range(s.peer_count):
        if waiting and s.peers[i].match <= s.commit:
            explain_peer(s, around, &s.peers[i], findings)
    for i in range(s.peer_count):
        if not (waiting and s.peers[i].match <= s.commit):
            explain_peer(s, around, &s.peers[i], findings)
    if s.commit < s.term_first:
        finding = found(findings, FINDING_OWN_TERM, False)
        finding.index = s.term_first
    if s.uncommitted_bytes_max != 0 and s.uncommitted_bytes >= s.uncommitted_bytes_max:
        found(findings, FINDING_FULL, False).number = s.uncommitted_bytes
    if not waiting:
        found(findings, FINDING_NOTHING, False)


cdef void forgive(const Standing* s, Findings* findings) noexcept nogil:
    """What enough others have acknowledged is committed in a moment: nobody's lateness blocks it then."""
    cdef uint64_t match[NODES_MAX]
    cdef uint32_t i
    for i in range(NODES_MAX):
        match[i] = 0
    if s.self_slot >= 0:
        match[s.self_slot] = s.flushed
    for i in range(s.peer_count):
        match[s.peers[i].slot] = 0 if s.peers[i].listening else s.peers[i].match
    if s.faulty or acked_index(&s.quorum, match) <= s.commit:
        return
    for i in range(findings.count):
        if FINDING_DISK <= findings.all[i].kind <= FINDING_PEER_IDLE:
            findings.all[i].blocks = False


cdef uint32_t explain(const Standing* standing, const Surroundings* around, Finding* out) noexcept nogil:
    cdef Findings findings
    findings.all = out
    findings.count = 0
    explain_node(standing, around, &findings)
    explain_quorum(standing, around, &findings)
    if standing.leader == 0:
        explain_no_leader(standing, around, &findings)
    elif standing.role == ROLE_LEADER:
        explain_leader(standing, around, &findings)
        forgive(standing, &findings)
    else:
        explain_follower(standing, around, &findings)
    if standing.role != ROLE_LEADER and standing.flushed < standing.last:
        explain_disk(standing, around, False, &findings)
    if standing.membership_pending:
        found(&findings, FINDING_MEMBERSHIP, False).index = standing.membership_index
    if around.proposals:
        found(&findings, FINDING_PROPOSALS, False).number = around.proposals
    if standing.commit > around.applied and not around.stopped:
        found(&findings, FINDING_APPLYING, False).number = standing.commit - around.applied
    return findings.count
