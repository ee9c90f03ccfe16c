/* SPDX-License-Identifier: GPL-2.0 */
/*
 * obstruct/methods.h - the methods of obstruct.c, each a way to keep pages where they are
 */
#ifndef TESTS_OBSTRUCT_METHODS_H
#define TESTS_OBSTRUCT_METHODS_H

#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/swap.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "job.h"
#include "stall.h"

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY	60
#endif
#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY	0x4000000
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY	1
#endif

#define PIPE_MOST	(1 << 20)
#define THREADS		64
#define CHUNK		(64UL << 10)

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

static const char *take_vmsplice(struct job *job)
{
	size_t files = all_files();
	int ends[2];

	while (files >= 2 && job->held < job->pages && get_pipe(ends)) {
		size_t done = put_in_pipe(ends[1], job->memory + job->held * PAGE, job->pages - job->held);

		files -= 2;
		if (!done)
			break;
		job->held += done;
	}
	return NULL;
}

/* The first pipe of each pair is emptied: only what tee made is left. */
static const char *take_tee(struct job *job)
{
	static char sink[PIPE_MOST];
	size_t files = all_files();
	int from[2], to[2];

	if (!get_pipe(from))
		return "there is no pipe";
	while (files >= 4 && job->held < job->pages && get_pipe(to)) {
		size_t room = fcntl(to[0], F_GETPIPE_SZ) / PAGE;
		size_t left = job->pages - job->held, done;
		ssize_t copied;

		files -= 2;
		done = put_in_pipe(from[1], job->memory + job->held * PAGE, left < room ? left : room);
		if (!done)
			break;
		copied = tee(from[0], to[1], done * PAGE, SPLICE_F_NONBLOCK);
		if (read(from[0], sink, sizeof(sink)) < 0 || copied <= 0)
			break;
		job->held += copied / PAGE;
	}
	return NULL;
}

static const char *take_splice(struct job *job)
{
	size_t files = all_files();
	int ends[2];

	while (files >= 2 && job->held < job->pages && get_pipe(ends)) {
		off_t offset = job->held * PAGE;
		ssize_t done = splice(job->file, &offset, ends[1], NULL, (job->pages - job->held) * PAGE,
				      SPLICE_F_NONBLOCK);

		files -= 2;
		if (done <= 0)
			break;
		job->held += done / PAGE;
	}
	return NULL;
}

/* Sockets that nobody reads from */

static int get_socket(bool zerocopy)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), sender = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int small = 4096, large = MIB, one = 1;
	socklen_t size = sizeof(address);

	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	setsockopt(sender, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
	if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &size))
		return -1;
	if (connect(sender, (struct sockaddr *)&address, size) && errno != EINPROGRESS)
		return -1;
	if (accept(listener, NULL, NULL) < 0)
		return -1;
	close(listener);
	if (zerocopy && setsockopt(sender, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)))
		return -1;
	return sender;
}

static const char *take_zerocopy(struct job *job)
{
	for (int i = 0; i < 256 && job->held < job->pages; i++) {
		int sender = get_socket(true);
		ssize_t sent = 0;

		if (sender < 0)
			return i ? NULL : "the kernel has no MSG_ZEROCOPY for TCP";
		while (job->held < job->pages) {
			size_t left = (job->pages - job->held) * PAGE;

			sent = send(sender, job->memory + job->held * PAGE, left < CHUNK ? left : CHUNK, MSG_ZEROCOPY);
			if (sent < (ssize_t)PAGE)
				break;
			job->held += sent / PAGE;
		}
		/* RLIMIT_MEMLOCK */
		if (sent < 0 && errno == ENOBUFS)
			break;
	}
	return NULL;
}

static const char *take_sendfile(struct job *job)
{
	for (int i = 0; i < 64 && job->held < job->pages; i++) {
		int sender = get_socket(false);
		off_t offset = job->held * PAGE;
		ssize_t sent = 0;

		if (sender < 0)
			return "there are no sockets";
		while ((sent = sendfile(sender, job->file, &offset, (job->pages - job->held) * PAGE)) > 0)
			job->held += sent / PAGE;
	}
	return NULL;
}

/* A process that pins its own pages and then wants tags for them: it may wait, not spin, and must go when killed. */

#define OWN_PAGES	256

static pid_t own_child;
static volatile size_t *own_done;
static uint64_t own_start;

static uint64_t milliseconds(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000ULL + time.tv_nsec / 1000000;
}

static const char *take_own(struct job *job)
{
	size_t pages = job->pages < OWN_PAGES ? job->pages : OWN_PAGES, size = pages * PAGE;
	int ends[2];

	own_done = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	own_start = milliseconds(CLOCK_MONOTONIC);
	/* The child's memory is its own, or it would be given copies. */
	madvise(job->memory, size, MADV_DONTNEED);
	own_child = fork();
	if (own_child < 0)
		return "there are no processes";
	if (own_child) {
		for (size_t page = 0; page < pages; page++)
			fill_page(job, page);
		job->held = pages;
		return NULL;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (size_t page = 0; page < pages; page++)
		fill_page(job, page);
	if (!get_pipe(ends) || !put_in_pipe(ends[1], job->memory, pages))
		_exit(2);
	if (mprotect(job->memory, size, PROT_READ | PROT_WRITE | PROT_MTE))
		_exit(2);
	for (; *own_done < pages; ++*own_done)
		((volatile char *)job->memory)[*own_done * PAGE] = 1;
	for (;;)
		pause();
}

static void drop_own(struct job *job)
{
	uint64_t lived = milliseconds(CLOCK_MONOTONIC) - own_start, begin = milliseconds(CLOCK_MONOTONIC);
	struct rusage usage;
	int status;

	kill(own_child, SIGKILL);
	if (wait4(own_child, &status, 0, &usage) != own_child)
		die("a child is lost");
	begin = milliseconds(CLOCK_MONOTONIC) - begin;
	printf("obstruct: own: %zu of %zu pages tagged, %ld ms of processor time in %" PRIu64 " ms, gone %" PRIu64
	       " ms after it was killed\n", *own_done, job->held,
	       usage.ru_stime.tv_sec * 1000 + usage.ru_stime.tv_usec / 1000, lived, begin);
	if (begin > 2000)
		die("obstruct: own: it took too long to end");
}

/* Direct I/O */

static const char *need_scratch(void)
{
	return access(SCRATCH, W_OK) ? "the machine has no scratch disk" : chmod(SCRATCH, 0777) ? "chmod" : NULL;
}

static const char *open_direct(struct job *job)
{
	char path[64];

	snprintf(path, sizeof(path), SCRATCH "/direct.%d", getpid());
	job->file = open(path, O_RDWR | O_CREAT | O_DIRECT, 0600);
	if (job->file < 0 || ftruncate(job->file, job->pages * PAGE))
		return "direct I/O is not possible";
	unlink(path);
	job->held = job->pages;
	return NULL;
}

/* Writes it, and reads it back to where it was. */
static void again_odirect(struct job *job)
{
	for (size_t at = 0; at < job->pages * PAGE && !stop; at += CHUNK) {
		size_t size = job->pages * PAGE - at < CHUNK ? job->pages * PAGE - at : CHUNK;

		if (pwrite(job->file, job->memory + at, size, at) != (ssize_t)size ||
		    pread(job->file, job->memory + at, size, at) != (ssize_t)size)
			die("direct I/O failed: %s", strerror(errno));
	}
}

static struct iocb *get_iocbs(struct job *job, size_t *count)
{
	size_t size = job->pages * PAGE;
	struct iocb *iocbs;

	*count = (size + MIB - 1) / MIB;
	iocbs = calloc(*count, sizeof(*iocbs));
	if (!iocbs)
		die("there is no memory");
	for (size_t i = 0; i < *count; i++) {
		iocbs[i].aio_lio_opcode = IOCB_CMD_PREAD;
		iocbs[i].aio_fildes = job->file;
		iocbs[i].aio_buf = (uint64_t)(job->memory + i * MIB);
		iocbs[i].aio_nbytes = size - i * MIB < MIB ? size - i * MIB : MIB;
		iocbs[i].aio_offset = i * MIB;
	}
	return iocbs;
}

static void again_aio(struct job *job)
{
	static aio_context_t context;
	struct io_event event;
	struct iocb *iocbs;
	size_t count;

	if (!context && syscall(SYS_io_setup, 256, &context))
		die("the kernel has no AIO");
	iocbs = get_iocbs(job, &count);
	for (int pass = 0; pass < 2; pass++) {
		long submitted = 0;

		for (size_t i = 0; i < count; i++) {
			struct iocb *iocb = &iocbs[i];

			iocb->aio_lio_opcode = pass ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE;
			submitted += syscall(SYS_io_submit, context, 1, &iocb) == 1;
		}
		while (submitted--)
			if (syscall(SYS_io_getevents, context, 1, 1, &event, NULL) != 1 || (long)event.res <= 0)
				die("asynchronous I/O failed");
	}
	free(iocbs);
}

/* Reads of a file whose server never answers. */
static const char *take_aio_fuse(struct job *job)
{
	aio_context_t context = 0;
	struct iocb *iocbs;
	size_t count;

	job->file = open(FUSE_FILE, O_RDWR | O_DIRECT);
	if (job->file < 0)
		return "FUSE has no direct I/O";
	if (syscall(SYS_io_setup, 256, &context))
		return "the kernel has no AIO";
	iocbs = get_iocbs(job, &count);
	for (size_t i = 0; i < count; i++) {
		struct iocb *iocb = &iocbs[i];

		if (syscall(SYS_io_submit, context, 1, &iocb) == 1)
			job->held += iocb->aio_nbytes / PAGE;
	}
	return NULL;
}

static const char *take_uring(struct job *job)
{
	struct io_uring_params parameters = { 0 };
	int ring = syscall(SYS_io_uring_setup, 8, &parameters);

	if (ring < 0)
		return "the kernel has no io_uring";
	/* As much as RLIMIT_MEMLOCK lets it. */
	for (size_t pages = job->pages; pages; pages = pages * 3 / 4) {
		struct iovec part = { job->memory, pages * PAGE };

		if (!syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &part, 1)) {
			job->held = pages;
			return NULL;
		}
	}
	return "no buffer could be registered";
}

/* Other processes' memory */

static void again_pvm(struct job *job)
{
	static char buffer[1 << 20];

	for (size_t at = 0; at + sizeof(buffer) <= job->pages * PAGE && !stop; at += sizeof(buffer)) {
		struct iovec local = { buffer, sizeof(buffer) }, remote = { job->memory + at, sizeof(buffer) };

		if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != (ssize_t)sizeof(buffer))
			die("process_vm_readv: %s", strerror(errno));
	}
	job->held = job->pages;
}

static char *stalled;		/* memory that can't be had */
static struct job *stalled_job;

#define PVM_PAGES	1024	/* as many as the kernel pins at once */

static void *pvm_thread(void *argument)
{
	size_t number = (size_t)argument;
	struct iovec local = { stalled + number * PVM_PAGES * PAGE, PVM_PAGES * PAGE };
	struct iovec remote = { stalled_job->memory + number * PVM_PAGES * PAGE, PVM_PAGES * PAGE };

	process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	return NULL;
}

/* When the server has gone, what it did not deliver is an error. */
static void on_bus(int signal)
{
	(void)signal;
	for (;;)
		pause();
}

static const char *map_stalled(struct job *job, int flags)
{
	int file = open(FUSE_FILE, O_RDWR);

	stalled = mmap(NULL, FUSE_FILE_SIZE, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, file, 0);
	stalled_job = job;
	signal(SIGBUS, on_bus);
	return stalled == MAP_FAILED ? "FUSE has no mappings" : NULL;
}

/* The kernel pins the pages, and then waits for the place that they are to be copied to. */
static const char *take_pvm_fuse(struct job *job)
{
	const char *why = map_stalled(job, MAP_SHARED);

	for (size_t i = 0; !why && (i + 1) * PVM_PAGES <= job->pages; i++)
		if (start_thread(pvm_thread, (void *)i))
			job->held += PVM_PAGES;
	usleep(500000);
	return why;
}

static void *cow_thread(void *argument)
{
	((volatile char *)stalled)[(size_t)argument * CHUNK] = 1;
	return NULL;
}

/* Each thread has allocated the copy, and waits for what is to be copied. */
static const char *take_cow_fuse(struct job *job)
{
	const char *why = map_stalled(job, MAP_PRIVATE);

	for (size_t i = 0; !why && i < 256; i++)
		job->held += start_thread(cow_thread, (void *)i);
	usleep(500000);
	return why;
}

static void *read_thread(void *argument)
{
	size_t number = (size_t)argument;

	return (void *)pread(stalled_job->file, stalled + number * 2 * MIB, PAGE,
			     number * PAGE % (stalled_job->pages * PAGE));
}

/* The kernel holds the folio that it copies from. */
static const char *take_read_fuse(struct job *job)
{
	const char *why = map_stalled(job, MAP_SHARED);

	for (size_t i = 0; !why && i < THREADS; i++)
		job->held += start_thread(read_thread, (void *)i);
	usleep(500000);
	return why;
}

/* userfaultfd */

static const char *allow_userfaultfd(void)
{
	return write_text("/proc/sys/vm/unprivileged_userfaultfd", "1") ? NULL : "the kernel has no userfaultfd";
}

static void forbid_userfaultfd(void)
{
	write_text("/proc/sys/vm/unprivileged_userfaultfd", "0");
}

static int get_userfaultfd(char *memory, size_t size, uint64_t mode)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = mode == UFFDIO_REGISTER_MODE_WP ? UFFD_FEATURE_PAGEFAULT_FLAG_WP : 0,
	};
	struct uffdio_register registration = { .range = { (uint64_t)memory, size }, .mode = mode };
	int file = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (file < 0 || ioctl(file, UFFDIO_API, &api) || ioctl(file, UFFDIO_REGISTER, &registration))
		return -1;
	return file;
}

static const char *take_read_uffd(struct job *job)
{
	stalled = mmap(NULL, 2 * MIB * THREADS, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);
	stalled_job = job;
	if (get_userfaultfd(stalled, 2 * MIB * THREADS, UFFDIO_REGISTER_MODE_MISSING) < 0)
		return "the kernel has no userfaultfd";
	for (size_t i = 0; i < THREADS; i++)
		job->held += start_thread(read_thread, (void *)i);
	usleep(500000);
	return NULL;
}

#define COPIES	256

static int copy_into;

static void *copy_thread(void *argument)
{
	size_t offset = (size_t)argument * PAGE;
	struct uffdio_copy copy = {
		.src = (uint64_t)stalled + offset,
		.dst = (uint64_t)stalled + (COPIES + (size_t)argument) * PAGE,
		.len = PAGE,
	};

	ioctl(copy_into, UFFDIO_COPY, &copy);
	return NULL;
}

/* Each thread has allocated the page to fill, and waits for what it is to be filled with. */
static const char *take_uffd_copy(struct job *job)
{
	stalled = mmap(NULL, 2 * COPIES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);
	copy_into = get_userfaultfd(stalled, 2 * COPIES * PAGE, UFFDIO_REGISTER_MODE_MISSING);
	if (copy_into < 0)
		return "the kernel has no userfaultfd";
	for (size_t i = 0; i < COPIES; i++)
		job->held += start_thread(copy_thread, (void *)i);
	usleep(500000);
	return NULL;
}

static void *write_thread(void *argument)
{
	volatile char *byte = stalled_job->memory + (size_t)argument * (stalled_job->pages / THREADS) * PAGE;

	*byte = *byte;
	return NULL;
}

/* All of the memory is write-protected, and some faults on it are not answered. */
static const char *take_uffd_wp(struct job *job)
{
	struct uffdio_writeprotect protect = {
		.range = { (uint64_t)job->memory, job->pages * PAGE },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	job->file = get_userfaultfd(job->memory, job->pages * PAGE, UFFDIO_REGISTER_MODE_WP);
	if (job->file < 0 || ioctl(job->file, UFFDIO_WRITEPROTECT, &protect))
		return "the kernel's userfaultfd can't write-protect";
	stalled_job = job;
	for (size_t i = 0; i < THREADS; i++)
		start_thread(write_thread, (void *)i);
	usleep(500000);
	job->held = job->pages;
	return NULL;
}

static void drop_uffd_wp(struct job *job)
{
	close(job->file);
}

/* Memory that is used in unusual ways */

static const char *take_mlock(struct job *job)
{
	while (job->held < job->pages && !mlock(job->memory + job->held * PAGE, PAGE))
		job->held++;
	return NULL;
}

static const char *prepare_ksm(void)
{
	if (!write_text("/sys/kernel/mm/ksm/pages_to_scan", "2000") ||
	    !write_text("/sys/kernel/mm/ksm/sleep_millisecs", "20") || !write_text("/sys/kernel/mm/ksm/run", "1"))
		return "the kernel has no KSM";
	return NULL;
}

static void finish_ksm(void)
{
	write_text("/sys/kernel/mm/ksm/run", "2");
	write_text("/sys/kernel/mm/ksm/run", "0");
}

static const char *take_ksm(struct job *job)
{
	job->held = job->pages;
	return madvise(job->memory, job->pages * PAGE, MADV_MERGEABLE) ? "the kernel has no KSM" : NULL;
}

/* Merged pages are given copies of their own, to be merged again. */
static void again_ksm(struct job *job)
{
	for (size_t i = 0; i < 64; i++) {
		volatile char *byte = job->memory + below(&job->random, job->pages) * PAGE;

		*byte = *byte;
	}
	usleep(20000);
}

static void *futex_thread(void *argument)
{
	size_t page = (size_t)argument * (stalled_job->pages / THREADS);
	uint32_t *word = (uint32_t *)(stalled_job->memory + page * PAGE);

	syscall(SYS_futex, word, (size_t)argument % 2 ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE, *word, NULL, NULL, 0);
	return NULL;
}

static const char *take_futex(struct job *job)
{
	stalled_job = job;
	for (size_t i = 0; i < THREADS; i++)
		job->held += start_thread(futex_thread, (void *)i);
	return NULL;
}

/* One child, or many, that have the same memory mapped. */
static const char *take_children(struct job *job, int count, bool traced)
{
	for (int i = 0; i < count; i++) {
		pid_t child = fork();

		if (child < 0)
			break;
		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (traced) {
				ptrace(PTRACE_TRACEME, 0, 0, 0);
				raise(SIGSTOP);
			}
			for (;;)
				pause();
		}
		if (traced)
			waitpid(child, NULL, WUNTRACED);
		job->held = job->pages;
	}
	return job->held ? NULL : "there are no processes";
}

static const char *take_shared(struct job *job)
{
	return take_children(job, 100, false);
}

static const char *take_ptrace(struct job *job)
{
	return take_children(job, 1, true);
}

static const char *prepare_coredump(void)
{
	char text[256] = "|", *program = text + 1;
	int file = open(CORE_FLAG, O_WRONLY | O_CREAT, 0600);
	ssize_t length = readlink("/proc/self/exe", program, sizeof(text) - 32);

	if (file < 0 || length < 0)
		return "the helper is not found";
	close(file);
	strcpy(program + length, " --core");
	return write_text("/proc/sys/kernel/core_pattern", text) ? NULL : "the kernel has no core dumps";
}

static void finish_coredump(void)
{
	write_text("/proc/sys/kernel/core_pattern", "core");
	unlink(CORE_FLAG);
}

/* Reads nothing of the core until the end; started by the kernel. */
static int core_helper(void)
{
	while (!access(CORE_FLAG, F_OK))
		usleep(100000);
	return 0;
}

static const char *take_coredump(struct job *job)
{
	for (int i = 0; i < 16; i++) {
		if (!fork()) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			signal(SIGABRT, SIG_DFL);
			abort();
		}
	}
	usleep(500000);
	job->held = job->pages;
	return NULL;
}

/* Each CPU keeps the last few pages that were faulted in there in a batch of its own. */
static const char *take_batches(struct job *job)
{
	size_t page = 0;

	for (int cpu = 0; cpu < get_nprocs(); cpu++) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set))
			break;
		madvise(job->memory + page * PAGE, 15 * PAGE, MADV_DONTNEED);
		for (int i = 0; i < 15 && page < job->pages; i++, page++)
			fill_page(job, page);
	}
	job->held = page;
	return NULL;
}

/* Files and devices */

static const char *take_metadata(struct job *job)
{
	char path[64];

	snprintf(path, sizeof(path), SCRATCH "/metadata.%d", getpid());
	if (mkdir(path, 0700) || chdir(path))
		return "no folder can be made";
	for (job->held = 0; job->held < 2000; job->held++) {
		snprintf(path, sizeof(path), "%zu", job->held);
		if (mknod(path, S_IFREG | 0600, 0))
			break;
	}
	return NULL;
}

static void again_metadata(struct job *job)
{
	char path[64];

	for (size_t i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "%" PRIu64, below(&job->random, job->held));
		unlink(path);
		mknod(path, S_IFREG | 0600, 0);
	}
	sync();
}

#define SLOW		"/sys/kernel/config/nullb/obstruct"
#define SLOW_DEVICE	"/dev/obstruct"
#define SLOW_MIB	64

/* A disk that takes 5 ms for each request, as swap space. */
static const char *prepare_writeback(void)
{
	static const char *const settings[][2] = {
		{ SLOW "/memory_backed", "1" }, { SLOW "/size", "64" }, { SLOW "/irqmode", "2" },
		{ SLOW "/completion_nsec", "5000000" }, { SLOW "/submit_queues", "1" },
		{ SLOW "/hw_queue_depth", "4" }, { SLOW "/power", "1" },
	};
	static union {
		char page[PAGE];
		struct {
			char boot[1024];
			uint32_t version, last_page, bad_pages;
		} header;
	} swap;
	int file;

	mount("none", "/sys/kernel/config", "configfs", 0, NULL);
	if (mkdir(SLOW, 0700) && errno != EEXIST)
		return "the kernel has no null_blk";
	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (!write_text(settings[i][0], settings[i][1]))
			return "null_blk can't be set up";
	swap.header.version = 1;
	swap.header.last_page = SLOW_MIB * MIB / PAGE - 1;
	memcpy(swap.page + PAGE - 10, "SWAPSPACE2", 10);
	file = open(SLOW_DEVICE, O_WRONLY);
	if (file < 0 || write(file, &swap, PAGE) != (ssize_t)PAGE || fsync(file))
		return "the slow disk can't be written";
	close(file);
	return swapon(SLOW_DEVICE, 0) ? "the slow disk can't be swap space" : NULL;
}

static void finish_writeback(void)
{
	swapoff(SLOW_DEVICE);
	write_text(SLOW "/power", "0");
	rmdir(SLOW);
}

static void again_writeback(struct job *job)
{
	job->held = job->pages;
	for (size_t page = 0; page < job->pages && !stop; page += 256) {
		size_t pages = job->pages - page < 256 ? job->pages - page : 256;

		madvise(job->memory + page * PAGE, pages * PAGE, MADV_PAGEOUT);
	}
	/* Only to have them back. */
	for (size_t page = 0; page < job->pages && !stop; page++)
		(void)((volatile char *)job->memory)[page * PAGE];
}

static const char *prepare_reporting(void)
{
	char path[64], features[128];

	for (int i = 0; i < 64; i++) {
		snprintf(path, sizeof(path), "/sys/bus/virtio/drivers/virtio_balloon/virtio%d/features", i);
		if (read_text(path, features, sizeof(features)) && features[5] == '1')
			return NULL;
	}
	return "the machine has no balloon that reports free pages";
}

/* Whole huge pages come and go, which the balloon tells the host. */
static void again_reporting(struct job *job)
{
	(void)job;
	usleep(2100000);
}

/* Memory blocks that were there at boot can't go, but the kernel tries for a while. */
static void again_offline(struct job *job)
{
	char path[64];

	for (int i = 0; i < 1024 && !stop; i++) {
		snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%d/state", i);
		if (access(path, W_OK))
			continue;
		job->held++;
		if (write_text(path, "offline"))
			write_text(path, "online");
		usleep(10000);
	}
}

static const char *prepare_offline(void)
{
	return access("/sys/devices/system/memory", F_OK) ? "the kernel has no memory hotplug" : NULL;
}

static const struct method methods[] = {
	{ .name = "none" },
	{ .name = "vmsplice", .take = take_vmsplice },
	{ .name = "tee", .take = take_tee },
	{ .name = "own", .take = take_own, .drop = drop_own, .early = true },
	{ .name = "odirect", .prepare = need_scratch, .take = open_direct, .again = again_odirect },
	{ .name = "aio", .prepare = need_scratch, .take = open_direct, .again = again_aio },
	{ .name = "aio-fuse", .prepare = stall_start, .take = take_aio_fuse },
	{ .name = "uring", .take = take_uring },
	{ .name = "zerocopy", .take = take_zerocopy },
	{ .name = "process-vm", .again = again_pvm },
	{ .name = "process-vm-fuse", .prepare = stall_start, .take = take_pvm_fuse },
	{ .name = "cow-fuse", .prepare = stall_start, .take = take_cow_fuse, .early = true },
	{ .name = "mlock", .take = take_mlock },
	{ .name = "userfaultfd", .prepare = allow_userfaultfd, .finish = forbid_userfaultfd, .take = take_uffd_wp,
	  .drop = drop_uffd_wp },
	{ .name = "uffd-copy", .prepare = allow_userfaultfd, .finish = forbid_userfaultfd, .take = take_uffd_copy,
	  .early = true },
	{ .name = "shared", .take = take_shared },
	{ .name = "ksm", .prepare = prepare_ksm, .finish = finish_ksm, .take = take_ksm, .again = again_ksm,
	  .twins = true },
	{ .name = "futex", .take = take_futex },
	{ .name = "ptrace", .take = take_ptrace },
	{ .name = "coredump", .prepare = prepare_coredump, .finish = finish_coredump, .take = take_coredump },
	{ .name = "batches", .take = take_batches, .early = true },
	{ .name = "writeback", .prepare = prepare_writeback, .finish = finish_writeback, .again = again_writeback },
	{ .name = "splice", .take = take_splice, .file = true },
	{ .name = "sendfile", .take = take_sendfile, .file = true },
	{ .name = "read-fuse", .prepare = stall_start, .take = take_read_fuse, .file = true },
	{ .name = "read-userfaultfd", .prepare = allow_userfaultfd, .finish = forbid_userfaultfd,
	  .take = take_read_uffd, .file = true },
	{ .name = "metadata", .prepare = need_scratch, .take = take_metadata, .again = again_metadata, .empty = true },
	{ .name = "reporting", .prepare = prepare_reporting, .again = again_reporting },
	{ .name = "offline", .prepare = prepare_offline, .again = again_offline, .empty = true, .root = true },
};

#endif /* TESTS_OBSTRUCT_METHODS_H */
