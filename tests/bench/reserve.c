// SPDX-License-Identifier: GPL-2.0
/*
 * bench/reserve.c - several CPUs need blocks of tag storage at the same time, different ones
 *
 * usage: reserve CPUS PAGES
 *
 * One thread on each of the first CPUS, with memory of its own, of which it touches PAGES tagged pages, all threads at
 * a time. Prints "claims FREE OTHER": blocks that were claimed meanwhile, free and others, failed ones included. Exit
 * status: 0, or 2 on errors.
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

static uint64_t others(void)
{
	return total("claims_migrated") + total("claims_failed");
}

int main(int argc, char **argv)
{
	size_t cpus = argc > 2 ? strtoul(argv[1], NULL, 0) : 0;
	uint64_t before = total("claims_free"), before_others = others();
	pthread_t threads[64];

	pages = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;
	if (!pages || !cpus || cpus > ARRAY_SIZE(threads))
		die("usage: reserve CPUS PAGES");
	pthread_barrier_init(&barrier, NULL, cpus);
	for (size_t i = 0; i < cpus; i++)
		if (pthread_create(&threads[i], NULL, reserve, (void *)i))
			die("there is no thread");
	for (size_t i = 0; i < cpus; i++)
		pthread_join(threads[i], NULL);
	printf("claims %" PRIu64 " %" PRIu64 "\n", total("claims_free") - before, others() - before_others);
	return 0;
}
