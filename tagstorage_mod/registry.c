// SPDX-License-Identifier: GPL-2.0
/*
 * Policies: who is there, which one is active, and the switch from one to another.
 *
 * There is always one active policy. `carveout` is built in, lends nothing and
 * can't be removed; it takes over when the active one goes or can't start. Nobody
 * holds a reference to a policy module: its exit function unregisters the policy,
 * and when that returns, none of its callbacks runs or will (all of them run under
 * tagstorage_lend_mutex).
 */
#define pr_fmt(fmt) "tagstorage: " fmt

#include <linux/ctype.h>
#include <linux/kmod.h>
#include <linux/module.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "engine.h"
#include "trace.h"

static bool activate = true;
module_param(activate, bool, 0644);
MODULE_PARM_DESC(activate,
		 "make a policy active when it is loaded and carveout was active (default Y)");

/* The hardware's default. It has no give(): it lends nothing. */
static struct tagstorage_policy carveout = {
	.name = "carveout",
	.owner = THIS_MODULE,
	.abi = TAGSTORAGE_ABI,
	.list = LIST_HEAD_INIT(carveout.list),
};

/* Headed by carveout itself. Guarded, as the active one, by tagstorage_lend_mutex. */
static struct tagstorage_policy *active = &carveout;

static struct tagstorage_policy *find_policy(const char *name)
{
	struct tagstorage_policy *policy;

	lockdep_assert_held(&tagstorage_lend_mutex);
	if (!strcmp(name, carveout.name))
		return &carveout;
	list_for_each_entry(policy, &carveout.list, list)
		if (!strcmp(name, policy->name))
			return policy;
	return NULL;
}

const struct tagstorage_policy *tagstorage_policy_active(void)
{
	lockdep_assert_held(&tagstorage_lend_mutex);
	return active;
}

static int switch_policy(struct tagstorage_policy *to)
{
	struct tagstorage_policy *from = active;
	int ret = 0;

	lockdep_assert_held(&tagstorage_lend_mutex);
	if (to == from)
		return 0;
	if (to->give && !tagstorage_lend_suits(to)) {
		ret = -ENODEV;
		goto out;
	}
	if (from->give)
		tagstorage_lend_stop(from);
	active = to;
	if (to->give)
		ret = tagstorage_lend_start(to);
	if (ret)
		active = &carveout;
out:
	if (ret)
		pr_err("policy %s can't be activated (error %d), %s is active\n",
		       to->name, ret, active->name);
	else
		pr_info("policy %s is active (was %s)\n", to->name, from->name);
	trace_tagstorage_policy_switch(from->name, to->name, ret);
	return ret;
}

static bool name_ok(const char *name)
{
	size_t len = strnlen(name, TAGSTORAGE_NAME_MAX);

	if (!len || len == TAGSTORAGE_NAME_MAX)
		return false;
	for (; *name; name++)
		if (!isalnum(*name) && *name != '_')
			return false;
	return true;
}

static int check_policy(const struct tagstorage_policy *policy)
{
	if (!policy->name || !name_ok(policy->name)) {
		pr_err("a policy has no name, or not one of letters, digits and _ (%d at most)\n",
		       TAGSTORAGE_NAME_MAX - 1);
		return -EINVAL;
	}
	if (policy->abi != TAGSTORAGE_ABI) {
		pr_err("policy %s was built for abi %u, the engine has abi %u: rebuild it against this engine's tagstorage.h\n",
		       policy->name, policy->abi, TAGSTORAGE_ABI);
		return -EPROTO;
	}
	if (!policy->owner || !policy->give) {
		pr_err("policy %s lacks the required %s\n", policy->name,
		       policy->owner ? "give" : "owner");
		return -EINVAL;
	}
	if (policy->keeps && !policy->hand_out) {
		pr_err("policy %s keeps pages and lacks the required hand_out\n",
		       policy->name);
		return -EINVAL;
	}
	return 0;
}

int tagstorage_policy_register(struct tagstorage_policy *policy)
{
	int ret = check_policy(policy);

	if (ret)
		return ret;
	mutex_lock(&tagstorage_lend_mutex);
	if (find_policy(policy->name)) {
		pr_err("a policy %s is registered already\n", policy->name);
		ret = -EEXIST;
	} else {
		list_add_tail(&policy->list, &carveout.list);
		if (activate && active == &carveout)
			switch_policy(policy);
	}
	mutex_unlock(&tagstorage_lend_mutex);
	return ret;
}
EXPORT_SYMBOL_NS_GPL(tagstorage_policy_register, TAGSTORAGE);

void tagstorage_policy_unregister(struct tagstorage_policy *policy)
{
	mutex_lock(&tagstorage_lend_mutex);
	if (active == policy)
		switch_policy(&carveout);
	list_del(&policy->list);
	mutex_unlock(&tagstorage_lend_mutex);
}
EXPORT_SYMBOL_NS_GPL(tagstorage_policy_unregister, TAGSTORAGE);

/**
 * tagstorage_policy_select - the user's choice
 * @name: of the policy; its module is loaded if need be
 *
 * Context: may sleep.
 * Return: 0; -ENOENT if there is no such policy; what kept it from starting.
 */
int tagstorage_policy_select(const char *name)
{
	struct tagstorage_policy *policy;
	int ret = -ENOENT;

	if (!name_ok(name))
		return -EINVAL;
	mutex_lock(&tagstorage_lend_mutex);
	policy = find_policy(name);
	if (!policy) {
		/* It registers itself while it is loaded. */
		mutex_unlock(&tagstorage_lend_mutex);
		request_module(TAGSTORAGE_ALIAS "%s", name);
		mutex_lock(&tagstorage_lend_mutex);
		policy = find_policy(name);
	}
	if (policy)
		ret = switch_policy(policy);
	mutex_unlock(&tagstorage_lend_mutex);
	return ret;
}

/* Every policy, the active one in brackets; carveout comes first. */
ssize_t tagstorage_policy_show(char *buf)
{
	struct tagstorage_policy *policy = &carveout;
	ssize_t len = 0;

	mutex_lock(&tagstorage_lend_mutex);
	do {
		len += sysfs_emit_at(buf, len, policy == active ? "[%s] " : "%s ",
				     policy->name);
		policy = list_next_entry(policy, list);
	} while (policy != &carveout);
	mutex_unlock(&tagstorage_lend_mutex);
	buf[len - 1] = '\n';
	return len;
}
