// SPDX-License-Identifier: GPL-2.0
/*
 * Taking lent blocks back: because they must hold tags now (claim), and the
 * pieces that draining is made of.
 *
 * Is a page free? Only PageBuddy under zone->lock says so; a reference count of
 * zero proves nothing (the page may be frozen, or on its way to or from a list).
 * So a block is first marked CLAIMING. Then, under zone->lock, each of its pages is
 * either on the free lists, and is taken, or it must come through __free_one_page()
 * when it is freed, under the same lock, and is captured there. Nobody can
 * allocate it in between, and no pageblock need be isolated. What is in use is
 * migrated, page by page.
 *
 * A captured page is PageReserved, as the pages of a block that is not lent are;
 * in state CLAIMING or DRAINING that flag means captured. It still has to be dressed
 * (mapped, unpoisoned, given a reference) before it is touched, and undressed by
 * the ordinary way of freeing when it goes back.
 *
 * Locks that a claim may find held by its caller: mmap and VMA locks, folio locks.
 * Hence migration is MIGRATE_ASYNC, which only tries folio locks, and no CPU but
 * this one is drained. It takes anon_vma locks, for reading, which is why nobody may
 * claim under one held for writing. A claim never leads to another one: what it
 * moves is untagged, and so are the destinations that it allocates.
 */
#include <linux/bitmap.h>
#include <linux/gfp.h>
#include <linux/jiffies.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mmzone.h>
#include <linux/rcupdate.h>
#include <linux/swap.h>
#include <linux/vmstat.h>

#include "engine.h"
#include "trace.h"

/* A claim gives up after so many rounds of moving what is in the way ... */
#define CLAIM_ROUNDS	3
/* ... and the block is left alone for a while. */
#define CLAIM_HELD	max(HZ / 20, 1)
/* A page is not prepared after its block has been somebody else's so often, */
#define CLAIM_TRIES	4
/* each time no longer than this. */
#define CLAIM_WAIT	(HZ / 10)

/* For each page of a block. */
#define for_each_block_page(page, region, block, i)			\
	for ((i) = 0, (page) = pfn_to_page(				\
		tagstorage_block_pfn(&(region)->geo, block));		\
	     (i) < (region)->geo.block_pages; (i)++, (page)++)

/**
 * tagstorage_block_is_poisoned - has a page of the block a memory error?
 * @region: the region
 * @block: the block
 *
 * Such a page never becomes free. So if it is lent, its block can't be claimed; and
 * if it is not, its block must not be lent, or it would never come back.
 */
bool tagstorage_block_is_poisoned(const struct tagstorage_region *region,
				  u64 block)
{
	struct page *page;
	u32 i;

	for_each_block_page(page, region, block, i)
		if (PageHWPoison(page))
			return true;
	return false;
}

/**
 * tagstorage_capture - tag_storage_ops.capture
 * @page: a page that is about to enter the free lists
 * @nr: how many there are; only single pages are lent
 *
 * Context: zone->lock held.
 */
bool tagstorage_capture(struct page *page, unsigned int nr)
{
	u64 pfn = page_to_pfn(page);
	struct tagstorage_region *region = tagstorage_region_of_storage(pfn);
	u64 block;

	if (likely(!region))
		return false;
	block = tagstorage_block_of_storage(&region->geo, pfn);
	switch (tagstorage_block_state(region, block)) {
	case TAGSTORAGE_CLAIMING:
	case TAGSTORAGE_DRAINING:
		if (WARN_ON_ONCE(nr > 1))
			return false;
		SetPageReserved(page);
		return true;
	case TAGSTORAGE_LENDING:
	case TAGSTORAGE_LENT:
		return tagstorage_kept_add(region, page);
	default:
		return false;
	}
}

/**
 * tagstorage_is_storage - tag_storage_ops.storage
 * @page: first page of a free block
 * @nr: how many
 *
 * Context: any; slow paths only.
 */
bool tagstorage_is_storage(struct page *page, unsigned int nr)
{
	struct tagstorage_region *region;
	unsigned int i;

	tagstorage_for_each_region(region, i)
		if (tagstorage_overlap(page_to_pfn(page), nr,
				       region->geo.storage_pfn,
				       tagstorage_storage_pages(&region->geo)))
			return true;
	return false;
}

/**
 * tagstorage_take_free - capture every page of a block that is free
 * @region: the region
 * @block: a block in state CLAIMING, the caller's
 *
 * Context: region->zone->lock held.
 * Return: how many of its pages are still in use.
 */
unsigned int tagstorage_take_free(struct tagstorage_region *region, u64 block)
{
	unsigned int busy = 0;
	struct page *page;
	u32 i;

	lockdep_assert_held(&region->zone->lock);
	for_each_block_page(page, region, block, i) {
		if (PageReserved(page))
			continue;
		if (tagstorage_kept_take(region, page) ||
		    tag_storage_take_page(page))
			SetPageReserved(page);
		else
			busy++;
	}
	return busy;
}

/**
 * tagstorage_claim_end - all of a claimed block is captured
 * @region: the region
 * @block: a block in state CLAIMING, the caller's
 * @to: RESERVED (with the caller's pin) or IDLE
 *
 * The block looks as at boot again: its pages leave the page allocator in the
 * ordinary way (post_alloc_hook() maps and unpoisons them) and are not managed any
 * more. No data line of them remains.
 *
 * Context: any but interrupts.
 */
void tagstorage_claim_end(struct tagstorage_region *region, u64 block,
			  enum tagstorage_state to)
{
	struct page *page;
	u32 i;

	for_each_block_page(page, region, block, i) {
		post_alloc_hook(page, 0, 0);
		init_page_count(page);
		adjust_managed_page_count(page, -1);
	}
	tagstorage_clean_data_lines(region, block);
	tagstorage_block_change(region, block, TAGSTORAGE_CLAIMING, to);
	wake_up_var(&region->blocks[block]);
}

/* Collect what was captured of a block that stays lent. zone->lock held. */
static void uncapture(struct tagstorage_region *region, u64 block,
		      struct list_head *pages)
{
	struct page *page;
	u32 i;

	for_each_block_page(page, region, block, i) {
		if (PageReserved(page)) {
			ClearPageReserved(page);
			list_add(&page->lru, pages);
		}
	}
}

static void free_uncaptured(struct list_head *pages)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, pages, lru) {
		list_del(&page->lru);
		post_alloc_hook(page, 0, 0);
		init_page_count(page);
		__free_page(page);
	}
}

/* The block is all captured: it holds tags from now on, and has the caller's pin. */
static void claim_done(struct tagstorage_region *region, u64 block,
		       unsigned int migrated)
{
	tagstorage_claim_end(region, block, TAGSTORAGE_RESERVED);
	if (migrated)
		tagstorage_count(region, claims_migrated, 1);
	else
		tagstorage_count(region, claims_free, 1);
	tagstorage_count(region, migrated, migrated);
	trace_tagstorage_claim_finish(region->index, block, 0, migrated);
}

/*
 * Claim a lent block if all of it is free. 0: it is reserved, with a pin. Context:
 * RCU, so that while the block is lent, the zone is the right one.
 */
static int claim_free(struct tagstorage_region *region, u64 block)
{
	struct zone *zone;
	LIST_HEAD(pages);
	unsigned long flags;
	unsigned int busy;

	if (tagstorage_block_state(region, block) != TAGSTORAGE_LENT)
		return -EAGAIN;
	zone = READ_ONCE(region->zone);
	spin_lock_irqsave(&zone->lock, flags);
	if (!tagstorage_block_change(region, block, TAGSTORAGE_LENT,
				     TAGSTORAGE_CLAIMING)) {
		spin_unlock_irqrestore(&zone->lock, flags);
		return -EAGAIN;
	}
	busy = tagstorage_block_is_poisoned(region, block) ?
		1 : tagstorage_take_free(region, block);
	if (busy) {
		tagstorage_block_change(region, block, TAGSTORAGE_CLAIMING,
					TAGSTORAGE_LENT);
		uncapture(region, block, &pages);
	}
	spin_unlock_irqrestore(&zone->lock, flags);

	if (busy) {
		wake_up_var(&region->blocks[block]);
		free_uncaptured(&pages);
		return -EAGAIN;
	}
	trace_tagstorage_claim_start(region->index, block);
	claim_done(region, block, 0);
	return 0;
}

static struct folio *evict_target(struct folio *src, unsigned long gfp)
{
	return __folio_alloc((__force gfp_t)gfp, folio_order(src),
			     folio_nid(src), NULL);
}

/**
 * tagstorage_evict_folios - move isolated folios elsewhere
 * @folios: isolated; empty when this returns
 * @gfp: what the caller may do to get memory
 * @wait: wait for folio locks and writeback (no folio may be locked by the caller)
 *
 * Context: may sleep.
 * Return: how many were moved. The others are back on their LRU lists.
 */
unsigned int tagstorage_evict_folios(struct list_head *folios, gfp_t gfp,
				     bool wait)
{
	gfp_t target = (GFP_HIGHUSER_MOVABLE & ~GFP_KERNEL) |
		       (gfp & GFP_KERNEL) | __GFP_NORETRY | __GFP_NOWARN |
		       __GFP_NOMEMALLOC;
	unsigned int moved = 0;

	if (list_empty(folios))
		return 0;
	migrate_pages(folios, evict_target, NULL,
		      (__force unsigned long)target,
		      wait ? MIGRATE_SYNC : MIGRATE_ASYNC, MR_CONTIG_RANGE,
		      &moved);
	if (!list_empty(folios))
		putback_movable_pages(folios);
	return moved;
}

/* Does anybody hold this folio, apart from its mappings, the swap cache and us? */
static bool is_used_otherwise(struct folio *folio)
{
	return folio_ref_count(folio) > folio_expected_ref_count(folio) + 1;
}

/*
 * Isolate the user of one page. A page in some other CPU's LRU batch counts as busy,
 * and one that somebody holds is not even unmapped: it could not be moved.
 */
static bool isolate_user(struct page *page, struct list_head *folios)
{
	struct folio *folio = page_folio(page);
	bool isolated = false;

	if (!folio_try_get(folio))
		return false;
	if (page_folio(page) == folio && !folio_test_large(folio)) {
		if (!folio_test_lru(folio) || is_used_otherwise(folio))
			lru_add_drain();
		isolated = !is_used_otherwise(folio) &&
			   folio_isolate_lru(folio);
	}
	if (isolated) {
		list_add_tail(&folio->lru, folios);
		node_stat_mod_folio(folio, NR_ISOLATED_ANON +
				    folio_is_file_lru(folio), 1);
	}
	folio_put(folio);
	return isolated;
}

/**
 * tagstorage_isolate_users - isolate all who use a block
 * @region: the region
 * @block: a block in state CLAIMING, the caller's, or DRAINING
 * @folios: where they are added
 *
 * Context: may sleep.
 * Return: how many could be isolated.
 */
unsigned int tagstorage_isolate_users(struct tagstorage_region *region,
				      u64 block, struct list_head *folios)
{
	unsigned int isolated = 0;
	struct page *page;
	u32 i;

	for_each_block_page(page, region, block, i)
		if (!PageReserved(page))
			isolated += isolate_user(page, folios);
	return isolated;
}

/* One round of a claim: take what is free, else move who is in the way. */
static bool claim_round(struct tagstorage_region *region, u64 block, gfp_t gfp,
			bool last, unsigned int *migrated)
{
	LIST_HEAD(folios);
	unsigned long flags;
	unsigned int busy;

	spin_lock_irqsave(&region->zone->lock, flags);
	busy = tagstorage_take_free(region, block);
	spin_unlock_irqrestore(&region->zone->lock, flags);
	if (!busy)
		return true;
	if (!last) {
		tagstorage_isolate_users(region, block, &folios);
		*migrated += tagstorage_evict_folios(&folios, gfp, false);
	}
	return false;
}

/*
 * A claim failed: the block goes on as it was before. But if its policy was detached
 * meanwhile, nobody stands between the free lists and the wrong users any more.
 */
static void claim_undo(struct tagstorage_region *region, u64 block,
		       enum tagstorage_state before)
{
	struct zone *zone = region->zone;
	LIST_HEAD(pages);
	unsigned long flags;

	spin_lock_irqsave(&zone->lock, flags);
	if (!READ_ONCE(region->attached))
		before = TAGSTORAGE_DRAINING;
	tagstorage_block_change(region, block, TAGSTORAGE_CLAIMING, before);
	if (before == TAGSTORAGE_LENT)
		uncapture(region, block, &pages);
	spin_unlock_irqrestore(&zone->lock, flags);
	wake_up_var(&region->blocks[block]);
	free_uncaptured(&pages);
}

/**
 * tagstorage_is_held - did claiming a block fail a short while ago?
 * @region: the region
 * @block: the block
 *
 * Somebody who holds a page holds it for longer than it takes to find that out.
 * Without this, every page that such a block covers would cost a claim.
 */
bool tagstorage_is_held(const struct tagstorage_region *region, u64 block)
{
	return test_bit(block, region->held) &&
	       time_before(jiffies, READ_ONCE(region->held_since) + CLAIM_HELD);
}

/* A hint: a bit that gets lost, or lives too long, costs a claim or a better page. */
static void set_held(struct tagstorage_region *region, u64 block)
{
	if (!time_before(jiffies, READ_ONCE(region->held_since) + CLAIM_HELD)) {
		WRITE_ONCE(region->held_since, jiffies);
		bitmap_zero(region->held, region->geo.nr_blocks);
	}
	set_bit(block, region->held);
}

/* Claim a block, whoever uses it. 0: it is reserved, with a pin. */
static int claim_block(struct tagstorage_region *region, u64 block, gfp_t gfp)
{
	enum tagstorage_state before = TAGSTORAGE_LENT;
	unsigned int migrated = 0;
	int round;

	if (tagstorage_is_held(region, block))
		return -EBUSY;
	if (!tagstorage_block_change(region, block, before,
				     TAGSTORAGE_CLAIMING)) {
		before = TAGSTORAGE_DRAINING;
		if (!tagstorage_block_change(region, block, before,
					     TAGSTORAGE_CLAIMING))
			return -EAGAIN;
	}
	if (tagstorage_block_is_poisoned(region, block)) {
		claim_undo(region, block, before);
		return -EBUSY;
	}
	trace_tagstorage_claim_start(region->index, block);
	for (round = 0; round <= CLAIM_ROUNDS; round++) {
		if (claim_round(region, block, gfp, round == CLAIM_ROUNDS,
				&migrated)) {
			claim_done(region, block, migrated);
			return 0;
		}
	}
	claim_undo(region, block, before);
	set_held(region, block);
	tagstorage_count(region, claims_failed, 1);
	tagstorage_count(region, migrated, migrated);
	trace_tagstorage_claim_finish(region->index, block, -EBUSY, migrated);
	return -EBUSY;
}

static bool block_in_transition(struct tagstorage_region *region, u64 block)
{
	enum tagstorage_state state = tagstorage_block_state(region, block);

	return state == TAGSTORAGE_CLAIMING || state == TAGSTORAGE_LENDING;
}

/* Prepare a run of pages that one block covers, claiming it if need be. */
static int claim_run(struct tagstorage_region *region, u64 pfn, unsigned int nr,
		     gfp_t gfp)
{
	u64 block = tagstorage_block_of_data(&region->geo, pfn);
	int try, ret = -EAGAIN;

	for (try = 0; try < CLAIM_TRIES; try++) {
		ret = tagstorage_prepare_run(region, pfn, nr);
		if (!ret)
			return 0;
		if (block_in_transition(region, block)) {
			wait_var_event_timeout(&region->blocks[block],
					       !block_in_transition(region, block),
					       CLAIM_WAIT);
			continue;
		}
		ret = claim_block(region, block, gfp);
		if (!ret) {
			ret = tagstorage_prepare_run(region, pfn, nr);
			tagstorage_block_put(region, block, 1);
			return ret;
		}
		if (ret == -EBUSY)
			return ret;
	}
	return ret;
}

/* As claim_run(), but only if the block is free, and without sleeping. */
static int reserve_run(struct tagstorage_region *region, u64 pfn,
		       unsigned int nr)
{
	u64 block = tagstorage_block_of_data(&region->geo, pfn);
	int ret = tagstorage_prepare_run(region, pfn, nr);
	int busy;

	if (likely(!ret))
		return 0;
	rcu_read_lock();
	busy = claim_free(region, block);
	rcu_read_unlock();
	if (busy)
		return ret;
	ret = tagstorage_prepare_run(region, pfn, nr);
	tagstorage_block_put(region, block, 1);
	return ret;
}

/* Prepare a range that may lie in several blocks, or partly in none. */
static int prepare_range(u64 pfn, unsigned int nr, bool claim, gfp_t gfp)
{
	int ret = 0;

	while (nr && !ret) {
		struct tagstorage_region *region =
			tagstorage_region_of_data(pfn);
		unsigned int run = 1;

		if (likely(region)) {
			run = tagstorage_run_in_span(&region->geo, pfn, nr);
			ret = claim ? claim_run(region, pfn, run, gfp) :
				      reserve_run(region, pfn, run);
		} else if (tagstorage_region_of_storage(pfn)) {
			ret = -EINVAL;
		}
		pfn += run;
		nr -= run;
	}
	return ret;
}

/**
 * tagstorage_reserve - tag_storage_ops.reserve
 * @page: the first page
 * @nr: how many
 *
 * Context: any but interrupts; never sleeps. Pages prepared before it fails stay
 * so until they are freed.
 */
int tagstorage_reserve(struct page *page, unsigned int nr)
{
	return prepare_range(page_to_pfn(page), nr, false, 0);
}

/**
 * tagstorage_claim - tag_storage_ops.claim
 * @page: the first page
 * @nr: how many
 * @gfp: what the caller may do to get memory
 *
 * Context: may sleep; see the top of this file for the locks.
 */
int tagstorage_claim(struct page *page, unsigned int nr, gfp_t gfp)
{
	might_sleep();
	return prepare_range(page_to_pfn(page), nr, true, gfp);
}
