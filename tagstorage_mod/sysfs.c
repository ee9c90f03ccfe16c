// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/mm/tagstorage: one value a file, but for holders and last_change, which are
 * records: what belongs together must be read at one time. docs/sysfs.md describes every file.
 */
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "engine.h"

static struct kobject *tagstorage_kobj;

/**
 * struct tagstorage_dir - the directory of one region
 * @kobj: the directory; lives as long as somebody has a file of it open
 * @region: the region; valid while the directory exists
 */
struct tagstorage_dir {
	struct kobject kobj;
	struct tagstorage_region *region;
};

static struct tagstorage_region *to_region(struct kobject *kobj)
{
	return container_of(kobj, struct tagstorage_dir, kobj)->region;
}

static ssize_t policy_show(struct kobject *kobj, struct kobj_attribute *attr,
			   char *buf)
{
	return tagstorage_policy_show(buf);
}

static ssize_t policy_store(struct kobject *kobj, struct kobj_attribute *attr,
			    const char *buf, size_t count)
{
	char name[TAGSTORAGE_NAME_MAX + 1];	/* and a newline */
	int ret;

	if (strscpy(name, buf, sizeof(name)) < 0)
		return -EINVAL;
	ret = tagstorage_policy_select(strim(name), TAGSTORAGE_BY_USER);
	return ret ? ret : count;
}

static ssize_t last_change_show(struct kobject *kobj,
				struct kobj_attribute *attr, char *buf)
{
	return tagstorage_last_change_show(buf);
}

static ssize_t holders_show(struct kobject *kobj, struct kobj_attribute *attr,
			    char *buf)
{
	return tagstorage_holders_show(buf);
}

static ssize_t state_show(struct kobject *kobj, struct kobj_attribute *attr,
			  char *buf)
{
	return sysfs_emit(buf, "%s\n", tagstorage_lend_state());
}

static ssize_t pages_replaced_show(struct kobject *kobj,
				   struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%ld\n",
			  atomic_long_read(&tagstorage_nr_replaced));
}

static ssize_t fault_waits_show(struct kobject *kobj,
				struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%ld\n", atomic_long_read(&tagstorage_nr_waited));
}

static struct kobj_attribute policy_attr = __ATTR_RW(policy);
static struct kobj_attribute last_change_attr = __ATTR_RO(last_change);
static struct kobj_attribute holders_attr = __ATTR_RO(holders);
static struct kobj_attribute state_attr = __ATTR_RO(state);
static struct kobj_attribute pages_replaced_attr = __ATTR_RO(pages_replaced);
static struct kobj_attribute fault_waits_attr = __ATTR_RO(fault_waits);

static struct attribute *tagstorage_attrs[] = {
	&policy_attr.attr,
	&last_change_attr.attr,
	&holders_attr.attr,
	&state_attr.attr,
	&pages_replaced_attr.attr,
	&fault_waits_attr.attr,
	NULL
};
ATTRIBUTE_GROUPS(tagstorage);

#define REGION_ATTR(_name, _format, _value)				\
static ssize_t _name##_show(struct kobject *kobj,			\
			    struct kobj_attribute *attr, char *buf)	\
{									\
	struct tagstorage_region *region = to_region(kobj);		\
									\
	return sysfs_emit(buf, _format "\n", _value);			\
}									\
static struct kobj_attribute _name##_attr = __ATTR_RO(_name)

static long pages_out(struct tagstorage_region *region, atomic_long_t *blocks)
{
	return atomic_long_read(blocks) * region->geo.block_pages;
}

/* How many pages of lent blocks are free; a sample, not a moment in time. */
static unsigned long count_free(struct tagstorage_region *region)
{
	unsigned long free = atomic_long_read(&region->nr_kept);
	u64 block;
	u32 i;

	if (!tagstorage_pages_get(region))
		return 0;
	for (block = 0; block < region->geo.nr_blocks; block++) {
		u64 pfn = tagstorage_block_pfn(&region->geo, block);

		if (tagstorage_block_state(region, block) != TAGSTORAGE_LENT)
			continue;
		for (i = 0; i < region->geo.block_pages; i++)
			free += is_free_buddy_page(pfn_to_page(pfn + i));
		cond_resched();
	}
	tagstorage_pages_put();
	return free;
}

/* How often to count anew what changed meanwhile: at rest, a stash that is put away. */
#define COUNT_TRIES	4

/*
 * Pages in a stash are prepared, but nobody has them. The count takes its time:
 * a page that left a stash in the middle of it, and is no longer prepared when
 * it comes to it, would be taken off for nothing.
 */
static unsigned long count_tagged(struct tagstorage_region *region)
{
	unsigned long stashed = tagstorage_stashed(region), before, prepared;
	unsigned int tries = 0;

	do {
		before = stashed;
		prepared = tagstorage_tagged(region);
		stashed = tagstorage_stashed(region);
	} while (stashed != before && ++tries < COUNT_TRIES);
	return prepared > stashed ? prepared - stashed : 0;
}

REGION_ATTR(name, "%s", region->name);
REGION_ATTR(storage_start, "0x%llx", (u64)PFN_PHYS(region->geo.storage_pfn));
REGION_ATTR(data_start, "0x%llx", (u64)PFN_PHYS(region->geo.data_pfn));
REGION_ATTR(block_pages, "%u", region->geo.block_pages);
REGION_ATTR(total_pages, "%llu", tagstorage_storage_pages(&region->geo));
REGION_ATTR(reserved_pages, "%ld", pages_out(region, &region->reserved));
REGION_ATTR(reserved_pages_max, "%ld", pages_out(region, &region->reserved_max));
REGION_ATTR(lent_pages, "%ld", pages_out(region, &region->out));
REGION_ATTR(lent_pages_max, "%ld", pages_out(region, &region->out_max));
REGION_ATTR(free_pages, "%lu", count_free(region));
REGION_ATTR(tagged_pages, "%lu", count_tagged(region));
REGION_ATTR(claims_free, "%ld", tagstorage_sum(region, claims_free));
REGION_ATTR(claims_migrated, "%ld", tagstorage_sum(region, claims_migrated));
REGION_ATTR(claims_failed, "%ld", tagstorage_sum(region, claims_failed));
REGION_ATTR(pages_migrated, "%ld", tagstorage_sum(region, migrated));
REGION_ATTR(pages_gathered, "%ld", tagstorage_sum(region, gathered));
REGION_ATTR(pages_cleared, "%ld", tagstorage_sum(region, cleared));
REGION_ATTR(data_lines, "%ld", tagstorage_sum(region, data_lines));
REGION_ATTR(tag_lines, "%ld", tagstorage_sum(region, tag_lines));

static struct attribute *region_attrs[] = {
	&name_attr.attr,
	&storage_start_attr.attr,
	&data_start_attr.attr,
	&block_pages_attr.attr,
	&total_pages_attr.attr,
	&reserved_pages_attr.attr,
	&reserved_pages_max_attr.attr,
	&lent_pages_attr.attr,
	&lent_pages_max_attr.attr,
	&free_pages_attr.attr,
	&tagged_pages_attr.attr,
	&claims_free_attr.attr,
	&claims_migrated_attr.attr,
	&claims_failed_attr.attr,
	&pages_migrated_attr.attr,
	&pages_gathered_attr.attr,
	&pages_cleared_attr.attr,
	&data_lines_attr.attr,
	&tag_lines_attr.attr,
	NULL
};
ATTRIBUTE_GROUPS(region);

static void region_release(struct kobject *kobj)
{
	kfree(container_of(kobj, struct tagstorage_dir, kobj));
}

static const struct kobj_type region_ktype = {
	.release = region_release,
	.sysfs_ops = &kobj_sysfs_ops,
	.default_groups = region_groups,
};

static int region_dir_add(struct tagstorage_region *region)
{
	struct tagstorage_dir *dir = kzalloc(sizeof(*dir), GFP_KERNEL);
	int ret;

	if (!dir)
		return -ENOMEM;
	dir->region = region;
	ret = kobject_init_and_add(&dir->kobj, &region_ktype, tagstorage_kobj,
				   "region%u", region->index);
	if (ret)
		kobject_put(&dir->kobj);
	else
		region->dir = dir;
	return ret;
}

static void region_dirs_remove(void)
{
	struct tagstorage_region *region;
	unsigned int i;

	tagstorage_for_each_region(region, i) {
		if (!region->dir)
			continue;
		kobject_del(&region->dir->kobj);
		kobject_put(&region->dir->kobj);
		region->dir = NULL;
	}
}

int tagstorage_sysfs_init(void)
{
	struct tagstorage_region *region;
	unsigned int i;
	int ret = -ENOMEM;

	tagstorage_kobj = kobject_create_and_add("tagstorage", mm_kobj);
	if (!tagstorage_kobj)
		return -ENOMEM;
	tagstorage_for_each_region(region, i) {
		ret = region_dir_add(region);
		if (ret)
			goto err_regions;
	}
	ret = sysfs_create_groups(tagstorage_kobj, tagstorage_groups);
	if (ret)
		goto err_regions;
	return 0;

err_regions:
	region_dirs_remove();
	kobject_put(tagstorage_kobj);
	return ret;
}

void tagstorage_sysfs_exit(void)
{
	sysfs_remove_groups(tagstorage_kobj, tagstorage_groups);
	region_dirs_remove();
	kobject_put(tagstorage_kobj);
}
