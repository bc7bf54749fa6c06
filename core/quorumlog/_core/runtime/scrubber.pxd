"""The thread that scrubs a node's log at a set rate, behind everybody else; see storage/scrub.

It begins with the node, reads what is sealed at `bytes_per_s`, then waits: for newly sealed segments, for
scrubber_wanted, or an hour, after which all is read again.  What it finds waits in a small
ring for the reactor; while that is full it stands still.
"""

from quorumlog._core.base.atomics cimport atomic_u32, atomic_u64
from quorumlog._core.runtime.threads cimport thread_t
from quorumlog._core.storage.scrub cimport Scrub, ScrubFault
from quorumlog._core.storage.wal cimport Wal

from libc.stdint cimport uint64_t

cdef enum:
    SCRUB_FOUND_MAX = 64

ctypedef void (*ScrubWake)(void* context) noexcept nogil

cdef struct Scrubber:
    Scrub scrub
    thread_t thread
    bint started
    uint64_t bytes_per_s
    ScrubWake wake
    void* context
    atomic_u32 signal              # futex word: rises with each request, and to stop
    atomic_u32 stopping
    atomic_u64 scrubbed_bytes
    atomic_u64 passes              # of all that was sealed
    ScrubFault found[SCRUB_FOUND_MAX]
    atomic_u32 found_count         # written, modulo 2^32
    atomic_u32 taken_count


# bytes_per_s 0: no thread, and nothing is scrubbed.  `wake` is called by the thread when it found something.
cdef int scrubber_start(Scrubber* scrubber, Wal* wal, uint64_t bytes_per_s, ScrubWake wake,
                        void* context) noexcept nogil
cdef void scrubber_stop(Scrubber* scrubber) noexcept nogil
# A new pass now.  Any thread.
cdef void scrubber_wanted(Scrubber* scrubber) noexcept nogil
# The reactor: what was found next.
cdef bint scrubber_found(Scrubber* scrubber, ScrubFault* fault) noexcept nogil
cdef bint scrubber_waits(Scrubber* scrubber) noexcept nogil
