"""CRC32C (Castagnoli), chosen at import time: three-way SSE4.2, ARMv8, or tables.

`crc32c(0, p, n)` is the checksum of p[0:n] as RFC 3720 section B.4 gives it, and
`crc32c(crc32c(0, a), b) == crc32c(0, a + b)`.  The dispatch pointer lives in this
module alone; other modules call through the imported function.
"""

from libc.stdint cimport uint8_t, uint32_t

cdef enum Crc32cKind:
    CRC32C_TABLES = 0
    CRC32C_SERIAL = 1          # one chain of the processor's instruction
    CRC32C_THREE_WAY = 2       # three chains, combined by carry-less multiplication
    CRC32C_KINDS = 3

cdef uint32_t crc32c(uint32_t crc, const void* data, size_t size) noexcept nogil
# For tests: which ways this processor has, and each of them.
cdef bint crc32c_has(int kind) noexcept nogil
cdef uint32_t crc32c_by(int kind, uint32_t crc, const void* data, size_t size) noexcept nogil
