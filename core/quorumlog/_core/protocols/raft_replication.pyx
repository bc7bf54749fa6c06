"""The leader's side of replication: send and write at the same time, count only what is durable.

The own disk is an acker like any peer: the leader's match for itself is what its log
has flushed (A-R17, A-R18).  `prev` of an append with batches is always a batch end.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_NOT_LEADER, ERR_OVERLOADED, ERR_TRANSFERRING, OK
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport NODES_MAX, index_t, term_t, wsn_t
from quorumlog._core.engine.log cimport (
    log_append, log_batch, log_last_of_term, log_term)
from quorumlog._core.engine.membership cimport membership_slot
from quorumlog._core.engine.message cimport MESSAGE_BATCHES_MAX, Message
from quorumlog._core.engine.outbox cimport (
    Outbox, outbox_attach, outbox_fetch, outbox_has_room, outbox_refuse)
from quorumlog._core.engine.progress cimport (
    Progress, progress_acked, progress_may_send, progress_open, progress_sent, progress_to_probe,
    progress_to_stream)
from quorumlog._core.engine.protocol cimport PEER_PROBE, PEER_SNAPSHOT, PEER_STREAM, ROLE_LEADER, Event
from quorumlog._core.engine.quorum cimport acked_index
from quorumlog._core.protocols.raft_freshness cimport freshness_on_answer
from quorumlog._core.protocols.raft_lease cimport lease_on_answer
from quorumlog._core.protocols.raft_reads cimport reads_begin_round, reads_confirm
from quorumlog._core.protocols.raft_records cimport raft_blank, raft_message, raft_write
from quorumlog._core.protocols.raft_repair cimport repair_blocks, repair_found, repair_intact
from quorumlog._core.protocols.raft_state cimport (
    RAFT_APPEND, RAFT_COMMIT, AppendFields, AppendReplyFields, CommitFields, HeartbeatReplyFields, Raft, slot_bit)
from quorumlog._core.protocols.raft_shipping cimport shipping_begin, shipping_end
from quorumlog._core.protocols.raft_transfer cimport transfer_start
from quorumlog._core.storage.batch cimport (
    IDENTITY_BYTES, KIND_ENTRIES, Batch, batch_drop, batch_last, batch_stamp)

cdef enum:
    # Of one message: a frame has 32 MiB and a batch 16, so one batch over this still fits.
    APPEND_BYTES_CEILING = 15 << 20
    COMMIT_DELAY_NS = 1000000      # how long a commit may wait for an append to carry it


cdef uint64_t batch_cost(const Batch* batch) noexcept nogil:
    return IDENTITY_BYTES + batch.body_bytes


cdef uint64_t append_limit(const Raft* raft) noexcept nogil:
    return min(raft.append_bytes_max, <uint64_t>APPEND_BYTES_CEILING)


# Appending

cdef void replication_start(Raft* raft, Outbox* out) noexcept nogil:
    cdef uint32_t slot
    cdef Progress* p
    cdef Batch* blank
    check(raft.role == ROLE_LEADER, b"Q-RAFT-20 only a leader replicates")
    for slot in range(raft.membership.count):
        p = &raft.progress[slot]
        progress_open(p, raft.membership.nodes[slot], raft.log.last + 1)
        p.reachable = (raft.reachable & slot_bit(slot)) != 0
        p.heard_ns = raft.now_ns
        raft.commit_sent[slot] = 0
        raft.counted[slot] = 0
        raft.peer_listening[slot] = False
        raft.barrier_asked[slot] = 0
        raft.barriers[slot] = 0
        raft.commit_wanted[slot] = 0
        shipping_end(raft, <int>slot)
        raft.priorities[slot] = 0
    transfer_start(raft)
    raft.commit_due_ns = 0
    raft.uncommitted_bytes = 0
    raft.lease_broken = False
    raft.term_first = raft.log.last + 1
    # Section 8: "each leader commits a blank no-op entry into the log at the start of its term".
    blank = raft_blank(raft)
    append(raft, out, blank)
    batch_drop(blank)
    # "Upon election: send initial empty AppendEntries RPCs (heartbeat) to each server".
    reads_begin_round(raft, out)
    replication_send_all(raft, out)


cdef index_t replication_barrier(Raft* raft, Outbox* out) noexcept nogil:
    cdef Batch* blank = raft_blank(raft)
    append(raft, out, blank)
    batch_drop(blank)
    replication_send_all(raft, out)
    return raft.log.last


cdef void append(Raft* raft, Outbox* out, Batch* batch) noexcept nogil:
    cdef wsn_t wsn = raft_write(raft, out, batch)
    log_append(raft.log, batch, wsn)
    raft.uncommitted_bytes += batch_cost(batch)
    raft.verified = raft.log.last


cdef void replication_propose(Raft* raft, Outbox* out, const Event* event) noexcept nogil:
    cdef Batch* batch = event.batch
    cdef int slot
    check(batch.kind == KIND_ENTRIES and batch.count >= 1, b"Q-RAFT-21 a proposal has entries")
    if raft.role != ROLE_LEADER:
        outbox_refuse(out, batch, ERR_NOT_LEADER)
        return
    if raft.transfer_target != 0:
        outbox_refuse(out, batch, ERR_TRANSFERRING)    # A-R16: or the target never has the whole log
        return
    if raft.uncommitted_bytes > 0 and raft.uncommitted_bytes + batch_cost(batch) > raft.uncommitted_bytes_max:
        outbox_refuse(out, batch, ERR_OVERLOADED)
        return
    # The term is taken and the batch appended in one step: no other term can come between (A-R25).
    check(batch.stamped == 0, b"Q-RAFT-22 a proposal is stamped once")
    batch.group = raft.group
    batch.term = raft.term
    batch.ballot_node = 0
    batch.first = raft.log.last + 1
    batch.leader_time_ns = raft.wall_ns
    batch_stamp(batch)
    append(raft, out, batch)
    batch_drop(batch)
    slot = membership_slot(&raft.membership, event.peer)
    if slot >= 0:
        raft.commit_wanted[slot] = raft.log.last
    replication_send_all(raft, out)


# Sending

cdef void replication_send_all(Raft* raft, Outbox* out) noexcept nogil:
    cdef int slot
    for slot in range(<int>raft.membership.count):
        if slot != raft.self_slot:
            replication_send(raft, out, slot)


cdef Message* append_message(Raft* raft, Outbox* out, Progress* p, index_t prev) noexcept nogil:
    cdef Message* message = raft_message(raft, out, RAFT_APPEND, p.node)
    cdef AppendFields* fields = <AppendFields*>message.fields
    fields.prev_index = prev
    # Whatever is sent says truly what lies before it (A-R27): the terms of the whole log are known.
    check(log_term(raft.log, prev, &fields.prev_term) == OK, b"Q-RAFT-23 the entry before an append is known")
    fields.commit = raft.commit
    return message


cdef void replication_send(Raft* raft, Outbox* out, int slot) noexcept nogil:
    cdef Progress* p = &raft.progress[slot]
    cdef Batch* batch
    while progress_may_send(p):
        if not outbox_has_room(out, MESSAGE_BATCHES_MAX):
            raft.more_to_send = True
            return
        if p.next < raft.log.first:
            # Compacted, but it may hold more than was acknowledged (the answer was lost): ask at the head.
            # If it refuses there it needs a snapshot.
            progress_to_probe(p, raft.log.first)
            p.query = True
            continue
        if p.state == PEER_PROBE and (p.query or p.next > raft.log.last):
            append_message(raft, out, p, p.next - 1)
            progress_sent(p, p.next - 1, 0, raft.now_ns)
            return
        if p.next > raft.log.last:
            return
        batch = log_batch(raft.log, p.next)
        if batch == NULL:
            if repair_blocks(raft, p.next):
                return                 # never from a bad record; it goes on when that is repaired
            outbox_fetch(out, p.node, p.next, append_limit(raft))
            p.fetching = True
            return
        if batch.first < p.next:
            p.next = batch.first       # a guess inside one of our batches: begin at its first entry
        send_from_memory(raft, out, slot)


cdef void send_from_memory(Raft* raft, Outbox* out, int slot) noexcept nogil:
    cdef Progress* p = &raft.progress[slot]
    cdef Message* message = append_message(raft, out, p, p.next - 1)
    cdef uint64_t limit = append_limit(raft)
    cdef uint64_t bytes = 0
    cdef index_t last = p.next - 1
    cdef Batch* batch
    while last < raft.log.last and message.batch_count < MESSAGE_BATCHES_MAX:
        batch = log_batch(raft.log, last + 1)
        check2(batch != NULL and batch.first == last + 1,
               b"Q-RAFT-24 an append is made of whole batches in a row",
               last, p.next)
        if bytes > 0 and bytes + batch_cost(batch) > limit:
            break
        outbox_attach(out, message, batch)
        bytes += batch_cost(batch)
        last = batch_last(batch)
    progress_sent(p, last, bytes, raft.now_ns)
    raft.commit_sent[slot] = max(raft.commit_sent[slot], min(raft.commit, last))


cdef void replication_on_fetched(Raft* raft, Outbox* out, int slot, const Event* event) noexcept nogil:
    cdef Progress* p = &raft.progress[slot]
    cdef Message* message
    cdef Batch* batch
    cdef index_t last
    cdef uint32_t i, begin
    cdef uint64_t bytes = 0
    if raft.role != ROLE_LEADER or not p.fetching:
        return                         # asked in another life
    p.fetching = False
    if event.status != OK or event.batch_count == 0:
        # Abort that send (A-R27).  The next answer to a heartbeat tries again.
        raft.fetch_errors += 1
        if event.status == ERR_CORRUPT:
            repair_found(raft, event.first, 0)
        return
    # The log may have changed since: send only what still is in it, from `next` on.
    begin = 0
    while begin < event.batch_count and batch_last(event.batches[begin]) < p.next:
        begin += 1
    if begin == event.batch_count or event.batches[begin].first > p.next or p.query:
        replication_send(raft, out, slot)
        return
    if not fetched_fits(raft, event.batches[begin], event.batches[begin].first):
        raft.fetch_errors += 1
        return
    if not progress_may_send(p) or not outbox_has_room(out, MESSAGE_BATCHES_MAX):
        return
    p.next = event.batches[begin].first
    message = append_message(raft, out, p, p.next - 1)
    last = p.next - 1
    for i in range(begin, event.batch_count):
        batch = event.batches[i]
        if (message.batch_count == MESSAGE_BATCHES_MAX or not fetched_fits(raft, batch, last + 1)
                or (bytes > 0 and bytes + batch_cost(batch) > APPEND_BYTES_CEILING)):
            break
        outbox_attach(out, message, batch)
        bytes += batch_cost(batch)
        last = batch_last(batch)
    progress_sent(p, last, bytes, raft.now_ns)
    replication_send(raft, out, slot)


cdef bint fetched_fits(const Raft* raft, const Batch* batch, index_t first) noexcept nogil:
    """Is this what the log has at `first`?  The same index and term is the same batch."""
    cdef term_t term
    if batch.group != raft.group or batch.count == 0 or batch.first != first or first < raft.log.first:
        return False
    return log_term(raft.log, batch_last(batch), &term) == OK and term == batch.term


cdef void replication_on_reachable(Raft* raft, Outbox* out, int slot, bint reachable) noexcept nogil:
    cdef Progress* p = &raft.progress[slot]
    if raft.role != ROLE_LEADER or p.reachable == reachable:
        return
    p.reachable = reachable
    if reachable:
        replication_send(raft, out, slot)
    else:
        # What was on its way is lost with the connection: begin again behind what was acknowledged.
        shipping_end(raft, slot)
        progress_to_probe(p, p.match + 1)


# Acknowledgements

cdef bint replication_on_append_reply(Raft* raft, Outbox* out, int slot,
                                      const Message* message) noexcept nogil:
    cdef const AppendReplyFields* reply = <const AppendReplyFields*>message.fields
    cdef Progress* p = &raft.progress[slot]
    cdef index_t match
    if reply.rejected:
        return on_rejected(raft, out, slot, reply)
    if reply.match > raft.log.last or reply.withheld > reply.match:
        return False
    match = replication_batch_end(raft, reply.match)
    if p.state == PEER_PROBE and (match >= p.match):
        progress_acked(p, match, raft.now_ns)
        progress_to_stream(p)
    else:
        progress_acked(p, match, raft.now_ns)
        if p.state == PEER_SNAPSHOT and match + 1 >= raft.log.first:
            # The logs meet: it installed what was sent, or it held more than was known (A-M8).
            shipping_end(raft, slot)
            progress_to_stream(p)
        elif p.state == PEER_SNAPSHOT and match >= raft.sending[slot].id.index:
            # It has that one, and the log here begins further on by now.
            shipping_begin(raft, out, slot, raft.log.first - 1)
    if reply.withheld != 0:
        match = replication_batch_end(raft, reply.match - reply.withheld)
    count_acknowledged(raft, slot, match)
    replication_commit(raft, out)
    replication_send(raft, out, slot)
    send_commit(raft, out, slot)
    return True


cdef void count_acknowledged(Raft* raft, int slot, index_t index) noexcept nogil:
    """What a listening node acknowledged before it forgot it lies below its barrier: it counts no more."""
    if index >= raft.barriers[slot]:
        raft.counted[slot] = max(raft.counted[slot], index)


cdef bint on_rejected(Raft* raft, Outbox* out, int slot, const AppendReplyFields* reply) noexcept nogil:
    """The logs don't meet at `prev`.  5.3: "the follower can include the term of the conflicting entry"."""
    cdef Progress* p = &raft.progress[slot]
    cdef index_t guess
    cdef term_t term
    if reply.prev_index == 0 or reply.prev_index > raft.log.last:
        return False                   # the beginning always matches; and we never sent the other
    if p.state == PEER_SNAPSHOT:
        return True                    # late: that is known by now
    if p.state == PEER_PROBE:
        if reply.prev_index != p.next - 1:
            return True                # an answer to an earlier probe
    elif reply.prev_index <= p.match:
        return True                    # late: it has matched there since
    # The last index, before the one refused, that may agree: not behind the peer's hint, and not of
    # a higher term than the peer has there.
    guess = min(reply.hint_index, reply.prev_index - 1)
    guess = min(guess, log_last_of_term(raft.log, reply.hint_term))
    if guess < p.match:
        if p.state == PEER_PROBE:
            # Refused right behind what it once acknowledged: it lost part of its log (an unproved tail).
            # Counting less is always safe: what is committed stays so.
            p.match = guess
        else:
            guess = p.match
    guess = max(guess, raft.log.first - 1)
    p.match = min(p.match, guess)
    raft.counted[slot] = min(raft.counted[slot], p.match)
    progress_to_probe(p, guess + 1)
    # The guess may lie inside one of our batches: ask there without sending any.
    p.query = log_term(raft.log, guess, &term) != OK or term != reply.hint_term or guess != reply.hint_index
    if guess >= reply.prev_index:
        p.probe_sent = True            # they part in what is compacted here: ask at the pace of heartbeats, unless
        shipping_begin(raft, out, slot, guess)
    replication_send(raft, out, slot)
    return True


cdef bint replication_on_heartbeat_reply(Raft* raft, Outbox* out, int slot,
                                         const Message* message) noexcept nogil:
    cdef const HeartbeatReplyFields* reply = <const HeartbeatReplyFields*>message.fields
    cdef Progress* p = &raft.progress[slot]
    cdef uint64_t patience_ns = raft.election_timeout_ns // 2
    if reply.round > raft.round or reply.sent_ns > raft.now_ns:
        return False
    raft.peer_listening[slot] = reply.listening != 0
    raft.priorities[slot] = <uint8_t>min(reply.priority, <uint64_t>255)
    if not raft.peer_listening[slot]:
        p.round_acked = max(p.round_acked, reply.round)
        lease_on_answer(raft, p, reply)
        freshness_on_answer(raft, p, reply)
    if reply.wants != 0:
        shipping_begin(raft, out, slot, reply.wants)
    if p.state == PEER_PROBE:
        # It, or its answer, may be lost: an answer to a later heartbeat frees the probe (A-R21).
        if p.probe_sent_ns + raft.heartbeat_ns <= reply.sent_ns and not mutant(b"window-stays-shut"):
            p.probe_sent = False
    elif p.state == PEER_STREAM:
        if mutant(b"window-stays-shut"):
            pass
        elif p.in_flight_count > 0:
            # Sent long before this heartbeat and still not there: lost, not slow to sync.
            if (p.in_flight[p.in_flight_head].last > reply.verified
                    and p.in_flight[p.in_flight_head].sent_ns + patience_ns <= reply.sent_ns):
                progress_to_probe(p, p.match + 1)
            # There, but not acknowledged: the answer may be lost.  Ask again for it.
            elif p.in_flight[p.in_flight_head].sent_ns + 2 * patience_ns <= reply.sent_ns:
                progress_to_probe(p, p.match + 1)
        elif reply.verified < p.match:
            progress_to_probe(p, p.match + 1)      # restarted: it doesn't know yet that its log agrees
        elif raft.counted[slot] < p.match:
            progress_to_probe(p, p.match + 1)      # it withheld something: ask whether it still does
    replication_send(raft, out, slot)
    reads_confirm(raft, out)
    return True


# Committing

cdef index_t replication_batch_end(const Raft* raft, index_t index) noexcept nogil:
    cdef Batch* batch = log_batch(raft.log, index)
    if batch == NULL or batch_last(batch) == index:
        return index
    return batch.first - 1


cdef void replication_commit_to(Raft* raft, index_t index) noexcept nogil:
    cdef Batch* batch
    cdef index_t at
    check2(index >= raft.commit and index <= raft.log.last, b"Q-RAFT-25 commit rises within the log",
           index, raft.commit)
    if raft.role == ROLE_LEADER:
        at = max(raft.commit + 1, raft.term_first)
        while at <= index:
            batch = log_batch(raft.log, at)
            check2(batch != NULL, b"Q-RAFT-26 what a leader proposed stays in memory until it is committed",
                   at, index)
            check2(batch_last(batch) <= index, b"Q-RAFT-27 a commit index is a batch end", index, batch.first)
            check2(raft.uncommitted_bytes >= batch_cost(batch), b"Q-RAFT-28 uncommitted bytes are counted",
                   at, index)
            raft.uncommitted_bytes -= batch_cost(batch)
            at = batch_last(batch) + 1
    raft.commit = index


cdef void replication_commit(Raft* raft, Outbox* out) noexcept nogil:
    cdef index_t match[NODES_MAX]
    cdef int slot
    cdef index_t acked
    cdef term_t term
    for slot in range(NODES_MAX):
        match[slot] = 0
    for slot in range(<int>raft.membership.count):
        # Its own disk is an acker like any other (A-R17, A-R18).
        match[slot] = raft.log.flushed if slot == raft.self_slot else raft.counted[slot]
        if raft.faults.count > 0 and slot == raft.self_slot:
            match[slot] = repair_intact(raft, raft.log.flushed)
        if mutant(b"own-append-counts-at-once") and slot == raft.self_slot:
            match[slot] = raft.log.last
    acked = acked_index(&raft.membership.quorum, match)
    check2(acked <= raft.log.last, b"Q-RAFT-29 nobody acknowledges what was not sent", acked, raft.log.last)
    if acked <= raft.commit:
        return
    acked = replication_batch_end(raft, acked)
    # 5.4.2: "only log entries from the leader's current term are committed by counting replicas" (A-R1).
    if acked <= raft.commit or log_term(raft.log, acked, &term) != OK \
            or (term != raft.term and not mutant(b"commit-by-counting-alone")):
        return
    if all_told(raft):
        raft.commit_due_ns = raft.now_ns + COMMIT_DELAY_NS
    replication_commit_to(raft, acked)
    for slot in range(<int>raft.membership.count):
        if slot != raft.self_slot:
            replication_send(raft, out, slot)      # appends carry the commit index
            send_commit(raft, out, slot)
    reads_confirm(raft, out)


cdef bint all_told(const Raft* raft) noexcept nogil:
    cdef int slot
    for slot in range(<int>raft.membership.count):
        if slot != raft.self_slot and raft.commit_sent[slot] < min(raft.commit, raft.progress[slot].match):
            return False
    return True


cdef void replication_tell_commits(Raft* raft, Outbox* out) noexcept nogil:
    cdef int slot
    if raft.commit_due_ns == 0 or raft.now_ns < raft.commit_due_ns:
        return
    raft.commit_due_ns = 0
    for slot in range(<int>raft.membership.count):
        if slot != raft.self_slot:
            send_commit(raft, out, slot)


cdef void send_commit(Raft* raft, Outbox* out, int slot) noexcept nogil:
    """Those that nothing else tells.  At once where a caller waits for it; otherwise the next append may
    carry it for nothing (ADR 0014)."""
    cdef index_t commit = min(raft.commit, raft.progress[slot].match)
    cdef Message* message
    if commit <= raft.commit_sent[slot] or not raft.progress[slot].reachable:
        return
    if raft.now_ns < raft.commit_due_ns and raft.commit_wanted[slot] <= raft.commit_sent[slot]:
        return
    message = raft_message(raft, out, RAFT_COMMIT, raft.membership.nodes[slot])
    (<CommitFields*>message.fields).commit = commit
    raft.commit_sent[slot] = commit
