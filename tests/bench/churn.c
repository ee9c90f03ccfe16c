// SPDX-License-Identifier: GPL-2.0
/*
 * bench/churn.c - how densely tagged pages lie while they come and go at random
 *
 * usage: churn [OPERATIONS]
 *
 * Half of memory is filled with untagged pages. Beside it live tagged pages of 4 KiB: 190 MiB, a number that swings by
 * half of that either way, in four waves. Each operation allocates one where there are too few of them, or frees one;
 * which, is random (seed 1). OPERATIONS: default 1000000. The worker may take 5 % of a CPU.
 *
 * For the profile `count`, on which time is instructions. Prints "sample OPERATION LIVE TAGGED RESERVED" 1000 times:
 * pages that the program has, pages that are prepared, and pages of tag storage that are reserved; blocks that
 * hysteresis alone keeps are not among those. Then "work NANOSECONDS WORKERS GATHERED CLEARED": how long it took, what
 * all kernel workers ran of that, and pages that the engine's worker moved. Exit status: 0, or 2 on errors.
 */

#define _GNU_SOURCE
#include "common.h"

#define LIVE		(190 * MIB / PAGE)
#define SWING		(LIVE / 2)
#define MOST		(LIVE + SWING + 1)
#define WAVES		4
#define SAMPLES		1000

/* Slots of @area: those below @live hold pages, in no order. */
static uint32_t slots[MOST];
static size_t live;
static char *area;

static char *map_small(size_t pages, int prot)
{
	char *memory = mmap(NULL, pages * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED || madvise(memory, pages * PAGE, MADV_NOHUGEPAGE))
		die("memory can't be mapped: %s", strerror(errno));
	return memory;
}

static void swap_slots(size_t a, size_t b)
{
	uint32_t slot = slots[a];

	slots[a] = slots[b];
	slots[b] = slot;
}

static void allocate(uint64_t *state)
{
	swap_slots(live, live + below(state, MOST - live));
	area[slots[live++] * PAGE] = 1;
}

static void release(uint64_t *state)
{
	swap_slots(live - 1, below(state, live));
	live--;
	if (madvise(area + slots[live] * PAGE, PAGE, MADV_DONTNEED))
		die("memory can't be freed: %s", strerror(errno));
}

/* A triangle: up from LIVE to LIVE + SWING, down to LIVE - SWING, up again. */
static size_t wanted(uint64_t operation, uint64_t operations)
{
	uint64_t quarter = 4 * WAVES * operation * SWING / operations, place = quarter % (4 * SWING);

	if (place < SWING)
		return LIVE + place;
	if (place < 3 * SWING)
		return LIVE + 2 * SWING - place;
	return LIVE + place - 4 * SWING;
}

static void churn(uint64_t operations)
{
	uint64_t state = 1;

	for (uint64_t i = 0; i < operations; i++) {
		if (live < wanted(i, operations))
			allocate(&state);
		else
			release(&state);
		if ((i + 1) % (operations / SAMPLES))
			continue;
		printf("sample %" PRIu64 " %zu %" PRIu64 " %" PRIu64 "\n", i + 1, live, total("tagged_pages"),
		       total("reserved_pages"));
	}
}

int main(int argc, char **argv)
{
	uint64_t operations = argc > 1 ? strtoull(argv[1], NULL, 0) : 1000000, state = 1, begin, before;
	size_t pages = meminfo("MemTotal") / PAGE / 2;
	char *untagged = map_small(pages, PROT_READ | PROT_WRITE);

	if (operations < SAMPLES)
		die("usage: churn [OPERATIONS], at least %d", SAMPLES);
	if (!write_text("/sys/module/tagstorage/parameters/pack_percent", "5"))
		die("pack_percent can't be set");
	for (size_t i = 0; i < pages; i++)
		untagged[i * PAGE] = 1;
	area = map_small(MOST, PROT_READ | PROT_WRITE | PROT_MTE);
	for (size_t i = 0; i < MOST; i++)
		slots[i] = i;
	while (live < LIVE)
		allocate(&state);
	begin = nanoseconds();
	before = kernel_workers();
	churn(operations);
	printf("work %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", nanoseconds() - begin,
	       kernel_workers() - before, total("pages_gathered"), total("pages_cleared"));
	return 0;
}
