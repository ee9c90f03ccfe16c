// SPDX-License-Identifier: GPL-2.0
/*
 * fail_load.ko - lets a function fail while the engine is loaded
 *
 * fail_function can't: whoever names a function of a module to it is too late for what happens when the module is
 * loaded. This has a probe placed when the module is there and has not run yet.
 */
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/string.h>

static char *function;
module_param(function, charp, 0444);
MODULE_PARM_DESC(function, "its name");

static int error;
module_param(error, int, 0444);
MODULE_PARM_DESC(error, "what it returns");

static unsigned int nth = 1;
module_param(nth, uint, 0444);
MODULE_PARM_DESC(nth, "the first call that fails (default 1)");

static unsigned int times = 1;
module_param(times, uint, 0444);
MODULE_PARM_DESC(times, "how many calls fail (default 1)");

static unsigned int calls;
module_param(calls, uint, 0444);
MODULE_PARM_DESC(calls, "how often it was called");

/* The engine is loaded by one task, and what it calls then is called by nobody else. */
static int on_call(struct kprobe *kp, struct pt_regs *regs)
{
	unsigned int call = ++calls;

	if (call < nth || call - nth >= times)
		return 0;
	regs_set_return_value(regs, error);
	instruction_pointer_set(regs, procedure_link_pointer(regs));
	return 1;
}

static struct kprobe probe = {
	.pre_handler = on_call,
};

static bool probed;

static int on_module(struct notifier_block *nb, unsigned long state, void *data)
{
	const struct module *module = data;
	int ret;

	if (state != MODULE_STATE_COMING || strcmp(module->name, "tagstorage") || probed)
		return NOTIFY_DONE;
	probe.symbol_name = function;
	ret = register_kprobe(&probe);
	if (ret)
		pr_err("%s can't be probed: error %d\n", function, ret);
	probed = !ret;
	return NOTIFY_OK;
}

static struct notifier_block module_nb = {
	.notifier_call = on_module,
};

static int __init fail_load_init(void)
{
	return register_module_notifier(&module_nb);
}

static void __exit fail_load_exit(void)
{
	unregister_module_notifier(&module_nb);
	if (probed)
		unregister_kprobe(&probe);
}

module_init(fail_load_init);
module_exit(fail_load_exit);

MODULE_DESCRIPTION("A function fails while the tag storage engine is loaded: for tests only");
MODULE_AUTHOR("tagstorage developers");
MODULE_LICENSE("GPL");
