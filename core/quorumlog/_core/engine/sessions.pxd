"""Exactly once: the last sequence applied of each session, replicated by being derived from the log.

A batch is applied if its sequence is the session's last + 1.  A lower one is a
repetition: skipped, its first effect stands.  A higher one has a gap before it:
skipped, and its proposer sends again from the gap on.  So every session's batches
apply exactly once and in the order proposed.  The table is a function of the log
alone; it is bounded, and the session whose last use lies furthest back in the log
goes first.

A session begins with a marked batch whose sequence is one more than an index that
its node knew to be committed: its *birth*.  The batch lies behind that index in the
log.  So a session that was used up to index u and forgotten was born before u, and
one that was born at or behind all that was forgotten is surely new: no copy of a
first batch is ever taken for a beginning (ADR 21).
"""

from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.clients cimport Clients

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    SESSIONS_MAX = 4096

cdef enum Admission:
    ADMIT_APPLY = 1            # in order: apply it
    ADMIT_REPEATED = 2         # applied before: skip
    ADMIT_GAP = 3              # an earlier one is missing: skip, was not and will not be applied here
    ADMIT_EXPIRED = 4          # the session is unknown, and this is no beginning or may be a forgotten one's: skip

cdef struct Session:
    uint64_t session           # 0: free
    uint64_t sequence          # last applied
    index_t used               # index of its newest applied batch

cdef struct Sessions:
    Session* table             # open addressing, power of two
    uint32_t capacity
    uint32_t count
    uint32_t limit
    index_t forgotten          # no session that was forgotten was used behind it
    Clients clients            # sessions of clients, a level above (engine/clients)


cdef int sessions_open(Sessions* sessions, uint32_t limit) noexcept nogil
cdef void sessions_close(Sessions* sessions) noexcept nogil
# Decides and records.  session 0 (none) is always applied.
cdef int sessions_admit(Sessions* sessions, uint64_t session, uint64_t sequence, bint begins,
                        index_t index) noexcept nogil
cdef uint64_t sessions_last(const Sessions* sessions, uint64_t session) noexcept nogil     # 0: unknown

# The whole table, clients' sessions too, as bytes for a snapshot: how many, and they themselves.
cdef uint64_t sessions_encoded_bytes(const Sessions* sessions) noexcept nogil
cdef void sessions_encode(const Sessions* sessions, uint8_t* out) noexcept nogil
# Takes the place of what is in the opened table.  OK, or ERR_CORRUPT, ERR_MEMORY (the table is as it was).
cdef int sessions_decode(Sessions* sessions, const uint8_t* data, uint64_t size_bytes) noexcept nogil
