"""What the tests of storage/identity call, over the operating system's files."""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, memset

from quorumlog._core.storage.files cimport Files, iovec, system_files
from quorumlog._core.storage.identity cimport (
    Identity, KnownPeers, identity_create, identity_lock, identity_read, peers_read, peers_write,
)


# The error that the failing calls below return; tests run one after another.
cdef int failing_error = 0


cdef int64_t fail_write(void* self, int fd, const iovec* parts, int count, uint64_t offset) noexcept nogil:
    return -failing_error


cdef int fail_sync(void* self, int fd) noexcept nogil:
    return -failing_error


cdef int fail_name(void* self, const char* path) noexcept nogil:
    return -failing_error


cdef int fail_rename(void* self, const char* source, const char* target) noexcept nogil:
    return -failing_error


cdef Files files_with(tuple failing, int error):
    """The system's calls, of which those named fail."""
    global failing_error
    cdef Files files = system_files()[0]
    failing_error = error
    if "write" in failing:
        files.write = fail_write
    if "sync" in failing:
        files.sync = fail_sync
    if "sync_directory" in failing:
        files.sync_directory = fail_name
    if "rename" in failing:
        files.rename = fail_rename
    return files


def create(bytes path, bytes cluster, uint64_t node, uint64_t incarnation, bytes name, bytes token,
           tuple failing=(), int error=0) -> int:
    cdef Identity identity
    cdef Files files = files_with(failing, error)
    memset(&identity, 0, sizeof(identity))
    memcpy(identity.cluster, <const char*>cluster, 16)
    identity.node = node
    identity.incarnation = incarnation
    memcpy(identity.name, <const char*>name, min(len(name), 64))
    identity.token_bytes = len(token)
    memcpy(identity.token, <const char*>token, min(len(token), 32))
    return identity_create(&files, path, &identity)


def read(bytes path) -> tuple:
    """(status, cluster, node, incarnation, name, token)"""
    cdef Identity identity
    status = identity_read(system_files(), path, &identity)
    return (
        status, (<char*>identity.cluster)[:16], identity.node, identity.incarnation, <bytes>identity.name,
        (<char*>identity.token)[: identity.token_bytes],
    )


def lock(bytes path) -> tuple:
    cdef int fd
    status = identity_lock(system_files(), path, &fd)
    return status, fd


def unlock(int fd) -> int:
    cdef Files* files = system_files()
    return files.close(files.self, fd)


def read_peers(bytes path) -> tuple:
    cdef KnownPeers peers
    status = peers_read(system_files(), path, &peers)
    return status, {peers.nodes[i]: peers.incarnations[i] for i in range(peers.count)}


def write_peers(bytes path, list known, tuple failing=(), int error=0) -> int:
    cdef KnownPeers peers
    cdef Files files = files_with(failing, error)
    memset(&peers, 0, sizeof(peers))
    peers.count = len(known)
    for i, (node, incarnation) in enumerate(known[:64]):
        peers.nodes[i], peers.incarnations[i] = node, incarnation
    return peers_write(&files, path, &peers)
