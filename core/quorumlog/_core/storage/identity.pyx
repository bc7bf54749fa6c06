"""The small files beside the log: identity, lock, peers (docs/format.md 7).

All three are tiny, so they are encoded in one buffer on the stack and written
with one call.  Buffers that held the token are wiped.
"""

from libc.errno cimport EAGAIN, EEXIST
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcpy, memset, strlen

from quorumlog._core.base.bytes cimport (
    Reader, Writer, read_bytes, read_u8, read_u32, read_u64, reader_open, write_bytes, write_u8, write_u32,
    write_u64, write_zeros, writer_open,
)
from quorumlog._core.base.checks cimport check
from quorumlog._core.base.crc32c cimport crc32c
from quorumlog._core.base.sha256 cimport wipe_bytes
from quorumlog._core.base.status cimport (
    ERR_CORRUPT, ERR_LOCKED, ERR_NOT_FOUND, ERR_USAGE, OK,
)
from quorumlog._core.storage.files cimport Files
from quorumlog._core.storage.whole cimport file_status, join_path, whole_new, whole_read, whole_replace

cdef enum:
    VERSION = 1
    IDENTITY_MAGIC = 0x44494C51       # QLID
    PEERS_MAGIC = 0x49504C51          # QLPI
    IDENTITY_FILE_BYTES = 4096
    IDENTITY_USED_BYTES = 144
    NAME_BYTES_MAX = 63
    TOKEN_BYTES_MAX = 32
    PEERS_HEADER_BYTES = 16
    PEERS_MAX = NODES_MAX * 4
    PEERS_FILE_BYTES_MAX = PEERS_HEADER_BYTES + 16 * PEERS_MAX
    PATH_BYTES_MAX = 4096


cdef bint parent_path(char* out, const char* path) noexcept nogil:
    cdef size_t size = strlen(path)
    if size == 0 or size >= PATH_BYTES_MAX:
        return False
    memcpy(out, path, size + 1)
    while size > 1 and out[size - 1] == b'/':
        size -= 1
    while size > 0 and out[size - 1] != b'/':
        size -= 1
    while size > 1 and out[size - 1] == b'/':
        size -= 1
    if size == 0:
        out[0] = b'.'
        size = 1
    out[size] = 0
    return True


cdef bint all_zero(const uint8_t* data, size_t size) noexcept nogil:
    cdef uint8_t seen = 0
    cdef size_t i
    for i in range(size):
        seen |= data[i]
    return seen == 0


# --- Identity -------------------------------------------------------------------------------


cdef bint identity_usable(const Identity* identity) noexcept nogil:
    return (
        identity.node != 0 and identity.incarnation != 0 and identity.token_bytes <= TOKEN_BYTES_MAX
        and memchr(identity.name, 0, NAME_BYTES_MAX + 1) != NULL
    )


cdef void identity_encode(const Identity* identity, uint8_t* file) noexcept nogil:
    cdef Writer w
    cdef size_t name_bytes = strlen(identity.name)
    writer_open(&w, file, IDENTITY_FILE_BYTES)
    write_u32(&w, 0)
    write_u32(&w, IDENTITY_MAGIC)
    write_u32(&w, VERSION)
    write_u32(&w, identity.token_bytes)
    write_bytes(&w, identity.cluster, 16)
    write_u64(&w, identity.node)
    write_u64(&w, identity.incarnation)
    write_u8(&w, <uint8_t>name_bytes)
    write_bytes(&w, identity.name, name_bytes)
    write_zeros(&w, NAME_BYTES_MAX - name_bytes)
    write_bytes(&w, identity.token, identity.token_bytes)
    write_zeros(&w, TOKEN_BYTES_MAX - identity.token_bytes)
    check(w.position == IDENTITY_USED_BYTES, b"Q-IDENTITY-01 the identity's fields fill 144 bytes")
    write_zeros(&w, IDENTITY_FILE_BYTES - IDENTITY_USED_BYTES)
    w.position = 0
    write_u32(&w, crc32c(0, file + 4, IDENTITY_FILE_BYTES - 4))
    check(not w.failed, b"Q-IDENTITY-02 an identity fits its file")


cdef int identity_decode(const uint8_t* file, Identity* identity) noexcept nogil:
    cdef Reader r
    cdef const uint8_t* name
    cdef const uint8_t* token
    cdef uint32_t crc, magic, version
    cdef uint8_t name_bytes
    reader_open(&r, file, IDENTITY_FILE_BYTES)
    crc = read_u32(&r)
    if crc != crc32c(0, file + 4, IDENTITY_FILE_BYTES - 4):
        return ERR_CORRUPT
    magic = read_u32(&r)
    version = read_u32(&r)
    identity.token_bytes = read_u32(&r)
    memcpy(identity.cluster, read_bytes(&r, 16), 16)
    identity.node = read_u64(&r)
    identity.incarnation = read_u64(&r)
    name_bytes = read_u8(&r)
    name = read_bytes(&r, NAME_BYTES_MAX)
    token = read_bytes(&r, TOKEN_BYTES_MAX)
    if magic != IDENTITY_MAGIC or version != VERSION or name_bytes > NAME_BYTES_MAX:
        return ERR_CORRUPT
    memcpy(identity.name, name, name_bytes)
    memcpy(identity.token, token, TOKEN_BYTES_MAX)
    if not identity_usable(identity) or strlen(identity.name) != name_bytes:
        return ERR_CORRUPT
    if not (all_zero(name + name_bytes, NAME_BYTES_MAX - name_bytes)
            and all_zero(token + identity.token_bytes, TOKEN_BYTES_MAX - identity.token_bytes)
            and all_zero(file + IDENTITY_USED_BYTES, IDENTITY_FILE_BYTES - IDENTITY_USED_BYTES)):
        return ERR_CORRUPT
    return OK


cdef int identity_create(Files* files, const char* path, const Identity* identity) noexcept nogil:
    cdef char[PATH_BYTES_MAX] name
    cdef uint8_t[IDENTITY_FILE_BYTES] file
    cdef int result
    if not identity_usable(identity) or not parent_path(name, path):
        return ERR_USAGE
    result = files.make_directory(files.self, path)
    if result < 0 and result != -EEXIST:
        return file_status(result)
    # Also when it was there: whoever made it may have crashed before the name was durable.
    result = files.sync_directory(files.self, name)
    if result < 0:
        return file_status(result)
    if not join_path(name, path, b"identity"):
        return ERR_USAGE
    identity_encode(identity, file)
    result = whole_new(files, name, file, IDENTITY_FILE_BYTES)
    wipe_bytes(file, IDENTITY_FILE_BYTES)
    if result != OK:
        return result
    result = files.sync_directory(files.self, path)
    return OK if result >= 0 else file_status(result)


cdef int identity_read(Files* files, const char* path, Identity* identity) noexcept nogil:
    cdef char[PATH_BYTES_MAX] name
    cdef uint8_t[IDENTITY_FILE_BYTES] file
    cdef size_t size = 0
    cdef int result
    memset(identity, 0, sizeof(Identity))
    if not join_path(name, path, b"identity"):
        return ERR_USAGE
    result = whole_read(files, name, file, IDENTITY_FILE_BYTES, &size)
    if result == OK:
        result = identity_decode(file, identity) if size == IDENTITY_FILE_BYTES else ERR_CORRUPT
    wipe_bytes(file, IDENTITY_FILE_BYTES)
    if result != OK:
        wipe_bytes(identity, sizeof(Identity))
    return result


cdef int identity_lock(Files* files, const char* path, int* fd) noexcept nogil:
    cdef char[PATH_BYTES_MAX] name
    fd[0] = -1
    if not join_path(name, path, b"lock"):
        return ERR_USAGE
    fd[0] = files.lock(files.self, name)
    if fd[0] >= 0:
        return OK
    return ERR_LOCKED if fd[0] == -EAGAIN else file_status(fd[0])


# --- Peers ----------------------------------------------------------------------------------


cdef bint peers_usable(const KnownPeers* peers) noexcept nogil:
    cdef uint32_t i, j
    if peers.count > PEERS_MAX:
        return False
    for i in range(peers.count):
        if peers.nodes[i] == 0 or peers.incarnations[i] == 0:
            return False
        for j in range(i):
            if peers.nodes[j] == peers.nodes[i]:
                return False
    return True


cdef int peers_decode(const uint8_t* file, size_t size, KnownPeers* peers) noexcept nogil:
    cdef Reader r
    cdef uint32_t crc, i
    if size < PEERS_HEADER_BYTES:
        return ERR_CORRUPT
    reader_open(&r, file, size)
    crc = read_u32(&r)
    if crc != crc32c(0, file + 4, size - 4) or read_u32(&r) != PEERS_MAGIC or read_u32(&r) != VERSION:
        return ERR_CORRUPT
    peers.count = read_u32(&r)
    if peers.count > PEERS_MAX or size != PEERS_HEADER_BYTES + 16 * <size_t>peers.count:
        return ERR_CORRUPT
    for i in range(peers.count):
        peers.nodes[i] = read_u64(&r)
        peers.incarnations[i] = read_u64(&r)
    return OK if peers_usable(peers) and not r.failed else ERR_CORRUPT


cdef int peers_read(Files* files, const char* path, KnownPeers* peers) noexcept nogil:
    cdef char[PATH_BYTES_MAX] name
    cdef uint8_t[PEERS_FILE_BYTES_MAX] file
    cdef size_t size = 0
    cdef int result
    memset(peers, 0, sizeof(KnownPeers))
    if not join_path(name, path, b"peers"):
        return ERR_USAGE
    result = whole_read(files, name, file, PEERS_FILE_BYTES_MAX, &size)
    if result == ERR_NOT_FOUND:
        return OK
    if result == OK:
        result = peers_decode(file, size, peers)
    if result != OK:
        memset(peers, 0, sizeof(KnownPeers))
    return result


cdef int peers_readmit(KnownPeers* peers, node_t node, uint64_t incarnation) noexcept nogil:
    cdef uint32_t i = 0
    if node == 0 or not made_to_rejoin(incarnation):
        return ERR_USAGE
    while i < peers.count and peers.nodes[i] != node:
        i += 1
    if i == PEERS_MAX:
        return ERR_USAGE
    peers.nodes[i] = node
    peers.incarnations[i] = incarnation
    peers.count = max(peers.count, i + 1)
    return OK


cdef int peers_write(Files* files, const char* path, const KnownPeers* peers) noexcept nogil:
    cdef uint8_t[PEERS_FILE_BYTES_MAX] file
    cdef Writer w
    cdef uint32_t i
    cdef size_t size
    if not peers_usable(peers):
        return ERR_USAGE
    writer_open(&w, file, PEERS_FILE_BYTES_MAX)
    write_u32(&w, 0)
    write_u32(&w, PEERS_MAGIC)
    write_u32(&w, VERSION)
    write_u32(&w, peers.count)
    for i in range(peers.count):
        write_u64(&w, peers.nodes[i])
        write_u64(&w, peers.incarnations[i])
    size = w.position
    w.position = 0
    write_u32(&w, crc32c(0, file + 4, size - 4))
    check(not w.failed, b"Q-IDENTITY-03 the known peers fit their file")
    return whole_replace(files, path, b"peers", b"peers.tmp", file, size)
