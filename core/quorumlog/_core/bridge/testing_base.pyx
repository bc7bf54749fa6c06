"""What the tests of base/ call."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from quorumlog._core.base.bytes cimport (
    Reader, Writer, read_bytes, read_u8, read_u16, read_u32, read_u64, reader_left, reader_open, round_up,
    write_bytes, write_u8, write_u16, write_u32, write_u64, write_zeros, writer_open,
)
from quorumlog._core.base.crc32c cimport (
    CRC32C_KINDS, CRC32C_SERIAL, CRC32C_TABLES, CRC32C_THREE_WAY, crc32c, crc32c_by, crc32c_has,
)
from quorumlog._core.base.prng cimport Prng, prng_below, prng_next, prng_seed
from quorumlog._core.base.rings cimport Ring, ring_close, ring_count, ring_open, ring_pop, ring_push
from quorumlog._core.base.sha256 cimport (
    HmacSha256, Sha256, hmac_add, hmac_finish, hmac_open, same_bytes, sha256_add, sha256_finish, sha256_open,
)

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t*, const void*, void* (*)(void*) noexcept nogil, void*)
    int pthread_join(pthread_t, void**)

cdef extern from "<sched.h>" nogil:
    int sched_yield()

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

    cdef int _i
    cdef int number = CRC32C_NAMES[kind]
    cdef uint32_t crc = 0
    started = time.perf_counter_ns()
    for _i in range(rounds):
        crc = crc32c_by(number, crc, &data[0], data.shape[0])
    return (time.perf_counter_ns() - started + (crc & 0)) / rounds


# --- SHA-256, HMAC --------------------------------------------------------------------------


def sha256_of(list pieces) -> bytes:
    cdef Sha256 sha
    cdef uint8_t[32] digest
    cdef const uint8_t[::1] piece
    sha256_open(&sha)
    for item in pieces:
        piece = item
        sha256_add(&sha, &piece[0] if piece.shape[0] else NULL, piece.shape[0])
    sha256_finish(&sha, digest)
    return (<char*>digest)[:32]


def hmac_of(bytes key, list pieces) -> tuple:
    """The code, and whether the state was wiped behind it."""
    cdef HmacSha256 state
    cdef uint8_t[32] digest
    cdef const uint8_t[::1] piece
    hmac_open(&state, <const char*>key, len(key))
    for item in pieces:
        piece = item
        hmac_add(&state, &piece[0] if piece.shape[0] else NULL, piece.shape[0])
    hmac_finish(&state, digest)
    wiped = not any((<char*>&state)[:sizeof(state)])
    return (<char*>digest)[:32], wiped


def same_bytes_of(bytes a, bytes b) -> bool:
    assert len(a) == len(b)
    return same_bytes(<const char*>a, <const char*>b, len(a))


# --- Cursors --------------------------------------------------------------------------------


def read_fields(bytes data, list steps) -> tuple:
    """Takes integers (1, 2, 4, 8) or ("bytes", n) in turn; also position and `failed` at the end.

    The reader works on a copy that ends where its allocation ends, so that a read past the end is
    seen by the address sanitizer.
    """
    cdef Reader reader
    cdef uint8_t* copy = <uint8_t*>malloc(len(data) or 1)
    cdef const uint8_t* piece
    cdef size_t count
    memcpy(copy, <const char*>data, len(data))
    reader_open(&reader, copy, len(data))
    found = []
    try:
        for step in steps:
            if step == 1:
                found.append(read_u8(&reader))
            elif step == 2:
                found.append(read_u16(&reader))
            elif step == 4:
                found.append(read_u32(&reader))
            elif step == 8:
                found.append(read_u64(&reader))
            else:
                count = step[1]
                piece = read_bytes(&reader, count)
                found.append(None if piece == NULL else (<const char*>piece)[:count])
        return found, reader.position, bool(reader.failed), reader_left(&reader)
    finally:
        free(copy)


def write_fields(size_t size, list steps) -> tuple:
    """Writes (1|2|4|8, integer), ("bytes", b) or ("zeros", n); what lies in the buffer and behind it."""
    cdef Writer writer
    cdef uint8_t* area = <uint8_t*>malloc(size + 16)
    memset(area, 0xEE, size + 16)
    writer_open(&writer, area, size)
    try:
        for what, value in steps:
            if what == 1:
                write_u8(&writer, value)
            elif what == 2:
                write_u16(&writer, value)
            elif what == 4:
                write_u32(&writer, value)
            elif what == 8:
                write_u64(&writer, value)
            elif what == "zeros":
                write_zeros(&writer, value)
            else:
                write_bytes(&writer, <const char*>(<bytes>value), len(value))
        return (<char*>area)[:size], (<char*>area)[size : size + 16], writer.position, bool(writer.failed)
    finally:
        free(area)


def round_up_of(uint64_t value, uint64_t multiple) -> int:
    return round_up(value, multiple)


# --- Generator ------------------------------------------------------------------------------


def prng_numbers(int count, seed=None, state=None) -> list:
    cdef Prng prng
    cdef int _i
    if state is None:
        prng_seed(&prng, seed)
    else:
        prng.s = state
    return [prng_next(&prng) for _i in range(count)]


def prng_numbers_below(uint64_t bound, int count, uint64_t seed) -> list:
    cdef Prng prng
    cdef int _i
    prng_seed(&prng, seed)
    return [prng_below(&prng, bound) for _i in range(count)]


# --- Rings ----------------------------------------------------------------------------------

cdef struct RingRun:
    Ring ring
    uint64_t count
    uint64_t refused


cdef void* push_all(void* argument) noexcept nogil:
    cdef RingRun* run = <RingRun*>argument
    cdef uint64_t i
    for i in range(1, run.count + 1):
        while not ring_push(&run.ring, <void*>i):
            run.refused += 1
            sched_yield()
    return NULL


def ring_between_threads(uint64_t capacity, uint64_t count) -> tuple:
    """One thread pushes 1..count, this one pops: (number out of order, items, most in it)."""
    cdef RingRun run
    cdef pthread_t thread
    cdef uint64_t wrong = 0, got = 0, most = 0
    cdef void* item
    memset(&run, 0, sizeof(run))
    run.count = count
    if not ring_open(&run.ring, capacity):
        raise MemoryError
    with nogil:
        pthread_create(&thread, NULL, push_all, &run)
        while got < count:
            most = max(most, ring_count(&run.ring))
            item = ring_pop(&run.ring)
            if item == NULL:
                sched_yield()
                continue
            got += 1
            if <uint64_t>item != got:
                wrong += 1
        pthread_join(thread, NULL)
    left = ring_pop(&run.ring) == NULL
    ring_close(&run.ring)
    return wrong, got, most, left


def ring_play(uint64_t capacity, list steps) -> list:
    """Integers are pushed (True or False), None pops (a number or None)."""
    cdef Ring ring
    cdef void* item
    if not ring_open(&ring, capacity):
        raise MemoryError
    said = []
    for step in steps:
        if step is None:
            item = ring_pop(&ring)
            said.append(None if item == NULL else <uint64_t>item)
        else:
            said.append(bool(ring_push(&ring, <void*><uint64_t>step)))
    said.append(ring_count(&ring))
    ring_close(&ring)
    return said
