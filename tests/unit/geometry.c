// SPDX-License-Identifier: GPL-2.0
/*
 * unit/geometry.c - proves tagstorage_mod/geometry.h against a model that knows only bytes
 *
 * The model: the tags of the 32 data bytes from offset o on are one byte of tag storage, and the
 * hardware may put it anywhere in the hardware block that holds storage offset o / 32. A block of the
 * engine's is right if it consists of whole pages, holds every byte that may hold tags of the pages that
 * it covers, and none that may hold tags of another page.
 *
 * For the host: includes the very file that the module compiles. Prints "ok - NAME" or
 * "not ok - NAME: WHY" for each group of checks; exit status 1 if one failed.
 */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../../tagstorage_mod/geometry.h"

#define KIB		1024ULL
#define MIB		(1024 * KIB)
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define BLOCKS		3
#define ORDERS		10

static const char *group;
static unsigned int failures;
static unsigned long long checks;
static int status;

static void begin(const char *name)
{
	group = name;
	failures = 0;
}

static void end(void)
{
	if (failures)
		printf("not ok - %s: %u checks failed\n", group, failures);
	else
		printf("ok - %s\n", group);
	status |= failures != 0;
}

__attribute__((format(printf, 2, 3)))
static void check(bool right, const char *format, ...)
{
	va_list values;

	checks++;
	if (right)
		return;
	if (failures++ < 5) {
		printf("# %s: ", group);
		va_start(values, format);
		vprintf(format, values);
		va_end(values);
		putchar('\n');
	}
}

/* Page sizes, and hardware block sizes for each as a fraction of a page: numerator, denominator. */
static const u64 page_sizes[] = { 4 * KIB, 16 * KIB, 64 * KIB };

static const struct {
	u32 numerator;
	u32 denominator;
	u32 pages;		/* in a block of the engine's */
} block_sizes[] = {
	{ 1, 1, 1 }, { 2, 1, 2 }, { 3, 1, 3 }, { 4, 1, 4 }, { 8, 1, 8 },
	/* Smaller than a page, or no multiple of it. */
	{ 1, 2, 1 }, { 1, 64, 1 }, { 3, 2, 3 }, { 3, 4, 3 }, { 5, 4, 5 },
};

/* Start of data and of storage, in pages: aligned to everything, to blocks, to nothing. */
static const struct {
	u64 data;
	u64 storage;
} places[] = {
	{ 1 << 20, 1 << 22 },
	{ (1 << 20) + 1, (1 << 22) + 1 },
	{ (1 << 20) + 33, (1 << 22) + 5 },
	{ (1 << 20) + 511, (1 << 10) + 3 },
	/* Storage right below and right above its data; data at address 0. */
	{ 1 << 20, (1 << 20) - BLOCKS * 8 },
	{ 0, 8 * 32 * BLOCKS },
};

struct subject {
	struct tagstorage_layout layout;
	struct tagstorage_geometry geometry;
	u64 page_size;
	u32 block_pages;
};

/* The engine's block that storage byte @offset (from the region's start) is part of. */
static u64 model_block(const struct subject *s, u64 offset)
{
	return offset / (s->block_pages * s->page_size);
}

/*
 * The engine's block for data page @page (from the region's start), by the model: asks each tag byte of
 * the page for the first and the last byte of storage where it may be.
 */
static u64 model_block_of_page(const struct subject *s, u64 page)
{
	u64 hardware = s->layout.block_size;
	u64 first = page * s->page_size / TAGSTORAGE_RATIO;
	u64 end = (page + 1) * s->page_size / TAGSTORAGE_RATIO;
	u64 block = model_block(s, first);

	for (u64 byte = first; byte < end; byte++) {
		u64 start = byte / hardware * hardware;

		check(model_block(s, start) == block && model_block(s, start + hardware - 1) == block,
		      "page %" PRIu64 " with block-size %" PRIu64 " and page size %" PRIu64
		      ": its tags may be in two blocks", page, hardware, s->page_size);
	}
	return block;
}

/* No smaller number of pages consists of whole hardware blocks. */
static void check_minimal(const struct subject *s)
{
	for (u32 pages = 1; pages < s->geometry.block_pages; pages++)
		check(pages * s->page_size % s->layout.block_size,
		      "blocks of %u pages, where %u would do", s->geometry.block_pages, pages);
}

static void check_pages(const struct subject *s)
{
	const struct tagstorage_geometry *g = &s->geometry;
	u64 data_pfn = s->layout.data_start / s->page_size;
	u64 storage_pfn = s->layout.storage_start / s->page_size;
	u64 data_pages = s->layout.data_size / s->page_size;
	u64 storage_pages = s->layout.storage_size / s->page_size;

	check(g->block_pages == s->block_pages, "%u pages in a block, not %u", g->block_pages,
	      s->block_pages);
	check(g->nr_blocks == BLOCKS, "%" PRIu64 " blocks", g->nr_blocks);
	check(tagstorage_data_pages(g) == data_pages, "%" PRIu64 " data pages", tagstorage_data_pages(g));
	check(tagstorage_storage_pages(g) == storage_pages, "%" PRIu64 " storage pages",
	      tagstorage_storage_pages(g));
	check_minimal(s);
	for (u64 page = 0; page < data_pages; page++) {
		u64 block = model_block_of_page(s, page);
		u64 pfn = data_pfn + page;

		check(tagstorage_covers(g, pfn), "page %" PRIu64 " is not covered", page);
		check(!tagstorage_holds(g, pfn), "page %" PRIu64 " is storage", page);
		check(tagstorage_block_of_data(g, pfn) == block, "page %" PRIu64 " has block %" PRIu64
		      ", not %" PRIu64, page, tagstorage_block_of_data(g, pfn), block);
		check(pfn - tagstorage_span_pfn(g, block) < g->span_pages,
		      "page %" PRIu64 " is outside the span of its block", page);
	}
	for (u64 page = 0; page < storage_pages; page++) {
		u64 block = model_block(s, page * s->page_size);
		u64 pfn = storage_pfn + page;

		check(tagstorage_holds(g, pfn), "storage page %" PRIu64 " is not held", page);
		check(!tagstorage_covers(g, pfn), "storage page %" PRIu64 " is covered", page);
		check(tagstorage_block_of_storage(g, pfn) == block, "storage page %" PRIu64
		      " is in block %" PRIu64 ", not %" PRIu64, page,
		      tagstorage_block_of_storage(g, pfn), block);
		check(pfn - tagstorage_block_pfn(g, block) < g->block_pages,
		      "storage page %" PRIu64 " is outside its block", page);
	}
	for (u64 block = 0; block < BLOCKS; block++) {
		check(tagstorage_block_pfn(g, block) == storage_pfn + block * s->block_pages,
		      "block %" PRIu64 " starts at the wrong page", block);
		check(tagstorage_span_pfn(g, block) == data_pfn + block * s->block_pages * TAGSTORAGE_RATIO,
		      "span %" PRIu64 " starts at the wrong page", block);
	}
}

/* What lies beside a region, or far from it, does not belong to it. */
static void check_outside(const struct subject *s)
{
	const struct tagstorage_geometry *g = &s->geometry;
	u64 data_pfn = s->layout.data_start / s->page_size;
	u64 storage_pfn = s->layout.storage_start / s->page_size;
	u64 data_end = data_pfn + s->layout.data_size / s->page_size;
	u64 storage_end = storage_pfn + s->layout.storage_size / s->page_size;

	check(!tagstorage_covers(g, data_pfn - 1), "the page below the data is covered");
	check(!tagstorage_covers(g, data_end), "the page above the data is covered");
	check(!tagstorage_holds(g, storage_pfn - 1), "the page below the storage is held");
	check(!tagstorage_holds(g, storage_end), "the page above the storage is held");
	check(!tagstorage_covers(g, ~0ULL) && !tagstorage_holds(g, ~0ULL), "the last page of all is ours");
}

/* A range from @page on is walked as the engine walks it; each of its pages must be met once, in order. */
static void check_walk(const struct subject *s, u64 page, u64 nr)
{
	const struct tagstorage_geometry *g = &s->geometry;
	u64 pfn = g->data_pfn + page;
	u64 end = pfn + nr;
	u64 previous = ~0ULL;

	while (pfn < end) {
		u64 block = tagstorage_block_of_data(g, pfn);
		u64 run = tagstorage_run_in_span(g, pfn, end - pfn);

		check(run && run <= end - pfn, "a run of %" PRIu64 " pages where %" PRIu64 " are left", run,
		      end - pfn);
		if (!run || run > end - pfn)
			return;
		check(block != previous, "block %" PRIu64 " is met twice", block);
		for (u64 i = 0; i < run; i++)
			check((pfn + i - g->data_pfn) * s->page_size / TAGSTORAGE_RATIO /
			      (s->block_pages * s->page_size) == block,
			      "a run from page %" PRIu64 " on leaves its block", pfn - g->data_pfn);
		previous = block;
		pfn += run;
	}
	check(pfn == end, "the walk ends beyond its range");
}

/* Allocations: order 0 to 9, naturally aligned in physical memory, wherever they touch the region wholly. */
static void check_orders(const struct subject *s)
{
	u64 data_pfn = s->layout.data_start / s->page_size;
	u64 pages = s->layout.data_size / s->page_size;

	for (u32 order = 0; order < ORDERS; order++) {
		u64 size = 1ULL << order;

		for (u64 page = (0 - data_pfn) % size; page + size <= pages; page += size)
			check_walk(s, page, size);
	}
}

/* Ranges of any length and alignment, around each boundary between spans and at both ends. */
static void check_ranges(const struct subject *s)
{
	u64 span = (u64)s->block_pages * TAGSTORAGE_RATIO;
	u64 pages = span * BLOCKS;

	for (u64 boundary = 0; boundary <= pages; boundary += span) {
		for (u64 before = 0; before <= 2; before++) {
			u64 start = boundary < before ? 0 : boundary - before;

			for (u64 nr = 1; nr <= 2; nr++)
				if (start + nr <= pages)
					check_walk(s, start, nr);
			for (u64 nr = span - 1; nr <= span + 2; nr++)
				if (start + nr <= pages)
					check_walk(s, start, nr);
			if (start < pages)
				check_walk(s, start, pages - start);
		}
	}
	check_walk(s, 0, 0);
}

static void each_layout(const char *name, void (*function)(const struct subject *s))
{
	begin(name);
	for (size_t p = 0; p < ARRAY_SIZE(page_sizes); p++) {
		for (size_t b = 0; b < ARRAY_SIZE(block_sizes); b++) {
			for (size_t a = 0; a < ARRAY_SIZE(places); a++) {
				struct subject s = { .page_size = page_sizes[p], .block_pages = block_sizes[b].pages };
				const char *message;

				s.layout = (struct tagstorage_layout) {
					.storage_start = places[a].storage * s.page_size,
					.storage_size = BLOCKS * s.block_pages * s.page_size,
					.data_start = places[a].data * s.page_size,
					.data_size = BLOCKS * s.block_pages * s.page_size * TAGSTORAGE_RATIO,
					.block_size = s.page_size * block_sizes[b].numerator /
						      block_sizes[b].denominator,
				};
				message = tagstorage_geometry_init(&s.geometry, &s.layout, s.page_size);
				check(!message, "a good layout: \"%s\"", message ? message : "");
				if (!message)
					function(&s);
			}
		}
	}
	end();
}

/* What is wrong; what to do about it follows after a colon. */
#define NO_STORAGE	"has tag storage of size zero"
#define NO_DATA		"covers memory of size zero"
#define WRAPS		"wraps around the end of the address space"
#define NO_BLOCK	"has a block-size of zero"
#define LARGE		"has a block-size that is too large"
#define LARGE_HERE	"has a block-size that does not suit the page size"
#define UNALIGNED	"does not start at a page boundary"
#define DATA_UNALIGNED	"covers memory that does not start at a page boundary"
#define NOT_WHOLE	"is not a whole number of blocks"
#define RATIO		"is not 1/32 of the memory that it covers"
#define ITSELF		"covers itself"
#define LIMIT		TAGSTORAGE_MAX_BLOCK_PAGES

static const struct {
	const char *name;
	const char *message;
	u64 page_size;
	struct tagstorage_layout layout;	/* storage start and size, data start and size, block size */
} layouts[] = {
	{ "the lab's small machine", NULL, 4 * KIB, { 0xc0000000, 64 * MIB, 0x40000000, 2048 * MIB, 4096 } },
	{ "the lab's block3", NULL, 4 * KIB, { 0xbe000000, 63 * MIB, 0x40000000, 2016 * MIB, 12288 } },
	{ "storage size 0", NO_STORAGE, 4 * KIB, { 0xc0000000, 0, 0x40000000, 2048 * MIB, 4096 } },
	{ "data size 0", NO_DATA, 4 * KIB, { 0xc0000000, 64 * MIB, 0x40000000, 0, 4096 } },
	{ "both sizes 0", NO_STORAGE, 4 * KIB, { 0xc0000000, 0, 0x40000000, 0, 4096 } },
	{ "storage wraps", WRAPS, 4 * KIB, { ~0ULL - MIB + 1, 2 * MIB, 0x40000000, 64 * MIB, 4096 } },
	{ "storage ends with the address space", WRAPS, 4 * KIB,
	  { ~0ULL - MIB + 1, MIB, 0x40000000, 32 * MIB, 4096 } },
	{ "data wraps", WRAPS, 4 * KIB, { 0xc0000000, 64 * MIB, ~0ULL - MIB + 1, 2048 * MIB, 4096 } },
	{ "size of all memory", WRAPS, 4 * KIB, { 0x1000, ~0ULL, 0x40000000, 2048 * MIB, 4096 } },
	{ "block size 0", NO_BLOCK, 4 * KIB, { 0xc0000000, 64 * MIB, 0x40000000, 2048 * MIB, 0 } },
	{ "largest block", NULL, 4 * KIB, { 0xc0000000, 64 * MIB, 0x40000000, 2048 * MIB, LIMIT * 4 * KIB } },
	{ "block one byte too large", LARGE, 4 * KIB,
	  { 0xc0000000, 64 * MIB, 0x40000000, 2048 * MIB, LIMIT * 4 * KIB + 1 } },
	{ "block of all memory", LARGE, 4 * KIB, { 0xc0000000, 64 * MIB, 0x40000000, 2048 * MIB, ~0ULL } },
	{ "block of 2^63", LARGE, 64 * KIB, { 0xc0000000, 64 * MIB, 0x40000000, 2048 * MIB, 1ULL << 63 } },
	{ "common multiple too large", LARGE_HERE, 4 * KIB,
	  { 0xc0000000, 64 * MIB, 0x40000000, 2048 * MIB, 4095 } },
	{ "common multiple just too large", LARGE_HERE, 4 * KIB,
	  { 0xc0000000, 65 * 8 * KIB, 0x40000000, 65 * 256 * KIB, 65 * 64 } },
	{ "common multiple just small enough", NULL, 4 * KIB,
	  { 0xc0000000, 63 * 8 * KIB, 0x40000000, 63 * 256 * KIB, 63 * 64 } },
	{ "storage inside a page", UNALIGNED, 4 * KIB, { 0xc0000800, 64 * MIB, 0x40000000, 2048 * MIB, 4096 } },
	{ "data inside a page", DATA_UNALIGNED, 4 * KIB, { 0xc0000000, 64 * MIB, 0x40000020, 2048 * MIB, 4096 } },
	{ "4 KiB boundary, 64 KiB pages", UNALIGNED, 64 * KIB,
	  { 0xc0001000, 64 * MIB, 0x40000000, 2048 * MIB, 4096 } },
	{ "half a block too much", NOT_WHOLE, 4 * KIB,
	  { 0xc0000000, 64 * MIB + 4096, 0x40000000, 2048 * MIB + 128 * KIB, 8192 } },
	{ "not whole blocks of 12 KiB", NOT_WHOLE, 4 * KIB,
	  { 0xc0000000, 64 * MIB, 0x40000000, 2048 * MIB, 12288 } },
	{ "less than a block", NOT_WHOLE, 64 * KIB, { 0xc0000000, 4096, 0x40000000, 128 * KIB, 4096 } },
	{ "storage too small", RATIO, 4 * KIB, { 0xc0000000, 63 * MIB, 0x40000000, 2048 * MIB, 4096 } },
	{ "storage too large", RATIO, 4 * KIB, { 0xc0000000, 65 * MIB, 0x40000000, 2048 * MIB, 4096 } },
	{ "31 bytes of data too much", RATIO, 4 * KIB,
	  { 0xc0000000, 64 * MIB, 0x40000000, 2048 * MIB + 31, 4096 } },
	{ "storage at the data's start", ITSELF, 4 * KIB,
	  { 0x40000000, 64 * MIB, 0x40000000, 2048 * MIB, 4096 } },
	{ "storage inside its data", ITSELF, 4 * KIB, { 0x50000000, 64 * MIB, 0x40000000, 2048 * MIB, 4096 } },
	{ "storage ends inside its data", ITSELF, 4 * KIB,
	  { 0x40000000 - 64 * MIB + 4096, 64 * MIB, 0x40000000, 2048 * MIB, 4096 } },
	{ "storage starts on its data's last page", ITSELF, 4 * KIB,
	  { 0xc0000000 - 4096, 64 * MIB, 0x40000000, 2048 * MIB, 4096 } },
	{ "storage right below its data", NULL, 4 * KIB,
	  { 0x40000000 - 64 * MIB, 64 * MIB, 0x40000000, 2048 * MIB, 4096 } },
	{ "one block", NULL, 4 * KIB, { 0xc0000000, 4096, 0x40000000, 128 * KIB, 4096 } },
	{ "top of 52 bits", NULL, 64 * KIB,
	  { (1ULL << 52) - 64 * MIB, 64 * MIB, (1ULL << 51), 2048 * MIB, 4096 } },
	/* 2^58 bytes of data, more than any machine has: no product may overflow. */
	{ "256 PiB", NULL, 4 * KIB, { 1ULL << 59, 1ULL << 53, 1ULL << 58, 1ULL << 58, 4096 } },
};

/* Is this the fault, and is there something to do about it? */
static bool says(const char *message, const char *fault)
{
	size_t length = strlen(fault);

	return !strncmp(message, fault, length) && !strncmp(message + length, ": ", 2) && message[length + 2];
}

static void check_messages(void)
{
	static const char * const messages[] = {
		NO_STORAGE, NO_DATA, WRAPS, NO_BLOCK, LARGE, LARGE_HERE, UNALIGNED, DATA_UNALIGNED, NOT_WHOLE,
		RATIO, ITSELF
	};
	bool seen[ARRAY_SIZE(messages)] = { false };

	begin("layouts that are right and wrong");
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++) {
		struct tagstorage_geometry g;
		const char *message = tagstorage_geometry_init(&g, &layouts[i].layout, layouts[i].page_size);
		const char *expected = layouts[i].message;

		check(!message == !expected && (!message || says(message, expected)),
		      "%s: \"%s\", not \"%s\"", layouts[i].name, message ? message : "right",
		      expected ? expected : "right");
		for (size_t m = 0; message && m < ARRAY_SIZE(messages); m++)
			seen[m] |= says(message, messages[m]);
	}
	for (size_t m = 0; m < ARRAY_SIZE(messages); m++)
		check(seen[m], "nothing \"%s\"", messages[m]);
	end();
}

static void check_huge(void)
{
	struct tagstorage_layout l = { 1ULL << 59, 1ULL << 53, 1ULL << 58, 1ULL << 58, 3 * 4096 };
	struct tagstorage_geometry g;
	u64 last;

	begin("a region of 256 PiB");
	l.storage_size -= l.storage_size % l.block_size;
	l.data_size = l.storage_size * TAGSTORAGE_RATIO;
	last = (l.data_start + l.data_size) / 4096 - 1;
	check(!tagstorage_geometry_init(&g, &l, 4096), "is refused");
	check(g.nr_blocks == l.storage_size / 12288, "has %" PRIu64 " blocks", g.nr_blocks);
	check(tagstorage_covers(&g, last) && !tagstorage_covers(&g, last + 1), "ends at the wrong page");
	check(tagstorage_block_of_data(&g, last) == g.nr_blocks - 1, "has a wrong last block");
	check(tagstorage_run_in_span(&g, last, 1ULL << 50) == 1, "has a run beyond its end");
	end();
}

static void check_overlap(void)
{
	begin("overlap of ranges, against byte sets");
	for (u64 a = 0; a < 6; a++) {
		for (u64 a_len = 1; a_len < 6; a_len++) {
			for (u64 b = 0; b < 6; b++) {
				for (u64 b_len = 1; b_len < 6; b_len++) {
					u64 ours = ((1ULL << a_len) - 1) << a;
					u64 theirs = ((1ULL << b_len) - 1) << b;

					check(tagstorage_overlap(a, a_len, b, b_len) == !!(ours & theirs),
					      "%" PRIu64 "+%" PRIu64 " and %" PRIu64 "+%" PRIu64, a, a_len, b,
					      b_len);
				}
			}
		}
	}
	end();
}

static void check_gcd(void)
{
	begin("greatest common divisor, against trial division");
	for (u64 a = 1; a < 100; a++) {
		for (u64 b = 1; b < 100; b++) {
			u64 best = 1;

			for (u64 i = 2; i <= a && i <= b; i++)
				if (a % i == 0 && b % i == 0)
					best = i;
			check(tagstorage_gcd(a, b) == best, "of %" PRIu64 " and %" PRIu64, a, b);
		}
	}
	check(tagstorage_gcd(7, 0) == 7 && tagstorage_gcd(0, 7) == 7, "with 0");
	end();
}

int main(void)
{
	check_gcd();
	check_overlap();
	check_messages();
	check_huge();
	each_layout("every page has its block: 3 page sizes, 10 block sizes, 6 places", check_pages);
	each_layout("pages beside a region are not its own", check_outside);
	each_layout("allocations of order 0 to 9 are walked whole", check_orders);
	each_layout("ranges of any alignment are walked whole", check_ranges);
	printf("# %llu checks\n", checks);
	return status;
}
