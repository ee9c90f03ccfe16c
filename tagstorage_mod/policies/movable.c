// SPDX-License-Identifier: GPL-2.0
/*
 * Policy `movable`: tag storage outside System RAM is hot-added to ZONE_MOVABLE.
 *
 * Idea. C. Marinas called it a quick hack (11 Sep 2023): tagged memory comes from
 * ZONE_NORMAL and below, tag storage is in ZONE_MOVABLE, and the kernel keeps apart
 * by itself what a zone keeps apart: kernel memory, and what is pinned for long. Memory
 * hotplug as drivers use it (dax/kmem) brings the storage in, and takes it away.
 *
 * What differs from that sketch. Every movable request may use ZONE_MOVABLE: page
 * cache, buffer heads, huge pages, and tagged memory itself, none of which may lie on
 * tag storage. So its pageblocks are MIGRATE_CMA, too, which only lendable requests
 * get. The zone makes the difference that no block of ordinary memory shares zone->lock,
 * watermarks and free lists with storage, and that all of it can be removed: with
 * `carveout`, there is neither memory nor a struct page where the storage is. Tagged
 * requests never see a free page in this zone, and go on to the next.
 *
 * By itself, a request that may use ZONE_MOVABLE tries it first, so that claims would have
 * to move data although ordinary memory is free, and each page would take zone->lock. So
 * the allocator is told to leave a zone of nothing but tag storage for when no other zone
 * of the same node is above its high watermark (tag_storage_zone_begin()).
 * The parameter `first` is for comparison: the sketch as it was.
 *
 * When it is bad. The storage must be aligned to memory blocks (128 MiB with 4 KiB
 * pages, 512 MiB with 64 KiB pages: that is storage for 4 or 16 GiB), and the firmware
 * must keep it out of System RAM. Its struct pages take 1/64 of its size while it is
 * added. As with policy `cma`, MIGRATE_CMA memory of the whole machine serves lendable
 * requests only, and each page allocated or freed takes zone->lock. Where the zone has
 * other memory, too, every movable request tries it first after all. Where user space
 * onlines new memory by itself, it must choose online_movable. Switching it on and off
 * takes a memory hotplug operation each time.
 *
 * Production ready? No: for regions that `cma` can't serve, and for comparison.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/tag_storage.h>

#include "tagstorage.h"

static bool first;
module_param(first, bool, 0644);
MODULE_PARM_DESC(first, "use tag storage before other memory, from when the policy next becomes active (default N)");

/* Regions attached; while there are any, MIGRATE_CMA is for lendable requests. */
static unsigned int attached;

static void movable_give(struct tagstorage_region *region, struct page *page)
{
	free_reserved_page(page);
}

static void movable_detach(struct tagstorage_region *region)
{
	if (--attached)
		return;
	tag_storage_zone_end();
	tag_storage_cma_end();
}

/* The storage joins the node of the data that it covers. */
static int movable_attach(struct tagstorage_region *region)
{
	const struct tagstorage_geometry *geo =
		tagstorage_region_geometry(region);
	int ret;

	if (!attached++) {
		tag_storage_cma_begin();
		if (!READ_ONCE(first))
			tag_storage_zone_begin();
	}
	ret = tagstorage_hotplug_add(region,
				     page_to_nid(pfn_to_page(geo->data_pfn)));
	if (ret)
		movable_detach(region);
	return ret;
}

static const struct tagstorage_policy movable_policy = {
	.abi		= TAGSTORAGE_ABI,
	.size		= sizeof(struct tagstorage_policy),
	.name		= "movable",
	.owner		= THIS_MODULE,
	.give		= movable_give,
	.suits		= tagstorage_hotplug_needs,
	.attach		= movable_attach,
	.detach		= movable_detach,
};

static int __init movable_init(void)
{
	return tagstorage_policy_register(&movable_policy);
}

static void __exit movable_exit(void)
{
	tagstorage_policy_unregister(&movable_policy);
}

module_init(movable_init);
module_exit(movable_exit);

MODULE_ALIAS_TAGSTORAGE("movable");
MODULE_IMPORT_NS(TAGSTORAGE);
MODULE_IMPORT_NS(TAG_STORAGE);
MODULE_DESCRIPTION("Lends idle MTE tag storage as hot-added memory in ZONE_MOVABLE");
MODULE_AUTHOR("tagstorage developers");
MODULE_VERSION(TAGSTORAGE_VERSION);
MODULE_LICENSE("GPL");
