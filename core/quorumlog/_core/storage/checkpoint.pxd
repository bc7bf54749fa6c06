"""Checkpoints: what begins every segment, so that the head of the log can go."""

from quorumlog._core.base.types cimport wsn_t
from quorumlog._core.storage.replay cimport Replay
from quorumlog._core.storage.state cimport Wal

from libc.stdint cimport uint8_t, uint32_t, uint64_t


# Size of the body that checkpoint_build would make now, a multiple of 8.
cdef uint64_t checkpoint_bytes(const Wal* wal) noexcept nogil
# The state of all groups as planned so far.
cdef void checkpoint_build(const Wal* wal, wsn_t flushed, uint8_t* body, uint64_t size) noexcept nogil
# A checkpoint is true for everything before it: brings the recovered groups in line with it.  False
# if its body makes no sense.  `boot` is that of the process that wrote it.
cdef bint checkpoint_replay(Replay* replay, const uint8_t* body, uint64_t size, wsn_t wsn,
                            uint64_t boot) noexcept nogil
