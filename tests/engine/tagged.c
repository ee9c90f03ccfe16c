// SPDX-License-Identifier: GPL-2.0
/*
 * engine/tagged.c - holds tagged memory until it is told to stop, and verifies it then
 *
 * usage: tagged MIB [--huge] [--forks N] [--ready PATH]
 *
 *   MIB           how much memory is mapped PROT_MTE; each granule gets data and a tag that depend on its address
 *   --huge        asks for huge pages, and fails if there are none
 *   --forks N     N children write data and tags of their own to all of it, so that every page is copied
 *   --ready PATH  makes this file when all of that is done
 *
 * SIGTERM ends it: parent and children verify every granule. Prints what was verified. Exit status: 0 if all
 * was right, 1 if not, 2 on other errors.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROT_MTE		0x20
#define SET_TAGGED_ADDR_CTRL	55
#define TAGGED_ADDR_ENABLE	1UL
#define ALL_TAGS		(0xffffUL << 3)

#define MIB			(1UL << 20)
#define HUGE			(2 * MIB)
#define GRANULE			16UL
#define MAX_FORKS		64

static volatile sig_atomic_t stop;

__attribute__((noreturn, format(printf, 1, 2)))
static void die(const char *format, ...)
{
	va_list values;

	va_start(values, format);
	vfprintf(stderr, format, values);
	va_end(values);
	fputc('\n', stderr);
	exit(2);
}

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

static unsigned int tag_of(const char *granule, unsigned int who)
{
	return ((uint64_t)granule / GRANULE * 7 + ((uint64_t)granule >> 12) + who) % 16;
}

static uint64_t data_of(const char *granule, unsigned int who)
{
	return ((uint64_t)granule + who) * 0x9e3779b97f4a7c15ULL;
}

static void fill(char *start, size_t size, unsigned int who)
{
	for (char *granule = start; granule < start + size; granule += GRANULE) {
		uint64_t tagged = (uint64_t)granule | (uint64_t)tag_of(granule, who) << 56;

		asm volatile("stg %0, [%0]" : : "r" (tagged) : "memory");
		((uint64_t *)granule)[0] = data_of(granule, who);
		((uint64_t *)granule)[1] = ~data_of(granule, who);
	}
}

static size_t verify(const char *start, size_t size, unsigned int who)
{
	size_t wrong = 0;

	for (const char *granule = start; granule < start + size; granule += GRANULE) {
		uint64_t tagged = (uint64_t)granule;

		asm volatile("ldg %0, [%0]" : "+r" (tagged) : : "memory");
		wrong += (tagged >> 56 & 15) != tag_of(granule, who) ||
			 ((uint64_t *)granule)[0] != data_of(granule, who) ||
			 ((uint64_t *)granule)[1] != ~data_of(granule, who);
	}
	return wrong;
}

/* KiB of huge pages in the mapping that starts at @start. */
static unsigned long huge_kib(const char *start)
{
	FILE *smaps = fopen("/proc/self/smaps", "r");
	unsigned long kib = 0, from;
	int inside = 0;
	char line[512];

	if (!smaps)
		die("/proc/self/smaps can't be read");
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%*x ", &from) == 1 && strchr(line, '-'))
			inside = from == (unsigned long)start;
		else if (inside)
			sscanf(line, "AnonHugePages: %lu", &kib);
	}
	fclose(smaps);
	return kib;
}

/* A child that has tags and data of its own, and verifies them when it is told to. */
static pid_t start_child(char *start, size_t size, unsigned int who)
{
	int ready[2];
	char byte = 0;
	pid_t child;

	if (pipe(ready))
		die("there is no pipe");
	child = fork();
	if (child < 0)
		die("fork failed");
	if (!child) {
		fill(start, size, who);
		if (write(ready[1], &byte, 1) != 1)
			_exit(2);
		while (!stop)
			usleep(10000);
		_exit(verify(start, size, who) ? 1 : 0);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		die("a child died");
	close(ready[0]);
	return child;
}

static unsigned int end_child(pid_t child)
{
	int status;

	kill(child, SIGTERM);
	if (waitpid(child, &status, 0) != child)
		die("a child is lost");
	return !WIFEXITED(status) || WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	size_t size = argc > 1 ? strtoul(argv[1], NULL, 0) * MIB : 0;
	unsigned int forks = 0, failed = 0;
	const char *ready = NULL;
	pid_t child[MAX_FORKS];
	size_t wrong;
	char *start;
	int huge = 0;

	for (int i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "--huge"))
			huge = 1;
		else if (!strcmp(argv[i], "--forks") && i + 1 < argc)
			forks = strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--ready") && i + 1 < argc)
			ready = argv[++i];
		else
			die("tagged: unknown option %s", argv[i]);
	}
	if (!size || forks > MAX_FORKS)
		die("usage: tagged MIB [--huge] [--forks N] [--ready PATH]");
	if (prctl(SET_TAGGED_ADDR_CTRL, TAGGED_ADDR_ENABLE | ALL_TAGS, 0, 0, 0))
		die("this machine has no MTE");
	signal(SIGTERM, on_term);

	/* Aligned to a huge page by giving up what is before. */
	start = mmap(NULL, size + HUGE, PROT_READ | PROT_WRITE | PROT_MTE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (start == MAP_FAILED)
		die("%zu MiB can't be mapped", size / MIB);
	munmap(start, -(uintptr_t)start % HUGE);
	start += -(uintptr_t)start % HUGE;
	madvise(start, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);

	fill(start, size, 0);
	if (huge && !huge_kib(start))
		die("tagged: there are no huge pages");
	if (huge)
		printf("tagged: %lu KiB in huge pages\n", huge_kib(start));
	for (unsigned int i = 0; i < forks; i++)
		child[i] = start_child(start, size, i + 1);
	if (ready)
		close(open(ready, O_WRONLY | O_CREAT, 0600));
	fflush(stdout);
	while (!stop)
		usleep(10000);

	for (unsigned int i = 0; i < forks; i++)
		failed += end_child(child[i]);
	wrong = verify(start, size, 0);
	printf("tagged: %zu granules verified, %zu wrong; %u of %u children found wrong ones\n", size / GRANULE, wrong,
	       failed, forks);
	return wrong || failed ? 1 : 0;
}
