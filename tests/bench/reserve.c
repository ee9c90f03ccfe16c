// SPDX-License-Identifier: GPL-2.0
/*
 * bench/reserve.c - several CPUs need blocks of tag storage at the same time, different ones
 *
 * usage: reserve CPUS PAGES
 *
 * One thread on each of the first CPUS, with memory of its own, of which it touches PAGES tagged pages, all threads at
 * a time. Prints "claims FREE OTHER": blocks that were claimed meanwhile, free and others, failed ones included;
 * "moved PAGES": those that were moved out of them; and "ipis RESCHEDULING CALLS OTHERS": interrupts that CPUs sent
 * each other, those for the threads' start and end included. Tells plugins/tlbi.c when to count. Exit status: 0, or 2
 * on errors.
 */

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>

#include "common.h"

static pthread_barrier_t barrier;
static size_t pages;

static void *reserve(void *argument)
{
	char *area = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE | PROT_MTE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET((uintptr_t)argument, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		die("there is no CPU %zu", (size_t)(uintptr_t)argument);
	if (area == MAP_FAILED || madvise(area, pages * PAGE, MADV_NOHUGEPAGE))
		die("memory can't be mapped: %s", strerror(errno));
	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < pages; i++)
		area[i * PAGE] = 1;
	/* What one frees early is no block that another one need not claim. */
	pthread_barrier_wait(&barrier);
	return NULL;
}

struct counts {
	uint64_t free;			/* claims */
	uint64_t others;
	uint64_t moved;
	uint64_t rescheduling;		/* interrupts that CPUs sent each other */
	uint64_t calls;
	uint64_t other_ipis;
};

/* A line of /proc/interrupts: "IPI0: COUNT COUNT... Rescheduling interrupts" */
static void count_line(const char *line, struct counts *counts)
{
	uint64_t *sum = strstr(line, "Rescheduling") ? &counts->rescheduling :
			strstr(line, "Function call") ? &counts->calls : &counts->other_ipis;
	char *end = strchr(line, ':') + 1;
	const char *number;

	do {
		number = end;
		*sum += strtoull(number, &end, 10);
	} while (end != number);
}

static struct counts count(void)
{
	struct counts counts = {
		.free = total("claims_free"),
		.others = total("claims_migrated") + total("claims_failed"),
		.moved = total("pages_migrated"),
	};
	FILE *file = fopen("/proc/interrupts", "r");
	char line[1024];

	if (!file)
		die("/proc/interrupts can't be read");
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, "IPI", 3) && strchr(line, ':'))
			count_line(line, &counts);
	fclose(file);
	return counts;
}

/* Where plugins/tlbi.c begins to count, and ends. */
static void mark(void)
{
	asm volatile("hint #127" : : : "memory");
}

static void run(pthread_t *threads, size_t cpus)
{
	mark();
	for (size_t i = 0; i < cpus; i++)
		if (pthread_create(&threads[i], NULL, reserve, (void *)i))
			die("there is no thread");
	for (size_t i = 0; i < cpus; i++)
		pthread_join(threads[i], NULL);
	mark();
}

int main(int argc, char **argv)
{
	size_t cpus = argc > 2 ? strtoul(argv[1], NULL, 0) : 0;
	struct counts before, after;
	pthread_t threads[64];

	pages = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;
	if (!pages || !cpus || cpus > ARRAY_SIZE(threads))
		die("usage: reserve CPUS PAGES");
	pthread_barrier_init(&barrier, NULL, cpus);
	before = count();
	run(threads, cpus);
	after = count();
	printf("claims %" PRIu64 " %" PRIu64 "\n", after.free - before.free, after.others - before.others);
	printf("moved %" PRIu64 "\n", after.moved - before.moved);
	printf("ipis %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", after.rescheduling - before.rescheduling,
	       after.calls - before.calls, after.other_ipis - before.other_ipis);
	return 0;
}
