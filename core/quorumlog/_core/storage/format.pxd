"""The bytes of the log, as docs/format.md gives them.  Header only.

All machines this runs on are little-endian (base/bytes.pxd refuses others) and
every field is naturally aligned, so the structures are the bytes; the sizes and
offsets are tested against the document.
"""

from quorumlog._core.base.bytes cimport get_u32, put_u32, round_up
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.types cimport BLOCK_BYTES, group_t, index_t, term_t, wsn_t
from quorumlog._core.storage.batch cimport (KIND_BLANK, KIND_CHOSEN, KIND_COMPACT, KIND_ENTRIES, KIND_MEMBERSHIP,
                                            KIND_TRUNCATE)

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    RECORD_MAGIC = 0x43524C51      # QLRC
    GROUP_MAGIC = 0x47534C51       # QLSG
    TAIL_MAGIC = 0x54534C51        # QLST

cdef enum:
    PLACEMENT_BYTES = 64
    RECORD_HEADER_BYTES = 144      # placement and identity
    GROUP_HEADER_BYTES = 80
    LIST_ENTRY_BYTES = 40
    TAIL_BYTES = 48
    GROUP_RECORDS_MAX = 512
    CHECKPOINT_HEADER_BYTES = 24
    CHECKPOINT_GROUP_BYTES = 120   # and the name
    TOMBSTONE_BYTES = 16
    FOOTER_HEADER_BYTES = 8
    FOOTER_ENTRY_BYTES = 48
    LENGTH_BITS = 28               # of a list entry's last field; the kind lies above

cdef enum RecordFlag:
    RECORD_COPY = 1                # second writing of a hard state, same WSN
    RECORD_MOVED = 2               # by head compaction; keeps its WSN
    RECORD_REPAIR = 4              # what lies at this index already, once more

cdef enum SyncGroupKind:
    GROUP_DATA = 1
    GROUP_MARK = 2
    GROUP_CHECKPOINT = 3
    GROUP_FOOTER = 4

cdef struct Placement:
    uint32_t crc
    uint32_t magic
    uint64_t segment
    uint64_t offset
    uint64_t boot
    wsn_t wsn
    wsn_t previous_wsn
    uint32_t previous_crc
    uint32_t identity_crc
    uint32_t length
    uint32_t flags

cdef struct GroupHeader:
    uint32_t crc
    uint32_t magic
    uint64_t segment
    uint64_t offset
    uint64_t boot
    wsn_t wsn_first
    wsn_t wsn_last
    wsn_t flushed
    uint32_t length
    uint32_t record_count
    uint32_t previous_crc
    uint8_t kind
    uint8_t reserved[3]
    uint64_t reserved2

cdef struct ListEntry:
    group_t group
    wsn_t wsn
    index_t last
    term_t term
    uint32_t offset
    uint32_t length_kind

cdef struct GroupTail:
    uint32_t crc
    uint32_t magic
    uint64_t segment
    uint64_t offset
    uint64_t boot
    wsn_t wsn_first
    uint32_t length
    uint32_t record_count

cdef struct FooterEntry:
    group_t group
    wsn_t wsn
    index_t first
    term_t term
    uint32_t count
    uint32_t offset
    uint32_t length
    uint8_t kind
    uint8_t flags
    uint16_t reserved

# The fixed part of a group's entry in a checkpoint; its name follows, padded to 8.
cdef struct CheckpointGroup:
    group_t group
    wsn_t last_wsn
    index_t first
    index_t last
    term_t term_before_first
    term_t last_term
    term_t hard_state_term
    uint64_t vote
    wsn_t truncated_wsn
    index_t membership_index
    index_t faulty_first
    index_t faulty_last
    index_t unproved_last
    term_t unproved_term
    uint8_t mode
    uint8_t flags
    uint8_t name_bytes
    uint8_t reserved[5]

cdef enum CheckpointFlag:
    CHECKPOINT_HARD_STATE_DAMAGED = 1
    CHECKPOINT_LISTENING = 2

cdef enum:
    LISTED_REPAIR = 11             # kind of a repair in a list entry: it names no new end of the log
    STANDING_LISTENING = 1         # of a hard state's second word


cdef inline bint kind_has_entries(uint8_t kind) noexcept nogil:
    return kind == KIND_ENTRIES or kind == KIND_BLANK or kind == KIND_MEMBERSHIP


cdef inline index_t listed_last(uint8_t kind, index_t first, uint32_t count) noexcept nogil:
    """What a list entry says of a record: the log's last index behind a batch or a
    truncation, the last index dropped by a compaction, the last slot chosen."""
    if kind_has_entries(kind):
        return first + count - 1
    if kind == KIND_TRUNCATE or kind == KIND_COMPACT or kind == KIND_CHOSEN:
        return first - 1
    return 0


cdef inline uint32_t entry_length(const ListEntry* entry) noexcept nogil:
    return entry.length_kind & ((<uint32_t>1 << LENGTH_BITS) - 1)


cdef inline uint8_t entry_kind(const ListEntry* entry) noexcept nogil:
    return <uint8_t>(entry.length_kind >> LENGTH_BITS)


cdef inline uint64_t sync_group_bytes(uint32_t record_count, uint64_t record_bytes) noexcept nogil:
    """Length of a group that holds so many records of so many bytes in all."""
    return round_up(GROUP_HEADER_BYTES + 2 * LIST_ENTRY_BYTES * <uint64_t>record_count
                    + record_bytes + TAIL_BYTES, BLOCK_BYTES)


cdef inline uint64_t footer_group_bytes(uint64_t entry_count) noexcept nogil:
    return sync_group_bytes(1, RECORD_HEADER_BYTES + FOOTER_HEADER_BYTES
                            + FOOTER_ENTRY_BYTES * entry_count)


cdef inline uint32_t placement_crc(const Placement* p) noexcept nogil:
    return crc32c(0, <const uint8_t*>p + 4, PLACEMENT_BYTES - 4)


cdef inline uint32_t header_crc(const void* header, uint32_t record_count) noexcept nogil:
    """Of a group header and the list that follows it in memory."""
    return crc32c(0, <const uint8_t*>header + 4,
                  GROUP_HEADER_BYTES - 4 + LIST_ENTRY_BYTES * <uint64_t>record_count)


cdef inline uint32_t tail_crc(const void* list_entries, const GroupTail* tail) noexcept nogil:
    """Of the second list and the tail, which need not be neighbours in memory."""
    cdef uint32_t crc = crc32c(0, list_entries, LIST_ENTRY_BYTES * <uint64_t>tail.record_count)
    return crc32c(crc, <const uint8_t*>tail + 4, TAIL_BYTES - 4)


cdef inline bint header_valid(const GroupHeader* h, uint64_t segment, uint64_t offset,
                              uint64_t segment_bytes) noexcept nogil:
    """The header at `offset` of an image; the list behind it is read only once its size is bounded."""
    if h.magic != GROUP_MAGIC or h.segment != segment or h.offset != offset:
        return False
    if h.record_count > GROUP_RECORDS_MAX or h.length == 0 or (h.length & (BLOCK_BYTES - 1)) != 0:
        return False
    if h.length > segment_bytes - offset or h.length < sync_group_bytes(h.record_count, 0):
        return False
    return h.crc == header_crc(h, h.record_count) and h.kind >= GROUP_DATA and h.kind <= GROUP_FOOTER


cdef inline bint tail_valid(const GroupTail* t, uint64_t segment, uint64_t end) noexcept nogil:
    """The tail that ends at `end` of an image; its list lies right before it."""
    if t.magic != TAIL_MAGIC or t.segment != segment or t.record_count > GROUP_RECORDS_MAX:
        return False
    if t.length == 0 or (t.length & (BLOCK_BYTES - 1)) != 0 or t.length > end or t.offset != end - t.length:
        return False
    if t.length < sync_group_bytes(t.record_count, 0):
        return False
    return t.crc == tail_crc(<const uint8_t*>t - LIST_ENTRY_BYTES * <uint64_t>t.record_count, t)
