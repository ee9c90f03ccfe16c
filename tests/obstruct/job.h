/* SPDX-License-Identifier: GPL-2.0 */
/*
 * obstruct/job.h - what a method of obstruct.c is, and what it is given
 */
#ifndef TESTS_OBSTRUCT_JOB_H
#define TESTS_OBSTRUCT_JOB_H

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "common.h"

#define NOBODY		65534
#define SCRATCH		"/mnt/scratch"
#define FUSE_MOUNT	"/tmp/obstruct.fuse"
#define FUSE_FILE	FUSE_MOUNT "/file"
#define FUSE_FILE_SIZE	(1ULL << 30)
#define CORE_FLAG	"/tmp/obstruct.core"

struct job;

/**
 * struct method - one way to keep memory from being moved
 * @name: what it is called on the command line
 * @prepare: as root, before anything else: what an administrator has to allow; why it can't be, or NULL
 * @finish: as root, undoes that; what was wrong, or NULL
 * @take: takes the references; why that is not possible, or NULL
 * @again: called over and over until the end
 * @drop: gives the references up
 * @early: @take while only tag storage is left, because it allocates what it holds
 * @pins: what it holds, the first pages of its memory, can't be moved any more, so none of them may be lent
 * @file: its pages are those of a file
 * @empty: it has no memory of its own
 * @root: it is what an administrator does
 * @twins: sixteen pages have the same content
 */
struct method {
	const char *name;
	const char *(*prepare)(void);
	const char *(*finish)(void);
	const char *(*take)(struct job *job);
	void (*again)(struct job *job);
	void (*drop)(struct job *job);
	bool early;
	bool pins;
	bool file;
	bool empty;
	bool root;
	bool twins;
};

/**
 * struct job - one method at work, in a process of its own
 * @method: which
 * @pid: the process
 * @channel: between it and the main process
 * @memory: filled with a pattern; of a file if the method says so
 * @pages: its size
 * @held: pages that the method could get hold of; for some, what else it did
 * @file: if the method needs one
 * @seed: of the pattern
 * @random: state of random choices
 * @skipped: the method can't be used here
 * @were_lent: for each page, whether it lay on tag storage before references were taken
 */
struct job {
	const struct method *method;
	pid_t pid;
	int channel;
	char *memory;
	size_t pages;
	size_t held;
	int file;
	uint64_t seed;
	uint64_t random;
	bool skipped;
	uint8_t *were_lent;
};

extern volatile sig_atomic_t stop;
/* Time is instructions, so that what a process took of it is what it did. */
extern bool exact_time;

/* What word @index of the memory holds. */
static inline uint64_t pattern(const struct job *job, size_t index)
{
	if (job->method->twins)
		index = index / WORDS / 16 * WORDS + index % WORDS;
	return (index ^ job->seed) * 0x9e3779b97f4a7c15ULL;
}

static inline void fill_page(const struct job *job, size_t page)
{
	uint64_t *words = (uint64_t *)(job->memory + page * PAGE);

	for (size_t i = 0; i < WORDS; i++)
		words[i] = pattern(job, page * WORDS + i);
}

/* A thread with a small stack that is never joined. */
static inline bool start_thread(void *(*function)(void *), void *argument)
{
	pthread_attr_t attributes;
	pthread_t thread;
	bool done;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 32768);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	done = !pthread_create(&thread, &attributes, function, argument);
	pthread_attr_destroy(&attributes);
	return done;
}

/* As many files as may be open. */
static inline size_t all_files(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur - 32;
}

#endif /* TESTS_OBSTRUCT_JOB_H */
