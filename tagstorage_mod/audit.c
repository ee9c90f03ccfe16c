// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/tagstorage/audit: is everything as the invariants say?
 *
 * Reading it walks every page that a region covers and every block, and compares
 * the prepared bits, the page flags, the counts and the states. It reads each
 * page's own flags; /proc/kpageflags shows those of the head for every page of a
 * large folio. The machine goes on meanwhile, so what looks wrong is looked at
 * again for a while before it is reported. The last line is `audit: clean` or
 * `audit: N violations`.
 */
#include <linux/debugfs.h>
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/seq_file.h>
#include <asm/mte.h>

#include "engine.h"

/* Looks at a block that seems wrong, a millisecond apart. */
#define AUDIT_LOOKS	50
/* Violations that are spelled out; the rest is counted. */
#define AUDIT_LINES	20

static struct dentry *audit_dir;

/**
 * struct audit_sums - what one region adds up to
 * @tagged: covered pages that are tagged, or locked for tagging
 * @prepared: covered pages whose bit is set
 * @blocks: blocks by state
 * @wrong: violations
 */
struct audit_sums {
	unsigned long tagged;
	unsigned long prepared;
	unsigned long blocks[TAGSTORAGE_NR_STATES];
	unsigned long wrong;
};

static bool is_tagged(struct page *page)
{
	return READ_ONCE(page->flags) &
	       (BIT(PG_mte_tagged) | BIT(PG_mte_lock));
}

/* Is this the storage of a block that is not lent: as it was at boot? */
static const char *check_static_page(struct page *page)
{
	if (!PageReserved(page))
		return "a page of a block that is not lent is not reserved";
	if (page_count(page) != 1 || PageBuddy(page) || PageLRU(page))
		return "a page of a block that is not lent is in use";
	return NULL;
}

static const char *check_pages(struct tagstorage_region *region, u64 block,
			       enum tagstorage_state state)
{
	u64 pfn = tagstorage_block_pfn(&region->geo, block);
	const char *why = NULL;
	u32 i;

	for (i = 0; i < region->geo.block_pages && !why; i++) {
		struct page *page = pfn_to_page(pfn + i);

		if (is_tagged(page))
			why = "a page of tag storage is tagged";
		else if (state == TAGSTORAGE_IDLE ||
			 state == TAGSTORAGE_RESERVED)
			why = check_static_page(page);
		else if (state == TAGSTORAGE_LENT && PageReserved(page))
			why = "a page of a lent block is reserved";
	}
	return why;
}

static const char *check_storage(struct tagstorage_region *region, u64 block,
				 enum tagstorage_state state)
{
	const char *why;

	if (!tagstorage_pages_get(region))
		return tagstorage_block_is_out(region, block) ?
		       "a block is lent of storage that is not there" : NULL;
	why = check_pages(region, block, state);
	tagstorage_pages_put();
	return why;
}

/* Look at a block once. NULL, or what seems wrong with it. */
static const char *check_block(struct tagstorage_region *region, u64 block,
			       struct audit_sums *sums)
{
	enum tagstorage_state state = tagstorage_block_state(region, block);
	unsigned int count = tagstorage_block_count(region, block);
	u64 pfn = tagstorage_span_pfn(&region->geo, block);
	u64 bit = pfn - region->geo.data_pfn;
	unsigned int prepared = 0, tagged = 0;
	bool naked = false;
	u32 i;

	for (i = 0; i < region->geo.span_pages; i++) {
		bool has = test_bit(bit + i, region->prepared);
		bool tags = is_tagged(pfn_to_page(pfn + i));

		prepared += has;
		tagged += tags;
		naked |= tags && !has;
	}
	sums->prepared += prepared;
	sums->tagged += tagged;
	sums->blocks[state]++;
	if (naked)
		return "a page is tagged and not prepared";
	if (prepared && state != TAGSTORAGE_RESERVED)
		return "a page is prepared and the block is not reserved";
	if (prepared != count)
		return "the count is not the number of prepared pages";
	if (!count && state == TAGSTORAGE_RESERVED)
		return "the block is reserved for nothing";
	return check_storage(region, block, state);
}

static void audit_block(struct seq_file *m, struct tagstorage_region *region,
			u64 block, struct audit_sums *sums)
{
	struct audit_sums before = *sums;
	const char *why;
	int look;

	for (look = 0; look < AUDIT_LOOKS; look++) {
		*sums = before;
		why = check_block(region, block, sums);
		if (!why)
			return;
		usleep_range(1000, 2000);
	}
	if (sums->wrong++ < AUDIT_LINES)
		seq_printf(m, "region %u block %llu (%s, count %u): %s\n",
			   region->index, block,
			   tagstorage_state_names[tagstorage_block_state(region, block)],
			   tagstorage_block_count(region, block), why);
}

/**
 * struct audit_drift - a number that is kept, less what is counted, over many looks
 * @low: at least, in any look
 * @high: at most, in any look
 *
 * Both change while blocks are counted, so one look proves nothing. It is wrong if it is
 * always too much, or always too little, whether it is read before the count or after it.
 */
struct audit_drift {
	long low;
	long high;
};

static bool drifts(struct audit_drift *drift, long counted, long before,
		   long after)
{
	drift->low = min(drift->low, min(before, after) - counted);
	drift->high = max(drift->high, max(before, after) - counted);
	return drift->low > 0 || drift->high < 0;
}

/*
 * The counters that are kept must agree with what is counted now. What is prepared has no
 * counter besides the blocks' own.
 */
static const char *check_sums(struct tagstorage_region *region,
			      struct audit_drift *reserved,
			      struct audit_drift *out)
{
	long was_reserved = atomic_long_read(&region->reserved);
	long was_out = atomic_long_read(&region->out);
	long blocks[TAGSTORAGE_NR_STATES] = {};
	u64 block;

	for (block = 0; block < region->geo.nr_blocks; block++)
		blocks[tagstorage_block_state(region, block)]++;
	if (drifts(reserved, blocks[TAGSTORAGE_RESERVED], was_reserved,
		   atomic_long_read(&region->reserved)))
		return "reserved_pages is not what is reserved";
	if (drifts(out, blocks[TAGSTORAGE_LENT] + blocks[TAGSTORAGE_CLAIMING] +
		   blocks[TAGSTORAGE_DRAINING], was_out,
		   atomic_long_read(&region->out)))
		return "lent_pages is not what is lent";
	return NULL;
}

static unsigned long audit_region(struct seq_file *m,
				  struct tagstorage_region *region)
{
	struct audit_drift reserved = { LONG_MAX, LONG_MIN };
	struct audit_drift out = { LONG_MAX, LONG_MIN };
	struct audit_sums sums = {};
	const char *why;
	u64 block;
	int i;

	for (block = 0; block < region->geo.nr_blocks; block++) {
		audit_block(m, region, block, &sums);
		cond_resched();
	}
	seq_printf(m, "region %u: prepared %lu tagged %lu", region->index,
		   sums.prepared, sums.tagged);
	for (i = 0; i < TAGSTORAGE_NR_STATES; i++)
		seq_printf(m, " %s %lu", tagstorage_state_names[i],
			   sums.blocks[i]);
	seq_putc(m, '\n');

	for (i = 0; i < AUDIT_LOOKS; i++) {
		why = check_sums(region, &reserved, &out);
		if (!why)
			return sums.wrong;
		usleep_range(1000, 2000);
	}
	seq_printf(m, "region %u: %s\n", region->index, why);
	return sums.wrong + 1;
}

static int audit_show(struct seq_file *m, void *unused)
{
	struct tagstorage_region *region;
	unsigned long wrong = 0;
	unsigned int i;

	tagstorage_for_each_region(region, i)
		wrong += audit_region(m, region);
	if (wrong)
		seq_printf(m, "audit: %lu violations\n", wrong);
	else
		seq_puts(m, "audit: clean\n");
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(audit);

void tagstorage_audit_init(void)
{
	audit_dir = debugfs_create_dir("tagstorage", NULL);
	debugfs_create_file("audit", 0400, audit_dir, NULL, &audit_fops);
}

void tagstorage_audit_exit(void)
{
	debugfs_remove(audit_dir);
}
