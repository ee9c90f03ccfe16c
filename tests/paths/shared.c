// SPDX-License-Identifier: GPL-2.0
/*
 * paths/shared.c - directed tests of shared memory that is mapped tagged: memfd, tmpfs, System V, anonymous
 *
 * usage: shared [all | NAME...]
 *
 * Expects a tmpfs with huge=advise or huge=always at /tmp/huge for the tests of huge pages.
 */

#define _GNU_SOURCE
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>

#include "directed.h"

#define PAGES	256

/* A file in memory, of @pages. */
static int make_file(size_t pages)
{
	int file = memfd_create("shared", 0);

	if (file < 0 || ftruncate(file, pages * PAGE))
		fail("memfd_create: %s", strerror(errno));
	return file;
}

static char *map_file(int file, size_t pages, int prot, int flags)
{
	char *memory = mmap(NULL, pages * PAGE, prot, flags, file, 0);

	if (memory == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	return memory;
}

static void memfd(void)
{
	int file = make_file(PAGES);
	char *memory = map_file(file, PAGES, RW | PROT_MTE, MAP_SHARED);

	write_all(memory, 0, PAGES, 1);
	expect_all(memory, 0, PAGES, 1);
	munmap(memory, PAGES * PAGE);
	/* The page cache keeps the tags. */
	memory = map_file(file, PAGES, RW | PROT_MTE, MAP_SHARED);
	expect_all(memory, 0, PAGES, 1);
}

static void anonymous(void)
{
	char *memory = mmap(NULL, PAGES * PAGE, RW | PROT_MTE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct turns t;

	if (memory == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	CHILD(&t, {
		expect_all(memory, 0, PAGES / 2, 1);
		write_all(memory, PAGES / 2, PAGES / 2, 2);
		let_parent(&t);
	});
	write_all(memory, 0, PAGES / 2, 1);
	let_child(&t);
	end_child(&t);
	expect_all(memory, 0, PAGES / 2, 1);
	expect_all(memory, PAGES / 2, PAGES / 2, 2);
}

static void system_v(void)
{
	int id = shmget(IPC_PRIVATE, PAGES * PAGE, 0600);
	char *memory = shmat(id, NULL, 0), *second;

	if (id < 0 || memory == (char *)-1)
		fail("shmat: %s", strerror(errno));
	second = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	protect(memory, PAGES, RW | PROT_MTE);
	write_all(memory, 0, PAGES, 1);
	expect_data(second, 0, PAGES, 1);
	protect(second, PAGES, RW | PROT_MTE);
	expect_all(second, 0, PAGES, 1);
}

/* Populated untagged, by write(2) and by a mapping; then one mapping becomes tagged, the other one stays. */
static void tagged_here_untagged_there(void)
{
	int file = make_file(PAGES);
	char *plain = map_file(file, PAGES, RW, MAP_SHARED), *tagged;

	write_data(plain, 0, PAGES, 1);
	tagged = map_file(file, PAGES, RW | PROT_MTE, MAP_SHARED);
	expect_data(tagged, 0, PAGES, 1);
	expect_no_tags(tagged, 0, PAGES);
	write_tags(tagged, 0, PAGES, 1);
	expect_data(plain, 0, PAGES, 1);
	write_data(plain, 0, PAGES, 2);
	expect_data(tagged, 0, PAGES, 2);
	expect_tags(tagged, 0, PAGES, 1);
	protect(plain, PAGES, RW | PROT_MTE);
	expect_tags(plain, 0, PAGES, 1);
}

/* What was cut off has no tags when it is there again. */
static void truncated(void)
{
	int file = make_file(PAGES);
	char *memory = map_file(file, PAGES, RW | PROT_MTE, MAP_SHARED);

	write_all(memory, 0, PAGES, 1);
	if (ftruncate(file, PAGES / 2 * PAGE) || ftruncate(file, PAGES * PAGE))
		fail("ftruncate: %s", strerror(errno));
	expect_all(memory, 0, PAGES / 2, 1);
	expect_zeros(memory, PAGES / 2, PAGES / 2);
	expect_no_tags(memory, PAGES / 2, PAGES / 2);
	write_all(memory, PAGES / 2, PAGES / 2, 1);
	if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 16 * PAGE, 16 * PAGE))
		fail("fallocate: %s", strerror(errno));
	expect_all(memory, 0, 16, 1);
	expect_zeros(memory, 16, 16);
	expect_no_tags(memory, 16, 16);
	expect_all(memory, 32, PAGES - 32, 1);
}

/* A private mapping of shared memory: its copies are tagged like their source, and go their own ways. */
static void private_copy(void)
{
	int file = make_file(PAGES);
	char *shared = map_file(file, PAGES, RW | PROT_MTE, MAP_SHARED);
	char *own = map_file(file, PAGES, RW | PROT_MTE, MAP_PRIVATE);
	char *plain = map_file(file, PAGES, RW, MAP_PRIVATE);

	write_all(shared, 0, PAGES, 1);
	/* Half of them are mapped before they are copied. */
	expect_data(own, 0, PAGES / 2, 1);
	write_data(own, 0, PAGES, 2);
	expect_tags(own, 0, PAGES, 1);
	write_tags(own, 0, PAGES, 2);
	expect_all(own, 0, PAGES, 2);
	expect_all(shared, 0, PAGES, 1);
	/* Copied for a mapping that is not tagged, which becomes so later. */
	write_data(plain, 0, PAGES, 3);
	protect(plain, PAGES, RW | PROT_MTE);
	expect_data(plain, 0, PAGES, 3);
	expect_tags(plain, 0, PAGES, 1);
	expect_all(shared, 0, PAGES, 1);
}

static void read_and_write(void)
{
	int file = make_file(PAGES);
	char *memory = map_file(file, PAGES, RW | PROT_MTE, MAP_SHARED);
	uint64_t words[WORDS];

	write_tags(memory, 0, PAGES, 1);
	for (size_t page = 0; page < PAGES; page++) {
		for (size_t word = 0; word < WORDS; word++)
			words[word] = word_for(page * WORDS + word, 1);
		if (pwrite(file, words, PAGE, page * PAGE) != (ssize_t)PAGE)
			fail("pwrite: %s", strerror(errno));
	}
	expect_all(memory, 0, PAGES, 1);
}

static void forked(void)
{
	int file = make_file(PAGES);
	char *memory = map_file(file, PAGES, RW | PROT_MTE, MAP_SHARED);
	struct turns t;

	write_all(memory, 0, PAGES, 1);
	CHILD(&t, {
		expect_all(memory, 0, PAGES, 1);
		write_all(memory, 0, PAGES / 2, 2);
		let_parent(&t);
	});
	let_child(&t);
	end_child(&t);
	expect_all(memory, 0, PAGES / 2, 2);
	expect_all(memory, PAGES / 2, PAGES / 2, 1);
}

/* Aligned to a huge page, in a file that may have some. */
static char *map_huge_file(int *file)
{
	char *room = map(2 * HUGE_PAGES, PROT_NONE);
	char *memory = room + (-(uint64_t)room & (HUGE - 1));

	*file = open("/tmp/huge", O_RDWR | O_TMPFILE, 0600);
	if (*file < 0)
		skip("there is no tmpfs at /tmp/huge");
	if (ftruncate(*file, HUGE))
		fail("ftruncate: %s", strerror(errno));
	if (mmap(memory, HUGE, RW | PROT_MTE, MAP_SHARED | MAP_FIXED, *file, 0) != memory)
		fail("mmap: %s", strerror(errno));
	return memory;
}

static void huge_page(void)
{
	int file;
	char *memory = map_huge_file(&file);

	madvise(memory, HUGE, MADV_HUGEPAGE);
	write_all(memory, 0, HUGE_PAGES, 1);
	expect_all(memory, 0, HUGE_PAGES, 1);
	/* Half of it goes, by way of a split. */
	if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, HUGE / 2, HUGE / 2))
		fail("fallocate: %s", strerror(errno));
	expect_all(memory, 0, HUGE_PAGES / 2, 1);
	expect_zeros(memory, HUGE_PAGES / 2, HUGE_PAGES / 2);
	expect_no_tags(memory, HUGE_PAGES / 2, HUGE_PAGES / 2);
}

/* Small tagged pages are collapsed into a huge one. */
static void collapsed(void)
{
	bool done = false;
	char *memory;
	int file;

	memory = map_huge_file(&file);
	madvise(memory, HUGE, MADV_NOHUGEPAGE);
	write_all(memory, 0, HUGE_PAGES, 1);
	madvise(memory, HUGE, MADV_HUGEPAGE);
	for (unsigned int i = 0; i < TRIES && !done; i++) {
		done = !madvise(memory, HUGE, MADV_COLLAPSE);
		if (!done && errno != EAGAIN && errno != EBUSY && errno != ENOMEM)
			fail("madvise(MADV_COLLAPSE): %s", strerror(errno));
		if (!done)
			short_sleep();
	}
	expect_all(memory, 0, HUGE_PAGES, 1);
	if (!done)
		fail("the pages were not collapsed");
}

/* A page of shared memory on tag storage, or whose block is in use, becomes tagged by another process. */
static void tagged_by_another(void)
{
	int file = make_file(4 * PAGES);
	char *plain = map_file(file, 4 * PAGES, RW, MAP_SHARED);
	struct turns t;

	write_data(plain, 0, 4 * PAGES, 1);
	CHILD(&t, {
		char *memory = map_file(file, 4 * PAGES, RW | PROT_MTE, MAP_SHARED);

		write_tags(memory, 0, 4 * PAGES, 1);
		expect_all(memory, 0, 4 * PAGES, 1);
		let_parent(&t);
		expect_tags(memory, 0, 4 * PAGES, 1);
	});
	let_child(&t);
	write_data(plain, 0, 4 * PAGES, 2);
	end_child(&t);
	protect(plain, 4 * PAGES, RW | PROT_MTE);
	expect_data(plain, 0, 4 * PAGES, 2);
	expect_tags(plain, 0, 4 * PAGES, 1);
}

static const struct directed_test tests[] = {
	{ "shared-memfd", memfd },
	{ "shared-anonymous", anonymous },
	{ "shared-system-v", system_v },
	{ "shared-tagged-here-untagged-there", tagged_here_untagged_there },
	{ "shared-truncated", truncated },
	{ "shared-private-copy", private_copy },
	{ "shared-read-and-write", read_and_write },
	{ "shared-forked", forked },
	{ "shared-huge-page", huge_page },
	{ "shared-collapsed", collapsed },
	{ "shared-tagged-by-another", tagged_by_another },
};

int main(int argc, char **argv)
{
	return directed_tests(tests, ARRAY_SIZE(tests), argc, argv);
}
