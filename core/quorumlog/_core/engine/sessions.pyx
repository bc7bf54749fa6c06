"""A hash table by session id: linear probing, deletion by backward shift (Knuth, TAOCP 3, 6.4 R).

Every decision depends on the calls before it and on nothing else: not on
addresses, time or the order of slots.  All memory is taken when it is opened.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from quorumlog._core.base.bytes cimport get_u64, put_u64
from quorumlog._core.base.checks cimport check, check2
from quorumlog._core.base.status cimport ERR_CORRUPT, ERR_MEMORY, ERR_USAGE, OK
from quorumlog._core.base.mutants cimport mutant
from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.clients cimport (
    CLIENTS_BYTES_MAX, CLIENTS_MAX, clients_close, clients_load, clients_open, clients_save, clients_saved_bytes)


cdef int sessions_open(Sessions* sessions, uint32_t limit) noexcept nogil:
    memset(sessions, 0, sizeof(Sessions))
    if limit == 0 or limit > SESSIONS_MAX:
        return ERR_USAGE
    sessions.limit = limit
    sessions.capacity = 2
    while sessions.capacity < 2 * limit:           # at most half full: short probes, always a free slot
        sessions.capacity *= 2
    sessions.table = <Session*>calloc(sessions.capacity, sizeof(Session))
    if sessions.table == NULL:
        return ERR_MEMORY
    return clients_open(&sessions.clients, CLIENTS_MAX, CLIENTS_BYTES_MAX)


cdef void sessions_close(Sessions* sessions) noexcept nogil:
    free(sessions.table)
    clients_close(&sessions.clients)
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


cdef bint is_new(const Sessions* sessions, uint64_t sequence, bint begins, index_t index) noexcept nogil:
    """An unknown session: has it yet to begin, or was it forgotten?"""
    cdef index_t birth = sequence - 1
    if mutant(b"session-begins-again"):
        return begins
    return begins and sequence != 0 and birth >= sessions.forgotten and birth < index


cdef int sessions_admit(Sessions* sessions, uint64_t session, uint64_t sequence, bint begins,
                        index_t index) noexcept nogil:
    cdef uint32_t place
    cdef Session* known
    if session == 0:
        return ADMIT_APPLY
    place = place_of(sessions, session)
    known = &sessions.table[place]
    if known.session == 0:
        if not is_new(sessions, sequence, begins, index):
            return ADMIT_EXPIRED
        if sessions.count == sessions.limit:
            place = least_used(sessions)
            sessions.forgotten = max(sessions.forgotten, sessions.table[place].used)
            forget(sessions, place)
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


# As bytes

cdef enum:
    ENCODED_VERSION = 1
    ENCODED_HEADER_BYTES = 24          # version, sessions, forgotten
    ENCODED_SESSION_BYTES = 24         # session, sequence, used


cdef uint64_t sessions_encoded_bytes(const Sessions* sessions) noexcept nogil:
    return (ENCODED_HEADER_BYTES + ENCODED_SESSION_BYTES * <uint64_t>sessions.count
            + clients_saved_bytes(&sessions.clients))


cdef void sessions_encode(const Sessions* sessions, uint8_t* out) noexcept nogil:
    cdef const Session* one
    cdef uint32_t place
    put_u64(out, ENCODED_VERSION)
    put_u64(out + 8, sessions.count)
    put_u64(out + 16, sessions.forgotten)
    out += ENCODED_HEADER_BYTES
    for place in range(sessions.capacity):
        one = &sessions.table[place]
        if one.session != 0:
            put_u64(out, one.session)
            put_u64(out + 8, one.sequence)
            put_u64(out + 16, one.used)
            out += ENCODED_SESSION_BYTES
    clients_save(&sessions.clients, out)


cdef int fill(Sessions* sessions, const uint8_t* data, uint64_t size_bytes) noexcept nogil:
    cdef const uint8_t* end = data + size_bytes
    cdef Session* one
    cdef uint64_t count, _i
    if size_bytes < ENCODED_HEADER_BYTES or get_u64(data) != ENCODED_VERSION:
        return ERR_CORRUPT
    count = get_u64(data + 8)
    if count > sessions.limit or size_bytes - ENCODED_HEADER_BYTES < count * ENCODED_SESSION_BYTES:
        return ERR_CORRUPT
    sessions.forgotten = get_u64(data + 16)
    data += ENCODED_HEADER_BYTES
    for _i in range(count):
        one = &sessions.table[place_of(sessions, get_u64(data))]
        if get_u64(data) == 0 or get_u64(data + 8) == 0 or one.session != 0:
            return ERR_CORRUPT
        one.session = get_u64(data)
        one.sequence = get_u64(data + 8)
        one.used = get_u64(data + 16)
        sessions.count += 1
        data += ENCODED_SESSION_BYTES
    return clients_load(&sessions.clients, data, <uint64_t>(end - data))


cdef int sessions_decode(Sessions* sessions, const uint8_t* data, uint64_t size_bytes) noexcept nogil:
    cdef Sessions made
    cdef int status = sessions_open(&made, sessions.limit)
    if status == OK:
        status = fill(&made, data, size_bytes)
    if status != OK:
        sessions_close(&made)
        return status
    sessions_close(sessions)
    sessions[0] = made
    return OK
