// SPDX-License-Identifier: GPL-2.0
/*
 * policies/pin.c - holds one page of lent tag storage by a reference that nobody can take away, until told to stop
 *
 * usage: pin [NODE] READY
 *
 *   NODE    the memory is bound to this node, so that it lies on tag storage
 *   READY   this file is made when the page is held
 *
 * The page goes into a pipe (vmsplice), where nothing can migrate it. SIGTERM ends it: what is read from the pipe must
 * be what was written to the page. Exit status: 0 if so, 1 if not, 2 if there is no such page.
 */

#define _GNU_SOURCE
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "common.h"

#define PAGES		4096
#define MPOL_BIND	2

static volatile sig_atomic_t stop;

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

static char *storage_page(char *memory)
{
	struct region regions[MAX_REGIONS];
	unsigned int count = get_regions(regions);

	for (size_t page = 0; page < PAGES; page++) {
		memset(memory + page * PAGE, (int)page, PAGE);
		if (on_storage(regions, count, get_pfn(memory + page * PAGE)))
			return memory + page * PAGE;
	}
	die("no page lies on tag storage");
}

int main(int argc, char **argv)
{
	char buffer[PAGE], expected[PAGE];
	struct iovec vector;
	int ends[2], file;
	char *memory;

	if (argc < 2 || argc > 3 || signal(SIGTERM, on_term) == SIG_ERR || pipe(ends))
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
	vector.iov_base = storage_page(memory);
	vector.iov_len = PAGE;
	memcpy(expected, vector.iov_base, PAGE);
	if (vmsplice(ends[1], &vector, 1, 0) != (ssize_t)PAGE)
		die("vmsplice: %s", strerror(errno));
	file = open(argv[argc - 1], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0)
		die("%s can't be made: %s", argv[argc - 1], strerror(errno));
	close(file);
	while (!stop)
		usleep(10000);
	if (read(ends[0], buffer, PAGE) != (ssize_t)PAGE)
		die("the pipe is empty");
	return memcmp(buffer, expected, PAGE) ? 1 : 0;
}
