// SPDX-License-Identifier: GPL-2.0
/*
 * policies/stuck.c - has one page of lent tag storage that nobody can take away, until told to stop
 *
 * usage: stuck [NODE] READY
 *
 *   NODE    the memory is bound to this node, so that it lies on tag storage
 *   READY   this file is made when there is such a page
 *
 * Nobody gets a reference to a lent page for long, so it is a page with a memory error, which stays where it is.
 * SIGTERM ends that: the error is taken back. Exit status: 0, or 2 if there is no such page.
 */

#define _GNU_SOURCE
#include <signal.h>
#include <sys/syscall.h>

#include "common.h"

#define PAGES		4096
#define MPOL_BIND	2
#define HWPOISON	"/sys/kernel/debug/hwpoison/"

static volatile sig_atomic_t stop;

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

static uint64_t storage_page(char *memory)
{
	struct region regions[MAX_REGIONS];
	unsigned int count = get_regions(regions);

	for (size_t page = 0; page < PAGES; page++) {
		memset(memory + page * PAGE, (int)page, PAGE);
		if (on_storage(regions, count, get_pfn(memory + page * PAGE)))
			return get_pfn(memory + page * PAGE);
	}
	die("no page lies on tag storage");
}

static void set_error(const char *path, uint64_t pfn)
{
	char text[32];

	snprintf(text, sizeof(text), "%#" PRIx64, pfn);
	if (!write_text(path, text))
		die("%s: %s", path, strerror(errno));
}

int main(int argc, char **argv)
{
	uint64_t pfn;
	char *memory;
	int file;

	if (argc < 2 || argc > 3 || signal(SIGTERM, on_term) == SIG_ERR)
		return 2;
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("there is no memory: %s", strerror(errno));
	madvise(memory, PAGES * PAGE, MADV_NOHUGEPAGE);
	if (argc == 3) {
		unsigned long nodes = 1UL << atoi(argv[1]);

		if (syscall(SYS_mbind, memory, PAGES * PAGE, MPOL_BIND, &nodes, 64, 0))
			die("mbind: %s", strerror(errno));
	}
	pfn = storage_page(memory);
	set_error(HWPOISON "corrupt-pfn", pfn);
	file = open(argv[argc - 1], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0)
		die("%s can't be made: %s", argv[argc - 1], strerror(errno));
	close(file);
	while (!stop)
		usleep(10000);
	munmap(memory, PAGES * PAGE);
	set_error(HWPOISON "unpoison-pfn", pfn);
	return 0;
}
