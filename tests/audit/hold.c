// SPDX-License-Identifier: GPL-2.0
/*
 * audit/hold.c - holds tagged memory while a command runs
 *
 * usage: hold PAGES COMMAND...
 *
 * Tags PAGES pages, and as many again in huge pages where it gets them, runs the command, and verifies the tags.
 * Exit status: the command's, or 1 if a tag has changed, 2 on other errors.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "common.h"

static char *get_tagged(size_t size, int advice)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_MTE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	madvise(memory, size, advice);
	for (size_t i = 0; i < size; i += GRANULE)
		set_tag(memory + i, (i / GRANULE + i / PAGE) & 15);
	return memory;
}

static bool is_right(const char *memory, size_t size)
{
	for (size_t i = 0; i < size; i += GRANULE)
		if (get_tag(memory + i) != ((i / GRANULE + i / PAGE) & 15))
			return false;
	return true;
}

int main(int argc, char **argv)
{
	char *small, *huge;
	size_t size;
	int status;
	pid_t child;

	if (argc < 3)
		die("usage: hold PAGES COMMAND...");
	size = strtoul(argv[1], NULL, 0) * PAGE;
	small = get_tagged(size, MADV_NOHUGEPAGE);
	huge = get_tagged(size, MADV_HUGEPAGE);
	child = fork();
	if (!child) {
		execvp(argv[2], argv + 2);
		die("%s: %s", argv[2], strerror(errno));
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		die("fork: %s", strerror(errno));
	if (!is_right(small, size) || !is_right(huge, size)) {
		printf("hold: a tag has changed\n");
		return 1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}
