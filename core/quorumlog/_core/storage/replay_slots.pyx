"""Judging damage in a slot group; see replay_slots.pxd."""

from libc.stdint cimport uint32_t

from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_MEMORY, OK
from quorumlog._core.base.types cimport index_t, term_t, wsn_t
from quorumlog._core.storage.format cimport kind_has_entries
from quorumlog._core.storage.groups cimport mark_decode
from quorumlog._core.storage.holes cimport holes_clear
from quorumlog._core.storage.replay cimport BAD_SLOTS_MAX, replay_compact
from quorumlog._core.storage.runs cimport runs_assign, runs_clear, runs_term
from quorumlog._core.storage.scan cimport ITEM_VALID


cdef void note_bad(Replay* replay, Track* track, index_t slot, wsn_t wsn) noexcept nogil:
    cdef uint32_t n = track.bad_slot_count
    if wsn > replay.proved:
        replay.bad_beyond_proof = True
        replay.unproved_records += 1
    if n == BAD_SLOTS_MAX:
        # More than can be told apart: as if something unknown of the group were lost.
        if wsn <= replay.proved:
            track.severed_proved = True
        return
    track.bad_slots[n].slot = slot
    track.bad_slots[n].wsn = wsn
    track.bad_slot_count = n + 1


cdef void forgive(Track* track, index_t slot, wsn_t wsn) noexcept nogil:
    """Bad records of the slot up to `wsn` are superseded."""
    cdef uint32_t i
    cdef uint32_t kept = 0
    for i in range(track.bad_slot_count):
        if track.bad_slots[i].slot == slot and track.bad_slots[i].wsn <= wsn:
            continue
        track.bad_slots[kept] = track.bad_slots[i]
        kept += 1
    track.bad_slot_count = kept


cdef wsn_t bad_wsn(const Track* track, index_t slot) noexcept nogil:
    """The newest bad record of the slot, 0: none."""
    cdef wsn_t newest = 0
    cdef uint32_t i
    for i in range(track.bad_slot_count):
        if track.bad_slots[i].slot == slot:
            newest = max(newest, track.bad_slots[i].wsn)
    return newest


cdef void accept(Replay* replay, Track* track, GroupMark* mark, index_t slot, term_t term) noexcept nogil:
    # The slots before the first one known are a hole, so that they can be filled later.
    if track.runs.count == 0 and slot > mark.first \
            and runs_assign(&track.runs, mark.first, slot - 1, 0, mark.last) != OK:
        replay.status = ERR_MEMORY
    if runs_assign(&track.runs, slot, slot, term, mark.last) != OK:
        replay.status = ERR_MEMORY
    if slot >= mark.last:
        mark.last = slot
        mark.last_term = term


cdef void slots_entries(Replay* replay, Track* track, GroupMark* mark, const Item* item) noexcept nogil:
    cdef index_t slot = item.last
    if slot < mark.first:
        return
    if item.state != ITEM_VALID:
        if not mutant(b"bad-accept-forgotten"):
            note_bad(replay, track, slot, item.event.wsn)
        return
    forgive(track, slot, item.event.wsn)
    accept(replay, track, mark, slot, item.event.term)


cdef void slots_moved(Replay* replay, Track* track, GroupMark* mark, const Item* item) noexcept nogil:
    cdef index_t slot = item.last
    cdef wsn_t bad
    if not kind_has_entries(item.event.kind) or slot < mark.first or slot > mark.last:
        return
    bad = bad_wsn(track, slot)
    if item.state != ITEM_VALID:
        if runs_term(&track.runs, slot) == 0 and bad == 0:
            note_bad(replay, track, slot, item.event.wsn)
        return
    # Of two moved records of a slot a read finds the later one; here it matters only that there is one.
    if runs_term(&track.runs, slot) == 0 or (bad != 0 and item.event.wsn >= bad):
        accept(replay, track, mark, slot, item.event.term)
        forgive(track, slot, item.event.wsn)


cdef void slots_compacted(Track* track, GroupMark* mark) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t kept = 0
    mark.chosen = max(mark.chosen, mark.first - 1)
    for i in range(track.bad_slot_count):
        if track.bad_slots[i].slot >= mark.first:
            track.bad_slots[kept] = track.bad_slots[i]
            kept += 1
    track.bad_slot_count = kept


cdef void slots_judged(Track* track, wsn_t proved) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t kept = 0
    for i in range(track.bad_slot_count):
        if track.bad_slots[i].wsn <= proved:
            track.bad_slots[kept] = track.bad_slots[i]
            kept += 1
    track.bad_slot_count = kept


cdef void slots_resync(Replay* replay, Track* track, GroupMark* mark, const CheckpointGroup* entry) noexcept nogil:
    """Which slots are accepted the records say; the rest the checkpoint."""
    cdef index_t last
    if not mark.live:
        runs_clear(&track.runs)
        holes_clear(&track.holes)
        track.bad_slot_count = 0
        mark.last = 0
    else:
        replay_compact(track, mark, entry.first, entry.term_before_first)
    last = max(mark.last, entry.last)
    mark_decode(entry, mark)
    mark.last = last
    slots_compacted(track, mark)


cdef void slots_finish(Replay* replay, Track* track, GroupMark* mark) noexcept nogil:
    cdef uint32_t i
    cdef index_t slot
    for i in range(track.bad_slot_count):
        slot = track.bad_slots[i].slot
        if track.bad_slots[i].wsn > replay.proved:
            continue
        if mark.faulty_first == 0:
            mark.faulty_first = slot
        mark.faulty_first = min(mark.faulty_first, slot)
        mark.faulty_last = max(mark.faulty_last, slot)
