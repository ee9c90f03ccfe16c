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
#include <sys/stat.h>
#include <sys/swap.h>

#include "directed.h"

#define PAGES		256
#define SLOTS		2048	/* of an area so small that slots are used again soon */
#define LAST_SLOT	1028	/* where the number of the last one stands in the area's header */
#define NO_SLOT		UINT64_MAX

#define KPF_SWAPCACHE	13
#define KPF_HEAD	15
#define KPF_TAIL	16
#define KPF_TAGGED	41

#define CGROUP		"/sys/fs/cgroup/swap/"
#define KSM		"/sys/kernel/mm/ksm/"
#define THP		"/sys/kernel/mm/transparent_hugepage/"
#define ZSWAP		"/sys/module/zswap/parameters/"

/* A number of /proc/vmstat. */
static uint64_t counted(const char *name)
{
	FILE *file = fopen("/proc/vmstat", "r");
	char line[128], found[64];
	uint64_t number;

	if (!file)
		fail("/proc/vmstat can't be read");
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %" SCNu64, found, &number) == 2 && !strcmp(found, name)) {
			fclose(file);
			return number;
		}
	fail("/proc/vmstat has no %s", name);
}

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

/*
 * MADV_PAGEOUT leaves alone what others have mapped, too; a cgroup's memory is reclaimed whoever has. Call this before
 * there is any.
 */
static void enter_cgroup(void)
{
	if (!write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory"))
		skip("there is no memory cgroup: %s", strerror(errno));
	if (mkdir(CGROUP, 0700) && errno != EEXIST)
		fail("mkdir: %s", strerror(errno));
	if (!write_text(CGROUP "cgroup.procs", "0"))
		fail("a cgroup can't be entered: %s", strerror(errno));
}

static void out_of_both(const char *memory, size_t pages, pid_t other)
{
	size_t count = 0, others = 0;

	for (unsigned int i = 0; i < TRIES; i++) {
		/* It fails when there was less. */
		write_text(CGROUP "memory.reclaim", "4M swappiness=200");
		count = swapped(getpid(), memory, pages);
		others = swapped(other, memory, pages);
		if (count >= pages - pages / 16 && others >= pages - pages / 16)
			return;
		short_sleep();
	}
	fail("only %zu and %zu of %zu pages were swapped out", count, others, pages);
}

static bool zswap_on(void)
{
	char text[8];

	return read_text(ZSWAP "enabled", text, sizeof(text)) && *text == 'Y';
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

/* Written and read by the kernel before it goes on, and in pieces larger than a page. */
static bool is_zram(void)
{
	return strstr(swap_area(), "zram");
}

/* Tagged shared memory, written as version 1. */
static char *shared(int *file)
{
	char *memory;

	*file = make_file(PAGES);
	memory = map_file(*file, PAGES, RW | PROT_MTE, MAP_SHARED);
	write_all(memory, 0, PAGES, 1);
	return memory;
}

/* Tagged pages in a mapping that does not say so: copies, with tags of version 1 and data of version 2. */
static char *tagged_copies(void)
{
	int file;
	char *source = shared(&file), *plain = map_file(file, PAGES, RW, MAP_PRIVATE);

	write_data(plain, 0, PAGES, 2);
	expect_no_tags(plain, 0, PAGES);
	munmap(source, PAGES * PAGE);
	close(file);
	return plain;
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
	char *plain = tagged_copies();

	out(plain, PAGES);
	expect_data(plain, 0, PAGES, 2);
	expect_no_tags(plain, 0, PAGES);
	out(plain, PAGES);
	expect_data(plain, 0, PAGES / 2, 2);
	expect_tags_of_copy(plain, PAGES);
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
	char *memory;
	struct turns t;

	enter_cgroup();
	memory = map(PAGES, RW | PROT_MTE);
	write_all(memory, 0, PAGES, 1);
	out(memory, PAGES);
	CHILD(&t, {
		expect_all(memory, 0, PAGES / 2, 1);
		let_parent(&t);
		expect_all(memory, 0, PAGES, 1);
		write_all(memory, 0, PAGES, 3);
		out(memory, PAGES);
		let_parent(&t);
		expect_all(memory, 0, PAGES, 3);
	});
	let_child(&t);
	expect_all(memory, 0, PAGES, 1);
	out_of_both(memory, PAGES, t.child);
	let_child(&t);
	expect_all(memory, 0, PAGES / 2, 1);
	write_all(memory, 0, PAGES, 2);
	end_child(&t);
	expect_all(memory, 0, PAGES, 2);
}

/* A huge page may not be had at once. */
static void huge(void)
{
	char *memory;

	for (unsigned int i = 0;; i++) {
		memory = map_huge(RW | PROT_MTE);
		*memory = 1;
		if (is_huge(memory) || i == TRIES / 10)
			break;
		munmap(memory, HUGE);
		write_text("/proc/sys/vm/compact_memory", "1");
		short_sleep();
	}
	write_all(memory, 0, HUGE_PAGES, 1);
	expect_huge(memory, true);
	out(memory, HUGE_PAGES);
	expect_all(memory, 0, HUGE_PAGES, 1);
}

/* How many groups of @size pages are one folio each. */
static size_t folios(const char *memory, size_t size)
{
	size_t count = 0;

	for (size_t first = 0; first < PAGES; first += size) {
		uint64_t pfns[PAGES];
		size_t page = 1;

		get_pfns(memory + first * PAGE, pfns, size);
		if (!pfns[0] || !page_has(pfns[0], KPF_HEAD))
			continue;
		while (page < size && pfns[page] == pfns[0] + page && page_has(pfns[page], KPF_TAIL))
			page++;
		count += page == size && !page_has(pfns[0] + size, KPF_TAIL);
	}
	return count;
}

static uint64_t folios_out(size_t size)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), THP "hugepages-%zukB/stats/swpout", size * PAGE / 1024);
	if (!read_text(path, text, sizeof(text)))
		fail("%s can't be read: %s", path, strerror(errno));
	return strtoull(text, NULL, 10);
}

/* Faults are to use folios of this size, and of no other that is smaller than a huge page; 0: of none. */
static void use_folios(size_t size)
{
	for (size_t other = 4; other < HUGE_PAGES; other *= 2) {
		char path[128];

		snprintf(path, sizeof(path), THP "hugepages-%zukB/enabled", other * PAGE / 1024);
		if (!write_text(path, other == size ? "madvise" : "never"))
			fail("%s can't be written: %s", path, strerror(errno));
	}
}

/* Without huge pages, because for these the memory is too small. */
static char *map_folios(void)
{
	char *memory = map_huge(RW | PROT_MTE);

	munmap(memory + PAGES * PAGE, HUGE - PAGES * PAGE);
	write_all(memory, 0, PAGES, 1);
	return memory;
}

/* Large folios are swapped out in one piece, and come back so, where the swap space is for that. */
static void large(size_t size)
{
	size_t enough = PAGES / size / 2, count = 0;
	bool whole = is_zram();
	uint64_t before;
	char *memory;

	use_folios(size);
	for (unsigned int i = 0; i < TRIES / 10; i++) {
		memory = map_folios();
		count = folios(memory, size);
		if (count >= enough)
			break;
		munmap(memory, PAGES * PAGE);
		short_sleep();
	}
	if (count < enough)
		fail("only %zu of %zu folios are of %zu pages", count, PAGES / size, size);
	before = folios_out(size);
	out(memory, PAGES);
	if (whole && folios_out(size) < before + enough)
		fail("only %" PRIu64 " folios were swapped out whole", folios_out(size) - before);
	expect_all(memory, 0, PAGES, 1);
	if (whole && folios(memory, size) < enough)
		fail("only %zu of %zu folios came back", folios(memory, size), PAGES / size);
	/* Some of the pages are changed, and all go again. */
	for (size_t page = 0; page < PAGES; page += size / 2 + 1)
		write_all(memory, page, 1, 2);
	out(memory, PAGES);
	for (size_t page = 0; page < PAGES; page++)
		expect_all(memory, page, 1, page % (size / 2 + 1) ? 1 : 2);
	use_folios(0);
}

static void large_16k(void)
{
	large(4);
}

static void large_64k(void)
{
	large(16);
}

static void large_256k(void)
{
	large(64);
}

static uint64_t slot_of(const void *address)
{
	uint64_t entry = pagemap_entry(getpid(), address);

	return entry >> 62 & 1 ? entry >> 5 & ((1ULL << 50) - 1) : NO_SLOT;
}

/* Switches it off, and on again with another size; returns the old one. */
static uint32_t resize_area(const char *area, uint32_t last)
{
	uint32_t old;
	int file;

	if (swapoff(area))
		fail("swapoff %s: %s", area, strerror(errno));
	file = open(area, O_RDWR);
	if (file < 0 || pread(file, &old, 4, LAST_SLOT) != 4 || pwrite(file, &last, 4, LAST_SLOT) != 4 || fsync(file))
		fail("the header of %s: %s", area, strerror(errno));
	close(file);
	if (swapon(area, 0))
		fail("swapon %s: %s", area, strerror(errno));
	return old;
}

/* A slot that is used again must not show the tags of who had it before. */
static void slot_used_again(void)
{
	char *memory = map(PAGES, RW | PROT_MTE), *area = swap_area();
	uint32_t last = resize_area(area, SLOTS - 1);
	bool tagged[SLOTS] = {};
	size_t again = 0;

	write_all(memory, 0, PAGES, 1);
	out(memory, PAGES);
	for (size_t page = 0; page < PAGES; page++)
		if (slot_of(memory + page * PAGE) != NO_SLOT)
			tagged[slot_of(memory + page * PAGE)] = true;
	munmap(memory, PAGES * PAGE);
	for (unsigned int i = 0; i < 8 * SLOTS / PAGES && again < PAGES / 2; i++) {
		memory = map(PAGES, RW);
		write_data(memory, 0, PAGES, 2);
		out(memory, PAGES);
		for (size_t page = 0; page < PAGES; page++) {
			uint64_t slot = slot_of(memory + page * PAGE);

			if (slot == NO_SLOT)
				continue;
			again += tagged[slot];
			tagged[slot] = false;
		}
		protect(memory, PAGES, RW | PROT_MTE);
		expect_data(memory, 0, PAGES, 2);
		expect_no_tags(memory, 0, PAGES);
		munmap(memory, PAGES * PAGE);
	}
	resize_area(area, last);
	if (again < PAGES / 2)
		fail("only %zu slots of tagged pages were used again", again);
}

static void switched_off(void)
{
	char *memory = map(PAGES, RW | PROT_MTE), *plain = tagged_copies(), *area = swap_area();

	write_all(memory, 0, PAGES, 1);
	out(memory, PAGES);
	out(plain, PAGES);
	if (swapoff(area))
		fail("swapoff %s: %s", area, strerror(errno));
	/* Before there is swap space again: somebody else may reclaim memory meanwhile. */
	if (own_swapped(memory, PAGES) || own_swapped(plain, PAGES))
		fail("pages are still swapped out");
	if (swapon(area, 0))
		fail("swapon %s: %s", area, strerror(errno));
	expect_all(memory, 0, PAGES, 1);
	expect_tags_of_copy(plain, PAGES);
}

static char *shared_out(int *file)
{
	char *memory = shared(file);

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

	if (swapoff(area) || swapon(area, 0))
		fail("swapoff and swapon %s: %s", area, strerror(errno));
	expect_all(memory, 0, PAGES, 1);
}

/*
 * A page that lies on tag storage and was swapped out is used tagged, while the swap cache may still have it where it
 * was; returns whether that was so.
 */
static bool tag_lent(char *memory, size_t page, uint64_t pfn)
{
	bool cached = page_has(pfn, KPF_SWAPCACHE);
	struct region regions[MAX_REGIONS];
	unsigned int count = get_regions(regions);

	protect(memory + page * PAGE, 1, RW | PROT_MTE);
	expect_no_tags(memory, page, 1);
	write_tags(memory, page, 1, 1);
	if (on_storage(regions, count, get_pfn(memory + page * PAGE)))
		fail("page %zu is tagged, and lies on tag storage", page);
	expect_all(memory, page, 1, 1);
	return cached;
}

/* What lies on lent tag storage is swapped like anything else: memory is used until some of it does. */
static void lent_itself(void)
{
	size_t pages = 0, limit = meminfo("MemTotal") / PAGE, lent = 0, found = 0, cached = 0;
	bool at_once = is_zram() || zswap_on(), *tagged = calloc(limit, 1);
	struct region regions[MAX_REGIONS];
	unsigned int count = get_regions(regions);
	char *memory;

	if (!count || !total("free_pages"))
		skip("no lent tag storage is free");
	memory = map(limit, RW);
	while (pages < limit && lent < PAGES && (pages % 64 || room())) {
		char *page = memory + pages * PAGE;
		uint64_t pfn;

		write_data(memory, pages++, 1, 1);
		pfn = get_pfn(page);
		if (!on_storage(regions, count, pfn))
			continue;
		lent++;
		madvise(page, PAGE, MADV_PAGEOUT);
		if (!own_swapped(page, 1))
			continue;
		if (found++ % 2) {
			cached += tag_lent(memory, pages - 1, pfn);
			tagged[pages - 1] = true;
		}
	}
	if (found < 2)
		fail("of %zu pages, %zu lay on tag storage, and %zu of these could be swapped out", pages, lent, found);
	/* Where writing takes its time, it goes on. */
	if (!at_once && !cached)
		fail("none of %zu pages was tagged while it was in the swap cache", found / 2);
	expect_data(memory, 0, pages, 1);
	for (size_t page = 0; page < pages; page++)
		if (tagged[page])
			expect_tags(memory, page, 1, 1);
}

/* KSM has made one page of two that are equal; it is no more busy with them when this returns. */
static void merge(char *left, char *right)
{
	size_t merged = 0;

	if (!write_text(KSM "pages_to_scan", "10000") || !write_text(KSM "sleep_millisecs", "10"))
		skip("the kernel has no KSM");
	if (madvise(left, PAGES * PAGE, MADV_MERGEABLE) || madvise(right, PAGES * PAGE, MADV_MERGEABLE))
		fail("madvise(MADV_MERGEABLE): %s", strerror(errno));
	write_text(KSM "run", "1");
	for (unsigned int i = 0; i < TRIES && merged < PAGES; i++) {
		short_sleep();
		merged = 0;
		for (size_t page = 0; page < PAGES; page++)
			merged += get_pfn(left + page * PAGE) == get_pfn(right + page * PAGE);
	}
	write_text(KSM "run", "0");
	if (merged < PAGES)
		fail("only %zu of %zu pages were merged", merged, (size_t)PAGES);
}

/* What KSM had merged is swapped out, and comes back as one page, of which copies are made when it is tagged. */
static void was_merged(void)
{
	uint64_t copies = counted("ksm_swpin_copy");
	char *left, *right;
	struct turns t;

	enter_cgroup();
	left = map(PAGES, RW);
	right = map(PAGES, RW);
	write_data(left, 0, PAGES, 1);
	write_data(right, 0, PAGES, 1);
	merge(left, right);
	CHILD(&t, {
		expect_data(left, 0, PAGES, 1);
		expect_data(right, 0, PAGES, 1);
		protect(right, PAGES, RW | PROT_MTE);
		expect_no_tags(right, 0, PAGES);
		write_all(right, 0, PAGES, 2);
		let_parent(&t);
		expect_data(left, 0, PAGES, 1);
		protect(left, PAGES, RW | PROT_MTE);
		expect_no_tags(left, 0, PAGES);
		expect_all(right, 0, PAGES, 2);
	});
	out_of_both(left, PAGES, t.child);
	out_of_both(right, PAGES, t.child);
	protect(left, PAGES, RW | PROT_MTE);
	expect_data(left, 0, PAGES, 1);
	if (!page_has(get_pfn(left), KPF_TAGGED))
		fail("the page that came back is not tagged");
	expect_data(right, 0, PAGES, 1);
	let_child(&t);
	if (counted("ksm_swpin_copy") < copies + PAGES)
		fail("only %" PRIu64 " pages were copied", counted("ksm_swpin_copy") - copies);
	expect_no_tags(left, 0, PAGES);
	write_tags(left, 0, PAGES, 1);
	protect(right, PAGES, RW | PROT_MTE);
	expect_no_tags(right, 0, PAGES);
	write_all(right, 0, PAGES, 3);
	end_child(&t);
	expect_all(left, 0, PAGES, 1);
	expect_all(right, 0, PAGES, 3);
}

/* What zswap keeps in its pool goes on to the disk when the pool is full, here because it may have nothing any more. */
static void written_back(void)
{
	char *memory = map(PAGES, RW | PROT_MTE), *more = map(PAGES, RW), percent[16];
	uint64_t before = counted("zswpout"), written = 0;

	enter_cgroup();
	if (!read_text(ZSWAP "max_pool_percent", percent, sizeof(percent)))
		fail("max_pool_percent can't be read");
	write_all(memory, 0, PAGES, 1);
	out(memory, PAGES);
	if (counted("zswpout") < before + PAGES / 2)
		fail("only %" PRIu64 " pages are in the pool", counted("zswpout") - before);
	before = counted("zswpwb");
	write_text(ZSWAP "max_pool_percent", "0");
	/* Who finds it full has it emptied; that takes several goes. */
	for (unsigned int i = 0; i < TRIES && written < PAGES; i++) {
		write_data(more, 0, PAGES, 2);
		out(more, PAGES);
		written = counted("zswpwb") - before;
	}
	write_text(ZSWAP "max_pool_percent", percent);
	if (written < PAGES)
		fail("only %" PRIu64 " pages were written back", written);
	before = counted("zswpin");
	expect_all(memory, 0, PAGES / 2, 1);
	if (counted("zswpin") > before + PAGES / 4)
		fail("%" PRIu64 " pages were still in the pool", counted("zswpin") - before);
	/* These are in the swap cache since; the others have to be read from the disk. */
	for (unsigned int i = 0; i < 10; i++)
		write_text(CGROUP "memory.reclaim", "4M swappiness=200");
	before = counted("pswpin");
	expect_all(memory, PAGES / 2, PAGES / 2, 1);
	if (counted("pswpin") < before + PAGES / 4)
		fail("only %" PRIu64 " pages came from the disk", counted("pswpin") - before);
	expect_data(more, 0, PAGES, 2);
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
	{ "swap-large-16k", large_16k },
	{ "swap-large-64k", large_64k },
	{ "swap-large-256k", large_256k },
	{ "swap-slot-used-again", slot_used_again },
	{ "swap-switched-off", switched_off },
	{ "swap-shared-memory", shared_memory },
	{ "swap-shared-switched-off", shared_switched_off },
	{ "swap-was-merged", was_merged },
	{ "swap-race", race },
	{ "swap-written-back", written_back },	/* the last, for zswap alone */
};

int main(int argc, char **argv)
{
	return directed_tests(tests, ARRAY_SIZE(tests) - !zswap_on(), argc, argv);
}
