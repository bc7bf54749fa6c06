"""Checkpoints: what begins every segment, so that the head of the log can go.

At recovery a checkpoint is also where damage before it gets its bounds: it says how
far each group reached, what was unproved when it was written, and the hard states.
"""

from quorumlog._core.base.bytes cimport get_u32, get_u64, put_u32, put_u64, round_up
from quorumlog._core.base.checks cimport check2
from quorumlog._core.base.status cimport ERR_MEMORY, OK
from quorumlog._core.base.types cimport index_t
from quorumlog._core.storage.format cimport (CHECKPOINT_GROUP_BYTES, CHECKPOINT_HEADER_BYTES, TOMBSTONE_BYTES,
                                             CheckpointGroup)
from quorumlog._core.storage.groups cimport (checkpoint_group_sane, groups_add, groups_find, mark_decode,
                                             mark_encode)
from quorumlog._core.storage.holes cimport holes_clear
from quorumlog._core.storage.replay cimport (Track, cut_intact, ends_restart, forget_bad, newest_missing,
                                             replay_compact, track_of)
from quorumlog._core.storage.replay_slots cimport slots_judged, slots_resync
from quorumlog._core.storage.runs cimport runs_assign, runs_clear, runs_hole_before
from quorumlog._core.storage.state cimport GroupMark, WalGroup
from quorumlog._core.storage.wal cimport MODE_SLOT, MODE_SUFFIX

from libc.string cimport memcpy, memset


cdef inline uint64_t entry_bytes(uint8_t name_bytes) noexcept nogil:
    return CHECKPOINT_GROUP_BYTES + round_up(name_bytes, 8)


cdef uint64_t checkpoint_bytes(const Wal* wal) noexcept nogil:
    cdef uint64_t size = CHECKPOINT_HEADER_BYTES
    cdef const WalGroup* group
    cdef uint32_t i
    for i in range(wal.groups.count):
        group = &wal.groups.groups[i]
        if group.planned.live:
            size += entry_bytes(group.name_bytes)
        elif group.dropped_wsn != 0:
            size += TOMBSTONE_BYTES
    return size


cdef void checkpoint_build(const Wal* wal, wsn_t flushed, uint8_t* body, uint64_t size) noexcept nogil:
    cdef uint64_t at = CHECKPOINT_HEADER_BYTES
    cdef uint32_t live = 0
    cdef uint32_t tombstones = 0
    cdef const WalGroup* group
    cdef CheckpointGroup entry
    cdef uint32_t i
    memset(body, 0, size)
    for i in range(wal.groups.count):
        group = &wal.groups.groups[i]
        if not group.planned.live:
            continue
        mark_encode(group, &group.planned, &entry)
        memcpy(body + at, &entry, CHECKPOINT_GROUP_BYTES)
        memcpy(body + at + CHECKPOINT_GROUP_BYTES, group.name, group.name_bytes)
        at += entry_bytes(group.name_bytes)
        live += 1
    for i in range(wal.groups.count):
        group = &wal.groups.groups[i]
        if group.planned.live or group.dropped_wsn == 0:
            continue
        put_u64(body + at, group.group)
        put_u64(body + at + 8, group.dropped_wsn)
        at += TOMBSTONE_BYTES
        tombstones += 1
    check2(at == size, b"Q-CHECKPOINT-01 a checkpoint has the size it was given",
           <long long>at, <long long>size)
    put_u64(body, wal.submitted + 1)
    put_u64(body + 8, flushed)
    put_u32(body + 16, live)
    put_u32(body + 20, tombstones)


cdef bint sane(const uint8_t* body, uint64_t size) noexcept nogil:
    """Walks the whole body before any of it is believed."""
    cdef uint64_t at = CHECKPOINT_HEADER_BYTES
    cdef CheckpointGroup entry
    cdef uint32_t groups, tombstones, _i
    if size < CHECKPOINT_HEADER_BYTES:
        return False
    groups = get_u32(body + 16)
    tombstones = get_u32(body + 20)
    for _i in range(groups):
        if size - at < CHECKPOINT_GROUP_BYTES:
            return False
        memcpy(&entry, body + at, CHECKPOINT_GROUP_BYTES)
        if not checkpoint_group_sane(&entry) or size - at < entry_bytes(entry.name_bytes):
            return False
        at += entry_bytes(entry.name_bytes)
    return size - at >= <uint64_t>tombstones * TOMBSTONE_BYTES


cdef void adopt(Replay* replay, WalGroup* group, Track* track, const CheckpointGroup* entry) noexcept nogil:
    """A group that nothing before the checkpoint told of: its log is a hole until records fill it."""
    mark_decode(entry, &group.appended)
    group.dropped_wsn = 0
    runs_clear(&track.runs)
    holes_clear(&track.holes)
    if entry.last >= entry.first:
        if runs_assign(&track.runs, entry.first, entry.last, 0, entry.last) != OK:
            replay.status = ERR_MEMORY


cdef void bound_damage(Replay* replay, const WalGroup* group, Track* track, GroupMark* mark,
                       const CheckpointGroup* entry) noexcept nogil:
    """What replay has found of the log before, and what the checkpoint says there is."""
    cdef bint truncation_lost = mark.newest_wsn != entry.last_wsn and entry.truncated_wsn > mark.newest_wsn
    cdef index_t faulty = 0
    cdef bint proved
    if mark.faulty_first != 0 and mark.faulty_first <= entry.last:
        faulty = mark.faulty_first
    replay_compact(track, mark, entry.first, entry.term_before_first)
    if entry.first < mark.first and not replay.checkpointed and mark.last >= mark.first and group.mode == MODE_SUFFIX:
        # The head of the directory is what is left of segments that were going together, and the one with the
        # checkpoint is gone: a hole, which the compaction that let them go closes.  Else it is damage.
        if runs_hole_before(&track.runs, entry.first) != OK:
            replay.status = ERR_MEMORY
        mark.first = entry.first
        mark.term_before_first = entry.term_before_first
    elif entry.first < mark.first:
        mark.first = entry.first
        mark.term_before_first = entry.term_before_first
        cut_intact(track, mark, entry.first - 1)
    cut_intact(track, mark, entry.last)
    forget_bad(mark)
    if truncation_lost:
        cut_intact(track, mark, entry.first - 1)
    if mark.last >= entry.last:
        return
    # Entries that the checkpoint counts are not there: lost.  Faulty, unless all that is lost lies above F.
    proved = faulty != 0 or newest_missing(replay, replay.proved) != 0 or entry.last_wsn <= replay.proved
    if proved:
        mark.faulty_first = mark.last + 1
        mark.faulty_last = entry.last
        replay.corrupt_records += 1
    else:
        mark.unproved_last = entry.last
        mark.unproved_term = entry.last_term
        replay.bad_beyond_proof = True
        replay.unproved_records += 1


cdef void resync(Replay* replay, WalGroup* group, Track* track, const CheckpointGroup* entry) noexcept nogil:
    cdef GroupMark* mark = &group.appended
    cdef GroupMark found
    if entry.mode == MODE_SLOT:
        slots_resync(replay, track, mark, entry)
    elif not mark.live:
        adopt(replay, group, track, entry)
    else:
        bound_damage(replay, group, track, mark, entry)
        found = mark[0]
        mark_decode(entry, mark)
        mark.last = found.last
        if found.last != entry.last:
            mark.last_term = found.last_term
            mark.membership_index = found.membership_index
        mark.faulty_first = found.faulty_first
        mark.faulty_last = found.faulty_last
        mark.unproved_last = found.unproved_last
        mark.unproved_term = found.unproved_term
        # What was bad when it was written stays so.
        if entry.faulty_first != 0:
            if mark.faulty_first == 0:
                mark.faulty_first = mark.last + 1
            if entry.faulty_last > mark.faulty_last:
                mark.faulty_last = entry.faulty_last
        if entry.unproved_last > mark.last and entry.unproved_last > mark.faulty_last:
            mark.unproved_last = entry.unproved_last
            mark.unproved_term = entry.unproved_term
    if track.end_count == 0 or track.ends[track.end_count - 1] != mark.last:
        ends_restart(track, mark)
    track.lost = False
    track.severed = False
    track.severed_proved = False
    track.bad_hard_state = 0
    track.unnamed = False              # the recovery that wrote this has judged the loss of its open record


cdef bint checkpoint_replay(Replay* replay, const uint8_t* body, uint64_t size, wsn_t wsn,
                            uint64_t boot) noexcept nogil:
    cdef uint64_t at = CHECKPOINT_HEADER_BYTES
    cdef CheckpointGroup entry
    cdef WalGroup* group
    cdef Track* track
    cdef uint32_t groups, tombstones, i, _i
    if not sane(body, size):
        return False
    groups = get_u32(body + 16)
    tombstones = get_u32(body + 20)
    replay.checkpoints += 1
    for _i in range(groups):
        memcpy(&entry, body + at, CHECKPOINT_GROUP_BYTES)
        group = groups_find(replay.table, entry.group)
        if group == NULL:
            group = groups_add(replay.table, entry.group)
            if group == NULL:
                replay.status = ERR_MEMORY
                return True
        track = track_of(replay, group)
        track.group = entry.group
        track.listed_by = replay.checkpoints
        if boot != replay.boot:
            slots_judged(track, get_u64(body + 8))
        resync(replay, group, track, &entry)
        group.mode = entry.mode
        group.name_bytes = entry.name_bytes
        memcpy(group.name, body + at + CHECKPOINT_GROUP_BYTES, entry.name_bytes)
        group.name[entry.name_bytes] = 0
        at += entry_bytes(entry.name_bytes)
    for _i in range(tombstones):
        group = groups_find(replay.table, get_u64(body + at))
        if group == NULL:
            group = groups_add(replay.table, get_u64(body + at))
        if group != NULL:
            group.dropped_wsn = get_u64(body + at + 8)
            group.appended.live = False
        at += TOMBSTONE_BYTES
    # It lists every live group: one that it does not list was dropped, or never came to be.
    for i in range(replay.table.count):
        group = &replay.table.groups[i]
        if group.appended.live and replay.tracks[i].listed_by != replay.checkpoints:
            group.appended.live = False
            group.dropped_wsn = wsn if wsn > 0 else 1
    replay.missing_count = 0
    replay.boot = boot
    if get_u64(body) > replay.highest + 1 or not replay.started:
        replay.highest = get_u64(body) - 1
    replay.started = True
    replay.checkpointed = True
    return True
