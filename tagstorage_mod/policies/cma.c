// SPDX-License-Identifier: GPL-2.0
/*
 * Policy `cma`: idle tag storage is MIGRATE_CMA memory.
 *
 * Idea. CMA pageblocks hold only what can be moved away, and the page allocator
 * already knows how to leave them alone. The second and third public series
 * (A. Elisei, November 2023 and January 2024) were built on this, after
 * D. Hildenbrand had asked why a migratetype of its own was needed (24 Aug 2023).
 *
 * What differs from those series. Storage is not a CMA area: nothing is ever
 * allocated from it through the contiguous allocator, the engine takes single pages
 * straight off the free lists or moves single users away. And not every movable
 * request may use it, but only lendable ones (untagged order-0 anonymous memory),
 * because `movable` covers buffer heads, zsmalloc, hugetlb and balloon pages as
 * well. Lendable requests turn to it last, when ordinary memory nears the high
 * watermark, or when it is more than half of what is free.
 *
 * When it is bad. The migratetype doesn't tell tag storage from ordinary CMA memory:
 * while this policy is active, no CMA memory at all is used for tagged pages, page
 * cache or anything else but lendable requests. A machine with a large CMA area and
 * much page cache is better off with another policy. Whole pageblocks only (2 MiB
 * with 4 KiB pages, 512 MiB with 64 KiB pages): what is left at the ends of a
 * region stays a carve-out. Pages of tag storage bypass the per-CPU lists, so each
 * one that is allocated or freed takes the zone lock. Free page reporting stops at
 * the first lent page of the CMA lists. A pageblock of which a page could not be
 * evicted when the policy went stays MIGRATE_CMA until the policy comes back.
 *
 * Production ready? It is the policy that everything is tested with.
 */
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/pageblock-flags.h>
#include <linux/tag_storage.h>

#include "../tagstorage.h"

/* Regions attached; the first one bars CMA from other requests, the last one frees it. */
static unsigned int attached;

/* The whole pageblocks of a region, as page frame numbers. */
static u64 first_pfn(const struct tagstorage_geometry *geo)
{
	return ALIGN(geo->storage_pfn, pageblock_nr_pages);
}

static u64 end_pfn(const struct tagstorage_geometry *geo)
{
	return ALIGN_DOWN(geo->storage_pfn + tagstorage_storage_pages(geo),
			  pageblock_nr_pages);
}

static const char *cma_suits(struct tagstorage_region *region)
{
	const struct tagstorage_geometry *geo =
		tagstorage_region_geometry(region);

	if (!tagstorage_region_in_ram(region))
		return "lies outside System RAM, where nothing was reserved at boot";
	if (first_pfn(geo) >= end_pfn(geo))
		return "contains no whole pageblock";
	return NULL;
}

static bool cma_may_lend(struct tagstorage_region *region, u64 block)
{
	const struct tagstorage_geometry *geo =
		tagstorage_region_geometry(region);
	u64 pfn = tagstorage_block_pfn(geo, block);

	return pfn >= first_pfn(geo) && pfn + geo->block_pages <= end_pfn(geo);
}

static void cma_give(struct tagstorage_region *region, struct page *page)
{
	free_reserved_page(page);
}

/* Like CMA memory that a driver has allocated, reserved blocks count as CMA, too. */
static void account(const struct tagstorage_geometry *geo, int sign)
{
	struct zone *zone = page_zone(pfn_to_page(geo->storage_pfn));

	tag_storage_cma_account(zone, sign * (long)(end_pfn(geo) -
						    first_pfn(geo)));
}

static int cma_attach(struct tagstorage_region *region)
{
	const struct tagstorage_geometry *geo =
		tagstorage_region_geometry(region);
	u64 pfn;

	if (!attached++)
		tag_storage_cma_begin();
	for (pfn = first_pfn(geo); pfn < end_pfn(geo); pfn += pageblock_nr_pages)
		tag_storage_cma_block(pfn_to_page(pfn), true);
	account(geo, 1);
	return 0;
}

/* Is a block of this pageblock still out? Its pages must go on bypassing the pcp. */
static bool pageblock_is_out(struct tagstorage_region *region,
			     const struct tagstorage_geometry *geo, u64 pfn)
{
	u64 last = tagstorage_block_of_storage(geo,
					       pfn + pageblock_nr_pages - 1);
	u64 block = tagstorage_block_of_storage(geo, pfn);

	for (; block <= last; block++)
		if (tagstorage_block_is_out(region, block))
			return true;
	return false;
}

static void cma_detach(struct tagstorage_region *region)
{
	const struct tagstorage_geometry *geo =
		tagstorage_region_geometry(region);
	u64 pfn;

	for (pfn = first_pfn(geo); pfn < end_pfn(geo); pfn += pageblock_nr_pages)
		if (!pageblock_is_out(region, geo, pfn))
			tag_storage_cma_block(pfn_to_page(pfn), false);
	account(geo, -1);
	if (!--attached)
		tag_storage_cma_end();
}

static struct tagstorage_policy cma_policy = {
	.give		= cma_give,
	.may_lend	= cma_may_lend,
	.suits		= cma_suits,
	.attach		= cma_attach,
	.detach		= cma_detach,
	.name		= "cma",
	.owner		= THIS_MODULE,
	.abi		= TAGSTORAGE_ABI,
};

static int __init cma_init(void)
{
	return tagstorage_policy_register(&cma_policy);
}

static void __exit cma_exit(void)
{
	tagstorage_policy_unregister(&cma_policy);
}

module_init(cma_init);
module_exit(cma_exit);

MODULE_ALIAS_TAGSTORAGE("cma");
MODULE_IMPORT_NS(TAGSTORAGE);
MODULE_IMPORT_NS(TAG_STORAGE);
MODULE_DESCRIPTION("Lends idle MTE tag storage as MIGRATE_CMA memory");
MODULE_AUTHOR("tagstorage developers");
MODULE_VERSION(TAGSTORAGE_VERSION);
MODULE_LICENSE("GPL");
