"""Batches: the unit of everything (DESIGN 4.1), and the pools they come from.

A batch is one allocation: the struct, then its body.  It has an atomic
reference count.  A pool has one owner thread, which alone allocates; any thread
may drop the last reference, and the memory goes back through the pool's return
stack.  Every pool is bounded in bytes.
"""

from quorumlog._core.base.atomics cimport add_u32, atomic_ptr, atomic_u32, atomic_u64, sub_u32
from quorumlog._core.base.types cimport group_t, index_t, node_t, term_t, wsn_t

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum RecordKind:
    KIND_ENTRIES = 1
    KIND_BLANK = 2             # a new leader's first batch: one empty entry
    KIND_HARD_STATE = 3
    KIND_TRUNCATE = 4
    KIND_OPEN = 5
    KIND_DROP = 6
    KIND_COMPACT = 7
    KIND_CHECKPOINT = 8
    KIND_FOOTER = 9
    KIND_MEMBERSHIP = 10
    KIND_SNAPSHOT = 12         # a piece of a snapshot's file, on the wire alone
    KIND_CHOSEN = 15           # slots before `first` are chosen, with the values that lie there (Paxos)

cdef enum IdentityFlag:
    BATCH_BEGINS = 2               # the first of its session: its sequence is one more than an index committed before
    BATCH_STAMPED = 4              # its last entry is the stamp of a client's session (engine/clients)
    BATCH_FLAGS = 6                # both

cdef enum:
    IDENTITY_BYTES = 80
    SIZE_CLASSES = 24

cdef struct BatchPool:
    atomic_u64 references          # outstanding batches, plus one for the owner
    atomic_u64 used_bytes          # handed out
    atomic_u64 allocated_bytes     # taken from the system: handed out, on their way back, or kept for reuse
    uint64_t limit_bytes           # of allocated_bytes
    atomic_ptr returns             # stack of batches freed by any thread
    void* free_lists[SIZE_CLASSES]  # the owner's, by power of two

cdef struct Batch:
    atomic_u32 references
    uint8_t kind
    uint8_t stamped                # identity holds the encoded header of the fields below
    uint16_t flags                 # IdentityFlag, of entries
    uint8_t repair                 # its record mends one that is there already (docs/format.md 6.1)
    uint8_t slot                   # `first` is a slot: it takes one index, however many entries it has
    group_t group
    term_t term
    node_t ballot_node
    index_t first
    uint32_t count
    uint32_t body_bytes
    uint64_t session
    uint64_t sequence
    uint64_t leader_time_ns
    uint32_t body_crc
    uint8_t identity[IDENTITY_BYTES]
    uint8_t* body                  # within this allocation, 8-aligned
    uint32_t capacity_bytes        # of the allocation behind the struct
    uint8_t size_class
    wsn_t wsn                      # of its record, once appended to the write-ahead log here
    BatchPool* pool
    Batch* next                    # while it lies in a pool
    void* receipt                  # of the local caller, or NULL: see engine/receipt


cdef BatchPool* pool_open(uint64_t limit_bytes) noexcept nogil
cdef void pool_close(BatchPool* pool) noexcept nogil         # the memory goes with the last batch
cdef Batch* batch_new(BatchPool* pool, uint32_t body_bytes) noexcept nogil   # NULL: limit or memory
cdef void batch_free(Batch* batch) noexcept nogil            # called by batch_drop alone

# A copy with its own identity, for a batch that must be stamped a second time.
cdef Batch* batch_copy(BatchPool* pool, const Batch* batch) noexcept nogil

# Encodes the fields into `identity`; the body is not touched.
cdef void batch_stamp(Batch* batch) noexcept nogil
# Sets the fields from an encoded identity: OK, or ERR_CORRUPT if crc, version, kind or a bound is wrong.
cdef int batch_parse_identity(Batch* batch, const uint8_t* identity) noexcept nogil
# The one check of bytes from outside: body crc, offsets that start at 0, never fall and end within the body.
cdef int batch_verify_body(const Batch* batch) noexcept nogil


cdef inline Batch* batch_keep(Batch* batch) noexcept nogil:
    add_u32(&batch.references, 1)
    return batch


cdef inline void batch_drop(Batch* batch) noexcept nogil:
    if sub_u32(&batch.references, 1) == 1:
        batch_free(batch)


cdef inline uint64_t batch_memory_bytes(const Batch* batch) noexcept nogil:
    """What it really takes: a batch of one small command is mostly its struct."""
    return sizeof(Batch) + batch.capacity_bytes


cdef inline uint32_t batch_span(const Batch* batch) noexcept nogil:
    """How many indexes of its group's log it takes."""
    return 1 if batch.slot and batch.count > 0 else batch.count


cdef inline index_t batch_last(const Batch* batch) noexcept nogil:
    return batch.first + batch_span(batch) - 1


cdef inline bint kind_is_known(uint8_t kind) noexcept nogil:
    return (KIND_ENTRIES <= kind and kind <= KIND_MEMBERSHIP) or kind == KIND_SNAPSHOT or kind == KIND_CHOSEN


cdef inline uint32_t offsets_bytes(uint32_t count) noexcept nogil:
    """Bytes of the offset table with its padding."""
    return (4 * (count + 1) + 7) & ~<uint32_t>7


cdef inline bint offsets_rise(const uint32_t* offsets, uint32_t count) noexcept nogil:
    """Whether offsets[0..count] never fall; False too where one is 2^31 or more, which no body reaches.

    The one loop that runs per entry.  Of numbers below 2^31, a difference has its top bit set exactly where
    they fall: the compiler makes vectors of that on any x86-64, and SSE2 has no unsigned comparison."""
    cdef uint32_t seen = offsets[0]
    cdef uint32_t i
    for i in range(count):
        seen |= offsets[i + 1] | (offsets[i + 1] - offsets[i])
    return seen >> 31 == 0


cdef inline const uint32_t* batch_offsets(const Batch* batch) noexcept nogil:
    return <const uint32_t*>batch.body


cdef inline const uint8_t* batch_payload(const Batch* batch) noexcept nogil:
    return batch.body + offsets_bytes(batch.count)
