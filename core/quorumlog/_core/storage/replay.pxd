"""Judging damage: from the records of all segments, in WSN order, to the state of each group."""

from quorumlog._core.base.types cimport group_t, index_t, term_t, wsn_t
from quorumlog._core.storage.holes cimport Holes
from quorumlog._core.storage.runs cimport Runs
from quorumlog._core.storage.scan cimport Item
from quorumlog._core.storage.state cimport GroupMark, GroupTable, WalGroup

from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    MISSING_MAX = 1024
    ENDS_MAX = 32
    BAD_SLOTS_MAX = 64

# A bad record of a slot group, until something says that it doesn't matter.
cdef struct BadSlot:
    index_t slot
    wsn_t wsn

# What replay remembers of a group beside its mark.
cdef struct Track:
    group_t group
    Runs runs
    Holes holes                    # batches of the log that are bad, all that is known of them
    index_t ends[ENDS_MAX]         # ends of the newest batches of the intact log, ascending
    uint32_t end_count
    bint lost                      # entries of it are lost since the newest checkpoint
    wsn_t bad_hard_state           # WSN of a hard state whose writings so far are bad
    bint unnamed                   # known from its records alone, its open record is not
    bint severed                   # an unknown record of it is lost: nothing behind counts as intact
    bint severed_proved            # ... and it was flushed
    uint32_t listed_by             # ordinal of the newest checkpoint that lists it
    BadSlot bad_slots[BAD_SLOTS_MAX]
    uint32_t bad_slot_count

cdef struct Replay:
    GroupTable* table
    Track* tracks                  # by position in the table
    wsn_t proved                   # F
    wsn_t highest                  # WSN of the newest record replayed
    bint started
    bint checkpointed              # a checkpoint was replayed: every group is known from here on
    uint32_t checkpoints           # replayed
    wsn_t missing_first[MISSING_MAX]
    wsn_t missing_last[MISSING_MAX]
    uint32_t missing_count
    uint32_t corrupt_records
    uint32_t unproved_records
    uint64_t records
    bint bad_beyond_proof          # something above F was not accepted
    uint64_t boot                  # of the newest checkpoint replayed
    index_t hole_first             # of the hole that the newest item made; 0: it made none
    index_t hole_last
    int status


cdef int replay_open(Replay* replay, GroupTable* table, wsn_t proved) noexcept nogil
cdef void replay_close(Replay* replay) noexcept nogil
# One record, in WSN order within its segment, segments by id.
cdef void replay_item(Replay* replay, const Item* item) noexcept nogil
# After the last record: what is still missing taints.
cdef void replay_finish(Replay* replay) noexcept nogil

# For resync.
cdef Track* track_of(Replay* replay, WalGroup* group) noexcept nogil
cdef wsn_t newest_missing(const Replay* replay, wsn_t up_to) noexcept nogil
cdef void cut_intact(Track* track, GroupMark* mark, index_t last) noexcept nogil
# Forgets where batches end, but for the end of the intact log.
cdef void ends_restart(Track* track, const GroupMark* mark) noexcept nogil
cdef void replay_compact(Track* track, GroupMark* mark, index_t first, term_t term) noexcept nogil
cdef void forget_bad(GroupMark* mark) noexcept nogil
