"""Little-endian integers at unaligned addresses, and cursors that can't run out.

A `Reader` over its end sets `failed` and yields zeros, so a decoder reads all
its fields and asks once.  A `Writer` over its end sets `failed` and writes
nothing.  Header only.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef struct Reader:
    const uint8_t* data
    size_t size
    size_t position
    bint failed

cdef struct Writer:
    uint8_t* data
    size_t size
    size_t position
    bint failed

cdef extern from *:
    """
    #ifndef QUORUMLOG_BYTES
    #define QUORUMLOG_BYTES
    #include <stdint.h>
    #include <string.h>
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "quorumlog needs a little-endian machine"
    #endif
    static inline uint16_t ql_get_u16(const void *p) { uint16_t x; memcpy(&x, p, 2); return x; }
    static inline uint32_t ql_get_u32(const void *p) { uint32_t x; memcpy(&x, p, 4); return x; }
    static inline uint64_t ql_get_u64(const void *p) { uint64_t x; memcpy(&x, p, 8); return x; }
    static inline void ql_put_u16(void *p, uint16_t x) { memcpy(p, &x, 2); }
    static inline void ql_put_u32(void *p, uint32_t x) { memcpy(p, &x, 4); }
    static inline void ql_put_u64(void *p, uint64_t x) { memcpy(p, &x, 8); }
    #endif
    """
    uint16_t get_u16 "ql_get_u16"(const void*) noexcept nogil
    uint32_t get_u32 "ql_get_u32"(const void*) noexcept nogil
    uint64_t get_u64 "ql_get_u64"(const void*) noexcept nogil
    void put_u16 "ql_put_u16"(void*, uint16_t) noexcept nogil
    void put_u32 "ql_put_u32"(void*, uint32_t) noexcept nogil
    void put_u64 "ql_put_u64"(void*, uint64_t) noexcept nogil


cdef inline void reader_open(Reader* r, const void* data, size_t size) noexcept nogil:
    r.data = <const uint8_t*>data
    r.size = size
    r.position = 0
    r.failed = False


cdef inline size_t reader_left(const Reader* r) noexcept nogil:
    return r.size - r.position


cdef inline const uint8_t* read_bytes(Reader* r, size_t count) noexcept nogil:
    """The next `count` bytes, or NULL and `failed`."""
    if r.failed or count > r.size - r.position:
        r.failed = True
        return NULL
    r.position += count
    return r.data + r.position - count


cdef inline uint8_t read_u8(Reader* r) noexcept nogil:
    cdef const uint8_t* p = read_bytes(r, 1)
    return p[0] if p != NULL else 0


cdef inline uint16_t read_u16(Reader* r) noexcept nogil:
    cdef const uint8_t* p = read_bytes(r, 2)
    return get_u16(p) if p != NULL else 0


cdef inline uint32_t read_u32(Reader* r) noexcept nogil:
    cdef const uint8_t* p = read_bytes(r, 4)
    return get_u32(p) if p != NULL else 0


cdef inline uint64_t read_u64(Reader* r) noexcept nogil:
    cdef const uint8_t* p = read_bytes(r, 8)
    return get_u64(p) if p != NULL else 0


cdef inline void writer_open(Writer* w, void* data, size_t size) noexcept nogil:
    w.data = <uint8_t*>data
    w.size = size
    w.position = 0
    w.failed = False


cdef inline uint8_t* write_room(Writer* w, size_t count) noexcept nogil:
    """Where the next `count` bytes go, or NULL and `failed`."""
    if w.failed or count > w.size - w.position:
        w.failed = True
        return NULL
    w.position += count
    return w.data + w.position - count


cdef inline void write_bytes(Writer* w, const void* data, size_t count) noexcept nogil:
    cdef uint8_t* p = write_room(w, count)
    if p != NULL:
        memcpy(p, data, count)


cdef inline void write_zeros(Writer* w, size_t count) noexcept nogil:
    cdef uint8_t* p = write_room(w, count)
    if p != NULL:
        memset(p, 0, count)


cdef inline void write_u8(Writer* w, uint8_t x) noexcept nogil:
    cdef uint8_t* p = write_room(w, 1)
    if p != NULL:
        p[0] = x


cdef inline void write_u16(Writer* w, uint16_t x) noexcept nogil:
    cdef uint8_t* p = write_room(w, 2)
    if p != NULL:
        put_u16(p, x)


cdef inline void write_u32(Writer* w, uint32_t x) noexcept nogil:
    cdef uint8_t* p = write_room(w, 4)
    if p != NULL:
        put_u32(p, x)


cdef inline void write_u64(Writer* w, uint64_t x) noexcept nogil:
    cdef uint8_t* p = write_room(w, 8)
    if p != NULL:
        put_u64(p, x)


cdef inline uint64_t round_up(uint64_t value, uint64_t multiple) noexcept nogil:
    """`multiple` is a power of two."""
    return (value + multiple - 1) & ~(multiple - 1)
