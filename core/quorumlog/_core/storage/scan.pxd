"""What a segment's bytes hold: every record that validates, every record a valid list names.

Also used by cold reads of segments without a footer, and by `log inspect`.
"""

from quorumlog._core.base.types cimport group_t, index_t, wsn_t
from quorumlog._core.storage.files cimport Files
from quorumlog._core.storage.format cimport FooterEntry, ListEntry
from quorumlog._core.storage.groups cimport Event

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum ItemState:
    ITEM_VALID = 1
    ITEM_BAD = 2                   # a valid list names it, but its bytes don't validate

cdef enum RecordVerdict:
    RECORD_NONE = 0                # no placement header here
    RECORD_VALID = 1
    RECORD_BODY_BAD = 2            # placement and identity are valid
    RECORD_IDENTITY_BAD = 3

cdef struct Item:
    Event event
    index_t last                   # as in a list entry
    wsn_t previous_wsn
    uint64_t boot
    uint64_t offset
    uint32_t length
    uint8_t state
    uint8_t flags
    bint chained                   # previous_wsn is known
    bint of_slots                  # its identity says that its group is one of slots
    uint32_t body_crc              # where the identity is known
    const uint8_t* body            # NULL when not read

cdef struct Scan:
    uint64_t id
    uint8_t* image
    uint64_t bytes
    Item* items
    uint32_t count
    uint32_t capacity
    bint out_of_memory
    bint used                      # something of this id validates
    uint64_t boot
    wsn_t flushed                  # largest in a valid header
    wsn_t highest                  # largest WSN that anything names
    bint unreadable                # the disk refused a block, the first at unreadable_offset
    uint64_t unreadable_offset
    bint damaged
    uint64_t damaged_offset
    uint64_t end                   # behind the last valid group


cdef void segment_path(const char* directory, uint64_t id, char* out) noexcept nogil
# Reads a whole segment; blocks that can't be read become zeros, which never validate.
# OK, ERR_MEMORY, ERR_IO (can't be opened) or ERR_NOT_FOUND.
cdef int scan_read(Files* files, const char* directory, uint64_t id, bint direct, Scan* scan) noexcept nogil
# Fills in everything but the items: what the largest `flushed` is, and whether it is used.
cdef void scan_headers(Scan* scan) noexcept nogil
# ERR_MEMORY or OK; items in WSN order.
cdef int scan_items(Scan* scan) noexcept nogil
cdef void scan_close(Scan* scan) noexcept nogil
cdef int scan_add(Scan* scan, const Item* item) noexcept nogil
cdef void scan_sort(Scan* scan) noexcept nogil
# One record at `p`, which lies at `offset` of the segment and has `room` bytes before the end.
cdef int record_parse(const uint8_t* p, uint64_t segment, uint64_t offset, uint64_t room,
                      Item* item) noexcept nogil
# The footer of a segment: its entries (to be freed), or ERR_NOT_FOUND, ERR_MEMORY.
cdef int footer_load(Files* files, const char* directory, uint64_t id, FooterEntry** entries,
                     uint32_t* count, wsn_t* wsn, uint64_t* boot) noexcept nogil
