"""What an applying thread has to do with snapshots: what one says beside the state, and going on from one.

All of it is the applying thread's, or whoever stands for it: before a group starts, its
opener; while `Apply.restore` holds applying back, whoever restores the state.
"""

from quorumlog._core.base.types cimport index_t
from quorumlog._core.runtime.apply cimport Apply
from quorumlog._core.storage.batch cimport Batch
from quorumlog._core.storage.snapshot cimport SnapshotMeta

from libc.stdint cimport uint8_t

# A batch is behind the state machine now.
cdef void apply_note(Apply* apply, const Batch* batch) noexcept nogil
# What a snapshot of this moment says: index, term, membership and sessions.  `records` holds what `meta` points at
# and is freed by the caller.  OK or ERR_MEMORY.
cdef int apply_meta(Apply* apply, SnapshotMeta* meta, uint8_t** records) noexcept nogil
# The state machine is where a snapshot says.  Own proposals within it were applied, with results that nobody here
# knows: their receipts fail as unknown.  OK or ERR_CORRUPT.
cdef int apply_resume(Apply* apply, const SnapshotMeta* meta) noexcept nogil
# A snapshot that was installed is to be restored before anything more is applied.  The reactor.
cdef void apply_install(Apply* apply, index_t index) noexcept nogil
# It was: applying goes on, unless a newer one has come meanwhile.
cdef void apply_restored(Apply* apply, index_t index) noexcept nogil
