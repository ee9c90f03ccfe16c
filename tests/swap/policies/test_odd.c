// SPDX-License-Identifier: GPL-2.0
/*
 * swap/policies/test_odd.c - a policy with visibly odd decisions: it lends only blocks with an odd number
 */
#include <linux/module.h>

#include "pageblocks.h"

static unsigned int attached;

static bool odd_may_lend(struct tagstorage_region *region, u64 block)
{
	return block % 2 && pageblocks_may_lend(region, block);
}

static void odd_give(struct tagstorage_region *region, struct page *page)
{
	free_reserved_page(page);
}

static int odd_attach(struct tagstorage_region *region)
{
	if (!attached++)
		tag_storage_cma_begin();
	pageblocks_mark(region, true);
	return 0;
}

static void odd_detach(struct tagstorage_region *region)
{
	pageblocks_mark(region, false);
	if (!--attached)
		tag_storage_cma_end();
}

static const struct tagstorage_policy odd_policy = {
	.abi		= TAGSTORAGE_ABI,
	.size		= sizeof(struct tagstorage_policy),
	.name		= "test_odd",
	.owner		= THIS_MODULE,
	.give		= odd_give,
	.may_lend	= odd_may_lend,
	.suits		= pageblocks_suit,
	.attach		= odd_attach,
	.detach		= odd_detach,
};

static int __init odd_init(void)
{
	return tagstorage_policy_register(&odd_policy);
}

static void __exit odd_exit(void)
{
	tagstorage_policy_unregister(&odd_policy);
}

module_init(odd_init);
module_exit(odd_exit);

MODULE_ALIAS_TAGSTORAGE("test_odd");
MODULE_IMPORT_NS(TAGSTORAGE);
MODULE_IMPORT_NS(TAG_STORAGE);
MODULE_DESCRIPTION("Test: lends odd blocks of tag storage");
MODULE_LICENSE("GPL");
