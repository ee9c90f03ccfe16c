// SPDX-License-Identifier: GPL-2.0
/*
 * Lent pages that are kept off the free lists.
 *
 * The page allocator's lists can't tell tag storage from other memory. A policy that
 * sets `keeps` has the free pages of what it lends kept here instead, and handed
 * out to lendable requests, one by one, when the policy says so. A page comes here
 * like any page that is freed, through tag_storage_ops.capture, just before it
 * would be put on a free list, and leaves like one that was taken off it.
 *
 * Kept pages are managed, but do not count as free: MemFree and the watermarks
 * are about what everybody may have.
 *
 * Which pages are kept says a map with a bit for each, and nothing else, so there is no
 * lock that CPUs that claim different blocks would share: whoever clears the bit of a page
 * has it. Bits are set under zone->lock only, so who holds that lock, and finds a page
 * neither here nor on the free lists, knows that it is in use. Who hands out holds none,
 * and takes the page that was freed last, or the next one behind it.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>

#include "engine.h"

static unsigned long kept_bit(const struct tagstorage_region *region,
			      const struct page *page)
{
	return page_to_pfn(page) - region->geo.storage_pfn;
}

/**
 * tagstorage_kept_add - keep a page that has become free
 * @region: the region
 * @page: of a block in state LENT or LENDING, as it would enter the free lists
 *
 * Context: region->zone->lock held.
 * Return: false if the region's policy does not keep pages.
 */
bool tagstorage_kept_add(struct tagstorage_region *region, struct page *page)
{
	unsigned long bit = kept_bit(region, page);

	if (!READ_ONCE(region->keeping))
		return false;
	atomic_long_inc(&region->nr_kept);
	WRITE_ONCE(region->kept_next, bit);
	/* What was done to the page, and the count, before somebody takes it. */
	smp_mb__before_atomic();
	set_bit(bit, region->kept);
	return true;
}

/**
 * tagstorage_kept_take - take certain pages
 * @region: the region
 * @page: the first page, of its storage
 * @nr: how many
 *
 * Context: region->zone->lock held.
 * Return: how many, from the first one on, were kept, as far as the first that was not.
 * They are as tag_storage_take_free() leaves pages.
 */
unsigned int tagstorage_kept_take(struct tagstorage_region *region,
				  struct page *page, unsigned int nr)
{
	unsigned long bit = kept_bit(region, page);
	unsigned int i = 0;

	/* Nothing is added without zone->lock. */
	if (!atomic_long_read(&region->nr_kept))
		return 0;
	while (i < nr && test_and_clear_bit(bit + i, region->kept))
		i++;
	if (i)
		atomic_long_sub(i, &region->nr_kept);
	return i;
}

/* The next bit that is set, from this one on and then from the start; @nr: none is. */
static unsigned long next_kept(const struct tagstorage_region *region,
			       unsigned long nr, unsigned long bit)
{
	unsigned long next = tagstorage_next_bit(region->kept, nr, bit);

	return next < nr ? next : tagstorage_next_bit(region->kept, nr, 0);
}

/* A page with a memory error is nobody's any more. */
static struct page *kept_pop(struct tagstorage_region *region)
{
	unsigned long nr = tagstorage_storage_pages(&region->geo);
	unsigned long bit = READ_ONCE(region->kept_next);
	struct page *page;

	for (;;) {
		bit = next_kept(region, nr, bit);
		if (bit >= nr)
			return NULL;
		if (!test_and_clear_bit(bit, region->kept))
			continue;
		atomic_long_dec(&region->nr_kept);
		page = pfn_to_page(region->geo.storage_pfn + bit);
		if (!PageHWPoison(page))
			break;
	}
	WRITE_ONCE(region->kept_next, bit);
	return page;
}

/**
 * tagstorage_hand_out - tag_storage_ops.lend
 * @zone: where the page should be
 *
 * Of several regions in the zone, the first whose policy says yes.
 *
 * Context: any; rcu_read_lock(), which keeps the policy's callback.
 * Return: a page as it comes off the free lists, or NULL.
 */
struct page *tagstorage_hand_out(struct zone *zone)
{
	struct tagstorage_region *region;
	struct page *page;
	unsigned int i;

	tagstorage_for_each_region(region, i) {
		struct tagstorage_choice *keeper = READ_ONCE(region->keeper);

		if (READ_ONCE(region->zone) != zone || !keeper ||
		    !atomic_long_read(&region->nr_kept) ||
		    !tagstorage_call_hand_out(keeper, region, zone))
			continue;
		page = kept_pop(region);
		if (page)
			return page;
	}
	return NULL;
}

/**
 * tagstorage_kept_begin - the policy of a region keeps pages
 * @region: the region; nothing of it is lent
 * @policy: its policy
 */
void tagstorage_kept_begin(struct tagstorage_region *region,
			   struct tagstorage_choice *policy)
{
	lockdep_assert_held(&tagstorage_lend_mutex);
	WRITE_ONCE(region->keeping, true);
	WRITE_ONCE(region->keeper, policy);
	tag_storage_kept_begin();
	if (policy->first)
		tag_storage_first_begin();
}

/**
 * tagstorage_kept_first - a policy has changed @first
 * @policy: any; only the active one keeps pages
 */
void tagstorage_kept_first(const struct tagstorage_choice *policy)
{
	struct tagstorage_region *region;
	unsigned int i;

	lockdep_assert_held(&tagstorage_lend_mutex);
	tagstorage_for_each_region(region, i) {
		if (region->keeper != policy)
			continue;
		if (policy->first)
			tag_storage_first_begin();
		else
			tag_storage_first_end();
		return;
	}
}

/**
 * tagstorage_kept_stop - hand nothing out any more
 * @region: the region
 *
 * When this returns for the last of the policy's regions, its callback does not run
 * and will not. Pages that are freed are kept until they are drained.
 */
void tagstorage_kept_stop(struct tagstorage_region *region)
{
	const struct tagstorage_choice *policy = region->keeper;
	struct tagstorage_region *other;
	unsigned int i;

	lockdep_assert_held(&tagstorage_lend_mutex);
	WRITE_ONCE(region->keeper, NULL);
	tagstorage_for_each_region(other, i)
		if (other->keeper)
			return;
	if (policy->first)
		tag_storage_first_end();
	tag_storage_kept_end();
}

/**
 * tagstorage_kept_end - keep nothing any more
 * @region: the region; no block of it is LENT
 */
void tagstorage_kept_end(struct tagstorage_region *region)
{
	lockdep_assert_held(&tagstorage_lend_mutex);
	WARN_ON_ONCE(atomic_long_read(&region->nr_kept));
	WRITE_ONCE(region->keeping, false);
}
