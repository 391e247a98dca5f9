#include "CChecksum.h"

#include <pthread.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#if defined(__linux__)
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#endif
#endif

typedef uint32_t (*crc32c_function)(uint32_t, const uint8_t *, size_t);

/* Slicing by 8: table[k][b] is the CRC of byte b followed by k zero bytes. 8 KiB, filled once. */
static uint32_t table[8][256];
static crc32c_function implementation;
static const char *implementation_name;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint64_t load_little_endian_64(const uint8_t *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

static uint32_t crc32c_table(uint32_t crc, const uint8_t *p, size_t length) {
    while (length >= 8) {
        uint64_t word = load_little_endian_64(p) ^ crc;
        crc = table[7][word & 0xff] ^ table[6][(word >> 8) & 0xff] ^ table[5][(word >> 16) & 0xff] ^
              table[4][(word >> 24) & 0xff] ^ table[3][(word >> 32) & 0xff] ^ table[2][(word >> 40) & 0xff] ^
              table[1][(word >> 48) & 0xff] ^ table[0][word >> 56];
        p += 8;
        length -= 8;
    }
    while (length-- > 0) {
        crc = table[0][(crc ^ *p++) & 0xff] ^ (crc >> 8);
    }
    return crc;
}

/* shifted[k][b] is the CRC of byte b at place k of a CRC, followed by LANE zero bytes. 4 KiB, filled once. */
static uint32_t shifted[4][256];

/* The instruction takes 3 cycles but can be begun in each: three lanes side by side keep it busy. What the lanes find is put
 * together once for 3 * LANE bytes. */
enum { LANE = 1024 };

static uint32_t shift_lane(uint32_t crc) {
    return shifted[0][crc & 0xff] ^ shifted[1][(crc >> 8) & 0xff] ^ shifted[2][(crc >> 16) & 0xff] ^ shifted[3][crc >> 24];
}

#if defined(__x86_64__)
#define CRC_TARGET __attribute__((target("sse4.2")))
#define CRC_WORD(crc, word) _mm_crc32_u64(crc, word)
#define CRC_BYTE(crc, byte) _mm_crc32_u8((uint32_t)(crc), byte)
#define CRC_NAME "sse4.2"
#elif defined(__aarch64__)
#define CRC_TARGET __attribute__((target("crc")))
#define CRC_WORD(crc, word) __crc32cd((uint32_t)(crc), word)
#define CRC_BYTE(crc, byte) __crc32cb((uint32_t)(crc), byte)
#define CRC_NAME "armv8-crc"
#endif

#ifdef CRC_NAME
CRC_TARGET static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *p, size_t length) {
    while (length >= 3 * LANE) {
        uint64_t first = crc, second = 0, third = 0;
        for (size_t i = 0; i < LANE; i += 8) {
            first = CRC_WORD(first, load_little_endian_64(p + i));
            second = CRC_WORD(second, load_little_endian_64(p + LANE + i));
            third = CRC_WORD(third, load_little_endian_64(p + 2 * LANE + i));
        }
        crc = shift_lane(shift_lane((uint32_t)first) ^ (uint32_t)second) ^ (uint32_t)third;
        p += 3 * LANE;
        length -= 3 * LANE;
    }
    uint64_t wide = crc;
    while (length >= 8) {
        wide = CRC_WORD(wide, load_little_endian_64(p));
        p += 8;
        length -= 8;
    }
    while (length-- > 0) {
        wide = CRC_BYTE(wide, *p++);
    }
    return (uint32_t)wide;
}
#endif

static void fill_shifted(void) {
    for (uint32_t bit = 0; bit < 32; bit++) {
        uint32_t crc = (uint32_t)1 << bit;
        for (int byte = 0; byte < LANE; byte++) {
            crc = table[0][crc & 0xff] ^ (crc >> 8);
        }
        shifted[bit / 8][1u << (bit % 8)] = crc;
    }
    for (int place = 0; place < 4; place++) {
        for (uint32_t byte = 1; byte < 256; byte++) {
            /* A CRC is linear: that of a byte is that of its lowest bit and of the rest. */
            shifted[place][byte] = shifted[place][byte & (~byte + 1)] ^ shifted[place][byte & (byte - 1)];
        }
    }
}

static void choose_implementation(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) ? 0x82F63B78u : 0);
        }
        table[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
        for (int k = 1; k < 8; k++) {
            uint32_t previous = table[k - 1][byte];
            table[k][byte] = table[0][previous & 0xff] ^ (previous >> 8);
        }
    }
    fill_shifted();
    implementation = crc32c_table;
    implementation_name = "table";
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2")) {
        implementation = crc32c_hardware;
        implementation_name = CRC_NAME;
    }
#elif defined(__aarch64__) && defined(__linux__)
    if (getauxval(AT_HWCAP) & HWCAP_CRC32) {
        implementation = crc32c_hardware;
        implementation_name = CRC_NAME;
    }
#elif defined(__aarch64__) && defined(__APPLE__)
    implementation = crc32c_hardware;
    implementation_name = CRC_NAME;
#endif
}

uint32_t cchecksum_crc32c(uint32_t crc, const void *data, size_t length) {
    pthread_once(&once, choose_implementation);
    return ~implementation(~crc, data, length);
}

uint32_t cchecksum_crc32c_software(uint32_t crc, const void *data, size_t length) {
    pthread_once(&once, choose_implementation);
    return ~crc32c_table(~crc, data, length);
}

const char *cchecksum_crc32c_implementation(void) {
    pthread_once(&once, choose_implementation);
    return implementation_name;
}
