"""A hash table by session id: linear probing, deletion by backward shift (Knuth, TAOCP 3, 6.4 R).

Every decision depends on the calls before it and on nothing else: not on
addresses, time or the order of slots.  All memory is taken when it is opened.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from quorumlog._core.base.bytes cimport get_u32, get_u64, put_u32, put_u64
from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_MEMORY, ERR_USAGE, OK
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport index_t


cdef int sessions_open(Sessions* sessions, uint32_t limit) noexcept nogil:
    memset(sessions, 0, sizeof(Sessions))
    if limit == 0 or limit > SESSIONS_MAX:
        return ERR_USAGE
    sessions.limit = limit
    sessions.capacity = 2
    while sessions.capacity < 2 * limit:           # at most half full: short probes, always a free slot
        sessions.capacity *= 2
    sessions.table = <Session*>calloc(sessions.capacity, sizeof(Session))
    return OK if sessions.table != NULL else ERR_MEMORY


cdef void sessions_close(Sessions* sessions) noexcept nogil:
    free(sessions.table)
    memset(sessions, 0, sizeof(Sessions))


cdef inline uint32_t home_of(const Sessions* sessions, uint64_t session) noexcept nogil:
    """Ids may be chosen by clients one after another, so they are mixed (splitmix64's finish)."""
    session = (session ^ (session >> 30)) * 0xBF58476D1CE4E5B9ULL
    session = (session ^ (session >> 27)) * 0x94D049BB133111EBULL
    return <uint32_t>(session ^ (session >> 31)) & (sessions.capacity - 1)


cdef uint32_t place_of(const Sessions* sessions, uint64_t session) noexcept nogil:
    """Where it is, or the free place where it would go."""
    cdef uint32_t place = home_of(sessions, session)
    while sessions.table[place].session != 0 and sessions.table[place].session != session:
        place = (place + 1) & (sessions.capacity - 1)
    return place


cdef void forget(Sessions* sessions, uint32_t place) noexcept nogil:
    """Empties a place and moves up what could no longer be found behind it."""
    cdef uint32_t mask = sessions.capacity - 1
    cdef uint32_t free_place = place
    cdef uint32_t home
    while True:
        place = (place + 1) & mask
        if sessions.table[place].session == 0:
            break
        home = home_of(sessions, sessions.table[place].session)
        # It may stay if its home lies cyclically within (free_place, place].
        if ((place - home) & mask) >= ((place - free_place) & mask):
            sessions.table[free_place] = sessions.table[place]
            free_place = place
    memset(&sessions.table[free_place], 0, sizeof(Session))
    sessions.count -= 1


cdef uint32_t least_used(const Sessions* sessions) noexcept nogil:
    """No two sessions were last used at the same index, so there is one answer."""
    cdef uint32_t place
    cdef uint32_t best = sessions.capacity
    for place in range(sessions.capacity):
        if sessions.table[place].session == 0:
            continue
        if best == sessions.capacity or sessions.table[place].used < sessions.table[best].used:
            best = place
    check(best < sessions.capacity, b"Q-SESSION-01 a full table has a session to forget")
    return best


cdef int sessions_admit(Sessions* sessions, uint64_t session, uint64_t sequence,
                        index_t index) noexcept nogil:
    cdef uint32_t place
    cdef Session* known
    if session == 0:
        return ADMIT_APPLY
    place = place_of(sessions, session)
    known = &sessions.table[place]
    if known.session == 0:
        if sequence != 1:
            return ADMIT_EXPIRED
        if sessions.count == sessions.limit:
            forget(sessions, least_used(sessions))
            place = place_of(sessions, session)
            known = &sessions.table[place]
        sessions.count += 1
        known.session = session
    elif sequence <= known.sequence and not mutant(b"apply-repeated"):
        return ADMIT_REPEATED
    elif sequence - known.sequence != 1 and not mutant(b"gap-is-applied"):
        return ADMIT_GAP
    check2(index > known.used, b"Q-SESSION-02 a session's batches are applied at rising indexes",
           index, known.used)
    known.sequence = sequence
    known.used = index
    return ADMIT_APPLY


cdef uint64_t sessions_last(const Sessions* sessions, uint64_t session) noexcept nogil:
    if session == 0:
        return 0
    return sessions.table[place_of(sessions, session)].sequence


# As bytes: u32 version (1), u32 count, then each session (u64 id, u64 sequence, u64 used), by the place in the
# table, which is the same on all nodes that applied the same.

cdef enum:
    RECORD_VERSION = 1
    RECORD_HEADER_BYTES = 8
    RECORD_SESSION_BYTES = 24


cdef uint64_t sessions_encoded_bytes(const Sessions* sessions) noexcept nogil:
    return RECORD_HEADER_BYTES + RECORD_SESSION_BYTES * <uint64_t>sessions.count


cdef void sessions_encode(const Sessions* sessions, uint8_t* out) noexcept nogil:
    cdef const Session* known
    cdef uint32_t place
    cdef uint64_t at = RECORD_HEADER_BYTES
    put_u32(out, RECORD_VERSION)
    put_u32(out + 4, sessions.count)
    for place in range(sessions.capacity):
        known = &sessions.table[place]
        if known.session != 0:
            put_u64(out + at, known.session)
            put_u64(out + at + 8, known.sequence)
            put_u64(out + at + 16, known.used)
            at += RECORD_SESSION_BYTES
    check2(at == sessions_encoded_bytes(sessions), b"Q-SESSION-03 all sessions are encoded", at, sessions.count)


cdef bint record_is_sane(const Sessions* sessions, const uint8_t* data, uint64_t size) noexcept nogil:
    cdef uint32_t i
    if size < RECORD_HEADER_BYTES or get_u32(data) != RECORD_VERSION or get_u32(data + 4) > sessions.limit \
            or size != RECORD_HEADER_BYTES + RECORD_SESSION_BYTES * <uint64_t>get_u32(data + 4):
        return False
    for i in range(get_u32(data + 4)):
        if get_u64(data + RECORD_HEADER_BYTES + RECORD_SESSION_BYTES * i) == 0 \
                or get_u64(data + RECORD_HEADER_BYTES + RECORD_SESSION_BYTES * i + 8) == 0:
            return False
    return True


cdef int sessions_decode(Sessions* sessions, const uint8_t* data, uint64_t size) noexcept nogil:
    cdef const uint8_t* at = data + RECORD_HEADER_BYTES
    cdef Session* known
    cdef uint32_t _i
    if not record_is_sane(sessions, data, size):
        return ERR_CORRUPT
    memset(sessions.table, 0, sessions.capacity * sizeof(Session))
    sessions.count = 0
    for _i in range(get_u32(data + 4)):
        known = &sessions.table[place_of(sessions, get_u64(at))]
        if known.session == 0:
            sessions.count += 1
        known.session = get_u64(at)
        known.sequence = get_u64(at + 8)
        known.used = get_u64(at + 16)
        at += RECORD_SESSION_BYTES
    return OK
