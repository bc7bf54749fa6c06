"""From committed to applied: one cursor per group, whoever drives it.

The reactor publishes the commit index and offers recent batches through a bounded
ring; the applying thread takes the next batch from the ring, or from the
write-ahead log when it has fallen behind (DESIGN 4.7), asks the session table
whether it counts, applies it, and settles the receipt if the proposal was made
here.  Applying threads: the reactor itself (no state machine), the native
applier, or the Python applier of the bridge.
"""

from quorumlog._core.base.atomics cimport atomic_ptr, atomic_u32, atomic_u64
from quorumlog._core.base.bell cimport Notice
from quorumlog._core.base.rings cimport Ring
from quorumlog._core.base.types cimport SNAPSHOT_MEMBERSHIP_BYTES_MAX, group_t, index_t, term_t
from quorumlog._core.engine.receipt cimport Receipt
from quorumlog._core.engine.sessions cimport Sessions
from quorumlog._core.runtime.intake cimport Intake
from quorumlog._core.storage.batch cimport Batch, BatchPool
from quorumlog._core.storage.wal cimport Wal

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    PENDING_MAX = 1 << 16          # unsettled batches proposed here, per group
    RECENT_BATCHES_MAX = 4096
    RECENT_BYTES_MAX = 32 << 20

cdef enum Rewind:
    REWIND_GAP = 1                 # an own batch came before its predecessor
    REWIND_EXPIRED = 2             # the group has forgotten the session

# How a proposal ended.
cdef struct Settled:
    int status                     # OK: applied, or done
    bint definite                  # else: whether it surely did not happen
    index_t index
    term_t term
    uint32_t count                 # entries, where a stamp says so; 0: as handed in

cdef enum:
    NOT_THERE_YET = 0xFFFFFFFFFFFFFFFF     # Apply.restore: a snapshot that is still to come

cdef struct Apply:
    group_t group
    Wal* wal
    Intake* intake
    BatchPool* pool                # of the applying thread, for batches read back
    Ring recent                    # committed batches: reactor -> applying thread
    atomic_u64 recent_bytes
    uint64_t recent_limit_bytes    # the reactor's
    atomic_u64 commit              # written by the reactor
    atomic_u64 applied             # written by the applying thread
    atomic_u32 moved               # futex word of wait_applied: changes when applied does and somebody waits
    atomic_u32 waiters
    atomic_ptr notices             # of event loops that wait for `applied` to move
    Sessions sessions              # the applying thread's
    atomic_u64 session_count       # of it, for others
    uint64_t session               # of the proposals made here
    atomic_ptr* receipts           # by sequence: reactor -> applying thread
    atomic_u64 settled             # own sequences up to here are settled
    atomic_u32 rewind              # Rewind: an own batch was skipped; propose again from settled + 1
    atomic_u32 starving            # set by the reactor: too much is unsettled, wake it when some is
    bint repairable                # what can't be read is repaired from peers: wait for it
    atomic_u64 faulty              # index that can't be read and waits for its repair; 0: none
    atomic_u32 stopped             # status != 0: the state machine stopped at `applied`; nothing more is applied
    Batch* early                   # out of the ring, but there is a hole before it
    # Snapshots (runtime/apply_snapshot)
    atomic_u64 restore             # != 0: nothing is applied before the state is restored from this snapshot
    atomic_u32 snapshot_asked      # set by the reactor: the state machine is to give out its state
    # What a snapshot of now says beside the state; the applying thread's.
    term_t applied_term
    uint64_t log_time_ns
    index_t membership_index
    uint32_t membership_bytes
    uint8_t membership[SNAPSHOT_MEMBERSHIP_BYTES_MAX]
    index_t machine_applied        # a durable state machine has all up to here from an earlier life
    # What apply_next handed out, until apply_done.
    Batch* taken
    int admission
    int verdict                    # of a client's stamp (engine/clients); 0: it has none, or is not admitted


cdef int apply_open(Apply* apply, group_t group, Wal* wal, Intake* intake, uint64_t session, index_t applied,
                    uint64_t pool_bytes) noexcept nogil
# No thread may be applying.  Unsettled receipts fail with `status`, as unknown.
cdef void apply_close(Apply* apply, int status) noexcept nogil

# Reactor: `batch` (kept) is committed; then the index up to which all is.
cdef void apply_offer(Apply* apply, Batch* batch) noexcept nogil
cdef void apply_commit(Apply* apply, index_t commit) noexcept nogil
# Reactor: who waits for the batch with this sequence.
cdef void apply_expect(Apply* apply, uint64_t sequence, Receipt* receipt) noexcept nogil

# Applying thread: the next committed batch in apply.taken with its admission: OK, ERR_AGAIN (nothing
# now), ERR_NOT_FOUND (it must be read back from disk and may_read is False), or the error of reading it.
cdef int apply_next(Apply* apply, bint may_read) noexcept nogil
# The receipt that waits for apply.taken, if it is to be applied and was proposed here; it must be
# settled by apply_settle after apply_done.
cdef Receipt* apply_receipt(Apply* apply) noexcept nogil
# apply.taken has been applied (or skipped): the cursor moves.
cdef void apply_done(Apply* apply) noexcept nogil
cdef void apply_settle(Apply* apply, Receipt* receipt, const Settled* settled) noexcept nogil
# What its proposer is told of apply.taken; before apply_done.  A client's command must have been remembered.
cdef void apply_settled(const Apply* apply, Settled* settled) noexcept nogil
# All of it for a group without a state machine, at most `batches`, and few MiB read from disk: OK (more to
# do), ERR_AGAIN or an error.
cdef int apply_nothing(Apply* apply, uint32_t batches) noexcept nogil
# Waits until `index` is applied: OK, ERR_TIMEOUT, ERR_AGAIN (a signal came), ERR_STOPPED.
cdef int apply_wait(Apply* apply, index_t index, int64_t timeout_ns) noexcept nogil
# Leaves a notice that rings when `applied` has moved, or applying stopped; False: it need not wait for `index`.
cdef bint apply_notice(Apply* apply, index_t index, Notice* notice) noexcept nogil
# The state machine failed: nothing more is applied, waiters are told.
cdef void apply_stop(Apply* apply, int status) noexcept nogil
