// SPDX-License-Identifier: GPL-2.0
/*
 * engine/swap.c - has memory swapped out, tagged and not, and verifies it
 *
 * usage: swap [--hold PATH]
 *
 * Fills three mappings of 8 MiB: private and PROT_MTE, shared and PROT_MTE, private without; asks the kernel to
 * page them out, and prints how much of each is in swap: "private N KiB", "shared N KiB", "plain N KiB". With --hold it
 * makes the file PATH then, and waits for SIGTERM. Then it verifies every granule's data and tag.
 *
 * Exit status: 0 if all was right, 1 if not, 2 on other errors.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define PROT_MTE		0x20
#define SET_TAGGED_ADDR_CTRL	55
#define TAGGED_ADDR_ENABLE	1UL
#define PAGEOUT			21
#define PAGEMAP_SWAPPED		(1ULL << 62)

#define PAGE			4096UL
#define SIZE			(8UL << 20)
#define GRANULE			16UL

static volatile sig_atomic_t stop;

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static unsigned int tag_of(size_t granule)
{
	return (granule * 7 + granule / 256 + 1) % 16;
}

static char *map(int sharing, int prot)
{
	char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE | prot, MAP_ANONYMOUS | sharing, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap");
	for (size_t g = 0; g < SIZE / GRANULE; g++) {
		uint64_t *words = (uint64_t *)(memory + g * GRANULE);

		if (prot)
			asm volatile("stg %0, [%0]" : : "r" ((uint64_t)words | (uint64_t)tag_of(g) << 56) : "memory");
		words[0] = g * 0x9e3779b97f4a7c15ULL;
		words[1] = ~words[0];
	}
	return memory;
}

static size_t wrong(const char *memory, int prot)
{
	size_t count = 0;

	for (size_t g = 0; g < SIZE / GRANULE; g++) {
		const uint64_t *words = (const uint64_t *)(memory + g * GRANULE);
		uint64_t tagged = (uint64_t)words;

		if (prot)
			asm volatile("ldg %0, [%0]" : "+r" (tagged) : : "memory");
		count += (prot && (tagged >> 56 & 15) != tag_of(g)) || words[0] != g * 0x9e3779b97f4a7c15ULL ||
			 words[1] != ~words[0];
	}
	return count;
}

/* A page of shared memory that is swapped out is just missing in the page table. */
static size_t gone_kib(const char *memory)
{
	static unsigned char resident[SIZE / PAGE];
	static uint64_t entries[SIZE / PAGE];
	int file = open("/proc/self/pagemap", O_RDONLY);
	size_t pages = 0;

	if (mincore((void *)memory, SIZE, resident))
		die("mincore");
	if (file < 0 || pread(file, entries, sizeof(entries), (uintptr_t)memory / PAGE * 8) != sizeof(entries))
		die("pagemap");
	close(file);
	for (size_t i = 0; i < SIZE / PAGE; i++)
		pages += entries[i] & PAGEMAP_SWAPPED || !(resident[i] & 1);
	return pages * (PAGE / 1024);
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "private", "shared", "plain" };
	const int sharing[] = { MAP_PRIVATE, MAP_SHARED, MAP_PRIVATE };
	const int prot[] = { PROT_MTE, PROT_MTE, 0 };
	size_t failed = 0;
	char *memory[3];

	if (prctl(SET_TAGGED_ADDR_CTRL, TAGGED_ADDR_ENABLE, 0, 0, 0))
		die("this machine has no MTE");
	signal(SIGTERM, on_term);
	for (int i = 0; i < 3; i++)
		memory[i] = map(sharing[i], prot[i]);
	for (int i = 0; i < 3; i++) {
		madvise(memory[i], SIZE, PAGEOUT);
		printf("%s %zu KiB\n", names[i], gone_kib(memory[i]));
	}
	fflush(stdout);
	if (argc > 2 && !strcmp(argv[1], "--hold")) {
		close(open(argv[2], O_WRONLY | O_CREAT, 0600));
		while (!stop)
			usleep(10000);
	}
	for (int i = 0; i < 3; i++)
		failed += wrong(memory[i], prot[i]);
	printf("swap: %zu granules wrong\n", failed);
	return failed ? 1 : 0;
}
