"""See raft_snapshot.pxd."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memmove

from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport OK
from quorumlog._core.base.types cimport SNAPSHOT_PIECE_BYTES_MAX, SnapshotId, index_t, node_t, same_snapshot, term_t
from quorumlog._core.engine.faults cimport faults_compact, faults_truncate
from quorumlog._core.engine.log cimport log_compact, log_reset, log_term
from quorumlog._core.engine.outbox cimport outbox_store_piece
from quorumlog._core.engine.progress cimport Progress
from quorumlog._core.engine.protocol cimport PEER_SNAPSHOT, ROLE_LEADER
from quorumlog._core.engine.transfer cimport (
    TAKEN_GAP, TAKEN_KNOWN, TAKEN_STORE, receiving_end, receiving_piece)
from quorumlog._core.protocols.raft_follower cimport follower_accept, follower_acknowledge_leader
from quorumlog._core.protocols.raft_records cimport raft_message, raft_write_compact, raft_write_reset
from quorumlog._core.protocols.raft_replication cimport replication_batch_end, replication_commit_to
from quorumlog._core.protocols.raft_state cimport (
    HEAD_MARKS, RAFT_SNAPSHOT_REPLY, HeadMark, SnapshotFields, SnapshotReplyFields, number_max)
from quorumlog._core.storage.batch cimport KIND_SNAPSHOT, Batch

cdef enum:
    MARKS_A_SNAPSHOT = 8           # marks lie an eighth of what makes a snapshot due apart


# How far the log has grown --------------------------------------------------------------------------------

cdef uint64_t least_distance(const Raft* raft) noexcept nogil:
    return max(raft.snapshot_log_bytes // MARKS_A_SNAPSHOT, <uint64_t>1)


cdef void thin_marks(Raft* raft) noexcept nogil:
    """Every second one goes: however long the log gets, its whole length is known, and coarser."""
    cdef uint32_t i
    for i in range(HEAD_MARKS // 2):
        raft.marks[i] = raft.marks[2 * i + 1]
    raft.mark_count = HEAD_MARKS // 2
    raft.mark_bytes *= 2


cdef void snapshot_mark(Raft* raft) noexcept nogil:
    if raft.mark_count > 0 and raft.marks[raft.mark_count - 1].index == raft.log.last:
        return
    if raft.mark_count == HEAD_MARKS:
        thin_marks(raft)
    raft.marks[raft.mark_count].index = raft.log.last
    raft.marks[raft.mark_count].bytes = raft.log.appended_bytes
    raft.mark_count += 1


cdef void drop_marks(Raft* raft) noexcept nogil:
    """Those before the head."""
    cdef uint32_t dropped = 0
    while dropped < raft.mark_count and raft.marks[dropped].index + 1 < raft.log.first:
        dropped += 1
    raft.mark_count -= dropped
    memmove(&raft.marks[0], &raft.marks[dropped], raft.mark_count * sizeof(HeadMark))
    if raft.mark_count < HEAD_MARKS // 4:
        raft.mark_bytes = max(raft.mark_bytes // 2, least_distance(raft))


cdef uint64_t bytes_at(const Raft* raft, index_t index) noexcept nogil:
    """Of appended_bytes, at most so many when the log ended there."""
    cdef uint32_t i = raft.mark_count
    while i > 0:
        i -= 1
        if raft.marks[i].index <= index:
            return raft.marks[i].bytes
    return 0


cdef index_t mark_before(const Raft* raft, index_t index) noexcept nogil:
    """The newest known place at or before `index`; 0: none."""
    cdef uint32_t i = raft.mark_count
    while i > 0:
        i -= 1
        if raft.marks[i].index <= index:
            return raft.marks[i].index
    return 0


cdef index_t retained_from(const Raft* raft, index_t index) noexcept nogil:
    """The newest known place at least retained_log_bytes before `index`; 0: none."""
    cdef uint64_t bytes = bytes_at(raft, index)
    cdef uint32_t i = raft.mark_count
    while i > 0:
        i -= 1
        if raft.marks[i].index <= index and raft.marks[i].bytes + raft.retained_log_bytes <= bytes:
            return raft.marks[i].index
    return 0


cdef uint64_t due_bytes(const Raft* raft) noexcept nogil:
    """Followers first, and not all at once: each has its own share on top, a leader half as much again."""
    cdef uint64_t share = raft.snapshot_log_bytes // 4 * <uint64_t>raft.self_slot // max(raft.membership.count, 1)
    if raft.role == ROLE_LEADER:
        share = raft.snapshot_log_bytes // 2
    return raft.snapshot_log_bytes + share


cdef void snapshot_look(Raft* raft, Outbox* out) noexcept nogil:
    if raft.snapshot_needed != 0:
        return                         # there is no state to make one of
    if raft.snapshot_forced:
        out.snapshot_due = True
    elif raft.snapshot_log_bytes != 0 and raft.commit > raft.snapshot.index \
            and raft.log.appended_bytes - raft.snapshot_seen_bytes >= due_bytes(raft):
        out.snapshot_due = True
        if mutant(b"head-dropped-before-durable"):
            raft.snapshot.index = raft.commit
            drop_head(raft, out)


# The head of the log --------------------------------------------------------------------------------------

cdef index_t needed_behind(const Raft* raft, int slot) noexcept nogil:
    """The entry behind which a peer that is on its way needs the log next; 0: none."""
    cdef const Progress* p = &raft.progress[slot]
    if slot == raft.self_slot or not p.reachable:
        return 0
    if p.state == PEER_SNAPSHOT:
        return raft.sending[slot].id.index
    # Its match may be a guess inside a batch; the places that are marked are batch ends.
    return mark_before(raft, p.match) if p.match + 1 >= raft.log.first else 0


cdef index_t last_to_drop(const Raft* raft) noexcept nogil:
    cdef index_t last = raft.snapshot.index
    cdef uint64_t most_bytes = 2 * raft.snapshot_log_bytes + 4 * raft.snapshot.file_bytes
    cdef index_t needed
    cdef int slot
    if raft.retained_log_bytes != 0:
        last = min(last, retained_from(raft, last))
    if raft.role == ROLE_LEADER:
        for slot in range(<int>raft.membership.count):
            # Who takes in a snapshot, or the log behind one, would else need another one at once, and so for ever.  But
            # one that gets nowhere must not fill this disk.
            needed = needed_behind(raft, slot)
            if needed != 0 and needed < last and raft.log.appended_bytes - bytes_at(raft, needed) <= most_bytes:
                last = needed
    return last


cdef void drop_head(Raft* raft, Outbox* out) noexcept nogil:
    """Section 7: "once a server completes writing a snapshot, it may delete all log entries up through the last
    included index"."""
    cdef index_t last = last_to_drop(raft)
    cdef term_t term = 0
    if last < raft.log.first or last > raft.log.flushed or log_term(raft.log, last, &term) != OK:
        return
    if mutant(b"term-of-the-head-lost"):
        term = 1
    raft_write_compact(raft, out, last + 1, term)
    log_compact(raft.log, last + 1)
    drop_marks(raft)
    faults_compact(&raft.faults, raft.log.first)


cdef void snapshot_on_made(Raft* raft, Outbox* out, const Event* event) noexcept nogil:
    cdef const SnapshotId* id = event.snapshot
    if event.status != OK:
        # What failed may fail again: when the log has grown by half as much again.
        raft.snapshot_seen_bytes = raft.log.appended_bytes - raft.snapshot_log_bytes // 2 \
            if raft.log.appended_bytes > raft.snapshot_log_bytes // 2 else 0
        raft.snapshot_forced = False
        return
    check2(id.index <= raft.commit, b"Q-RAFT-92 a snapshot holds committed entries alone", id.index, raft.commit)
    if id.index < raft.snapshot.index:
        return                         # one that came from a peer meanwhile reaches further
    raft.snapshot = id[0]
    raft.snapshot_forced = False
    raft.snapshot_seen_bytes = bytes_at(raft, id.index)
    drop_head(raft, out)


# What comes in --------------------------------------------------------------------------------------------

cdef bint piece_makes_sense(const Raft* raft, const Message* message, SnapshotId* id) noexcept nogil:
    cdef const SnapshotFields* fields = <const SnapshotFields*>message.fields
    cdef const Batch* piece
    id.index = fields.index
    id.term = fields.entry_term
    id.writer = fields.writer
    id.number = fields.number
    id.file_bytes = fields.file_bytes
    if id.index == 0 or id.index > number_max() or id.term == 0 or id.term > message.term \
            or id.file_bytes == 0 or id.file_bytes > number_max() or fields.offset > id.file_bytes:
        return False
    if message.batch_count == 0:
        return True
    piece = message.batches[0]
    return (piece.kind == KIND_SNAPSHOT and piece.group == raft.group and piece.body_bytes != 0
            and piece.body_bytes <= SNAPSHOT_PIECE_BYTES_MAX
            and piece.body_bytes <= id.file_bytes - fields.offset)


cdef bint holds_already(const Raft* raft, const SnapshotId* id) noexcept nogil:
    """Section 7: "if the snapshot describes a prefix of its log", the log is all that is needed (A-M7)."""
    cdef term_t term = 0
    if raft.snapshot_needed != 0:
        return False
    if id.index <= raft.commit:
        return not mutant(b"old-snapshot-installed")
    return log_term(raft.log, id.index, &term) == OK and term == id.term


cdef void tell_match(Raft* raft, Outbox* out, index_t index) noexcept nogil:
    """The log agrees with the leader's up to there, and all of that is committed."""
    if index > raft.commit:
        raft.verified = max(raft.verified, index)
        replication_commit_to(raft, replication_batch_end(raft, index))
    follower_accept(raft, out, raft.leader, raft.commit, raft.commit)


cdef void tell_offset(Raft* raft, Outbox* out, node_t leader, uint64_t offset, bint restart) noexcept nogil:
    cdef Message* reply = raft_message(raft, out, RAFT_SNAPSHOT_REPLY, leader)
    cdef SnapshotReplyFields* fields = <SnapshotReplyFields*>reply.fields
    fields.index = raft.receiving.id.index
    fields.writer = raft.receiving.id.writer
    fields.number = raft.receiving.id.number
    fields.offset = offset
    fields.restart = restart


cdef bint snapshot_on_piece(Raft* raft, Outbox* out, const Message* message) noexcept nogil:
    cdef const SnapshotFields* fields = <const SnapshotFields*>message.fields
    cdef SnapshotId id
    cdef uint64_t size = message.batches[0].body_bytes if message.batch_count != 0 else 0
    cdef int how
    if not piece_makes_sense(raft, message, &id) or not follower_acknowledge_leader(raft, out, message.sender):
        return False
    if holds_already(raft, &id):
        tell_match(raft, out, id.index)
        return True
    if raft.snapshot_needed != 0 and id.index < raft.snapshot_needed:
        return True                    # of no use: the log here begins behind it
    how = receiving_piece(&raft.receiving, &id, message.sender, fields.offset, size)
    if how == TAKEN_STORE:
        outbox_store_piece(out, &id, fields.offset, message.batches[0], raft.receiving.finishing)
    elif how == TAKEN_GAP or (how == TAKEN_KNOWN and size == 0):
        tell_offset(raft, out, message.sender, raft.receiving.next, True)
    elif how == TAKEN_KNOWN:
        tell_offset(raft, out, message.sender, raft.receiving.next, False)
    return True


cdef void snapshot_on_stored(Raft* raft, Outbox* out, const Event* event) noexcept nogil:
    cdef SnapshotId id = raft.receiving.id
    if not same_snapshot(event.snapshot, &id):
        return                         # of one that was given up
    if event.status != OK:
        # The disk refused it, or it is not what it said: from the beginning.
        if raft.role != ROLE_LEADER and raft.leader != 0:
            raft.receiving.next = 0
            tell_offset(raft, out, raft.leader, 0, True)
        receiving_end(&raft.receiving)
        return
    if not event.whole:
        if raft.role != ROLE_LEADER and raft.leader != 0:
            tell_offset(raft, out, raft.leader, event.offset, False)
        return
    receiving_end(&raft.receiving)
    install(raft, out, &id)
    if raft.role != ROLE_LEADER and raft.leader != 0:
        follower_accept(raft, out, raft.leader, raft.commit, raft.commit)


cdef void begin_anew(Raft* raft, Outbox* out, const SnapshotId* id) noexcept nogil:
    """Section 7: "the follower discards its entire log; it is all superseded by the snapshot"."""
    cdef index_t truncate_first = 0
    if raft.log.last >= id.index and not mutant(b"suffix-kept-on-mismatch"):
        # What lies behind it here is of another history: it was never committed, nor can it be (A-M6).
        truncate_first = raft.commit + 1
        faults_truncate(&raft.faults, truncate_first)
        raft.unproved_last = 0
    raft_write_reset(raft, out, truncate_first, id.index + 1, id.term)
    log_reset(raft.log, id.index, id.term)
    faults_compact(&raft.faults, raft.log.first)
    if raft.unproved_last <= raft.log.last:
        raft.unproved_last = 0
    raft.mark_count = 0
    raft.snapshot_seen_bytes = raft.log.appended_bytes


cdef void install(Raft* raft, Outbox* out, const SnapshotId* id) noexcept nogil:
    cdef term_t term = 0
    cdef bint agrees = log_term(raft.log, id.index, &term) == OK and term == id.term
    if id.index <= raft.commit and raft.snapshot_needed == 0:
        return                         # overtaken by the log itself meanwhile
    check2(raft.role != ROLE_LEADER or agrees, b"Q-RAFT-93 no leader lacks what is committed", id.index, raft.term)
    if not agrees:
        begin_anew(raft, out, id)
    if raft.role == ROLE_LEADER:
        return                         # it commits by counting; the file is one more snapshot
    raft.verified = max(raft.verified, id.index)
    if id.index > raft.commit:
        raft.commit = id.index
    raft.snapshot = id[0]
    raft.snapshot_needed = 0
    raft.snapshot_seen_bytes = max(bytes_at(raft, id.index), raft.snapshot_seen_bytes)
    raft.snapshots_installed += 1
    out.install = id[0]
    drop_head(raft, out)


# At opening -----------------------------------------------------------------------------------------------

cdef bint snapshot_restore(Raft* raft, const RaftOptions* options) noexcept nogil:
    cdef const SnapshotId* id = &options.snapshot
    cdef term_t term = 0
    raft.snapshot_log_bytes = options.snapshot_log_bytes
    raft.retained_log_bytes = options.retained_log_bytes
    raft.snapshot_bytes_per_s = options.snapshot_bytes_per_s
    raft.piece_bytes = options.piece_bytes
    raft.mark_bytes = least_distance(raft)
    raft.snapshot_needed = options.snapshot_needed
    raft.snapshot = id[0]
    if id.index == 0:
        return raft.log.first == 1 or options.snapshot_needed != 0
    if id.index + 1 < raft.log.first or id.term == 0:
        return False
    if log_term(raft.log, id.index, &term) == OK and term == id.term:
        return True
    # An install that was cut short: what it does to the log is done again.
    raft.reset_unwritten = True
    raft.reset_truncate = raft.log.first if raft.log.last >= id.index else 0
    log_reset(raft.log, id.index, id.term)
    faults_compact(&raft.faults, raft.log.first)
    return True


cdef void snapshot_write_reset(Raft* raft, Outbox* out) noexcept nogil:
    raft.reset_unwritten = False
    raft_write_reset(raft, out, raft.reset_truncate, raft.log.first, raft.log.term_before_first)
