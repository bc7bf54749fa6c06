"""Reads on their way: from the call, through the protocol's confirmation, to whoever answers them.

A caller asks; at its next turn the reactor hands the protocol all of a kind that was asked meanwhile
as *one* read, as one confirmation that begins afterwards is good for all of them (A-R14).  What it
answers is an index; a read that wants no more (a barrier) ends there, in the reactor.  One with
questions goes on to the applying thread, which answers it once it has applied that index.

A read that the protocol refuses because there is no leader stays here and is handed over again
when there is one: giving up is the caller's business, who drops his reference.  A read has memory
of its own, shared by the caller and whoever will end it; the last of them frees it.
"""

from quorumlog._core.base.atomics cimport atomic_ptr, atomic_u32
from quorumlog._core.base.bell cimport Notice
from quorumlog._core.base.types cimport index_t
from quorumlog._core.engine.outbox cimport ReadReady
from quorumlog._core.engine.protocol cimport READ_KINDS

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    READS_MAX = 1 << 16            # of a group, from the call until it ends
    NEVER_HEARD = 0x4000000000000000

cdef enum ReadState:
    READ_ASKED = 0
    READ_CONFIRMED = 1             # `index` is known, the applying thread has it
    READ_DONE = 2                  # `status` says how it ended

# What a caller wants of a read.
cdef struct Wanted:
    bint barrier                   # the index is all it wants
    uint8_t kind                   # ReadKind of engine/protocol
    uint64_t max_lag_ns            # READ_AS_OF: how old what is known here may be

cdef struct Read:
    atomic_u32 references
    atomic_u32 state               # futex word: ReadState
    atomic_u32 waiters
    atomic_u32 refused             # the last Status for which it had to be handed over again; 0: none
    int status
    Wanted wanted
    uint64_t lag_ns                # with ERR_STALE: how old it is; NEVER_HEARD: nothing is known
    index_t index
    Notice* notice                 # of an event loop that waits for it, or NULL
    void* owner                    # the bridge's, with the GIL; NULL once nobody wants the answer
    Read* next                     # in whichever list it is
    Read* before                   # among those that stand for a list in the protocol's hands
    Read* behind

cdef struct ReadList:
    Read* first
    Read* last

cdef struct Reads:
    atomic_u32 count
    atomic_ptr asked               # stack: callers -> reactor
    atomic_ptr confirmed           # stack: reactor, and callers that want no confirmation -> applying thread
    # The reactor's.
    ReadList waiting[READ_KINDS]   # to be handed to the protocol
    bint held_back                 # `waiting` was refused: not before look_ns
    uint64_t look_ns               # when to look at `waiting` again
    Read* under_way                # handed over and not answered; each with its companions behind `next`
    # The applying thread's.
    ReadList early                 # their index is not applied yet
    index_t early_least            # the least of their indexes
    ReadList ready


# With one reference, or NULL.
cdef Read* read_new(Wanted wanted, void* owner) noexcept nogil
cdef void read_drop(Read* read) noexcept nogil
# Sleeps until it is done, a signal comes or the time is up; look at the state.
cdef void read_wait(Read* read, int64_t timeout_ns) noexcept nogil

# Any thread: hands it in with a reference of its own.  False: READS_MAX are on their way, nothing was taken.
cdef bint reads_ask(Reads* reads, Read* read) noexcept nogil
# The same without a confirmation: answered from what is applied here.  Wake the applying thread.
cdef bint reads_ask_stale(Reads* reads, Read* read) noexcept nogil
cdef bint reads_asked(Reads* reads) noexcept nogil

# Reactor: what to hand to the protocol now, all of one kind, under this pointer as its number; or NULL.
cdef Read* reads_next(Reads* reads, bint leader_known, uint64_t now_ns) noexcept nogil
# Reactor: the protocol answered it.  True if the applying thread is to be woken.
cdef bint reads_answered(Reads* reads, const ReadReady* ready, uint64_t now_ns) noexcept nogil
# Reactor: when to look again; 0: nothing waits.
cdef uint64_t reads_deadline(const Reads* reads) noexcept nogil
# Reactor, or whoever stopped it: nothing will be confirmed any more.
cdef void reads_fail(Reads* reads, int status) noexcept nogil

# Applying thread: the next one that `applied` is enough for, or NULL; to be handed to reads_end.
cdef Read* reads_ready(Reads* reads, index_t applied) noexcept nogil
# Applying thread: its outcome can be seen from here on; who sleeps on it is woken by reads_wake.
cdef void reads_end(Reads* reads, Read* read, int status, ReadList* ended) noexcept nogil
cdef void reads_wake(ReadList* ended) noexcept nogil
# No thread may use them any more: what is left ends with `status`.
cdef void reads_close(Reads* reads, int status) noexcept nogil
