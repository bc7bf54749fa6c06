"""Laying out sync groups: the bytes of one write, without copying bodies."""

from quorumlog._core.storage.batch cimport Batch
from quorumlog._core.storage.state cimport PlanSlot, Wal

from libc.stdint cimport uint32_t, uint64_t


cdef int slot_open(const Wal* wal, PlanSlot* slot) noexcept nogil
cdef void slot_close(PlanSlot* slot) noexcept nogil
# Drops what a finished plan kept.
cdef void slot_release(PlanSlot* slot) noexcept nogil
# Each fills the slot with one write for the active segment; OK, ERR_AGAIN (data: nothing fits, the
# segment is full) or ERR_MEMORY.
cdef int plan_data(Wal* wal, PlanSlot* slot, bint mark) noexcept nogil
# The first of `records` that fit, *planned of them; each slot keeps references of its own.
cdef int plan_moved_records(Wal* wal, PlanSlot* slot, Batch** records, uint32_t record_count,
                            uint32_t* planned) noexcept nogil
cdef int plan_footer(Wal* wal, PlanSlot* slot) noexcept nogil
cdef int plan_checkpoint(Wal* wal, PlanSlot* slot, uint64_t flushed) noexcept nogil
