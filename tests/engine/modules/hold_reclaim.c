// SPDX-License-Identifier: GPL-2.0
/*
 * hold_reclaim.ko - a task of the given name that reclaims memory is held there
 *
 * To make sure that something else happens while an allocation sleeps. The task sleeps in a shrinker, until the name is
 * another one.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/shrinker.h>

static char name[TASK_COMM_LEN] = "-";
module_param_string(name, name, sizeof(name), 0644);
MODULE_PARM_DESC(name, "who is held");

static unsigned int held;
module_param(held, uint, 0444);
MODULE_PARM_DESC(held, "how many tasks have been");

static struct shrinker *shrinker;

static unsigned long count(struct shrinker *self, struct shrink_control *sc)
{
	if (strcmp(current->comm, name))
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
	shrinker_free(shrinker);
}

module_init(hold_reclaim_init);
module_exit(hold_reclaim_exit);

MODULE_DESCRIPTION("Holds a task that reclaims memory: for tests only");
MODULE_AUTHOR("tagstorage developers");
MODULE_LICENSE("GPL");
