"""CRC32C in three ways, and the choice among them.

The processors' instruction has a latency of three cycles and a throughput of
one, so three independent chains run in the time of one.  Their results are
combined by moving a checksum over the bytes behind it, which is a
multiplication by a power of x modulo the polynomial (Gopal et al., "Fast CRC
Computation for iSCSI Polynomial Using CRC32 Instruction", Intel 2011).

Bits are reflected throughout: bit 31 of a checksum is the coefficient of x^0.
"""

from libc.stdint cimport uint32_t

cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>

    #define QL_CRC_POLYNOMIAL 0x82F63B78u
    #define QL_CRC_BLOCK_WORDS 512          /* of one chain: three of them fit into the first cache */
    #define QL_CRC_THREE_WAY_MIN_BYTES 128  /* below, one chain is as fast */

    static uint32_t ql_crc_table[8][256];

    /* [w]: x^(64 w - 33) mod P, which moves a checksum over w words (below). */
    static uint32_t ql_crc_shift[2 * QL_CRC_BLOCK_WORDS + 1];

    static inline uint64_t ql_crc_word(const uint8_t *p) { uint64_t x; memcpy(&x, p, 8); return x; }

    /* The functions named ql_crc_raw_* work without the inversion before and after. */

    static uint32_t ql_crc_raw_tables(uint32_t crc, const uint8_t *p, size_t n) {
        for (; n >= 8; p += 8, n -= 8) {
            uint64_t x = ql_crc_word(p) ^ crc;
            crc = ql_crc_table[7][x & 255] ^ ql_crc_table[6][(x >> 8) & 255]
                ^ ql_crc_table[5][(x >> 16) & 255] ^ ql_crc_table[4][(x >> 24) & 255]
                ^ ql_crc_table[3][(x >> 32) & 255] ^ ql_crc_table[2][(x >> 40) & 255]
                ^ ql_crc_table[1][(x >> 48) & 255] ^ ql_crc_table[0][x >> 56];
        }
        for (; n; p++, n--) crc = ql_crc_table[0][(crc ^ *p) & 255] ^ (crc >> 8);
        return crc;
    }

    static void ql_crc_make_tables(void) {
        uint8_t word[8];
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t crc = i;
            for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? QL_CRC_POLYNOMIAL : 0);
            ql_crc_table[0][i] = crc;
        }
        for (int t = 1; t < 8; t++)
            for (int i = 0; i < 256; i++)
                ql_crc_table[t][i] = (ql_crc_table[t - 1][i] >> 8)
                                   ^ ql_crc_table[0][ql_crc_table[t - 1][i] & 255];
        ql_crc_shift[1] = 1;                                   /* x^31 */
        for (int w = 1; w < 2 * QL_CRC_BLOCK_WORDS; w++) {     /* one word of nothing: times x^64 */
            memset(word, 0, 8);
            ql_crc_shift[w + 1] = ql_crc_raw_tables(ql_crc_shift[w], word, 8);
        }
    }

    /* The loop over three chains is the same on both processors; they differ in the names. */
    #define QL_CRC_THREE_WAY(WORD, MOVE, SERIAL) \\
        while (n >= QL_CRC_THREE_WAY_MIN_BYTES) { \\
            size_t words = n / 24 < QL_CRC_BLOCK_WORDS ? n / 24 : QL_CRC_BLOCK_WORDS; \\
            const uint8_t *q = p + 8 * words, *r = q + 8 * words, *end = q; \\
            uint64_t a = crc, b = 0, c = 0; \\
            for (; p != end; p += 8, q += 8, r += 8) { \\
                a = WORD(a, ql_crc_word(p)); \\
                b = WORD(b, ql_crc_word(q)); \\
                c = WORD(c, ql_crc_word(r)); \\
            } \\
            crc = MOVE((uint32_t)a, ql_crc_shift[2 * words]) \\
                ^ MOVE((uint32_t)b, ql_crc_shift[words]) ^ (uint32_t)c; \\
            p = r; \\
            n -= 24 * words; \\
        } \\
        return SERIAL(crc, p, n);

    #if defined(__x86_64__)
    #include <nmmintrin.h>
    #include <wmmintrin.h>

    __attribute__((target("sse4.2")))
    static inline uint32_t ql_crc_raw_serial(uint32_t crc, const uint8_t *p, size_t n) {
        uint64_t x = crc;
        for (; n >= 8; p += 8, n -= 8) x = _mm_crc32_u64(x, ql_crc_word(p));
        if (n & 4) { uint32_t v; memcpy(&v, p, 4); x = _mm_crc32_u32((uint32_t)x, v); p += 4; }
        if (n & 2) { uint16_t v; memcpy(&v, p, 2); x = _mm_crc32_u16((uint32_t)x, v); p += 2; }
        if (n & 1) x = _mm_crc32_u8((uint32_t)x, *p);
        return (uint32_t)x;
    }

    /* crc * shift, as 64 reflected bits, is crc * x^(64 w - 33) * x; the instruction
       brings x^32 more and reduces. */
    __attribute__((target("sse4.2,pclmul")))
    static inline uint32_t ql_crc_move(uint32_t crc, uint32_t shift) {
        __m128i product = _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)crc),
                                               _mm_cvtsi32_si128((int)shift), 0);
        return (uint32_t)_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
    }

    __attribute__((target("sse4.2,pclmul")))
    static uint32_t ql_crc_raw_three_way(uint32_t crc, const uint8_t *p, size_t n) {
        QL_CRC_THREE_WAY(_mm_crc32_u64, ql_crc_move, ql_crc_raw_serial)
    }

    static int ql_crc_has_serial(void) { return __builtin_cpu_supports("sse4.2") != 0; }
    static int ql_crc_has_three_way(void) {
        return ql_crc_has_serial() && __builtin_cpu_supports("pclmul") != 0;
    }
    static void ql_crc_look(void) { __builtin_cpu_init(); }

    #elif defined(__aarch64__)
    #include <sys/auxv.h>
    #ifndef HWCAP_CRC32
    #define HWCAP_CRC32 (1 << 7)
    #endif
    #ifndef HWCAP_PMULL
    #define HWCAP_PMULL (1 << 4)
    #endif

    /* As assembly, because the intrinsics need the whole file to be compiled for the extension. */
    static inline uint64_t ql_crc_arm_u64(uint64_t crc, uint64_t v) {
        uint32_t out;
        __asm__(".arch_extension crc\\n\\tcrc32cx %w0, %w1, %2" : "=r"(out) : "r"((uint32_t)crc), "r"(v));
        return out;
    }
    static inline uint32_t ql_crc_arm_u8(uint32_t crc, uint8_t v) {
        uint32_t out;
        __asm__(".arch_extension crc\\n\\tcrc32cb %w0, %w1, %w2" : "=r"(out) : "r"(crc), "r"((uint32_t)v));
        return out;
    }

    static inline uint32_t ql_crc_raw_serial(uint32_t crc, const uint8_t *p, size_t n) {
        for (; n >= 8; p += 8, n -= 8) crc = (uint32_t)ql_crc_arm_u64(crc, ql_crc_word(p));
        for (; n; p++, n--) crc = ql_crc_arm_u8(crc, *p);
        return crc;
    }

    static inline uint32_t ql_crc_move(uint32_t crc, uint32_t shift) {
        uint64_t product;
        __asm__(".arch_extension aes\\n\\t"
                "fmov d16, %1\\n\\tfmov d17, %2\\n\\tpmull v16.1q, v16.1d, v17.1d\\n\\tfmov %0, d16"
                : "=r"(product) : "r"((uint64_t)crc), "r"((uint64_t)shift) : "v16", "v17");
        return (uint32_t)ql_crc_arm_u64(0, product);
    }

    static uint32_t ql_crc_raw_three_way(uint32_t crc, const uint8_t *p, size_t n) {
        QL_CRC_THREE_WAY(ql_crc_arm_u64, ql_crc_move, ql_crc_raw_serial)
    }

    static int ql_crc_has_serial(void) { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }
    static int ql_crc_has_three_way(void) {
        return ql_crc_has_serial() && (getauxval(AT_HWCAP) & HWCAP_PMULL) != 0;
    }
    static void ql_crc_look(void) { }

    #else
    #define ql_crc_raw_serial ql_crc_raw_tables
    #define ql_crc_raw_three_way ql_crc_raw_tables
    static int ql_crc_has_serial(void) { return 0; }
    static int ql_crc_has_three_way(void) { return 0; }
    static void ql_crc_look(void) { }
    #endif

    typedef uint32_t (*ql_crc_function)(uint32_t, const uint8_t *, size_t);
    static ql_crc_function ql_crc_functions[3];     /* NULL: not on this processor */
    static ql_crc_function ql_crc_chosen;

    #if defined(__x86_64__)
    __attribute__((target("sse4.2")))
    #endif
    static uint32_t ql_crc_serial_out_of_line(uint32_t crc, const uint8_t *p, size_t n) {
        return ql_crc_raw_serial(crc, p, n);
    }

    static void ql_crc_choose(void) {
        ql_crc_make_tables();
        ql_crc_look();
        ql_crc_functions[0] = ql_crc_chosen = ql_crc_raw_tables;
        if (ql_crc_has_serial()) ql_crc_functions[1] = ql_crc_chosen = ql_crc_serial_out_of_line;
        if (ql_crc_has_three_way()) ql_crc_functions[2] = ql_crc_chosen = ql_crc_raw_three_way;
    }
    static inline uint32_t ql_crc_run(uint32_t crc, const void *p, size_t n) {
        return ~ql_crc_chosen(~crc, p, n);
    }
    static int ql_crc_has(int kind) { return kind >= 0 && kind < 3 && ql_crc_functions[kind] != NULL; }
    static uint32_t ql_crc_by(int kind, uint32_t crc, const void *p, size_t n) {
        return ql_crc_has(kind) ? ~ql_crc_functions[kind](~crc, p, n) : 0;
    }
    """
    void choose "ql_crc_choose"() noexcept nogil
    uint32_t run "ql_crc_run"(uint32_t crc, const void* data, size_t size) noexcept nogil
    bint has "ql_crc_has"(int kind) noexcept nogil
    uint32_t by "ql_crc_by"(int kind, uint32_t crc, const void* data, size_t size) noexcept nogil


cdef uint32_t crc32c(uint32_t crc, const void* data, size_t size) noexcept nogil:
    return run(crc, data, size)


cdef bint crc32c_has(int kind) noexcept nogil:
    return has(kind)


cdef uint32_t crc32c_by(int kind, uint32_t crc, const void* data, size_t size) noexcept nogil:
    return by(kind, crc, data, size)


choose()
