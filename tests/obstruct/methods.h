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
#include <sys/sysinfo.h>

#include "disk.h"
#include "job.h"
#include "own.h"
#include "pipe.h"
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

#define THREADS		64
#define COPIES		128	/* threads, while there is little memory for their stacks */
#define CHUNK		(64UL << 10)

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

/* The signal that ends all may come while it waits. */
static void await_event(aio_context_t context)
{
	struct io_event event;
	long got;

	do
		got = syscall(SYS_io_getevents, context, 1, 1, &event, NULL);
	while (got < 0 && errno == EINTR);
	if (got != 1)
		die("asynchronous I/O: %s", strerror(errno));
	if ((long)event.res <= 0)
		die("asynchronous I/O failed: %ld", (long)event.res);
}

static void again_aio(struct job *job)
{
	static aio_context_t context;
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
			await_event(context);
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
	size_t size = job->pages * PAGE, at = 0;

	while (at < size && !stop) {
		size_t part = size - at < sizeof(buffer) ? size - at : sizeof(buffer);
		struct iovec local = { buffer, part }, remote = { job->memory + at, part };

		if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != (ssize_t)part)
			die("process_vm_readv: %s", strerror(errno));
		at += part;
		job->held = at / PAGE;
	}
}

static char *stalled;		/* memory that can't be had */
static struct job *stalled_job;

#define PVM_PAGES	1024UL	/* as many as the kernel pins at once */

static size_t pvm_pages(const struct job *job)
{
	return job->pages < PVM_PAGES ? job->pages : PVM_PAGES;
}

static void *pvm_thread(void *argument)
{
	size_t size = pvm_pages(stalled_job) * PAGE, at = (size_t)argument * size;
	struct iovec local = { stalled + at, size };
	struct iovec remote = { stalled_job->memory + at, size };

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

	for (size_t i = 0; !why && (i + 1) * pvm_pages(job) <= job->pages; i++)
		if (start_thread(pvm_thread, (void *)i))
			job->held += pvm_pages(job);
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

	for (size_t i = 0; !why && i < COPIES; i++)
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

static const char *forbid_userfaultfd(void)
{
	write_text("/proc/sys/vm/unprivileged_userfaultfd", "0");
	return NULL;
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

static const char *finish_ksm(void)
{
	write_text("/sys/kernel/mm/ksm/run", "2");
	write_text("/sys/kernel/mm/ksm/run", "0");
	return NULL;
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

static const char *finish_coredump(void)
{
	write_text("/proc/sys/kernel/core_pattern", "core");
	unlink(CORE_FLAG);
	return NULL;
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

/* 5 ms for each request, and not many at once. */
static const struct disk writeback_disk = {
	.name = "obstruct", .mib = "64", .delay = "5000000", .depth = "4", .filled = true,
};

static const char *prepare_writeback(void)
{
	return disk_make(&writeback_disk);
}

static const char *finish_writeback(void)
{
	disk_remove(&writeback_disk);
	return NULL;
}

/* How many of these pages are not in memory. */
static size_t pages_out(const char *memory, size_t pages)
{
	static uint64_t pfns[256];
	size_t out = 0;

	get_pfns(memory, pfns, pages);
	for (size_t i = 0; i < pages; i++)
		out += !pfns[i];
	return out;
}

static void again_writeback(struct job *job)
{
	for (size_t page = 0; page < job->pages && !stop; page += 256) {
		size_t pages = job->pages - page < 256 ? job->pages - page : 256;

		madvise(job->memory + page * PAGE, pages * PAGE, MADV_PAGEOUT);
		if (job->held < job->pages)
			job->held += pages_out(job->memory + page * PAGE, pages);
	}
	/* Only to have them back. */
	for (size_t page = 0; page < job->pages && !stop; page++)
		(void)((volatile char *)job->memory)[page * PAGE];
}

#define TRACING		"/sys/kernel/tracing/"
#define PROBE		"obstruct_report"

/* How often the host was told, since the probe is there; it has no counter of its own. */
static size_t reports(void)
{
	FILE *file = fopen(TRACING "kprobe_profile", "r");
	char line[256];
	size_t hits = 0;

	while (file && fgets(line, sizeof(line), file))
		sscanf(line, " " PROBE " %zu", &hits);
	if (file)
		fclose(file);
	return hits;
}

static void remove_probe(void)
{
	write_text(TRACING "events/kprobes/" PROBE "/enable", "0");
	write_text(TRACING "kprobe_events", "-:" PROBE "\n");
}

static const char *prepare_reporting(void)
{
	char path[64], features[128];
	bool found = false;

	for (int i = 0; i < 64 && !found; i++) {
		snprintf(path, sizeof(path), "/sys/bus/virtio/drivers/virtio_balloon/virtio%d/features", i);
		found = read_text(path, features, sizeof(features)) && features[5] == '1';
	}
	if (!found)
		return "the machine has no balloon that reports free pages";
	mount("none", TRACING, "tracefs", 0, NULL);
	if (!write_text(TRACING "kprobe_events", "p:" PROBE " virtballoon_free_page_report\n") ||
	    !write_text(TRACING "events/kprobes/" PROBE "/enable", "1"))
		return "the kernel has no probes that tell whether free pages are reported";
	return NULL;
}

static const char *finish_reporting(void)
{
	size_t count = reports();

	remove_probe();
	printf("obstruct: reporting: the host was told %zu times of free pages\n", count);
	return count ? NULL : "no free page was reported";
}

#define REPORT_HUGE	8

/* Whole huge pages come and go, which the balloon tells the host, two seconds later. */
static void again_reporting(struct job *job)
{
	size_t size = REPORT_HUGE * HUGE;
	char *huge = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (huge == MAP_FAILED)
		die("there is no memory: %s", strerror(errno));
	madvise(huge, size, MADV_HUGEPAGE);
	for (size_t at = 0; at < size; at += PAGE)
		((volatile char *)huge)[at] = 1;
	munmap(huge, size);
	/* Its own as well: then some of it is on tag storage. */
	madvise(job->memory, job->pages * PAGE, MADV_DONTNEED);
	for (int i = 0; i < 25 && !stop; i++)
		usleep(100000);
	for (size_t page = 0; page < job->pages; page++)
		fill_page(job, page);
	job->held = job->pages;
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
	{ .name = "vmsplice", .take = take_vmsplice, .pins = true },
	{ .name = "tee", .take = take_tee, .pins = true },
	{ .name = "own", .prepare = prepare_own, .finish = finish_own, .take = take_own, .again = again_own,
	  .drop = drop_own, .early = true },
	{ .name = "odirect", .prepare = need_scratch, .take = open_direct, .again = again_odirect },
	{ .name = "aio", .prepare = need_scratch, .take = open_direct, .again = again_aio },
	{ .name = "aio-fuse", .prepare = stall_start, .take = take_aio_fuse, .pins = true },
	{ .name = "uring", .take = take_uring, .pins = true },
	{ .name = "zerocopy", .take = take_zerocopy, .pins = true },
	{ .name = "process-vm", .again = again_pvm },
	{ .name = "process-vm-fuse", .prepare = stall_start, .take = take_pvm_fuse, .pins = true },
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
	{ .name = "reporting", .prepare = prepare_reporting, .finish = finish_reporting, .again = again_reporting },
	{ .name = "offline", .prepare = prepare_offline, .again = again_offline, .empty = true, .root = true },
};

#endif /* TESTS_OBSTRUCT_METHODS_H */
