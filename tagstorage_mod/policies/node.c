// SPDX-License-Identifier: GPL-2.0
/*
 * Policy `node`: tag storage outside System RAM is a memory-only NUMA node of its own.
 *
 * Idea. Proposed by C. Marinas and D. Hildenbrand (August and September 2023) as the
 * right model for memory that is different, and one that user space knows: allocations
 * fall back to the node by distance, numactl and numastat show what lies there, and
 * mbind() can ask for it. The objection (C. Marinas, 11 Sep 2023) was that distance
 * makes tagged memory on that node unlikely, and does not forbid it.
 *
 * What differs from that sketch. The node's memory is in ZONE_MOVABLE, which keeps
 * kernel memory off whatever a mempolicy says, and in MIGRATE_CMA pageblocks, of which
 * only lendable requests get pages. So it is forbidden: a tagged request that may go
 * elsewhere does, and one that is bound to this node alone (MPOL_BIND) finds it full.
 *
 * The number of the node is the property numa-node-id of the region's own device-tree
 * node. The kernel must have known it at boot: it stands in the distance map, as the
 * first number of the first triple. It has no other memory and no CPU. Regions may share
 * a node.
 *
 * When it is bad. What can't be lent finds the node full: a task that is bound to it
 * (numactl --membind, a cpuset) and needs page cache, huge pages or tagged memory is as
 * one that is bound to any node without free memory: the OOM killer is called, and takes
 * the largest process, wherever its memory is. So prefer the node (numactl --preferred),
 * don't bind to it, and don't use this policy where users are not trusted. Interleaving
 * over all nodes counts it in. Migration to it fails (move_pages(), mbind() with MPOL_MF_MOVE),
 * because only new memory is lendable. The alignment, hotplug, and the price for other
 * MIGRATE_CMA memory are those of policy `movable`; the order of use is the better one:
 * by distance, after ordinary memory.
 *
 * Production ready? No: for regions that `cma` can't serve, and where it is to be seen
 * and steered what lies on tag storage.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/tag_storage.h>

#include "tagstorage.h"

/* Regions attached; while there are any, MIGRATE_CMA is for lendable requests. */
static unsigned int attached;

/* Ordinary memory makes a node N_NORMAL_MEMORY; ZONE_MOVABLE alone does not. */
static const char *node_suits(struct tagstorage_region *region)
{
	const char *why = tagstorage_hotplug_needs(region);
	int nid = tagstorage_region_nid(region);

	if (why)
		return why;
	if (nid == NUMA_NO_NODE)
		return "has no numa-node-id for a node of its own";
	if (nid < 0 || nid >= MAX_NUMNODES || !node_possible(nid))
		return "has a numa-node-id that the machine's distance map does not name";
	if (node_state(nid, N_NORMAL_MEMORY) || node_state(nid, N_CPU))
		return "has the numa-node-id of a node with other memory or with CPUs";
	return NULL;
}

static void node_give(struct tagstorage_region *region, struct page *page)
{
	free_reserved_page(page);
}

static void node_detach(struct tagstorage_region *region)
{
	if (!--attached)
		tag_storage_cma_end();
}

static int node_attach(struct tagstorage_region *region)
{
	int ret;

	if (!attached++)
		tag_storage_cma_begin();
	ret = tagstorage_hotplug_add(region, tagstorage_region_nid(region));
	if (ret)
		node_detach(region);
	return ret;
}

static const struct tagstorage_policy node_policy = {
	.abi		= TAGSTORAGE_ABI,
	.size		= sizeof(struct tagstorage_policy),
	.name		= "node",
	.owner		= THIS_MODULE,
	.give		= node_give,
	.suits		= node_suits,
	.attach		= node_attach,
	.detach		= node_detach,
};

static int __init node_init(void)
{
	return tagstorage_policy_register(&node_policy);
}

static void __exit node_exit(void)
{
	tagstorage_policy_unregister(&node_policy);
}

module_init(node_init);
module_exit(node_exit);

MODULE_ALIAS_TAGSTORAGE("node");
MODULE_IMPORT_NS(TAGSTORAGE);
MODULE_IMPORT_NS(TAG_STORAGE);
MODULE_DESCRIPTION("Lends idle MTE tag storage as a memory-only NUMA node");
MODULE_AUTHOR("tagstorage developers");
MODULE_VERSION(TAGSTORAGE_VERSION);
MODULE_LICENSE("GPL");
