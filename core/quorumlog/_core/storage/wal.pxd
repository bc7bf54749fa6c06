"""The write-ahead log of a node, shared by all its groups: a pure planner.

    append  -> a record is pending and has its write sequence number (WSN)
    plan    -> what to write next, as one vectored write and one sync (at most two in flight)
    complete-> the write is durable (or failed, which is final)

Nobody in here waits or starts a thread: the log writer (a thread, io_uring, or the
simulation) carries out the plans, in the order they were given out, and may
report them in any order.  `flushed` is the prefix: a WSN counts when it and all
before it are complete.  Single owner, except wal_read and wal_prepare (below).
"""

from quorumlog._core.base.types cimport group_t, index_t, node_t, term_t, wsn_t
from quorumlog._core.storage.batch cimport Batch, BatchPool
from quorumlog._core.storage.files cimport Files, iovec
from quorumlog._core.storage.holes cimport Hole
from quorumlog._core.storage.runs cimport TermRun
# `Wal` and its fields are private to storage/.
from quorumlog._core.storage.state cimport DETAIL_BYTES, Wal

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum GroupMode:
    MODE_SUFFIX = 1               # later batches supersede all behind them (Raft)
    MODE_SLOT = 2                 # a later batch supersedes its own slot; holes allowed (Paxos)

cdef enum:
    WRITES_IN_FLIGHT_MAX = 2

cdef struct WalOptions:
    uint64_t segment_bytes            # 64 KiB to 2 GiB, a multiple of 64 KiB
    uint64_t sync_group_bytes_max     # how much one write gathers; one record may exceed it
    uint32_t spare_segments           # kept prepared ahead of use
    bint direct                       # past the page cache where possible (O_DIRECT|O_DSYNC)
    uint64_t cache_bytes              # bound of footers and read buffers kept for cold reads

# What one write consists of.  `parts` and what they point at stay valid until wal_complete.
cdef struct WritePlan:
    uint64_t number                   # plans are numbered from 1 in the order given out
    int fd
    bint synced_by_write              # fd is O_DIRECT|O_DSYNC: no sync needed behind the write
    uint64_t offset
    uint64_t bytes
    iovec* parts
    int part_count
    wsn_t last                        # highest WSN in it

# What recovery found of one log group.
cdef struct RecoveredGroup:
    group_t group
    uint8_t mode
    char name[256]
    term_t hard_state_term            # 0, 0: none was ever written
    node_t vote
    index_t first                     # first index kept; last = first - 1 when empty
    term_t term_before_first
    index_t last                      # end of the intact log
    term_t last_term
    TermRun* runs                     # a term run reaches to the next one's first; covering first..last; term 0: holes
    uint32_t run_count
    index_t unproved_last             # > last: perhaps acknowledged up to here (bad records above F); 0: none
    term_t unproved_term              # of the newest of them: a vote's log must reach both
    index_t faulty_first              # != 0: corrupt entries from here on (bad records at or below F)
    index_t faulty_last
    bint hard_state_damaged           # both writings bad: treat the group as wiped
    bint listening                    # its hard state says so: neither votes nor acknowledges
    index_t chosen                    # slot groups: slots up to here are chosen, with the values that lie here
    # The same log for whoever mends what is bad in it: it reaches to `whole_last`, and of what is faulty
    # these holes are all that lies in it (what lies behind has no known place).
    index_t whole_last
    term_t whole_last_term
    uint32_t whole_run_count          # of `runs`, covering first..whole_last
    const Hole* holes                 # as long as the group's log isn't changed
    uint32_t hole_count
    bint boundless                    # something faulty has no known place

cdef struct WalReport:
    uint32_t group_count
    RecoveredGroup* groups
    wsn_t flushed                     # F as found
    wsn_t wsn_last                    # highest WSN seen
    uint64_t boot                     # of this process
    uint64_t records
    uint64_t bytes_read
    uint32_t corrupt_records
    uint32_t unproved_records
    char detail[DETAIL_BYTES]         # file and offset of the first damage, or why opening failed

cdef struct WalStatus:
    wsn_t appended
    wsn_t submitted                   # in a plan given out
    wsn_t flushed
    uint64_t pending_bytes
    uint64_t syncs                    # completed plans
    uint64_t bytes_written
    uint64_t segments
    uint64_t spare_segments


# Opens and recovers `path` (which exists and is locked by the caller), starts a new segment with a
# higher boot number and makes it durable.  NULL and *status, with report.detail saying why.
# `report` belongs to the log and lives until wal_close; that of a failure lives until this thread's
# next wal_open.  Calling thread: any, once.
cdef Wal* wal_open(Files* files, const char* path, const WalOptions* options,
                   const WalReport** report, int* status) noexcept nogil
# Writes in flight must have been completed.  Does not sync.
cdef void wal_close(Wal* wal) noexcept nogil

# Makes a log group known by an `open` record; idempotent for a group that recovery found.
# OK, ERR_USAGE (another name or mode under this id, or too many groups), or ERR_POISONED.
cdef int wal_open_group(Wal* wal, group_t group, const char* name, uint8_t mode, wsn_t* wsn) noexcept nogil
# The largest body that fits this log's segments.
cdef uint32_t wal_body_bytes_max(Wal* wal) noexcept nogil
# Adds a record: keeps a reference of its own, gives it its WSN; 0 when the log is poisoned.
# batch.stamped is required.  An append onto an occupied index without a truncation before it is an
# invariant violation (MODE_SUFFIX).
cdef wsn_t wal_append(Wal* wal, Batch* batch) noexcept nogil
cdef wsn_t wal_next(Wal* wal) noexcept nogil                 # the WSN that the next append will get
cdef uint64_t wal_pending_bytes(Wal* wal) noexcept nogil     # appended, not yet in a plan

# The next write, if there is something to write and fewer than two are in flight: OK, ERR_AGAIN, or
# ERR_POISONED.  With `mark`, a bare mark is planned when nothing is pending and `flushed` has moved
# since the last header said it.
cdef int wal_plan(Wal* wal, WritePlan* plan, bint mark) noexcept nogil
# Whether the next plan finds a segment ready.  If not, wal_plan fills one first, in the calling thread,
# which takes as long as the disk needs: an owner that must not stall asks here and lets wal_prepare do it.
cdef bint wal_ready(Wal* wal) noexcept nogil
# The result of plan `number`: 0 or a positive errno.  After a failure the log is poisoned for ever
# (P5): flushed moves no more, plans and appends are refused.
cdef int wal_complete(Wal* wal, uint64_t number, int error) noexcept nogil
cdef wsn_t wal_flushed(Wal* wal) noexcept nogil
cdef bint wal_poisoned(Wal* wal) noexcept nogil

# Carries out a plan through the table of file calls: 0 or a positive errno.  Any one thread.
cdef int wal_execute(Wal* wal, const WritePlan* plan) noexcept nogil

# One step of making spare segments ready (at most 1 MiB written): OK if there is more to do, ERR_AGAIN
# if enough are ready, else an error.  Its own thread at low priority, beside the owner.
cdef int wal_prepare(Wal* wal) noexcept nogil
# Whether preparing can wait for a lull: enough are ready, and since the last look much was written.
# `seen_bytes`, 0 at first, remembers that look.  The preparing thread.
cdef bint wal_prepare_can_wait(Wal* wal, uint64_t* seen_bytes) noexcept nogil

# The batch that holds `index`, read from disk and verified, with one reference for the caller.
# OK, ERR_NOT_FOUND, ERR_COMPACTED, ERR_MEMORY, ERR_CORRUPT or ERR_IO.  Only flushed batches.  Any
# thread; readers take turns (a mutex).
cdef int wal_read(Wal* wal, group_t group, index_t index, BatchPool* pool, Batch** out) noexcept nogil

# Drops the head of a group: entries before `first` are no longer needed (explicit compaction).  The
# segments go when no live group needs them and the compact record is flushed.  `term_before_first` is
# that of the entry at first - 1.  OK, ERR_USAGE (beyond the end, or no such group) or ERR_POISONED.
cdef int wal_compact(Wal* wal, group_t group, index_t first, term_t term_before_first) noexcept nogil
# Its entries mean nothing from here on; the id may be opened again.
cdef wsn_t wal_drop_group(Wal* wal, group_t group) noexcept nogil
# What the last ERR_CORRUPT of wal_read was about: file and offset.
cdef void wal_damage(Wal* wal, char* text, size_t size) noexcept nogil
cdef void wal_status(Wal* wal, WalStatus* out) noexcept nogil


cdef inline wsn_t wal_repair(Wal* wal, Batch* batch) noexcept nogil:
    """Adds a batch that the log has already, with this index and term, but bad on disk (docs/format.md 6.1);
    else as wal_append."""
    batch.repair = 1
    return wal_append(wal, batch)
