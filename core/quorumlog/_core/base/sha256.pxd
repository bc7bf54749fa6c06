"""SHA-256 (FIPS 180-4) and HMAC-SHA256 (RFC 2104), for the opening handshake alone.

Written here because the reactor's thread may not ask hashlib: that needs the GIL.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    SHA256_BYTES = 32
    SHA256_BLOCK_BYTES = 64

cdef struct Sha256:
    uint32_t state[8]
    uint8_t block[SHA256_BLOCK_BYTES]
    uint64_t size_bytes

cdef struct HmacSha256:
    Sha256 inner
    Sha256 outer


cdef void sha256_open(Sha256* sha) noexcept nogil
cdef void sha256_add(Sha256* sha, const void* data, size_t size) noexcept nogil
cdef void sha256_finish(Sha256* sha, uint8_t* digest) noexcept nogil

cdef void hmac_open(HmacSha256* hmac, const void* key, size_t key_size) noexcept nogil
cdef void hmac_add(HmacSha256* hmac, const void* data, size_t size) noexcept nogil
# 32 bytes; the key's traces in `hmac` are wiped.
cdef void hmac_finish(HmacSha256* hmac, uint8_t* digest) noexcept nogil

# Takes the same time wherever the first difference lies.
cdef bint same_bytes(const void* a, const void* b, size_t size) noexcept nogil
# memset that the compiler may not leave out.
cdef void wipe_bytes(void* data, size_t size) noexcept nogil
