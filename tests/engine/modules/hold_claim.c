// SPDX-License-Identifier: GPL-2.0
/*
 * hold_claim.ko - a task of the given name that has begun to claim a block is held there, before it has looked at it
 *
 * As if its CPU were taken away, for as long as the test likes: until the name is another one. Only a block counts of
 * which some pages are free and some are not; where it lies is to be said by start and pages.
 *
 * tagstorage_block_change() is called once by a claim before it looks, and once more when it ends; with interrupts off
 * it is somebody else's. The first one's result is kept back.
 */
#include <linux/delay.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>

static char name[TASK_COMM_LEN] = "-";
module_param_string(name, name, sizeof(name), 0644);
MODULE_PARM_DESC(name, "who is held");

static ulong start;
module_param(start, ulong, 0444);
MODULE_PARM_DESC(start, "number of the first page of tag storage");

static uint pages = 1;
module_param(pages, uint, 0444);
MODULE_PARM_DESC(pages, "how many are a block");

static uint held;
module_param(held, uint, 0444);
MODULE_PARM_DESC(held, "how many tasks have been");

typedef bool (*change_fn)(void *region, u64 block, int from, int to);

static struct task_struct *inside;
static struct kprobe probe;

static bool is_mixed(u64 block)
{
	unsigned int used = 0, i;

	for (i = 0; i < pages; i++)
		used += page_count(pfn_to_page(start + block * pages + i)) > 0;
	return used > 0 && used < pages;
}

static bool change_and_wait(void *region, u64 block, int from, int to)
{
	bool done;

	WRITE_ONCE(inside, current);
	done = ((change_fn)probe.addr)(region, block, from, to);
	WRITE_ONCE(inside, NULL);
	held++;
	while (!strcmp(current->comm, name))
		msleep(20);
	return done;
}

static int on_change(struct kprobe *kp, struct pt_regs *regs)
{
	if (strcmp(current->comm, name) || held || READ_ONCE(inside) == current || !interrupts_enabled(regs) ||
	    !is_mixed(regs->regs[1]))
		return 0;
	instruction_pointer_set(regs, (unsigned long)change_and_wait);
	return 1;
}

static struct kprobe probe = {
	.symbol_name = "tagstorage_block_change",
	.pre_handler = on_change,
};

static int __init hold_claim_init(void)
{
	return register_kprobe(&probe);
}

static void __exit hold_claim_exit(void)
{
	unregister_kprobe(&probe);
}

module_init(hold_claim_init);
module_exit(hold_claim_exit);

MODULE_DESCRIPTION("Holds a task that has begun to claim a block of tag storage");
MODULE_AUTHOR("tagstorage developers");
MODULE_LICENSE("GPL");
