// SPDX-License-Identifier: GPL-2.0
/*
 * Policy `metadata`: idle tag storage is on free lists of its own.
 *
 * Idea. The first public series (A. Elisei, August 2023) gave tag storage a
 * migratetype of its own, MIGRATE_METADATA, so that the allocator could tell it
 * from everything else; it was dropped because a new migratetype touches every loop
 * over migratetypes. This policy has what was good about it without that: the
 * engine keeps free pages of tag storage on lists of its own, and serves lendable
 * requests (untagged order-0 anonymous memory) from there.
 *
 * What is good about it. Nothing else can ever get a page of tag storage, and nothing
 * else changes: a machine with a CMA area goes on using it for page cache, tagged
 * pages and all that is movable, which policy `cma` bars. When tag storage is used
 * is this policy's decision alone (parameter `order`):
 *
 *	first	before ordinary memory. Ordinary memory stays free for those who can
 *		use nothing else; but whoever needs tags finds storage in use sooner.
 *	near	when a zone's free ordinary memory has come down to the high
 *		watermark, where kswapd would stop: the default, as policy `cma`. But
 *		what is free of another CMA area may be used up before.
 *	last	when it has come down to the low watermark, where kswapd begins: storage
 *		stays free for longest, so most claims are cheap; but page cache is
 *		reclaimed sooner.
 *
 * When it is bad. Kept pages don't count as free: MemFree, MemAvailable and the
 * watermarks don't know them (free_pages of the region does), so an observer sees
 * MemTotal grow and nothing else until the pages are used, and page cache is reclaimed
 * while storage is still free if those who ask for memory can't use storage.
 * Each page that is handed out or freed takes the region's one lock, instead of a
 * per-CPU list. Whole pageblocks only, as with `cma`, because the type of the
 * pageblock is what keeps freed pages off the per-CPU lists; for the same reason all
 * other CMA memory bypasses them, too.
 *
 * Production ready? It has the same tests as `cma`.
 */
#define pr_fmt(fmt) "tagstorage_metadata: " fmt

#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>

#include "pageblocks.h"

/* In the order of the names. */
enum metadata_order {
	METADATA_FIRST,
	METADATA_NEAR,
	METADATA_LAST,
};

static const char *const metadata_names[] = {
	[METADATA_FIRST]	= "first",
	[METADATA_NEAR]		= "near",
	[METADATA_LAST]		= "last",
};

static enum metadata_order metadata_order = METADATA_NEAR;
static const struct tagstorage_policy metadata_policy;

static int order_set(const char *value, const struct kernel_param *param)
{
	int i = sysfs_match_string(metadata_names, value);

	if (i < 0) {
		pr_err("order can't be %s: first, near or last\n", value);
		return i;
	}
	WRITE_ONCE(metadata_order, i);
	tagstorage_policy_first(&metadata_policy, i == METADATA_FIRST);
	return 0;
}

static int order_get(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%s\n",
			  metadata_names[READ_ONCE(metadata_order)]);
}

static const struct kernel_param_ops order_ops = {
	.set = order_set,
	.get = order_get,
};

module_param_cb(order, &order_ops, NULL, 0644);
__MODULE_PARM_TYPE(order, "charp");
MODULE_PARM_DESC(order, "when tag storage is used: first, near (the default) or last");

/*
 * Free memory of the zone that is neither CMA memory nor kept for others: what the watermarks
 * are compared with for those who may be handed out storage.
 */
static unsigned long ordinary_free(struct zone *zone)
{
	unsigned long free = zone_page_state(zone, NR_FREE_PAGES);
	unsigned long others = zone_page_state(zone, NR_FREE_CMA_PAGES) +
			       READ_ONCE(zone->nr_free_highatomic) +
			       /* It changes as the memory of the node does. */
			       data_race(zone->lowmem_reserve[ZONE_MOVABLE]);

	return free - min(others, free);
}

static bool metadata_hand_out(struct tagstorage_region *region,
			      struct zone *zone)
{
	switch (READ_ONCE(metadata_order)) {
	case METADATA_FIRST:
		return true;
	case METADATA_NEAR:
		/* The watermarks' boost changes at any time, and so may the answer. */
		return ordinary_free(zone) <= data_race(high_wmark_pages(zone));
	default:
		/* as above */
		return ordinary_free(zone) <= data_race(low_wmark_pages(zone));
	}
}

static void metadata_give(struct tagstorage_region *region, struct page *page)
{
	free_reserved_page(page);
}

static int metadata_attach(struct tagstorage_region *region)
{
	pageblocks_mark(region, true);
	return 0;
}

static void metadata_detach(struct tagstorage_region *region)
{
	pageblocks_mark(region, false);
}

static const struct tagstorage_policy metadata_policy = {
	.abi		= TAGSTORAGE_ABI,
	.size		= sizeof(struct tagstorage_policy),
	.name		= "metadata",
	.owner		= THIS_MODULE,
	.give		= metadata_give,
	.may_lend	= pageblocks_may_lend,
	.suits		= pageblocks_suit,
	.attach		= metadata_attach,
	.detach		= metadata_detach,
	.hand_out	= metadata_hand_out,
	.keeps		= true,
};

static int __init metadata_init(void)
{
	int ret = tagstorage_policy_register(&metadata_policy);

	if (ret)
		return ret;
	/* The parameter may be changed at any time. */
	kernel_param_lock(THIS_MODULE);
	tagstorage_policy_first(&metadata_policy,
				metadata_order == METADATA_FIRST);
	kernel_param_unlock(THIS_MODULE);
	return 0;
}

static void __exit metadata_exit(void)
{
	tagstorage_policy_unregister(&metadata_policy);
}

module_init(metadata_init);
module_exit(metadata_exit);

MODULE_ALIAS_TAGSTORAGE("metadata");
MODULE_IMPORT_NS(TAGSTORAGE);
MODULE_IMPORT_NS(TAG_STORAGE);
MODULE_DESCRIPTION("Lends idle MTE tag storage from free lists of its own");
MODULE_AUTHOR("tagstorage developers");
MODULE_VERSION(TAGSTORAGE_VERSION);
MODULE_LICENSE("GPL");
