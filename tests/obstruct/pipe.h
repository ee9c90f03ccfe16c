/* SPDX-License-Identifier: GPL-2.0 */
/*
 * obstruct/pipe.h - memory in pipes
 */
#ifndef TESTS_OBSTRUCT_PIPE_H
#define TESTS_OBSTRUCT_PIPE_H

#include "job.h"

#define PIPE_MOST	(1 << 20)

/*
 * Pipes. A user may have 16384 pages in all of them (/proc/sys/fs/pipe-user-pages-soft); beyond that each new
 * pipe still gets two.
 */

/* A pipe that is as large as may be; its capacity in pages, 0 if there is none. */
static size_t get_pipe(int ends[2])
{
	int size = 0;

	if (pipe2(ends, O_NONBLOCK | O_CLOEXEC))
		return 0;
	for (int want = PIPE_MOST; want >= (int)PAGE && size <= 0; want /= 2)
		size = fcntl(ends[0], F_SETPIPE_SZ, want);
	if (size <= 0)
		size = fcntl(ends[0], F_GETPIPE_SZ);
	return size / PAGE;
}

/* One page after the other, so that each takes one place of the pipe. */
static size_t put_in_pipe(int pipe, char *memory, size_t pages)
{
	size_t done;

	for (done = 0; done < pages; done++) {
		struct iovec part = { memory + done * PAGE, PAGE };

		if (vmsplice(pipe, &part, 1, SPLICE_F_NONBLOCK) != (ssize_t)PAGE)
			break;
	}
	return done;
}

#endif /* TESTS_OBSTRUCT_PIPE_H */
