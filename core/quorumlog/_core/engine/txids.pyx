"""See txids.pxd.  Linear probing, deletion by backward shift (Knuth, TAOCP 3, 6.4 R)."""

from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.status cimport ERR_MEMORY, ERR_USAGE, OK

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef enum:
    TXIDS_MAX = 1 << 24


cdef int txids_open(TxidIndex* index, uint32_t limit) noexcept nogil:
    cdef uint32_t capacity = 4
    memset(index, 0, sizeof(TxidIndex))
    if limit == 0 or limit > TXIDS_MAX:
        return ERR_USAGE
    while capacity < 2 * limit:        # at most half full
        capacity *= 2
    index.keys = <Txid*>calloc(capacity, sizeof(Txid))
    index.values = <uint32_t*>calloc(capacity, sizeof(uint32_t))
    index.mask = capacity - 1
    index.limit = limit
    if index.keys == NULL or index.values == NULL:
        txids_close(index)
        return ERR_MEMORY
    return OK


cdef void txids_close(TxidIndex* index) noexcept nogil:
    free(index.keys)
    free(index.values)
    memset(index, 0, sizeof(TxidIndex))


cdef inline uint32_t home_of(const TxidIndex* index, const Txid* txid) noexcept nogil:
    """Numbers come one after another, so they are mixed (splitmix64's finish)."""
    cdef uint64_t mixed = txid.number ^ (txid.coordinator * 0x9E3779B97F4A7C15ULL)
    mixed ^= (<uint64_t>txid.incarnation << 32) | txid.nonce
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9ULL
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBULL
    return <uint32_t>(mixed ^ (mixed >> 31)) & index.mask


cdef uint32_t place_of(const TxidIndex* index, const Txid* txid) noexcept nogil:
    """Where it is, or the free place where it would go."""
    cdef uint32_t place = home_of(index, txid)
    while index.keys[place].number != 0 and not txid_equal(&index.keys[place], txid):
        place = (place + 1) & index.mask
    return place


cdef uint32_t txids_find(const TxidIndex* index, const Txid* txid) noexcept nogil:
    cdef uint32_t place
    if txid.number == 0:
        return TXID_NOWHERE
    place = place_of(index, txid)
    return index.values[place] if index.keys[place].number != 0 else <uint32_t>TXID_NOWHERE


cdef void txids_put(TxidIndex* index, const Txid* txid, uint32_t value) noexcept nogil:
    cdef uint32_t place = place_of(index, txid)
    check2(index.count < index.limit, b"Q-TXIDS-01 a table of transactions has room", index.count, index.limit)
    check(txid.number != 0 and index.keys[place].number == 0, b"Q-TXIDS-02 a transaction is entered once")
    index.keys[place] = txid[0]
    index.values[place] = value
    index.count += 1


cdef void txids_drop(TxidIndex* index, const Txid* txid) noexcept nogil:
    """Empties its place and moves up what could no longer be found behind it."""
    cdef uint32_t free_place = place_of(index, txid)
    cdef uint32_t place = free_place
    cdef uint32_t home
    check2(index.keys[place].number != 0, b"Q-TXIDS-03 what is dropped is there", txid.number, txid.incarnation)
    while True:
        place = (place + 1) & index.mask
        if index.keys[place].number == 0:
            break
        home = home_of(index, &index.keys[place])
        if ((place - home) & index.mask) >= ((place - free_place) & index.mask):
            index.keys[free_place] = index.keys[place]
            index.values[free_place] = index.values[place]
            free_place = place
    memset(&index.keys[free_place], 0, sizeof(Txid))
    index.count -= 1
