"""A seeded generator: xoshiro256** (Blackman and Vigna 2018), seeded by splitmix64.

Protocols and the simulation draw from one that is handed to them, and from
nothing else.  Header only.
"""

from libc.stdint cimport uint64_t

cdef struct Prng:
    uint64_t s[4]


cdef inline uint64_t splitmix64(uint64_t* state) noexcept nogil:
    state[0] += 0x9E3779B97F4A7C15ULL
    cdef uint64_t z = state[0]
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL
    return z ^ (z >> 31)


cdef inline void prng_seed(Prng* p, uint64_t seed) noexcept nogil:
    cdef uint64_t state = seed
    cdef int i
    for i in range(4):
        p.s[i] = splitmix64(&state)


cdef inline uint64_t rotate_left(uint64_t x, int k) noexcept nogil:
    return (x << k) | (x >> (64 - k))


cdef inline uint64_t prng_next(Prng* p) noexcept nogil:
    cdef uint64_t result = rotate_left(p.s[1] * 5, 7) * 9
    cdef uint64_t t = p.s[1] << 17
    p.s[2] ^= p.s[0]
    p.s[3] ^= p.s[1]
    p.s[1] ^= p.s[2]
    p.s[0] ^= p.s[3]
    p.s[2] ^= t
    p.s[3] = rotate_left(p.s[3], 45)
    return result


cdef inline uint64_t prng_below(Prng* p, uint64_t bound) noexcept nogil:
    """Uniform in [0, bound), by Lemire's multiply; bound >= 1."""
    cdef uint64_t x = prng_next(p) >> 32
    if bound <= 0xFFFFFFFFULL:
        return (x * bound) >> 32
    return prng_next(p) % bound      # the bias is below 2**-20 for all bounds used


cdef inline bint prng_chance(Prng* p, uint64_t numerator, uint64_t denominator) noexcept nogil:
    return prng_below(p, denominator) < numerator
