// SPDX-License-Identifier: GPL-2.0
/*
 * tests/lab/damage.c - does tagging some memory destroy other memory?
 *
 * Usage: damage FILL TAG
 *
 * Fills FILL MiB with a pattern, then sets a tag other than zero on every granule of TAG MiB of other memory,
 * and counts the words of the pattern that have changed. Prints "destroyed N"; exits with 1 if N is not 0.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MIB	(1UL << 20)
#define GRANULE	16
#ifndef PROT_MTE
#define PROT_MTE	0x20
#endif

static void *take(size_t size, int prot)
{
	void *memory = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return memory;
}

static uint64_t pattern(size_t i)
{
	return (i + 1) * 0x9e3779b97f4a7c15;
}

int main(int argc, char **argv)
{
	size_t fill, tag, i, destroyed = 0;
	uint64_t *word;
	char *tagged;

	if (argc != 3) {
		fprintf(stderr, "usage: damage FILL TAG\n");
		return 2;
	}
	fill = strtoul(argv[1], NULL, 0) * MIB;
	tag = strtoul(argv[2], NULL, 0) * MIB;
	word = take(fill, PROT_READ | PROT_WRITE);
	tagged = take(tag, PROT_READ | PROT_WRITE | PROT_MTE);
	for (i = 0; i < fill / sizeof(*word); i++)
		word[i] = pattern(i);
	for (i = 0; i < tag; i += GRANULE) {
		uint64_t pointer = (uint64_t)(tagged + i) | (1 + i / GRANULE % 15) << 56;

		asm volatile("stg %0, [%0]" : : "r" (pointer) : "memory");
	}
	for (i = 0; i < fill / sizeof(*word); i++)
		destroyed += word[i] != pattern(i);
	printf("destroyed %zu\n", destroyed);
	return destroyed != 0;
}
