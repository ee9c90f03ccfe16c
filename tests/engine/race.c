// SPDX-License-Identifier: GPL-2.0
/*
 * engine/race.c - several CPUs prepare the same page, and pages of the same block, at the same time
 *
 * usage: race SECONDS
 *
 * One page: pages that were in use become PROT_MTE, and all threads touch one after the other, each at the same moment.
 * One block: all threads touch and free pages of one mapping, so that neighbours belong to different CPUs. Each lasts
 * SECONDS. What may be left over, counts that belong to no page, the engine's audit finds.
 *
 * Prints how often; exit status 0, or 2 on errors.
 */

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PROT_MTE	0x20
#define PAGE		4096UL
#define SAME		64	/* pages of a round */
#define AREA		512	/* pages of the common mapping */

static size_t threads;
static time_t deadline;
static atomic_ulong arrived, operations;
static char *volatile memory;

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static char *map(size_t pages, int prot)
{
	char *place = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE | prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (place == MAP_FAILED)
		die("mmap");
	madvise(place, pages * PAGE, MADV_NOHUGEPAGE);
	return place;
}

static void pin(size_t cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

/* All threads leave this at the same moment; spinning, because nothing else is as exact. */
static void meet(unsigned long *step)
{
	atomic_fetch_add(&arrived, 1);
	*step += threads;
	while (atomic_load(&arrived) < *step)
		;
}

static void *same_page(void *argument)
{
	size_t number = (size_t)argument;
	unsigned long step = 0;

	pin(number);
	do {
		if (!number) {
			memory = map(SAME, 0);
			memset(memory, 1, SAME * PAGE);
			if (mprotect(memory, SAME * PAGE, PROT_READ | PROT_WRITE | PROT_MTE))
				die("mprotect");
		}
		for (size_t page = 0; page < SAME; page++) {
			meet(&step);
			*(volatile char *)(memory + page * PAGE) = 2;
		}
		meet(&step);
		if (!number) {
			munmap(memory, SAME * PAGE);
			operations += SAME;
			if (time(NULL) >= deadline)
				memory = NULL;
		}
		meet(&step);
	} while (memory);
	return NULL;
}

static void *same_block(void *argument)
{
	size_t number = (size_t)argument;
	uint64_t random = number * 2 + 1;

	pin(number);
	while (time(NULL) < deadline) {
		for (int i = 0; i < 256; i++) {
			char *page;

			random = random * 6364136223846793005ULL + 1442695040888963407ULL;
			page = memory + (random >> 33) % AREA * PAGE;
			if (random >> 32 & 1)
				*(volatile char *)page = 1;
			else
				madvise(page, PAGE, MADV_DONTNEED);
		}
		operations += 256;
	}
	return NULL;
}

static void run(const char *name, void *(*function)(void *), time_t seconds)
{
	pthread_t ids[64];

	arrived = 0;
	operations = 0;
	deadline = time(NULL) + seconds;
	for (size_t i = 0; i < threads; i++)
		if (pthread_create(&ids[i], NULL, function, (void *)i))
			die("pthread_create");
	for (size_t i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	printf("race: %s: %lu\n", name, (unsigned long)operations);
}

int main(int argc, char **argv)
{
	time_t seconds = argc > 1 ? atoi(argv[1]) : 0;

	threads = sysconf(_SC_NPROCESSORS_ONLN);
	if (threads < 2 || threads > 64 || seconds < 1) {
		fprintf(stderr, "usage: race SECONDS, on 2 to 64 CPUs\n");
		return 2;
	}
	run("pages touched by all at once", same_page, seconds);
	memory = map(AREA, PROT_MTE);
	run("pages of common blocks touched or freed", same_block, seconds);
	return 0;
}
