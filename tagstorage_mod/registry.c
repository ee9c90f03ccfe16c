// SPDX-License-Identifier: GPL-2.0
/*
 * Policies: who is there, which one is active, and the switch from one to another.
 *
 * There is always one active policy. `carveout` is built in, lends nothing and
 * can't be removed; it takes over when the active one goes, or is thrown out because it
 * did what it must not (policy.c). Where one can't start, the one before goes on, or
 * `carveout`, if that can't start again either. Nobody holds a reference to a policy
 * module: its exit function unregisters the policy, and when that returns, none of its
 * callbacks runs or will (all but one run under tagstorage_lend_mutex, and kept.c waits
 * for that one).
 */
#define pr_fmt(fmt) "tagstorage: " fmt

#include <linux/ctype.h>
#include <linux/error-injection.h>
#include <linux/kmod.h>
#include <linux/module.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/timekeeping.h>
#include <linux/workqueue.h>

#include "engine.h"
#include "trace.h"

static bool activate = true;
module_param(activate, bool, 0644);
MODULE_PARM_DESC(activate,
		 "make a policy active when it is loaded and carveout was active (default Y)");

/*
 * For recovery: tagstorage.lend=0 on the kernel's command line keeps whatever is
 * loaded at boot from lending. It governs beginnings only, and ends no lending.
 */
static bool lend = true;
module_param(lend, bool, 0644);
MODULE_PARM_DESC(lend,
		 "policies may become active, and lend (default Y); for recovery, boot with tagstorage.lend=0");
/* Of last_change, and of the log's sentence "policy X is active (was Y), TEXT". */
static const struct {
	const char *name, *text;
} reasons[TAGSTORAGE_NR_REASONS] = {
	[TAGSTORAGE_BY_ENGINE]	= { "engine", "decided by the engine" },
	[TAGSTORAGE_BY_USER]	= { "user", "chosen by the user" },
	[TAGSTORAGE_BY_LOAD]	= { "load", "because its module was loaded" },
	[TAGSTORAGE_BY_UNLOAD]	= { "unload", "because the other is removed" },
	[TAGSTORAGE_BY_START]	= { "start", "because the other could not start" },
	[TAGSTORAGE_BY_FAULT]	= { "fault", "because the other is thrown out" },
};

/* The hardware's default. It has no give(): it lends nothing. */
static struct tagstorage_choice carveout = {
	.ops = {
		.abi	= TAGSTORAGE_ABI,
		.size	= sizeof(struct tagstorage_policy),
		.name	= "carveout",
		.owner	= THIS_MODULE,
	},
	.list = LIST_HEAD_INIT(carveout.list),
};

/*
 * The list is headed by carveout itself. Guarded, as the active one, by
 * tagstorage_lend_mutex; read under RCU, too.
 */
static struct tagstorage_choice *active = &carveout;

/* The last change of the active policy; names are copies. Guarded as that is. */
static struct {
	unsigned long number;
	enum tagstorage_reason reason;
	enum tagstorage_fault fault;
	char from[TAGSTORAGE_NAME_MAX];
	char to[TAGSTORAGE_NAME_MAX];
	int err;
	struct timespec64 when;
} last = { .from = "-", .to = "carveout" };

/* What a user waits for while its module is loaded. Under tagstorage_lend_mutex. */
static char wanted[TAGSTORAGE_NAME_MAX];

static void registry_work(struct work_struct *work);
static DECLARE_WORK(tagstorage_registry_work, registry_work);

static struct tagstorage_choice *find_policy(const char *name)
{
	struct tagstorage_choice *policy;

	lockdep_assert_held(&tagstorage_lend_mutex);
	if (!strcmp(name, carveout.ops.name))
		return &carveout;
	list_for_each_entry(policy, &carveout.list, list)
		if (!strcmp(name, policy->ops.name))
			return policy;
	return NULL;
}

struct tagstorage_choice *tagstorage_policy_active(void)
{
	lockdep_assert_held(&tagstorage_lend_mutex);
	return active;
}

/* Refused before anything changes. */
static int may_activate(struct tagstorage_choice *policy)
{
	if (!policy->ops.give)
		return 0;
	if (!READ_ONCE(lend)) {
		pr_err("tagstorage.lend=0 keeps policy %s from lending: to lend again, echo 1 > /sys/module/tagstorage/parameters/lend, then choose it\n",
		       policy->ops.name);
		return -EPERM;
	}
	return tagstorage_lend_suits(policy) ? 0 : -ENODEV;
}

/* What stands for a reason in last_change and in the event. */
static const char *reason_name(char *buf, size_t size)
{
	if (last.reason != TAGSTORAGE_BY_FAULT)
		return reasons[last.reason].name;
	snprintf(buf, size, "%s:%s", reasons[last.reason].name,
		 tagstorage_faults[last.fault].name);
	return buf;
}

/* The one place where the active policy changes. @err: why the other could not go on */
static void set_active(struct tagstorage_choice *to,
		       enum tagstorage_reason reason, int err)
{
	struct tagstorage_choice *from = active;
	char buf[TAGSTORAGE_REASON_MAX];

	lockdep_assert_held(&tagstorage_lend_mutex);
	active = to;
	last.number++;
	last.reason = reason;
	last.fault = tagstorage_fault_of(from);
	strscpy(last.from, from->ops.name);
	strscpy(last.to, to->ops.name);
	last.err = err;
	ktime_get_boottime_ts64(&last.when);
	pr_info("policy %s is active (was %s), %s\n", last.to, last.from,
		reasons[reason].text);
	trace_tagstorage_policy_switch(last.from, last.to, err,
				       reason_name(buf, sizeof(buf)));
}

/* Say once what a policy did wrong. */
static bool report_fault(struct tagstorage_choice *policy)
{
	enum tagstorage_fault fault = tagstorage_fault_of(policy);

	lockdep_assert_held(&tagstorage_lend_mutex);
	if (fault && !policy->reported)
		pr_err("policy %s is thrown out, because %s; it can't be chosen again before its module is loaded anew\n",
		       policy->ops.name, tagstorage_faults[fault].text);
	policy->reported = fault;
	return fault;
}

/*
 * Start a policy; the active one lends nothing. If it can't, @back is started, which lent
 * before, and if that can't either, carveout. @err: why the active one can't go on
 */
static int start_policy(struct tagstorage_choice *to,
			struct tagstorage_choice *back,
			enum tagstorage_reason reason, int err)
{
	int ret;

	set_active(to, reason, err);
	if (!to->ops.give)
		return 0;
	ret = tagstorage_lend_start(to);
	if (!report_fault(to)) {
		if (ret)
			start_policy(tagstorage_fault_of(back) ? &carveout :
				     back, &carveout, TAGSTORAGE_BY_START, ret);
		return ret;
	}
	tagstorage_lend_stop(to);
	set_active(&carveout, TAGSTORAGE_BY_FAULT, ret);
	return -ENOTRECOVERABLE;
}

/* What it freed until now is its fault, not that of the next one. */
static void stop_active(void)
{
	tagstorage_lend_stop(active);
	if (tagstorage_strays_found())
		tagstorage_fault_set(active, TAGSTORAGE_FAULT_OTHER);
}

static int switch_policy(struct tagstorage_choice *to,
			 enum tagstorage_reason reason)
{
	struct tagstorage_choice *from = active;
	int ret = 0;

	lockdep_assert_held(&tagstorage_lend_mutex);
	if (to == from)
		return 0;
	if (!tagstorage_fault_of(to))
		ret = may_activate(to);
	/* Thrown out before, or just now: say what is to be done. */
	to->reported = false;
	if (report_fault(to))
		ret = -ENOTRECOVERABLE;
	if (!ret) {
		if (from->ops.give)
			stop_active();
		report_fault(from);
		ret = start_policy(to, from, reason, 0);
	}
	if (ret)
		pr_err("policy %s can't be activated (error %d), %s is active\n",
		       to->ops.name, ret, active->ops.name);
	return ret;
}

/* A fault was noted, or a page freed that was not lent. */
static void registry_work(struct work_struct *work)
{
	struct tagstorage_choice *policy;

	mutex_lock(&tagstorage_lend_mutex);
	if (tagstorage_strays_found() && active->ops.give)
		tagstorage_fault_set(active, TAGSTORAGE_FAULT_OTHER);
	list_for_each_entry(policy, &carveout.list, list)
		report_fault(policy);
	if (tagstorage_fault_of(active))
		switch_policy(&carveout, TAGSTORAGE_BY_FAULT);
	mutex_unlock(&tagstorage_lend_mutex);
}

/* Have a look at faults. Context: any where no lock of the page allocator is held. */
void tagstorage_registry_kick(void)
{
	queue_work(system_unbound_wq, &tagstorage_registry_work);
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

/*
 * The name of a callback that does not go when the policy's module does; NULL if there
 * is none. The engine's own functions stay longer than any policy.
 */
static const char *foreign_callback(const struct tagstorage_policy *policy)
{
	const struct {
		const char *name;
		void *function;
	} callbacks[] = {
		{ "give", policy->give },
		{ "may_lend", policy->may_lend },
		{ "suits", policy->suits },
		{ "attach", policy->attach },
		{ "detach", policy->detach },
		{ "hand_out", policy->hand_out },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(callbacks); i++) {
		unsigned long address = (unsigned long)callbacks[i].function;

		if (address && !within_module_core(address, policy->owner) &&
		    !within_module_core(address, THIS_MODULE))
			return callbacks[i].name;
	}
	return NULL;
}

/* @caller: the module's function; nothing of a policy with another abi can be read. */
static int check_policy(const struct tagstorage_policy *policy, void *caller)
{
	const char *foreign;

	if (policy->abi != TAGSTORAGE_ABI ||
	    policy->size != sizeof(struct tagstorage_policy)) {
		pr_err("the policy of %ps was built for abi %u with %u bytes, the engine has abi %u with %zu bytes: rebuild it against this engine's tagstorage.h\n",
		       caller, policy->abi, policy->size, TAGSTORAGE_ABI,
		       sizeof(struct tagstorage_policy));
		return -EPROTO;
	}
	if (!policy->name || !name_ok(policy->name)) {
		pr_err("a policy has no name, or not one of letters, digits and _ (%d at most)\n",
		       TAGSTORAGE_NAME_MAX - 1);
		return -EINVAL;
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
	foreign = foreign_callback(policy);
	if (foreign) {
		pr_err("policy %s: its callback %s does not belong to its owner, module %s\n",
		       policy->name, foreign, policy->owner->name);
		return -EINVAL;
	}
	return 0;
}

int tagstorage_policy_register(const struct tagstorage_policy *policy)
{
	struct tagstorage_choice *choice;
	int ret = check_policy(policy, __builtin_return_address(0));

	if (ret)
		return ret;
	choice = kzalloc(sizeof(*choice), GFP_KERNEL);
	if (!choice)
		return -ENOMEM;
	choice->ops = *policy;
	choice->policy = policy;
	mutex_lock(&tagstorage_lend_mutex);
	if (find_policy(policy->name)) {
		pr_err("a policy %s is registered already\n", policy->name);
		kfree(choice);
		ret = -EEXIST;
	} else {
		list_add_tail_rcu(&choice->list, &carveout.list);
		/* Who wants it activates it, once, when it is loaded. */
		if (READ_ONCE(activate) && active == &carveout &&
		    strcmp(policy->name, wanted))
			switch_policy(choice, TAGSTORAGE_BY_LOAD);
	}
	mutex_unlock(&tagstorage_lend_mutex);
	return ret;
}
EXPORT_SYMBOL_NS_GPL(tagstorage_policy_register, TAGSTORAGE);
ALLOW_ERROR_INJECTION(tagstorage_policy_register, ERRNO);

/* Its callbacks run no more when this returns. */
static void forget_policy(struct tagstorage_choice *policy,
			  enum tagstorage_reason reason)
{
	lockdep_assert_held(&tagstorage_lend_mutex);
	if (active == policy)
		switch_policy(&carveout, reason);
	report_fault(policy);
	list_del_rcu(&policy->list);
	kfree_rcu(policy, rcu);
}

void tagstorage_policy_unregister(const struct tagstorage_policy *policy)
{
	struct tagstorage_choice *choice, *next;

	mutex_lock(&tagstorage_lend_mutex);
	list_for_each_entry_safe(choice, next, &carveout.list, list)
		if (choice->policy == policy)
			forget_policy(choice, TAGSTORAGE_BY_UNLOAD);
	mutex_unlock(&tagstorage_lend_mutex);
}
EXPORT_SYMBOL_NS_GPL(tagstorage_policy_unregister, TAGSTORAGE);

void tagstorage_policy_first(const struct tagstorage_policy *policy, bool first)
{
	struct tagstorage_choice *choice;

	mutex_lock(&tagstorage_lend_mutex);
	list_for_each_entry(choice, &carveout.list, list) {
		if (choice->policy != policy || choice->first == first)
			continue;
		choice->first = first;
		tagstorage_kept_first(choice);
	}
	mutex_unlock(&tagstorage_lend_mutex);
}
EXPORT_SYMBOL_NS_GPL(tagstorage_policy_first, TAGSTORAGE);

/* Without the mutex: modules that have no policy must not wait for a switch. */
static bool has_policy(const struct module *module)
{
	struct tagstorage_choice *policy;
	bool has = false;

	rcu_read_lock();
	list_for_each_entry_rcu(policy, &carveout.list, list)
		has |= policy->ops.owner == module;
	rcu_read_unlock();
	return has;
}

/* A module goes, and its code is still there: what it forgot to unregister must go. */
static int module_callback(struct notifier_block *nb, unsigned long state,
			   void *module)
{
	struct tagstorage_choice *policy, *next;

	if (state != MODULE_STATE_GOING || !has_policy(module))
		return NOTIFY_DONE;
	mutex_lock(&tagstorage_lend_mutex);
	list_for_each_entry_safe(policy, next, &carveout.list, list) {
		if (policy->ops.owner != module)
			continue;
		tagstorage_fault_set(policy, TAGSTORAGE_FAULT_STAYED);
		forget_policy(policy, TAGSTORAGE_BY_FAULT);
	}
	mutex_unlock(&tagstorage_lend_mutex);
	return NOTIFY_OK;
}

static struct notifier_block module_nb = {
	.notifier_call = module_callback,
};

int tagstorage_registry_init(void)
{
	return register_module_notifier(&module_nb);
}

/* There is no policy any more, for each one holds the engine. */
void tagstorage_registry_exit(void)
{
	unregister_module_notifier(&module_nb);
	tagstorage_policy_sync();
	cancel_work_sync(&tagstorage_registry_work);
}

/**
 * tagstorage_policy_select - choose a policy
 * @name: of the policy; its module is loaded if need be
 * @reason: who chose it
 *
 * Context: may sleep.
 * Return: 0; -ENOENT if there is no such policy; -ENOTRECOVERABLE if it was thrown out;
 * what kept it from starting.
 */
int tagstorage_policy_select(const char *name, enum tagstorage_reason reason)
{
	struct tagstorage_choice *policy;
	int ret = -ENOENT;

	if (!name_ok(name))
		return -EINVAL;
	mutex_lock(&tagstorage_lend_mutex);
	policy = find_policy(name);
	if (!policy) {
		/* It registers itself while it is loaded. */
		strscpy(wanted, name);
		mutex_unlock(&tagstorage_lend_mutex);
		request_module(TAGSTORAGE_ALIAS "%s", name);
		mutex_lock(&tagstorage_lend_mutex);
		/* Somebody else may wait for another one by now. */
		if (!strcmp(wanted, name))
			wanted[0] = 0;
		policy = find_policy(name);
	}
	if (policy)
		ret = switch_policy(policy, reason);
	mutex_unlock(&tagstorage_lend_mutex);
	return ret;
}

/* Every policy, the active one in brackets; carveout comes first. */
ssize_t tagstorage_policy_show(char *buf)
{
	struct tagstorage_choice *policy = &carveout;
	ssize_t len = 0;

	mutex_lock(&tagstorage_lend_mutex);
	do {
		len += sysfs_emit_at(buf, len, policy == active ? "[%s] " : "%s ",
				     policy->ops.name);
		policy = list_next_entry(policy, list);
	} while (policy != &carveout);
	mutex_unlock(&tagstorage_lend_mutex);
	buf[len - 1] = '\n';
	return len;
}

/* NUMBER REASON FROM TO ERROR SECONDS */
ssize_t tagstorage_last_change_show(char *buf)
{
	char reason[TAGSTORAGE_REASON_MAX];
	ssize_t len;

	mutex_lock(&tagstorage_lend_mutex);
	len = sysfs_emit(buf, "%lu %s %s %s %d %lld.%03ld\n", last.number,
			 reason_name(reason, sizeof(reason)), last.from,
			 last.to, last.err, last.when.tv_sec,
			 last.when.tv_nsec / NSEC_PER_MSEC);
	mutex_unlock(&tagstorage_lend_mutex);
	return len;
}
