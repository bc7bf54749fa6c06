"""The groups that a cluster has dropped, for ever: the file `dropped` (docs/format.md 7).

A name that was dropped is not used again: what a node that was away still holds under it must not come
back, and who asks for it is told.  The log's own tombstones go when the last records of the group
have gone; these stay.
"""

from quorumlog._core.base.types cimport group_t
from quorumlog._core.storage.files cimport Files

from libc.stdint cimport uint32_t

cdef enum:
    DROPPED_MAX = 1 << 16

cdef struct DroppedGroups:
    group_t* groups                # rising
    uint32_t count


# No file: none.  ERR_CORRUPT, ERR_MEMORY, ERR_IO.
cdef int dropped_read(Files* files, const char* directory, DroppedGroups* dropped) noexcept nogil
cdef bint dropped_holds(const DroppedGroups* dropped, group_t group) noexcept nogil
# Adds it, durably when it returns; adding twice is fine.  ERR_OVERLOADED: no more are kept; ERR_MEMORY, ERR_IO, ....
cdef int dropped_add(Files* files, const char* directory, DroppedGroups* dropped, group_t group) noexcept nogil
cdef void dropped_close(DroppedGroups* dropped) noexcept nogil
