// SPDX-License-Identifier: GPL-2.0
/*
 * kselftest/own/tagged.c - linked to the kernel's own tests with --wrap=mmap: their anonymous memory is PROT_MTE
 *
 * What they mprotect() later is not any more, and its pages stay tagged.
 */

#include <sys/mman.h>

#define PROT_MTE	0x20

void *__real_mmap(void *address, size_t size, int prot, int flags, int file, off_t offset);
void *__wrap_mmap(void *address, size_t size, int prot, int flags, int file, off_t offset);

void *__wrap_mmap(void *address, size_t size, int prot, int flags, int file, off_t offset)
{
	if ((flags & MAP_ANONYMOUS) && !(flags & MAP_HUGETLB))
		prot |= PROT_MTE;
	return __real_mmap(address, size, prot, flags, file, offset);
}
