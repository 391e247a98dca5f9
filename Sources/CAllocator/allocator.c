#include "CAllocator.h"

#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

void callocator_tune(int arenas, int large_block, int trim)
{
#ifdef __GLIBC__
	/* Each returns 0 for a value it does not take: then all is as it was. */
	(void)mallopt(M_ARENA_MAX, arenas);
	(void)mallopt(M_MMAP_THRESHOLD, large_block);
	(void)mallopt(M_TRIM_THRESHOLD, trim);
#else
	(void)arenas;
	(void)large_block;
	(void)trim;
#endif
}

void callocator_trim(void)
{
#ifdef __GLIBC__
	(void)malloc_trim(0);
#endif
}
