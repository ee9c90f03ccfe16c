/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where the tags of a page are: pure arithmetic, no kernel dependency. The unit
 * tests compile this file natively.
 *
 * One region, in pages (here with blocks of two pages):
 *
 *	data     |- span 0: 64 pages -|- span 1 -|- ...            -|
 *	storage  |- block 0: 2 pages -|- block 1 -|- ... -|
 *
 * The tags of every page of span N are in block N and nowhere else. A block is
 * the smallest run of whole pages of which that is true; the hardware may place
 * tags freely inside it. Neither blocks nor spans are aligned to anything but a
 * page, and their size need not be a power of two.
 */
#ifndef TAGSTORAGE_GEOMETRY_H
#define TAGSTORAGE_GEOMETRY_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
typedef uint32_t u32;
typedef uint64_t u64;
#endif

/* Bytes of data for one byte of tags: 4 bits for every 16 bytes. */
#define TAGSTORAGE_RATIO	32

/*
 * The count of a block has 12 bits: it must hold every page that a block
 * covers, and one more while two preparers of the last page meet.
 */
#define TAGSTORAGE_MAX_BLOCK_PAGES	64

/**
 * struct tagstorage_geometry - one region, as the arithmetic sees it
 * @storage_pfn: first page of tag storage
 * @data_pfn: first page of the data that it covers
 * @nr_blocks: number of blocks
 * @block_pages: pages in a block
 * @span_pages: pages of data that a block covers
 */
struct tagstorage_geometry {
	u64 storage_pfn;
	u64 data_pfn;
	u64 nr_blocks;
	u32 block_pages;
	u32 span_pages;
};

/**
 * struct tagstorage_layout - a region as the device tree describes it, in bytes
 * @storage_start: physical address of the tag storage
 * @storage_size: its size
 * @data_start: physical address of the data
 * @data_size: its size
 * @block_size: the hardware's block
 */
struct tagstorage_layout {
	u64 storage_start;
	u64 storage_size;
	u64 data_start;
	u64 data_size;
	u64 block_size;
};

static inline u64 tagstorage_gcd(u64 a, u64 b)
{
	while (b) {
		u64 rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* Do [a, a + a_len) and [b, b + b_len) share anything? */
static inline bool tagstorage_overlap(u64 a, u64 a_len, u64 b, u64 b_len)
{
	return a < b + b_len && b < a + a_len;
}

/**
 * tagstorage_geometry_init - check a layout and turn it into a geometry
 * @g: the result; valid only where this returns NULL
 * @l: what the device tree says
 * @page_size: the kernel's page size
 *
 * Return: NULL, or what is wrong with the layout, as the rest of a sentence that
 * begins with the region's name.
 */
static inline const char *
tagstorage_geometry_init(struct tagstorage_geometry *g,
			 const struct tagstorage_layout *l, u64 page_size)
{
	u64 block;

	if (!l->storage_size)
		return "has tag storage of size zero: correct its reg";
	if (!l->data_size)
		return "covers memory of size zero: correct its reg";
	if (l->storage_start + l->storage_size < l->storage_start ||
	    l->data_start + l->data_size < l->data_start)
		return "wraps around the end of the address space: correct reg";
	if (!l->block_size)
		return "has a block-size of zero: give the hardware's, in bytes";
	if (l->block_size > TAGSTORAGE_MAX_BLOCK_PAGES * page_size)
		return "has a block-size that is too large: give the hardware's, in bytes";
	block = page_size / tagstorage_gcd(page_size, l->block_size) *
		l->block_size;
	if (block > TAGSTORAGE_MAX_BLOCK_PAGES * page_size)
		return "has a block-size that does not suit the page size: correct one";
	if (l->storage_start % page_size)
		return "does not start at a page boundary: correct its reg";
	if (l->data_start % page_size)
		return "covers memory that does not start at a page boundary: correct its reg";
	if (l->data_size % TAGSTORAGE_RATIO ||
	    l->data_size / TAGSTORAGE_RATIO != l->storage_size)
		return "is not 1/32 of the memory that it covers: correct one reg";
	if (l->storage_size % block)
		return "is not a whole number of blocks: correct reg or block-size";
	if (tagstorage_overlap(l->storage_start, l->storage_size,
			       l->data_start, l->data_size))
		return "covers itself: correct one reg";

	g->storage_pfn = l->storage_start / page_size;
	g->data_pfn = l->data_start / page_size;
	g->nr_blocks = l->storage_size / block;
	g->block_pages = (u32)(block / page_size);
	g->span_pages = g->block_pages * TAGSTORAGE_RATIO;
	return NULL;
}

static inline u64 tagstorage_data_pages(const struct tagstorage_geometry *g)
{
	return g->nr_blocks * g->span_pages;
}

static inline u64 tagstorage_storage_pages(const struct tagstorage_geometry *g)
{
	return g->nr_blocks * g->block_pages;
}

/* Is @pfn data whose tags are in this region? */
static inline bool tagstorage_covers(const struct tagstorage_geometry *g,
				     u64 pfn)
{
	return pfn - g->data_pfn < tagstorage_data_pages(g);
}

/* Is @pfn tag storage of this region? */
static inline bool tagstorage_holds(const struct tagstorage_geometry *g,
				    u64 pfn)
{
	return pfn - g->storage_pfn < tagstorage_storage_pages(g);
}

/* The block with the tags of data page @pfn, which the region covers. */
static inline u64 tagstorage_block_of_data(const struct tagstorage_geometry *g,
					   u64 pfn)
{
	return (pfn - g->data_pfn) / g->span_pages;
}

/* The block that storage page @pfn, which the region holds, is part of. */
static inline u64
tagstorage_block_of_storage(const struct tagstorage_geometry *g, u64 pfn)
{
	return (pfn - g->storage_pfn) / g->block_pages;
}

/* The first storage page of a block. */
static inline u64 tagstorage_block_pfn(const struct tagstorage_geometry *g,
				       u64 block)
{
	return g->storage_pfn + block * g->block_pages;
}

/* The first data page that a block covers. */
static inline u64 tagstorage_span_pfn(const struct tagstorage_geometry *g,
				      u64 block)
{
	return g->data_pfn + block * g->span_pages;
}

/*
 * How many of the @nr pages from @pfn on belong to the same block as @pfn? A
 * range is walked block by block with this, whatever its alignment.
 */
static inline u64 tagstorage_run_in_span(const struct tagstorage_geometry *g,
					 u64 pfn, u64 nr)
{
	u64 rest = g->span_pages - (pfn - g->data_pfn) % g->span_pages;

	return nr < rest ? nr : rest;
}

#endif /* TAGSTORAGE_GEOMETRY_H */
