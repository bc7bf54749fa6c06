"""The data directory's identity, for `Node.create` and `quorumlog init`."""

from quorumlog._core.base.status cimport OK
from quorumlog._core.bridge.errors cimport simple_error
from quorumlog._core.storage.files cimport system_files
from quorumlog._core.storage.identity cimport (
    Identity, KnownPeers, identity_create, identity_lock, identity_read, peers_read, peers_readmit, peers_write)

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset, strncpy

import os

from quorumlog import errors


def create(path, bytes name, uint64_t node, bytes cluster, bytes token, uint64_t incarnation):
    """Makes the directory and its identity; both are durable when this returns."""
    cdef Identity identity
    cdef bytes where = os.fsencode(path)
    cdef int status
    if len(cluster) != 16 or len(token) != 32 or not 1 <= len(name) <= 63 or incarnation == 0 or node == 0:
        raise errors.UsageError("create: a 16-byte cluster, 32-byte token, a name of 1 to 63 bytes and non-zero ids")
    memset(&identity, 0, sizeof(Identity))
    memcpy(identity.cluster, <const char*>cluster, 16)
    memcpy(identity.token, <const char*>token, 32)
    identity.token_bytes = 32
    identity.node = node
    identity.incarnation = incarnation
    strncpy(identity.name, name, 63)
    status = identity_create(system_files(), where, &identity)
    if status != OK:
        raise simple_error(status, f"create {path}")


def readmit(path, uint64_t node, uint64_t incarnation):
    """Believes another incarnation of a peer, in the directory of a node that is not running; durable."""
    cdef KnownPeers peers
    cdef bytes where = os.fsencode(path)
    cdef int lock_fd = -1
    cdef int status = identity_lock(system_files(), where, &lock_fd)
    if status != OK:
        raise simple_error(status, f"readmit in {path}")
    try:
        status = peers_read(system_files(), where, &peers)
        if status == OK:
            status = peers_readmit(&peers, node, incarnation)
        if status == OK:
            status = peers_write(system_files(), where, &peers)
    finally:
        os.close(lock_fd)
    if status != OK:
        raise simple_error(status, f"readmit in {path}")


def identity_of(path):
    """(name, node id, cluster uuid bytes, incarnation) of a data directory, or None if it has no identity."""
    cdef Identity identity
    cdef bytes where = os.fsencode(path)
    if not os.path.exists(os.path.join(path, "identity")):
        return None
    cdef int status = identity_read(system_files(), where, &identity)
    if status != OK:
        raise simple_error(status, f"identity of {path}")
    return (identity.name.decode(), identity.node, identity.cluster[:16], identity.incarnation)
