"""The data directory's identity, lock, and what it remembers of its peers (docs/format.md 7)."""

from quorumlog._core.base.types cimport NODES_MAX, node_t
from quorumlog._core.storage.files cimport Files

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef struct Identity:
    uint8_t cluster[16]
    node_t node
    uint64_t incarnation           # random, never 0
    char name[64]
    uint8_t token[32]
    uint32_t token_bytes

cdef struct KnownPeers:
    uint32_t count
    node_t nodes[NODES_MAX * 4]
    uint64_t incarnations[NODES_MAX * 4]


cdef inline bint made_to_rejoin(uint64_t incarnation) noexcept nogil:
    """Bit 63: the directory of a node that lost its former one."""
    return (incarnation >> 63) != 0


# Believes another incarnation of a node from now on: OK, or ERR_USAGE (no room, or not made to rejoin).
cdef int peers_readmit(KnownPeers* peers, node_t node, uint64_t incarnation) noexcept nogil
# Makes the directory (0700) and its identity, all synced.  ERR_USAGE if one is there already.
cdef int identity_create(Files* files, const char* path, const Identity* identity) noexcept nogil
# ERR_NOT_FOUND: no identity here; ERR_CORRUPT.
cdef int identity_read(Files* files, const char* path, Identity* identity) noexcept nogil
# The exclusive lock: descriptor in *fd, or ERR_LOCKED, ERR_IO.
cdef int identity_lock(Files* files, const char* path, int* fd) noexcept nogil
cdef int peers_read(Files* files, const char* path, KnownPeers* peers) noexcept nogil     # none yet: count 0
cdef int peers_write(Files* files, const char* path, const KnownPeers* peers) noexcept nogil
