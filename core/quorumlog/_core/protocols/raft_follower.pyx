"""The follower's side of replication (Ongaro and Ousterhout 2014, 5.3 and Figure 2).

A message is looked through completely before anything is changed: what a peer says
may be late, doubled, reordered or nonsense, and must not crash this node or harm its
log.  A batch that equals one of the log's is skipped; the log is cut only where terms
really differ, and never at or below what is committed.
"""

from libc.stdint cimport uint16_t

from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.status cimport OK
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport BATCH_ENTRIES_MAX, index_t, node_t, term_t, wsn_t
from quorumlog._core.engine.faults cimport faults_truncate
from quorumlog._core.engine.log cimport (
    log_append, log_batch, log_last_of_term, log_term, log_truncate, log_wsn)
from quorumlog._core.engine.message cimport Message
from quorumlog._core.engine.outbox cimport Outbox
from quorumlog._core.engine.protocol cimport ROLE_FOLLOWER, ROLE_LEADER
from quorumlog._core.protocols.raft_admission cimport admission_ask
from quorumlog._core.protocols.raft_election cimport election_follow, election_reset_timer
from quorumlog._core.protocols.raft_freshness cimport freshness_answer, freshness_on_heartbeat
from quorumlog._core.protocols.raft_lease cimport lease_promise_ns
from quorumlog._core.protocols.raft_membership cimport (
    membership_appended, membership_may_truncate, membership_truncated, membership_well_formed)
from quorumlog._core.protocols.raft_reads cimport reads_on_leader_heard
from quorumlog._core.protocols.raft_records cimport raft_message, raft_write, raft_write_truncate
from quorumlog._core.protocols.raft_replication cimport replication_batch_end, replication_commit_to
from quorumlog._core.protocols.raft_repair cimport repair_intact
from quorumlog._core.protocols.raft_state cimport (
    RAFT_APPEND_REPLY, RAFT_HEARTBEAT_REPLY, AppendFields, AppendReplyFields, CommitFields, HeartbeatFields,
    HeartbeatReplyFields, Raft, forget_marks, number_max)
from quorumlog._core.protocols.raft_tail cimport tail_after_append, tail_before_append
from quorumlog._core.storage.batch cimport KIND_BLANK, KIND_ENTRIES, KIND_MEMBERSHIP, Batch, batch_last


cdef bint follower_acknowledge_leader(Raft* raft, Outbox* out, node_t sender) noexcept nogil:
    """The sender leads this term.  False: it can't, somebody else does."""
    if raft.role == ROLE_LEADER or (raft.leader != 0 and raft.leader != sender):
        return False
    # 5.2: a candidate that hears of "another server that claims to be leader" in its term follows it.
    if raft.role != ROLE_FOLLOWER or raft.leader != sender:
        election_follow(raft, out, sender)
    raft.heard_leader_ns = raft.now_ns
    raft.removed_index = 0             # who sends to it counts on it
    election_reset_timer(raft)
    if raft.reads.forwarded_count > 0:
        reads_on_leader_heard(raft, out)
    return True


cdef index_t acknowledged(const Raft* raft, index_t match) noexcept nogil:
    """Of what lies before `match`, what this node answers for."""
    if raft.listening and not mutant(b"acknowledge-while-listening"):
        return 0
    return repair_intact(raft, match)


cdef void learn_commit(Raft* raft, index_t commit, index_t known) noexcept nogil:
    """Figure 2: commitIndex = min(leaderCommit, ...), never beyond what is known to agree (A-R2)."""
    cdef index_t index
    if mutant(b"commit-beyond-verified"):
        known = raft.log.last
    index = replication_batch_end(raft, min(commit, known))
    if index > raft.commit:
        replication_commit_to(raft, index)


# Heartbeats

cdef bint follower_on_heartbeat(Raft* raft, Outbox* out, const Message* message) noexcept nogil:
    cdef const HeartbeatFields* fields = <const HeartbeatFields*>message.fields
    cdef Message* reply
    cdef HeartbeatReplyFields* said
    if not follower_acknowledge_leader(raft, out, message.sender):
        return False
    learn_commit(raft, fields.commit, raft.verified)
    freshness_on_heartbeat(raft, fields)
    reply = raft_message(raft, out, RAFT_HEARTBEAT_REPLY, message.sender)
    said = <HeartbeatReplyFields*>reply.fields
    said.round = fields.round
    said.verified = raft.verified
    said.sent_ns = fields.sent_ns
    said.priority = raft.priority
    said.listening = raft.listening and not mutant(b"acknowledge-while-listening")
    said.holds_ns = lease_promise_ns(raft)
    freshness_answer(raft, said)
    said.wants = raft.snapshot_needed
    if raft.listening:
        admission_ask(raft, out)
    return True


cdef bint follower_on_commit(Raft* raft, Outbox* out, const Message* message) noexcept nogil:
    if not follower_acknowledge_leader(raft, out, message.sender):
        return False
    learn_commit(raft, (<const CommitFields*>message.fields).commit, raft.verified)
    return True


# Appends

cdef bint well_formed(const Raft* raft, const Message* message) noexcept nogil:
    """Whole batches in a row, of this group, with terms that don't fall nor pass the leader's."""
    cdef const AppendFields* fields = <const AppendFields*>message.fields
    cdef index_t last = fields.prev_index
    cdef term_t term = fields.prev_term
    cdef uint16_t i
    cdef const Batch* batch
    if last > number_max() or term > message.term or (last == 0) != (term == 0):
        return False
    for i in range(message.batch_count):
        batch = message.batches[i]
        # A gap is refused whatever the log holds, an empty one too (A-R26, A-R27).
        if batch.first != last + 1 or batch.count == 0 or batch.count > BATCH_ENTRIES_MAX:
            return False
        if batch.term < term or batch.term == 0 or batch.term > message.term or batch.group != raft.group:
            return False
        if (batch.kind != KIND_ENTRIES and batch.kind != KIND_BLANK and batch.kind != KIND_MEMBERSHIP) \
                or not batch.stamped:
            return False
        if batch.kind == KIND_MEMBERSHIP and not membership_well_formed(batch):
            return False               # A-X6
        last = batch_last(batch)
        term = batch.term
    return last <= number_max()


cdef enum Fit:
    FIT_SAME = 1                   # the log has this batch
    FIT_NEW = 2                    # it lies behind the log's end
    FIT_CONFLICT = 3               # the log has another term there
    FIT_IMPOSSIBLE = 4             # contradicts what one term's only leader can have sent


cdef int fit(const Raft* raft, const Batch* batch) noexcept nogil:
    """How a batch relates to the log, everything before it being the same."""
    cdef const Batch* own
    cdef term_t at_first, at_last
    if batch.first > raft.log.last:
        return FIT_NEW
    own = log_batch(raft.log, batch.first)
    if own != NULL and own.first != batch.first:
        return FIT_IMPOSSIBLE          # it begins inside one of ours: batches are never split
    if log_term(raft.log, batch.first, &at_first) != OK:
        return FIT_IMPOSSIBLE
    if at_first != batch.term:
        return FIT_CONFLICT
    # The same index and term: there was one leader, so it must be the same batch.
    if own != NULL:
        return FIT_SAME if own.count == batch.count and own.body_crc == batch.body_crc else FIT_IMPOSSIBLE
    if log_term(raft.log, batch_last(batch), &at_last) != OK or at_last != batch.term:
        return FIT_IMPOSSIBLE
    return FIT_SAME


cdef bint follower_on_append(Raft* raft, Outbox* out, const Message* message) noexcept nogil:
    cdef const AppendFields* fields = <const AppendFields*>message.fields
    cdef index_t match = fields.prev_index
    cdef index_t kept_before = raft.log.first - 1
    cdef uint16_t i = 0
    cdef int how = FIT_SAME
    cdef term_t term
    cdef index_t prev = fields.prev_index
    cdef term_t prev_term = fields.prev_term
    if not well_formed(raft, message):
        return False
    # Entries before the head are committed by definition: skip them (A-M9).
    while i < message.batch_count and batch_last(message.batches[i]) <= kept_before:
        prev = batch_last(message.batches[i])
        prev_term = message.batches[i].term
        match = prev
        i += 1
    if i < message.batch_count and message.batches[i].first <= kept_before:
        return False                   # across the head, which is a batch end
    if prev >= kept_before:
        if (log_term(raft.log, prev, &term) != OK or term != prev_term) \
                and not (mutant(b"prev-not-checked") and prev <= raft.log.last):
            return refuse(raft, out, message)
    # Look through all of it before changing anything.
    while i < message.batch_count:
        how = fit(raft, message.batches[i])
        if how == FIT_SAME and mutant(b"truncate-on-match") and message.batches[i].first > raft.commit:
            how = FIT_CONFLICT
        if how != FIT_SAME:
            break
        match = batch_last(message.batches[i])
        i += 1
    if how == FIT_IMPOSSIBLE:
        return False
    if how == FIT_CONFLICT and message.batches[i].first <= max(raft.commit, raft.verified) \
            and not mutant(b"truncate-on-match"):
        return False                   # no leader lacks what is committed, or takes back what it sent
    if how == FIT_CONFLICT and not membership_may_truncate(raft, message.batches[i].first):
        return False
    if not follower_acknowledge_leader(raft, out, message.sender):
        return False
    if i < message.batch_count:
        match = take_over(raft, out, message, i, how == FIT_CONFLICT)
    raft.verified = max(raft.verified, match)
    learn_commit(raft, fields.commit, match)
    follower_accept(raft, out, message.sender, prev_of(message), match)
    return True


cdef index_t take_over(Raft* raft, Outbox* out, const Message* message, uint16_t begin,
                       bint conflict) noexcept nogil:
    """Figure 2: "delete the existing entry and all that follow it"; "append any new entries"."""
    cdef uint16_t i
    cdef Batch* batch
    cdef wsn_t wsn
    if conflict:
        # Only at a real conflict (A-R4), the rest of the log with it (A-R3), and on record before what
        # replaces it.  The record covers an unproved tail too.
        raft_write_truncate(raft, out, message.batches[begin].first)
        log_truncate(raft.log, message.batches[begin].first)
        forget_marks(raft, message.batches[begin].first)
        faults_truncate(&raft.faults, message.batches[begin].first)
        membership_truncated(raft, out, message.batches[begin].first)
        raft.tail_truncated = raft.unproved_last != 0
    else:
        tail_before_append(raft, out)
    for i in range(begin, message.batch_count):
        batch = message.batches[i]
        wsn = raft_write(raft, out, batch)
        log_append(raft.log, batch, wsn)
        if batch.kind == KIND_MEMBERSHIP:
            membership_appended(raft, out, batch)
        tail_after_append(raft, batch_last(batch), batch.term)
    return raft.log.last


cdef index_t prev_of(const Message* message) noexcept nogil:
    return (<const AppendFields*>message.fields).prev_index


cdef void follower_accept(Raft* raft, Outbox* out, node_t leader, index_t prev_index, index_t match) noexcept nogil:
    cdef Message* reply = raft_message(raft, out, RAFT_APPEND_REPLY, leader)
    cdef AppendReplyFields* fields = <AppendReplyFields*>reply.fields
    # What this request covered, not where the log ends (A-R5), and not before it is durable.
    fields.match = match if not mutant(b"ack-the-last-index") else raft.log.last
    fields.prev_index = prev_index
    if raft.faults.count > 0 or raft.listening:
        fields.withheld = fields.match - acknowledged(raft, fields.match)
    if match >= raft.log.first:
        check2(match <= raft.log.last, b"Q-RAFT-50 only what is in the log is acknowledged", match,
               raft.log.last)
        if not mutant(b"ack-before-flushed"):
            reply.after_io = max(reply.after_io, log_wsn(raft.log, match))


cdef bint refuse(Raft* raft, Outbox* out, const Message* message) noexcept nogil:
    """The logs don't meet at `prev`: say where they may."""
    cdef const AppendFields* asked = <const AppendFields*>message.fields
    cdef Message* reply
    cdef AppendReplyFields* fields
    cdef index_t hint
    if asked.prev_index <= raft.commit:
        return False                   # every leader holds what is committed
    if not follower_acknowledge_leader(raft, out, message.sender):
        return False
    hint = min(min(asked.prev_index, raft.log.last), log_last_of_term(raft.log, asked.prev_term))
    hint = max(hint, raft.log.first - 1)
    reply = raft_message(raft, out, RAFT_APPEND_REPLY, message.sender)
    fields = <AppendReplyFields*>reply.fields
    fields.rejected = 1
    fields.prev_index = asked.prev_index
    fields.hint_index = hint
    log_term(raft.log, hint, &fields.hint_term)
    return True
