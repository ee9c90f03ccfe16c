// SPDX-License-Identifier: GPL-2.0
/*
 * bench/full.c - what a command takes while memory is full
 *
 * usage: full MIB ROUNDS COMMAND...
 *
 * Each round: fills memory with untagged pages until nothing is left, lent tag storage included; frees ordinary pages
 * until there are MIB more; runs COMMAND. For the profile `count`, on which time is instructions. Prints "round
 * NANOSECONDS USED CLAIMS MIGRATED" for each: CPU time of the command and its children, pages of lent storage that were
 * in use when it began, and blocks that were claimed meanwhile, free and in use. Exit status: 0; 1 if the command
 * failed; 2 on other errors.
 */

#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/wait.h>

#include "common.h"

static char *area;
static size_t pages;
static struct region regions[MAX_REGIONS];
static unsigned int region_count;

static void fill(void)
{
	static size_t next;
	uint64_t left;

	while ((left = room())) {
		for (; left && next < pages; next++, left--)
			*(volatile char *)(area + next * PAGE) = 1;
		if (next == pages)
			die("memory does not become full");
	}
}

/* From the start of the area, which was filled first, and each time where the last one ended. */
static void leave(size_t wanted)
{
	static size_t next;

	while (wanted) {
		uint64_t pfn = get_pfn(area + next * PAGE);

		if (pfn && !on_storage(regions, region_count, pfn)) {
			if (madvise(area + next * PAGE, PAGE, MADV_DONTNEED))
				die("memory can't be freed: %s", strerror(errno));
			wanted--;
		}
		if (++next == pages)
			die("there is not so much memory");
	}
}

/* CPU time of the command, in nanoseconds; without that of a copy of this program's page tables. */
static uint64_t run(char **command)
{
	struct rusage usage;
	pid_t child = vfork();
	int status;

	if (!child) {
		execvp(command[0], command);
		_exit(127);
	}
	if (child < 0 || wait4(child, &status, 0, &usage) != child)
		die("%s can't be run: %s", command[0], strerror(errno));
	if (status) {
		printf("%s ended with status %#x\n", command[0], status);
		exit(1);
	}
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000ULL +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000ULL;
}

int main(int argc, char **argv)
{
	size_t mib = argc > 3 ? strtoul(argv[1], NULL, 0) : 0, rounds = argc > 3 ? strtoul(argv[2], NULL, 0) : 0;

	if (!mib || !rounds)
		die("usage: full MIB ROUNDS COMMAND...");
	region_count = get_regions(regions);
	/* What a round frees is filled at the end of the area. */
	pages = 2 * meminfo("MemTotal") / PAGE;
	area = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED || madvise(area, pages * PAGE, MADV_NOHUGEPAGE))
		die("memory can't be mapped: %s", strerror(errno));
	for (size_t i = 0; i < rounds; i++) {
		uint64_t used, claims, migrated, time;

		fill();
		leave(mib * MIB / PAGE);
		used = total("lent_pages") - total("free_pages");
		claims = total("claims_free");
		migrated = total("claims_migrated");
		time = run(argv + 3);
		printf("round %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", time, used,
		       total("claims_free") - claims, total("claims_migrated") - migrated);
		fflush(stdout);
	}
	return 0;
}
