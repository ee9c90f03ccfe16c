// SPDX-License-Identifier: GPL-2.0
/*
 * lab/guest/granules.c - do two granules of one page have tags of their own?
 *
 * QEMU before 8.1 keeps one tag for a whole page. Exits with 0 if the tags differ as they must, with
 * 1 if they do not, with 2 if this machine has no MTE.
 */

#include <stdint.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#ifndef HWCAP2_MTE
#define HWCAP2_MTE	(1 << 18)
#endif
#ifndef PROT_MTE
#define PROT_MTE	0x20
#endif

static void set_tag(void *granule, uint64_t tag)
{
	asm volatile("stg %0, [%0]" : : "r" ((uint64_t)granule | tag << 56) : "memory");
}

static uint64_t get_tag(void *granule)
{
	uint64_t address = (uint64_t)granule;

	asm volatile("ldg %0, [%0]" : "+r" (address) : : "memory");
	return address >> 56 & 15;
}

int main(void)
{
	char *page;

	if (!(getauxval(AT_HWCAP2) & HWCAP2_MTE))
		return 2;
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_MTE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return 2;
	set_tag(page, 5);
	set_tag(page + 16, 10);
	set_tag(page + 4080, 3);
	return !(get_tag(page) == 5 && get_tag(page + 16) == 10 && get_tag(page + 4080) == 3);
}
