/* CRC32C for the limit program: three interleaved streams of the processor's own instruction where it
 * has one, a table otherwise.  The core has its own (base/crc32c); this file shares nothing with it on
 * purpose, so that the limit is measured against something written without it. */
#ifndef LIMIT_CRC32C_H
#define LIMIT_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#define CRC_TARGET __attribute__((target("sse4.2")))
#define CRC_WORD(crc, word) _mm_crc32_u64((crc), (word))
#define CRC_BYTE(crc, byte) _mm_crc32_u8((uint32_t)(crc), (byte))
#define CRC_HARDWARE() __builtin_cpu_supports("sse4.2")
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define CRC_TARGET
#define CRC_WORD(crc, word) __crc32cd((uint32_t)(crc), (word))
#define CRC_BYTE(crc, byte) __crc32cb((uint32_t)(crc), (byte))
#define CRC_HARDWARE() 1
#endif

#define CRC_STREAM_BYTES 2048        /* of each of the three streams */

static uint32_t crc_table[256];
static uint32_t crc_behind[4][256];  /* moves a state over CRC_STREAM_BYTES zeros, a byte at a time */
static int crc_hardware;

static uint32_t crc_zeros(uint32_t state, size_t bytes)
{
    while (bytes--)
        state = crc_table[state & 0xff] ^ (state >> 8);
    return state;
}

static void crc32c_init(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t state = byte;
        for (int bit = 0; bit < 8; bit++)
            state = (state >> 1) ^ (state & 1 ? 0x82f63b78u : 0);
        crc_table[byte] = state;
    }
    /* The state after zeros is linear in the state before: 32 columns give all of it. */
    uint32_t column[32];
    for (int bit = 0; bit < 32; bit++)
        column[bit] = crc_zeros(1u << bit, CRC_STREAM_BYTES);
    for (int place = 0; place < 4; place++)
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t state = 0;
            for (int bit = 0; bit < 8; bit++)
                if (byte >> bit & 1)
                    state ^= column[8 * place + bit];
            crc_behind[place][byte] = state;
        }
#ifdef CRC_HARDWARE
    crc_hardware = CRC_HARDWARE();
#endif
}

static inline uint32_t crc_move(uint32_t state)
{
    return crc_behind[0][state & 0xff] ^ crc_behind[1][state >> 8 & 0xff] ^
           crc_behind[2][state >> 16 & 0xff] ^ crc_behind[3][state >> 24];
}

#ifdef CRC_HARDWARE
static inline uint64_t crc_load(const uint8_t *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

CRC_TARGET static uint32_t crc32c_fast(uint32_t state, const uint8_t *from, size_t bytes)
{
    while (bytes >= 3 * CRC_STREAM_BYTES) {
        uint64_t one = state, two = 0, three = 0;
        for (size_t at = 0; at < CRC_STREAM_BYTES; at += 8) {
            one = CRC_WORD(one, crc_load(from + at));
            two = CRC_WORD(two, crc_load(from + at + CRC_STREAM_BYTES));
            three = CRC_WORD(three, crc_load(from + at + 2 * CRC_STREAM_BYTES));
        }
        state = crc_move(crc_move((uint32_t)one) ^ (uint32_t)two) ^ (uint32_t)three;
        from += 3 * CRC_STREAM_BYTES;
        bytes -= 3 * CRC_STREAM_BYTES;
    }
    uint64_t wide = state;
    for (; bytes >= 8; bytes -= 8, from += 8)
        wide = CRC_WORD(wide, crc_load(from));
    state = (uint32_t)wide;
    for (; bytes; bytes--, from++)
        state = CRC_BYTE(state, *from);
    return state;
}
#endif

static uint32_t crc32c(const void *bytes, size_t count)
{
    const uint8_t *from = bytes;
    uint32_t state = 0xffffffffu;
#ifdef CRC_HARDWARE
    if (crc_hardware)
        return ~crc32c_fast(state, from, count);
#endif
    for (; count; count--, from++)
        state = crc_table[(state ^ *from) & 0xff] ^ (state >> 8);
    return ~state;
}

#endif
