// SPDX-License-Identifier: GPL-2.0
/*
 * paths/swap.c - directed tests of tagged memory that is swapped out and in
 *
 * usage: swap [all | NAME...]
 *
 * Expects swap space, one area, that can be switched off and on again (the first of /proc/swaps).
 */

#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/swap.h>

#include "directed.h"

#define PAGES		256

static size_t own_swapped(void *memory, size_t pages)
{
	return swapped(getpid(), memory, pages);
}

/* Of shared memory: the page table just forgets what was swapped out; the swap cache may still have some. */
static size_t away(void *memory, size_t pages)
{
	size_t count = 0;

	for (size_t page = 0; page < pages; page++)
		count += !get_pfn((char *)memory + page * PAGE);
	return count;
}

/* Swaps out; a page may be busy for a moment, so it is tried until nearly all are. */
static void out_as(void *memory, size_t pages, size_t (*counter)(void *memory, size_t pages))
{
	size_t count = 0;

	for (unsigned int i = 0; i < TRIES; i++) {
		if (madvise(memory, pages * PAGE, MADV_PAGEOUT))
			fail("madvise(MADV_PAGEOUT): %s", strerror(errno));
		count = counter(memory, pages);
		if (count >= pages - pages / 16)
			return;
		short_sleep();
	}
	fail("only %zu of %zu pages were swapped out", count, pages);
}

static void out(void *memory, size_t pages)
{
	out_as(memory, pages, own_swapped);
}

static char *swap_area(void)
{
	static char text[4096];
	char *line;

	if (!read_text("/proc/swaps", text, sizeof(text)))
		fail("/proc/swaps can't be read");
	line = strchr(text, '\n');
	if (!line || !line[1])
		skip("there is no swap space");
	line[1 + strcspn(line + 1, " \t")] = 0;
	return line + 1;
}

static void out_and_in(void)
{
	char *memory = map(PAGES, RW | PROT_MTE);

	write_all(memory, 0, PAGES, 1);
	out(memory, PAGES);
	expect_all(memory, 0, PAGES, 1);
	/* The same tags again, and others. */
	out(memory, PAGES);
	write_tags(memory, 0, PAGES, 2);
	expect_data(memory, 0, PAGES, 1);
	out(memory, PAGES);
	write_data(memory, 0, PAGES, 2);
	out(memory, PAGES);
	expect_all(memory, 0, PAGES, 2);
}

/* The VMA that brings the pages back does not say that they are tagged. */
static void without_prot_mte(void)
{
	char *memory = map(PAGES, RW | PROT_MTE);

	write_all(memory, 0, PAGES, 1);
	protect(memory, PAGES, RW);
	out(memory, PAGES);
	expect_data(memory, 0, PAGES, 1);
	out(memory, PAGES);
	expect_data(memory, 0, PAGES / 2, 1);
	protect(memory, PAGES, RW | PROT_MTE);
	expect_all(memory, 0, PAGES, 1);
}

/* Untagged when they went, used tagged afterwards. */
static void tagged_after(void)
{
	char *memory = map(PAGES, RW);

	write_data(memory, 0, PAGES, 1);
	out(memory, PAGES);
	protect(memory, PAGES, RW | PROT_MTE);
	expect_data(memory, 0, PAGES, 1);
	expect_no_tags(memory, 0, PAGES);
	write_tags(memory, 0, PAGES, 1);
	expect_all(memory, 0, PAGES, 1);
}

static void readahead_first(void)
{
	char *memory = map(PAGES, RW | PROT_MTE);

	write_all(memory, 0, PAGES, 1);
	out(memory, PAGES);
	if (madvise(memory, PAGES * PAGE, MADV_WILLNEED))
		fail("madvise(MADV_WILLNEED): %s", strerror(errno));
	short_sleep();
	expect_all(memory, 0, PAGES, 1);
}

/* Parent and child share what is in swap; each brings it back, and writes. */
static void shared_by_fork(void)
{
	char *memory = map(PAGES, RW | PROT_MTE);
	struct turns t;

	write_all(memory, 0, PAGES, 1);
	CHILD(&t, {
		expect_all(memory, 0, PAGES / 2, 1);
		let_parent(&t);
		expect_all(memory, 0, PAGES, 1);
		write_all(memory, 0, PAGES, 3);
		out(memory, PAGES);
		let_parent(&t);
		expect_all(memory, 0, PAGES, 3);
	});
	madvise(memory, PAGES * PAGE, MADV_PAGEOUT);
	let_child(&t);
	madvise(memory, PAGES * PAGE, MADV_PAGEOUT);
	expect_all(memory, 0, PAGES, 1);
	madvise(memory, PAGES * PAGE, MADV_PAGEOUT);
	let_child(&t);
	write_all(memory, 0, PAGES, 2);
	end_child(&t);
	expect_all(memory, 0, PAGES, 2);
}

static void huge(void)
{
	char *memory = map_huge(RW | PROT_MTE);

	write_all(memory, 0, HUGE_PAGES, 1);
	out(memory, HUGE_PAGES);
	expect_all(memory, 0, HUGE_PAGES, 1);
}

/* A slot that is used again must not show the tags of who had it before. */
static void slot_used_again(void)
{
	char *memory = map(PAGES, RW | PROT_MTE);

	write_all(memory, 0, PAGES, 1);
	out(memory, PAGES);
	if (munmap(memory, PAGES * PAGE))
		fail("munmap: %s", strerror(errno));
	for (unsigned int i = 0; i < 4; i++) {
		memory = map(PAGES, RW);
		write_data(memory, 0, PAGES, 2);
		out(memory, PAGES);
		protect(memory, PAGES, RW | PROT_MTE);
		expect_data(memory, 0, PAGES, 2);
		expect_no_tags(memory, 0, PAGES);
		munmap(memory, PAGES * PAGE);
	}
}

static void switched_off(void)
{
	char *memory = map(PAGES, RW | PROT_MTE), *plain = map(PAGES, RW | PROT_MTE), *area = swap_area();

	write_all(memory, 0, PAGES, 1);
	write_all(plain, 0, PAGES, 2);
	protect(plain, PAGES, RW);
	out(memory, PAGES);
	out(plain, PAGES);
	if (swapoff(area))
		fail("swapoff %s: %s", area, strerror(errno));
	if (own_swapped(memory, PAGES) || own_swapped(plain, PAGES))
		fail("pages are still swapped out");
	protect(plain, PAGES, RW | PROT_MTE);
	expect_all(memory, 0, PAGES, 1);
	expect_all(plain, 0, PAGES, 2);
	if (swapon(area, 0))
		fail("swapon %s: %s", area, strerror(errno));
}

static char *shared_out(int *file)
{
	char *memory;

	*file = memfd_create("swap", 0);
	if (*file < 0 || ftruncate(*file, PAGES * PAGE))
		fail("memfd_create: %s", strerror(errno));
	memory = mmap(NULL, PAGES * PAGE, RW | PROT_MTE, MAP_SHARED, *file, 0);
	if (memory == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	write_all(memory, 0, PAGES, 1);
	out_as(memory, PAGES, away);
	return memory;
}

static void shared_memory(void)
{
	int file;
	char *memory = shared_out(&file), *other;

	expect_all(memory, 0, PAGES, 1);
	out_as(memory, PAGES, away);
	/* Brought back by read(2), then by a mapping without PROT_MTE. */
	for (size_t page = 0; page < PAGES / 2; page++) {
		uint64_t words[WORDS];

		if (pread(file, words, PAGE, page * PAGE) != (ssize_t)PAGE)
			fail("pread: %s", strerror(errno));
		if (words[1] != word_for(page * WORDS + 1, 1))
			fail("page %zu is read as %#" PRIx64, page, words[1]);
	}
	other = mmap(NULL, PAGES * PAGE, RW, MAP_SHARED, file, 0);
	if (other == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	expect_data(other, 0, PAGES, 1);
	expect_all(memory, 0, PAGES, 1);
}

static void shared_switched_off(void)
{
	int file;
	char *memory = shared_out(&file), *area = swap_area();

	if (swapoff(area))
		fail("swapoff %s: %s", area, strerror(errno));
	expect_all(memory, 0, PAGES, 1);
	if (swapon(area, 0))
		fail("swapon %s: %s", area, strerror(errno));
}

/* What lies on lent tag storage is swapped like anything else: memory is used until some of it does. */
static void lent_itself(void)
{
	size_t pages = 0, limit = meminfo("MemTotal") / PAGE, lent = 0, found = 0;
	struct region regions[MAX_REGIONS];
	unsigned int count = get_regions(regions);
	char *memory;

	if (!count || !total("free_pages"))
		skip("no lent tag storage is free");
	memory = map(limit, RW);
	while (pages < limit && lent < PAGES && (pages % 64 || room())) {
		char *page = memory + pages * PAGE;

		write_data(memory, pages++, 1, 1);
		if (!on_storage(regions, count, get_pfn(page)))
			continue;
		lent++;
		madvise(page, PAGE, MADV_PAGEOUT);
		found += own_swapped(page, 1);
	}
	if (!found)
		fail("of %zu pages, %zu lay on tag storage, and none of these could be swapped out", pages, lent);
	expect_data(memory, 0, pages, 1);
}

/* One thread swaps out all the time; the others use and verify the same memory. */
static char *raced;
static bool race_over;

static void *race_swapper(void *argument)
{
	(void)argument;
	while (!__atomic_load_n(&race_over, __ATOMIC_RELAXED))
		madvise(raced, PAGES * PAGE, MADV_PAGEOUT);
	return NULL;
}

static void *race_user(void *argument)
{
	size_t first = (size_t)argument * PAGES / 4;

	check_tags();
	for (unsigned int version = 1; version <= 12; version++) {
		write_all(raced, first, PAGES / 4, version);
		expect_all(raced, first, PAGES / 4, version);
	}
	return NULL;
}

static void race(void)
{
	pthread_t swapper, users[4];

	raced = map(PAGES, RW | PROT_MTE);
	if (pthread_create(&swapper, NULL, race_swapper, NULL))
		fail("there are no threads");
	for (size_t i = 0; i < ARRAY_SIZE(users); i++)
		if (pthread_create(&users[i], NULL, race_user, (void *)i))
			fail("there are no threads");
	for (size_t i = 0; i < ARRAY_SIZE(users); i++)
		pthread_join(users[i], NULL);
	__atomic_store_n(&race_over, true, __ATOMIC_RELAXED);
	pthread_join(swapper, NULL);
}

static const struct directed_test tests[] = {
	{ "swap-lent-itself", lent_itself },
	{ "swap-out-and-in", out_and_in },
	{ "swap-without-prot-mte", without_prot_mte },
	{ "swap-tagged-after", tagged_after },
	{ "swap-readahead-first", readahead_first },
	{ "swap-shared-by-fork", shared_by_fork },
	{ "swap-huge", huge },
	{ "swap-slot-used-again", slot_used_again },
	{ "swap-switched-off", switched_off },
	{ "swap-shared-memory", shared_memory },
	{ "swap-shared-switched-off", shared_switched_off },
	{ "swap-race", race },
};

int main(int argc, char **argv)
{
	return directed_tests(tests, ARRAY_SIZE(tests), argc, argv);
}
