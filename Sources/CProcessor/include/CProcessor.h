/*
 * What processors can do and Swift has no word for.
 */
#ifndef CPROCESSOR_H
#define CPROCESSOR_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Has the cache line that holds `address` brought near, while the processor goes on: for what will be needed some hundred
 * instructions later. A hint: any address will do, also one that cannot be read.
 */
static inline void cprocessor_prefetch(const void *address) { __builtin_prefetch(address, 1, 3); }

#ifdef __cplusplus
}
#endif

#endif
