/*
 * CRC-32C (Castagnoli, reflected polynomial 0x82F63B78), the checksum of iSCSI, SCTP, ext4 and btrfs: the one that x86-64
 * (SSE4.2) and AArch64 (ARMv8 CRC) compute in hardware.
 */
#ifndef CCHECKSUM_H
#define CCHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Continues a CRC-32C over `length` bytes at `data`. Start with 0; the result of one call is the start of the next, so
 * that crc(crc(0, a), b) == crc(0, a followed by b). Any thread; `data` may be NULL when `length` is 0; no alignment is
 * required. Picks the fastest implementation that this processor has, once.
 */
uint32_t cchecksum_crc32c(uint32_t crc, const void *data, size_t length);

/* The same by table alone: for processors without the instruction, and to check the hardware against. */
uint32_t cchecksum_crc32c_software(uint32_t crc, const void *data, size_t length);

/* "sse4.2", "armv8-crc" or "table": what cchecksum_crc32c runs on this machine. */
const char *cchecksum_crc32c_implementation(void);

#ifdef __cplusplus
}
#endif

#endif
