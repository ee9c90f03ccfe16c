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
static char *map_huge_file(int *file, int prot)
{
	char *room = map(2 * HUGE_PAGES, PROT_NONE);
	char *memory = room + (-(uint64_t)room & (HUGE - 1));

	*file = open("/tmp/huge", O_RDWR | O_TMPFILE, 0600);
	if (*file < 0)
		skip("there is no tmpfs at /tmp/huge");
	if (ftruncate(*file, HUGE))
		fail("ftruncate: %s", strerror(errno));
	if (mmap(memory, HUGE, prot, MAP_SHARED | MAP_FIXED, *file, 0) != memory)
		fail("mmap: %s", strerror(errno));
	return memory;
}

/* The file's pages are gone. */
static void punch(int file, size_t start, size_t size)
{
	if (fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, size))
		fail("fallocate: %s", strerror(errno));
}

/* Memory that is nearly full may have no huge page, or no tag storage for it, at the first attempt. */
static void write_huge(char *memory, int file)
{
	madvise(memory, HUGE, MADV_HUGEPAGE);
	for (unsigned int i = 0; i < TRIES; i++) {
		write_all(memory, 0, HUGE_PAGES, 1);
		if (is_huge(memory))
			return;
		punch(file, 0, HUGE);
		short_sleep();
	}
	fail("there was no huge page");
}

/* A huge page of a file is tagged, and keeps the tags of what is left of it. */
static void huge_page(void)
{
	int file;
	char *memory = map_huge_file(&file, RW | PROT_MTE);

	write_huge(memory, file);
	expect_all(memory, 0, HUGE_PAGES, 1);
	expect_huge(memory, true);
	/* Half of it goes, by way of a split; not while somebody holds a reference for a moment. */
	for (unsigned int i = 0; i < TRIES; i++) {
		punch(file, HUGE / 2, HUGE / 2);
		expect_all(memory, 0, HUGE_PAGES / 2, 1);
		if (!is_huge(memory))
			break;
		short_sleep();
	}
	expect_huge(memory, false);
	expect_zeros(memory, HUGE_PAGES / 2, HUGE_PAGES / 2);
	expect_no_tags(memory, HUGE_PAGES / 2, HUGE_PAGES / 2);
}

static bool collapse(char *memory)
{
	if (!madvise(memory, HUGE, MADV_COLLAPSE))
		return true;
	if (errno != EAGAIN && errno != EBUSY && errno != ENOMEM)
		fail("madvise(MADV_COLLAPSE): %s", strerror(errno));
	return false;
}

/* Small tagged pages are collapsed into a huge one. */
static void collapsed(void)
{
	bool done = false;
	char *memory;
	int file;

	memory = map_huge_file(&file, RW | PROT_MTE);
	madvise(memory, HUGE, MADV_NOHUGEPAGE);
	write_all(memory, 0, HUGE_PAGES, 1);
	expect_huge(memory, false);
	madvise(memory, HUGE, MADV_HUGEPAGE);
	for (unsigned int i = 0; i < TRIES && !done; i++) {
		done = collapse(memory);
		if (!done)
			short_sleep();
	}
	expect_all(memory, 0, HUGE_PAGES, 1);
	if (!done)
		fail("the pages were not collapsed");
	expect_huge(memory, true);
}

/* Two processes use one file at the same time: one makes its pages tagged, the other one copies and collapses them. */
struct race {
	struct turns turns;
	char *memory;			/* the file, at the same place in both */
	int file;
	size_t *tagged;			/* pages to which the child has written tags, in this round */
	size_t both;			/* rounds with copies of either kind: with tags, and without */
	size_t collapsed, met;		/* rounds; of it, while the child was writing tags */
};

#define ROUNDS	48

/* Its mapping is without PROT_MTE in the beginning of each round. */
static void tag_in_race(struct race *r)
{
	for (unsigned int round = 1; round <= ROUNDS; round++) {
		if (mmap(r->memory, HUGE, RW, MAP_SHARED | MAP_FIXED, r->file, 0) != r->memory)
			fail("mmap: %s", strerror(errno));
		expect_data(r->memory, 0, HUGE_PAGES, 1);
		let_parent(&r->turns);
		protect(r->memory, HUGE_PAGES, RW | PROT_MTE);
		for (size_t page = 0; page < HUGE_PAGES; page++) {
			write_tags(r->memory, page, 1, round);
			__atomic_store_n(r->tagged, page + 1, __ATOMIC_RELAXED);
		}
		let_parent(&r->turns);
		expect_data(r->memory, 0, HUGE_PAGES, 1);
		expect_tags(r->memory, 0, HUGE_PAGES, round);
		let_parent(&r->turns);
	}
}

static void collapse_in_race(struct race *r)
{
	size_t before = __atomic_load_n(r->tagged, __ATOMIC_RELAXED), after;

	if (!collapse(r->memory))
		return;
	after = __atomic_load_n(r->tagged, __ATOMIC_RELAXED);
	r->collapsed++;
	r->met += after > before && before < HUGE_PAGES;
}

/* A granule has the tag that the child wrote, or none: its page was copied before. */
static void expect_copies(struct race *r, char *own, unsigned int round)
{
	size_t with = 0, without = 0;

	for (size_t page = 0; page < HUGE_PAGES; page++)
		own[page * PAGE] ^= 1;
	protect(own, HUGE_PAGES, RW | PROT_MTE);
	expect_data(own, 0, HUGE_PAGES, 1);
	for (size_t g = 0; g < HUGE_PAGES * GRANULES; g++) {
		unsigned int wanted = tag_for(g, round), found = get_tag(own + g * GRANULE);

		if (found && found != wanted)
			fail("round %u: the copy of granule %zu of page %zu has tag %u instead of %u or none", round,
			     g % GRANULES, g / GRANULES, found, wanted);
		with += found && found == wanted;
		without += found != wanted;
	}
	r->both += with && without;
}

/* Half of the pages are mapped before they are copied. */
static void copy_in_race(struct race *r, unsigned int round)
{
	char *own = map_file(r->file, HUGE_PAGES, RW, MAP_PRIVATE);

	expect_data(own, 0, HUGE_PAGES / 2, 1);
	*r->tagged = 0;
	give(r->turns.to_child[1]);
	if (round % 2)
		collapse_in_race(r);
	for (size_t i = 0; i < HUGE_PAGES; i++)
		own[i * 77 % HUGE_PAGES * PAGE] ^= 1;
	if (round % 2 == 0)
		collapse_in_race(r);
	take(r->turns.to_parent[0]);
	expect_copies(r, own, round);
	munmap(own, HUGE);
}

/* Pages that another process makes tagged are copied, and collapsed, at the same time. */
static void race_protect(void)
{
	struct race r = { 0 };

	r.tagged = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r.tagged == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	r.memory = map_huge_file(&r.file, RW);
	madvise(r.memory, HUGE, MADV_NOHUGEPAGE);
	write_data(r.memory, 0, HUGE_PAGES, 1);
	CHILD(&r.turns, tag_in_race(&r));
	for (unsigned int round = 1; round <= ROUNDS; round++) {
		madvise(r.memory, HUGE, MADV_NOHUGEPAGE);
		punch(r.file, 0, HUGE);
		write_data(r.memory, 0, HUGE_PAGES, 1);
		madvise(r.memory, HUGE, MADV_HUGEPAGE);
		let_child(&r.turns);
		copy_in_race(&r, round);
		let_child(&r.turns);
		expect_data(r.memory, 0, HUGE_PAGES, 1);
	}
	end_child(&r.turns);
	if (r.both < ROUNDS / 8 || r.met < ROUNDS / 8)
		fail("in %d rounds, %zu met while pages were copied, and %zu of %zu while they were collapsed", ROUNDS,
		     r.both, r.met, r.collapsed);
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
	{ "shared-race-protect", race_protect },
};

int main(int argc, char **argv)
{
	return directed_tests(tests, ARRAY_SIZE(tests), argc, argv);
}
