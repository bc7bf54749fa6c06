"""What the modules of storage/ share: the log's own state.  Private to storage/.

Who may touch what: the owner thread writes everything; `state_mutex` guards what
cold readers look at (groups, pending records, the segment table and the entries of
segments in memory), `spare_mutex` what the preparing thread hands over.
"""

from quorumlog._core.base.atomics cimport atomic_u32, atomic_u64
from quorumlog._core.base.types cimport GROUPS_MAX, group_t, index_t, node_t, term_t, wsn_t
from quorumlog._core.storage.batch cimport Batch, BatchPool
from quorumlog._core.storage.files cimport Files, iovec
from quorumlog._core.storage.format cimport FooterEntry
from quorumlog._core.storage.holes cimport Holes

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t*, void*)
    int pthread_mutex_destroy(pthread_mutex_t*)
    int pthread_mutex_lock(pthread_mutex_t*)
    int pthread_mutex_unlock(pthread_mutex_t*)

cdef enum:
    PATH_BYTES_MAX = 4096
    DETAIL_BYTES = 512
    SLOTS = 2                      # writes in flight
    SPARES_MAX = 64
    GROUP_TABLE = 2 * GROUPS_MAX   # live groups and tombstones
    GROUP_HASH = 4 * GROUPS_MAX
    COLD_SEGMENTS = 8              # whose index is kept for cold reads
    SMALL_PLAN_BYTES = 64 << 10    # what is staged where nothing goes past the page cache
    STAGING_EXTRA_BYTES = 256 << 10  # beyond the records of a sync group: its list, twice, marks, padding
    HEADERS_BYTES = 320 << 10      # headers, lists and zeros of the largest plan

# A log group at one position of the log.
cdef struct GroupMark:
    bint live                      # opened, not dropped
    wsn_t newest_wsn               # of its newest record: the next one's previous_wsn
    index_t first
    index_t last                   # end of the log, holes included
    term_t term_before_first
    term_t last_term               # 0: not known (after a truncation)
    term_t hard_state_term
    node_t vote
    wsn_t truncated_wsn
    index_t membership_index
    index_t faulty_first           # 0: none
    index_t faulty_last
    index_t unproved_last          # 0: none, else > last
    term_t unproved_term
    bint hard_state_damaged
    bint listening                 # as the newest hard state says
    index_t chosen                 # slot groups: slots up to here are known to be chosen

cdef struct WalGroup:
    group_t group
    uint8_t mode
    uint8_t name_bytes
    char name[256]
    wsn_t dropped_wsn              # != 0: a tombstone
    GroupMark appended             # counts what wal_append was given
    GroupMark planned              # counts what lies before the next sync group
    wsn_t opened_wsn               # of its open record, 0: before what is known
    wsn_t compacted_wsn            # of its newest compact record
    index_t compacted_first        # first index kept once that record is flushed
    index_t durable_first          # entries before it are never needed again
    Holes holes                    # of the log as appended: not to be read before they are repaired

cdef struct GroupTable:
    WalGroup* groups
    uint32_t count
    uint16_t hash[GROUP_HASH]      # position + 1, open addressing

# What a segment holds of one group.
cdef struct SegmentGroup:
    group_t group
    index_t first
    index_t last
    uint64_t bytes
    bint moved                     # it also holds records that were moved here

cdef struct Segment:
    uint64_t id
    uint64_t bytes
    int fd                         # -1: not open for writing
    int direct_fd
    uint64_t end                   # where the next sync group goes
    uint32_t writes                # plans in flight
    bint begun                     # its checkpoint is planned
    bint sealed                    # its footer is planned
    bint footer_done               # ... and durable, or found so at recovery
    uint64_t checkpoint_plan       # number of the plan that makes its checkpoint durable
    bint checkpoint_done
    wsn_t last_wsn                 # of its newest record
    bint moved_away                # all that was alive in it lies further on as well, durably
    SegmentGroup* summary
    uint32_t summary_count
    uint32_t summary_capacity
    FooterEntry* entries           # in memory until the footer is durable
    uint32_t entry_count
    uint32_t entry_capacity

cdef struct PlanSlot:
    bint busy
    bint done
    int error
    uint64_t number
    uint64_t bytes
    wsn_t last
    Segment* segment
    bint is_footer
    bint is_checkpoint
    uint8_t* staging               # staging_bytes, on a block boundary
    uint64_t staging_bytes         # plans up to this size are copied together and written directly
    uint8_t* headers               # HEADERS_BYTES, on a block boundary
    uint8_t* large                 # of a footer or checkpoint, freed with the plan
    iovec* parts
    int part_count
    int part_capacity
    Batch** batches                # kept until the plan completes
    uint32_t batch_count

# One entry of a segment's index for cold reads.
cdef struct IndexEntry:
    group_t group
    index_t first
    index_t last
    index_t reach                  # largest `last` of the group up to here
    wsn_t wsn
    uint32_t offset
    uint32_t length
    uint32_t moved

cdef struct ColdSegment:
    uint64_t id                    # 0: free
    int fd
    uint64_t used                  # for the least recently used
    IndexEntry* index
    uint32_t index_count
    FooterEntry* fresh             # copies of entries of a segment still in memory, behind the index
    uint32_t fresh_count
    uint32_t entries_seen          # of the segment's entries: in index or fresh

cdef struct Cold:
    ColdSegment segments[COLD_SEGMENTS]
    uint64_t clock
    char damage[DETAIL_BYTES]

cdef struct Spares:
    uint64_t ids[SPARES_MAX]       # ascending
    uint32_t count
    uint64_t retired[SPARES_MAX * 4]   # head segments nobody needs, oldest first
    uint32_t retired_count
    uint64_t next_id
    int preparing_fd               # -1: none
    uint64_t preparing_id
    uint64_t preparing_bytes
    uint8_t* zeros

# A head segment whose live records are being written again; see moving.
cdef struct Moving:
    atomic_u32 state               # none, reading: the preparing thread's; ready: the owner's
    uint64_t head_id
    uint64_t failed_id             # not tried again
    wsn_t as_of                    # records were chosen when this was the newest
    wsn_t dead_as_of               # what says that a record need not move is durable with this
    FooterEntry* entries           # of the head
    uint32_t entry_count
    uint32_t position
    BatchPool* pool
    Batch** records
    uint32_t count
    uint32_t capacity
    uint32_t planned               # of them
    uint64_t last_plan

cdef struct Wal:
    Files* files
    char path[PATH_BYTES_MAX]
    uint64_t segment_bytes
    uint64_t sync_group_bytes_max
    uint32_t spare_segments
    bint direct
    uint64_t cache_bytes
    uint64_t boot
    void* report                   # WalReport
    BatchPool* pool                # of the log's own records; the owner allocates
    GroupTable groups
    Batch** pending                # ring, in WSN order
    uint64_t pending_head
    uint64_t pending_count
    uint64_t pending_mask
    uint64_t pending_bytes
    wsn_t next_wsn
    wsn_t submitted
    wsn_t said                     # the highest `flushed` in a planned header
    atomic_u64 flushed
    atomic_u32 poisoned
    uint64_t plans                 # numbers given out
    uint64_t plans_completed       # all up to here are complete
    PlanSlot slots[SLOTS]
    uint32_t previous_record_crc
    uint32_t previous_group_crc
    Segment** segments             # used ones, by id
    uint32_t segment_count
    uint32_t segment_capacity
    Segment* active
    Spares spares
    Cold cold
    Moving moving
    atomic_u64 syncs
    atomic_u64 bytes_written
    pthread_mutex_t state_mutex
    pthread_mutex_t read_mutex
    pthread_mutex_t prepare_mutex
    pthread_mutex_t spare_mutex
    pthread_mutex_t moving_mutex


cdef inline void lock(pthread_mutex_t* mutex) noexcept nogil:
    pthread_mutex_lock(mutex)


cdef inline void unlock(pthread_mutex_t* mutex) noexcept nogil:
    pthread_mutex_unlock(mutex)
