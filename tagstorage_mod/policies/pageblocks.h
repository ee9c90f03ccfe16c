/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For policies that lend whole pageblocks and mark them MIGRATE_CMA: inside or outside
 * this tree, with nothing but what tagstorage.h offers.
 *
 * A pageblock that is not all tag storage keeps its type, and what it has of the
 * region stays a carve-out.
 */
#ifndef TAGSTORAGE_PAGEBLOCKS_H
#define TAGSTORAGE_PAGEBLOCKS_H

#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/pageblock-flags.h>
#include <linux/tag_storage.h>

#include "tagstorage.h"

/**
 * pageblocks_first - the first whole pageblock of a region
 * @geo: the region's geometry
 *
 * Return: its first page frame number.
 */
static inline u64 pageblocks_first(const struct tagstorage_geometry *geo)
{
	return ALIGN(geo->storage_pfn, pageblock_nr_pages);
}

/**
 * pageblocks_end - the end of a region's whole pageblocks
 * @geo: the region's geometry
 *
 * Return: the page frame number behind the last one; not above pageblocks_first() if
 * there is none.
 */
static inline u64 pageblocks_end(const struct tagstorage_geometry *geo)
{
	return ALIGN_DOWN(geo->storage_pfn + tagstorage_storage_pages(geo),
			  pageblock_nr_pages);
}

/**
 * pageblocks_suit - does a region have whole pageblocks, in System RAM?
 * @region: the region
 *
 * For tagstorage_policy.suits.
 *
 * Return: NULL, or why not.
 */
static inline const char *pageblocks_suit(struct tagstorage_region *region)
{
	const struct tagstorage_geometry *geo =
		tagstorage_region_geometry(region);

	if (!tagstorage_region_in_ram(region))
		return "lies outside System RAM, where nothing was reserved at boot";
	if (pageblocks_first(geo) >= pageblocks_end(geo))
		return "contains no whole pageblock";
	return NULL;
}

/**
 * pageblocks_may_lend - does a block lie in whole pageblocks?
 * @region: the region
 * @block: index of the block
 *
 * For tagstorage_policy.may_lend, or a part of it.
 */
static inline bool pageblocks_may_lend(struct tagstorage_region *region,
				       u64 block)
{
	const struct tagstorage_geometry *geo =
		tagstorage_region_geometry(region);
	u64 pfn = tagstorage_block_pfn(geo, block);

	return pfn >= pageblocks_first(geo) &&
	       pfn + geo->block_pages <= pageblocks_end(geo);
}

/**
 * pageblock_is_out - is a block of this pageblock still out?
 * @region: the region
 * @geo: its geometry
 * @pfn: first page of the pageblock
 *
 * Its pages must go on bypassing the per-CPU lists.
 */
static inline bool pageblock_is_out(struct tagstorage_region *region,
				    const struct tagstorage_geometry *geo,
				    u64 pfn)
{
	u64 last = tagstorage_block_of_storage(geo,
					       pfn + pageblock_nr_pages - 1);
	u64 block = tagstorage_block_of_storage(geo, pfn);

	for (; block <= last; block++)
		if (tagstorage_block_is_out(region, block))
			return true;
	return false;
}

/**
 * pageblocks_mark - set the type of a region's whole pageblocks
 * @region: the region
 * @cma: make all of them MIGRATE_CMA, in tagstorage_policy.attach, before anything is
 * lent; else make them MIGRATE_MOVABLE again, in tagstorage_policy.detach, but those
 * of which a block is still out
 *
 * It counts nothing in CmaTotal; tag_storage_cma_account() does.
 */
static inline void pageblocks_mark(struct tagstorage_region *region, bool cma)
{
	const struct tagstorage_geometry *geo =
		tagstorage_region_geometry(region);
	u64 pfn = pageblocks_first(geo);

	for (; pfn < pageblocks_end(geo); pfn += pageblock_nr_pages)
		if (cma || !pageblock_is_out(region, geo, pfn))
			tag_storage_cma_block(pfn_to_page(pfn), cma);
}

#endif /* TAGSTORAGE_PAGEBLOCKS_H */
