// SPDX-License-Identifier: GPL-2.0
/*
 * Tag storage outside System RAM: it is nobody's memory, without struct pages and
 * linear map, until a policy has it hot-added, as dax/kmem and virtio-mem do it.
 *
 * The blocks of such a region are counted and reserved all the time; that takes no
 * page of it. When it is added, all of its pages are kept back as they are onlined
 * and look like those of a carve-out at boot: PageReserved, one reference, not
 * managed. From there on lending and claiming know no difference.
 *
 * All of it is onlined to ZONE_MOVABLE, which makes it removable whatever happens,
 * and its pageblocks are MIGRATE_CMA: while a policy calls tag_storage_cma_begin(), only
 * lendable requests get pages of such a pageblock, and not those of every movable
 * request, which the zone alone would let in.
 *
 * Memory is removed when no policy serves the region and all of its blocks are back.
 * Its pages are then frozen (no reference) and marked PageOffline, which offlining
 * takes for gone: it finds nothing to migrate, hence does not wait. Tags that the
 * storage holds meanwhile are not touched: nobody writes to the pages.
 */
#define pr_fmt(fmt) "tagstorage: " fmt

#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/error-injection.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/page_ref.h>
#include <linux/pageblock-flags.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>

#include "engine.h"

/* Times that another user of memory hotplug is waited for, 5 ms each. */
#define ONLINE_TRIES	1000

static u64 storage_start(const struct tagstorage_region *region)
{
	return PFN_PHYS(region->geo.storage_pfn);
}

static u64 storage_size(const struct tagstorage_region *region)
{
	return PFN_PHYS(tagstorage_storage_pages(&region->geo));
}

const char *tagstorage_hotplug_needs(struct tagstorage_region *region)
{
	u64 start = storage_start(region), size = storage_size(region);
	struct range range = mhp_get_pluggable_range(true);

	if (region->in_ram)
		return "lies in System RAM, and can't be hot-added";
	if (!IS_ALIGNED(start | size, memory_block_size_bytes()))
		return "is not aligned to memory blocks, which are what can be hot-added";
	if (start < range.start || start + size - 1 > range.end)
		return "lies outside the linear map, and can't be hot-added";
	return NULL;
}
EXPORT_SYMBOL_NS_GPL(tagstorage_hotplug_needs, TAGSTORAGE);

/*
 * Offlining doesn't count pages with a memory error as gone, though it passes over
 * them: it takes them off the managed pages, which they are not among.
 */
static void count_poisoned(struct page *page, long nr)
{
	if (PageHWPoison(page))
		adjust_managed_page_count(page, nr);
}

/* As the pages of a block that is not lent are. */
static void keep_page(struct page *page)
{
	__ClearPageOffline(page);
	init_page_count(page);
	__SetPageReserved(page);
}

/* The kernel's online_page_callback: only pages of tag storage are kept back. */
static void keep_back(struct page *page, unsigned int order)
{
	unsigned int i;

	if (!tagstorage_region_of_storage(page_to_pfn(page))) {
		generic_online_page(page, order);
		return;
	}
	for (i = 0; i < 1U << order; i++)
		keep_page(page + i);
}

/* Write to a memory block's file `state`, without the file. */
static ssize_t write_state(struct device *dev, const char *state)
{
	const struct attribute_group **group;
	struct device_attribute *file;
	struct attribute **attr;

	for (group = dev->groups; group && *group; group++) {
		for (attr = (*group)->attrs; *attr; attr++) {
			if (strcmp((*attr)->name, "state"))
				continue;
			file = container_of(*attr, struct device_attribute,
					    attr);
			return file->store(dev, file, state, strlen(state));
		}
	}
	return -ENOENT;
}

/* restart_syscall() pretends a signal; this system call is not begun again. */
static void forget_restart(void)
{
	struct sighand_struct *sighand =
		rcu_dereference_protected(current->sighand, true);

	spin_lock_irq(&sighand->siglock);
	recalc_sigpending();
	spin_unlock_irq(&sighand->siglock);
}

/*
 * Online one memory block. No function that a module can call takes a zone, and
 * none the lock of memory hotplug: so it is done as user space does it. Devices are
 * found by name, in the set that all of them are in.
 */
static noinline int online_block(u64 start)
{
	struct kset *devices = get_cpu_device(cpumask_first(cpu_online_mask))->kobj.kset;
	struct kobject *kobj;
	ssize_t ret = -EAGAIN;
	char name[32];
	int try;

	snprintf(name, sizeof(name), "memory%llu",
		 start / memory_block_size_bytes());
	kobj = kset_find_obj(devices, name);
	if (!kobj)
		return -ENODEV;
	for (try = 0; try < ONLINE_TRIES; try++) {
		ret = write_state(kobj_to_dev(kobj), "online_movable");
		if (ret != -ERESTARTNOINTR)
			break;
		forget_restart();
	}
	kobject_put(kobj);
	return ret < 0 ? ret : 0;
}
ALLOW_ERROR_INJECTION(online_block, ERRNO);

/* Is all of it online, and in this zone? */
static bool all_online(struct tagstorage_region *region, struct zone *zone)
{
	u64 pfn = region->geo.storage_pfn;
	u64 end = pfn + tagstorage_storage_pages(&region->geo);

	for (; pfn < end; pfn += PAGES_PER_SECTION) {
		struct page *page = pfn_to_online_page(pfn);

		if (!page || tagstorage_zone(page) != zone)
			return false;
	}
	return true;
}

static int online_all(struct tagstorage_region *region, struct zone *zone)
{
	u64 start = storage_start(region);
	u64 end = start + storage_size(region);
	int ret;

	for (; start < end; start += memory_block_size_bytes()) {
		ret = online_block(start);
		/* Onlined by somebody else, who follows all new memory? */
		if (ret && ret != -EINVAL)
			return ret;
	}
	if (all_online(region, zone))
		return 0;
	pr_err("region %u, %s: somebody else onlined it, to another zone than Movable: set /sys/devices/system/memory/auto_online_blocks to online_movable or offline\n",
	       region->index, region->name);
	return -EBUSY;
}

/* Pageblocks of lent storage are MIGRATE_CMA; hotplug wants MIGRATE_MOVABLE ones. */
static void set_pageblocks(struct tagstorage_region *region, bool cma)
{
	long pages = tagstorage_storage_pages(&region->geo);
	u64 pfn = region->geo.storage_pfn;
	u64 end = pfn + pages;

	for (; pfn < end; pfn += pageblock_nr_pages)
		tag_storage_cma_block(pfn_to_page(pfn), cma);
	tag_storage_cma_account(region->zone, cma ? pages : -pages);
}

static void start_use(struct tagstorage_region *region)
{
	set_pageblocks(region, true);
	tagstorage_pages_set(region, true);
}

static int add(struct tagstorage_region *region, int nid, struct zone *zone)
{
	int ret = set_online_page_callback(keep_back);

	if (ret) {
		pr_err("region %u, %s: another driver decides on memory that is onlined\n",
		       region->index, region->name);
		return -EBUSY;
	}
	WRITE_ONCE(region->adding, true);
	ret = add_memory_driver_managed(nid, storage_start(region),
					storage_size(region),
					"System RAM (tagstorage)", MHP_NONE);
	if (!ret) {
		region->added = tagstorage_storage_pages(&region->geo);
		ret = online_all(region, zone);
	}
	/* Whoever onlines now is refused; who began before is waited for here. */
	WRITE_ONCE(region->adding, false);
	restore_online_page_callback(keep_back);
	return ret;
}

int tagstorage_hotplug_add(struct tagstorage_region *region, int nid)
{
	struct zone *zone;
	int ret;

	lockdep_assert_held(&tagstorage_lend_mutex);
	if (tagstorage_hotplug_needs(region) || nid < 0 ||
	    nid >= MAX_NUMNODES || !node_possible(nid))
		return -EINVAL;
	zone = &NODE_DATA(nid)->node_zones[ZONE_MOVABLE];
	if (region->present && region->zone == zone)
		return 0;
	if (!tagstorage_hotplug_remove(region)) {
		pr_err("region %u, %s: what an earlier policy lent is not back yet\n",
		       region->index, region->name);
		return -EBUSY;
	}
	ret = add(region, nid, zone);
	if (ret) {
		tagstorage_hotplug_remove(region);
		return ret;
	}
	WRITE_ONCE(region->zone, zone);
	/* Who saw a lent block still has the zone of that time: take_row(). */
	synchronize_rcu();
	start_use(region);
	return 0;
}
EXPORT_SYMBOL_NS_GPL(tagstorage_hotplug_add, TAGSTORAGE);
ALLOW_ERROR_INJECTION(tagstorage_hotplug_add, ERRNO);

/* A page that is kept becomes one that offlining passes over. */
static noinline bool let_go_page(struct page *page)
{
	if (!page_ref_freeze(page, 1))
		return false;
	__ClearPageReserved(page);
	__SetPageOffline(page);
	count_poisoned(page, 1);
	return true;
}
ALLOW_ERROR_INJECTION(let_go_page, NULL);

/*
 * Let go of all pages of memory blocks that are online, or (@back) keep those again
 * that were let go. False if somebody looks at a page just now.
 */
static bool let_go(struct tagstorage_region *region, bool back)
{
	u64 pfn = region->geo.storage_pfn;
	u64 end = pfn + region->added;
	bool all = true;

	page_offline_begin();
	for (; pfn < end && all; pfn++) {
		struct page *page = pfn_to_online_page(pfn);

		if (page && back && PageOffline(page)) {
			count_poisoned(page, -1);
			keep_page(page);
		} else if (page && !back && PageReserved(page)) {
			all = let_go_page(page);
		}
	}
	page_offline_end();
	return all;
}

/*
 * Remove the memory, the last block first. One at a time, because where offlining
 * several fails, those that are offline already would be onlined again, to whoever
 * decides on that then.
 */
static void remove_blocks(struct tagstorage_region *region)
{
	u64 size = memory_block_size_bytes();

	while (region->added) {
		u64 left = region->added - PHYS_PFN(size);

		if (offline_and_remove_memory(storage_start(region) +
					      PFN_PHYS(left), size))
			return;
		region->added = left;
	}
}

/**
 * tagstorage_hotplug_remove - remove the memory that a region's storage was added as
 * @region: the region
 *
 * Not while a policy serves it or a block is out. Bounded, as nothing is left in it.
 *
 * Context: tagstorage_lend_mutex held.
 * Return: false if it is still there: try again later.
 */
bool tagstorage_hotplug_remove(struct tagstorage_region *region)
{
	bool was_present = region->present;

	lockdep_assert_held(&tagstorage_lend_mutex);
	if (!region->added)
		return true;
	if (region->attached || atomic_long_read(&region->out))
		return false;
	if (was_present) {
		tagstorage_pages_set(region, false);
		set_pageblocks(region, false);
	}
	if (let_go(region, false))
		remove_blocks(region);
	if (!region->added)
		return true;
	let_go(region, true);
	if (was_present && all_online(region, region->zone))
		start_use(region);
	return false;
}
