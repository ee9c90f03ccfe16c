// SPDX-License-Identifier: GPL-2.0
/*
 * obstruct/victim.c - touches tagged memory, and tells what its faults cost
 *
 * usage: victim MIB [--bound SECONDS] [--copy]
 *
 *   MIB              how much memory is mapped PROT_MTE; the first access to each of its pages is measured
 *   --bound SECONDS  ends after so long (default: 120)
 *   --copy           measures the first access after a fork as well, when each page is copied
 *
 * Prints how many pages were had, and of the first access to a page: median, 99 % and worst case of processor time
 * and of elapsed time, and the most faults that it took; and how often it slept. Times are nanoseconds, on
 * the profile `count` instructions. Then verifies all tags and data.
 * Exit status: 0; 1 if a tag or word was wrong; 3 if it got no further within the bound; 2 on other errors.
 */

#define _GNU_SOURCE
#include <getopt.h>
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "common.h"

struct sample {
	uint32_t cpu;		/* both in units of 10 ns */
	uint32_t elapsed;
};

/* What the watching process sees. */
struct progress {
	volatile size_t done;
};

static uint64_t now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_minflt;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* @offset: of the member of a sample. */
static void print_times(const char *what, const struct sample *samples, size_t count, size_t offset)
{
	uint32_t *times = malloc(count * sizeof(*times));

	if (!times)
		die("there is no memory");
	for (size_t i = 0; i < count; i++)
		times[i] = *(const uint32_t *)((const char *)&samples[i] + offset);
	qsort(times, count, sizeof(*times), compare);
	printf("; %s %u0, %u0, %u0", what, times[count / 2], times[count * 99 / 100], times[count - 1]);
	free(times);
}

static unsigned int tag_of(size_t page, size_t granule)
{
	return (page * 7 + granule * 3 + 1) & 15;
}

static uint64_t word_of(size_t page, size_t granule)
{
	return (page << 8 | granule) * 0x9e3779b97f4a7c15ULL;
}

static void touch(char *memory, size_t page, struct sample *sample, long *most)
{
	char *start = memory + page * PAGE;
	long before = faults(), taken;
	uint64_t cpu, elapsed = now(CLOCK_MONOTONIC);

	cpu = now(CLOCK_THREAD_CPUTIME_ID);
	set_tag(start, tag_of(page, 0));
	cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
	elapsed = now(CLOCK_MONOTONIC) - elapsed;
	taken = faults() - before;
	sample->cpu = cpu / 10;
	sample->elapsed = elapsed / 10;
	if (taken > *most)
		*most = taken;
	for (size_t granule = 0; granule < GRANULES; granule++) {
		set_tag(start + granule * GRANULE, tag_of(page, granule));
		*(uint64_t *)(start + granule * GRANULE) = word_of(page, granule);
	}
}

static size_t verify(const char *memory, size_t pages)
{
	size_t wrong = 0;

	for (size_t page = 0; page < pages; page++)
		for (size_t granule = 0; granule < GRANULES; granule++) {
			const char *address = memory + page * PAGE + granule * GRANULE;

			wrong += get_tag(address) != tag_of(page, granule) ||
				 *(const uint64_t *)address != word_of(page, granule);
		}
	return wrong;
}

static int run(char *memory, size_t pages, struct sample *samples, struct progress *progress, const char *what)
{
	struct rusage usage;
	size_t wrong;
	long most = 0;

	for (progress->done = 0; progress->done < pages; progress->done++)
		touch(memory, progress->done, &samples[progress->done], &most);
	getrusage(RUSAGE_SELF, &usage);
	wrong = verify(memory, pages);
	printf("victim: %zu pages %s", pages, what);
	print_times("processor time", samples, pages, offsetof(struct sample, cpu));
	print_times("elapsed time", samples, pages, offsetof(struct sample, elapsed));
	printf("; at most %ld faults for one; slept %ld times; %ld ms in all; %zu granules wrong\n", most,
	       usage.ru_nvcsw, usage.ru_stime.tv_sec * 1000 + usage.ru_stime.tv_usec / 1000, wrong);
	fflush(stdout);
	return wrong != 0;
}

/* Parent and child have the same pages; half of memory is enough. */
static int run_copies(char *memory, size_t pages, struct sample *samples, struct progress *progress)
{
	pid_t child;
	int status;

	fflush(stdout);
	child = fork();
	if (child < 0)
		die("victim: fork: %s", strerror(errno));
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(run(memory, pages / 2, samples, progress, "copied"));
	}
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
		die("victim: the child died");
	return WEXITSTATUS(status) || verify(memory, pages);
}

static void *get(size_t size, int prot, int flags)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE | prot, flags | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("victim: there is no memory");
	return memory;
}

/* Ends the worker, and tells how far it was. */
static int give_up(pid_t worker, const struct progress *progress, size_t pages, unsigned int bound)
{
	uint64_t begin = now(CLOCK_MONOTONIC);
	int status;

	kill(worker, SIGKILL);
	waitpid(worker, &status, 0);
	printf("victim: page %zu of %zu was not had within %u s; killed, and gone after %" PRIu64 " ms\n",
	       progress->done + 1, pages, bound, (now(CLOCK_MONOTONIC) - begin) / 1000000);
	return 3;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "bound", required_argument, NULL, 'b' },
		{ "copy", no_argument, NULL, 'c' },
		{ NULL, 0, NULL, 0 }
	};
	int option, failed, status;
	unsigned int bound = 120;
	bool copy = false;
	struct progress *progress;
	struct sample *samples;
	size_t pages;
	pid_t worker;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'b')
			bound = strtoul(optarg, NULL, 0);
		else if (option == 'c')
			copy = true;
		else
			return 2;
	}
	pages = optind < argc ? strtoul(argv[optind], NULL, 0) * MIB / PAGE : 0;
	if (!pages)
		die("usage: victim MIB [--bound SECONDS] [--copy]");
	if (!have_mte())
		die("this machine has no MTE");
	progress = get(sizeof(*progress), 0, MAP_SHARED);
	samples = get(pages * sizeof(*samples), 0, MAP_PRIVATE | MAP_POPULATE);
	worker = fork();
	if (!worker) {
		char *memory = get(pages * PAGE, PROT_MTE, MAP_PRIVATE);

		madvise(memory, pages * PAGE, MADV_NOHUGEPAGE);
		failed = run(memory, pages, samples, progress, "touched");
		if (copy && !failed)
			failed = run_copies(memory, pages, samples, progress);
		_exit(failed);
	}
	for (unsigned int waited = 0; waited < bound * 100; waited++) {
		if (waitpid(worker, &status, WNOHANG) == worker) {
			if (WIFEXITED(status))
				return WEXITSTATUS(status);
			printf("victim: it died of signal %d at page %zu of %zu\n", WTERMSIG(status),
			       progress->done + 1, pages);
			return 1;
		}
		usleep(10000);
	}
	return give_up(worker, progress, pages, bound);
}
