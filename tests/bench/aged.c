// SPDX-License-Identifier: GPL-2.0
/*
 * bench/aged.c - how much tag storage is left to lend when part of memory is tagged: fresh memory, or aged
 *
 * usage: aged fresh|a|b|shuffled PERCENT...
 *
 *   fresh     nothing happens before
 *   a         1,700 MiB are filled with untagged pages of 4 KiB; then every second one at random (seed 1) is freed, in
 *             the order of addresses
 *   b         the same, but filled until twice the min watermark is left
 *   shuffled  as a, but freed in random order as well, so that the free lists are in no order at all
 *   PERCENT   of 1,900 MiB that is tagged, page by page; rising: each time what is missing is added
 *
 * Prints "large N", the free blocks of order 5 and more before anything is tagged, and "share PERCENT TAGGED RESERVED
 * TOTAL AT-ONCE SETTLED": prepared pages, reserved and all pages of tag storage, and the share of it in percent that is
 * lent or could be, right after, and when the worker has moved nothing for 3 seconds, or 3 minutes are over. Exit
 * status: 0, or 2 on errors.
 */

#define _GNU_SOURCE
#include "common.h"

#define FILLED_A	(1700 * MIB / PAGE)
#define FILLED_MAX	(2200 * MIB / PAGE)
#define PERCENT		(19 * MIB / PAGE)

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

static double share(void)
{
	uint64_t all = total("total_pages");

	return 100.0 * (all - total("reserved_pages")) / all;
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

static size_t fill(char *area, bool all)
{
	size_t page = 0;
	uint64_t min, high;

	get_watermarks(&min, &high);
	while (page < (all ? FILLED_MAX : FILLED_A)) {
		area[page++ * PAGE] = 1;
		if (all && page % 256 == 0 && free_ordinary() <= 2 * min)
			break;
	}
	return page;
}

/* Free blocks of ordinary memory from which whole spans could be had. */
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

int main(int argc, char **argv)
{
	char *area = map_small(FILLED_MAX, PROT_READ | PROT_WRITE), *tags;
	const char *how = argc > 2 ? argv[1] : "";
	size_t tagged = 0, wanted;

	write_text("/proc/sys/vm/compaction_proactiveness", "0");
	if (!strcmp(how, "a") || !strcmp(how, "b"))
		free_half(area, fill(area, *how == 'b'));
	else if (!strcmp(how, "shuffled"))
		free_half_shuffled(area, fill(area, false));
	else if (strcmp(how, "fresh"))
		die("usage: aged fresh|a|b|shuffled PERCENT...");
	printf("large %u\n", count_large());
	tags = map_small(100 * PERCENT, PROT_READ | PROT_WRITE | PROT_MTE);
	for (int i = 2; i < argc; i++) {
		double at_once;

		wanted = strtoul(argv[i], NULL, 0) * PERCENT;
		for (; tagged < wanted && tagged < 100 * PERCENT; tagged++)
			tags[tagged * PAGE] = 1;
		at_once = share();
		settle();
		printf("share %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %.2f %.2f\n", argv[i], total("tagged_pages"),
		       total("reserved_pages"), total("total_pages"), at_once, share());
		fflush(stdout);
	}
	return 0;
}
