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
#define MPOL_MF_MOVE	2
#define THREADS		8

#define COMPACT		"/proc/sys/vm/compact_memory"
#define SPLIT		"/sys/kernel/debug/split_huge_pages"
#define THP		"/sys/kernel/mm/transparent_hugepage/"

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

static void split(const char *memory)
{
	char text[96];

	snprintf(text, sizeof(text), "%d,%#lx,%#lx", getpid(), (unsigned long)memory,
		 (unsigned long)(memory + HUGE));
	if (!write_text(SPLIT, text))
		fail("%s: %s", SPLIT, strerror(errno));
	expect_huge(memory, false);
}

static void huge_split(void)
{
	char *memory = map_huge(RW | PROT_MTE);

	write_all(memory, 0, HUGE_PAGES, 1);
	expect_huge(memory, true);
	split(memory);
	expect_all(memory, 0, HUGE_PAGES, 1);
	expect_fork_of_huge(memory);
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
	split(memory);
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
	split(memory);
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
	split(memory);
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
	split(memory);
	expect_all(memory, 0, HUGE_PAGES, 1);
}

/* Migration */

static void migrate_nodes(void)
{
	char *memory = map(256, RW | PROT_MTE);
	void *addresses[256];
	int nodes[256], status[256];

	if (access("/sys/devices/system/node/node1", F_OK))
		skip("this machine has one node");
	write_all(memory, 0, 256, 1);
	for (int round = 0; round < 4; round++) {
		for (size_t i = 0; i < 256; i++) {
			addresses[i] = memory + i * PAGE;
			nodes[i] = round % 2 ? 0 : 1;
		}
		if (syscall(SYS_move_pages, 0, 256, addresses, nodes, status, MPOL_MF_MOVE) < 0)
			fail("move_pages: %s", strerror(errno));
		for (size_t i = 0; i < 256; i++)
			if (status[i] != nodes[i])
				fail("page %zu was not moved to node %d: %d", i, nodes[i], status[i]);
		expect_all(memory, 0, 256, 1);
	}
}

static void migrate_huge(void)
{
	char *memory = map_huge(RW | PROT_MTE);
	void *address = memory;
	int node, status;

	if (access("/sys/devices/system/node/node1", F_OK))
		skip("this machine has one node");
	write_all(memory, 0, HUGE_PAGES, 1);
	expect_huge(memory, true);
	if (syscall(SYS_move_pages, 0, 1, &address, NULL, &status, 0) < 0 || status < 0)
		fail("move_pages does not tell the node");
	node = !status;
	for (int round = 0; round < 4; round++, node = !node) {
		if (syscall(SYS_move_pages, 0, 1, &address, &node, &status, MPOL_MF_MOVE) < 0 || status != node)
			fail("move_pages: %s, status %d", strerror(errno), status);
		expect_all(memory, 0, HUGE_PAGES, 1);
	}
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

static void soft_offline(void)
{
	char *memory = map(8, RW | PROT_MTE);
	uint64_t pfn;

	write_all(memory, 0, 8, 1);
	pfn = get_pfn(memory + 3 * PAGE);
	if (madvise(memory + 3 * PAGE, PAGE, MADV_SOFT_OFFLINE))
		fail("madvise(MADV_SOFT_OFFLINE): %s", strerror(errno));
	if (get_pfn(memory + 3 * PAGE) == pfn)
		fail("the page was not moved");
	expect_all(memory, 0, 8, 1);
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
	{ "huge-upper-half", huge_upper_half },
	{ "huge-lower-half", huge_lower_half },
	{ "collapse-tagged", collapse_tagged },
	{ "collapse-tagged-in-part", collapse_tagged_in_part },
	{ "migrate-nodes", migrate_nodes },
	{ "migrate-huge", migrate_huge },
	{ "compaction", compaction },
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
