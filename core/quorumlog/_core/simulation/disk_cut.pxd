"""What a power cut leaves of a virtual disk: drawn, or chosen sector by sector."""

from quorumlog._core.base.prng cimport Prng
from quorumlog._core.simulation.disk cimport Disk

from libc.stdint cimport uint8_t, uint32_t, uint64_t

# One sector whose fate is open, or (sector == SIZE_FATE) a file's size.
cdef struct OpenFate:
    uint64_t inode
    uint64_t sector

cdef enum:
    SIZE_FATE = 0xFFFFFFFF

# Everything that is not durable is kept, lost or spoilt, each piece by itself; then nothing is pending.
# Descriptors are closed: the process died with the power.
cdef void disk_power_cut(Disk* disk, Prng* prng) noexcept nogil
# The open fates, in a fixed order; counts beyond `capacity` too.
cdef uint32_t disk_fates(const Disk* disk, OpenFate* fates, uint32_t capacity) noexcept nogil
# The same with the fates given (SectorFate each; kept or old for a size) in the order of disk_fates, and
# with the first `changes_kept` of the pending changes of names.  `garbage` is drawn from for spoilt sectors.
cdef void disk_cut_as(Disk* disk, const uint8_t* fates, uint32_t count, uint32_t changes_kept,
                      Prng* garbage) noexcept nogil
