// SPDX-License-Identifier: GPL-2.0
/*
 * Finding a page whose tag storage can be had.
 *
 * The page allocator doesn't know about blocks. Pages that lie next to each other
 * share one, so when a page can't be prepared, the next ones that the allocator
 * offers mostly can't be either. Whoever must have a page comes here then: it is
 * looked for among the free pages that each block covers, first of blocks that hold
 * tags already or are idle, then of blocks that can be claimed. Each block is looked
 * at once; where one search ends, the next one begins.
 */
#include <linux/cpuset.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/sched/signal.h>

#include "engine.h"

/* Claims that a search may lose before it gives up. */
#define PLACE_CLAIMS	256

/**
 * struct search - what is looked for
 * @nid: the node where the page should be
 * @gfp: what the caller may do to get memory
 * @near: only pages of that node; else only those of others
 * @claim: in blocks that must be claimed; else in those that need not be
 * @claims: how many claims it may still lose
 */
struct search {
	int nid;
	gfp_t gfp;
	bool near;
	bool claim;
	unsigned int claims;
};

/* The search goes past the zone list, so it looks itself which zones are allowed. */
static bool allows(const struct search *search, struct zone *zone)
{
	int nid = zone_to_nid(zone);

	return (nid == search->nid) == search->near &&
	       zone_idx(zone) <= gfp_zone(search->gfp) &&
	       node_isset(nid, cpuset_current_mems_allowed);
}

static bool take_page(const struct search *search, struct page *page)
{
	struct zone *zone = tagstorage_zone(page);
	unsigned long flags;
	bool taken;

	if (!allows(search, zone))
		return false;
	spin_lock_irqsave(&zone->lock, flags);
	taken = tagstorage_has_room(zone, 0) &&
		tag_storage_take_free(page, 1, false);
	spin_unlock_irqrestore(&zone->lock, flags);
	return taken;
}

/* Take a free page that this block covers off the free lists. */
static struct page *take_covered(const struct search *search,
				 struct tagstorage_region *region, u64 block)
{
	u64 pfn = tagstorage_span_pfn(&region->geo, block);
	u64 end = pfn + region->geo.span_pages;
	struct page *page = pfn_to_online_page(pfn);

	if (!page || !pfn_to_online_page(end - 1))
		return NULL;
	/* A run of free pages that reaches into the span contains its first page ... */
	if (is_free_buddy_page(page) && take_page(search, page))
		return page;
	/* ... or begins in it. */
	while (++pfn < end) {
		page = pfn_to_page(pfn);
		if (PageBuddy(page) && take_page(search, page))
			return page;
	}
	return NULL;
}

/* May a page that this block covers be worth a try? */
static bool suits(const struct search *search, struct tagstorage_region *region,
		  u64 block)
{
	switch (tagstorage_block_state(region, block)) {
	case TAGSTORAGE_RESERVED:
	case TAGSTORAGE_IDLE:
		return !search->claim;
	case TAGSTORAGE_LENT:
	case TAGSTORAGE_DRAINING:
		return search->claim && !tagstorage_is_held(region, block);
	default:
		return false;
	}
}

static bool prepare(const struct search *search, struct page *page)
{
	return search->claim ? !tagstorage_claim(page, 1, search->gfp) :
			       !tagstorage_reserve(page, 1);
}

/* Look at every block once, where the last search left off. */
static struct page *place_in(struct search *search,
			     struct tagstorage_region *region)
{
	u64 block = READ_ONCE(region->place), n;
	struct page *page;

	for (n = 0; n < region->geo.nr_blocks && search->claims; n++, block++) {
		if (block >= region->geo.nr_blocks)
			block = 0;
		if (n % 64 == 63) {
			cond_resched();
			if (fatal_signal_pending(current))
				break;
		}
		page = suits(search, region, block) ?
			take_covered(search, region, block) : NULL;
		if (!page)
			continue;
		if (prepare(search, page)) {
			WRITE_ONCE(region->place, block);
			return page;
		}
		tagstorage_page_free(page);
		search->claims -= search->claim;
	}
	if (search->claim)
		WRITE_ONCE(region->place, block);
	return NULL;
}

/**
 * tagstorage_place - tag_storage_ops.place
 * @nid: the node where the page should be
 * @gfp: what the caller may do to get memory; with __GFP_THISNODE, @nid or nothing
 *
 * Finds a page whose tag storage can be had: of the node in blocks that are ready,
 * then in blocks to be claimed; then the same of other nodes.
 *
 * Context: may sleep; locks as for tagstorage_claim().
 * Return: a page as the allocator has it before post_alloc_hook(), prepared, without
 * a reference; or NULL.
 */
struct page *tagstorage_place(int nid, gfp_t gfp)
{
	unsigned int i, pass, passes = gfp & __GFP_THISNODE ? 2 : 4;
	struct search search = { nid, gfp, .claims = PLACE_CLAIMS };
	struct tagstorage_region *region;
	struct page *page;

	for (pass = 0; pass < passes; pass++) {
		search.near = pass < 2;
		search.claim = pass % 2;
		tagstorage_for_each_region(region, i) {
			page = place_in(&search, region);
			if (page)
				return page;
		}
	}
	return NULL;
}
