// SPDX-License-Identifier: GPL-2.0
/*
 * bench/aged.c - how much tag storage is left to lend when part of memory is tagged: fresh memory, or aged
 *
 * usage: aged fresh|a|b|shuffled PERCENT...
 *
 *   fresh     nothing happens before
 *   a         1,700 MiB are filled with untagged pages of 4 KiB; then every second one at random (seed 1) is freed, in
 *             the order of addresses
 *   b         the same, but filled until twice the min watermark is left, and until lent storage is in use as well.
 *             After that, what is still free in blocks of order 5 and more is filled and freed in the same way, and
 *             it is an error if any such block is left
 *   shuffled  as a, but freed in random order as well, so that the free lists are in no order at all
 *   PERCENT   of 1,900 MiB that is tagged, page by page; rising: each time what is missing is added
 *
 * Prints "large N", the free blocks of order 5 and more before anything is tagged, lent storage included, and "share
 * PERCENT TAGGED TOTAL ONCE SETTLED": prepared pages, all pages of tag storage, and those that are reserved, right
 * after and when the worker has moved nothing for 3 seconds, or 3 minutes are over. Exit status: 0, or 2 on errors.
 */

#define _GNU_SOURCE
#include "common.h"

#define FILLED_A	(1700 * MIB / PAGE)
#define FILLED_MAX	(2200 * MIB / PAGE)
#define PERCENT		(19 * MIB / PAGE)
#define LARGE_PAGES	32UL			/* of order 5 */
#define LARGE_MAX	(256 * MIB / PAGE)
#define THP		"/sys/kernel/mm/transparent_hugepage"

static char *map_small(size_t pages, int prot)
{
	char *area = mmap(NULL, pages * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area == MAP_FAILED || madvise(area, pages * PAGE, MADV_NOHUGEPAGE))
		die("memory can't be mapped: %s", strerror(errno));
	return area;
}

static void free_page(char *page)
{
	if (madvise(page, PAGE, MADV_DONTNEED))
		die("memory can't be freed: %s", strerror(errno));
}

static void free_half(char *area, size_t pages)
{
	uint64_t state = 1;

	for (size_t i = 0; i < pages; i++)
		if (random64(&state) % 2)
			free_page(area + i * PAGE);
}

static void free_half_shuffled(char *area, size_t pages)
{
	static uint32_t order[FILLED_MAX];
	uint64_t state = 1;

	for (size_t i = 0; i < pages; i++)
		order[i] = i;
	for (size_t i = 0; i < pages / 2; i++) {
		size_t other = i + below(&state, pages - i);
		uint32_t page = order[other];

		order[other] = order[i];
		order[i] = page;
		free_page(area + page * PAGE);
	}
}

/* Until the worker has come to rest. */
static void settle(void)
{
	uint64_t before = 0, moved;

	for (int i = 0, quiet = 0; i < 180 && quiet < 3; i++) {
		sleep(1);
		moved = total("pages_gathered") + total("pages_cleared");
		quiet = moved == before ? quiet + 1 : 0;
		before = moved;
	}
}

/* Is there room for more? Tag storage is used last, when less than twice the min watermark of other memory is left. */
static bool is_full(void)
{
	uint64_t min, high;

	get_watermarks(&min, &high);
	return free_ordinary() <= 2 * min && (total("free_pages") < LARGE_PAGES || free_ordinary() <= min);
}

static size_t fill(char *area, bool all)
{
	size_t page = 0;

	while (page < (all ? FILLED_MAX : FILLED_A)) {
		area[page++ * PAGE] = 1;
		if (all && page % 64 == 0 && is_full())
			break;
	}
	return page;
}

/* Free blocks from which whole spans could be had, of ordinary memory and of storage that is lent. */
static unsigned int count_large(void)
{
	FILE *file = fopen("/proc/buddyinfo", "r");
	unsigned int orders[6], sum = 0;
	char line[256];

	if (!file)
		die("/proc/buddyinfo can't be read");
	while (fgets(line, sizeof(line), file)) {
		char *zone = strstr(line, "zone");

		if (!zone || sscanf(zone, "zone %*s %*u %*u %*u %*u %*u %u %u %u %u %u %u", &orders[0], &orders[1],
				    &orders[2], &orders[3], &orders[4], &orders[5]) != 6)
			continue;
		for (int i = 0; i < 6; i++)
			sum += orders[i];
	}
	fclose(file);
	return sum;
}

/*
 * Fills the large blocks that are free, each with one folio of its size, and splits it, so that nothing but pages of
 * 4 KiB lie there. Returns how many pages.
 */
static size_t fill_large(char *area)
{
	size_t page;

	if (!write_text(THP "/defrag", "never") || !write_text(THP "/khugepaged/defrag", "0") ||
	    !write_text(THP "/hugepages-128kB/enabled", "madvise") || madvise(area, LARGE_MAX * PAGE, MADV_HUGEPAGE))
		die("there are no folios of 128 KiB: %s", strerror(errno));
	for (page = 0; page < LARGE_MAX && count_large(); page += LARGE_PAGES) {
		area[page * PAGE] = 1;
		/* If the last page is not there, it is a small folio, and there is no large one. */
		if (!get_pfn(area + (page + LARGE_PAGES - 1) * PAGE))
			break;
		if (madvise(area + page * PAGE, PAGE, MADV_COLD))
			die("a folio can't be split: %s", strerror(errno));
	}
	return page;
}

/* Memory is aged, and full, and no span of it is free. */
static void make_b(char *area)
{
	char *large = map_small(LARGE_MAX + HUGE_PAGES, PROT_READ | PROT_WRITE);

	large += -(uint64_t)large & (HUGE - 1);
	free_half(area, fill(area, true));
	free_half(large, fill_large(large));
	if (count_large())
		die("there are %u free blocks of order 5 and more", count_large());
}

static void make_aged(const char *how, char *area)
{
	if (!strcmp(how, "a"))
		free_half(area, fill(area, false));
	else if (!strcmp(how, "b"))
		make_b(area);
	else if (!strcmp(how, "shuffled"))
		free_half_shuffled(area, fill(area, false));
	else if (strcmp(how, "fresh"))
		die("usage: aged fresh|a|b|shuffled PERCENT...");
}

int main(int argc, char **argv)
{
	char *area = map_small(FILLED_MAX, PROT_READ | PROT_WRITE), *tags;
	size_t tagged = 0, wanted;

	if (!write_text("/proc/sys/vm/compaction_proactiveness", "0"))
		die("compaction_proactiveness can't be set");
	make_aged(argc > 2 ? argv[1] : "", area);
	printf("large %u\n", count_large());
	tags = map_small(100 * PERCENT, PROT_READ | PROT_WRITE | PROT_MTE);
	for (int i = 2; i < argc; i++) {
		uint64_t once;

		wanted = strtoul(argv[i], NULL, 0) * PERCENT;
		for (; tagged < wanted && tagged < 100 * PERCENT; tagged++)
			tags[tagged * PAGE] = 1;
		once = total("reserved_pages");
		settle();
		printf("share %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", argv[i], total("tagged_pages"),
		       total("total_pages"), once, total("reserved_pages"));
		fflush(stdout);
	}
	return 0;
}
