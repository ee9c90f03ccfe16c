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
 * When it is bad. The migratetype doesn't tell tag storage from ordinary CMA
 * memory: while this policy is active, no CMA memory at all is used for tagged
 * pages, page cache or anything else but lendable requests. Beside a CMA area of
 * 128 MiB, the tagged memory that a full machine can have is about 120 MiB less
 * than with policy `metadata` (lab/compare). A machine with a large CMA area and
 * much page cache is better off with another policy. Whole pageblocks only (2 MiB
 * with 4 KiB pages, 512 MiB with 64 KiB pages): what is left at the ends of a
 * region stays a carve-out. Pages of tag storage bypass the per-CPU lists, so each
 * one that is allocated or freed takes the zone lock. Free page reporting stops at
 * the first lent page of the CMA lists. A pageblock of which a page could not be
 * evicted when the policy went stays MIGRATE_CMA until the policy comes back.
 *
 * Production ready? It is the policy that everything is tested with.
 */
#include <linux/module.h>

#include "pageblocks.h"

/* Regions attached; the first one bars CMA from other requests, the last one frees it. */
static unsigned int attached;

static void cma_give(struct tagstorage_region *region, struct page *page)
{
	free_reserved_page(page);
}

/* Like CMA memory that a driver has allocated, reserved blocks count as CMA, too. */
static void account(struct tagstorage_region *region, int sign)
{
	const struct tagstorage_geometry *geo =
		tagstorage_region_geometry(region);
	struct zone *zone = page_zone(pfn_to_page(geo->storage_pfn));

	tag_storage_cma_account(zone, sign * (long)(pageblocks_end(geo) -
						    pageblocks_first(geo)));
}

static int cma_attach(struct tagstorage_region *region)
{
	if (!attached++)
		tag_storage_cma_begin();
	pageblocks_mark(region, true);
	account(region, 1);
	return 0;
}

static void cma_detach(struct tagstorage_region *region)
{
	pageblocks_mark(region, false);
	account(region, -1);
	if (!--attached)
		tag_storage_cma_end();
}

static const struct tagstorage_policy cma_policy = {
	.abi		= TAGSTORAGE_ABI,
	.size		= sizeof(struct tagstorage_policy),
	.name		= "cma",
	.owner		= THIS_MODULE,
	.give		= cma_give,
	.may_lend	= pageblocks_may_lend,
	.suits		= pageblocks_suit,
	.attach		= cma_attach,
	.detach		= cma_detach,
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
