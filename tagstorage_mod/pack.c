// SPDX-License-Identifier: GPL-2.0
/*
 * Which pages tagged requests get.
 *
 * One tagged page costs a whole block, and the other 31 pages that the block covers
 * can be tagged for free. The page allocator knows nothing of that, and in a machine
 * that has been up for a while its free pages lie all over memory. So a request for one
 * tagged page does not get what is next on its lists, but
 *
 *	1. a free page that a block covers which is reserved already; of several such
 *	   blocks the fullest, so that the sparse ones run empty;
 *	2. a page of a chunk of which every page is free;
 *	3. a page of the block, of some that are looked at, that covers the most free
 *	   pages.
 *
 * Finding that out costs some hundred instructions, so all free pages of one chunk (32
 * pages that share a block) are taken off the free lists together, and prepared
 * together. They are the stash of the CPU; the next faults get them for less than what
 * the allocator's own lists cost.
 *
 * A stash is one word: the chunk, and a bit for each of its pages that is there. It
 * is changed by cmpxchg, so there is no lock, and nothing to be said about preemption:
 * who is moved to another CPU in between takes a page from the stash of this one. The
 * word says all there is to know, so if it was another one meanwhile, no matter.
 *
 * A page in a stash is prepared, has no reference and is on no list, like one in a
 * per-CPU list of the allocator. The worker (repack.c) gives it back when it has not
 * been used for a while.
 *
 * Which reserved blocks have free pages to offer (1) is a hint, `holes`: set when a
 * prepared page of the block is freed, when the block is reserved for more than a page and
 * less than it covers, and by the worker where it finds any; cleared before the block is
 * searched. A page that was just freed waits on a per-CPU list of the allocator, where it
 * can't be taken. So before a hole is given up that seems to have such pages, this CPU's
 * lists are emptied: each page that is freed pays for that once at most.
 */
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/error-injection.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/vmstat.h>

#include "engine.h"

static bool pack = true;
module_param(pack, bool, 0644);
MODULE_PARM_DESC(pack,
		 "choose where tagged pages go, so that few blocks hold their tags (default Y)");

/* Blocks that are compared before one is chosen: of those that are reserved, ... */
#define PACK_HOLES	8
/* ... and of the others. */
#define PACK_SPANS	16
/* How many blocks a search for holes passes over at most. */
#define PACK_WINDOW	16384
/* After so many blocks that can't be had, the request is left to the allocator. */
#define PACK_TRIES	4

#define CHUNK_ORDER	5
#define STASH_BITS	32
#define STASH_MASK	GENMASK_ULL(STASH_BITS - 1, 0)

static_assert(TAGSTORAGE_CHUNK == 1 << CHUNK_ORDER);

/**
 * tagstorage_packs - is it chosen where tagged pages go?
 */
bool tagstorage_packs(void)
{
	return READ_ONCE(pack);
}

static u64 stash_word(u64 chunk, u32 pages)
{
	return chunk << STASH_BITS | pages;
}

/* The first page in a stash that is not empty. */
static struct page *stash_page(const struct tagstorage_region *region, u64 word)
{
	return pfn_to_page(tagstorage_chunk_pfn(region, word >> STASH_BITS) +
			   __ffs(word));
}

static __always_inline struct page *
stash_pop(struct tagstorage_region *region, struct zone *zone)
{
	u64 *stash = &raw_cpu_ptr(region->stash)->word;
	u64 word = READ_ONCE(*stash);
	struct page *page;

	do {
		if (!(word & STASH_MASK))
			return NULL;
		page = stash_page(region, word);
		if (tagstorage_zone(page) != zone)
			return NULL;
	} while (!try_cmpxchg(stash, &word, word & (word - 1)));
	return page;
}

/**
 * tagstorage_packed - tag_storage_ops.packed
 * @zone: where the page should be
 *
 * Context: process context; rcu_read_lock().
 */
struct page *tagstorage_packed(struct zone *zone)
{
	struct tagstorage_region *region;
	unsigned int i;

	tagstorage_for_each_region(region, i) {
		struct page *page = stash_pop(region, zone);

		if (unlikely(page && PageHWPoison(page))) {
			/* It is nobody's page any more. */
			tagstorage_freed(page, 1);
			page = NULL;
		}
		if (page)
			return page;
	}
	return NULL;
}
ALLOW_ERROR_INJECTION(tagstorage_packed, NULL);

/**
 * tagstorage_pages_free - give pages of a chunk back to the page allocator
 * @region: the region
 * @chunk: the chunk
 * @pages: a bit for each page, as tag_storage_take_free() left it, prepared or not
 *
 * Context: process context.
 */
void tagstorage_pages_free(struct tagstorage_region *region, u64 chunk,
			   u32 pages)
{
	u64 word = stash_word(chunk, pages);

	for (; word & STASH_MASK; word &= word - 1) {
		struct page *page = stash_page(region, word);

		if (PageHWPoison(page))
			tagstorage_freed(page, 1);
		else
			tagstorage_page_free(page);
	}
}

static void stash_free(struct tagstorage_region *region, u64 word)
{
	tagstorage_pages_free(region, word >> STASH_BITS, word & STASH_MASK);
}

/**
 * tagstorage_stash - keep prepared pages for this CPU's next faults
 * @region: the region
 * @chunk: the chunk
 * @pages: a bit for each page
 *
 * What is in the stash is given back.
 *
 * Context: process context.
 */
void tagstorage_stash(struct tagstorage_region *region, u64 chunk, u32 pages)
{
	u64 *stash = &raw_cpu_ptr(region->stash)->word;

	stash_free(region, xchg(stash, stash_word(chunk, pages)));
}

/**
 * tagstorage_stashed - how many pages of a region are in stashes?
 * @region: the region
 */
unsigned long tagstorage_stashed(const struct tagstorage_region *region)
{
	unsigned long pages = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		pages += hweight32(READ_ONCE(per_cpu_ptr(region->stash,
							 cpu)->word));
	return pages;
}

/**
 * tagstorage_stash_drain - empty the stashes
 * @region: the region
 * @all: all of them; else those that nobody used since this was last called
 *
 * Context: process context; not two at a time without @all.
 * Return: true if any is not empty.
 */
bool tagstorage_stash_drain(struct tagstorage_region *region, bool all)
{
	bool left = false;
	int cpu;

	for_each_possible_cpu(cpu) {
		struct tagstorage_stash *stash = per_cpu_ptr(region->stash, cpu);
		u64 word = READ_ONCE(stash->word);

		if (!(word & STASH_MASK))
			continue;
		if (all) {
			stash_free(region, xchg(&stash->word, 0));
			continue;
		}
		if (word == stash->seen && cmpxchg(&stash->word, word, 0) == word)
			stash_free(region, word);
		else
			left = true;
		stash->seen = word;
	}
	return left;
}

/**
 * tagstorage_has_room - may some pages be taken past the allocator's watermarks?
 * @zone: the zone
 * @nr: how many
 *
 * Context: any. Stops at the lowest watermark.
 */
bool tagstorage_has_room(struct zone *zone, unsigned long nr)
{
	unsigned long free = zone_page_state(zone, NR_FREE_PAGES);
	unsigned long others = zone_page_state(zone, NR_FREE_CMA_PAGES) +
			       READ_ONCE(zone->nr_free_highatomic);
	/* The watermarks' boost changes at any time: how it was is good enough. */
	unsigned long mark = data_race(min_wmark_pages(zone));

	return free > others && free - others > mark + nr;
}

/* What of a chunk is free comes off the free lists. zone->lock held. */
static u32 take_locked(struct tagstorage_region *region, struct zone *zone,
		       u64 chunk)
{
	u64 pfn = tagstorage_chunk_pfn(region, chunk);
	struct page *page = pfn_to_page(pfn);

	if (tagstorage_zone(page) != zone ||
	    tagstorage_zone(page + TAGSTORAGE_CHUNK - 1) != zone)
		return 0;
	return tag_storage_take_free(page, TAGSTORAGE_CHUNK, false);
}

/**
 * tagstorage_take_chunk - take what of a chunk is free off the free lists
 * @region: the region
 * @zone: the zone
 * @chunk: the chunk; its pages are online
 *
 * Context: any.
 * Return: a bit for each page that was taken.
 */
u32 tagstorage_take_chunk(struct tagstorage_region *region, struct zone *zone,
			  u64 chunk)
{
	unsigned long flags;
	u32 pages;

	spin_lock_irqsave(&zone->lock, flags);
	pages = take_locked(region, zone, chunk);
	spin_unlock_irqrestore(&zone->lock, flags);
	return pages;
}

/**
 * tagstorage_span_free - how many free pages does a block cover?
 * @region: the region
 * @zone: counted are pages of this zone only
 * @block: the block
 *
 * Context: any; a guess, for nothing is locked.
 */
unsigned int tagstorage_span_free(const struct tagstorage_region *region,
				  struct zone *zone, u64 block)
{
	u64 pfn = tagstorage_span_pfn(&region->geo, block);
	unsigned int nr = region->geo.span_pages, i = 0, free = 0;
	struct page *page = pfn_to_online_page(pfn);

	if (!page || !pfn_to_online_page(pfn + nr - 1) ||
	    tagstorage_zone(page) != zone)
		return 0;
	while (i < nr) {
		unsigned int run = 1;

		if (PageBuddy(page + i)) {
			/* Its order; by now it may be anything. */
			unsigned long order = READ_ONCE(page_private(page + i));

			run = min(1u << min_t(unsigned long, order,
					      MAX_PAGE_ORDER), nr - i);
			free += run;
		}
		i += run;
	}
	return free;
}

/**
 * struct search - pages for the stash
 * @region: where they are
 * @zone: where they should be
 * @gfp: what the caller may do to get memory
 * @chunk: where some were found
 * @pages: a bit for each
 */
struct search {
	struct tagstorage_region *region;
	struct zone *zone;
	gfp_t gfp;
	u64 chunk;
	u32 pages;
};

static bool take(struct search *search, u64 chunk)
{
	search->chunk = chunk;
	search->pages = tagstorage_take_chunk(search->region, search->zone,
					      chunk);
	return search->pages;
}

/* Of the chunks that a block covers, the first that has something free. */
static bool take_span(struct search *search, u64 block)
{
	u32 nr = search->region->geo.block_pages, i;

	for (i = 0; i < nr; i++) {
		if (!take(search, block * nr + i))
			continue;
		if (i + 1 < nr)
			tagstorage_hole(search->region, block);
		return true;
	}
	return false;
}

static bool in_zone(const struct tagstorage_region *region, u64 block,
		    const struct zone *zone)
{
	return tagstorage_zone(pfn_to_page(tagstorage_span_pfn(&region->geo,
							       block))) == zone;
}

/* Of some reserved blocks with holes, the fullest; nr_blocks: none. */
static u64 find_hole(struct tagstorage_region *region, const struct zone *zone)
{
	u64 nr = region->geo.nr_blocks, best = nr;
	u64 next = READ_ONCE(region->hole_next);
	u64 end = min(next + PACK_WINDOW, nr);
	unsigned int looked = 0, most = 0, count;

	while (looked < PACK_HOLES) {
		next = tagstorage_next_bit(region->holes, end, next);
		if (next >= end)
			break;
		count = tagstorage_block_count(region, next);
		if (tagstorage_block_state(region, next) != TAGSTORAGE_RESERVED) {
			clear_bit(next, region->holes);
		} else if (count > most && in_zone(region, next, zone)) {
			most = count;
			best = next;
		}
		looked++;
		next++;
	}
	WRITE_ONCE(region->hole_next, next < nr ? next : 0);
	return best;
}

/*
 * Does a page that the block covers wait on a per-CPU list? A guess: the pages behind the
 * first one of some allocations look the same.
 */
static bool page_waits(const struct tagstorage_region *region, u64 block)
{
	unsigned long bit = block * region->geo.span_pages, i;
	struct page *page = pfn_to_page(tagstorage_span_pfn(&region->geo,
							    block));

	for (i = 0; i < region->geo.span_pages; i++)
		if (!page_ref_count(page + i) && !PageBuddy(page + i) &&
		    !PageTail(page + i) && !test_bit(bit + i, region->prepared))
			return true;
	return false;
}

/*
 * Waits for the lock of this CPU's list, which is never held here: tagged pages are asked
 * for by tasks only, and whoever holds that lock, with preemption off, asks for none. An
 * interrupt only tries to take it.
 */
static void drain_own_lists(struct zone *zone)
{
	migrate_disable();
	drain_local_pages(zone);
	migrate_enable();
}

static bool take_hole(struct search *search)
{
	struct tagstorage_region *region = search->region;
	bool drained = false;
	unsigned int try;

	for (try = 0; try < PACK_TRIES; try++) {
		u64 block = find_hole(region, search->zone);

		if (block == region->geo.nr_blocks)
			return false;
		clear_bit(block, region->holes);
		/* The bit before the pages: who frees one sets it again. */
		smp_mb__after_atomic();
		if (take_span(search, block))
			return true;
		if (drained || !page_waits(region, block))
			continue;
		drain_own_lists(search->zone);
		drained = true;
		if (take_span(search, block))
			return true;
	}
	return false;
}

/* The chunk in this free block that is the first to lie in it as a whole. */
static bool whole_chunk(struct search *search, struct page *page,
			unsigned int order)
{
	struct tagstorage_region *region = search->region;
	u64 pfn = page_to_pfn(page);
	u64 chunk = DIV_ROUND_UP(pfn - region->geo.data_pfn, TAGSTORAGE_CHUNK);

	/* Where data is not aligned to chunks, a block may end behind the last one. */
	if (!tagstorage_covers(&region->geo, pfn) ||
	    !tagstorage_covers(&region->geo,
			       tagstorage_chunk_pfn(region, chunk)) ||
	    tagstorage_chunk_pfn(region, chunk + 1) > pfn + (1UL << order) ||
	    tagstorage_is_held(region, tagstorage_chunk_block(region, chunk)))
		return false;
	search->chunk = chunk;
	return true;
}

/* A chunk of which all is free: it is in one of the large free blocks. */
static bool take_whole(struct search *search)
{
	struct zone *zone = search->zone;
	struct list_head *list;
	unsigned int order;
	unsigned long flags;

	search->pages = 0;
	spin_lock_irqsave(&zone->lock, flags);
	for (order = CHUNK_ORDER; order < NR_PAGE_ORDERS; order++) {
		struct page *page;

		list = &zone->free_area[order].free_list[MIGRATE_MOVABLE];
		page = list_first_entry_or_null(list, struct page, buddy_list);
		if (page && whole_chunk(search, page, order)) {
			search->pages = take_locked(search->region, zone,
						    search->chunk);
			break;
		}
	}
	spin_unlock_irqrestore(&zone->lock, flags);
	if (search->pages && search->region->geo.block_pages > 1)
		tagstorage_hole(search->region,
				tagstorage_chunk_block(search->region,
						       search->chunk));
	return search->pages;
}

/* Of some blocks that are not reserved, the one that covers most free pages. */
static bool take_best(struct search *search)
{
	struct tagstorage_region *region = search->region;
	u64 nr = region->geo.nr_blocks, best = nr;
	u64 block = READ_ONCE(region->span_next);
	unsigned int i, free, most = 0;

	for (i = 0; i < PACK_SPANS; i++, block++) {
		if (block >= nr)
			block = 0;
		if (tagstorage_block_state(region, block) == TAGSTORAGE_RESERVED ||
		    tagstorage_is_held(region, block))
			continue;
		free = tagstorage_span_free(region, search->zone, block);
		if (free > most) {
			most = free;
			best = block;
		}
	}
	WRITE_ONCE(region->span_next, block);
	return best < nr && take_span(search, best);
}

/* All pages that were found share a block: who has it for one has it for all. */
static bool prepare(struct search *search)
{
	struct tagstorage_region *region = search->region;
	u64 pfn = tagstorage_chunk_pfn(region, search->chunk);
	struct page *first = pfn_to_page(pfn + __ffs(search->pages));
	u32 rest = search->pages & (search->pages - 1);

	if (tagstorage_reserve(first, 1) &&
	    tagstorage_claim(first, 1, search->gfp))
		return false;
	return !rest || !tagstorage_prepare_chunk(region, search->chunk, rest);
}

static bool find(struct search *search)
{
	return take_hole(search) || take_whole(search) || take_best(search);
}

/*
 * Does the allocator serve movable requests from CMA areas now? Then what is left of
 * ordinary memory is for those who can't use them, and this request may.
 */
static bool cma_is_next(struct zone *zone)
{
	return zone_page_state(zone, NR_FREE_CMA_PAGES) >
	       zone_page_state(zone, NR_FREE_PAGES) / 2;
}

static struct page *pack_in(struct search *search)
{
	struct tagstorage_region *region = search->region;
	unsigned int try;
	struct page *page;

	for (try = 0; try < PACK_TRIES; try++) {
		if (!tagstorage_has_room(search->zone, TAGSTORAGE_CHUNK) ||
		    cma_is_next(search->zone) || !find(search))
			return NULL;
		if (prepare(search))
			break;
		tagstorage_pages_free(region, search->chunk, search->pages);
	}
	if (try == PACK_TRIES)
		return NULL;
	page = pfn_to_page(tagstorage_chunk_pfn(region, search->chunk) +
			   __ffs(search->pages));
	tagstorage_stash(region, search->chunk,
			 search->pages & (search->pages - 1));
	tagstorage_repack_kick();
	return page;
}

/**
 * tagstorage_pack - tag_storage_ops.pack
 * @zone: where the page should be
 * @gfp: what the caller may do to get memory
 *
 * Fills the stash of this CPU and takes a page of it.
 *
 * Context: may sleep; locks as for tagstorage_claim().
 */
struct page *tagstorage_pack(struct zone *zone, gfp_t gfp)
{
	struct search search = { .zone = zone, .gfp = gfp };
	struct page *page;
	unsigned int i;

	if (!tagstorage_packs())
		return NULL;
	tagstorage_for_each_region(search.region, i) {
		/* A guess while the zone grows: each page's own zone is looked at. */
		if (!data_race(tagstorage_overlap(zone->zone_start_pfn,
						  zone->spanned_pages,
						  search.region->geo.data_pfn,
						  tagstorage_data_pages(&search.region->geo))))
			continue;
		page = pack_in(&search);
		if (page)
			return page;
	}
	return NULL;
}
ALLOW_ERROR_INJECTION(tagstorage_pack, NULL);
