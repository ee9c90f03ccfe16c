// SPDX-License-Identifier: GPL-2.0
/*
 * trace/claims.c - touches tagged pages until a number of blocks was claimed
 *
 * usage: claims N
 *
 * Where a page lies is not a program's choice, so the engine's counters are looked at after each page. Prints by
 * how much each of them grew: "claims: free A migrated B failed C pages D reserved E", E being blocks. Then
 * it keeps its memory until SIGTERM. A + B is N, or more if somebody else's tagged page (one that compaction moved,
 * say) claimed a block at the same moment. Exit status: 0; 1 if memory ended before; 2 on other errors.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROT_MTE	0x20
#define PAGE		4096UL
#define MOST		(1UL << 30)

static const char *const names[] = {
	"claims_free", "claims_migrated", "claims_failed", "pages_migrated", "reserved_pages", "block_pages"
};

enum { FREE, MIGRATED, FAILED, PAGES, RESERVED, BLOCK, COUNTERS };

/* Sums of all regions; -1 if there is no engine. */
static int read_counters(long counters[COUNTERS])
{
	char path[128], text[32];
	int file, region;
	ssize_t length;

	memset(counters, 0, COUNTERS * sizeof(*counters));
	for (region = 0; ; region++) {
		for (int i = 0; i < COUNTERS; i++) {
			snprintf(path, sizeof(path), "/sys/kernel/mm/tagstorage/region%d/%s", region, names[i]);
			file = open(path, O_RDONLY);
			if (file < 0)
				return region ? 0 : -1;
			length = read(file, text, sizeof(text) - 1);
			close(file);
			if (length <= 0)
				return -1;
			text[length] = 0;
			counters[i] = strtol(text, NULL, 0) + (i == BLOCK ? 0 : counters[i]);
		}
	}
}

static long claims(const long counters[COUNTERS])
{
	return counters[FREE] + counters[MIGRATED];
}

int main(int argc, char **argv)
{
	long target = argc == 2 ? strtol(argv[1], NULL, 0) : 0;
	long before[COUNTERS], now[COUNTERS];
	sigset_t term;
	char *memory;
	int signal;

	if (target <= 0) {
		fputs("usage: claims N\n", stderr);
		return 2;
	}
	if (read_counters(before)) {
		fputs("claims: the engine is not loaded\n", stderr);
		return 2;
	}
	memory = mmap(NULL, MOST, PROT_READ | PROT_WRITE | PROT_MTE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED) {
		fputs("claims: memory can't be mapped PROT_MTE\n", stderr);
		return 2;
	}
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	madvise(memory, MOST, MADV_NOHUGEPAGE);
	for (size_t page = 0; page < MOST / PAGE; page++) {
		memory[page * PAGE] = 1;
		if (read_counters(now))
			return 2;
		if (claims(now) - claims(before) >= target)
			break;
	}
	if (claims(now) - claims(before) < target) {
		fprintf(stderr, "claims: memory ended before: %ld free, %ld migrated, %ld wanted\n",
			now[FREE] - before[FREE], now[MIGRATED] - before[MIGRATED], target);
		return 1;
	}
	printf("claims: free %ld migrated %ld failed %ld pages %ld reserved %ld\n", now[FREE] - before[FREE],
	       now[MIGRATED] - before[MIGRATED], now[FAILED] - before[FAILED], now[PAGES] - before[PAGES],
	       (now[RESERVED] - before[RESERVED]) / (now[BLOCK] ? now[BLOCK] : 1));
	fflush(stdout);
	sigwait(&term, &signal);
	return 0;
}
