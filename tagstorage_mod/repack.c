// SPDX-License-Identifier: GPL-2.0
/*
 * The worker: moves tagged pages together, so that fewer blocks hold their tags.
 *
 * pack.c puts new tagged pages where others are. Time undoes that: pages are freed here
 * and there, copies lie where compaction or an allocation that could not wait put
 * them, and in aged memory no block covers enough free pages to begin with. So from time
 * to time the worker looks how many blocks the tagged pages would need if they lay close.
 * That many of the fullest blocks are to become full (dense); the others are to run
 * empty. First the sparse ones, which bring a block for a few moves: while pages come
 * and go, a block that is half full now may be sparse in a moment, for nothing. Only when
 * all is quiet, fuller ones, step by step. It goes from one dense block to the next:
 *
 *	1. take what is free of the pages that the dense block covers, and if that is
 *	   not enough, move untagged pages out of it; prepare these pages;
 *	2. when there are as many as a chunk has: isolate as many tagged pages of blocks
 *	   that are to run empty, and migrate them there.
 *
 * The last page that leaves a block releases it, as always. Every page that is moved
 * is moved as compaction does it, asynchronously: nobody waits for the worker, and what
 * is in use stays where it is. Nothing is reclaimed for it, either.
 *
 * It may take `pack_percent` of one CPU's time, and sleeps for the rest. What it does not
 * take is saved for up to a second, and then it works three quarters of the time, until
 * that is spent: blocks become sparse when much is freed, and that comes in bursts. It
 * stops where it gains too little: what a block brings is one page (of 4 KiB, say), what
 * emptying it costs is up to 64 moves. When nothing moves any more, it waits for the next
 * block that is reserved, or the next hole.
 *
 * It also empties the stashes that nobody uses, and looks for holes that pack.c has not
 * heard of, unless pages become fewer.
 *
 * One work item, so there is no lock: `dense`, `stuck`, `sparse`, `seen`, `quiet`,
 * `fewer` and the budget are its own. The queue's workers are bound to a CPU, because what
 * was moved away is on that CPU's list of free pages, which is then drained.
 */
#define pr_fmt(fmt) "tagstorage: " fmt

#include <linux/bitmap.h>
#include <linux/gfp.h>
#include <linux/ktime.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/sched/clock.h>
#include <linux/workqueue.h>

#include "engine.h"
#include "trace.h"

/* From one look to the next, while there is something to do. */
#define REPACK_PERIOD	max(HZ / 20, 1)
/* ... and blocks become sparse as fast as they are emptied. */
#define REPACK_PERIOD_SOON	max(HZ / 50, 1)
/* A block that could not be filled is left alone for so long. */
#define REPACK_STUCK	(10 * HZ)
/* Blocks that may be too many: 1/32 of them, and the zero page's and the stashes'. */
#define REPACK_SLACK(blocks)	((blocks) / 32 + 4)
/* Tagged pages, or blocks, that are looked at in one go. */
#define REPACK_LOOKS	1024
/* How full is a block? From 1 to this. */
#define LEVELS		32
/* Up to this level, blocks are sparse. */
#define LEVEL_SPARSE	(LEVELS / 4)
/* Room in a chunk that is worth to be filled while pages come and go. */
#define ROOM_WORTH	(TAGSTORAGE_CHUNK / 8)
/* Time whose share can be saved, and the share of time, in percent, that spends it. */
#define BUDGET_TIME	NSEC_PER_SEC
#define BUDGET_DUTY	75u

static struct workqueue_struct *repack_wq;
static bool repack_stopping;
static unsigned long stuck_since;

/* Nanoseconds of work that are saved, or owed; and when that was last true. */
static s64 budget;
static u64 budget_at;

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
 * struct repack_room - prepared pages that nobody has, to move tagged ones to
 * @chunk: the chunk
 * @pages: a bit for each of its pages
 */
struct repack_room {
	u64 chunk;
	u32 pages;
};

/**
 * struct repack - one pass over a region
 * @region: the region
 * @since: when the worker last slept or paid, in nanoseconds
 * @ran: how long it had run then
 * @worked: how long it has worked since it last slept, but for what is not paid yet
 * @zone: where the pages are that are there to be filled
 * @nr: how many
 * @rooms: in so many chunks
 * @room: these
 * @next: where tagged pages are looked for: number of a page that is covered
 * @gathered: tagged pages moved
 * @cleared: untagged pages moved
 */
struct repack {
	struct tagstorage_region *region;
	u64 since;
	u64 ran;
	u64 worked;
	struct zone *zone;
	unsigned int nr;
	unsigned int rooms;
	struct repack_room room[TAGSTORAGE_CHUNK];
	unsigned long next;
	unsigned long gathered;
	unsigned long cleared;
};

static bool stopped(void)
{
	return READ_ONCE(repack_stopping) || !READ_ONCE(pack_percent) ||
	       !tagstorage_packs();
}

static unsigned int percent_of_cpu(void)
{
	return clamp(READ_ONCE(pack_percent), 1u, 100u);
}

/*
 * Time that the worker has had a CPU for, and a constant. The scheduler counts it with
 * each tick, and when another task takes the CPU; what came since then is added. A tick
 * between the two is noticed, but not one that another CPU does for this one. Where the
 * scheduler leaves out interrupts, those that come meanwhile are the worker's.
 */
static u64 time_run(void)
{
	const struct sched_entity *se = &current->se;
	u64 sum, now;

	do {
		sum = READ_ONCE(se->sum_exec_runtime);
		now = local_clock() - READ_ONCE(se->exec_start);
	} while (sum != READ_ONCE(se->sum_exec_runtime));
	return sum + now;
}

/* Begin to count what is done. */
static void begin_work(struct repack *repack)
{
	repack->since = local_clock();
	repack->ran = time_run();
}

static s64 work_done(const struct repack *repack)
{
	return clamp((s64)(time_run() - repack->ran), 0ll,
		     (s64)(local_clock() - repack->since));
}

/* What it may do since it last paid is the worker's, what it has done was not. */
static void pay(struct repack *repack)
{
	unsigned int percent = percent_of_cpu();
	s64 most = BUDGET_TIME / 100 * percent, done = work_done(repack);
	u64 now = ktime_get_ns();

	budget += min(now - budget_at, BUDGET_TIME) / 100 * percent;
	budget = max(min(budget, most) - done, -most);
	budget_at = now;
	repack->worked += done;
	begin_work(repack);
}

/*
 * Pay, and sleep if need be: for as long as it takes to earn what is owed, and so that
 * others have the CPU while what was saved is spent.
 */
static void rest(struct repack *repack)
{
	unsigned int percent = percent_of_cpu(), duty = max(percent, BUDGET_DUTY);
	u64 idle, pause;

	pay(repack);
	idle = repack->worked * (100 - duty) / duty;
	if (budget < 0)
		idle = max(idle, (u64)-budget * 100 / percent);
	pause = nsecs_to_jiffies(idle);
	if (!pause)
		return;
	schedule_timeout_idle(min_t(u64, pause, HZ));
	repack->worked = 0;
	begin_work(repack);
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

/* Most blocks are not reserved, and have no prepared page: whole words of the map. */
static noinline u64 pass_over(const struct tagstorage_region *region, u64 block)
{
	unsigned long end = tagstorage_data_pages(&region->geo), bit;

	bit = tagstorage_next_bit(region->prepared, end,
				  block * region->geo.span_pages);
	return bit < end ? bit / region->geo.span_pages :
			   region->geo.nr_blocks;
}

/*
 * The first block from this one on that is reserved. One that is reserved for a page that
 * is being prepared may be missed.
 */
static inline u64 next_reserved(const struct tagstorage_region *region,
				u64 block)
{
	if (block >= region->geo.nr_blocks ||
	    likely(tagstorage_block_count(region, block)))
		return block;
	return pass_over(region, block);
}

/* It could not be filled, and no page of it was freed since. */
static bool is_stuck(const struct tagstorage_region *region, u64 block)
{
	return test_bit(block, region->stuck) && !test_bit(block, region->holes);
}

/*
 * Holes that pack.c was not told of: a page was on some list when it was freed. While
 * pages become fewer, it knows of more than enough.
 */
static void find_holes(struct repack *repack)
{
	struct tagstorage_region *region = repack->region;
	unsigned int looks = 0;
	u64 block;

	if (region->fewer)
		return;
	for (block = next_reserved(region, 0); block < region->geo.nr_blocks;
	     block = next_reserved(region, block + 1)) {
		if (looks++ >= REPACK_LOOKS) {
			if (stopped())
				break;
			rest(repack);
			cond_resched();
			looks = 0;
		}
		if (is_full(region, block) || test_bit(block, region->holes))
			continue;
		looks += region->geo.block_pages;
		if (tagstorage_span_free(region, zone_of(region, block), block))
			tagstorage_hole(region, block);
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
	unsigned int count = tagstorage_block_count(region, block);

	if (likely(!count))
		return 0;
	return DIV_ROUND_UP(min(count, region->geo.span_pages) * LEVELS,
			    region->geo.span_pages);
}

/* Marks all reserved blocks in region->dense. */
static void count_levels(struct tagstorage_region *region, struct levels *levels)
{
	u64 block;

	bitmap_zero(region->dense, region->geo.nr_blocks);
	for (block = next_reserved(region, 0); block < region->geo.nr_blocks;
	     block = next_reserved(region, block + 1)) {
		unsigned int count = tagstorage_block_count(region, block);
		unsigned int level = level_of(region, block);

		if (!level)
			continue;
		__set_bit(block, region->dense);
		levels->blocks[level]++;
		levels->room[level] += is_stuck(region, block) ?
				       count : region->geo.span_pages;
		levels->reserved++;
		levels->pages += count;
	}
}

/*
 * Do pages come and go? Then only what is sparse is worth to be emptied; and nothing
 * if they become more: these fill what is free in reserved blocks by themselves.
 */
static void look_around(struct tagstorage_region *region, unsigned long pages)
{
	unsigned long some = pages / 256 + TAGSTORAGE_CHUNK;

	region->fewer = pages + some < region->seen;
	region->quiet = pages <= region->seen + some && !region->fewer;
	if (!region->quiet || !region->sparse)
		region->sparse = LEVEL_SPARSE;
	if (pages > region->seen + some)
		region->sparse = 0;
	region->seen = pages;
}

/* Are there blocks that are worth to be emptied while pages come and go? */
static bool any_sparse(const struct tagstorage_region *region,
		       const struct levels *levels)
{
	unsigned int level = region->sparse;

	while (level && !levels->blocks[level])
		level--;
	return level;
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
	unsigned long block;

	count_levels(region, &levels);
	look_around(region, levels.pages);
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
	if (!region->quiet && !any_sparse(region, &levels))
		return false;

	for_each_set_bit(block, region->dense, region->geo.nr_blocks) {
		unsigned int l = level_of(region, block);

		if (l == level && quota)
			quota--;
		else if (l <= level)
			__clear_bit(block, region->dense);
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
		if (test_bit(block, region->dense) ||
		    level_of(region, block) > region->sparse) {
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
static unsigned int clear_chunk(struct repack *repack, u64 chunk,
				unsigned int nr)
{
	struct tagstorage_region *region = repack->region;
	unsigned long bit = chunk * TAGSTORAGE_CHUNK;
	struct page *page = pfn_to_page(region->geo.data_pfn + bit);
	unsigned int i, isolated = 0, moved;
	struct zone *zone = repack->zone;
	LIST_HEAD(folios);

	/* The watermarks' boost changes at any time: how it was is good enough. */
	if (!tagstorage_has_room(zone, data_race(high_wmark_pages(zone))))
		return 0;
	for (i = 0; i < TAGSTORAGE_CHUNK && isolated < nr; i++)
		if (!test_bit(bit + i, region->prepared) && PageLRU(page + i))
			isolated += tagstorage_isolate_user(page + i, &folios);
	moved = tagstorage_evict_folios(&folios, 0);
	if (moved)
		drain_local_pages(zone);
	tagstorage_count(region, cleared, moved);
	repack->cleared += moved;
	return moved;
}

/* Take @nr pages of the chunk, if so many can be had, and prepare them. */
static void take_room(struct repack *repack, u64 chunk, unsigned int nr)
{
	struct tagstorage_region *region = repack->region;
	struct zone *zone = repack->zone;
	u32 pages = 0;

	if (tagstorage_has_room(zone, TAGSTORAGE_CHUNK))
		pages = tagstorage_take_chunk(region, zone, chunk);
	if (hweight32(pages) < nr &&
	    clear_chunk(repack, chunk, nr - hweight32(pages)))
		pages |= tagstorage_take_chunk(region, zone, chunk);
	if (pages && tagstorage_prepare_chunk(region, chunk, pages)) {
		/* It was released and lent meanwhile. */
		tagstorage_pages_free(region, chunk, pages);
		pages = 0;
	}
	if (!pages) {
		__set_bit(tagstorage_chunk_block(region, chunk), region->stuck);
		return;
	}
	repack->room[repack->rooms].chunk = chunk;
	repack->room[repack->rooms++].pages = pages;
	repack->nr += hweight32(pages);
}

static struct folio *repack_target(struct folio *src, unsigned long private)
{
	struct repack *repack = (struct repack *)private;
	struct repack_room *room;
	struct page *page;

	if (!repack->rooms)
		return NULL;
	room = &repack->room[repack->rooms - 1];
	page = pfn_to_page(tagstorage_chunk_pfn(repack->region, room->chunk) +
			   __ffs(room->pages));
	room->pages &= room->pages - 1;
	repack->rooms -= !room->pages;
	tagstorage_page_dress(page, GFP_HIGHUSER_MOVABLE);
	return page_folio(page);
}

/* Nobody came for these. */
static void give_back(struct repack *repack)
{
	for (; repack->rooms; repack->rooms--)
		tagstorage_pages_free(repack->region,
				      repack->room[repack->rooms - 1].chunk,
				      repack->room[repack->rooms - 1].pages);
	repack->nr = 0;
}

/* Move tagged pages to what was taken. False: there are no more such pages. */
static bool fill_rooms(struct repack *repack)
{
	struct tagstorage_region *region = repack->region;
	unsigned int moved = 0;
	bool more = true;
	LIST_HEAD(folios);

	if (!repack->nr)
		return true;
	if (isolate_tagged(repack, repack->zone, repack->nr, &folios))
		migrate_pages(&folios, repack_target, NULL,
			      (unsigned long)repack, MIGRATE_ASYNC,
			      MR_COMPACTION, &moved);
	else
		more = repack->next < tagstorage_data_pages(&region->geo);
	if (!list_empty(&folios))
		putback_movable_pages(&folios);
	give_back(repack);
	tagstorage_count(region, gathered, moved);
	repack->gathered += moved;
	rest(repack);
	return more;
}

/* Fill a chunk of a dense block. False: the pass is over. */
static bool fill_chunk(struct repack *repack, u64 block, u64 chunk)
{
	struct tagstorage_region *region = repack->region;
	unsigned long bit = chunk * TAGSTORAGE_CHUNK;
	struct zone *zone = zone_of(region, block);
	unsigned int room;

	room = TAGSTORAGE_CHUNK -
	       hweight32(READ_ONCE(region->prepared[BIT_WORD(bit)]) >>
			 bit % BITS_PER_LONG);
	if (room < (region->quiet ? 1 : ROOM_WORTH))
		return true;
	if (zone != repack->zone || repack->nr + room > TAGSTORAGE_CHUNK) {
		if (!fill_rooms(repack))
			return false;
		repack->zone = zone;
	}
	take_room(repack, chunk, room);
	return true;
}

/* False: the pass is over. */
static bool fill_block(struct repack *repack, u64 block)
{
	u32 nr = repack->region->geo.block_pages, i;

	for (i = 0; i < nr; i++) {
		if (stopped() || !READ_ONCE(repack->region->attached))
			return false;
		if (!fill_chunk(repack, block, block * nr + i))
			return false;
	}
	return true;
}

/*
 * Where nothing is lent, nothing is gained, and no page moves that would not else.
 * True: it may be worth to look again soon.
 */
static bool gather(struct repack *repack)
{
	struct tagstorage_region *region = repack->region;
	unsigned long block;

	if (!READ_ONCE(region->attached)) {
		region->fewer = false;
		return false;
	}
	if (!choose_dense(region))
		return !region->quiet;
	drain_all_pages(NULL);
	for_each_set_bit(block, region->dense, region->geo.nr_blocks) {
		if (is_full(region, block) || is_stuck(region, block))
			continue;
		if (!fill_block(repack, block))
			break;
		cond_resched();
	}
	if (!stopped() && READ_ONCE(region->attached))
		fill_rooms(repack);
	give_back(repack);
	trace_tagstorage_repack(region->index, repack->gathered,
				repack->cleared);
	if (repack->gathered >= region->geo.span_pages || !region->quiet)
		return true;
	region->sparse *= 2;
	if (region->sparse <= LEVELS)
		return true;
	region->sparse = LEVEL_SPARSE;
	return false;
}

/* True: it may be worth to look again; @soon: at once, as blocks become sparse. */
static bool repack_region(struct tagstorage_region *region, bool *soon)
{
	struct repack repack = { .region = region };
	bool left = tagstorage_stash_drain(region, false);

	if (stopped())
		return left;
	begin_work(&repack);
	if (time_after(jiffies, stuck_since + REPACK_STUCK))
		bitmap_zero(region->stuck, region->geo.nr_blocks);
	/* What is not looked for now is looked for then. */
	left |= region->fewer;
	find_holes(&repack);
	left |= gather(&repack);
	*soon |= region->fewer && repack.gathered >= region->geo.span_pages;
	rest(&repack);
	return left;
}

static void repack_work_fn(struct work_struct *work)
{
	struct tagstorage_region *region;
	bool again = false, soon = false;
	unsigned int i;

	tagstorage_for_each_region(region, i)
		again |= repack_region(region, &soon);
	if (time_after(jiffies, stuck_since + REPACK_STUCK))
		stuck_since = jiffies;
	if (soon)
		mod_delayed_work(repack_wq, &repack_work, REPACK_PERIOD_SOON);
	else if (again)
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
