// SPDX-License-Identifier: GPL-2.0
/*
 * Giving a page that is mapped tagged another place.
 *
 * The entry of a page without tag storage is inaccessible, and the fault on it is
 * the first place where one may sleep: tag_storage_fault() has the page prepared. If
 * its block can't be had, or it is a lent page itself, it comes here and is replaced
 * by a page for which all is right. Only if the page itself can't be moved (somebody
 * holds a reference) must the fault wait, and try again.
 */
#include <linux/gfp.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>

#include "engine.h"

atomic_long_t tagstorage_nr_replaced;
atomic_long_t tagstorage_nr_waited;

/* How long a fault sleeps before it tries again. */
#define FAULT_WAIT	max(HZ / 50, 1)

/* A page that the allocator doesn't offer, dressed as it would. */
static struct folio *place_folio(int nid, gfp_t gfp)
{
	struct page *page = tagstorage_place(nid, gfp);

	if (!page)
		return NULL;
	tagstorage_page_dress(page, gfp);
	return page_folio(page);
}

/*
 * A page that is no better than the old one is no target. A large folio for which
 * there is none is split by the migration, which comes back for its pages.
 */
static struct folio *replace_target(struct folio *src, unsigned long unused)
{
	gfp_t gfp = GFP_HIGHUSER_MOVABLE | __GFP_ZEROTAGS | __GFP_NOWARN;
	int nid = zone_to_nid(tagstorage_zone(&src->page));
	struct folio *dst;

	if (folio_test_large(src))
		gfp |= __GFP_COMP | __GFP_NORETRY;
	dst = __folio_alloc(gfp, folio_order(src), nid, NULL);
	if (!dst || tagstorage_is_prepared(&dst->page, folio_nr_pages(dst)))
		return dst;
	folio_put(dst);
	return folio_test_large(src) ? NULL : place_folio(nid, gfp);
}

/* Give all who map this folio another one. Takes over the caller's reference. */
static bool replace_folio(struct folio *folio)
{
	unsigned int moved = 0;
	LIST_HEAD(folios);

	if (!folio_test_lru(folio))
		lru_add_drain_all();
	if (!folio_isolate_lru(folio)) {
		folio_put(folio);
		return false;
	}
	list_add(&folio->lru, &folios);
	tagstorage_count_isolated(folio);
	folio_put(folio);

	migrate_pages(&folios, replace_target, NULL, 0, MIGRATE_SYNC,
		      MR_CONTIG_RANGE, &moved);
	if (!list_empty(&folios))
		putback_movable_pages(&folios);
	if (moved)
		atomic_long_inc(&tagstorage_nr_replaced);
	return moved;
}

/**
 * tagstorage_wait - tag_storage_ops.wait
 * @vmf: the fault; NULL if there is no lock to release
 *
 * Context: may sleep; mmap or VMA lock held for reading, released if possible.
 * Killable: the first try of a fault returns with the lock released, which is where
 * the architecture looks for a fatal signal.
 * Return: 0 or VM_FAULT_RETRY.
 */
vm_fault_t tagstorage_wait(struct vm_fault *vmf)
{
	vm_fault_t ret = 0;

	if (vmf && (vmf->flags & FAULT_FLAG_RETRY_NOWAIT))
		return VM_FAULT_RETRY;
	atomic_long_inc(&tagstorage_nr_waited);
	if (vmf && fault_flag_allow_retry_first(vmf->flags)) {
		release_fault_lock(vmf);
		ret = VM_FAULT_RETRY;
	}
	schedule_timeout_killable(FAULT_WAIT);
	return ret;
}

/**
 * tagstorage_replace - tag_storage_ops.replace
 * @vmf: the fault; NULL if the folio was read from swap, to be mapped or to become
 *	page cache, and could not be prepared for its tags
 * @folio: what is mapped there; the reference is taken over
 *
 * Context: may sleep; mmap or VMA lock held for reading.
 * Return: 0 (the access is repeated) or VM_FAULT_RETRY (the lock is released).
 */
vm_fault_t tagstorage_replace(struct vm_fault *vmf, struct folio *folio)
{
	return replace_folio(folio) ? 0 : tagstorage_wait(vmf);
}
