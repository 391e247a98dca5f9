#define _GNU_SOURCE
#include "CAllocator.h"

#include <stdlib.h>
#ifdef __GLIBC__
#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>
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

#ifdef __GLIBC__
/* Code that the dynamic linker wrote addresses into would come back without them. Debian has none, but who knows. */
static int is_relocated(const struct dl_phdr_info *object)
{
	for (int i = 0; i < object->dlpi_phnum; i++) {
		if (object->dlpi_phdr[i].p_type != PT_DYNAMIC) {
			continue;
		}
		const ElfW(Dyn) *entry = (const ElfW(Dyn) *)(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
		for (; entry->d_tag != DT_NULL; entry++) {
			if (entry->d_tag == DT_TEXTREL || (entry->d_tag == DT_FLAGS && (entry->d_un.d_val & DF_TEXTREL))) {
				return 1;
			}
		}
	}
	return 0;
}

static int release_code(struct dl_phdr_info *object, size_t size, void *context)
{
	(void)size;
	uintptr_t page = *(const uintptr_t *)context;
	uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
	if (is_relocated(object)) {
		return 0;
	}
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
		if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X) || (segment->p_flags & PF_W)) {
			continue;
		}
		uintptr_t start = (object->dlpi_addr + segment->p_vaddr) & ~(page - 1);
		uintptr_t end = (object->dlpi_addr + segment->p_vaddr + segment->p_memsz + page - 1) & ~(page - 1);
		/* The kernel's own page is not a file's. */
		if (vdso >= start && vdso < end) {
			continue;
		}
		/* Where it is refused the pages stay, which is no harm. */
		(void)madvise((void *)start, end - start, MADV_DONTNEED);
	}
	return 0;
}
#endif

void callocator_release_code(void)
{
#ifdef __GLIBC__
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	(void)dl_iterate_phdr(release_code, &page);
#endif
}
