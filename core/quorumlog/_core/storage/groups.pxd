"""The table of log groups: finding one, and what a record does to its state."""

from quorumlog._core.base.types cimport group_t, index_t, term_t, wsn_t
from quorumlog._core.storage.batch cimport Batch
from quorumlog._core.storage.format cimport CheckpointGroup
from quorumlog._core.storage.holes cimport Holes
from quorumlog._core.storage.state cimport GroupMark, GroupTable, WalGroup

from libc.stdint cimport uint8_t, uint32_t, uint64_t

# The one form in which a record reaches a group's state, whether it was appended, planned or recovered.
cdef struct Event:
    uint8_t kind
    group_t group
    wsn_t wsn
    index_t first
    uint32_t count
    term_t term
    uint64_t vote                  # hard state
    bint listening                 # hard state
    bint repair                    # a batch that mends one of the log


# As it is said by a record: a batch with its WSN.
cdef void event_of(const Batch* batch, Event* event) noexcept nogil
cdef int groups_open(GroupTable* table) noexcept nogil
cdef void groups_close(GroupTable* table) noexcept nogil
cdef WalGroup* groups_find(GroupTable* table, group_t group) noexcept nogil
# NULL when the table is full.
cdef WalGroup* groups_add(GroupTable* table, group_t group) noexcept nogil
# Forgets tombstones at or below `wsn`.
cdef void groups_expire(GroupTable* table, wsn_t wsn) noexcept nogil
# The mark of a group right behind its open record.
cdef void mark_open(GroupMark* mark, wsn_t wsn) noexcept nogil
# A well-formed record that follows all before it.
cdef void mark_advance(GroupMark* mark, uint8_t mode, const Event* event) noexcept nogil
# What becomes of the known holes.
cdef void holes_advance(Holes* holes, const Event* event) noexcept nogil
# The end of the log counting what is faulty or unproved.
cdef index_t mark_end(const GroupMark* mark) noexcept nogil
cdef void mark_encode(const WalGroup* group, const GroupMark* mark, CheckpointGroup* out) noexcept nogil
cdef void mark_decode(const CheckpointGroup* entry, GroupMark* mark) noexcept nogil
cdef bint checkpoint_group_sane(const CheckpointGroup* entry) noexcept nogil
