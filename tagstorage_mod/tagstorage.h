/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a policy is, and what the engine offers it.
 *
 * The engine (tagstorage.ko) keeps the invariants: it knows which block of tag
 * storage holds tags, takes a lent block back before a page that it covers can
 * become tagged, and checks whatever integrity rests on by itself. A policy
 * (tagstorage_<name>.ko, one file) decides which blocks are lent, and knows how
 * a page of tag storage becomes memory that the page allocator can use. It can
 * waste memory or time, but no data, as long as it frees no page of tag storage
 * but the one that it is told to, and that in a MIGRATE_CMA pageblock.
 *
 * One policy is active at any time. The built-in one is `carveout`: it lends
 * nothing. A minimal policy sets @abi, @size, @name, @owner, @give, @attach and
 * @detach, calls tagstorage_policy_register() when it is loaded and
 * tagstorage_policy_unregister() when it goes, and imports the symbol namespaces
 * TAGSTORAGE and TAG_STORAGE. docs/writing-a-policy.md has one.
 *
 * What it lends lies in MIGRATE_CMA pageblocks from attach() to detach(): that leaves
 * lent pages to those who may have them, and gives the engine each page back that is
 * freed. tag_storage_cma_block() in <linux/tag_storage.h> makes a pageblock so, and
 * undoes it; while any is, one tag_storage_cma_begin() is in force, ended by
 * tag_storage_cma_end(). A pageblock of which a block is still out in detach() stays
 * as it is. For regions of whole pageblocks, <pageblocks.h> does that.
 *
 * The order of calls for a policy:
 *
 *	suits(region)		for each region, before anything changes
 *	attach(region)		for each region that suits
 *	may_lend(), give()	for each block that holds no tags, now and
 *				whenever another one stops holding tags
 *	detach(region)		after the engine has taken back all it could
 *
 * All of these are called in process context, may sleep, and run under one mutex
 * of the engine: never two at a time, and none after unregister has returned.
 * They must not call tagstorage_policy_register() or _unregister(), and return with
 * interrupts and preemption as they were.
 *
 * A policy that does what it must not, where the engine can see it, is thrown out:
 * `carveout` takes over, and it can't be chosen again until it is loaded anew.
 */
#ifndef TAGSTORAGE_H
#define TAGSTORAGE_H

#include <linux/errno.h>
#include <linux/module.h>
#include <linux/types.h>

#include "geometry.h"

/* The version of this header; it changes whenever a policy must be rebuilt. */
#define TAGSTORAGE_ABI		3
#define TAGSTORAGE_NAME_MAX	16
/* A policy is loaded on demand by this alias: MODULE_ALIAS_TAGSTORAGE("cma"). */
#define TAGSTORAGE_ALIAS	"tagstorage-policy-"
#define MODULE_ALIAS_TAGSTORAGE(name)	MODULE_ALIAS(TAGSTORAGE_ALIAS name)

struct page;
struct zone;
struct tagstorage_region;

/**
 * struct tagstorage_policy - a reservation policy
 *
 * The engine works with a copy: what changes after the registration counts no more.
 */
struct tagstorage_policy {
	/** @abi: (required) TAGSTORAGE_ABI; stays the first in every version. */
	unsigned int abi;

	/** @size: (required) of this structure; stays the second. */
	unsigned int size;

	/** @name: (required) as it stands in sysfs: letters, digits, `_`; the third. */
	const char *name;

	/** @owner: (required) THIS_MODULE, which has all the callbacks. */
	struct module *owner;

	/**
	 * @give: (required) make one page usable. The page is as free_reserved_page()
	 * wants it: PageReserved, one reference, not managed; its tag lines are
	 * clean. When this returns, the page belongs to the page allocator, in a
	 * MIGRATE_CMA pageblock; it may be handed out for requests with
	 * __GFP_LENDABLE only, and must come back through __free_pages(). Where the
	 * policy @keeps pages, the engine catches it before it reaches the free
	 * lists. The policy keeps no reference.
	 */
	void (*give)(struct tagstorage_region *region, struct page *page);

	/**
	 * @may_lend: (optional) may this block, which holds no tags now, be lent?
	 * Without it, every block may. A block that is refused is asked for again
	 * when it next stops holding tags.
	 */
	bool (*may_lend)(struct tagstorage_region *region, u64 block);

	/**
	 * @suits: (optional) can this policy serve the region? NULL if so, else the
	 * reason, as the rest of a sentence that begins with the region's name. The
	 * region then stays a carve-out.
	 */
	const char *(*suits)(struct tagstorage_region *region);

	/**
	 * @attach: (optional) the region is going to be lent. 0, or a negative
	 * errno, and the region stays a carve-out. Storage outside System RAM must
	 * be memory when this returns, see tagstorage_hotplug_add().
	 */
	int (*attach)(struct tagstorage_region *region);

	/**
	 * @detach: (optional) nothing of the region is given any more. Blocks for
	 * which tagstorage_block_is_out() is true could not be evicted yet. The
	 * engine goes on trying and takes their pages as soon as they are free.
	 */
	void (*detach)(struct tagstorage_region *region);

	/**
	 * @hand_out: (required if @keeps) should a lendable request that looks for a
	 * page in @zone be served from this region now? Asked before the free lists
	 * are, if this region has a free page, and the zone is or was lately below its
	 * high watermark, free CMA memory not counted, or tagstorage_policy_first()
	 * says that this does not matter.
	 * Context: any, interrupts included; under rcu_read_lock(). Must not sleep
	 * (where it does, it may return to a module that has gone), and is called at
	 * each such fault of untagged memory, so it should be a few instructions.
	 */
	bool (*hand_out)(struct tagstorage_region *region, struct zone *zone);

	/**
	 * @keeps: free pages are not put on the free lists: the engine keeps them, and
	 * @hand_out says when they are used. The pageblocks must be MIGRATE_CMA from
	 * attach to detach, so that pages that are freed bypass the per-CPU lists.
	 */
	bool keeps;
};

/**
 * tagstorage_policy_register - make a policy known, and the active one
 * @policy: the policy; its name stays valid until it is unregistered
 *
 * The policy becomes active if `carveout` was (unless the engine's parameter
 * `activate` is off); otherwise it is a choice in sysfs. A policy that suits no
 * region is registered, but not activated, and the log says why.
 *
 * Context: may sleep.
 * Return: 0; -EINVAL if something required is missing or malformed, or a callback is
 * another module's; -EPROTO if
 * it was built for another @abi or @size; -EEXIST if the name is taken; -ENOMEM. The
 * log names the policy and says what is wrong.
 */
int tagstorage_policy_register(const struct tagstorage_policy *policy);

/**
 * tagstorage_policy_unregister - forget a policy
 * @policy: a policy that was registered; if it was refused, nothing is done
 *
 * If it is the active one, `carveout` takes over and what is lent is taken back.
 * Pages that cannot be evicted at once stay in the engine's care. Never fails.
 *
 * Context: may sleep.
 */
void tagstorage_policy_unregister(const struct tagstorage_policy *policy);

/**
 * tagstorage_policy_first - should hand_out() be asked while memory is plenty, too?
 * @policy: a policy that keeps pages and was registered; if it was not, nothing is done
 * @first: true: at each lendable request, which costs each fault of untagged memory more
 *	than a hundred instructions; false, as at first: in a zone below its high
 *	watermark only
 *
 * Context: may sleep; not in a callback of the policy.
 */
void tagstorage_policy_first(const struct tagstorage_policy *policy, bool first);

/**
 * tagstorage_region_geometry - where the region's blocks are
 * @region: the region
 *
 * Return: the geometry; constant, valid as long as the engine is loaded.
 */
const struct tagstorage_geometry *
tagstorage_region_geometry(const struct tagstorage_region *region);

/**
 * tagstorage_block_is_out - is the block usable as ordinary memory, if only in part?
 * @region: the region
 * @block: index of the block
 *
 * Context: any. The answer may be out of date when it arrives, except in the
 * callbacks of the policy, where nothing is given meanwhile.
 */
bool tagstorage_block_is_out(const struct tagstorage_region *region, u64 block);

/**
 * tagstorage_region_in_ram - is the storage System RAM, reserved at boot?
 * @region: the region
 *
 * Return: true if its pages are there all the time; false if there is nothing to
 * give before tagstorage_hotplug_add().
 */
bool tagstorage_region_in_ram(const struct tagstorage_region *region);

/**
 * tagstorage_region_nid - the NUMA node that the device tree names for the storage
 * @region: the region
 *
 * Return: the property numa-node-id of the region's own node, or NUMA_NO_NODE.
 */
int tagstorage_region_nid(const struct tagstorage_region *region);

#ifdef CONFIG_MEMORY_HOTREMOVE
/**
 * tagstorage_hotplug_needs - what does the region lack to be hot-added?
 * @region: the region
 *
 * Return: NULL, or why its storage can't be hot-added, for @suits.
 */
const char *tagstorage_hotplug_needs(struct tagstorage_region *region);

/**
 * tagstorage_hotplug_add - make storage outside System RAM memory, for @attach
 * @region: a region that lacks nothing
 * @nid: the NUMA node that it becomes part of
 *
 * Its pages are then what @give expects, in ZONE_MOVABLE of that node, and in
 * MIGRATE_CMA pageblocks: the policy calls tag_storage_cma_begin() before anything
 * is given. The engine removes the memory when the policy has gone and all is back.
 *
 * Context: @attach only.
 * Return: 0; -EBUSY if an earlier policy's storage is not back yet; what kept the
 * memory from being added.
 */
int tagstorage_hotplug_add(struct tagstorage_region *region, int nid);
#else
static inline const char *
tagstorage_hotplug_needs(struct tagstorage_region *region)
{
	return "would have to be hot-added, and this kernel has no memory hotplug";
}

static inline int tagstorage_hotplug_add(struct tagstorage_region *region,
					 int nid)
{
	return -EOPNOTSUPP;
}
#endif

#endif /* TAGSTORAGE_H */
