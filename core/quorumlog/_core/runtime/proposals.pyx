"""See proposals.pxd."""

from quorumlog._core.base.atomics cimport exchange_ptr, exchange_u32, load_u32, load_u64, store_u32
from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.status cimport ERR_DROPPED, ERR_MEMORY, ERR_NOT_LEADER, ERR_SESSION_EXPIRED, ERR_STOPPED, OK
from quorumlog._core.base.types cimport NODES_MAX, node_t
from quorumlog._core.engine.protocol cimport ROLE_LEADER
from quorumlog._core.engine.receipt cimport Receipt, receipt_drop, receipt_fail, receipt_number
from quorumlog._core.runtime.apply cimport PENDING_MAX, REWIND_EXPIRED, REWIND_GAP, apply_expect
from quorumlog._core.runtime.dispatch cimport group_propose, node_send
from quorumlog._core.runtime.intake cimport (
    intake_discard, intake_refuse, intake_release, intake_seal, intake_take, intake_waiting)
from quorumlog._core.runtime.node_state cimport Forwarded, Proposal
from quorumlog._core.runtime.transport cimport transport_reachable
from quorumlog._core.storage.batch cimport (
    BATCH_BEGINS, KIND_ENTRIES, Batch, batch_copy, batch_drop, batch_keep, batch_stamp)

from libc.stdint cimport uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef enum:
    FORWARD_BATCHES_MAX = 64
    FORWARD_BYTES_MAX = 1 << 20
    RETRY_NS = 500000000           # nothing settled for so long: hand over again
    REFUSED_NS = 20000000          # after a refusal
    MEMORY_NS = 5000000            # without memory to seal a batch

cdef inline Proposal* proposal_at(Proposals* p, uint64_t sequence) noexcept nogil:
    return &p.ring[sequence & (PENDING_MAX - 1)]


cdef int proposals_open(Proposals* proposals, uint64_t session) noexcept nogil:
    memset(proposals, 0, sizeof(Proposals))
    proposals.session = session
    proposals.first = 1
    proposals.next = 1
    proposals.routed = 1
    proposals.ring = <Proposal*>calloc(PENDING_MAX, sizeof(Proposal))
    return OK if proposals.ring != NULL else ERR_MEMORY


cdef void proposals_close(Proposals* proposals) noexcept nogil:
    cdef uint64_t sequence
    for sequence in range(proposals.first, proposals.next):
        batch_drop(proposal_at(proposals, sequence).batch)
    free(proposals.ring)
    proposals.ring = NULL
    proposals.first = proposals.next


cdef Batch* seal(Node* node, HostedGroup* hosted, Receipt* receipt) noexcept nogil:
    """Own commands take at most half of the pool: without room for what the leader sends, nothing of
    them would ever be settled."""
    if receipt.batch == NULL and load_u64(&node.pool.used_bytes) > node.pool.limit_bytes // 2:
        return NULL
    return intake_seal(&hosted.intake, receipt, node.pool)


cdef void be_born(HostedGroup* hosted) noexcept nogil:
    """Before the first batch: the session's sequences begin behind an index that is committed (engine/sessions)."""
    cdef Proposals* p = &hosted.proposals
    p.birth = hosted.commit
    p.first = p.next = p.routed = p.birth + 1


cdef void admit(Node* node, HostedGroup* hosted) noexcept nogil:
    """Gives what callers handed in its place in the session."""
    cdef Proposals* p = &hosted.proposals
    cdef Receipt* receipt
    cdef Receipt* following
    cdef Batch* batch
    cdef bint refuse = not hosted.forward and hosted.status.role != ROLE_LEADER
    if p.taken == NULL:
        p.taken = intake_take(&hosted.intake)
    store_u32(&hosted.apply.starving, p.taken != NULL and p.next - p.first >= PENDING_MAX)
    while p.taken != NULL and p.next - p.first < PENDING_MAX:
        receipt = p.taken
        following = receipt.next
        if refuse:
            receipt.leader = hosted.status.leader
            intake_discard(&hosted.intake, receipt, ERR_NOT_LEADER)
            p.taken = following
            continue
        batch = seal(node, hosted, receipt)
        if batch == NULL:
            p.memory_ns = node.now_ns + MEMORY_NS    # nobody says when memory is free
            return
        batch.group = hosted.group
        if p.next == 1:
            be_born(hosted)
        batch.session = p.session
        batch.sequence = p.next
        if p.next == p.birth + 1:
            batch.flags |= BATCH_BEGINS
        receipt_number(receipt, p.session, p.next)
        receipt.next = NULL
        proposal_at(p, p.next).batch = batch
        proposal_at(p, p.next).sent = False
        apply_expect(&hosted.apply, p.next, receipt)
        p.next += 1
        p.taken = following


cdef void settle(Node* node, HostedGroup* hosted) noexcept nogil:
    cdef Proposals* p = &hosted.proposals
    cdef uint64_t settled = load_u64(&hosted.apply.settled)
    check2(settled < p.next, b"Q-PROP-01 only what was proposed is settled", settled, p.next)
    if settled >= p.first:
        p.retry_ns = node.now_ns + RETRY_NS
    while p.first <= settled:
        batch_drop(proposal_at(p, p.first).batch)
        proposal_at(p, p.first).batch = NULL
        p.first += 1
    if p.routed < p.first:
        p.routed = p.first
    cdef uint32_t rewind = exchange_u32(&hosted.apply.rewind, 0)
    if rewind == REWIND_GAP:
        p.routed = p.first
    elif rewind == REWIND_EXPIRED:
        proposals_fail(hosted, ERR_SESSION_EXPIRED)
    if load_u32(&hosted.apply.stopped):
        proposals_fail(hosted, ERR_DROPPED if load_u32(&hosted.apply.stopped) == <uint32_t>ERR_DROPPED else ERR_STOPPED)


cdef int propose_here(Node* node, HostedGroup* hosted, Proposal* proposal) noexcept nogil:
    cdef Batch* batch = proposal.batch
    if batch.stamped:
        # It may still be referenced by a log or a queue under its old identity.
        batch = batch_copy(node.pool, batch)
        if batch == NULL:
            return ERR_MEMORY
        batch_drop(proposal.batch)
        proposal.batch = batch
    return group_propose(node, hosted, batch_keep(batch), node.identity.node)


cdef int forward_some(Node* node, HostedGroup* hosted, node_t leader) noexcept nogil:
    """One message with the next batches for the leader."""
    cdef Proposals* p = &hosted.proposals
    cdef Batch* batches[FORWARD_BATCHES_MAX]
    cdef Message message
    cdef Proposal* proposal
    cdef uint64_t total = 0
    cdef uint64_t sequence = p.routed
    cdef int status
    memset(&message, 0, sizeof(Message))
    while sequence < p.next and message.batch_count < FORWARD_BATCHES_MAX:
        proposal = proposal_at(p, sequence)
        if message.batch_count and total + proposal.batch.body_bytes > FORWARD_BYTES_MAX:
            break
        if not proposal.batch.stamped:
            proposal.batch.first = 1     # the leader gives it its place
            batch_stamp(proposal.batch)
        total += proposal.batch.body_bytes
        batches[message.batch_count] = batch_keep(proposal.batch)
        message.batch_count += 1
        proposal.sent = True
        sequence += 1
    message.kind = MESSAGE_FORWARD
    message.protocol = hosted.protocol.number
    message.group = hosted.group
    message.target = leader
    message.term = hosted.status.term
    message.fields[0] = p.first
    message.batches = batches
    status = node_send(node, &message)
    if status == OK:
        p.routed = sequence
    return status


cdef void route(Node* node, HostedGroup* hosted) noexcept nogil:
    """Hands over, in order, as much as is taken."""
    cdef Proposals* p = &hosted.proposals
    cdef Proposal* proposal
    cdef node_t leader = hosted.status.leader
    if hosted.status.role == ROLE_LEADER:
        while p.routed < p.next and hosted.status.role == ROLE_LEADER:
            proposal = proposal_at(p, p.routed)
            if propose_here(node, hosted, proposal) != OK:
                return
            proposal.sent = True
            p.routed += 1
        return
    while p.routed < p.next and leader != 0 and transport_reachable(node.transport, leader):
        if forward_some(node, hosted, leader) != OK:
            return


cdef void proposals_turn(Node* node, HostedGroup* hosted) noexcept nogil:
    cdef Proposals* p = &hosted.proposals
    if hosted.unsettled_failed:
        return
    p.memory_ns = 0
    settle(node, hosted)
    if hosted.unsettled_failed:
        return                       # what has just failed as definite must not be handed over any more
    admit(node, hosted)
    if p.first == p.next:
        p.retry_ns = 0
        p.refused_ns = 0
        return
    if p.retry_ns == 0:
        p.retry_ns = node.now_ns + RETRY_NS
    elif node.now_ns >= p.retry_ns:
        p.retry_ns = node.now_ns + RETRY_NS
        proposals_rewind(hosted)
    if node.now_ns >= p.refused_ns:
        p.refused_ns = 0
        if p.routed < p.next:
            route(node, hosted)


cdef bint proposals_waiting(HostedGroup* hosted) noexcept nogil:
    cdef Proposals* p = &hosted.proposals
    if hosted.unsettled_failed:
        return False
    if p.taken == NULL and intake_waiting(&hosted.intake):
        return True                  # else they wait behind what was taken, for a place or for memory
    if load_u32(&hosted.apply.rewind) or load_u32(&hosted.apply.stopped):
        return True
    return load_u32(&hosted.apply.starving) and load_u64(&hosted.apply.settled) >= p.first


cdef inline uint64_t nearer(uint64_t one, uint64_t other) noexcept nogil:
    return other if one == 0 or (other != 0 and other < one) else one


cdef uint64_t proposals_deadline(const HostedGroup* hosted) noexcept nogil:
    cdef const Proposals* p = &hosted.proposals
    if hosted.unsettled_failed:
        return 0                     # no turn comes that would move them
    return nearer(nearer(p.retry_ns, p.refused_ns), p.memory_ns)


cdef void proposals_rewind(HostedGroup* hosted) noexcept nogil:
    if hosted.status.role != ROLE_LEADER:
        hosted.proposals.routed = hosted.proposals.first


cdef void refuse_forward(Node* node, HostedGroup* hosted, const Message* message, uint64_t session,
                         uint64_t expected, int status) noexcept nogil:
    cdef Message answer
    memset(&answer, 0, sizeof(Message))
    answer.kind = MESSAGE_FORWARD_REFUSED
    answer.protocol = hosted.protocol.number
    answer.group = hosted.group
    answer.target = message.sender
    answer.term = hosted.status.term
    answer.fields[0] = session
    answer.fields[1] = expected
    answer.fields[2] = <uint64_t>status
    node_send(node, &answer)


cdef Forwarded* forwarded_of(HostedGroup* hosted, node_t sender) noexcept nogil:
    cdef int i
    for i in range(NODES_MAX):
        if hosted.forwarded_nodes[i] == sender or hosted.forwarded_nodes[i] == 0:
            hosted.forwarded_nodes[i] = sender
            return &hosted.forwarded[i]
    return NULL


cdef void proposals_forwarded(Node* node, HostedGroup* hosted, const Message* message) noexcept nogil:
    """Another node's proposals.  Within a term each is appended once, in order, without gaps."""
    cdef Forwarded* known = forwarded_of(hosted, message.sender)
    cdef uint64_t oldest = message.fields[0]
    cdef Batch* batch
    cdef uint16_t i
    cdef int status
    if known == NULL or oldest == 0:
        return
    for i in range(message.batch_count):
        batch = message.batches[i]
        if batch.kind != KIND_ENTRIES or batch.session == 0 or batch.sequence == 0:
            return                   # not what a forwarder sends
        if hosted.status.role != ROLE_LEADER or message.term != hosted.status.term:
            refuse_forward(node, hosted, message, batch.session, batch.sequence, ERR_NOT_LEADER)
            return
        if known.session != batch.session or known.term != hosted.status.term:
            # Not simply from here on: what was sent before this may have been refused or lost, and a
            # session whose first batch in the log is not its first is taken for an expired one.
            known.session = batch.session
            known.term = hosted.status.term
            known.next = oldest
        if batch.sequence < known.next:
            continue                 # in our log already, and in this term it stays there
        if batch.sequence > known.next:
            refuse_forward(node, hosted, message, batch.session, known.next, ERR_MEMORY)
            return
        batch.stamped = 0            # only this message refers to it
        status = group_propose(node, hosted, batch_keep(batch), message.sender)
        if status != OK:
            refuse_forward(node, hosted, message, batch.session, batch.sequence, status)
            return
        known.next = batch.sequence + 1


cdef void proposals_refused(Node* node, HostedGroup* hosted, const Message* message) noexcept nogil:
    cdef Proposals* p = &hosted.proposals
    cdef uint64_t expected = message.fields[1]
    if message.fields[0] != p.session or expected < p.first or expected >= p.next:
        return
    if p.routed > expected:
        p.routed = expected
    p.refused_ns = node.now_ns + REFUSED_NS


cdef void proposals_fail(HostedGroup* hosted, int status) noexcept nogil:
    cdef Proposals* p = &hosted.proposals
    cdef Receipt* receipt
    cdef Receipt* following
    cdef uint64_t sequence
    if hosted.unsettled_failed:
        return
    hosted.unsettled_failed = True
    intake_refuse(&hosted.intake, status)
    for sequence in range(p.first, p.next):
        receipt = <Receipt*>exchange_ptr(&hosted.apply.receipts[sequence & (PENDING_MAX - 1)], NULL)
        if receipt != NULL:
            intake_release(&hosted.intake, receipt.bytes)
            receipt_fail(receipt, status, not proposal_at(p, sequence).sent)
            receipt_drop(receipt)
    if p.taken == NULL:
        p.taken = intake_take(&hosted.intake)
    while p.taken != NULL:
        receipt = p.taken
        following = receipt.next
        intake_discard(&hosted.intake, receipt, status)
        p.taken = following
    receipt = intake_take(&hosted.intake)
    while receipt != NULL:
        following = receipt.next
        intake_discard(&hosted.intake, receipt, status)
        receipt = following
