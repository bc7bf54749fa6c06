"""The thread that reads and writes snapshot files for the reactor, which never waits for them.

The reactor hands in jobs and takes back the results; their number is bounded by what
protocols have in flight.  What Python state machines give out is written by a thread
of the bridge, which holds the GIL for each piece of it.
"""

from quorumlog._core.base.atomics cimport atomic_ptr, atomic_u32, atomic_u64
from quorumlog._core.base.types cimport SnapshotId, group_t, node_t
from quorumlog._core.runtime.threads cimport thread_t
from quorumlog._core.storage.batch cimport Batch, BatchPool
from quorumlog._core.storage.files cimport Files
from quorumlog._core.storage.snapshot cimport SnapshotMeta, SnapshotReader
from quorumlog._core.storage.snapshot_files cimport SnapshotInflow
from quorumlog._core.storage.state cimport PATH_BYTES_MAX

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    OUTFLOWS_MAX = 8               # files kept open for peers

cdef enum JobKind:
    JOB_READ = 1                   # a piece for a peer
    JOB_STORE = 2                  # a piece of what comes in; the last one makes it durable
    JOB_MAKE = 3                   # a snapshot of a group without a state machine
    JOB_LOAD = 4                   # what a snapshot says beside the state: `meta`, with `records`

cdef struct SnapshotJob:
    int kind                       # JobKind
    int status                     # the result
    group_t group
    node_t peer
    SnapshotId id
    uint64_t offset
    uint32_t size
    bint last
    Batch* batch                   # a reference: the piece
    SnapshotMeta meta              # points into `records`
    uint8_t* records               # the job's
    SnapshotJob* next

# A file that is read for peers.
cdef struct Outflow:
    SnapshotReader reader          # fd -1: free
    uint64_t used

ctypedef void (*SnapshotsWake)(void* context) noexcept nogil

cdef struct Snapshots:
    Files* files
    char directory[PATH_BYTES_MAX]
    atomic_ptr asked               # stack of jobs: reactor -> thread
    atomic_ptr done                # and back
    atomic_u32 signal              # futex word of the thread
    atomic_u32 stopping
    atomic_u64 numbers             # of the snapshots written here
    SnapshotsWake wake
    void* context
    thread_t thread
    bint started
    # The thread's.
    BatchPool* pool
    Outflow outflows[OUTFLOWS_MAX]
    uint64_t clock
    SnapshotInflow** inflows       # one for each group that ever took one in
    uint32_t inflow_count


# Removes what was left half-way, starts the thread.  `first_number` and all above it were never used here.
cdef int snapshots_start(Snapshots* snapshots, Files* files, const char* directory, uint64_t first_number,
                         SnapshotsWake wake, void* context) noexcept nogil
# Jobs not done end unanswered.
cdef void snapshots_stop(Snapshots* snapshots) noexcept nogil
# Zeroed, or NULL.
cdef SnapshotJob* job_new(int kind, group_t group, const SnapshotId* id) noexcept nogil
cdef void job_free(SnapshotJob* job) noexcept nogil
# The reactor: hands a job in; takes the oldest results, in a list behind `next` (NULL: none).
cdef void snapshots_ask(Snapshots* snapshots, SnapshotJob* job) noexcept nogil
cdef SnapshotJob* snapshots_answers(Snapshots* snapshots) noexcept nogil
cdef bint snapshots_answered(Snapshots* snapshots) noexcept nogil
# A number for a snapshot that is about to be written.  Any thread.
cdef uint64_t snapshots_number(Snapshots* snapshots) noexcept nogil
