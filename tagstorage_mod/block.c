// SPDX-License-Identifier: GPL-2.0
/*
 * The state machine of a block, and the prepared pages that keep it reserved.
 *
 * A block is one 16-bit word: its state, and the number of prepared pages that it
 * covers plus pins of claims. Every change is one cmpxchg of that word, so two
 * CPUs that work on different blocks share nothing, and a block that is already
 * reserved costs one atomic operation.
 *
 * The count belongs to the bits: a covered page whose prepared bit is set owns
 * exactly one. Whoever sets a bit brings the count, whoever clears it takes the
 * count away; test-and-set decides among several. The order makes the invariant:
 *
 *	prepare:  get the count, then set the bit
 *	free:     clear the bit, then put the count
 *
 * so a set bit always has a reserved block behind it. The pages of a range that is
 * being prepared belong to the caller (allocated and referenced by it), hence
 * none of these bits is cleared meanwhile.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>

#include "engine.h"
#include "trace.h"

#define COUNT_BITS	12
#define COUNT_MASK	((1u << COUNT_BITS) - 1)

const char *const tagstorage_state_names[TAGSTORAGE_NR_STATES] = {
	[TAGSTORAGE_IDLE]	= "idle",
	[TAGSTORAGE_RESERVED]	= "reserved",
	[TAGSTORAGE_LENDING]	= "lending",
	[TAGSTORAGE_LENT]	= "lent",
	[TAGSTORAGE_CLAIMING]	= "claiming",
	[TAGSTORAGE_DRAINING]	= "draining",
};

/* Which states may follow which. */
static const u8 tagstorage_next[TAGSTORAGE_NR_STATES] = {
	[TAGSTORAGE_IDLE]	= BIT(TAGSTORAGE_RESERVED) |
				  BIT(TAGSTORAGE_LENDING),
	[TAGSTORAGE_RESERVED]	= BIT(TAGSTORAGE_RESERVED) |
				  BIT(TAGSTORAGE_IDLE),
	[TAGSTORAGE_LENDING]	= BIT(TAGSTORAGE_LENT) |
				  BIT(TAGSTORAGE_IDLE),
	[TAGSTORAGE_LENT]	= BIT(TAGSTORAGE_CLAIMING) |
				  BIT(TAGSTORAGE_DRAINING),
	[TAGSTORAGE_CLAIMING]	= BIT(TAGSTORAGE_RESERVED) |
				  BIT(TAGSTORAGE_LENT) |
				  BIT(TAGSTORAGE_DRAINING) |
				  BIT(TAGSTORAGE_IDLE),
	[TAGSTORAGE_DRAINING]	= BIT(TAGSTORAGE_CLAIMING),
};

static u16 word(enum tagstorage_state state, unsigned int count)
{
	return state << COUNT_BITS | count;
}

static enum tagstorage_state word_state(u16 word)
{
	return word >> COUNT_BITS;
}

static unsigned int word_count(u16 word)
{
	return word & COUNT_MASK;
}

enum tagstorage_state tagstorage_block_state(const struct tagstorage_region *r,
					     u64 block)
{
	return word_state(READ_ONCE(r->blocks[block]));
}

unsigned int tagstorage_block_count(const struct tagstorage_region *region,
				    u64 block)
{
	return word_count(READ_ONCE(region->blocks[block]));
}

bool tagstorage_block_is_out(const struct tagstorage_region *region, u64 block)
{
	switch (tagstorage_block_state(region, block)) {
	case TAGSTORAGE_LENT:
	case TAGSTORAGE_CLAIMING:
	case TAGSTORAGE_DRAINING:
		return true;
	default:
		return false;
	}
}
EXPORT_SYMBOL_NS_GPL(tagstorage_block_is_out, TAGSTORAGE);

static void count_up(atomic_long_t *now, atomic_long_t *max)
{
	long n = atomic_long_inc_return(now);
	long m = atomic_long_read(max);

	while (n > m && !atomic_long_try_cmpxchg(max, &m, n))
		;
}

/*
 * The one place where a block changes; counters and events follow. May be called
 * under zone->lock, so waiters are woken by those who end CLAIMING or LENDING.
 */
static bool block_set(struct tagstorage_region *region, u64 block, u16 old,
		      u16 new)
{
	enum tagstorage_state from = word_state(old), to = word_state(new);

	if (WARN_ON_ONCE(!(tagstorage_next[from] & BIT(to))))
		return false;
	if (cmpxchg(&region->blocks[block], old, new) != old)
		return false;
	if (likely(from == to))
		return true;

	if (to == TAGSTORAGE_RESERVED) {
		count_up(&region->reserved, &region->reserved_max);
		trace_tagstorage_reserve(region->index, block);
	} else if (from == TAGSTORAGE_RESERVED) {
		atomic_long_dec(&region->reserved);
		trace_tagstorage_release(region->index, block);
	}
	if (to == TAGSTORAGE_LENT && from == TAGSTORAGE_LENDING)
		count_up(&region->out, &region->out_max);
	else if (from == TAGSTORAGE_CLAIMING &&
		 (to == TAGSTORAGE_RESERVED || to == TAGSTORAGE_IDLE))
		atomic_long_dec(&region->out);
	if (to == TAGSTORAGE_IDLE) {
		set_bit(block, region->idle);
		tagstorage_lend_kick();
	}
	return true;
}

/**
 * tagstorage_block_change - change the state of a block that nobody counts on
 * @region: the region
 * @block: the block
 * @from: the state it is thought to be in
 * @to: the state it is to be in; RESERVED comes with a count of one, the
 *	caller's pin, which tagstorage_block_put() gives back
 *
 * Context: any.
 * Return: false if it was in another state.
 */
bool tagstorage_block_change(struct tagstorage_region *region, u64 block,
			     enum tagstorage_state from,
			     enum tagstorage_state to)
{
	return block_set(region, block, word(from, 0),
			 word(to, to == TAGSTORAGE_RESERVED));
}

/**
 * tagstorage_block_get - count @nr more pages whose tags the block must hold
 * @region: the region
 * @block: the block
 * @nr: how many
 *
 * Context: any.
 * Return: 0, or -EAGAIN if the block is out or in transition (or, which takes a
 * crowd preparing the same pages, if the count is full).
 */
int tagstorage_block_get(struct tagstorage_region *region, u64 block,
			 unsigned int nr)
{
	for (;;) {
		u16 old = READ_ONCE(region->blocks[block]);
		enum tagstorage_state state = word_state(old);

		if (state != TAGSTORAGE_RESERVED && state != TAGSTORAGE_IDLE)
			return -EAGAIN;
		if (word_count(old) + nr > COUNT_MASK)
			return -EAGAIN;
		if (block_set(region, block, old,
			      word(TAGSTORAGE_RESERVED, word_count(old) + nr)))
			return 0;
	}
}

/**
 * tagstorage_block_put - count @nr pages less; with the last one, the block is idle
 * @region: the region
 * @block: the block
 * @nr: how many
 *
 * Context: any, hard interrupts included.
 */
void tagstorage_block_put(struct tagstorage_region *region, u64 block,
			  unsigned int nr)
{
	for (;;) {
		u16 old = READ_ONCE(region->blocks[block]);
		unsigned int count = word_count(old);

		if (WARN_ON_ONCE(word_state(old) != TAGSTORAGE_RESERVED ||
				 count < nr))
			return;
		count -= nr;
		if (block_set(region, block, old,
			      word(count ? TAGSTORAGE_RESERVED :
					   TAGSTORAGE_IDLE, count)))
			return;
	}
}

/**
 * tagstorage_prepare_run - prepare pages that one block covers
 * @region: the region that covers them
 * @pfn: the first page
 * @nr: how many
 *
 * Context: any. The pages are allocated and the caller's.
 * Return: as tagstorage_block_get().
 */
int tagstorage_prepare_run(struct tagstorage_region *region, u64 pfn,
			   unsigned int nr)
{
	u64 block = tagstorage_block_of_data(&region->geo, pfn);
	unsigned long bit = pfn - region->geo.data_pfn;
	unsigned long end = bit + nr;
	unsigned int need = 0;
	unsigned int set = 0;
	unsigned long i;
	int ret;

	for (i = bit; i < end; i++)
		need += !test_bit(i, region->prepared);
	if (!need)
		return 0;
	ret = tagstorage_block_get(region, block, need);
	if (ret)
		return ret;
	for (i = bit; i < end; i++)
		set += !test_and_set_bit(i, region->prepared);
	tagstorage_count(region, tagged, set);
	if (set < need)
		tagstorage_block_put(region, block, need - set);
	return 0;
}

/**
 * tagstorage_is_prepared - tag_storage_ops.prepared
 * @page: the first page
 * @nr: how many
 *
 * Memory that no region covers has its tags where nothing is lent.
 */
bool tagstorage_is_prepared(struct page *page, unsigned int nr)
{
	u64 pfn = page_to_pfn(page);

	for (; nr; nr--, pfn++) {
		struct tagstorage_region *region =
			tagstorage_region_of_data(pfn);

		if (likely(region)) {
			if (!test_bit(pfn - region->geo.data_pfn,
				      region->prepared))
				return false;
		} else if (tagstorage_region_of_storage(pfn)) {
			return false;
		}
	}
	return true;
}

static void unprepare_run(struct tagstorage_region *region, u64 pfn,
			  unsigned int nr)
{
	u64 block = tagstorage_block_of_data(&region->geo, pfn);
	unsigned long bit = pfn - region->geo.data_pfn;
	unsigned long end = bit + nr;
	unsigned int cleared = 0;

	for (bit = find_next_bit(region->prepared, end, bit); bit < end;
	     bit = find_next_bit(region->prepared, end, bit + 1))
		cleared += test_and_clear_bit(bit, region->prepared);
	if (!cleared)
		return;
	tagstorage_count(region, tagged, -(long)cleared);
	tagstorage_block_put(region, block, cleared);
}

/**
 * tagstorage_freed - tag_storage_ops.freed
 * @page: the first page
 * @nr: how many
 *
 * Context: any, hard interrupts included: no cache maintenance here, that comes
 * when the block is lent.
 */
void tagstorage_freed(struct page *page, unsigned int nr)
{
	u64 pfn = page_to_pfn(page);

	while (nr) {
		struct tagstorage_region *region =
			tagstorage_region_of_data(pfn);
		unsigned int run = 1;

		if (likely(region)) {
			run = tagstorage_run_in_span(&region->geo, pfn, nr);
			unprepare_run(region, pfn, run);
		}
		pfn += run;
		nr -= run;
	}
}
