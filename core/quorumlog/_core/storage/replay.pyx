"""Judging damage: from the records of all segments, in WSN order, to the state of each group.

A log group's mark holds the end of its intact log, what is faulty behind it (bad
and flushed), and what is unproved (bad, perhaps flushed); records behind a bad one
lengthen these, a truncation shortens them.  docs/format.md 6 is the rule.
"""

from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.status cimport ERR_MEMORY, OK
from quorumlog._core.base.types cimport BATCH_ENTRIES_MAX, index_t, term_t
from quorumlog._core.storage.batch cimport (KIND_CHECKPOINT, KIND_CHOSEN, KIND_COMPACT, KIND_DROP, KIND_FOOTER,
                                            KIND_HARD_STATE, KIND_MEMBERSHIP, KIND_OPEN, KIND_TRUNCATE)
from quorumlog._core.storage.format cimport RECORD_MOVED, RECORD_REPAIR, kind_has_entries
from quorumlog._core.storage.groups cimport (groups_add, groups_find, mark_end, mark_open)
from quorumlog._core.storage.holes cimport (HOLES_MAX, Hole, holes_add, holes_clear, holes_close, holes_compact,
                                            holes_fill, holes_truncate)
from quorumlog._core.storage.runs cimport (runs_assign, runs_clear, runs_close, runs_compact, runs_end,
                                           runs_hole, runs_term, runs_truncate)
from quorumlog._core.storage.scan cimport ITEM_VALID
from quorumlog._core.storage.state cimport GROUP_TABLE, GroupMark, WalGroup
from quorumlog._core.storage.replay_slots cimport slots_compacted, slots_entries, slots_finish, slots_moved
from quorumlog._core.storage.wal cimport MODE_SLOT, MODE_SUFFIX

from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove, memset


cdef int replay_open(Replay* replay, GroupTable* table, wsn_t proved) noexcept nogil:
    memset(replay, 0, sizeof(Replay))
    replay.table = table
    replay.proved = proved
    replay.tracks = <Track*>calloc(GROUP_TABLE, sizeof(Track))
    return OK if replay.tracks != NULL else ERR_MEMORY


cdef void replay_close(Replay* replay) noexcept nogil:
    cdef uint32_t i
    if replay.tracks != NULL:
        for i in range(GROUP_TABLE):
            runs_close(&replay.tracks[i].runs)
            holes_close(&replay.tracks[i].holes)
    free(replay.tracks)
    replay.tracks = NULL


cdef Track* track_of(Replay* replay, WalGroup* group) noexcept nogil:
    return &replay.tracks[group - replay.table.groups]


cdef void note_missing(Replay* replay, wsn_t first, wsn_t last) noexcept nogil:
    cdef uint32_t n = replay.missing_count
    if n == MISSING_MAX:
        replay.missing_last[n - 1] = last          # wider, never narrower, than what is missing
        return
    replay.missing_first[n] = first
    replay.missing_last[n] = last
    replay.missing_count = n + 1


cdef void explain_missing(Replay* replay, wsn_t wsn) noexcept nogil:
    """Someone names the group of a missing record."""
    cdef uint32_t i, j
    for i in range(replay.missing_count):
        if replay.missing_first[i] > wsn or replay.missing_last[i] < wsn:
            continue
        if replay.missing_first[i] == replay.missing_last[i]:
            replay.missing_count -= 1
            for j in range(i, replay.missing_count):
                replay.missing_first[j] = replay.missing_first[j + 1]
                replay.missing_last[j] = replay.missing_last[j + 1]
        elif replay.missing_first[i] == wsn:
            replay.missing_first[i] = wsn + 1
        elif replay.missing_last[i] == wsn:
            replay.missing_last[i] = wsn - 1
        elif replay.missing_count < MISSING_MAX:
            replay.missing_first[replay.missing_count] = wsn + 1
            replay.missing_last[replay.missing_count] = replay.missing_last[i]
            replay.missing_last[i] = wsn - 1
            replay.missing_count += 1
        return


cdef wsn_t newest_missing(const Replay* replay, wsn_t up_to) noexcept nogil:
    """The largest missing WSN at or below `up_to`, 0: none."""
    cdef wsn_t newest = 0
    cdef wsn_t last
    cdef uint32_t i
    for i in range(replay.missing_count):
        if replay.missing_first[i] <= up_to:
            last = replay.missing_last[i] if replay.missing_last[i] < up_to else up_to
            if last > newest:
                newest = last
    return newest


cdef void ends_restart(Track* track, const GroupMark* mark) noexcept nogil:
    track.ends[0] = mark.last
    track.end_count = 1


cdef void ends_add(Track* track, index_t last) noexcept nogil:
    if track.end_count == ENDS_MAX:
        memmove(&track.ends[0], &track.ends[1], (ENDS_MAX - 1) * sizeof(index_t))
        track.end_count -= 1
    track.ends[track.end_count] = last
    track.end_count += 1


cdef void ends_cut(Track* track, index_t last) noexcept nogil:
    while track.end_count > 0 and track.ends[track.end_count - 1] > last:
        track.end_count -= 1


cdef void cut_whole(Track* track, GroupMark* mark, index_t last) noexcept nogil:
    """The same where records are lost: `last` is a batch end of the log as it was then, perhaps not of what
    is left of it, and a batch is never split.  Where no end is known any more, nothing is intact."""
    if last >= mark.last:
        return
    ends_cut(track, last)
    cut_intact(track, mark, track.ends[track.end_count - 1] if track.end_count > 0 else mark.first - 1)


cdef void cut_intact(Track* track, GroupMark* mark, index_t last) noexcept nogil:
    """The intact log ends at `last` at the latest; what lay behind goes with it."""
    if last >= mark.last:
        return
    mark.last = last if last + 1 >= mark.first else mark.first - 1
    ends_cut(track, mark.last)
    holes_truncate(&track.holes, mark.last + 1)
    runs_truncate(&track.runs, mark.last)
    mark.last_term = mark.term_before_first if mark.last < mark.first else runs_term(&track.runs, mark.last)
    if mark.membership_index > mark.last:
        mark.membership_index = 0


cdef void forget_bad(GroupMark* mark) noexcept nogil:
    mark.faulty_first = 0
    mark.faulty_last = 0
    mark.unproved_last = 0
    mark.unproved_term = 0


cdef void extend_bad(Replay* replay, Track* track, GroupMark* mark, index_t first, index_t last,
                     term_t term, wsn_t wsn) noexcept nogil:
    """Entries up to `last` exist (or may), but not in the intact log."""
    track.lost = True
    if first <= mark.last:             # a truncation before it is lost with whatever it replaced
        cut_whole(track, mark, first - 1)
    if last <= mark.last:
        return
    if wsn <= replay.proved and not mutant(b"corrupt-is-torn"):
        if mark.faulty_first == 0:
            mark.faulty_first = mark.last + 1
        if last > mark.faulty_last:
            mark.faulty_last = last
        if mark.unproved_last <= mark.faulty_last:
            mark.unproved_last = 0
            mark.unproved_term = 0
        return
    if mutant(b"unproved-is-dropped"):
        return
    replay.bad_beyond_proof = True
    replay.unproved_records += 1
    if last > mark.unproved_last and last > mark.faulty_last:
        mark.unproved_last = last
    if mark.unproved_last != 0:
        mark.unproved_term = term


cdef void replay_truncate(Track* track, GroupMark* mark, const Item* item) noexcept nogil:
    """Complete in itself, and legitimate whatever else is lost: a leader of a later term said so."""
    cdef index_t kept = item.event.first - 1
    mark.truncated_wsn = item.event.wsn
    if kept + 1 < mark.first:
        kept = mark.first - 1
    if track.severed or track.lost:
        cut_whole(track, mark, kept)
    else:
        cut_intact(track, mark, kept)
    if mark.faulty_first > kept:
        mark.faulty_first = 0
        mark.faulty_last = 0
    elif mark.faulty_last > kept:
        mark.faulty_last = kept
    if mark.unproved_last > kept:
        mark.unproved_last = kept
    if mark.unproved_last <= mark.last or mark.unproved_last <= mark.faulty_last:
        mark.unproved_last = 0
        mark.unproved_term = 0


cdef void replay_compact(Track* track, GroupMark* mark, index_t first, term_t term) noexcept nogil:
    if first <= mark.first:
        return
    mark.first = first
    mark.term_before_first = term
    if mark.last + 1 < first:
        mark.last = first - 1
    runs_compact(&track.runs, first, mark.last)
    holes_compact(&track.holes, first)
    if mark.last < first:
        mark.last_term = term
    if mark.faulty_last < first:
        mark.faulty_first = 0
        mark.faulty_last = 0
    elif mark.faulty_first < first:
        mark.faulty_first = first
    if mark.unproved_last <= mark.last:
        mark.unproved_last = 0
        mark.unproved_term = 0


cdef void fill_moved(Replay* replay, Track* track, GroupMark* mark, const Item* item) noexcept nogil:
    """A record moved forward fills the hole that the head's checkpoint left; where its original
    or a successor is known it says nothing new."""
    cdef index_t last = item.last
    if item.state != ITEM_VALID or not kind_has_entries(item.event.kind):
        return
    if item.event.first < mark.first or last > mark.last:
        return
    if runs_term(&track.runs, item.event.first) != 0 \
            or runs_end(&track.runs, item.event.first, mark.last) < last:
        return
    if runs_assign(&track.runs, item.event.first, last, item.event.term, mark.last) != OK:
        replay.status = ERR_MEMORY


cdef bint place_is_known(const Replay* replay, const Track* track, const GroupMark* mark,
                         const Item* item) noexcept nogil:
    """Whether a bad batch can only be the one right behind the log's end (docs/format.md 6)."""
    cdef wsn_t wsn = item.event.wsn
    cdef uint32_t i
    if wsn > replay.proved or track.severed or mark_end(mark) != mark.last or item.last <= mark.last \
            or item.last - mark.last > BATCH_ENTRIES_MAX or item.event.term == 0 \
            or item.event.term < mark.last_term or track.holes.count == HOLES_MAX:
        return False
    if item.chained:
        return item.event.first == mark.last + 1
    for i in range(replay.missing_count):
        if replay.missing_first[i] < wsn and replay.missing_last[i] > mark.newest_wsn:
            return False               # a record of this group may be missing before it
    return True


cdef void make_hole(Replay* replay, Track* track, GroupMark* mark, const Item* item) noexcept nogil:
    cdef Hole hole
    hole.first = mark.last + 1
    hole.last = item.last
    hole.term = item.event.term
    hole.identified = item.chained
    hole.body_crc = item.body_crc if item.chained else 0
    if runs_assign(&track.runs, hole.first, hole.last, hole.term, mark.last) != OK \
            or holes_add(&track.holes, &hole) != OK:
        replay.status = ERR_MEMORY
    replay.hole_first = hole.first
    replay.hole_last = hole.last
    mark.last = hole.last
    mark.last_term = hole.term
    ends_add(track, mark.last)
    if item.event.kind == KIND_MEMBERSHIP:
        mark.membership_index = hole.first


cdef void replay_repair(Replay* replay, Track* track, const GroupMark* mark, const Item* item) noexcept nogil:
    """What the log has there, once more; where it has something else, this says nothing.  It may be all that is left
    of a batch whose first record went with the head."""
    cdef term_t there
    if item.state != ITEM_VALID or item.event.first < mark.first or item.last > mark.last:
        return
    there = runs_term(&track.runs, item.event.first)
    if (there != item.event.term and there != 0) \
            or runs_end(&track.runs, item.event.first, mark.last) < item.last:
        return
    holes_fill(&track.holes, item.event.first, item.last)
    if there == 0 and runs_assign(&track.runs, item.event.first, item.last, item.event.term, mark.last) != OK:
        replay.status = ERR_MEMORY


cdef void replay_entries(Replay* replay, WalGroup* group, Track* track, const Item* item) noexcept nogil:
    cdef GroupMark* mark = &group.appended
    cdef index_t end = mark_end(mark)
    cdef index_t first = item.event.first
    if group.mode == MODE_SLOT:
        slots_entries(replay, track, mark, item)
        return
    if item.flags & RECORD_REPAIR:
        replay_repair(replay, track, mark, item)
        return
    if item.state != ITEM_VALID:
        if place_is_known(replay, track, mark, item):
            make_hole(replay, track, mark, item)
            return
        # The list gives the end alone; it began where the log ended.
        extend_bad(replay, track, mark, end + 1 if item.last > end else item.last, item.last,
                   item.event.term, item.event.wsn)
        return
    if track.severed or end > mark.last or first != mark.last + 1:
        extend_bad(replay, track, mark, first, item.last, item.event.term, item.event.wsn)
        return
    if runs_assign(&track.runs, first, item.last, item.event.term, mark.last) != OK:
        replay.status = ERR_MEMORY
    mark.last = item.last
    mark.last_term = item.event.term
    ends_add(track, mark.last)
    if item.event.kind == KIND_MEMBERSHIP:
        mark.membership_index = first


cdef void replay_hard_state(Track* track, GroupMark* mark, const Item* item) noexcept nogil:
    if item.state != ITEM_VALID:
        track.bad_hard_state = item.event.wsn
        return
    mark.hard_state_term = item.event.term
    mark.vote = item.event.vote
    mark.hard_state_damaged = False
    mark.listening = item.event.listening
    track.bad_hard_state = 0


cdef void replay_open_record(Replay* replay, WalGroup* group, Track* track, const Item* item) noexcept nogil:
    cdef uint8_t name_bytes
    mark_open(&group.appended, item.event.wsn)
    runs_clear(&track.runs)
    holes_clear(&track.holes)
    ends_restart(track, &group.appended)
    track.lost = False
    track.severed = False
    track.severed_proved = False
    track.bad_hard_state = 0
    track.bad_slot_count = 0
    group.dropped_wsn = 0
    track.unnamed = True
    if item.state != ITEM_VALID:
        track.severed = True
        track.severed_proved = item.event.wsn <= replay.proved
    if item.state == ITEM_VALID and item.body != NULL and item.length >= 144 + 8 \
            and (item.body[0] == MODE_SUFFIX or item.body[0] == MODE_SLOT):
        name_bytes = item.body[1]
        if <uint32_t>name_bytes + 2 <= item.length - 144:
            group.mode = item.body[0]
            group.name_bytes = name_bytes
            memcpy(group.name, item.body + 2, name_bytes)
            group.name[name_bytes] = 0
            track.unnamed = False


cdef WalGroup* group_of(Replay* replay, const Item* item) noexcept nogil:
    """The live group of a record; made known by its first record if its open record is lost."""
    cdef WalGroup* group = groups_find(replay.table, item.event.group)
    cdef Track* track
    if group == NULL:
        if item.event.group == 0:
            return NULL
        group = groups_add(replay.table, item.event.group)
        if group == NULL:
            replay.status = ERR_MEMORY
            return NULL
        track = track_of(replay, group)
        track.group = item.event.group
        track.unnamed = True
        if item.event.kind != KIND_OPEN:
            mark_open(&group.appended, item.previous_wsn if item.chained else 0)
            if replay.checkpointed:            # its open record is lost, and what else we don't know
                track.severed = True
                # Only a list names it: its open record is one of the missing ones, whichever.
                if group.appended.newest_wsn != 0:
                    track.severed_proved = group.appended.newest_wsn <= replay.proved
                else:
                    track.severed_proved = newest_missing(replay, replay.proved) != 0
                explain_missing(replay, group.appended.newest_wsn)
            elif item.state == ITEM_VALID and kind_has_entries(item.event.kind):
                group.appended.first = item.event.first
                group.appended.last = item.event.first - 1
        ends_restart(track, &group.appended)
    elif not group.appended.live and item.event.kind != KIND_OPEN:
        return NULL
    return group


cdef void check_chain(Replay* replay, Track* track, GroupMark* mark, const Item* item) noexcept nogil:
    """A record whose predecessor was never seen: what is lost may have been anything."""
    if not item.chained or item.previous_wsn == mark.newest_wsn:
        return
    explain_missing(replay, item.previous_wsn)
    track.severed = True
    if item.previous_wsn <= replay.proved:
        track.severed_proved = True
        replay.corrupt_records += 1
    else:
        replay.bad_beyond_proof = True


cdef void replay_duplicate(Replay* replay, const Item* item) noexcept nogil:
    """The second writing of a hard state counts where the first is bad."""
    cdef WalGroup* group
    cdef Track* track
    if item.event.kind != KIND_HARD_STATE or item.state != ITEM_VALID:
        return
    group = groups_find(replay.table, item.event.group)
    if group == NULL:
        return
    track = track_of(replay, group)
    if track.bad_hard_state == item.event.wsn and not mutant(b"second-vote-copy-ignored"):
        replay_hard_state(track, &group.appended, item)


cdef void replay_item(Replay* replay, const Item* item) noexcept nogil:
    cdef WalGroup* group
    cdef Track* track
    cdef GroupMark* mark
    if item.event.kind == KIND_CHECKPOINT or item.event.kind == KIND_FOOTER or replay.status != OK:
        return
    replay.records += 1
    replay.hole_first = 0
    if item.flags & RECORD_MOVED:
        group = groups_find(replay.table, item.event.group)
        if group != NULL and group.appended.live:
            if group.mode == MODE_SLOT:
                slots_moved(replay, track_of(replay, group), &group.appended, item)
            else:
                fill_moved(replay, track_of(replay, group), &group.appended, item)
        return
    if item.state != ITEM_VALID and item.event.wsn <= replay.proved:
        replay.corrupt_records += 1
    if item.event.wsn <= replay.highest and replay.started:
        replay_duplicate(replay, item)
        return
    if item.event.wsn > replay.highest + 1:
        note_missing(replay, replay.highest + 1, item.event.wsn - 1)
        if item.event.wsn - 1 > replay.proved:
            replay.bad_beyond_proof = True     # F must not pass it before this verdict is durable
    replay.started = True
    replay.highest = item.event.wsn
    if item.state != ITEM_VALID and item.event.wsn > replay.proved:
        replay.bad_beyond_proof = True
    group = group_of(replay, item)
    if group == NULL:
        return
    track = track_of(replay, group)
    mark = &group.appended
    if item.of_slots and group.mode != MODE_SLOT and (track.unnamed or group.name_bytes == 0):
        group.mode = MODE_SLOT             # its open record, which would have said so, is lost
        forget_bad(mark)
    check_chain(replay, track, mark, item)
    if item.event.kind == KIND_OPEN:
        replay_open_record(replay, group, track, item)
    elif item.event.kind == KIND_DROP:
        mark.live = False
        group.dropped_wsn = item.event.wsn
        runs_clear(&track.runs)
        holes_clear(&track.holes)
    elif item.event.kind == KIND_HARD_STATE:
        replay_hard_state(track, mark, item)
    elif item.event.kind == KIND_TRUNCATE and not mutant(b"truncation-not-replayed"):
        replay_truncate(track, mark, item)
    elif item.event.kind == KIND_COMPACT:
        replay_compact(track, mark, item.event.first, item.event.term)
        slots_compacted(track, mark)
    elif item.event.kind == KIND_CHOSEN and item.state == ITEM_VALID:
        mark.chosen = max(mark.chosen, item.last)
    elif kind_has_entries(item.event.kind):
        replay_entries(replay, group, track, item)
    mark.newest_wsn = item.event.wsn


cdef void taint(GroupMark* mark) noexcept nogil:
    """Something flushed of this group is lost, nobody knows what."""
    if mark.faulty_first == 0:
        mark.faulty_first = mark.last + 1
        mark.faulty_last = mark.last + 1
    mark.hard_state_damaged = True


cdef void replay_finish(Replay* replay) noexcept nogil:
    cdef WalGroup* group
    cdef Track* track
    cdef GroupMark* mark
    cdef index_t hole, end
    cdef wsn_t lost
    cdef uint32_t i
    if replay.proved > replay.highest:
        note_missing(replay, replay.highest + 1, replay.proved)
    lost = newest_missing(replay, replay.proved)
    if lost != 0:
        replay.corrupt_records += 1
    for i in range(replay.table.count):
        group = &replay.table.groups[i]
        track = &replay.tracks[i]
        mark = &group.appended
        if not mark.live:
            continue
        # Both writings of a vote that was spoken are bad: treat the group as wiped (rule 5).
        # Above F they are those of a write that was never reported durable: torn, not lost.
        if track.bad_hard_state != 0 and track.bad_hard_state <= replay.proved:
            mark.hard_state_damaged = True
        hole = runs_hole(&track.runs) if group.mode == MODE_SUFFIX else 0
        if hole != 0 and hole <= mark.last:
            end = mark_end(mark)
            cut_intact(track, mark, hole - 1)
            mark.faulty_first = mark.last + 1
            mark.faulty_last = end if end > mark.last else mark.last + 1
            if mark.unproved_last <= mark.faulty_last:
                mark.unproved_last = 0
                mark.unproved_term = 0
            replay.corrupt_records += 1
        if group.mode == MODE_SLOT:
            slots_finish(replay, track, mark)
        # A group whose open record was torn above F is no more than unproved.
        if track.severed_proved or (track.unnamed and not track.severed) \
                or (lost != 0 and mark.newest_wsn < lost):
            taint(mark)
