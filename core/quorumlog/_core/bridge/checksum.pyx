"""CRC32C for Python code that reads the log's files by itself (inspection, benchmarks' verification)."""

from quorumlog._core.base.crc32c cimport crc32c

from libc.stdint cimport uint8_t, uint32_t


def crc32c_of(const uint8_t[::1] data not None, uint32_t crc=0) -> int:
    """The CRC32C of a contiguous buffer; `crc` is that of the bytes before it."""
    cdef size_t size = <size_t>data.shape[0]
    if size:
        with nogil:
            crc = crc32c(crc, &data[0], size)
    return crc
