"""What the tests of base/ call."""

from libc.stdint cimport uint8_t, uint32_t

from quorumlog._core.base.crc32c cimport (
    CRC32C_KINDS, CRC32C_SERIAL, CRC32C_TABLES, CRC32C_THREE_WAY, crc32c, crc32c_by, crc32c_has,
)

CRC32C_NAMES = {"tables": CRC32C_TABLES, "serial": CRC32C_SERIAL, "three-way": CRC32C_THREE_WAY}


def crc32c_kinds() -> list:
    """Names of the implementations that this processor can run."""
    return [name for name, kind in CRC32C_NAMES.items() if kind < CRC32C_KINDS and crc32c_has(kind)]


def crc32c_of(const uint8_t[::1] data, uint32_t crc=0, str kind=None) -> int:
    """By the chosen implementation, or by the one named."""
    cdef const void* start = &data[0] if data.shape[0] else NULL
    cdef int number
    if kind is None:
        return crc32c(crc, start, data.shape[0])
    number = CRC32C_NAMES[kind]
    return crc32c_by(number, crc, start, data.shape[0])


def crc32c_ns_per_call(const uint8_t[::1] data, int rounds, str kind="three-way") -> float:
    """For a look at the speed, never for an assertion."""
    import time

    cdef int i
    cdef int number = CRC32C_NAMES[kind]
    cdef uint32_t crc = 0
    started = time.perf_counter_ns()
    for i in range(rounds):
        crc = crc32c_by(number, crc, &data[0], data.shape[0])
    return (time.perf_counter_ns() - started + (crc & 0)) / rounds
