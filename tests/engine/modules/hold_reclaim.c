// SPDX-License-Identifier: GPL-2.0
/*
 * hold_reclaim.ko - a task of the given name that reclaims memory for a tagged page is held there
 *
 * To make sure that something else happens while an allocation sleeps. The task sleeps in a shrinker, until the name is
 * another one. With claim, another allocation is meant: the engine's, while it moves a page out of the way for the
 * tagged one. What the task allocates besides, as for a page of a file, is not held.
 *
 * And a page whose number it is told gets a reference, so that it can't be moved.
 */
#include <linux/delay.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/shrinker.h>

static char name[TASK_COMM_LEN] = "-";
module_param_string(name, name, sizeof(name), 0644);
MODULE_PARM_DESC(name, "who is held");

/* As evict_target() in claim.c allocates; readahead does not give up reserves. */
#define CLAIM	(__GFP_MOVABLE | __GFP_NORETRY | __GFP_NOMEMALLOC)

static bool claim;
module_param(claim, bool, 0644);
MODULE_PARM_DESC(claim, "in an allocation of a claim, not of a tagged page");

static unsigned int held;
module_param(held, uint, 0444);
MODULE_PARM_DESC(held, "how many tasks have been");

static struct page *page;

static void put(void)
{
	if (page)
		put_page(page);
	page = NULL;
}

static int set_pfn(const char *text, const struct kernel_param *param)
{
	unsigned long pfn;
	int ret = kstrtoul(text, 0, &pfn);

	if (ret)
		return ret;
	put();
	if (!pfn)
		return 0;
	page = pfn_to_online_page(pfn);
	if (page && !get_page_unless_zero(page))
		page = NULL;
	return page ? 0 : -ENXIO;
}

static const struct kernel_param_ops pfn_ops = { .set = set_pfn };
module_param_cb(pfn, &pfn_ops, NULL, 0200);
MODULE_PARM_DESC(pfn, "a page that is in use: it gets a reference; 0: no page has one any more");

static struct shrinker *shrinker;

static unsigned long count(struct shrinker *self, struct shrink_control *sc)
{
	gfp_t wanted = claim ? CLAIM : __GFP_ZEROTAGS;

	if (strcmp(current->comm, name) || (sc->gfp_mask & wanted) != wanted)
		return SHRINK_EMPTY;
	held++;
	while (!strcmp(current->comm, name))
		msleep(20);
	return SHRINK_EMPTY;
}

static unsigned long scan(struct shrinker *self, struct shrink_control *sc)
{
	return SHRINK_STOP;
}

static int __init hold_reclaim_init(void)
{
	shrinker = shrinker_alloc(0, "hold_reclaim");
	if (!shrinker)
		return -ENOMEM;
	shrinker->count_objects = count;
	shrinker->scan_objects = scan;
	shrinker_register(shrinker);
	return 0;
}

static void __exit hold_reclaim_exit(void)
{
	put();
	shrinker_free(shrinker);
}

module_init(hold_reclaim_init);
module_exit(hold_reclaim_exit);

MODULE_DESCRIPTION("Holds a task that reclaims memory: for tests only");
MODULE_AUTHOR("tagstorage developers");
MODULE_LICENSE("GPL");
