"""A batch in Python's hands: read-only NumPy views over native memory, no copy."""

from quorumlog._core.storage.batch cimport Batch

from libc.stdint cimport uint32_t, uint64_t


cdef class BatchView:
    cdef Batch* batch              # kept by `pin`
    cdef object pin
    cdef uint32_t entries          # of them; a client's stamp is not shown
    cdef object array_offsets
    cdef object array_payload


cdef BatchView view_of(Batch* batch)       # keeps a reference of its own
cdef uint64_t pinned_bytes() noexcept nogil      # of bodies that views hold, in this process
