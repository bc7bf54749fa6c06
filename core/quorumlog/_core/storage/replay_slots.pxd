"""Judging damage in a slot group: what an acceptor may have forgotten.

Slots are written in any order, and a later record supersedes its own slot, so the end of
the log says nothing about what should be there: each bad record is remembered by slot and
WSN until a later record of the slot, a compaction beyond it, or the verdict of an earlier
recovery (docs/format.md 6.3) says that it doesn't matter.  What is left at the end and lies at or
below F was accepted and perhaps said so: faulty.  Above F it was never reported durable.
"""

from quorumlog._core.base.types cimport wsn_t
from quorumlog._core.storage.format cimport CheckpointGroup
from quorumlog._core.storage.replay cimport Replay, Track
from quorumlog._core.storage.scan cimport Item
from quorumlog._core.storage.state cimport GroupMark


cdef void slots_entries(Replay* replay, Track* track, GroupMark* mark, const Item* item) noexcept nogil
# A record that was moved forward: it stands for its original where that is gone or bad.
cdef void slots_moved(Replay* replay, Track* track, GroupMark* mark, const Item* item) noexcept nogil
# The head went: what lay there doesn't matter any more.
cdef void slots_compacted(Track* track, GroupMark* mark) noexcept nogil
# A recovery whose F was `proved` has judged what is bad above it: torn.
cdef void slots_judged(Track* track, wsn_t proved) noexcept nogil
cdef void slots_resync(Replay* replay, Track* track, GroupMark* mark, const CheckpointGroup* entry) noexcept nogil
cdef void slots_finish(Replay* replay, Track* track, GroupMark* mark) noexcept nogil
