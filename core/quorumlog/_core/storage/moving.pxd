"""Moving a slow group's live tail forward, so that the head of the log can go (rule 7)."""

from quorumlog._core.storage.state cimport PlanSlot, Wal


# One step, by the preparing thread: looks for a head that is mostly dead, reads its live records.
# OK if there is more to do, else ERR_AGAIN.
cdef int moving_step(Wal* wal) noexcept nogil
# The rest is the owner's, with state_mutex held.
cdef bint moving_ready(Wal* wal) noexcept nogil
# A sync group of moved records in the slot: OK, ERR_AGAIN (it doesn't fit this segment), ERR_MEMORY.
cdef int plan_moved(Wal* wal, PlanSlot* slot) noexcept nogil
# A plan was given out with moved records / plans have been settled.
cdef void moving_planned(Wal* wal) noexcept nogil
cdef void moving_settled(Wal* wal) noexcept nogil
cdef void moving_close(Wal* wal) noexcept nogil
