// SPDX-License-Identifier: GPL-2.0
/*
 * Lending idle blocks for the active policy, and getting all of them back when it
 * goes.
 *
 * Lending is the worker's job: a block that becomes idle is noted, and some time
 * later lent if it still is. Draining is done by whoever switches the policy, in a
 * bounded number of passes, a moment apart: a page under writeback can't be moved,
 * and no pass waits for that. What could not be evicted then stays DRAINING, and the
 * worker goes on trying, whichever policy is active by then.
 *
 * While any block is out, the hooks for lent pages are on and the engine holds a
 * reference to itself, so that it can't be unloaded.
 */
#define pr_fmt(fmt) "tagstorage: " fmt

#include <linux/bitmap.h>
#include <linux/error-injection.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/swap.h>
#include <linux/sysfs.h>
#include <linux/workqueue.h>

#include "engine.h"
#include "trace.h"

static unsigned int relend_delay_ms = 100;
module_param(relend_delay_ms, uint, 0644);
MODULE_PARM_DESC(relend_delay_ms,
		 "milliseconds that a block must be idle before it is lent again (default 100)");

/* Passes over a region before the rest is left to the worker, ... */
#define DRAIN_PASSES	10
/* ... with a pause between them, in which a page's I/O may end ... */
#define DRAIN_PAUSE	max(HZ / 50, 1)
/* ... and which looks again after so long. */
#define DRAIN_RETRY	HZ
/* Before the machine goes down nobody looks again, so passes go on for so long. */
#define DRAIN_LAST	(5 * HZ)
/* Folios that are migrated together. */
#define DRAIN_BATCH	64
/*
 * What a pass may do to get memory for them: wake kswapd, which works meanwhile. Direct
 * reclaim would wait for devices, and without I/O still up to a second for each page
 * where memory is very short.
 */
#define DRAIN_GFP	GFP_NOWAIT
/* Characters left for one range of blocks, so that `holders` fits in its page. */
#define HOLDERS_RANGE	48

/*
 * Serialises policies: guards the list of policies and the active one
 * (registry.c), region->attached, region->added and tagstorage_lending, and is held
 * while any callback of a policy runs. Process context; taken before every mm lock.
 */
DEFINE_MUTEX(tagstorage_lend_mutex);

/* The hooks for lent pages are on. Read without the mutex only as a hint. */
static bool tagstorage_lending;
/* Nothing may begin to be lent. Guarded by tagstorage_lend_mutex. */
static bool lending_barred;

/* Two workers: what drains does not wait for relend_delay_ms, and what is idle does. */
static void lend_work(struct work_struct *work);
static DECLARE_DELAYED_WORK(tagstorage_lend_work, lend_work);
static void drain_work(struct work_struct *work);
static DECLARE_DELAYED_WORK(tagstorage_drain_work, drain_work);

/* A block became idle. Context: any. */
void tagstorage_lend_kick(void)
{
	if (READ_ONCE(tagstorage_lending))
		queue_delayed_work(system_unbound_wq, &tagstorage_lend_work,
				   msecs_to_jiffies(READ_ONCE(relend_delay_ms)));
}

/* Something is to come back that nobody may be looking for. Context: any. */
void tagstorage_drain_kick(void)
{
	queue_delayed_work(system_unbound_wq, &tagstorage_drain_work,
			   DRAIN_RETRY);
}

/*
 * Blocks were looked at that must wait from now on. A kick while others were looked at
 * would be too early for them, and so would the jiffy that has begun.
 */
static void lend_again(void)
{
	mod_delayed_work(system_unbound_wq, &tagstorage_lend_work,
			 msecs_to_jiffies(READ_ONCE(relend_delay_ms)) + 1);
}

/*
 * Not if a page has a memory error: the block would never come back. Not if one is in use,
 * or was freed (tagstorage_stray()): who gets it next would find it not even mapped.
 */
static bool can_lend(const struct tagstorage_region *region, u64 block)
{
	u64 pfn = tagstorage_block_pfn(&region->geo, block);
	u32 i;

	for (i = 0; i < region->geo.block_pages; i++) {
		struct page *page = pfn_to_page(pfn + i);

		if (!PageReserved(page) || tagstorage_is_stray(page))
			return false;
	}
	return !tagstorage_block_is_poisoned(region, block);
}

static void lend_block(struct tagstorage_choice *policy,
		       struct tagstorage_region *region, u64 block)
{
	enum tagstorage_state to = TAGSTORAGE_LENT;
	u64 pfn = tagstorage_block_pfn(&region->geo, block);
	u32 i;

	if (!can_lend(region, block))
		return;
	if (!tagstorage_call_may_lend(policy, region, block))
		return;
	if (!tagstorage_block_change(region, block, TAGSTORAGE_IDLE,
				     TAGSTORAGE_LENDING))
		return;
	/* That takes a while, and what it calls may have found a memory error. */
	if (tagstorage_clean_tag_lines(region, block) ||
	    !can_lend(region, block)) {
		to = TAGSTORAGE_IDLE;
	} else {
		for (i = 0; i < region->geo.block_pages; i++)
			tagstorage_call_give(policy, region,
					     pfn_to_page(pfn + i));
		trace_tagstorage_lend(region->index, block);
	}
	tagstorage_block_change(region, block, TAGSTORAGE_LENDING, to);
	wake_up_var(&region->blocks[block]);
}

/*
 * Lend every block that was noted as idle and still is, if the policy may go on. But
 * those that were not idle yet when this was last called wait for the next time.
 * True: there are such.
 */
static bool lend_region(struct tagstorage_choice *policy,
			struct tagstorage_region *region)
{
	unsigned long nr = region->geo.nr_blocks, block;
	bool waiting = false;

	for (block = tagstorage_next_bit(region->idle, nr, 0); block < nr;
	     block = tagstorage_next_bit(region->idle, nr, block + 1)) {
		if (tagstorage_fault_of(policy))
			return false;
		if (!test_and_set_bit(block, region->waited)) {
			waiting = true;
			continue;
		}
		clear_bit(block, region->idle);
		/* The bit before the state: who makes it idle again notes it. */
		smp_mb__after_atomic();
		lend_block(policy, region, block);
		cond_resched();
	}
	return waiting;
}

/*
 * Drain one block as far as it goes without eviction. True if it is back. With
 * @lent, a lent block begins to drain. A claim that fails looks under the same lock
 * whether its policy is there still, so no block becomes lent again behind the last pass.
 */
static bool drain_block(struct tagstorage_region *region, u64 block, bool lent)
{
	struct zone *zone = region->zone;
	unsigned long flags;
	bool back;

	spin_lock_irqsave(&zone->lock, flags);
	if (lent)
		tagstorage_block_change(region, block, TAGSTORAGE_LENT,
					TAGSTORAGE_DRAINING);
	if (!tagstorage_block_change(region, block, TAGSTORAGE_DRAINING,
				     TAGSTORAGE_CLAIMING)) {
		/*
		 * It is not out at all, or somebody claims it. Who does may not have
		 * looked yet, and the policy stands before what is free no longer than
		 * the last pass.
		 */
		if (tagstorage_block_state(region, block) == TAGSTORAGE_CLAIMING)
			tagstorage_take_free(region, block);
		spin_unlock_irqrestore(&zone->lock, flags);
		return false;
	}
	back = !tagstorage_take_free(region, block);
	if (!back)
		tagstorage_block_change(region, block, TAGSTORAGE_CLAIMING,
					TAGSTORAGE_DRAINING);
	spin_unlock_irqrestore(&zone->lock, flags);
	if (back)
		tagstorage_claim_end(region, block, TAGSTORAGE_IDLE);
	else
		wake_up_var(&region->blocks[block]);
	return back;
}

/*
 * One pass: take what is free, move the others. With @lent, what is lent is drained
 * as well; else only what an earlier policy left behind. Returns how many blocks
 * came back.
 */
static u64 drain_pass(struct tagstorage_region *region, bool lent)
{
	unsigned int isolated = 0;
	LIST_HEAD(folios);
	u64 block, back = 0;

	for (block = 0; block < region->geo.nr_blocks; block++) {
		if (lent ? !tagstorage_block_is_out(region, block) :
			   tagstorage_block_state(region, block) !=
			   TAGSTORAGE_DRAINING)
			continue;
		if (drain_block(region, block, lent)) {
			back++;
		} else if (tagstorage_block_state(region, block) ==
			   TAGSTORAGE_DRAINING) {
			isolated += tagstorage_isolate_users(region, block,
							     &folios);
			if (isolated >= DRAIN_BATCH) {
				tagstorage_evict_folios(&folios, DRAIN_GFP);
				isolated = 0;
			}
		}
		cond_resched();
	}
	tagstorage_evict_folios(&folios, DRAIN_GFP);
	return back;
}

static void drain_region(struct tagstorage_region *region, int passes)
{
	u64 back = drain_pass(region, true);

	while (atomic_long_read(&region->out) && --passes) {
		schedule_timeout_uninterruptible(DRAIN_PAUSE);
		lru_add_drain_all();
		back += drain_pass(region, true);
	}
	trace_tagstorage_drain(region->index, back,
			       atomic_long_read(&region->out));
}

static bool any_out(void)
{
	struct tagstorage_region *region;
	unsigned int i;

	tagstorage_for_each_region(region, i)
		if (region->attached || region->added ||
		    atomic_long_read(&region->out))
			return true;
	return false;
}

static noinline int lend_begin(void)
{
	if (tagstorage_lending)
		return 0;
	if (lending_barred) {
		pr_err("can't lend during hibernation\n");
		return -EPERM;
	}
	if (!try_module_get(THIS_MODULE))
		return -ENODEV;
	tag_storage_lend_begin();
	WRITE_ONCE(tagstorage_lending, true);
	return 0;
}
ALLOW_ERROR_INJECTION(lend_begin, ERRNO);

/**
 * tagstorage_lend_bar - begin no lending for now
 * @bar: from now on, or allow it again
 *
 * Context: may sleep.
 * Return: false if it is too late: something is lent.
 */
bool tagstorage_lend_bar(bool bar)
{
	bool ok;

	mutex_lock(&tagstorage_lend_mutex);
	ok = !bar || !tagstorage_lending;
	if (ok)
		lending_barred = bar;
	mutex_unlock(&tagstorage_lend_mutex);
	return ok;
}

/* If nothing is out any more, turn the hooks for lent pages off. */
static void lend_end(void)
{
	if (!tagstorage_lending || any_out())
		return;
	WRITE_ONCE(tagstorage_lending, false);
	tag_storage_lend_end();
	module_put(THIS_MODULE);
}

/* What is claimed where no policy is comes back, too, when the claim fails. */
static bool is_draining(const struct tagstorage_region *region, u64 block)
{
	enum tagstorage_state state = tagstorage_block_state(region, block);

	return state == TAGSTORAGE_DRAINING ||
	       (state == TAGSTORAGE_CLAIMING && !region->attached);
}

static u64 count_draining(const struct tagstorage_region *region)
{
	u64 block, count = 0;

	for (block = 0; block < region->geo.nr_blocks; block++)
		count += is_draining(region, block);
	return count;
}

/* Go on draining what an earlier policy left behind. True if some of it is left. */
static bool drain_left(struct tagstorage_region *region)
{
	if (region->attached) {
		drain_pass(region, false);
		return count_draining(region);
	}
	if (atomic_long_read(&region->out))
		drain_region(region, 1);
	return !tagstorage_hotplug_remove(region) ||
	       atomic_long_read(&region->out);
}

static void drain_work(struct work_struct *work)
{
	struct tagstorage_region *region;
	bool left = false;
	unsigned int i;

	mutex_lock(&tagstorage_lend_mutex);
	tagstorage_for_each_region(region, i)
		left |= drain_left(region);
	if (left)
		tagstorage_drain_kick();
	lend_end();
	mutex_unlock(&tagstorage_lend_mutex);
}

static void lend_work(struct work_struct *work)
{
	struct tagstorage_choice *policy;
	struct tagstorage_region *region;
	unsigned int i;

	mutex_lock(&tagstorage_lend_mutex);
	policy = tagstorage_policy_active();
	tagstorage_for_each_region(region, i)
		if (region->attached && lend_region(policy, region))
			lend_again();
	mutex_unlock(&tagstorage_lend_mutex);
}

/**
 * tagstorage_lend_suits - does a policy suit any region?
 * @policy: the policy
 *
 * The log says of every region that it doesn't suit why not.
 */
bool tagstorage_lend_suits(struct tagstorage_choice *policy)
{
	struct tagstorage_region *region;
	bool any = false;
	unsigned int i;

	tagstorage_for_each_region(region, i) {
		const char *why = tagstorage_call_suits(policy, region);

		if (why)
			pr_warn("region %u, %s, %s: not for policy %s, it stays a carve-out\n",
				i, region->name, why, policy->ops.name);
		else
			any = true;
	}
	return any;
}

static int attach_region(struct tagstorage_choice *policy,
			 struct tagstorage_region *region)
{
	int ret;

	if (tagstorage_call_suits(policy, region))
		return -ENODEV;
	ret = tagstorage_call_attach(policy, region);
	if (ret) {
		pr_err("policy %s could not attach region %u, %s (error %d); it stays a carve-out\n",
		       policy->ops.name, region->index, region->name, ret);
		tagstorage_hotplug_remove(region);
		return ret;
	}
	if (policy->ops.keeps)
		tagstorage_kept_begin(region, policy);
	/* Nobody has waited for the policy, so no block has to. */
	bitmap_fill(region->idle, region->geo.nr_blocks);
	bitmap_fill(region->waited, region->geo.nr_blocks);
	WRITE_ONCE(region->era, region->era + 1);
	/* Who sees the policy sees the era; with claim_undo(). */
	smp_store_release(&region->attached, true);
	return 0;
}

static unsigned long count_loose(struct tagstorage_region *region)
{
	u64 pfn = region->geo.storage_pfn, block;
	unsigned long loose = 0;
	u32 i;

	for (block = 0; block < region->geo.nr_blocks; block++) {
		bool out = tagstorage_block_is_out(region, block);

		for (i = 0; i < region->geo.block_pages; i++, pfn++)
			loose += !out && !PageReserved(pfn_to_page(pfn));
		cond_resched();
	}
	return loose;
}

/*
 * Pages that somebody freed though their blocks are not lent, and that the engine did
 * not catch: it is asked about pages of MIGRATE_CMA pageblocks only.
 */
static unsigned long all_loose(void)
{
	struct tagstorage_region *region;
	unsigned long loose = 0;
	unsigned int i;

	tagstorage_for_each_region(region, i) {
		if (!tagstorage_pages_get(region))
			continue;
		loose += count_loose(region);
		tagstorage_pages_put();
	}
	return loose;
}

/**
 * tagstorage_lend_start - lend all that a policy wants to
 * @policy: the policy, which is the active one
 *
 * Context: tagstorage_lend_mutex held.
 * Return: 0 if at least one region is attached, else why not.
 */
int tagstorage_lend_start(struct tagstorage_choice *policy)
{
	struct tagstorage_region *region;
	unsigned int i, attached = 0;
	unsigned long loose;
	int ret;

	lockdep_assert_held(&tagstorage_lend_mutex);
	ret = lend_begin();
	if (ret)
		return ret;
	loose = all_loose();
	tagstorage_for_each_region(region, i) {
		int err = attach_region(policy, region);

		if (err)
			ret = err;
		else
			attached++;
	}
	tagstorage_for_each_region(region, i)
		if (region->attached)
			lend_region(policy, region);
	if (all_loose() > loose)
		tagstorage_fault_set(policy, TAGSTORAGE_FAULT_OTHER);
	/* Blocks that an earlier policy could not get back are the worker's. */
	tagstorage_lend_kick();
	tagstorage_repack_kick();
	lend_end();
	return attached ? 0 : ret;
}

/**
 * tagstorage_lend_stop - take back all that a policy has lent
 * @policy: the policy, which is the active one
 *
 * Bounded; what is left afterwards is the worker's, and so is the block of a claim that
 * is under way for longer: it may have to reclaim memory.
 *
 * Context: tagstorage_lend_mutex held.
 */
void tagstorage_lend_stop(struct tagstorage_choice *policy)
{
	struct tagstorage_region *region;
	bool left = false;
	unsigned int i;

	lockdep_assert_held(&tagstorage_lend_mutex);
	tagstorage_for_each_region(region, i) {
		if (!region->attached)
			continue;
		WRITE_ONCE(region->attached, false);
		WRITE_ONCE(region->era, region->era + 1);
		if (policy->ops.keeps)
			tagstorage_kept_stop(region);
		drain_region(region, DRAIN_PASSES);
		if (policy->ops.keeps)
			tagstorage_kept_end(region);
		tagstorage_call_detach(policy, region);
		left |= !tagstorage_hotplug_remove(region) ||
			atomic_long_read(&region->out);
	}
	if (left)
		tagstorage_drain_kick();
	lend_end();
}

/**
 * tagstorage_lend_drain - get back what is left, for some seconds at most
 *
 * For the end of the machine, when no policy is active: a page that is being written
 * to swap can be moved when that is done.
 *
 * Context: may sleep.
 */
void tagstorage_lend_drain(void)
{
	unsigned long end = jiffies + DRAIN_LAST;
	struct tagstorage_region *region;
	unsigned int i;

	mutex_lock(&tagstorage_lend_mutex);
	tagstorage_for_each_region(region, i)
		while (!region->attached && atomic_long_read(&region->out) &&
		       time_before(jiffies, end))
			drain_region(region, DRAIN_PASSES);
	mutex_unlock(&tagstorage_lend_mutex);
}

/* Nothing is lent any more, and the hooks are off. */
void tagstorage_lend_exit(void)
{
	cancel_delayed_work_sync(&tagstorage_lend_work);
	cancel_delayed_work_sync(&tagstorage_drain_work);
}

/* What the engine as a whole is doing, for sysfs. */
const char *tagstorage_lend_state(void)
{
	struct tagstorage_region *region;
	unsigned int i;

	if (!READ_ONCE(tagstorage_lending))
		return "carveout";
	tagstorage_for_each_region(region, i)
		if (READ_ONCE(region->attached))
			return "lending";
	return "draining";
}

/* "3-7,9": the blocks that come back, as far as @end; what of them fits. */
static int show_draining(struct tagstorage_region *region, char *buf, int len,
			 int end)
{
	u64 nr = region->geo.nr_blocks, block, last;
	const char *comma = "";

	for (block = 0; block < nr; block++) {
		if (!is_draining(region, block))
			continue;
		for (last = block; last + 1 < nr; last++)
			if (!is_draining(region, last + 1))
				break;
		if (end - len < HOLDERS_RANGE)
			return len + sysfs_emit_at(buf, len, "%s...", comma);
		len += sysfs_emit_at(buf, len, "%s%llu", comma, block);
		if (last > block)
			len += sysfs_emit_at(buf, len, "-%llu", last);
		block = last;
		comma = ",";
	}
	return len;
}

/* What keeps the engine from being unloaded, for sysfs: a line for each region. */
ssize_t tagstorage_holders_show(char *buf)
{
	struct tagstorage_region *region;
	unsigned int i;
	int len = 0;

	mutex_lock(&tagstorage_lend_mutex);
	tagstorage_for_each_region(region, i) {
		long out = atomic_long_read(&region->out);
		u32 pages = region->geo.block_pages;

		if (!region->attached && !region->added && !out)
			continue;
		len += sysfs_emit_at(buf, len,
				     "region%u policy=%s lent=%ld draining=%llu added=%llu blocks=",
				     i, region->attached ?
				     tagstorage_policy_active()->ops.name : "-",
				     out * pages, count_draining(region) * pages,
				     region->added);
		/* No region takes more than its share of the page. */
		len = show_draining(region, buf, len, PAGE_SIZE * (i + 1) /
				    tagstorage_nr_regions);
		len += sysfs_emit_at(buf, len, "\n");
	}
	mutex_unlock(&tagstorage_lend_mutex);
	return len;
}
