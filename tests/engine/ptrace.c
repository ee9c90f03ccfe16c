// SPDX-License-Identifier: GPL-2.0
/*
 * engine/ptrace.c - a debugger reads and writes the tags of pages whose tag storage is lent
 *
 * usage: ptrace
 *
 * Fresh: pages that were in use untagged and have become PROT_MTE, but were not touched since: the first access is
 * the debugger's, and must work. Hidden: the same, but without any access for their owner, so that nobody has prepared
 * them: what lies there is somebody's data, and no tags: EIO.
 *
 * Prints "ok - WHAT" or "not ok - WHAT"; exit status 0 if all was right, 1 if not, 2 on other errors.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROT_MTE		0x20
#define SET_TAGGED_ADDR_CTRL	55
#define TAGGED_ADDR_ENABLE	1UL
#define PEEKMTETAGS		33
#define POKEMTETAGS		34

#define PAGE			4096UL
#define PAGES			64
#define GRANULES		256

static int failed;

static void result(int good, const char *what)
{
	printf("%s - %s%s%s\n", good ? "ok" : "not ok", what, good ? "" : ": ", good ? "" : strerror(errno));
	failed |= !good;
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

/* Returns how many tags were read or written; -1 with errno. */
static long tags(int request, pid_t child, char *page, unsigned char *buffer)
{
	struct iovec vector = { buffer, GRANULES };

	return ptrace(request, child, page, &vector) ? -1 : (long)vector.iov_len;
}

/* In the child: are the tags those that the debugger wrote? */
static int verify(char *memory)
{
	int wrong = 0;

	for (size_t g = 0; g < PAGES * GRANULES; g++) {
		uint64_t tagged = (uint64_t)memory + g * 16;

		asm volatile("ldg %0, [%0]" : "+r" (tagged) : : "memory");
		wrong += (tagged >> 56 & 15) != g % 15;
	}
	return wrong ? 1 : 0;
}

static void fresh(pid_t child, char *memory)
{
	unsigned char out[GRANULES], in[GRANULES];
	long good = 0;

	for (size_t page = 0; page < PAGES; page++) {
		for (size_t g = 0; g < GRANULES; g++)
			out[g] = (page * GRANULES + g) % 15;
		if (tags(POKEMTETAGS, child, memory + page * PAGE, out) != GRANULES)
			break;
		if (tags(PEEKMTETAGS, child, memory + page * PAGE, in) != GRANULES || memcmp(in, out, GRANULES))
			break;
		good++;
	}
	result(good == PAGES, "a debugger writes the tags of pages that nobody has touched since they are PROT_MTE");
}

static void hidden(pid_t child, char *memory)
{
	unsigned char in[GRANULES];
	long good = 0;

	for (size_t page = 0; page < PAGES; page++)
		good += tags(PEEKMTETAGS, child, memory + page * PAGE, in) < 0 && errno == EIO;
	result(good == PAGES, "it gets no tags of pages that nobody has prepared");
}

int main(void)
{
	char *one = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *two = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t child;

	if (one == MAP_FAILED || two == MAP_FAILED)
		die("mmap");
	if (prctl(SET_TAGGED_ADDR_CTRL, TAGGED_ADDR_ENABLE, 0, 0, 0))
		die("this machine has no MTE");
	child = fork();
	if (!child) {
		madvise(one, PAGES * PAGE, MADV_NOHUGEPAGE);
		madvise(two, PAGES * PAGE, MADV_NOHUGEPAGE);
		memset(one, 1, PAGES * PAGE);
		memset(two, 2, PAGES * PAGE);
		if (mprotect(one, PAGES * PAGE, PROT_READ | PROT_WRITE | PROT_MTE) ||
		    mprotect(two, PAGES * PAGE, PROT_NONE | PROT_MTE) || ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(2);
		raise(SIGSTOP);
		_exit(verify(one));
	}
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
		die("the child");
	fresh(child, one);
	hidden(child, two);
	ptrace(PTRACE_CONT, child, 0, 0);
	errno = 0;
	result(waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status),
	       "its owner finds the tags that the debugger wrote");
	return failed;
}
