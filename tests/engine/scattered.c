// SPDX-License-Identifier: GPL-2.0
/*
 * engine/scattered.c - tagged pages that lie all over memory, among untagged ones, and what the worker makes of it
 *
 * usage: scattered MIB PERCENT
 *
 * Tags MIB of memory page by page, then 20,000 times frees a page at random (seed 3) and at once tags another. Frees
 * three pages out of four at random (seed 1), tags every second one of them anew, frees those again, and fills what has
 * become free with untagged pages. Then gives the worker PERCENT of a CPU (the parameter pack_percent, 0 until then),
 * and goes on changing and checking pages at random until it has come to rest: the counters of what it moves have not
 * changed for 3 seconds, or 2 minutes are over.
 *
 * Prints "dense PAGES BLOCKS" when all is tagged, "churned PAGES BLOCKS" when pages went and came one by one,
 * "refilled PAGES BLOCKS" when half of what was freed is tagged again, "sparse PAGES BLOCKS" and "settled PAGES BLOCKS"
 * before and after the worker's work: the program's tagged pages, and pages of tag storage that are reserved. Between
 * those, "worked ELAPSED WORKERS": microseconds until nothing was moved any more, and those that all kernel workers
 * ran. Then what was verified: data and tag of every granule, and data of every untagged page. Exit status: 0 if all
 * was right, 1 if not, 2 on other errors.
 */

#define _GNU_SOURCE
#include "common.h"

#define PERCENT		"/sys/module/tagstorage/parameters/pack_percent"
#define QUIET		3
#define LONGEST		120
#define CHURN		20000

static size_t nr_pages;
static uint8_t *generation;	/* of each page that is tagged; 0: it was freed */
static char *tagged, *untagged;

static unsigned int tag_of(size_t page, size_t granule)
{
	return (page * 7 + granule * 3 + generation[page]) % 16;
}

static uint64_t data_of(size_t page, size_t granule)
{
	return (page * GRANULES + granule + generation[page] * 0x100000001ULL) * 0x9e3779b97f4a7c15ULL;
}

static void fill_page(size_t page)
{
	char *start = tagged + page * PAGE;

	for (size_t i = 0; i < GRANULES; i++) {
		set_tag(start + i * GRANULE, tag_of(page, i));
		*(uint64_t *)(start + i * GRANULE) = data_of(page, i);
	}
}

static size_t verify_page(size_t page)
{
	const char *start = tagged + page * PAGE;
	size_t wrong = 0;

	for (size_t i = 0; i < GRANULES; i++)
		wrong += get_tag(start + i * GRANULE) != tag_of(page, i) ||
			 *(uint64_t *)(start + i * GRANULE) != data_of(page, i);
	return wrong;
}

static void report(const char *what)
{
	size_t left = 0;

	for (size_t page = 0; page < nr_pages; page++)
		left += generation[page] != 0;
	printf("%s %zu %" PRIu64 "\n", what, left, total("reserved_pages"));
	fflush(stdout);
}

static void free_page(size_t page)
{
	if (madvise(tagged + page * PAGE, PAGE, MADV_DONTNEED))
		die("memory can't be freed: %s", strerror(errno));
	generation[page] = 0;
}

/* There is always just one page free: it must not take a new block to have it back. */
static void churn(void)
{
	uint64_t state = 3;

	for (int i = 0; i < CHURN; i++) {
		size_t page = below(&state, nr_pages);

		free_page(page);
		generation[page] = 1;
		fill_page(page);
	}
	report("churned");
}

static void scatter(void)
{
	uint64_t state = 1;

	for (size_t page = 0; page < nr_pages; page++) {
		generation[page] = 1;
		fill_page(page);
	}
	report("dense");
	churn();
	for (size_t page = 0; page < nr_pages; page++)
		if (random64(&state) % 4)
			free_page(page);
	for (size_t page = 0; page < nr_pages; page++)
		if (!generation[page] && page % 2) {
			generation[page] = 2;
			fill_page(page);
		}
	report("refilled");
	for (size_t page = 0; page < nr_pages; page++)
		if (generation[page] == 2)
			free_page(page);
	for (size_t page = 0; page < nr_pages; page++)
		*(uint64_t *)(untagged + page * PAGE) = ~page;
	report("sparse");
}

/* Change and check pages until nothing is moved any more. Returns granules that are wrong. */
static size_t live(void)
{
	time_t end = time(NULL) + LONGEST, quiet = time(NULL) + QUIET;
	uint64_t state = 2, before = 0, began = nanoseconds(), workers = kernel_workers();
	uint64_t worked = 0, elapsed = 0;
	size_t wrong = 0;

	while (time(NULL) < end && time(NULL) < quiet) {
		uint64_t moved = total("pages_gathered") + total("pages_cleared");

		if (moved != before) {
			quiet = time(NULL) + QUIET;
			worked = kernel_workers() - workers;
			elapsed = nanoseconds() - began;
		}
		before = moved;
		for (int i = 0; i < 500; i++) {
			size_t page = below(&state, nr_pages);

			if (!generation[page])
				continue;
			wrong += verify_page(page);
			generation[page] = generation[page] % 200 + 1;
			fill_page(page);
		}
	}
	printf("worked %" PRIu64 " %" PRIu64 "\n", elapsed / 1000, worked / 1000);
	return wrong;
}

static char *map_small(int prot)
{
	char *area = mmap(NULL, nr_pages * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED || madvise(area, nr_pages * PAGE, MADV_NOHUGEPAGE))
		die("memory can't be mapped: %s", strerror(errno));
	return area;
}

int main(int argc, char **argv)
{
	size_t wrong, verified = 0;

	nr_pages = argc == 3 ? strtoul(argv[1], NULL, 0) * MIB / PAGE : 0;
	if (!nr_pages)
		die("usage: scattered MIB PERCENT");
	generation = calloc(nr_pages, 1);
	if (!generation)
		die("there is no memory");
	check_tags();
	checks_off();
	tagged = map_small(PROT_READ | PROT_WRITE | PROT_MTE);
	untagged = map_small(PROT_READ | PROT_WRITE);
	write_text(PERCENT, "0");
	scatter();
	write_text(PERCENT, argv[2]);
	wrong = live();
	report("settled");
	for (size_t page = 0; page < nr_pages; page++) {
		if (generation[page]) {
			wrong += verify_page(page);
			verified += GRANULES;
		}
		wrong += *(uint64_t *)(untagged + page * PAGE) != ~page;
	}
	printf("verified %zu granules, %zu untagged pages: %zu wrong\n", verified, nr_pages, wrong);
	return wrong != 0;
}
