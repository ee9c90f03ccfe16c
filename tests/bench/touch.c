// SPDX-License-Identifier: GPL-2.0
/*
 * bench/touch.c - how often memory that is touched at random has to come from swap space
 *
 * usage: touch BYTES TOUCHES
 *
 * Maps BYTES of untagged memory and writes to each page once; then to pages at random, each as likely as any other
 * (seed 1): TOUCHES of them so that what is in memory is as random, and TOUCHES that count. Each page holds one word
 * over and over, its own, which is verified at each touch; zram keeps such a page without taking memory for it.
 *
 * Prints "faults MAJOR RESIDENT": the major faults of those that count, and kB of it that were in memory at the end.
 * Exit status: 0; 1 if a page had lost its word; 2 on other errors.
 */

#define _GNU_SOURCE
#include <sys/resource.h>

#include "common.h"

static uint64_t *area;
static uint64_t wrong;

static void fill_page(size_t page)
{
	for (size_t i = 0; i < WORDS; i++)
		area[page * WORDS + i] = page + 1;
}

/* Written and verified: the first word and one at random. The word that is written is the one that was there. */
static void touch(size_t page, size_t word)
{
	volatile uint64_t *words = area + page * WORDS;

	wrong += words[word] != page + 1;
	words[0] = page + 1;
}

static void touch_many(uint64_t *state, size_t pages, uint64_t touches)
{
	for (uint64_t i = 0; i < touches; i++) {
		size_t page = below(state, pages);

		touch(page, below(state, WORDS));
	}
}

static uint64_t major_faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_majflt;
}

static uint64_t resident(void)
{
	char text[4096], *line;

	if (!read_text("/proc/self/status", text, sizeof(text)))
		die("/proc/self/status can't be read");
	line = strstr(text, "RssAnon:");
	if (!line)
		die("/proc/self/status has no RssAnon");
	return strtoull(line + 8, NULL, 10);
}

int main(int argc, char **argv)
{
	size_t pages = argc > 2 ? strtoull(argv[1], NULL, 0) / PAGE : 0;
	uint64_t touches = argc > 2 ? strtoull(argv[2], NULL, 0) : 0, state = 1, before;

	if (!pages || !touches)
		die("usage: touch BYTES TOUCHES");
	area = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED || madvise(area, pages * PAGE, MADV_NOHUGEPAGE))
		die("memory can't be mapped: %s", strerror(errno));
	for (size_t i = 0; i < pages; i++)
		fill_page(i);
	touch_many(&state, pages, touches);
	before = major_faults();
	touch_many(&state, pages, touches);
	printf("faults %" PRIu64 " %" PRIu64 "\n", major_faults() - before, resident());
	if (wrong)
		printf("touch: %" PRIu64 " words are not as they were written\n", wrong);
	return !!wrong;
}
