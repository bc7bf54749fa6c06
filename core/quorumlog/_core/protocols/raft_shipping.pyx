"""See raft_shipping.pxd."""

from libc.stdint cimport uint32_t, uint64_t

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_NOT_FOUND, OK
from quorumlog._core.base.types cimport index_t, same_snapshot
from quorumlog._core.engine.outbox cimport (
    outbox_attach, outbox_has_room, outbox_has_room_to_read, outbox_read_piece)
from quorumlog._core.engine.progress cimport Progress, progress_to_probe, progress_to_snapshot
from quorumlog._core.engine.protocol cimport PEER_SNAPSHOT, ROLE_LEADER
from quorumlog._core.engine.transfer cimport (
    Sending, sending_acked, sending_again, sending_begin, sending_deadline_ns, sending_end, sending_overdue,
    sending_ready, sending_took)
from quorumlog._core.protocols.raft_records cimport raft_message
from quorumlog._core.protocols.raft_state cimport RAFT_SNAPSHOT, SnapshotFields, SnapshotReplyFields


cdef uint64_t patience_ns(const Raft* raft) noexcept nogil:
    """After so long a piece, or the answer to it, is taken for lost."""
    return raft.election_timeout_ns


cdef Message* piece_message(Raft* raft, Outbox* out, int slot, uint64_t offset) noexcept nogil:
    cdef const Sending* sending = &raft.sending[slot]
    cdef Message* message = raft_message(raft, out, RAFT_SNAPSHOT, raft.membership.nodes[slot])
    cdef SnapshotFields* fields = <SnapshotFields*>message.fields
    fields.index = sending.id.index
    fields.entry_term = sending.id.term
    fields.writer = sending.id.writer
    fields.number = sending.id.number
    fields.file_bytes = sending.id.file_bytes
    fields.offset = offset
    return message


cdef void ask_where(Raft* raft, Outbox* out, int slot) noexcept nogil:
    """Without a piece: where are you?"""
    sending_again(&raft.sending[slot], raft.now_ns)
    if outbox_has_room(out, 0):
        piece_message(raft, out, slot, 0)


cdef void shipping_begin(Raft* raft, Outbox* out, int slot, index_t index) noexcept nogil:
    cdef Progress* p = &raft.progress[slot]
    check(raft.role == ROLE_LEADER, b"Q-RAFT-90 only a leader sends snapshots")
    if raft.snapshot.index == 0 or raft.snapshot.index < index:
        raft.snapshot_forced = True
        return
    if p.state == PEER_SNAPSHOT and same_snapshot(&raft.sending[slot].id, &raft.snapshot):
        return
    progress_to_snapshot(p)
    raft.shipping = True
    sending_begin(&raft.sending[slot], &raft.snapshot, raft.now_ns)
    ask_where(raft, out, slot)


cdef void shipping_end(Raft* raft, int slot) noexcept nogil:
    sending_end(&raft.sending[slot])


cdef void pump(Raft* raft, Outbox* out, int slot) noexcept nogil:
    """Asks for the pieces that may go now; one at a time where there is a rate."""
    cdef Sending* sending = &raft.sending[slot]
    cdef uint64_t size = sending_ready(sending, raft.piece_bytes, raft.now_ns)
    while size != 0 and outbox_has_room_to_read(out):
        outbox_read_piece(out, raft.membership.nodes[slot], &sending.id, sending.next, <uint32_t>size)
        sending_took(sending, size, raft.snapshot_bytes_per_s, raft.now_ns)
        size = sending_ready(sending, raft.piece_bytes, raft.now_ns)


cdef void forget_own(Raft* raft) noexcept nogil:
    """The file turned out to be damaged: a new one is due, and who waits for this one is asked again."""
    cdef int slot
    for slot in range(<int>raft.membership.count):
        if raft.progress[slot].state == PEER_SNAPSHOT and same_snapshot(&raft.sending[slot].id, &raft.snapshot):
            sending_end(&raft.sending[slot])
            progress_to_probe(&raft.progress[slot], max(raft.progress[slot].match + 1, raft.log.first))
            raft.progress[slot].query = True
            raft.progress[slot].probe_sent = True      # asked at the pace of heartbeats
    raft.snapshot.index = 0
    raft.snapshot_forced = True


cdef void shipping_on_read(Raft* raft, Outbox* out, int slot, const Event* event) noexcept nogil:
    cdef Sending* sending = &raft.sending[slot]
    cdef Message* message
    if raft.role != ROLE_LEADER or raft.progress[slot].state != PEER_SNAPSHOT \
            or not same_snapshot(event.snapshot, &sending.id):
        return                         # asked in another life
    if event.status == OK and event.batch != NULL and outbox_has_room(out, 1):
        message = piece_message(raft, out, slot, event.offset)
        outbox_attach(out, message, event.batch)
    elif event.status == ERR_CORRUPT or event.status == ERR_NOT_FOUND:
        if same_snapshot(&sending.id, &raft.snapshot):
            forget_own(raft)
        else:
            shipping_begin(raft, out, slot, sending.id.index)      # it went when a newer one was durable
    else:
        sending_again(sending, raft.now_ns)            # no memory or no room: after a while


cdef bint shipping_on_reply(Raft* raft, Outbox* out, int slot, const Message* message) noexcept nogil:
    cdef const SnapshotReplyFields* reply = <const SnapshotReplyFields*>message.fields
    cdef Sending* sending = &raft.sending[slot]
    if raft.progress[slot].state != PEER_SNAPSHOT or reply.index != sending.id.index \
            or reply.writer != sending.id.writer or reply.number != sending.id.number:
        return True                    # of an earlier one
    if not sending_acked(sending, reply.offset, reply.restart != 0, raft.now_ns):
        return False
    pump(raft, out, slot)
    return True


cdef void shipping_turn(Raft* raft, Outbox* out) noexcept nogil:
    cdef int slot
    raft.shipping = False
    for slot in range(<int>raft.membership.count):
        if raft.progress[slot].state != PEER_SNAPSHOT or slot == raft.self_slot:
            continue
        raft.shipping = True
        check2(raft.sending[slot].id.index != 0, b"Q-RAFT-91 in snapshot mode there is a snapshot", slot, raft.term)
        if sending_overdue(&raft.sending[slot], patience_ns(raft), raft.now_ns):
            ask_where(raft, out, slot)
        pump(raft, out, slot)


cdef uint64_t shipping_deadline_ns(const Raft* raft) noexcept nogil:
    cdef uint64_t nearest = 0
    cdef uint64_t one
    cdef int slot
    for slot in range(<int>raft.membership.count):
        if raft.progress[slot].state != PEER_SNAPSHOT or slot == raft.self_slot:
            continue
        one = sending_deadline_ns(&raft.sending[slot], raft.piece_bytes, patience_ns(raft))
        if one != 0 and (nearest == 0 or one < nearest):
            nearest = one
    return nearest
