// SPDX-License-Identifier: GPL-2.0
/*
 * swap/policies/test_bad.c - policies that do what they must not, one way each: test_bad.ko how=WAY makes the policy
 * test_bad_WAY, which is otherwise like `cma` in RAM and like `movable` outside of it
 *
 *   at the registration: abi, size (of another engine), noname, give, owner, hand (required, and missing),
 *             alien (detach() is not the module's), carveout and cma (that is its name, which another policy has)
 *   suits     suits() returns an error instead of a text
 *   attach    attach() returns 1
 *   error     attach() returns -EIO each time
 *   second    the same, but for the first region; it suits none outside of RAM
 *   absent    attach() returns 0 for storage outside System RAM without adding it as memory
 *   nogive    give() does nothing
 *   keeps     give() keeps the page for itself, until the module goes
 *   other     give() gives a page of the zero page's block as well, which holds tags
 *   twice     give() of one page gives the next one, too
 *   late      detach() does what give() of `other` does
 *   loose     the first page that may_lend() is asked about, and refuses, is taken into use until the module goes
 *   irqs      may_lend() returns with interrupts off
 *   atomic    may_lend() returns with preemption off
 *   outirq, outpre   the same of hand_out(), which is called at each fault of untagged memory
 *   sleep     hand_out() sleeps
 *   stay      the module does not unregister the policy when it goes
 *   none      may_lend() always says no; that is no fault
 *   error1    a page has a memory error as soon as may_lend() was called for it; that is no fault
 *   error2    as soon as give() was called for it; neither
 */
#include <linux/delay.h>
#include <linux/module.h>

#include "pageblocks.h"

static char *how = "none";
module_param(how, charp, 0444);
MODULE_PARM_DESC(how, "what to do wrong");

static char name[TAGSTORAGE_NAME_MAX];
static unsigned int attached;
static LIST_HEAD(kept);
static struct page *failing, *loose;

static bool is(const char *way)
{
	return !strcmp(how, way);
}

static const char *bad_suits(struct tagstorage_region *region)
{
	if (is("suits"))
		return ERR_PTR(-EINVAL);
	if (tagstorage_region_in_ram(region) || is("second"))
		return pageblocks_suit(region);
	return tagstorage_hotplug_needs(region);
}

static int bad_attach(struct tagstorage_region *region)
{
	const struct tagstorage_geometry *geo = tagstorage_region_geometry(region);

	if (is("attach") || is("error"))
		return is("attach") ? 1 : -EIO;
	if (is("second") && attached)
		return -EIO;
	if (!attached++)
		tag_storage_cma_begin();
	if (tagstorage_region_in_ram(region))
		pageblocks_mark(region, true);
	else if (!is("absent"))
		return tagstorage_hotplug_add(region, page_to_nid(pfn_to_page(geo->data_pfn)));
	return 0;
}

static void give_other(struct tagstorage_region *region)
{
	const struct tagstorage_geometry *geo = tagstorage_region_geometry(region);
	u64 block = tagstorage_block_of_data(geo, page_to_pfn(ZERO_PAGE(0)));

	free_reserved_page(pfn_to_page(tagstorage_block_pfn(geo, block)));
}

static void bad_detach(struct tagstorage_region *region)
{
	if (is("late"))
		give_other(region);
	if (tagstorage_region_in_ram(region))
		pageblocks_mark(region, false);
	if (!--attached)
		tag_storage_cma_end();
}

/* A memory error hits the first page that is asked for, until the module goes. */
static void fail(struct page *page)
{
	if (failing)
		return;
	failing = page;
	SetPageHWPoison(page);
}

static void repair(void)
{
	ClearPageHWPoison(failing);
	if (PageReserved(failing))
		return;
	/* It was given, and so is nobody's. */
	init_page_count(failing);
	__free_page(failing);
}

static bool bad_may_lend(struct tagstorage_region *region, u64 block)
{
	const struct tagstorage_geometry *geo = tagstorage_region_geometry(region);

	if (is("loose") && !loose) {
		loose = pfn_to_page(tagstorage_block_pfn(geo, block));
		ClearPageReserved(loose);
		return false;
	}
	if (is("error1") && pageblocks_may_lend(region, block))
		fail(pfn_to_page(tagstorage_block_pfn(geo, block)));
	if (is("irqs"))
		local_irq_disable();
	if (is("atomic"))
		preempt_disable();
	if (is("none"))
		return false;
	return !tagstorage_region_in_ram(region) || pageblocks_may_lend(region, block);
}

static void bad_give(struct tagstorage_region *region, struct page *page)
{
	if (is("nogive"))
		return;
	if (is("keeps")) {
		ClearPageReserved(page);
		adjust_managed_page_count(page, 1);
		list_add(&page->lru, &kept);
		return;
	}
	if (is("error2"))
		fail(page);
	free_reserved_page(page);
	if (is("other"))
		give_other(region);
	if (is("twice"))
		free_reserved_page(page + 1);
}

static bool bad_hand_out(struct tagstorage_region *region, struct zone *zone)
{
	if (is("sleep"))
		msleep(20);
	if (is("outirq"))
		local_irq_disable();
	if (is("outpre"))
		preempt_disable();
	return true;
}

static struct tagstorage_policy bad_policy = {
	.abi		= TAGSTORAGE_ABI,
	.size		= sizeof(struct tagstorage_policy),
	.name		= name,
	.owner		= THIS_MODULE,
	.give		= bad_give,
	.may_lend	= bad_may_lend,
	.suits		= bad_suits,
	.attach		= bad_attach,
	.detach		= bad_detach,
	.hand_out	= bad_hand_out,
};

static int __init bad_init(void)
{
	int ret;

	snprintf(name, sizeof(name), "%s%s", is("carveout") || is("cma") ? "" : "test_bad_",
		 is("noname") ? "." : how);
	if (is("abi"))
		bad_policy.abi++;
	if (is("size"))
		bad_policy.size -= sizeof(long);
	if (is("give"))
		bad_policy.give = NULL;
	if (is("owner"))
		bad_policy.owner = NULL;
	if (is("hand"))
		bad_policy.hand_out = NULL;
	if (is("alien"))
		bad_policy.detach = (void *)tag_storage_cma_end;
	bad_policy.keeps = is("hand") || is("outirq") || is("outpre") || is("sleep");
	ret = tagstorage_policy_register(&bad_policy);
	if (!ret && bad_policy.keeps)
		tagstorage_policy_first(&bad_policy, true);
	return ret;
}

static void __exit bad_exit(void)
{
	struct page *page, *next;

	if (!is("stay"))
		tagstorage_policy_unregister(&bad_policy);
	if (failing)
		repair();
	if (loose)
		SetPageReserved(loose);
	list_for_each_entry_safe(page, next, &kept, lru) {
		list_del(&page->lru);
		__free_page(page);
	}
}

module_init(bad_init);
module_exit(bad_exit);

MODULE_IMPORT_NS(TAGSTORAGE);
MODULE_IMPORT_NS(TAG_STORAGE);
MODULE_DESCRIPTION("Test: policies that do what they must not");
MODULE_LICENSE("GPL");
