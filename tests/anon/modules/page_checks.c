// SPDX-License-Identifier: GPL-2.0
/*
 * page_checks.ko - which of the page allocator's checks are on, as parameters that can be read
 *
 * The command line does not tell: one can switch another off, and of two of them the log says nothing. These are the
 * keys that the allocator itself asks.
 */
#include <linux/mm.h>
#include <linux/module.h>

static bool clears;
module_param_named(init_on_free, clears, bool, 0444);
MODULE_PARM_DESC(init_on_free, "freed pages are cleared");

static bool poisons;
module_param_named(page_poison, poisons, bool, 0444);
MODULE_PARM_DESC(page_poison, "freed pages are filled with a pattern");

static bool unmaps;
module_param_named(debug_pagealloc, unmaps, bool, 0444);
MODULE_PARM_DESC(debug_pagealloc, "free pages are not mapped");

static int __init page_checks_init(void)
{
	clears = want_init_on_free();
	poisons = page_poisoning_enabled_static();
	unmaps = debug_pagealloc_enabled_static();
	return 0;
}

static void __exit page_checks_exit(void)
{
}

module_init(page_checks_init);
module_exit(page_checks_exit);

MODULE_DESCRIPTION("Which checks of the page allocator are on: for tests only");
MODULE_AUTHOR("tagstorage developers");
MODULE_LICENSE("GPL");
