"""Ids of distributed transactions, and a table from them to places.

    coordinator   who began it: an identity kept in the decision log, never reused
    incarnation   which life of that coordinator: a new one fences all earlier ones
    nonce         drawn for the incarnation; a decision log that was restored from an old copy
                  begins the same incarnation with another one, and is noticed
    number        within the incarnation, from 1
"""

from libc.stdint cimport uint32_t, uint64_t

cdef struct Txid:
    uint64_t coordinator       # 0: none
    uint32_t incarnation
    uint32_t nonce
    uint64_t number

# Open addressing; all memory is taken when it is opened.
cdef struct TxidIndex:
    Txid* keys                 # number 0: free
    uint32_t* values
    uint32_t mask
    uint32_t count
    uint32_t limit

cdef enum:
    TXID_NOWHERE = 0xFFFFFFFF


cdef int txids_open(TxidIndex* index, uint32_t limit) noexcept nogil       # OK, ERR_USAGE or ERR_MEMORY
cdef void txids_close(TxidIndex* index) noexcept nogil
cdef uint32_t txids_find(const TxidIndex* index, const Txid* txid) noexcept nogil     # TXID_NOWHERE: not there
# It isn't there yet, and there is room.
cdef void txids_put(TxidIndex* index, const Txid* txid, uint32_t value) noexcept nogil
cdef void txids_drop(TxidIndex* index, const Txid* txid) noexcept nogil     # it is there


cdef inline bint txid_equal(const Txid* a, const Txid* b) noexcept nogil:
    return (a.number == b.number and a.coordinator == b.coordinator and a.incarnation == b.incarnation
            and a.nonce == b.nonce)


cdef inline bint txid_before(const Txid* a, uint32_t incarnation, uint64_t number) noexcept nogil:
    """Of one coordinator: begun earlier than that."""
    return a.incarnation < incarnation or (a.incarnation == incarnation and a.number < number)
