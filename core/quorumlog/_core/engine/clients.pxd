"""Clients' own sessions: retried from any node and by any later process, applied once, answered the same.

A node's session (engine/sessions) keeps what one node proposes in order.  A client's session lies
above it, in batches marked BATCH_STAMPED whose last entry is a stamp: which session, which
sequence, and up to which sequence the client has its answers.  The table remembers the answer of
each command until then, so that a repetition gets the *first* result.  It is opened by an entry of
the log and named by that entry's index, so an unknown session is always one that was forgotten,
never one that has yet to begin.

All of it is a function of the log alone: time is the leaders' time in the log, which never goes
back here, and what is forgotten is forgotten on all nodes at the same index, and refused from then
on as expired.  Commands of one session need no order among each other.
"""

from quorumlog._core.base.types cimport index_t, term_t
from quorumlog._core.storage.batch cimport Batch

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    STAMP_BYTES = 40
    CLIENTS_MAX = 4096             # sessions
    CLIENT_WINDOW = 256            # commands of a session whose answers the client has not said to have
    ANSWER_BYTES_MAX = 1 << 20     # a larger result is not kept, and a repetition told so
    CLIENT_BYTES_MAX = 4 << 20     # of one session
    CLIENTS_BYTES_MAX = 16 << 20   # of all

cdef enum StampKind:
    STAMP_OPEN = 1                 # `number`: how long it may be unused, in nanoseconds of log time
    STAMP_COMMAND = 2
    STAMP_SETTLE = 3               # if `sequence` was not applied, it never will be
    STAMP_CLOSE = 4
    STAMP_RESUME = 5               # by a later process: what earlier ones may still have under way never happens

# The last entry of a stamped batch, as it lies there.
cdef struct Stamp:
    uint64_t kind                  # StampKind
    uint64_t session               # index of the entry that opened it
    uint64_t sequence              # from 1
    uint64_t answered              # the client has its answers up to this sequence
    uint64_t number                # STAMP_COMMAND: the life of the session, from 1, one more with each resumption

cdef enum Verdict:
    CLIENT_APPLY = 1               # new: apply it, then clients_remember
    CLIENT_DONE = 2                # nothing to apply: opened, resumed, closed, or settled as never to be applied
    CLIENT_REPEATED = 3            # applied before: `answer` has how it went
    CLIENT_EXPIRED = 4             # the session is forgotten, or its client said to have this answer
    CLIENT_SETTLED = 5             # it was settled that this one never happens, or its process was superseded
    CLIENT_OTHER = 6               # the sequence was used for another command
    CLIENT_FULL = 7                # too many, or too large, answers that the client has not said to have
    CLIENT_NONSENSE = 8            # no stamp

cdef struct Answer:
    index_t index                  # 0: settled, never applied
    term_t term
    uint32_t count                 # entries of the command
    uint32_t crc                   # of its entries: what was proposed under the sequence
    uint32_t bytes                 # of the result that follow
    uint8_t lost                   # the result was too large to be kept
    uint8_t result[1]

cdef struct Client:
    uint64_t session
    uint64_t used_ns               # log time
    uint64_t lifetime_ns
    uint64_t answered
    uint64_t highest               # sequence that was applied or settled
    uint64_t life
    uint64_t bytes
    Answer* answers[CLIENT_WINDOW]     # by sequence
    Client* in_bucket              # the next one
    Client* older                  # by use
    Client* newer

cdef struct Clients:
    Client** buckets
    Client* oldest
    Client* newest
    uint32_t count
    uint32_t count_max
    uint64_t bytes
    uint64_t bytes_max
    uint64_t now_ns                # the log's time
    # Of the batch that was admitted last.
    Client* at
    Stamp stamp
    const Answer* answer           # CLIENT_REPEATED


cdef int clients_open(Clients* clients, uint32_t count_max, uint64_t bytes_max) noexcept nogil
cdef void clients_close(Clients* clients) noexcept nogil
# Every applied batch moves the log's time.
cdef void clients_time(Clients* clients, uint64_t leader_time_ns) noexcept nogil
# Decides about a stamped batch that its node's session lets through, and records it.
cdef int clients_admit(Clients* clients, const Batch* batch) noexcept nogil
# The command just admitted was applied; NULL: it has no result.
cdef void clients_remember(Clients* clients, const Batch* batch, const uint8_t* result, uint64_t bytes) noexcept nogil
# What the stamp of a batch says; False: it has none.
cdef bint stamp_of(const Batch* batch, Stamp* stamp) noexcept nogil

# As bytes, for a snapshot: how many, into memory of that size, and back into an open, empty table.
cdef uint64_t clients_saved_bytes(const Clients* clients) noexcept nogil
cdef void clients_save(const Clients* clients, uint8_t* out) noexcept nogil
cdef int clients_load(Clients* clients, const uint8_t* data, uint64_t size_bytes) noexcept nogil
