// SPDX-License-Identifier: GPL-2.0
/*
 * Taking lent blocks back: because they must hold tags now (claim), and the
 * pieces that draining is made of.
 *
 * Is a page free? Only PageBuddy under zone->lock says so; a reference count of
 * zero proves nothing (the page may be frozen, or on its way to or from a list).
 * So a block is first marked CLAIMING. Then, under zone->lock, each of its pages is
 * either on the free lists, and is taken, or it must come through __free_one_page()
 * when it is freed, under the same lock, and is captured there, as its pageblock is
 * MIGRATE_CMA (see policies/pageblocks.h; one that is not would never be told). Nobody
 * can allocate it in between, and no pageblock need be isolated. What is in use is
 * migrated, page by page. Blocks side by side that are free, as a huge page needs them,
 * are taken as a row: the steps are the same, each done for all.
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
#include <linux/error-injection.h>
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

/* Pages of tag storage that are taken in one go at most: a bit for each. */
#define ROW_PAGES	BITS_PER_LONG

static_assert(ROW_PAGES >= TAGSTORAGE_MAX_BLOCK_PAGES);

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
		tagstorage_give_seen(page);
		return tagstorage_kept_add(region, page);
	case TAGSTORAGE_LENT:
		return tagstorage_kept_add(region, page);
	default:
		tagstorage_stray(region, page, nr);
		return true;
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
 * @block: a block in state CLAIMING: the caller's, or one that has lost its policy
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
		if (tagstorage_kept_take(region, page, 1) ||
		    tag_storage_take_free(page, 1, true))
			SetPageReserved(page);
		else
			busy++;
	}
	return busy;
}

/*
 * All of @nr claimed blocks is captured: they look as at boot again. Their pages leave the
 * page allocator in the ordinary way (post_alloc_hook() maps and unpoisons them) and are
 * not managed any more. No data line of them remains.
 */
static void leave_allocator(struct tagstorage_region *region, u64 block,
			    unsigned int nr)
{
	struct page *first = pfn_to_page(tagstorage_block_pfn(&region->geo,
							      block));
	struct page *end = first + nr * region->geo.block_pages, *page;

	for (page = first; page < end; page++) {
		post_alloc_hook(page, 0, 0);
		init_page_count(page);
	}
	adjust_managed_page_count(first, first - end);
	tagstorage_clean_data_lines(region, block, nr);
}

/**
 * tagstorage_claim_end - all of a claimed block is captured
 * @region: the region
 * @block: a block in state CLAIMING, the caller's
 * @to: RESERVED (with the caller's pin) or IDLE
 *
 * Context: any but interrupts.
 */
void tagstorage_claim_end(struct tagstorage_region *region, u64 block,
			  enum tagstorage_state to)
{
	leave_allocator(region, block, 1);
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

/**
 * tagstorage_page_dress - make a page that was taken off the free lists an allocated one
 * @page: as tag_storage_take_free() left it
 * @gfp: what it is allocated for
 *
 * Context: any but interrupts.
 */
void tagstorage_page_dress(struct page *page, gfp_t gfp)
{
	post_alloc_hook(page, 0, gfp);
	init_page_count(page);
	clear_page_pfmemalloc(page);
}

/**
 * tagstorage_page_free - free a page that was taken off the free lists
 * @page: as tag_storage_take_free() left it
 *
 * Context: any but interrupts.
 */
void tagstorage_page_free(struct page *page)
{
	tagstorage_page_dress(page, 0);
	__free_page(page);
}

static void free_uncaptured(struct list_head *pages)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, pages, lru) {
		list_del(&page->lru);
		tagstorage_page_free(page);
	}
}

/* The block is all captured: it holds tags from now on, and has the caller's pin. */
static void claim_done(struct tagstorage_region *region, u64 block,
		       unsigned int migrated)
{
	tagstorage_claim_end(region, block, TAGSTORAGE_RESERVED);
	if (migrated) {
		tagstorage_count(region, claims_migrated, 1);
		tagstorage_count(region, migrated, migrated);
	} else {
		tagstorage_count(region, claims_free, 1);
	}
	trace_tagstorage_claim_finish(region->index, block, 0, migrated);
}

/*
 * A hint, and no more: may every page of the block be free? A page that somebody holds is
 * not. Asked before anything is taken, so that little is taken for nothing.
 */
static bool looks_free(const struct tagstorage_region *region, u64 block)
{
	struct page *page;
	u32 i;

	for_each_block_page(page, region, block, i)
		if (page_ref_count(page) || PageHWPoison(page))
			return false;
	return true;
}

/*
 * Capture what is free of a row of blocks, all CLAIMING and the caller's. zone->lock held.
 * Return: how many blocks from the first one on are captured as a whole.
 */
static unsigned int take_row_free(struct tagstorage_region *region, u64 block,
				  unsigned int nr)
{
	struct page *page = pfn_to_page(tagstorage_block_pfn(&region->geo,
							     block));
	unsigned int pages = nr * region->geo.block_pages, kept;
	unsigned long taken, rest;

	kept = tagstorage_kept_take(region, page, pages);
	taken = kept ? GENMASK(kept - 1, 0) : 0;
	if (kept < pages)
		taken |= tag_storage_take_free(page + kept, pages - kept,
					       true) << kept;
	for (rest = taken; rest; rest &= rest - 1)
		SetPageReserved(page + __ffs(rest));
	return find_first_zero_bit(&taken, pages) / region->geo.block_pages;
}

/*
 * Take lent blocks, @nr at most from @block on. The first one that is not lent, or of
 * which a page is in use, ends the row: what comes after it would be taken for nothing. What
 * can't be had stays lent. Context: RCU, so that while a block is lent, the zone is the
 * right one.
 * Return: how many are CLAIMING now, the caller's, with all their pages captured.
 */
static unsigned int take_row(struct tagstorage_region *region, u64 block,
			     unsigned int nr)
{
	struct zone *zone = READ_ONCE(region->zone);
	unsigned int marked, free = 0, taken = 0, i;
	unsigned long flags;
	LIST_HEAD(pages);

	if (tagstorage_block_state(region, block) != TAGSTORAGE_LENT)
		return 0;
	spin_lock_irqsave(&zone->lock, flags);
	/* Only of a block that is the caller's there are pages for sure. */
	for (marked = 0; marked < nr && free == marked; marked++) {
		if (!tagstorage_block_change(region, block + marked,
					     TAGSTORAGE_LENT,
					     TAGSTORAGE_CLAIMING))
			break;
		free += looks_free(region, block + marked);
	}
	if (free)
		taken = take_row_free(region, block, free);
	for (i = taken; i < marked; i++) {
		tagstorage_block_change(region, block + i, TAGSTORAGE_CLAIMING,
					TAGSTORAGE_LENT);
		uncapture(region, block + i, &pages);
	}
	spin_unlock_irqrestore(&zone->lock, flags);

	free_uncaptured(&pages);
	for (i = taken; i < marked; i++)
		wake_up_var(&region->blocks[block + i]);
	return taken;
}

/*
 * Claim lent blocks that are free, for @nr pages from @pfn on, and prepare the pages.
 * Return: how many pages of them, from @pfn on, are prepared.
 */
static unsigned int claim_row(struct tagstorage_region *region, u64 pfn,
			      unsigned int nr)
{
	const struct tagstorage_geometry *geo = &region->geo;
	u64 block = tagstorage_block_of_data(geo, pfn);
	u64 last = tagstorage_block_of_data(geo, pfn + nr - 1);
	unsigned int left = nr, taken, i;

	rcu_read_lock();
	taken = take_row(region, block, min(last - block + 1,
					    (u64)ROW_PAGES / geo->block_pages));
	rcu_read_unlock();
	if (!taken)
		return 0;
	for (i = 0; i < taken; i++) {
		unsigned int run = tagstorage_run_in_span(geo, pfn, left);

		/* A start is followed by its finish. The first one stands for all. */
		trace_tagstorage_claim_start(region->index, block + i);
		if (!i)
			leave_allocator(region, block, taken);
		tagstorage_prepare_claimed(region, pfn, run);
		wake_up_var(&region->blocks[block + i]);
		trace_tagstorage_claim_finish(region->index, block + i, 0, 0);
		pfn += run;
		left -= run;
	}
	tagstorage_count(region, claims_free, taken);
	return nr - left;
}

static struct folio *evict_target(struct folio *src, unsigned long gfp)
{
	return __folio_alloc((__force gfp_t)gfp, folio_order(src),
			     zone_to_nid(tagstorage_zone(&src->page)), NULL);
}

/**
 * tagstorage_evict_folios - move isolated folios elsewhere
 * @folios: isolated; empty when this returns
 * @gfp: what the caller may do to get memory
 *
 * Waits for nobody's lock of a folio, and for no writeback: the device may be slow, or
 * gone, and who holds the lock may wait for it.
 *
 * Context: may sleep.
 * Return: how many were moved. The others are back on their LRU lists.
 */
unsigned int tagstorage_evict_folios(struct list_head *folios, gfp_t gfp)
{
	gfp_t target = (GFP_HIGHUSER_MOVABLE & ~GFP_KERNEL) |
		       (gfp & GFP_KERNEL) | __GFP_NORETRY | __GFP_NOWARN |
		       __GFP_NOMEMALLOC;
	unsigned int moved = 0;

	if (list_empty(folios))
		return 0;
	migrate_pages(folios, evict_target, NULL,
		      (__force unsigned long)target, MIGRATE_ASYNC,
		      MR_CONTIG_RANGE, &moved);
	if (!list_empty(folios))
		putback_movable_pages(folios);
	return moved;
}

/* Does anybody hold this folio, apart from its mappings, the swap cache and us? */
static bool is_used_otherwise(struct folio *folio)
{
	/* A guess: mappings come and go, and the migration counts again. */
	int expected = data_race(folio_expected_ref_count(folio));

	return folio_ref_count(folio) > expected + 1;
}

/**
 * tagstorage_count_isolated - a folio was taken off its LRU list, to be migrated
 * @folio: the folio
 *
 * As compaction counts it. Who migrates it, or puts it back, counts it out again.
 */
void tagstorage_count_isolated(struct folio *folio)
{
	mod_node_page_state(tagstorage_zone(&folio->page)->zone_pgdat,
			    NR_ISOLATED_ANON + folio_is_file_lru(folio),
			    folio_nr_pages(folio));
}

/**
 * tagstorage_isolate_user - isolate the user of one page
 * @page: the page
 * @folios: where it is added
 *
 * A page in some other CPU's LRU batch counts as busy, and one that somebody holds is
 * not even unmapped: it could not be moved. Nor is one of a large folio.
 *
 * Context: may sleep.
 * Return: false if it can't be isolated.
 */
bool tagstorage_isolate_user(struct page *page, struct list_head *folios)
{
	struct folio *folio = page_folio(page);
	bool isolated = false;

	if (!folio_try_get(folio))
		return false;
	if (page_folio(page) == folio && !folio_test_large(folio)) {
		if (!folio_test_lru(folio) || is_used_otherwise(folio))
			lru_add_drain();
		/* What is on no LRU list may be the kernel's own, and has no users. */
		isolated = folio_test_lru(folio) &&
			   !is_used_otherwise(folio) &&
			   folio_isolate_lru(folio);
	}
	if (isolated) {
		list_add_tail(&folio->lru, folios);
		tagstorage_count_isolated(folio);
	}
	folio_put(folio);
	return isolated;
}
ALLOW_ERROR_INJECTION(tagstorage_isolate_user, NULL);

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
			isolated += tagstorage_isolate_user(page,
							    folios);
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
		*migrated += tagstorage_evict_folios(&folios, gfp);
	}
	return false;
}

/*
 * A claim failed: the block goes on as it was before. But if its policy was detached
 * meanwhile, nobody stands between the free lists and the wrong users any more.
 */
static void claim_undo(struct tagstorage_region *region, u64 block,
		       enum tagstorage_state before, u32 era)
{
	struct zone *zone = region->zone;
	LIST_HEAD(pages);
	unsigned long flags;

	spin_lock_irqsave(&zone->lock, flags);
	/* The policy before its era: see attach_region(). */
	if (!smp_load_acquire(&region->attached) ||
	    READ_ONCE(region->era) != era)
		before = TAGSTORAGE_DRAINING;
	tagstorage_block_change(region, block, TAGSTORAGE_CLAIMING, before);
	if (before == TAGSTORAGE_LENT)
		uncapture(region, block, &pages);
	spin_unlock_irqrestore(&zone->lock, flags);
	wake_up_var(&region->blocks[block]);
	free_uncaptured(&pages);
	/* Who drains did not see it while it was claimed, and may have ended. */
	if (before == TAGSTORAGE_DRAINING)
		tagstorage_drain_kick();
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
static noinline int claim_block(struct tagstorage_region *region, u64 block,
				gfp_t gfp)
{
	enum tagstorage_state before = TAGSTORAGE_LENT;
	u32 era = READ_ONCE(region->era);
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
		claim_undo(region, block, before, era);
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
	claim_undo(region, block, before, era);
	set_held(region, block);
	tagstorage_count(region, claims_failed, 1);
	tagstorage_count(region, migrated, migrated);
	trace_tagstorage_claim_finish(region->index, block, -EBUSY, migrated);
	return -EBUSY;
}
ALLOW_ERROR_INJECTION(claim_block, ERRNO);

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

/*
 * As claim_run(), of any number of blocks of one region, but of those that are lent only
 * what is free, and without sleeping. What a huge page needs is taken in one go.
 */
static int reserve_run(struct tagstorage_region *region, u64 pfn,
		       unsigned int nr)
{
	unsigned int run;
	int ret = 0;

	for (; nr && !ret; pfn += run, nr -= run) {
		u64 block = tagstorage_block_of_data(&region->geo, pfn);

		run = 0;
		if (tagstorage_block_state(region, block) == TAGSTORAGE_LENT)
			run = claim_row(region, pfn, nr);
		if (!run) {
			run = tagstorage_run_in_span(&region->geo, pfn, nr);
			ret = tagstorage_prepare_run(region, pfn, run);
		}
	}
	return ret;
}

/* How many of the pages from @pfn on, which the region covers, are prepared at once? */
static unsigned int run_of(const struct tagstorage_region *region, u64 pfn,
			   unsigned int nr, bool claim)
{
	const struct tagstorage_geometry *geo = &region->geo;

	if (claim)
		return tagstorage_run_in_span(geo, pfn, nr);
	return min((u64)nr, geo->data_pfn + tagstorage_data_pages(geo) - pfn);
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
			if (nr > 1)
				run = run_of(region, pfn, nr, claim);
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

static noinline int reserve_slow(struct page *page, unsigned int nr)
{
	return prepare_range(page_to_pfn(page), nr, false, 0);
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
	if (likely(nr == 1 && tagstorage_prepare_page(page_to_pfn(page))))
		return 0;
	return reserve_slow(page, nr);
}
ALLOW_ERROR_INJECTION(tagstorage_reserve, ERRNO);

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
ALLOW_ERROR_INJECTION(tagstorage_claim, ERRNO);
