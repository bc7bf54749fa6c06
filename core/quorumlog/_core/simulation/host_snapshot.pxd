"""Snapshots of a simulated node: the product's files on the virtual disk, written and read as slowly as drawn.

Jobs are done one after the other, as by the product's snapshot thread; each may be hit by
a crash at any of its file calls.
"""

from quorumlog._core.base.types cimport index_t
from quorumlog._core.simulation.world_state cimport Host, World
from quorumlog._core.storage.wal cimport RecoveredGroup

# What a step wants: before its records are written, and after.
cdef void host_install(World* world, Host* host) noexcept nogil
cdef void host_take_pieces(World* world, Host* host) noexcept nogil
# A snapshot of what is applied now, unless there is one, or one is being made.  True if it was begun.
cdef bint host_begin_snapshot(World* world, Host* host) noexcept nogil
# The next job.
cdef void host_snapshot_job(World* world, Host* host) noexcept nogil

cdef void host_snapshot_open(Host* host) noexcept nogil

cdef enum Found:
    FOUND_GOOD = 1             # the state machine is where the newest good one says, or at the beginning
    FOUND_CUT_SHORT = 2        # a read failed
    FOUND_NONE = 3             # the log begins behind what is lost: one must come from a peer

# At the start: the state that applying begins with.  `first` is the log's.
cdef Found host_take_snapshot(World* world, Host* host, index_t first) noexcept nogil
# The process is gone, in the middle of whatever it did.
cdef void host_snapshot_stop(Host* host) noexcept nogil
