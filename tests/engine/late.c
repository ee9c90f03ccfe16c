// SPDX-License-Identifier: GPL-2.0
/*
 * engine/late.c - a task named "late" that faults one tagged page, or some
 *
 * usage: late DONE [PAGES]
 *
 * It stops before that, until it is continued. With one page, its page tables exist, so the page is the first thing
 * that it allocates under that name. Makes the file DONE after, waits for SIGTERM, and looks at data and tags. Exit
 * status: 0 if they are right, 1 if not, 2 on other errors.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define PROT_MTE		0x20
#define SET_TAGGED_ADDR_CTRL	55
#define TAGGED_ADDR_ENABLE	1UL
#define PAGE			4096
#define TAG			(5UL << 56)

static int make(const char *path)
{
	int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	return file < 0 ? -1 : close(file);
}

int main(int argc, char **argv)
{
	size_t pages = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
	sigset_t term;
	uint64_t loaded;
	int signal;
	char *area;

	if (argc < 2 || !pages || prctl(SET_TAGGED_ADDR_CTRL, TAGGED_ADDR_ENABLE, 0, 0, 0))
		return 2;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	area = mmap(NULL, (pages + 3) * PAGE, PROT_READ | PROT_WRITE | PROT_MTE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		return 2;
	/* Somewhere in between a page table may end. */
	area[0] = 1;
	area[(pages + 2) * PAGE] = 1;
	if (raise(SIGSTOP) || prctl(PR_SET_NAME, "late", 0, 0, 0))
		return 2;
	for (size_t i = 1; i <= pages; i++)
		area[i * PAGE] = 2;
	if (prctl(PR_SET_NAME, "on-time", 0, 0, 0) || make(argv[1]))
		return 2;
	for (size_t i = 1; i <= pages; i++)
		asm volatile("stg %0, [%0]" : : "r"((uintptr_t)(area + i * PAGE) | TAG) : "memory");
	sigwait(&term, &signal);
	for (size_t i = 1; i <= pages; i++) {
		loaded = (uintptr_t)(area + i * PAGE);
		asm volatile("ldg %0, [%0]" : "+r"(loaded) : : "memory");
		if (loaded != ((uintptr_t)(area + i * PAGE) | TAG) || area[i * PAGE] != 2)
			return 1;
	}
	return 0;
}
