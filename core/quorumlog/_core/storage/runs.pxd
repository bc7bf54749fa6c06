"""Term runs of a recovered log: which term each index has; term 0 is a hole."""

from quorumlog._core.base.types cimport index_t, term_t

from libc.stdint cimport uint32_t

cdef struct TermRun:
    index_t first
    term_t term

cdef struct Runs:
    TermRun* runs                  # ascending; each reaches to the next one's first, the last to `last`
    uint32_t count
    uint32_t capacity


cdef void runs_close(Runs* runs) noexcept nogil
cdef void runs_clear(Runs* runs) noexcept nogil
# Indexes first..last get `term`; `end` is the log's last index before.  ERR_MEMORY or OK.
cdef int runs_assign(Runs* runs, index_t first, index_t last, term_t term, index_t end) noexcept nogil
# A hole from `first` to before the first run.  ERR_MEMORY or OK.
cdef int runs_hole_before(Runs* runs, index_t first) noexcept nogil
cdef void runs_truncate(Runs* runs, index_t last) noexcept nogil       # drops what lies behind `last`
cdef void runs_compact(Runs* runs, index_t first, index_t last) noexcept nogil
cdef term_t runs_term(const Runs* runs, index_t index) noexcept nogil
# The last index of the run that holds `index`.
cdef index_t runs_end(const Runs* runs, index_t index, index_t last) noexcept nogil
# First index of the first hole, 0: none.
cdef index_t runs_hole(const Runs* runs) noexcept nogil
