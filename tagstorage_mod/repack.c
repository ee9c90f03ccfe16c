// SPDX-License-Identifier: GPL-2.0
/*
 * The worker: moves tagged pages together, so that fewer blocks hold their tags.
 *
 * pack.c puts new tagged pages where others are. Time undoes that: pages are freed here
 * and there, copies lie where compaction or an allocation that could not wait put
 * them, and in aged memory no block covers enough free pages to begin with. So from time
 * to time the worker looks how many blocks the tagged pages would need if they lay close.
 * That many of the fullest blocks are to become full (dense); the others are to run
 * empty. It goes from one dense block to the next:
 *
 *	1. isolate tagged pages of blocks that are to run empty, as many as fit;
 *	2. take what is free of the pages that the dense block covers, and if that is
 *	   not enough, move untagged pages out of it;
 *	3. prepare these pages, and migrate the tagged ones to them.
 *
 * The last page that leaves a block releases it, as always. Every page that is moved
 * is moved as compaction does it, asynchronously: nobody waits for the worker, and what
 * is in use stays where it is. Nothing is reclaimed for it, either.
 *
 * It may take `pack_percent` of one CPU's time and sleeps for the rest, and it stops
 * where it gains too little: what a block brings is one page (of 4 KiB, say), what
 * emptying it costs is up to 64 moves. When nothing moves any more, it waits for the next
 * block that is reserved.
 *
 * It also empties the stashes that nobody uses, and looks for holes that pack.c has not
 * heard of.
 *
 * One work item, so there is no lock: `dense`, `stuck` and `seen` are its own. The
 * queue's workers are bound to a CPU, because what was moved away is on that CPU's list
 * of free pages, which is then drained.
 */
#define pr_fmt(fmt) "tagstorage: " fmt

#include <linux/bitmap.h>
#include <linux/gfp.h>
#include <linux/ktime.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/workqueue.h>

#include "engine.h"
#include "trace.h"

/* From one look to the next, while there is something to do. */
#define REPACK_PERIOD	max(HZ / 4, 1)
/* A block that could not be filled is left alone for so long. */
#define REPACK_STUCK	(10 * HZ)
/* Blocks that may be too many: 1/32 of them, and the zero page's and the stashes'. */
#define REPACK_SLACK(blocks)	((blocks) / 32 + 4)
/* Tagged pages, or dense blocks among them, that are looked at in one go. */
#define REPACK_LOOKS	1024
/* How full is a block? From 1 to this. */
#define LEVELS		32

static struct workqueue_struct *repack_wq;
static bool repack_stopping;
static unsigned long stuck_since;

static void repack_work_fn(struct work_struct *work);
static DECLARE_DELAYED_WORK(repack_work, repack_work_fn);

/**
 * tagstorage_repack_kick - there may be something to do for the worker
 *
 * Context: any. Before there is a queue, and when there is none any more, nothing
 * happens.
 */
void tagstorage_repack_kick(void)
{
	if (!delayed_work_pending(&repack_work) && READ_ONCE(repack_wq))
		queue_delayed_work(repack_wq, &repack_work, REPACK_PERIOD);
}

static unsigned int pack_percent = 5;

static int set_percent(const char *text, const struct kernel_param *param)
{
	int ret = param_set_uint(text, param);

	if (!ret)
		tagstorage_repack_kick();
	return ret;
}

static const struct kernel_param_ops percent_ops = {
	.set = set_percent,
	.get = param_get_uint,
};

module_param_cb(pack_percent, &percent_ops, &pack_percent, 0644);
__MODULE_PARM_TYPE(pack_percent, "uint");
MODULE_PARM_DESC(pack_percent,
		 "percent of one CPU's time for moving tagged pages together; 0: don't (default 5)");

/**
 * struct repack - one pass over a region
 * @region: the region
 * @since: when the worker slept last, in nanoseconds
 * @chunk: the chunk that is being filled
 * @pages: those of its pages that are there to be filled
 * @next: where tagged pages are looked for: number of a page that is covered
 * @gathered: tagged pages moved
 * @cleared: untagged pages moved
 */
struct repack {
	struct tagstorage_region *region;
	u64 since;
	u64 chunk;
	u32 pages;
	unsigned long next;
	unsigned long gathered;
	unsigned long cleared;
};

static bool stopped(void)
{
	return READ_ONCE(repack_stopping) || !READ_ONCE(pack_percent) ||
	       !tagstorage_packs();
}

/* Sleep for as long as what was done since the last time has to last. */
static void rest(struct repack *repack)
{
	unsigned int percent = min(max(READ_ONCE(pack_percent), 1u), 100u);
	u64 spent = ktime_get_ns() - repack->since;
	u64 pause = nsecs_to_jiffies(spent * (100 - percent) / percent);

	if (!pause)
		return;
	schedule_timeout_idle(min_t(u64, pause, HZ));
	repack->since = ktime_get_ns();
}

static bool is_full(const struct tagstorage_region *region, u64 block)
{
	return tagstorage_block_count(region, block) >= region->geo.span_pages;
}

static struct zone *zone_of(const struct tagstorage_region *region, u64 block)
{
	return tagstorage_zone(pfn_to_page(tagstorage_span_pfn(&region->geo,
							       block)));
}

/* Holes that pack.c was not told of: a page was on some list when it was freed. */
static void find_holes(struct repack *repack)
{
	struct tagstorage_region *region = repack->region;
	u64 block;

	for (block = 0; block < region->geo.nr_blocks && !stopped(); block++) {
		if (tagstorage_block_state(region, block) != TAGSTORAGE_RESERVED ||
		    is_full(region, block) || test_bit(block, region->holes))
			continue;
		if (tagstorage_span_free(region, zone_of(region, block), block))
			tagstorage_hole(region, block);
		rest(repack);
		cond_resched();
	}
}

/**
 * struct levels - the reserved blocks of a region, by how full they are
 * @blocks: how many of each level
 * @room: prepared pages that those of a level hold, or could
 * @reserved: blocks in all
 * @pages: prepared pages in all
 */
struct levels {
	unsigned long blocks[LEVELS + 1];
	unsigned long room[LEVELS + 1];
	unsigned long reserved;
	unsigned long pages;
};

/* 0: the block is not reserved. */
static unsigned int level_of(const struct tagstorage_region *region, u64 block)
{
	return DIV_ROUND_UP(min(tagstorage_block_count(region, block),
				region->geo.span_pages) * LEVELS,
			    region->geo.span_pages);
}

static void count_levels(const struct tagstorage_region *region,
			 struct levels *levels)
{
	u64 block;

	for (block = 0; block < region->geo.nr_blocks; block++) {
		unsigned int count = tagstorage_block_count(region, block);
		unsigned int level = level_of(region, block);

		if (!level)
			continue;
		levels->blocks[level]++;
		levels->room[level] += test_bit(block, region->stuck) ?
				       count : region->geo.span_pages;
		levels->reserved++;
		levels->pages += count;
	}
}

/*
 * Choose the blocks that are to be dense: the fullest, as many as all tagged pages
 * fit in. False: there would be hardly fewer than there are.
 */
static bool choose_dense(struct tagstorage_region *region)
{
	unsigned long room = 0, dense = 0, quota;
	unsigned int level = LEVELS;
	struct levels levels = {};
	u64 block;

	bitmap_zero(region->dense, region->geo.nr_blocks);
	count_levels(region, &levels);
	while (level && room + levels.room[level] < levels.pages) {
		room += levels.room[level];
		dense += levels.blocks[level--];
	}
	if (!level)
		return false;
	quota = DIV_ROUND_UP(levels.pages - room, region->geo.span_pages);
	quota = min(quota, levels.blocks[level]);
	if (levels.reserved <= dense + quota + REPACK_SLACK(levels.reserved))
		return false;

	for (block = 0; block < region->geo.nr_blocks; block++) {
		unsigned int l = level_of(region, block);

		if (l > level || (l && l == level && quota)) {
			__set_bit(block, region->dense);
			quota -= l == level;
		}
	}
	return true;
}

/* Where in the region does the zone end? Counted in pages that are covered. */
static unsigned long zone_end(const struct tagstorage_region *region,
			      const struct zone *zone)
{
	return min(zone_end_pfn(zone) - region->geo.data_pfn,
		   tagstorage_data_pages(&region->geo));
}

/*
 * Isolate tagged pages of blocks that are to run empty, in the zone that they are to
 * stay in: who allocated them may have had to. Some that can't be isolated are passed
 * over; if there are many, the next call goes on.
 */
static unsigned int isolate_tagged(struct repack *repack, struct zone *zone,
				   unsigned int nr, struct list_head *folios)
{
	struct tagstorage_region *region = repack->region;
	unsigned long end = zone_end(region, zone);
	unsigned int isolated = 0, looked = 0;
	struct page *page;

	if (zone->zone_start_pfn > region->geo.data_pfn + repack->next)
		repack->next = zone->zone_start_pfn - region->geo.data_pfn;
	while (isolated < nr && looked++ < REPACK_LOOKS) {
		unsigned long bit = tagstorage_next_bit(region->prepared, end,
							repack->next);
		u64 block = bit / region->geo.span_pages;

		if (bit >= end) {
			repack->next = max(repack->next, end);
			break;
		}
		if (test_bit(block, region->dense)) {
			repack->next = (block + 1) * region->geo.span_pages;
			continue;
		}
		repack->next = bit + 1;
		page = pfn_to_page(region->geo.data_pfn + bit);
		isolated += tagstorage_isolate_user(page, folios);
	}
	return isolated;
}

/* Move untagged pages out of the chunk, @nr at most. */
static unsigned int clear_chunk(struct repack *repack, struct zone *zone,
				unsigned int nr)
{
	struct tagstorage_region *region = repack->region;
	unsigned long bit = repack->chunk * TAGSTORAGE_CHUNK;
	struct page *page = pfn_to_page(region->geo.data_pfn + bit);
	unsigned int i, isolated = 0, moved;
	LIST_HEAD(folios);

	/* The watermarks' boost changes at any time: how it was is good enough. */
	if (!tagstorage_has_room(zone, data_race(high_wmark_pages(zone))))
		return 0;
	for (i = 0; i < TAGSTORAGE_CHUNK && isolated < nr; i++)
		if (!test_bit(bit + i, region->prepared) && PageLRU(page + i))
			isolated += tagstorage_isolate_user(page + i, &folios);
	moved = tagstorage_evict_folios(&folios, 0, false);
	if (moved)
		drain_local_pages(zone);
	tagstorage_count(region, cleared, moved);
	repack->cleared += moved;
	return moved;
}

/* Take @nr pages of the chunk, if so many can be had, and prepare them. */
static void take_room(struct repack *repack, unsigned int nr)
{
	struct tagstorage_region *region = repack->region;
	u64 pfn = tagstorage_chunk_pfn(region, repack->chunk);
	struct zone *zone = tagstorage_zone(pfn_to_page(pfn));
	u32 pages = 0;

	if (tagstorage_has_room(zone, TAGSTORAGE_CHUNK))
		pages = tagstorage_take_chunk(region, zone, repack->chunk);
	if (hweight32(pages) < nr &&
	    clear_chunk(repack, zone, nr - hweight32(pages)))
		pages |= tagstorage_take_chunk(region, zone, repack->chunk);
	if (pages && tagstorage_prepare_chunk(region, repack->chunk, pages)) {
		/* It was released and lent meanwhile. */
		tagstorage_pages_free(region, repack->chunk, pages);
		pages = 0;
	}
	repack->pages = pages;
}

static struct folio *repack_target(struct folio *src, unsigned long private)
{
	struct repack *repack = (struct repack *)private;
	struct page *page;

	if (!repack->pages)
		return NULL;
	page = pfn_to_page(tagstorage_chunk_pfn(repack->region, repack->chunk) +
			   __ffs(repack->pages));
	repack->pages &= repack->pages - 1;
	tagstorage_page_dress(page, GFP_HIGHUSER_MOVABLE);
	return page_folio(page);
}

/* Fill a chunk of a dense block. False: there are no more pages to fill it with. */
static bool fill_chunk(struct repack *repack, u64 block)
{
	struct tagstorage_region *region = repack->region;
	unsigned long bit = repack->chunk * TAGSTORAGE_CHUNK;
	struct zone *zone = zone_of(region, block);
	unsigned int room, nr, moved = 0;
	LIST_HEAD(folios);

	room = TAGSTORAGE_CHUNK -
	       hweight32(READ_ONCE(region->prepared[BIT_WORD(bit)]) >>
			 bit % BITS_PER_LONG);
	if (!room)
		return true;
	nr = isolate_tagged(repack, zone, room, &folios);
	if (!nr)
		return repack->next < tagstorage_data_pages(&region->geo);
	take_room(repack, nr);
	if (!repack->pages)
		__set_bit(block, region->stuck);
	else
		migrate_pages(&folios, repack_target, NULL,
			      (unsigned long)repack, MIGRATE_ASYNC,
			      MR_COMPACTION, &moved);
	if (!list_empty(&folios))
		putback_movable_pages(&folios);
	tagstorage_pages_free(region, repack->chunk, repack->pages);
	tagstorage_count(region, gathered, moved);
	repack->gathered += moved;
	return true;
}

/* False: the pass is over. */
static bool fill_block(struct repack *repack, u64 block)
{
	u32 nr = repack->region->geo.block_pages, i;

	for (i = 0; i < nr; i++) {
		if (stopped() || !READ_ONCE(repack->region->attached))
			return false;
		repack->chunk = block * nr + i;
		if (!fill_chunk(repack, block))
			return false;
		rest(repack);
	}
	return true;
}

/* Where nothing is lent, nothing is gained, and no page moves that would not else. */
static void gather(struct repack *repack)
{
	struct tagstorage_region *region = repack->region;
	unsigned long block;

	if (!READ_ONCE(region->attached) || !choose_dense(region))
		return;
	drain_all_pages(NULL);
	for_each_set_bit(block, region->dense, region->geo.nr_blocks) {
		if (is_full(region, block) || test_bit(block, region->stuck))
			continue;
		if (!fill_block(repack, block))
			break;
		cond_resched();
	}
	trace_tagstorage_repack(region->index, repack->gathered,
				repack->cleared);
}

/* True: it may be worth to look again soon. */
static bool repack_region(struct tagstorage_region *region)
{
	struct repack repack = { .region = region, .since = ktime_get_ns() };
	bool left = tagstorage_stash_drain(region, false);

	if (stopped())
		return left;
	if (time_after(jiffies, stuck_since + REPACK_STUCK))
		bitmap_zero(region->stuck, region->geo.nr_blocks);
	find_holes(&repack);
	gather(&repack);
	return left || repack.gathered >= region->geo.span_pages;
}

static void repack_work_fn(struct work_struct *work)
{
	struct tagstorage_region *region;
	bool again = false;
	unsigned int i;

	tagstorage_for_each_region(region, i)
		again |= repack_region(region);
	if (time_after(jiffies, stuck_since + REPACK_STUCK))
		stuck_since = jiffies;
	if (again)
		tagstorage_repack_kick();
}

int tagstorage_repack_init(void)
{
	WRITE_ONCE(repack_wq, alloc_workqueue("tagstorage_repack", 0, 1));
	return repack_wq ? 0 : -ENOMEM;
}

/* The worker moves nothing any more. The hooks are on still: it needs them. */
void tagstorage_repack_stop(void)
{
	WRITE_ONCE(repack_stopping, true);
	disable_delayed_work_sync(&repack_work);
}

/* Nobody fills a stash any more. */
void tagstorage_repack_exit(void)
{
	struct tagstorage_region *region;
	unsigned int i;

	tagstorage_repack_stop();
	destroy_workqueue(repack_wq);
	tagstorage_for_each_region(region, i)
		tagstorage_stash_drain(region, true);
}
