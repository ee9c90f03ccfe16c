// SPDX-License-Identifier: GPL-2.0
/*
 * The state machine of a block, and the prepared pages that keep it reserved.
 *
 * A block is one 16-bit word: its state, and the number of prepared pages that it
 * covers plus pins of claims. Every change is one cmpxchg of that word, so two
 * CPUs that work on different blocks share nothing, and a page whose block is already
 * reserved costs two atomic operations: this one, and that on its bit.
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
#include <linux/error-injection.h>
#include <linux/mm.h>

#include "engine.h"
#include "trace.h"

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
	[TAGSTORAGE_RESERVED]	= BIT(TAGSTORAGE_IDLE),
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
	return state << TAGSTORAGE_COUNT_BITS | count;
}

static enum tagstorage_state word_state(u16 word)
{
	return word >> TAGSTORAGE_COUNT_BITS;
}

static unsigned int word_count(u16 word)
{
	return word & TAGSTORAGE_COUNT_MASK;
}

enum tagstorage_state tagstorage_block_state(const struct tagstorage_region *r,
					     u64 block)
{
	return word_state(READ_ONCE(r->blocks[block]));
}

/* How many pages of the region are prepared (and blocks pinned, for a moment)? */
unsigned long tagstorage_tagged(const struct tagstorage_region *region)
{
	unsigned long count = 0;
	u64 block;

	for (block = 0; block < region->geo.nr_blocks; block++)
		count += tagstorage_block_count(region, block);
	return count;
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

/* The state of a block has changed: counters and events follow. */
static noinline void block_changed(struct tagstorage_region *region, u64 block,
				   enum tagstorage_state from,
				   enum tagstorage_state to)
{
	if (to == TAGSTORAGE_RESERVED) {
		count_up(&region->reserved, &region->reserved_max);
		trace_tagstorage_reserve(region->index, block);
		tagstorage_repack_kick();
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
		clear_bit(block, region->waited);
		set_bit(block, region->idle);
		tagstorage_lend_kick();
	}
}

/*
 * The one place where a block changes, but for one more page in
 * tagstorage_prepare_page(). May be called under zone->lock, so waiters are woken by
 * those who end CLAIMING or LENDING.
 */
static __always_inline bool block_set(struct tagstorage_region *region,
				      u64 block, u16 old, u16 new)
{
	enum tagstorage_state from = word_state(old), to = word_state(new);

	/* Only of a reserved block does the count alone change. */
	if (from != to && WARN_ON_ONCE(!(tagstorage_next[from] & BIT(to))))
		return false;
	if (cmpxchg(&region->blocks[block], old, new) != old)
		return false;
	if (from != to)
		block_changed(region, block, from, to);
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
		if (word_count(old) + nr > TAGSTORAGE_COUNT_MASK)
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
					   TAGSTORAGE_IDLE, count))) {
			if (count)
				tagstorage_hole(region, block);
			return;
		}
	}
}

/*
 * The prepared bits of a range are looked at and changed a word at a time. Which of
 * [@bit, @end) are in the word of @bit?
 */
static unsigned long word_mask(unsigned long bit, unsigned long end)
{
	unsigned long first = bit % BITS_PER_LONG;

	return GENMASK(min(first + end - bit, BITS_PER_LONG) - 1, first);
}

static unsigned long next_word(unsigned long bit)
{
	return (bit | (BITS_PER_LONG - 1)) + 1;
}

/* hweight_long() is no instruction; mostly it is one bit, or none. */
static unsigned int weight(unsigned long bits)
{
	return likely(!(bits & (bits - 1))) ? !!bits : hweight_long(bits);
}

static unsigned int count_clear(const unsigned long *map, unsigned long bit,
				unsigned long end)
{
	unsigned int count = 0;

	for (; bit < end; bit = next_word(bit))
		count += weight(word_mask(bit, end) &
				~READ_ONCE(map[BIT_WORD(bit)]));
	return count;
}

/* Returns how many were clear. */
static unsigned int set_range(unsigned long *map, unsigned long bit,
			      unsigned long end)
{
	unsigned int count = 0;

	for (; bit < end; bit = next_word(bit)) {
		unsigned long mask = word_mask(bit, end);

		count += weight(mask & ~atomic_long_fetch_or(mask,
				(atomic_long_t *)&map[BIT_WORD(bit)]));
	}
	return count;
}

/* Returns how many were set. */
static unsigned int clear_range(unsigned long *map, unsigned long bit,
				unsigned long end)
{
	unsigned int count = 0;

	for (; bit < end; bit = next_word(bit)) {
		unsigned long mask = word_mask(bit, end);

		if (READ_ONCE(map[BIT_WORD(bit)]) & mask)
			count += weight(mask & atomic_long_fetch_andnot(mask,
					(atomic_long_t *)&map[BIT_WORD(bit)]));
	}
	return count;
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
	unsigned int need = count_clear(region->prepared, bit, end);
	unsigned int set;
	int ret;

	if (!need)
		return 0;
	ret = tagstorage_block_get(region, block, need);
	if (ret)
		return ret;
	set = set_range(region->prepared, bit, end);
	if (set < need)
		tagstorage_block_put(region, block, need - set);
	return 0;
}
ALLOW_ERROR_INJECTION(tagstorage_prepare_run, ERRNO);

/**
 * tagstorage_prepare_claimed - a claimed block holds tags from now on
 * @region: the region
 * @pfn: the first page whose tags it holds; its block is the caller's, and CLAIMING
 * @nr: how many pages there are, all covered by that block
 *
 * None of them is prepared while the block is claimed, and each brings a count. Who
 * prepares the same pages as soon as the block is reserved has one as well.
 *
 * Context: any. The pages are allocated and the caller's.
 */
void tagstorage_prepare_claimed(struct tagstorage_region *region, u64 pfn,
				unsigned int nr)
{
	u64 block = tagstorage_block_of_data(&region->geo, pfn);
	unsigned long bit = pfn - region->geo.data_pfn;
	unsigned int set;

	if (WARN_ON_ONCE(!block_set(region, block, word(TAGSTORAGE_CLAIMING, 0),
				    word(TAGSTORAGE_RESERVED, nr))))
		return;
	set = set_range(region->prepared, bit, bit + nr);
	if (unlikely(set < nr))
		tagstorage_block_put(region, block, nr - set);
	/* Not of a single page: pack.c, which asks for most of these, takes what is free itself. */
	if (nr > 1 && nr < region->geo.span_pages)
		tagstorage_hole(region, block);
}

/**
 * tagstorage_prepare_chunk - prepare some pages of a chunk
 * @region: the region
 * @chunk: the chunk
 * @pages: a bit for each page; none of them is prepared, all are the caller's
 *
 * Context: any.
 * Return: as tagstorage_block_get().
 */
int tagstorage_prepare_chunk(struct tagstorage_region *region, u64 chunk,
			     u32 pages)
{
	unsigned long bit = chunk * TAGSTORAGE_CHUNK;
	int ret = tagstorage_block_get(region,
				       tagstorage_chunk_block(region, chunk),
				       hweight32(pages));

	if (!ret)
		atomic_long_or((unsigned long)pages << bit % BITS_PER_LONG,
			       (atomic_long_t *)&region->prepared[BIT_WORD(bit)]);
	return ret;
}
ALLOW_ERROR_INJECTION(tagstorage_prepare_chunk, ERRNO);

/**
 * tagstorage_is_prepared - tag_storage_ops.prepared
 * @page: the first page
 * @nr: how many
 *
 * Memory that no region covers has its tags where nothing is lent.
 */
bool tagstorage_is_prepared(struct page *page, unsigned int nr)
{
	u64 pfn = page_to_pfn(page), end = pfn + nr;

	if (likely(nr == 1 && tagstorage_page_is_prepared(pfn)))
		return true;
	while (pfn < end) {
		struct tagstorage_region *region =
			tagstorage_region_of_data(pfn);
		u64 stop = pfn + 1;

		if (likely(region)) {
			u64 first = region->geo.data_pfn;

			stop = min(end, first + tagstorage_data_pages(&region->geo));
			if (count_clear(region->prepared, pfn - first,
					stop - first))
				return false;
		} else if (tagstorage_region_of_storage(pfn)) {
			return false;
		}
		pfn = stop;
	}
	return true;
}

static void unprepare_run(struct tagstorage_region *region, u64 pfn,
			  unsigned int nr)
{
	u64 block = tagstorage_block_of_data(&region->geo, pfn);
	unsigned long bit = pfn - region->geo.data_pfn;
	unsigned int cleared = clear_range(region->prepared, bit, bit + nr);

	if (!cleared)
		return;
	tagstorage_block_put(region, block, cleared);
}

/* As unprepare_run(), of one page. */
static __always_inline void unprepare_page(struct tagstorage_region *region,
					   u64 pfn)
{
	unsigned long bit = pfn - region->geo.data_pfn;

	if (test_bit(bit, region->prepared) &&
	    test_and_clear_bit(bit, region->prepared))
		tagstorage_block_put(region,
				     tagstorage_block_of_data(&region->geo, pfn),
				     1);
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

		if (likely(region && nr == 1)) {
			unprepare_page(region, pfn);
		} else if (region) {
			run = tagstorage_run_in_span(&region->geo, pfn, nr);
			unprepare_run(region, pfn, run);
		}
		pfn += run;
		nr -= run;
	}
}
