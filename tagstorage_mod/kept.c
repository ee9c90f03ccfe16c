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
 */
#include <linux/bitmap.h>
#include <linux/list.h>
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
	if (!READ_ONCE(region->keeping))
		return false;
	spin_lock(&region->kept_lock);
	__set_bit(kept_bit(region, page), region->kept);
	list_add(&page->lru, &region->kept_pages);
	WRITE_ONCE(region->nr_kept, region->nr_kept + 1);
	spin_unlock(&region->kept_lock);
	return true;
}

static void kept_del(struct tagstorage_region *region, struct page *page)
{
	lockdep_assert_held(&region->kept_lock);
	__clear_bit(kept_bit(region, page), region->kept);
	list_del(&page->lru);
	WRITE_ONCE(region->nr_kept, region->nr_kept - 1);
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
	unsigned int i;

	/* Nothing is added without zone->lock. */
	if (!READ_ONCE(region->nr_kept))
		return 0;
	spin_lock(&region->kept_lock);
	for (i = 0; i < nr; i++) {
		if (!test_bit(kept_bit(region, page + i), region->kept))
			break;
		kept_del(region, page + i);
	}
	spin_unlock(&region->kept_lock);
	return i;
}

/* A page with a memory error is nobody's any more. */
static struct page *kept_pop(struct tagstorage_region *region)
{
	struct page *page;
	unsigned long flags;

	spin_lock_irqsave(&region->kept_lock, flags);
	do {
		page = list_first_entry_or_null(&region->kept_pages,
						struct page, lru);
		if (page)
			kept_del(region, page);
	} while (page && PageHWPoison(page));
	spin_unlock_irqrestore(&region->kept_lock, flags);
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
		    !READ_ONCE(region->nr_kept) ||
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
	WARN_ON_ONCE(region->nr_kept);
	WRITE_ONCE(region->keeping, false);
}
