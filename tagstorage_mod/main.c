// SPDX-License-Identifier: GPL-2.0
/*
 * The engine: loading, unloading, and what the core hooks call.
 *
 * A tagged fault reads like this: the page allocator has a page for a tagged
 * request and asks tagstorage_reserve(): the block is reserved already, or idle, or
 * lent and free: done. Else, where one may sleep, tagstorage_claim() moves away
 * whoever uses it. Whatever becomes of the page, tagstorage_freed() is told.
 *
 * Order when the engine is loaded: the hooks first, so that from then on no page
 * becomes tagged unseen; then those that are tagged already are looked for and
 * prepared; only then may anything be lent. Unloading is the reverse.
 */
#define pr_fmt(fmt) "tagstorage: " fmt

#define CREATE_TRACE_POINTS
#include "trace.h"

#include <linux/delay.h>
#include <linux/kasan-enabled.h>
#include <linux/memory.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <linux/suspend.h>
#include <asm/cpufeature.h>
#include <asm/mte.h>

#include "engine.h"

/* Times that pages in transit (frozen) are looked for again, a tick apart. */
#define SCAN_PASSES	100

static const struct tag_storage_ops tagstorage_ops = {
	.prepared	= tagstorage_is_prepared,
	.reserve	= tagstorage_reserve,
	.freed		= tagstorage_freed,
	.capture	= tagstorage_capture,
	.storage	= tagstorage_is_storage,
	.lend		= tagstorage_hand_out,
	.packed		= tagstorage_packed,
	.claim		= tagstorage_claim,
	.pack		= tagstorage_pack,
	.place		= tagstorage_place,
	.replace	= tagstorage_replace,
	.wait		= tagstorage_wait,
};

static bool tagged_unprepared(struct page *page)
{
	/* Locked for tagging is the first visible sign of a page being tagged. */
	return (READ_ONCE(page->flags) &
		(BIT(PG_mte_lock) | BIT(PG_mte_tagged))) &&
	       !tagstorage_is_prepared(page, 1);
}

/*
 * Prepare what was tagged before the hooks were on. A reference keeps the page from
 * being freed meanwhile; a tagged page that has none is frozen (being migrated,
 * split or reclaimed) and will have some in a moment, or be free.
 */
static unsigned long scan_region(struct tagstorage_region *region)
{
	u64 pfn = region->geo.data_pfn;
	u64 end = pfn + tagstorage_data_pages(&region->geo);
	unsigned long missed = 0;

	for (; pfn < end; pfn++) {
		struct page *page = pfn_to_online_page(pfn);
		struct folio *folio;

		if (!(pfn % PAGES_PER_SECTION))
			cond_resched();
		if (!page || !tagged_unprepared(page))
			continue;
		folio = page_folio(page);
		if (!folio_try_get(folio)) {
			missed++;
			continue;
		}
		if (page_folio(page) != folio ||
		    (tagged_unprepared(page) && tagstorage_reserve(page, 1)))
			missed++;
		folio_put(folio);
	}
	return missed;
}

static int scan(void)
{
	struct tagstorage_region *region;
	unsigned long missed = 0;
	unsigned int i;
	int pass;

	for (pass = 0; pass < SCAN_PASSES; pass++) {
		missed = 0;
		tagstorage_for_each_region(region, i)
			missed += scan_region(region);
		if (!missed)
			return 0;
		schedule_timeout_uninterruptible(1);
	}
	pr_err("%lu tagged pages can't be prepared, as somebody moves them just now: try again\n",
	       missed);
	return -EBUSY;
}

/*
 * Memory with tag storage in use can't go: nobody could take the storage back. What
 * the engine removes itself is not present any more. And nobody but the engine may
 * make memory of storage, which would be tagged over.
 */
static int memory_callback(struct notifier_block *nb, unsigned long action,
			   void *arg)
{
	struct memory_notify *range = arg;
	struct tagstorage_region *region;
	unsigned int i;

	if (action != MEM_GOING_OFFLINE && action != MEM_GOING_ONLINE)
		return NOTIFY_OK;
	/* Its pageblocks are isolated already, so none of them is stashed again. */
	if (action == MEM_GOING_OFFLINE)
		tagstorage_for_each_region(region, i)
			tagstorage_stash_drain(region, true);
	tagstorage_for_each_region(region, i)
		if ((action == MEM_GOING_ONLINE ? !READ_ONCE(region->adding) :
						  READ_ONCE(region->present)) &&
		    tagstorage_overlap(range->start_pfn, range->nr_pages,
				       region->geo.storage_pfn,
				       tagstorage_storage_pages(&region->geo)))
			return NOTIFY_BAD;
	return NOTIFY_OK;
}

static struct notifier_block memory_nb = {
	.notifier_call = memory_callback,
};

/*
 * The image would hold lent pages, and tags that are restored over them; or the
 * machine that loads one, with all of its storage free, is lending now.
 */
static int pm_callback(struct notifier_block *nb, unsigned long action,
		       void *unused)
{
	switch (action) {
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		if (tagstorage_lend_bar(true))
			return NOTIFY_OK;
		pr_err("no hibernation while tag storage is lent: echo carveout > /sys/kernel/mm/tagstorage/policy first\n");
		return NOTIFY_BAD;
	case PM_POST_HIBERNATION:
	case PM_POST_RESTORE:
		tagstorage_lend_bar(false);
		return NOTIFY_OK;
	default:
		return NOTIFY_DONE;
	}
}

static struct notifier_block pm_nb = {
	.notifier_call = pm_callback,
};

/*
 * The next kernel (kexec) knows nothing of dirty data lines over what are tags to
 * it. Draining writes them back. It may take some seconds, as devices work still;
 * what is left then is held for longer, by somebody or by a memory error.
 */
static int reboot_callback(struct notifier_block *nb, unsigned long action,
			   void *unused)
{
	struct tagstorage_region *region;
	unsigned int i;

	tagstorage_policy_select("carveout", TAGSTORAGE_BY_ENGINE);
	tagstorage_lend_drain();
	tagstorage_for_each_region(region, i) {
		long out = atomic_long_read(&region->out);

		if (out)
			pr_warn("region %u: %ld blocks can't be drained: a kernel that is started by kexec must not use MTE\n",
				i, out);
	}
	return NOTIFY_DONE;
}

static struct notifier_block reboot_nb = {
	.notifier_call = reboot_callback,
};

static int check_machine(void)
{
	if (!system_supports_mte()) {
		pr_err("this machine has no MTE, or it is switched off: there is no tag storage to lend\n");
		return -ENODEV;
	}
	if (kasan_hw_tags_enabled()) {
		pr_err("KASAN uses hardware tags, so all kernel memory is tagged: boot with kasan=off to lend tag storage\n");
		return -EOPNOTSUPP;
	}
	return 0;
}

static int __init tagstorage_init(void)
{
	int ret = check_machine();

	if (ret)
		return ret;
	tagstorage_cache_init();
	ret = tagstorage_regions_probe();
	if (ret)
		return ret;
	ret = tagstorage_repack_init();
	if (ret)
		goto err_repack;
	ret = tag_storage_register(&tagstorage_ops);
	if (ret) {
		pr_err("another engine is registered\n");
		goto err_register;
	}
	ret = scan();
	if (ret)
		goto err_scan;
	/* It is mapped tagged without being tagged, for ever. */
	ret = tagstorage_reserve(ZERO_PAGE(0), 1);
	if (ret) {
		pr_err("the zero page can't be prepared\n");
		goto err_scan;
	}
	ret = register_memory_notifier(&memory_nb);
	if (ret)
		goto err_scan;
	ret = register_pm_notifier(&pm_nb);
	if (ret)
		goto err_pm;
	ret = register_reboot_notifier(&reboot_nb);
	if (ret)
		goto err_reboot;
	ret = tagstorage_registry_init();
	if (ret)
		goto err_registry;
	ret = tagstorage_sysfs_init();
	if (ret)
		goto err_sysfs;
	tagstorage_audit_init();
	return 0;

err_sysfs:
	tagstorage_registry_exit();
err_registry:
	unregister_reboot_notifier(&reboot_nb);
err_reboot:
	unregister_pm_notifier(&pm_nb);
err_pm:
	unregister_memory_notifier(&memory_nb);
err_scan:
	tagstorage_repack_stop();
	tag_storage_unregister(&tagstorage_ops);
	tagstorage_lend_exit();
err_register:
	tagstorage_repack_exit();
err_repack:
	tagstorage_regions_free();
	return ret;
}

/* Nothing is lent: as long as anything is, the engine holds itself. */
static void __exit tagstorage_exit(void)
{
	tagstorage_audit_exit();
	tagstorage_sysfs_exit();
	tagstorage_registry_exit();
	unregister_reboot_notifier(&reboot_nb);
	unregister_pm_notifier(&pm_nb);
	unregister_memory_notifier(&memory_nb);
	tagstorage_repack_stop();
	tag_storage_unregister(&tagstorage_ops);
	tagstorage_lend_exit();
	tagstorage_repack_exit();
	tagstorage_regions_free();
}

module_init(tagstorage_init);
module_exit(tagstorage_exit);

MODULE_IMPORT_NS(TAG_STORAGE);
MODULE_DESCRIPTION("Lends idle MTE tag storage to the page allocator: the engine");
MODULE_AUTHOR("tagstorage developers");
MODULE_VERSION(TAGSTORAGE_VERSION);
MODULE_LICENSE("GPL");
