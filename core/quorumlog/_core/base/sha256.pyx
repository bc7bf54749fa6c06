"""SHA-256 and HMAC-SHA256, plainly: a handful of blocks per opened connection."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from quorumlog._core.base.checks cimport check

cdef extern from "<string.h>" nogil:
    void explicit_bzero(void* data, size_t size) noexcept

cdef extern from *:
    """
    #include <stdint.h>
    static const uint32_t ql_sha256_start[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    static const uint32_t ql_sha256_constants[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    static inline uint32_t ql_sha256_big(const uint8_t *p) {
        return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    }
    """
    const uint32_t[8] START "ql_sha256_start"
    const uint32_t[64] CONSTANTS "ql_sha256_constants"
    uint32_t get_big "ql_sha256_big"(const uint8_t*) noexcept nogil


cdef inline uint32_t rotate_right(uint32_t x, int count) noexcept nogil:
    return (x >> count) | (x << (32 - count))


cdef inline void put_big(uint8_t* p, uint32_t x) noexcept nogil:
    p[0] = <uint8_t>(x >> 24)
    p[1] = <uint8_t>(x >> 16)
    p[2] = <uint8_t>(x >> 8)
    p[3] = <uint8_t>x


cdef void spread(uint32_t* w, const uint8_t* block) noexcept nogil:
    """The message schedule (FIPS 180-4, 6.2.2 step 1)."""
    cdef int t
    cdef uint32_t s0, s1
    for t in range(16):
        w[t] = get_big(block + 4 * t)
    for t in range(16, 64):
        s0 = rotate_right(w[t - 15], 7) ^ rotate_right(w[t - 15], 18) ^ (w[t - 15] >> 3)
        s1 = rotate_right(w[t - 2], 17) ^ rotate_right(w[t - 2], 19) ^ (w[t - 2] >> 10)
        w[t] = w[t - 16] + s0 + w[t - 7] + s1


cdef void mix(uint32_t* state, const uint8_t* block) noexcept nogil:
    """One block (FIPS 180-4, 6.2.2 steps 2 to 4)."""
    cdef uint32_t[64] w
    cdef uint32_t[8] v
    cdef uint32_t s0, s1, choice, majority, first, second
    cdef int t, i
    spread(w, block)
    memcpy(v, state, 32)
    for t in range(64):
        s1 = rotate_right(v[4], 6) ^ rotate_right(v[4], 11) ^ rotate_right(v[4], 25)
        choice = (v[4] & v[5]) ^ (~v[4] & v[6])
        first = v[7] + s1 + choice + CONSTANTS[t] + w[t]
        s0 = rotate_right(v[0], 2) ^ rotate_right(v[0], 13) ^ rotate_right(v[0], 22)
        majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2])
        second = s0 + majority
        v[7] = v[6]
        v[6] = v[5]
        v[5] = v[4]
        v[4] = v[3] + first
        v[3] = v[2]
        v[2] = v[1]
        v[1] = v[0]
        v[0] = first + second
    for i in range(8):
        state[i] += v[i]
    explicit_bzero(w, sizeof(w))          # the schedule of a keyed block gives the key away


cdef void sha256_open(Sha256* sha) noexcept nogil:
    memcpy(sha.state, START, 32)
    sha.size_bytes = 0


cdef void sha256_add(Sha256* sha, const void* data, size_t size) noexcept nogil:
    cdef const uint8_t* p = <const uint8_t*>data
    cdef size_t held = sha.size_bytes % SHA256_BLOCK_BYTES
    cdef size_t step
    if size == 0:
        return                                    # `data` may be NULL, which memcpy must never see
    sha.size_bytes += size
    if held:
        step = min(size, SHA256_BLOCK_BYTES - held)
        memcpy(sha.block + held, p, step)
        p += step
        size -= step
        if held + step < SHA256_BLOCK_BYTES:
            return
        mix(sha.state, sha.block)
    while size >= SHA256_BLOCK_BYTES:
        mix(sha.state, p)
        p += SHA256_BLOCK_BYTES
        size -= SHA256_BLOCK_BYTES
    if size:
        memcpy(sha.block, p, size)


cdef void sha256_finish(Sha256* sha, uint8_t* digest) noexcept nogil:
    cdef uint64_t bits = sha.size_bytes * 8
    cdef size_t held = sha.size_bytes % SHA256_BLOCK_BYTES
    cdef int i
    check(sha.size_bytes < (<uint64_t>1 << 61), b"Q-SHA-01 a message fits the length that is mixed in")
    sha.block[held] = 0x80
    memset(sha.block + held + 1, 0, SHA256_BLOCK_BYTES - held - 1)
    if held + 1 > SHA256_BLOCK_BYTES - 8:         # no room left for the length
        mix(sha.state, sha.block)
        memset(sha.block, 0, SHA256_BLOCK_BYTES)
    put_big(sha.block + 56, <uint32_t>(bits >> 32))
    put_big(sha.block + 60, <uint32_t>bits)
    mix(sha.state, sha.block)
    for i in range(8):
        put_big(digest + 4 * i, sha.state[i])


cdef void hmac_open(HmacSha256* hmac, const void* key, size_t key_size) noexcept nogil:
    cdef uint8_t[64] block
    cdef int i
    memset(block, 0, SHA256_BLOCK_BYTES)
    if key_size > SHA256_BLOCK_BYTES:             # RFC 2104: longer keys are hashed first
        sha256_open(&hmac.inner)
        sha256_add(&hmac.inner, key, key_size)
        sha256_finish(&hmac.inner, block)
    elif key_size:
        memcpy(block, key, key_size)
    for i in range(SHA256_BLOCK_BYTES):
        block[i] ^= 0x36
    sha256_open(&hmac.inner)
    sha256_add(&hmac.inner, block, SHA256_BLOCK_BYTES)
    for i in range(SHA256_BLOCK_BYTES):
        block[i] ^= 0x36 ^ 0x5C
    sha256_open(&hmac.outer)
    sha256_add(&hmac.outer, block, SHA256_BLOCK_BYTES)
    explicit_bzero(block, sizeof(block))


cdef void hmac_add(HmacSha256* hmac, const void* data, size_t size) noexcept nogil:
    sha256_add(&hmac.inner, data, size)


cdef void hmac_finish(HmacSha256* hmac, uint8_t* digest) noexcept nogil:
    cdef uint8_t[32] inner
    sha256_finish(&hmac.inner, inner)
    sha256_add(&hmac.outer, inner, SHA256_BYTES)
    sha256_finish(&hmac.outer, digest)
    explicit_bzero(hmac, sizeof(HmacSha256))


cdef bint same_bytes(const void* a, const void* b, size_t size) noexcept nogil:
    cdef const volatile uint8_t* p = <const volatile uint8_t*>a
    cdef const volatile uint8_t* q = <const volatile uint8_t*>b
    cdef uint8_t difference = 0
    cdef size_t i
    for i in range(size):
        difference |= p[i] ^ q[i]
    return difference == 0


cdef void wipe_bytes(void* data, size_t size) noexcept nogil:
    explicit_bzero(data, size)
