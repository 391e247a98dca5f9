/*
 * glibc's mallopt(3), malloc_trim(3) and dl_iterate_phdr(3), which Swift's Glibc module does not have.
 */
#ifndef CALLOCATOR_H
#define CALLOCATOR_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Bounds the number of arenas, and fixes the size in bytes from which on a block is a mapping of its own, and the free memory
 * at the end of the heap beyond which it goes back to the system. Does nothing where the C library is another.
 */
void callocator_tune(int arenas, int large_block, int trim);

/* Gives free memory back to the system, also from between blocks in use. Any thread; takes milliseconds for 100 MB. */
void callocator_trim(void);

/*
 * Takes the code of the program and its libraries out of the process's resident memory; what runs comes back from the page
 * cache, 64 KiB around each page that is touched. Only mappings that cannot be written to, so nothing can be lost. Any thread;
 * takes less than a millisecond.
 */
void callocator_release_code(void);

#ifdef __cplusplus
}
#endif

#endif
