// SPDX-License-Identifier: GPL-2.0
/*
 * engine/keep.c - keeps the pages of files in memory, locked, until it is killed
 *
 * usage: keep READY FILE...
 *
 * For tests in which kswapd never rests: it would evict the shell and its tools again and again, and nothing else would
 * get on. Makes the file READY when all are locked. Exit status: 2 on an error.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int keep(const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	void *pages;

	if (file < 0 || fstat(file, &status))
		return -1;
	pages = mmap(NULL, status.st_size, PROT_READ, MAP_SHARED, file, 0);
	close(file);
	return pages == MAP_FAILED ? -1 : mlock(pages, status.st_size);
}

int main(int argc, char **argv)
{
	int file;

	for (int i = 2; i < argc; i++)
		if (keep(argv[i]))
			return 2;
	file = argc > 2 ? open(argv[1], O_CREAT | O_WRONLY | O_CLOEXEC, 0600) : -1;
	if (file < 0)
		return 2;
	close(file);
	for (;;)
		pause();
}
