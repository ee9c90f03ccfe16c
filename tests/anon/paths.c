// SPDX-License-Identifier: GPL-2.0
/*
 * anon/paths.c - one directed test for each way in which private anonymous memory becomes tagged, is copied
 * while it is, or ceases to be
 *
 * usage: paths [all | NAME...]
 *
 * Each test runs in a process of its own, with tag checks on. Prints "ok - NAME", "not ok - NAME: WHY" or
 * "skip - NAME: WHY" for each; exit status 0 if none failed, else 1. Needs root; huge pages are expected
 * to be available.
 */

#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "directed.h"

#define HALF		(HUGE_PAGES / 2)
#define MPOL_BIND	2
#define MPOL_MF_MOVE	2
#define MOVES		20	/* attempts; 0.1 s each */
#define THREADS		8

#define BALANCING	"/sys/kernel/debug/sched/numa_balancing/"
#define COMPACT		"/proc/sys/vm/compact_memory"
#define DROP_CACHES	"/proc/sys/vm/drop_caches"
#define NUMA_BALANCING	"/proc/sys/kernel/numa_balancing"
#define THP		"/sys/kernel/mm/transparent_hugepage/"

#define KPF_COMPOUND_HEAD	15
#define KPF_COMPOUND_TAIL	16

/* A file of the kernel's that is changed for a test. */
struct setting {
	const char *path, *value;
	char before[256];
};

/* Of "always [madvise] never", what is in brackets. */
static void read_setting(struct setting *s)
{
	char *start;

	if (!read_text(s->path, s->before, sizeof(s->before)))
		fail("%s: %s", s->path, strerror(errno));
	start = strchr(s->before, '[');
	if (start) {
		memmove(s->before, start + 1, strlen(start));
		*strchrnul(s->before, ']') = 0;
	}
}

/* What is called runs in a process of its own, so that the settings are as before when it has failed, too. */
static void with_settings(struct setting *settings, size_t count, void (*function)(size_t), size_t argument)
{
	bool restored = true;
	int status;
	pid_t pid;

	for (size_t i = 0; i < count; i++)
		read_setting(&settings[i]);
	pid = fork();
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (!pid) {
		for (size_t i = 0; i < count; i++)
			if (!write_text(settings[i].path, settings[i].value))
				fail("%s: %s", settings[i].path, strerror(errno));
		function(argument);
		_exit(PASSED);
	}
	if (waitpid(pid, &status, 0) != pid)
		fail("waitpid: %s", strerror(errno));
	for (size_t i = 0; i < count; i++)
		restored &= write_text(settings[i].path, settings[i].before);
	if (!WIFEXITED(status))
		fail("died of signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status))
		_exit(WEXITSTATUS(status));
	if (!restored)
		fail("a setting can't be restored");
}

/* Faults */

static void tagged_fault(void)
{
	char *memory = map(96, RW | PROT_MTE);

	/* First touched by a tag, by a store, by a load. */
	write_tags(memory, 0, 32, 1);
	write_data(memory, 32, 32, 1);
	expect_zeros(memory, 64, 32);
	expect_zeros(memory, 0, 32);
	expect_tags(memory, 0, 32, 1);
	expect_no_tags(memory, 32, 64);
	write_data(memory, 0, 32, 1);
	write_tags(memory, 32, 32, 1);
	write_all(memory, 64, 32, 1);
	expect_all(memory, 0, 96, 1);
}

static pthread_barrier_t barrier;
static char *raced;

static void *race_thread(void *argument)
{
	size_t number = (size_t)argument;

	check_tags();
	for (size_t page = 0; page < 128; page++) {
		pthread_barrier_wait(&barrier);
		for (size_t g = page * GRANULES + number; g < (page + 1) * GRANULES; g += THREADS) {
			char *granule = raced + g * GRANULE;

			set_tag(granule, tag_for(g, 1));
			*(uint64_t *)with_tag(granule, tag_for(g, 1)) = word_for(g * 2, 1);
			*(uint64_t *)with_tag(granule + 8, tag_for(g, 1)) = word_for(g * 2 + 1, 1);
		}
	}
	return NULL;
}

static void race(int prot)
{
	pthread_t threads[THREADS];

	raced = map(128, RW);
	if (prot) {
		protect(raced, 128, prot);
	} else {
		/* Populated and untagged before. */
		write_data(raced, 0, 128, 2);
		protect(raced, 128, RW | PROT_MTE);
	}
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (size_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, race_thread, (void *)i))
			fail("there are no threads");
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	expect_all(raced, 0, 128, 1);
}

static void race_fault(void)
{
	race(RW | PROT_MTE);
}

static void race_mprotect(void)
{
	race(0);
}

static void zero_page(void)
{
	char *memory = map(64, RW | PROT_MTE);

	expect_zeros(memory, 0, 64);
	expect_no_tags(memory, 0, 64);
	write_tags(memory, 0, 32, 1);
	expect_zeros(memory, 0, 64);
	expect_no_tags(memory, 32, 32);
	write_all(memory, 32, 32, 1);
	expect_tags(memory, 0, 64, 1);
	/* Nobody else's zeros have tags now. */
	memory = map(64, RW | PROT_MTE);
	expect_no_tags(memory, 0, 64);
	memory = map(64, RW);
	expect_zeros(memory, 0, 64);
	protect(memory, 64, RW | PROT_MTE);
	expect_no_tags(memory, 0, 64);
}

static void huge_zero_page(void)
{
	char *plain, *memory;

	if (!write_text(THP "use_zero_page", "1"))
		fail("the huge zero page can't be turned on");
	plain = map_huge(RW);
	expect_zeros(plain, 0, HUGE_PAGES);
	memory = map_huge(RW | PROT_MTE);
	expect_zeros(memory, 0, HUGE_PAGES);
	expect_no_tags(memory, 0, HUGE_PAGES);
	write_all(memory, 3, 1, 1);
	write_all(memory, HUGE_PAGES - 1, 1, 1);
	expect_all(memory, 3, 1, 1);
	expect_no_tags(memory, 4, HUGE_PAGES - 5);
	expect_zeros(memory, 4, HUGE_PAGES - 5);
	/* The huge zero page itself becomes part of a tagged mapping. */
	protect(plain, HUGE_PAGES, RW | PROT_MTE);
	expect_no_tags(plain, 0, HUGE_PAGES);
	write_all(plain, 0, HUGE_PAGES, 2);
	expect_all(plain, 0, HUGE_PAGES, 2);
	memory = map_huge(RW | PROT_MTE);
	expect_no_tags(memory, 0, HUGE_PAGES);
	expect_zeros(memory, 0, HUGE_PAGES);
}

/* The kernel is the first that touches a page, through user addresses and through the page itself. */
static void kernel_access(void)
{
	char *memory = map(64, RW | PROT_MTE), *source = map(64, RW);
	struct iovec local = { source, 32 * PAGE }, remote = { memory, 32 * PAGE };
	int ends[2];

	write_data(source, 0, 64, 1);
	if (process_vm_writev(getpid(), &local, 1, &remote, 1, 0) != (ssize_t)(32 * PAGE))
		fail("process_vm_writev: %s", strerror(errno));
	if (pipe(ends))
		fail("pipe: %s", strerror(errno));
	for (size_t page = 32; page < 64; page++)
		if (write(ends[1], source + page * PAGE, PAGE) != (ssize_t)PAGE ||
		    read(ends[0], memory + page * PAGE, PAGE) != (ssize_t)PAGE)
			fail("pipe: %s", strerror(errno));
	expect_data(memory, 0, 64, 1);
	expect_no_tags(memory, 0, 64);
	write_tags(memory, 0, 64, 1);
	/* An untagged page that the kernel reads right after it was made PROT_MTE. */
	write_data(source, 0, 64, 2);
	protect(source, 64, RW | PROT_MTE);
	memory = map(32, RW);
	local.iov_base = memory;
	remote.iov_base = source;
	if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) != (ssize_t)(32 * PAGE))
		fail("process_vm_readv: %s", strerror(errno));
	expect_data(memory, 0, 32, 2);
	expect_data(source, 0, 64, 2);
	expect_no_tags(source, 0, 64);
}

/* fork, copy-on-write */

static void fork_child_writes(void)
{
	char *memory = map(32, RW | PROT_MTE);
	struct turns t;

	write_all(memory, 0, 32, 1);
	CHILD(&t, {
		expect_all(memory, 0, 32, 1);
		write_tags(memory, 0, 16, 2);
		expect_data(memory, 0, 16, 1);
		write_data(memory, 0, 32, 2);
		expect_data(memory, 0, 32, 2);
		expect_tags(memory, 0, 16, 2);
		expect_tags(memory, 16, 16, 1);
		let_parent(&t);
		expect_data(memory, 0, 32, 2);
		expect_tags(memory, 0, 16, 2);
		expect_tags(memory, 16, 16, 1);
	});
	let_child(&t);
	expect_all(memory, 0, 32, 1);
	write_all(memory, 0, 32, 3);
	end_child(&t);
	expect_all(memory, 0, 32, 3);
}

static void fork_parent_writes(void)
{
	char *memory = map(32, RW | PROT_MTE);
	struct turns t;

	write_all(memory, 0, 32, 1);
	CHILD(&t, {
		expect_all(memory, 0, 32, 1);
		let_parent(&t);
		expect_all(memory, 0, 32, 1);
		write_all(memory, 0, 32, 2);
		expect_all(memory, 0, 32, 2);
	});
	write_tags(memory, 0, 16, 3);
	expect_data(memory, 0, 32, 1);
	write_data(memory, 0, 32, 3);
	let_child(&t);
	end_child(&t);
	expect_data(memory, 0, 32, 3);
	expect_tags(memory, 0, 16, 3);
	expect_tags(memory, 16, 16, 1);
}

static void expect_fork_of_huge(char *memory)
{
	struct turns t;

	CHILD(&t, {
		expect_all(memory, 0, HUGE_PAGES, 1);
		write_all(memory, 7, 1, 2);
		write_all(memory, HALF, 3, 2);
		let_parent(&t);
		expect_all(memory, 7, 1, 2);
		expect_all(memory, 0, 7, 1);
		expect_all(memory, 8, HALF - 8, 1);
		expect_all(memory, HALF, 3, 2);
		expect_all(memory, HALF + 3, HALF - 3, 1);
	});
	let_child(&t);
	expect_all(memory, 0, HUGE_PAGES, 1);
	write_all(memory, 0, 16, 3);
	end_child(&t);
	expect_all(memory, 0, 16, 3);
	expect_all(memory, 16, HUGE_PAGES - 16, 1);
}

static void huge_fork(void)
{
	char *memory = map_huge(RW | PROT_MTE);

	write_all(memory, 0, HUGE_PAGES, 1);
	expect_huge(memory, true);
	expect_fork_of_huge(memory);
}

/*
 * mprotect adds PROT_MTE and never takes it away. So a tagged page gets into a mapping without PROT_MTE
 * only if another process, with which it is shared since a fork, adds PROT_MTE to its own mapping.
 */
static void mprotect_shared(void)
{
	char *memory = map(48, RW);
	struct turns t;

	write_data(memory, 0, 48, 1);
	CHILD(&t, {
		protect(memory, 48, RW | PROT_MTE);
		expect_data(memory, 0, 48, 1);
		expect_no_tags(memory, 0, 48);
		let_parent(&t);
		/* Copies. */
		write_all(memory, 0, 16, 2);
		expect_all(memory, 0, 16, 2);
		expect_no_tags(memory, 16, 32);
		expect_data(memory, 16, 32, 1);
	});
	let_child(&t);
	/* Pages 32 to 47 are copied by their owner without PROT_MTE, from a tagged source. */
	write_data(memory, 32, 16, 3);
	end_child(&t);
	expect_data(memory, 0, 32, 1);
	expect_data(memory, 32, 16, 3);
	/* Once more, now that all sharing has ended: a copy in another child. */
	CHILD(&t, {
		write_data(memory, 0, 48, 4);
		expect_data(memory, 0, 48, 4);
		protect(memory, 48, RW | PROT_MTE);
		expect_no_tags(memory, 0, 48);
	});
	end_child(&t);
	expect_data(memory, 0, 32, 1);
	protect(memory, 48, RW | PROT_MTE);
	expect_data(memory, 0, 32, 1);
	expect_no_tags(memory, 0, 48);
	write_tags(memory, 0, 48, 5);
	expect_tags(memory, 0, 48, 5);
}

/* mprotect, munmap, mremap */

static void mprotect_populated(void)
{
	char *memory = map(64, RW);

	write_data(memory, 0, 64, 1);
	protect(memory + 16 * PAGE, 32, RW | PROT_MTE);
	expect_data(memory, 0, 64, 1);
	expect_no_tags(memory, 16, 32);
	write_tags(memory, 16, 32, 1);
	expect_data(memory, 0, 64, 1);
	expect_tags(memory, 16, 32, 1);
	/* Without PROT_MTE changes nothing. */
	protect(memory, 64, PROT_READ);
	expect_tags(memory, 16, 32, 1);
	protect(memory, 64, PROT_NONE);
	protect(memory, 64, RW);
	expect_tags(memory, 16, 32, 1);
	/* Becomes tagged where nobody may look at it. */
	protect(memory, 16, PROT_NONE | PROT_MTE);
	protect(memory, 16, RW | PROT_MTE);
	expect_data(memory, 0, 64, 1);
	expect_no_tags(memory, 0, 16);
	write_tags(memory, 0, 16, 1);
	expect_tags(memory, 0, 48, 1);
}

static void mprotect_huge(void)
{
	char *memory = map_huge(RW);

	write_data(memory, 0, HUGE_PAGES, 1);
	expect_huge(memory, true);
	protect(memory, HUGE_PAGES, RW | PROT_MTE);
	expect_data(memory, 0, HUGE_PAGES, 1);
	expect_no_tags(memory, 0, HUGE_PAGES);
	write_tags(memory, 0, HUGE_PAGES, 1);
	expect_all(memory, 0, HUGE_PAGES, 1);
}

/* A child that shares the huge page makes its first page tagged; then the parent makes all of it PROT_MTE. */
static void mprotect_huge_shared(void)
{
	char *memory = map_huge(RW);
	struct turns t;

	write_data(memory, 0, HUGE_PAGES, 1);
	CHILD(&t, {
		protect(memory, 1, RW | PROT_MTE);
		expect_no_tags(memory, 0, 1);
		let_parent(&t);
		expect_data(memory, 0, HUGE_PAGES, 1);
		expect_no_tags(memory, 0, 1);
	});
	let_child(&t);
	expect_huge(memory, true);
	protect(memory, HUGE_PAGES, RW | PROT_MTE);
	expect_data(memory, 0, HUGE_PAGES, 1);
	expect_no_tags(memory, 0, HUGE_PAGES);
	write_all(memory, 0, HUGE_PAGES, 2);
	expect_all(memory, 0, HUGE_PAGES, 2);
	end_child(&t);
}

static void freed_is_fresh(void)
{
	char *memory = map(64, RW | PROT_MTE);

	for (unsigned int i = 1; i <= 4; i++) {
		write_all(memory, 0, 64, i);
		expect_all(memory, 0, 64, i);
		if (madvise(memory, 64 * PAGE, MADV_DONTNEED))
			fail("madvise(MADV_DONTNEED): %s", strerror(errno));
		if (i % 2)
			expect_zeros(memory, 0, 64);
		expect_no_tags(memory, 0, 64);
	}
}

static void moved_mapping(void)
{
	char *memory = map(64, RW | PROT_MTE), *other;

	write_all(memory, 0, 64, 1);
	other = mremap(memory, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	if (other == MAP_FAILED)
		fail("mremap: %s", strerror(errno));
	expect_all(other, 0, 64, 1);
	expect_zeros(memory, 0, 64);
	expect_no_tags(memory, 0, 64);
}

/* Huge pages */

static void huge_fault(void)
{
	char *memory = map_huge(RW | PROT_MTE);

	set_tag(memory + 100 * PAGE, 0);
	expect_huge(memory, true);
	expect_zeros(memory, 0, HUGE_PAGES);
	expect_no_tags(memory, 0, HUGE_PAGES);
	write_all(memory, 0, HUGE_PAGES, 1);
	expect_huge(memory, true);
	expect_all(memory, 0, HUGE_PAGES, 1);
}

static void huge_split(void)
{
	char *memory = map_huge(RW | PROT_MTE);

	write_all(memory, 0, HUGE_PAGES, 1);
	expect_huge(memory, true);
	split_huge(memory);
	expect_all(memory, 0, HUGE_PAGES, 1);
	expect_fork_of_huge(memory);
}

/*
 * A part of a huge page is unmapped. What splits it later, when memory is short, keeps the tags of the rest, of pages
 * full of zeros too, and gives back the storage of what is gone.
 */
static void huge_partly_unmapped(void)
{
	enum { QUARTER = HUGE_PAGES / 4 };
	char *memory = map_huge(RW | PROT_MTE);
	uint64_t tagged;

	empty_batches();
	tagged = total("tagged_pages");
	write_all(memory, 0, HALF + QUARTER, 1);
	write_tags(memory, HALF + QUARTER, QUARTER, 1);
	expect_huge(memory, true);
	if (munmap(memory + HALF * PAGE, QUARTER * PAGE))
		fail("munmap: %s", strerror(errno));
	for (unsigned int i = 0; i < TRIES && is_huge(memory); i++) {
		if (!write_text(DROP_CACHES, "2"))
			fail(DROP_CACHES ": %s", strerror(errno));
		short_sleep();
	}
	expect_huge(memory, false);
	expect_all(memory, 0, HALF, 1);
	expect_tags(memory, HALF + QUARTER, QUARTER, 1);
	expect_zeros(memory, HALF + QUARTER, QUARTER);
	expect_back("tagged_pages", tagged + HUGE_PAGES - QUARTER);
	munmap(memory, HUGE);
	expect_back("tagged_pages", tagged);
}

/* Is this address mapped by the entry of a huge page, not by those of its small pages? */
static bool mapped_huge(const void *address)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	uint64_t start, end, kib = 0;
	bool inside = false;
	char line[256];

	if (!file)
		fail("/proc/self/smaps: %s", strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &start, &end) == 2)
			inside = start <= (uint64_t)address && (uint64_t)address < end;
		else if (inside && sscanf(line, "AnonHugePages: %" SCNu64, &kib) == 1)
			break;
	}
	fclose(file);
	return kib;
}

/* The entry of a huge page is moved as it is. */
static void huge_moved(void)
{
	char *memory = map_huge(RW | PROT_MTE), *other = map_huge(RW | PROT_MTE);
	uint64_t pfn;

	write_all(memory, 0, HUGE_PAGES, 1);
	expect_huge(memory, true);
	pfn = get_pfn(memory);
	if (mremap(memory, HUGE, HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, other) != other)
		fail("mremap: %s", strerror(errno));
	if (get_pfn(other) != pfn || !mapped_huge(other))
		fail("the page is another one, or not mapped as a huge one any more");
	expect_all(other, 0, HUGE_PAGES, 1);
	expect_fork_of_huge(other);
}

/*
 * The upper half of a huge page is tagged, its head is not. The kernel's own split copies the head's flag
 * to all pages, so that the tags of the upper half are lost when its entries are next written.
 */
static void huge_upper_half(void)
{
	char *memory = map_huge(RW);
	struct turns t;

	write_data(memory, 0, HUGE_PAGES, 1);
	expect_huge(memory, true);
	protect(memory + HALF * PAGE, HALF, RW | PROT_MTE);
	write_tags(memory, HALF, HALF, 1);
	expect_huge(memory, true);
	split_huge(memory);
	expect_data(memory, 0, HUGE_PAGES, 1);
	expect_tags(memory, HALF, HALF, 1);
	protect(memory + HALF * PAGE, HALF, PROT_READ | PROT_MTE);
	expect_tags(memory, HALF, HALF, 1);
	protect(memory + HALF * PAGE, HALF, RW | PROT_MTE);
	expect_tags(memory, HALF, HALF, 1);
	CHILD(&t, {
		write_data(memory, HALF, HALF, 2);
		expect_tags(memory, HALF, HALF, 1);
	});
	end_child(&t);
	expect_data(memory, 0, HUGE_PAGES, 1);
	expect_tags(memory, HALF, HALF, 1);
}

/*
 * The other way round: the split says of the upper half that it was tagged, though nobody cleared its tags.
 * They are then what the page's last owner left there. So the same physical page is needed twice.
 */
static void huge_lower_half(void)
{
	char *memory = map_huge(RW | PROT_MTE);
	uint64_t pfn;

	write_all(memory, 0, HUGE_PAGES, 1);
	expect_huge(memory, true);
	pfn = get_pfn(memory);
	if (munmap(memory, HUGE))
		fail("munmap: %s", strerror(errno));
	for (unsigned int i = 0; ; i++) {
		if (i == 64)
			skip("the same huge page was not to be had again");
		memory = map_huge(RW);
		write_data(memory, 0, HUGE_PAGES, 2);
		if (get_pfn(memory) == pfn)
			break;
	}
	protect(memory, HALF, RW | PROT_MTE);
	write_tags(memory, 0, HALF, 2);
	split_huge(memory);
	expect_tags(memory, 0, HALF, 2);
	protect(memory + HALF * PAGE, HALF, RW | PROT_MTE);
	expect_no_tags(memory, HALF, HALF);
	expect_data(memory, 0, HUGE_PAGES, 2);
	expect_tags(memory, 0, HALF, 2);
}

static void collapse(char *memory)
{
	for (unsigned int i = 0; i < TRIES; i++) {
		if (!madvise(memory, HUGE, MADV_COLLAPSE)) {
			expect_huge(memory, true);
			return;
		}
		if (errno != EAGAIN && errno != EBUSY)
			break;
		short_sleep();
	}
	fail("madvise(MADV_COLLAPSE): %s", strerror(errno));
}

static void collapse_tagged(void)
{
	char *memory = map_huge(RW | PROT_MTE);

	madvise(memory, HUGE, MADV_NOHUGEPAGE);
	write_all(memory, 0, HALF - 10, 1);
	write_all(memory, HALF, HALF, 1);
	expect_huge(memory, false);
	madvise(memory, HUGE, MADV_HUGEPAGE);
	collapse(memory);
	expect_all(memory, 0, HALF - 10, 1);
	expect_all(memory, HALF, HALF, 1);
	expect_zeros(memory, HALF - 10, 10);
	expect_no_tags(memory, HALF - 10, 10);
	write_tags(memory, HALF - 10, 10, 1);
	split_huge(memory);
	expect_tags(memory, 0, HUGE_PAGES, 1);
}

/* Some pages were tagged by a child, the mapping has no PROT_MTE. */
static void collapse_tagged_in_part(void)
{
	char *memory = map_huge(RW);
	struct turns t;

	madvise(memory, HUGE, MADV_NOHUGEPAGE);
	write_data(memory, 0, HUGE_PAGES, 1);
	CHILD(&t, {
		protect(memory + HALF * PAGE, HALF / 2, RW | PROT_MTE);
		expect_no_tags(memory, HALF, HALF / 2);
	});
	end_child(&t);
	madvise(memory, HUGE, MADV_HUGEPAGE);
	/* One writable page is needed. */
	write_data(memory, 0, 1, 1);
	collapse(memory);
	expect_data(memory, 0, HUGE_PAGES, 1);
	protect(memory, HUGE_PAGES, RW | PROT_MTE);
	expect_no_tags(memory, 0, HUGE_PAGES);
	write_tags(memory, 0, HUGE_PAGES, 1);
	expect_all(memory, 0, HUGE_PAGES, 1);
	split_huge(memory);
	expect_all(memory, 0, HUGE_PAGES, 1);
}

static void wait_for_khugepaged(size_t unused)
{
	char *memory = map_huge(RW | PROT_MTE);

	(void)unused;
	madvise(memory, HUGE, MADV_NOHUGEPAGE);
	write_all(memory, 0, HUGE_PAGES, 1);
	expect_huge(memory, false);
	if (madvise(memory, HUGE, MADV_HUGEPAGE))
		fail("madvise(MADV_HUGEPAGE): %s", strerror(errno));
	for (unsigned int i = 0; i < TRIES && !is_huge(memory); i++)
		short_sleep();
	expect_huge(memory, true);
	expect_all(memory, 0, HUGE_PAGES, 1);
}

/* The kernel's thread finds small tagged pages, and collapses them on its own. */
static void collapse_by_thread(void)
{
	struct setting settings[] = {
		{ .path = THP "khugepaged/pages_to_scan", .value = "65536" },
		{ .path = THP "khugepaged/alloc_sleep_millisecs", .value = "10" },
		{ .path = THP "khugepaged/scan_sleep_millisecs", .value = "10" },
	};

	with_settings(settings, ARRAY_SIZE(settings), wait_for_khugepaged, 0);
}

/* Migration */

static void move_by_pages(char *memory, size_t pages, int node)
{
	void *addresses[HUGE_PAGES];
	int nodes[HUGE_PAGES], status[HUGE_PAGES];

	for (size_t i = 0; i < pages; i++) {
		addresses[i] = memory + i * PAGE;
		nodes[i] = node;
	}
	if (syscall(SYS_move_pages, 0, pages, addresses, nodes, status, MPOL_MF_MOVE) < 0)
		fail("move_pages: %s", strerror(errno));
}

static void move_by_policy(char *memory, size_t pages, int node)
{
	unsigned long mask = 1UL << node;

	if (syscall(SYS_mbind, memory, pages * PAGE, MPOL_BIND, &mask, 64UL, MPOL_MF_MOVE))
		fail("mbind: %s", strerror(errno));
}

/* All of the process; what else of it stays where it is does not matter. */
static void move_process(char *memory, size_t pages, int node)
{
	unsigned long from = 1UL << !node, to = 1UL << node;

	(void)memory;
	(void)pages;
	if (syscall(SYS_migrate_pages, 0, 64UL, &from, &to) < 0)
		fail("migrate_pages: %s", strerror(errno));
}

/* The first page that is not on this node; @pages if there is none. */
static size_t not_on(const char *memory, size_t pages, int node)
{
	size_t page = 0;

	while (page < pages && node_of(memory + page * PAGE) == node)
		page++;
	return page;
}

/*
 * There and back, in each of the ways that a program has. Who holds a page for a moment, as the engine's worker does,
 * keeps it from being moved; then it is for the next attempt.
 */
static void move_around(char *memory, size_t pages, const char *what, void (*expect)(char *memory, size_t pages))
{
	static const struct {
		const char *name;
		void (*move)(char *memory, size_t pages, int node);
	} ways[] = {
		{ "move_pages", move_by_pages }, { "mbind", move_by_policy }, { "migrate_pages", move_process },
	};
	int node = node_of(memory);

	for (size_t round = 0; round < 2 * ARRAY_SIZE(ways); round++) {
		size_t page = 0;

		node = !node;
		if (node_of(memory) == node)
			fail("%s is on node %d already", what, node);
		for (unsigned int i = 0; i < MOVES && page < pages; i++) {
			if (i)
				short_sleep();
			ways[round % ARRAY_SIZE(ways)].move(memory, pages, node);
			page = not_on(memory, pages, node);
		}
		if (page < pages)
			fail("page %zu of %s was not moved to node %d by %s", page, what, node,
			     ways[round % ARRAY_SIZE(ways)].name);
		expect(memory, pages);
	}
}

static void expect_first(char *memory, size_t pages)
{
	expect_all(memory, 0, pages, 1);
}

static void expect_second(char *memory, size_t pages)
{
	expect_data(memory, 0, pages, 2);
}

static bool one_node(void)
{
	return access("/sys/devices/system/node/node1", F_OK);
}

/* Shared memory, written as version 1, and copies of it in a mapping without PROT_MTE, with data of version 2. */
struct copied {
	char *shared, *plain;
};

static struct copied copy_shared(size_t pages)
{
	int file = make_file(pages);
	struct copied c = {
		.shared = map_file(file, pages, RW | PROT_MTE, MAP_SHARED),
		.plain = map_file(file, pages, RW, MAP_PRIVATE),
	};

	close(file);
	write_all(c.shared, 0, pages, 1);
	write_data(c.plain, 0, pages, 2);
	return c;
}

/* The copies still have the tags of what they were made from. */
static void expect_copied(const struct copied *c, size_t pages)
{
	expect_data(c->plain, 0, pages, 2);
	expect_tags_of_copy(c->plain, pages);
	expect_all(c->shared, 0, pages, 1);
}

/* Tagged pages, of private and of shared memory, and such in a mapping without PROT_MTE. */
static void migrate_nodes(void)
{
	enum { PAGES = 256 };
	char *memory = map(PAGES, RW | PROT_MTE);
	struct copied c;

	if (one_node())
		skip("this machine has one node");
	write_all(memory, 0, PAGES, 1);
	move_around(memory, PAGES, "private memory", expect_first);
	c = copy_shared(PAGES);
	move_around(c.shared, PAGES, "shared memory", expect_first);
	move_around(c.plain, PAGES, "a copy without PROT_MTE", expect_second);
	expect_copied(&c, PAGES);
}

static void migrate_huge(void)
{
	char *memory = map_huge(RW | PROT_MTE);
	void *address = memory;
	int node, status;

	if (one_node())
		skip("this machine has one node");
	write_all(memory, 0, HUGE_PAGES, 1);
	expect_huge(memory, true);
	node = !node_of(memory);
	for (int round = 0; round < 4; round++, node = !node) {
		if (syscall(SYS_move_pages, 0, 1, &address, &node, &status, MPOL_MF_MOVE) < 0 || status != node)
			fail("move_pages: %s, status %d", strerror(errno), status);
		expect_all(memory, 0, HUGE_PAGES, 1);
	}
}

static size_t number_on(const char *memory, size_t pages, int node)
{
	size_t number = 0;

	for (size_t page = 0; page < pages; page++)
		number += node_of(memory + page * PAGE) == node;
	return number;
}

static void set_balancing(void)
{
	static const char *const settings[][2] = {
		{ BALANCING "scan_delay_ms", "10" }, { BALANCING "scan_period_min_ms", "10" },
		{ BALANCING "scan_period_max_ms", "20" }, { NUMA_BALANCING, "1" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
		if (!write_text(settings[i][0], settings[i][1]))
			fail("%s: %s", settings[i][0], strerror(errno));
}

/* With the tag of version 1, which does not matter where tags are not looked at. */
static void touch(char *memory, size_t page)
{
	uint64_t tag = tag_for(page * PAGE / 16, 1);

	*(volatile char *)((uintptr_t)(memory + page * PAGE) | tag << 56);
}

/* Touches pages on the other node, until the kernel has brought most of them to this one. */
static void expect_balanced(char *memory, size_t pages, const char *what)
{
	unsigned int node, tries = 0;
	cpu_set_t here;

	if (getcpu(NULL, &node))
		fail("getcpu: %s", strerror(errno));
	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	if (sched_setaffinity(0, sizeof(here), &here))
		fail("sched_setaffinity: %s", strerror(errno));
	getcpu(NULL, &node);
	move_by_pages(memory, pages, !node);
	if (number_on(memory, pages, node) > pages / 16)
		fail("%s can't be moved to the other node", what);
	while (number_on(memory, pages, node) < pages - pages / 4) {
		if (tries++ == TRIES)
			fail("only %zu of %zu pages of %s were brought here", number_on(memory, pages, node), pages,
			     what);
		for (size_t i = 0; i < 1000 * pages; i++)
			touch(memory, i % pages);
	}
}

/* An entry that NUMA balancing made inaccessible is none of a page without storage, nor the other way round. */
static void numa_balanced(void)
{
	enum { PAGES = 256 };
	char *memory = map(PAGES, RW | PROT_MTE);
	struct copied c;

	if (one_node())
		skip("this machine has one node");
	if (access(NUMA_BALANCING, W_OK))
		skip("this kernel does not balance memory between nodes");
	set_balancing();
	write_all(memory, 0, PAGES, 1);
	c = copy_shared(PAGES);
	expect_balanced(memory, PAGES, "private memory");
	expect_balanced(c.shared, PAGES, "shared memory");
	expect_balanced(c.plain, PAGES, "a copy without PROT_MTE");
	expect_all(memory, 0, PAGES, 1);
	expect_copied(&c, PAGES);
}

/* Leaves one page of 32, and lets compaction put them together. So much, because many pages stay in lists of CPUs. */
static void compaction(void)
{
	enum { PAGES = 32768, KEEP = 32 };
	static uint64_t before[PAGES], after[PAGES];
	char *memory = map(PAGES, RW | PROT_MTE);
	size_t moved = 0;

	for (size_t page = 0; page < PAGES; page++)
		memory[page * PAGE] = 0;
	for (size_t page = 0; page < PAGES; page++) {
		if (page % KEEP)
			madvise(memory + page * PAGE, PAGE, MADV_DONTNEED);
		else
			write_all(memory, page, 1, 1);
	}
	get_pfns(memory, before, PAGES);
	for (unsigned int i = 0; i < TRIES && !moved; i++) {
		if (!write_text(COMPACT, "1"))
			fail(COMPACT ": %s", strerror(errno));
		get_pfns(memory, after, PAGES);
		for (size_t page = 0; page < PAGES; page += KEEP)
			moved += before[page] != after[page];
	}
	if (!moved)
		fail("nothing was moved");
	for (size_t page = 0; page < PAGES; page += KEEP)
		expect_all(memory, page, 1, 1);
}

/* Pages of the folio that this address is in. */
static size_t folio_pages(const void *address)
{
	uint64_t pfn = get_pfn(address), pages = 1;

	while (page_has(pfn, KPF_COMPOUND_TAIL))
		pfn--;
	if (page_has(pfn, KPF_COMPOUND_HEAD))
		while (page_has(pfn + pages, KPF_COMPOUND_TAIL))
			pages++;
	return pages;
}

/* Memory for half a huge page, of which most is folios of @size pages. */
static char *map_folios(int prot, size_t size)
{
	char *memory = map_huge(prot);
	size_t found = 0;

	madvise(memory + HALF * PAGE, HALF * PAGE, MADV_NOHUGEPAGE);
	write_data(memory, 0, HALF, 1);
	if (prot & PROT_MTE)
		write_tags(memory, 0, HALF, 1);
	for (size_t page = 0; page < HALF; page += size)
		found += folio_pages(memory + page * PAGE) == size;
	if (found <= HALF / size / 2)
		fail("only %zu of %zu folios have %zu pages", found, HALF / size, size);
	return memory;
}

/* Of each folio, the first half is made read-only, and writable again: that splits no folio. */
static void protect_halves(char *memory, size_t size)
{
	for (int prot = PROT_READ | PROT_MTE; ; prot = RW | PROT_MTE) {
		for (size_t page = 0; page < HALF; page += size)
			protect(memory + page * PAGE, size / 2, prot);
		expect_all(memory, 0, HALF, 1);
		if (prot & PROT_WRITE)
			return;
	}
}

/* Of each folio, the second half becomes tagged; its head is not. */
static void tag_halves(char *memory, size_t size)
{
	for (size_t page = size / 2; page < HALF; page += size) {
		protect(memory + page * PAGE, size / 2, RW | PROT_MTE);
		expect_no_tags(memory, page, size / 2);
		write_tags(memory, page, size / 2, 1);
	}
	expect_data(memory, 0, HALF, 1);
}

static void expect_halves(const char *memory, size_t size)
{
	expect_data(memory, 0, HALF, 1);
	for (size_t page = size / 2; page < HALF; page += size)
		expect_tags(memory, page, size / 2, 1);
}

/* The second quarter of each folio is freed; what is there then is fresh. */
static void free_quarters(char *memory, size_t size)
{
	for (size_t page = size / 4; page < HALF; page += size)
		if (madvise(memory + page * PAGE, size / 4 * PAGE, MADV_DONTNEED))
			fail("madvise(MADV_DONTNEED): %s", strerror(errno));
	for (size_t page = 0; page < HALF; page += size) {
		expect_all(memory, page, size / 4, 1);
		expect_zeros(memory, page + size / 4, size / 4);
		expect_no_tags(memory, page + size / 4, size / 4);
		expect_all(memory, page + size / 2, size / 2, 1);
	}
	for (size_t page = size / 4; page < HALF; page += size)
		write_all(memory, page, size / 4, 1);
}

static void use_folios(size_t size)
{
	uint64_t tagged;
	char *memory, *half;
	struct turns t;

	empty_batches();
	tagged = total("tagged_pages");
	memory = map_folios(RW | PROT_MTE, size);
	half = map_folios(RW, size);
	protect_halves(memory, size);
	tag_halves(half, size);
	CHILD(&t, {
		write_all(memory, 0, HALF / 2, 2);
		write_data(half, 0, HALF, 1);
		let_parent(&t);
		expect_all(memory, 0, HALF / 2, 2);
		expect_all(memory, HALF / 2, HALF / 2, 1);
		expect_halves(half, size);
	});
	let_child(&t);
	expect_all(memory, 0, HALF, 1);
	expect_halves(half, size);
	end_child(&t);
	if (!one_node()) {
		move_around(memory, HALF, "memory in folios", expect_first);
		move_by_pages(half, HALF, !node_of(half));
	}
	/* Splits folios for which it has no room. */
	if (!write_text(COMPACT, "1"))
		fail(COMPACT ": %s", strerror(errno));
	expect_all(memory, 0, HALF, 1);
	expect_halves(half, size);
	free_quarters(memory, size);
	munmap(memory, HUGE);
	munmap(half, HUGE);
	expect_back("tagged_pages", tagged);
}

/* Folios between a small page and a huge one, of each size that the kernel offers. */
static void mthp(void)
{
	size_t sizes = 0;

	for (size_t kib = 16; kib < HUGE / 1024; kib *= 2) {
		char path[96];
		struct setting setting = { .path = path, .value = "madvise" };

		snprintf(path, sizeof(path), THP "hugepages-%zukB/enabled", kib);
		if (access(path, F_OK))
			continue;
		sizes++;
		with_settings(&setting, 1, use_folios, kib * 1024 / PAGE);
	}
	if (sizes < 3)
		fail("the kernel offers %zu sizes only", sizes);
}

static void offline(char *page)
{
	uint64_t pfn = get_pfn(page);

	if (madvise(page, PAGE, MADV_SOFT_OFFLINE))
		fail("madvise(MADV_SOFT_OFFLINE): %s", strerror(errno));
	if (get_pfn(page) == pfn)
		fail("the page was not moved");
}

/* One page each of private memory, of shared memory, and of a copy without PROT_MTE is moved. */
static void soft_offline(void)
{
	char *memory = map(8, RW | PROT_MTE);
	struct copied c = copy_shared(8);

	write_all(memory, 0, 8, 1);
	offline(memory + 3 * PAGE);
	expect_all(memory, 0, 8, 1);
	offline(c.shared + 4 * PAGE);
	expect_all(c.shared, 0, 8, 1);
	offline(c.plain + 5 * PAGE);
	expect_copied(&c, 8);
}

/* Tag storage */

static struct region regions[MAX_REGIONS];
static unsigned int region_count;

static void need_engine(void)
{
	region_count = get_regions(regions);
	if (!region_count)
		skip("the engine is not loaded");
}

static void need_lent(void)
{
	need_engine();
	if (!total("lent_pages"))
		skip("no tag storage is lent");
}

static void release_munmap(void)
{
	const size_t pages = 1024;
	uint64_t tagged, reserved;
	char *memory;

	need_engine();
	empty_batches();
	tagged = total("tagged_pages");
	reserved = total("reserved_pages");
	memory = map(pages, RW | PROT_MTE);
	write_all(memory, 0, pages, 1);
	if (total("tagged_pages") < tagged + pages)
		fail("tagged_pages went from %" PRIu64 " to %" PRIu64 " for %zu pages", tagged,
		     total("tagged_pages"), pages);
	if (total("reserved_pages") < (tagged + pages) / 32)
		fail("reserved_pages is %" PRIu64 ", too little for %" PRIu64 " tagged pages",
		     total("reserved_pages"), tagged + pages);
	expect_all(memory, 0, pages, 1);
	if (munmap(memory, pages * PAGE))
		fail("munmap: %s", strerror(errno));
	expect_back("tagged_pages", tagged);
	expect_back("reserved_pages", reserved);
}

static void release_exit(void)
{
	uint64_t tagged, reserved;
	struct turns t;

	need_engine();
	empty_batches();
	tagged = total("tagged_pages");
	reserved = total("reserved_pages");
	CHILD(&t, {
		char *memory = map(1024, RW | PROT_MTE);
		char *huge = map_huge(RW | PROT_MTE);

		write_all(memory, 0, 1024, 1);
		write_all(huge, 0, HUGE_PAGES, 1);
		let_parent(&t);
	});
	let_child(&t);
	if (total("tagged_pages") < tagged + 1024 + HUGE_PAGES)
		fail("tagged_pages went from %" PRIu64 " to %" PRIu64 " only", tagged, total("tagged_pages"));
	end_child(&t);
	expect_back("tagged_pages", tagged);
	expect_back("reserved_pages", reserved);
}

static bool run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return !sched_setaffinity(0, sizeof(set), &set);
}

/* A page that waits in another CPU's batch stays tagged when it is unmapped, and no longer than it waits. */
static void release_from_batch(void)
{
	const size_t pages = 4;
	uint64_t tagged;
	char *memory;

	need_engine();
	if (!run_on(1))
		skip("this machine has one CPU");
	empty_batches();
	tagged = total("tagged_pages");
	memory = map(pages, RW | PROT_MTE);
	write_all(memory, 0, pages, 1);
	if (!run_on(0) || munmap(memory, pages * PAGE))
		fail("munmap on another CPU: %s", strerror(errno));
	empty_batches();
	if (total("tagged_pages") > tagged)
		fail("tagged_pages is %" PRIu64 ", not back to %" PRIu64, total("tagged_pages"), tagged);
}

/* All memory, filled with untagged pages until tag storage is in use, then 48 MiB made free elsewhere. */
struct full {
	char *memory;
	size_t pages;
	uint64_t *pfns;
	size_t lent;		/* pages on tag storage */
};

static bool is_lent(const struct full *f, size_t page)
{
	return on_storage(regions, region_count, f->pfns[page]);
}

static void fill_memory(struct full *f)
{
	size_t limit = meminfo("MemTotal") / PAGE, to_free = 48 * MIB / PAGE;

	need_lent();
	f->memory = map(limit, RW);
	f->pages = 0;
	f->lent = 0;
	for (uint64_t left; f->pages < limit && (left = room());)
		for (; left && f->pages < limit; left--)
			write_data(f->memory, f->pages++, 1, 1);
	f->pfns = mmap(NULL, f->pages * 8, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (f->pfns == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	get_pfns(f->memory, f->pfns, f->pages);
	for (size_t page = 0; page < f->pages; page++) {
		if (is_lent(f, page)) {
			f->lent++;
		} else if (to_free && !madvise(f->memory + page * PAGE, PAGE, MADV_DONTNEED)) {
			f->pfns[page] = 0;
			to_free--;
		}
	}
	if (!f->lent)
		fail("memory is full, and nothing lies on tag storage");
}

static void expect_full(const struct full *f)
{
	for (size_t page = 0; page < f->pages; page++)
		if (f->pfns[page])
			expect_data(f->memory, page, 1, 1);
}

static void expect_off_storage(const char *memory, size_t page)
{
	uint64_t pfn = get_pfn(memory + page * PAGE);

	if (!pfn)
		fail("page %zu is gone", page);
	if (on_storage(regions, region_count, pfn))
		fail("page %zu is tagged and lies on tag storage, at %#" PRIx64, page, pfn * PAGE);
}

static void expect_tagged(const struct full *f, size_t page)
{
	expect_data(f->memory, page, 1, 1);
	expect_no_tags(f->memory, page, 1);
	write_tags(f->memory, page, 1, 1);
	expect_off_storage(f->memory, page);
}

/* Pages on tag storage become tagged: alone, and among others. */
static void mprotect_lent(void)
{
	size_t alone = 0, among = 0, start = 0;
	struct full f;

	fill_memory(&f);
	for (size_t page = 0; page < f.pages && alone < 64; page++) {
		if (!is_lent(&f, page))
			continue;
		protect(f.memory + page * PAGE, 1, RW | PROT_MTE);
		expect_tagged(&f, page);
		alone++;
		start = page + 1;
	}
	while (start + 512 < f.pages && !is_lent(&f, start))
		start++;
	if (start + 512 < f.pages) {
		protect(f.memory + start * PAGE, 512, RW | PROT_MTE);
		for (size_t page = start; page < start + 512; page++) {
			if (!f.pfns[page])
				continue;
			among += is_lent(&f, page);
			expect_tagged(&f, page);
		}
	}
	expect_full(&f);
	if (!alone)
		fail("%zu pages alone and %zu among others", alone, among);
}

/* Ordinary pages, in use and untagged, become tagged; their tag storage is in use, too. */
static void mprotect_covered(void)
{
	size_t covered = 0;
	struct full f;

	fill_memory(&f);
	for (size_t page = 0; page < f.pages; page += f.pages / 256) {
		if (!f.pfns[page] || is_lent(&f, page))
			continue;
		protect(f.memory + page * PAGE, 1, RW | PROT_MTE);
		expect_tagged(&f, page);
		covered++;
	}
	expect_full(&f);
	if (covered < 64)
		fail("%zu pages only", covered);
}

/* As mprotect_lent(), for a page that is shared with the parent. */
static void mprotect_lent_shared(void)
{
	size_t first = 0, nr = 64;
	struct full f;
	struct turns t;

	fill_memory(&f);
	while (first + nr < f.pages && !is_lent(&f, first))
		first++;
	if (first + nr >= f.pages)
		first = f.pages - nr;
	CHILD(&t, {
		protect(f.memory + first * PAGE, nr, RW | PROT_MTE);
		for (size_t page = first; page < first + nr; page++)
			if (f.pfns[page])
				expect_tagged(&f, page);
		let_parent(&t);
		for (size_t page = first; page < first + nr; page++)
			if (f.pfns[page])
				expect_all(f.memory, page, 1, 1);
	});
	let_child(&t);
	expect_full(&f);
	end_child(&t);
	expect_full(&f);
}

/* Tagged memory is asked for when all of tag storage is in use: somebody must move out. */
static void claim_in_use(void)
{
	const size_t pages = 4096;
	uint64_t migrated, failed;
	struct full f;
	char *memory;

	fill_memory(&f);
	migrated = total("claims_migrated");
	failed = total("claims_failed");
	memory = map(pages, RW | PROT_MTE);
	write_all(memory, 0, pages, 1);
	expect_all(memory, 0, pages, 1);
	for (size_t page = 0; page < pages; page++)
		expect_off_storage(memory, page);
	expect_full(&f);
	if (total("claims_migrated") == migrated)
		fail("no claim has migrated anything (%" PRIu64 " more have failed)",
		     total("claims_failed") - failed);
}

static const struct directed_test tests[] = {
	{ "tagged-fault", tagged_fault },
	{ "race-fault", race_fault },
	{ "race-mprotect", race_mprotect },
	{ "zero-page", zero_page },
	{ "huge-zero-page", huge_zero_page },
	{ "kernel-access", kernel_access },
	{ "fork-child-writes", fork_child_writes },
	{ "fork-parent-writes", fork_parent_writes },
	{ "mprotect-populated", mprotect_populated },
	{ "mprotect-shared", mprotect_shared },
	{ "mprotect-huge", mprotect_huge },
	{ "mprotect-huge-shared", mprotect_huge_shared },
	{ "freed-is-fresh", freed_is_fresh },
	{ "moved-mapping", moved_mapping },
	{ "huge-fault", huge_fault },
	{ "huge-fork", huge_fork },
	{ "huge-split", huge_split },
	{ "huge-partly-unmapped", huge_partly_unmapped },
	{ "huge-moved", huge_moved },
	{ "huge-upper-half", huge_upper_half },
	{ "huge-lower-half", huge_lower_half },
	{ "collapse-tagged", collapse_tagged },
	{ "collapse-tagged-in-part", collapse_tagged_in_part },
	{ "khugepaged", collapse_by_thread },
	{ "migrate-nodes", migrate_nodes },
	{ "migrate-huge", migrate_huge },
	{ "numa-balanced", numa_balanced },
	{ "compaction", compaction },
	{ "mthp", mthp },
	{ "soft-offline", soft_offline },
	{ "release-munmap", release_munmap },
	{ "release-exit", release_exit },
	{ "release-from-batch", release_from_batch },
	{ "mprotect-lent", mprotect_lent },
	{ "mprotect-covered", mprotect_covered },
	{ "mprotect-lent-shared", mprotect_lent_shared },
	{ "claim-in-use", claim_in_use },
};

int main(int argc, char **argv)
{
	return directed_tests(tests, ARRAY_SIZE(tests), argc, argv);
}
