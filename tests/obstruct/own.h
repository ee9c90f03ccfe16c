/* SPDX-License-Identifier: GPL-2.0 */
/*
 * obstruct/own.h - a process that pins its own pages and then wants tags for them
 *
 * Pages of ordinary memory, so their storage can be had, unless somebody is in its way for a while: so the process has
 * lent pages as well, and some of these are where the tags of its pinned pages belong. It has them written to a slow
 * disk, and meanwhile a child of it uses the pinned ones. Neither can be moved, so the fault waits: it may not spin,
 * each wait is counted, and when killed it must be gone before the disk is ready.
 */
#ifndef TESTS_OBSTRUCT_OWN_H
#define TESTS_OBSTRUCT_OWN_H

#include <sys/prctl.h>
#include <time.h>

#include "disk.h"
#include "job.h"
#include "pipe.h"

#define OWN_PIPES	4
#define OWN_PAGES	1024	/* pinned at a time */
#define OWN_OUT		512	/* written to the disk, at the least: fewer are in nobody's way */
#define OWN_MOST	2816	/* at a time: the disk holds twice as many */
#define OWN_KEPT	1024	/* stay where they are */
#define OWN_TRIES	4	/* until a fault waits, ... */
#define OWN_APART	8192	/* ... so many pages from each other */
#define OWN_REST	400	/* times 10 ms that the disk has to be done */

/* What is pinned. */
struct own_pins {
	char *memory;
	int ends[OWN_PIPES][2];
	unsigned int pipes;
	size_t pages;
};

/* What both processes see; times are microseconds. */
struct own {
	volatile size_t pinned;
	volatile size_t rounds;
	volatile size_t tagged;
	volatile size_t waits;	/* as the engine counts them */
	volatile size_t slept;	/* as the scheduler does */
	volatile uint64_t waited;
	volatile uint64_t worked;	/* meanwhile */
	volatile bool go;
};

static const struct disk own_disk = {
	.name = "obstruct-own", .mib = "24", .delay = "2000000000", .depth = "4096", .filled = true,
};

static const char *own_without;	/* why there is no disk, or NULL */
static struct own *own;
static size_t own_out;		/* pages that go to it at a time, */
static size_t own_step;		/* and one of how many of the last */
static pid_t own_child;
static uint64_t own_start;

static const char *prepare_own(void)
{
	own_without = disk_make(&own_disk);
	return NULL;
}

static const char *finish_own(void)
{
	if (!own_without)
		disk_remove(&own_disk);
	return NULL;
}

/* Pages on their way to a disk. Nobody else has one that is slow. */
static uint64_t own_writing(void)
{
	static const char name[] = "\nnr_writeback ";
	char text[16384], *found;

	found = read_text("/proc/vmstat", text, sizeof(text)) ? strstr(text, name) : NULL;
	if (!found)
		die("/proc/vmstat can't be read");
	return strtoull(found + sizeof(name) - 1, NULL, 10);
}

static void own_rest(void)
{
	for (unsigned int i = 0; own_writing() && i < OWN_REST; i++)
		usleep(10000);
}

static uint64_t microseconds(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000ULL + time.tv_nsec / 1000;
}

static uint64_t fault_waits(void)
{
	char text[32];

	return read_text(SYSFS "/fault_waits", text, sizeof(text)) ? strtoull(text, NULL, 10) : 0;
}

static long own_sleeps(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_nvcsw;
}

static size_t own_pinned(const struct job *job)
{
	return job->pages < OWN_PAGES ? job->pages : OWN_PAGES;
}

/* Most of what there is; none if memory is shared with many other methods. */
static size_t own_out_of(const struct job *job)
{
	size_t kept = own_pinned(job) + OWN_KEPT, out = job->pages > kept ? (job->pages - kept) / 4 : 0;

	own_step = 4;
	while (out > OWN_MOST) {
		out /= 2;
		own_step *= 2;
	}
	return own_without || out < OWN_OUT ? 0 : out;
}

static char *own_map(size_t pages)
{
	char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("there is no memory: %s", strerror(errno));
	madvise(memory, pages * PAGE, MADV_NOHUGEPAGE);
	memset(memory, 1, pages * PAGE);
	return memory;
}

static void own_pin(struct own_pins *pins, size_t pages)
{
	pins->memory = own_map(pages);
	for (pins->pipes = pins->pages = 0; pins->pipes < OWN_PIPES && pins->pages < pages; pins->pipes++) {
		int *ends = pins->ends[pins->pipes];

		if (!get_pipe(ends))
			break;
		pins->pages += put_in_pipe(ends[1], pins->memory + pins->pages * PAGE, pages - pins->pages);
	}
	if (!pins->pages)
		_exit(2);
}

static void own_unpin(struct own_pins *pins, size_t pages)
{
	munmap(pins->memory, pages * PAGE);
	while (pins->pipes--) {
		close(pins->ends[pins->pipes][0]);
		close(pins->ends[pins->pipes][1]);
	}
}

/* The access that may wait. What is read to count is no part of it. */
static void own_touch(volatile char *byte)
{
	uint64_t before = fault_waits(), cpu, elapsed;
	long sleeps = own_sleeps();

	elapsed = microseconds(CLOCK_MONOTONIC);
	cpu = microseconds(CLOCK_THREAD_CPUTIME_ID);
	*byte = 1;
	cpu = microseconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
	elapsed = microseconds(CLOCK_MONOTONIC) - elapsed;
	before = fault_waits() - before;
	own->tagged++;
	if (!before)
		return;
	own->slept += own_sleeps() - sleeps;
	own->waited += elapsed;
	own->worked += cpu;
	own->waits += before;
}

static void own_round(const struct job *job)
{
	size_t pages = own_pinned(job);
	struct own_pins pins;

	/* What is free lies together, too, and its tags may be where nothing is put out. */
	if (own_out && own->rounds && !own->waits)
		own_map(OWN_APART);
	own_pin(&pins, pages);
	own->pinned = pins.pages;
	if (mprotect(pins.memory, pages * PAGE, PROT_READ | PROT_WRITE | PROT_MTE))
		_exit(2);
	for (size_t page = 0; page < pins.pages; page++)
		own_touch(pins.memory + page * PAGE);
	/* The next try is to be with other pages: it could get these again, if they went. */
	if (!own_out || own->waits)
		own_unpin(&pins, pages);
	own->rounds++;
}

/* One page of four or more: what is in one piece holds the tags of one piece, and what is pinned may be elsewhere. */
static void own_put_out(const struct job *job, size_t odd)
{
	for (size_t page = 0; page < own_out; page++)
		madvise(job->memory + (job->pages + own_step * page + odd) * PAGE, PAGE, MADV_PAGEOUT);
}

/*
 * Another process, which tries while what was put out is written. After that it goes on only when there is memory:
 * after the others have taken theirs.
 */
static void own_start_child(const struct job *job)
{
	own_start = microseconds(CLOCK_MONOTONIC);
	own_child = fork();
	if (own_child < 0)
		die("there are no processes");
	if (own_child)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGTERM, SIG_DFL);
	do
		own_round(job);
	while (own_out && !own->waits && own->rounds < OWN_TRIES);
	for (;;) {
		if (own->go)
			own_round(job);
		usleep(100000);
	}
}

/* Ends the child; in how many ms. */
static uint64_t own_kill(void)
{
	uint64_t begin = microseconds(CLOCK_MONOTONIC);
	int status;

	kill(own_child, SIGKILL);
	if (waitpid(own_child, &status, 0) != own_child || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		die("obstruct: own: the child was not killed: status %#x", status);
	return (microseconds(CLOCK_MONOTONIC) - begin) / 1000;
}

/* One that is killed while it waits: for the disk, which is busy for much longer than a process needs to go. */
static void own_kill_waiting(const struct job *job)
{
	uint64_t before = fault_waits(), gone, writing;

	own_put_out(job, 0);
	own_start_child(job);
	while (fault_waits() == before && own->rounds < OWN_TRIES && !waitpid(own_child, NULL, WNOHANG))
		usleep(1000);
	if (fault_waits() == before)
		die("obstruct: own: no fault waited in %zu rounds", own->rounds);
	gone = own_kill();
	writing = own_writing();
	if (writing < own_out / 2)
		die("obstruct: own: killed at a wait, it was gone only when the disk had all but %" PRIu64 " pages",
		    writing);
	printf("obstruct: own: gone %" PRIu64 " ms after it was killed at a wait, %" PRIu64 " pages being written\n",
	       gone, writing);
	fflush(stdout);
	own_rest();
}

static const char *take_own(struct job *job)
{
	own_out = own_out_of(job);
	own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	/* The children's memory takes the place of this. */
	madvise(job->memory, own_pinned(job) * PAGE, MADV_DONTNEED);
	job->pages -= own_step * own_out;
	if (own_out)
		own_kill_waiting(job);
	memset(own, 0, sizeof(*own));
	own_put_out(job, 1);
	own_start_child(job);
	while (!own->rounds || (own_out && !own->waits && own->rounds < OWN_TRIES)) {
		if (waitpid(own_child, NULL, WNOHANG))
			die("obstruct: own: the child died");
		usleep(1000);
	}
	job->held = own->pinned;
	for (size_t page = 0; page < own_pinned(job); page++)
		fill_page(job, page);
	return NULL;
}

static void again_own(struct job *job)
{
	(void)job;
	own->go = true;
	usleep(10000);
}

static void drop_own(struct job *job)
{
	uint64_t lived = microseconds(CLOCK_MONOTONIC) - own_start, gone = own_kill();

	(void)job;
	printf("obstruct: own: %zu pages tagged of %zu pinned in each of %zu rounds, in %" PRIu64 " ms; "
	       "waited %zu times, slept %zu times, %" PRIu64 " us of processor time in %" PRIu64 " us; gone %"
	       PRIu64 " ms after it was killed\n", own->tagged, own->pinned, own->rounds, lived / 1000, own->waits,
	       own->slept, own->worked, own->waited, gone);
	if (own_without)
		printf("skip - own: it can't wait: %s\n", own_without);
	else if (own_out && !own->waits)
		die("obstruct: own: no fault waited");
	if (own->slept < own->waits)
		die("obstruct: own: a fault waits without sleep");
	if (exact_time && own->worked > own->waited / 10)
		die("obstruct: own: a fault that waits spins");
}

#endif /* TESTS_OBSTRUCT_OWN_H */
