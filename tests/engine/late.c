// SPDX-License-Identifier: GPL-2.0
/*
 * engine/late.c - a task named "late" that faults one tagged page
 *
 * usage: late DONE
 *
 * It stops before that, until it is continued. Its page tables exist, so the page is the first thing that it allocates
 * under that name. Makes the file DONE after, waits for SIGTERM, and looks at data and tag. Exit status: 0 if they are
 * right, 1 if not, 2 on other errors.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
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
	sigset_t term;
	uint64_t loaded;
	int signal;
	char *area;

	if (argc != 2 || prctl(SET_TAGGED_ADDR_CTRL, TAGGED_ADDR_ENABLE, 0, 0, 0))
		return 2;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	area = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE | PROT_MTE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		return 2;
	/* Somewhere in between a page table may end. */
	area[0] = 1;
	area[3 * PAGE] = 1;
	if (raise(SIGSTOP) || prctl(PR_SET_NAME, "late", 0, 0, 0))
		return 2;
	area[PAGE] = 2;
	if (prctl(PR_SET_NAME, "on-time", 0, 0, 0) || make(argv[1]))
		return 2;
	asm volatile("stg %0, [%0]" : : "r"((uintptr_t)(area + PAGE) | TAG) : "memory");
	sigwait(&term, &signal);
	loaded = (uintptr_t)(area + PAGE);
	asm volatile("ldg %0, [%0]" : "+r"(loaded) : : "memory");
	return loaded == ((uintptr_t)(area + PAGE) | TAG) && area[PAGE] == 2 ? 0 : 1;
}
