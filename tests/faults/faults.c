// SPDX-License-Identifier: GPL-2.0
/*
 * faults/faults.c - operations during which an allocation, or a function of ours, fails: the first, the second, ...
 *
 * usage: faults MODE NAME...
 *
 *   MODE    allocations: the page and slab allocations of the task; memory, policies, hotplug: functions of the engine,
 *           see the table below
 *   NAME    operations
 *
 * An operation is done again and again, until nothing was left to fail. Each time it succeeds or ends with an error
 * that is documented, and memory is as it should be: what the operation works on, and memory with data and tags that
 * is held all the time. At the end, and after each error of an operation that changes all blocks, the engine's audit is
 * clean. When nothing fails, an operation succeeds.
 *
 * Prints "ok - NAME" or "not ok - NAME: WHY" for each operation, and how often what failed; then for each function that
 * it failed at least once, in one of the operations.
 *
 * Environment: TIER (quick: the later ones of many failures are a sample; full: one by one),
 *              POLICY (for operations that load or choose one; default: cma)
 */

#define _GNU_SOURCE
#include <sched.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "directed.h"

#define DEBUG		"/sys/kernel/debug/"
#define FAIL_FUNCTION	DEBUG "fail_function/"
#define ENDLESS		1000000		/* allocations, more than any operation makes */
#define HELD		40		/* pages */
#define PAGES		40		/* that an operation works on: more than share a block */
#define KEPT		8000		/* pages that become tagged before the first ones may be free again */
#define OWN		400		/* of the last allocations of a load, those that are not the loader's */
#define TIMES		8		/* that a function fails, where it fails more than once */

struct operation {
	const char *name;
	void (*begin)(void);		/* once */
	void (*prepare)(void);		/* each time, before anything fails */
	int (*run)(void);		/* returns 0 or an errno */
	void (*check)(int error);	/* each time, and undoes it */
	void (*end)(void);
	int errors[4];			/* that it may end with when an allocation fails */
	bool own_errors;		/* it may end with that of a function of ours that fails */
	bool backwards;			/* the last allocations are the interesting ones */
	bool all_blocks;		/* it changes all blocks, which takes long */
};

/* Functions that are marked as ones that can fail, by MODE, and what they return then. */
struct function {
	const char *set;
	const char *name;
	int error;		/* 0: it returns NULL or false */
};

static const struct function functions[] = {
	{ "memory", "tagstorage_reserve", EAGAIN },
	{ "memory", "tagstorage_claim", EBUSY },
	{ "memory", "claim_block", EBUSY },
	{ "memory", "tagstorage_prepare_run", EAGAIN },
	{ "memory", "tagstorage_prepare_chunk", EAGAIN },
	{ "memory", "tagstorage_packed", 0 },
	{ "memory", "tagstorage_pack", 0 },
	{ "memory", "tagstorage_isolate_user", 0 },
	{ "policies", "tagstorage_policy_register", ENOMEM },
	{ "policies", "tagstorage_call_attach", ENOMEM },
	{ "policies", "lend_begin", EPERM },
	{ "policies", "tagstorage_clean_tag_lines", ENOMEM },
	{ "hotplug", "tagstorage_hotplug_add", EBUSY },
	{ "hotplug", "online_block", EBUSY },
	{ "hotplug", "let_go_page", 0 },
};

/* How often each of them failed; shared with the processes of the tests. */
static unsigned long *failures;

static const char *mode;
static bool all_positions;
static int fail_nth;
static char *held, *memory;

/* What fails */

static void set(const char *folder, const char *name, const char *value)
{
	char path[256];

	snprintf(path, sizeof(path), DEBUG "%s/%s", folder, name);
	if (!write_text(path, value))
		die("%s: %s", path, strerror(errno));
}

static unsigned long get(const char *folder, const char *name)
{
	char path[256], text[64];

	snprintf(path, sizeof(path), DEBUG "%s/%s", folder, name);
	if (!read_text(path, text, sizeof(text)))
		die("%s: %s", path, strerror(errno));
	return strtoul(text, NULL, 0);
}

/* Nothing is left out, and nothing said: the log has room for what matters. */
static void set_up(void)
{
	static const char *const folders[] = { "failslab", "fail_page_alloc", "fail_function" };

	for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
		set(folders[i], "verbose", "0");
		set(folders[i], "probability", "0");
	}
	set("failslab", "ignore-gfp-wait", "N");
	set("fail_page_alloc", "ignore-gfp-wait", "N");
	set("fail_page_alloc", "ignore-gfp-highmem", "N");
	set("fail_page_alloc", "min-order", "0");
}

/* Let the @nth allocation from now on fail, of this task. */
static void arm_allocation(unsigned long nth)
{
	char text[32];
	int length = snprintf(text, sizeof(text), "%lu", nth);

	if (pwrite(fail_nth, text, length, 0) != length)
		fail("fail-nth can't be set: %s", strerror(errno));
}

/* Returns how many were missing; 0: one has failed. */
static unsigned long disarm_allocation(void)
{
	char text[32] = "";

	if (pread(fail_nth, text, sizeof(text) - 1, 0) < 1)
		fail("fail-nth can't be read: %s", strerror(errno));
	arm_allocation(0);
	return strtoul(text, NULL, 0);
}

/* Let the @nth call of the function fail, and @times - 1 more. Whoever calls it: some work is the worker's. */
static void arm_function(unsigned long nth, unsigned int times)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", nth);
	set("fail_function", "space", text);
	snprintf(text, sizeof(text), "%u", times);
	set("fail_function", "times", text);
	set("fail_function", "probability", "100");
}

/* Returns how often it failed. */
static unsigned long disarm_function(unsigned int times)
{
	set("fail_function", "probability", "0");
	return times - get("fail_function", "times");
}

static void choose_function(const struct function *function)
{
	char name[128], value[32];

	set("fail_function", "inject", function->name);
	snprintf(name, sizeof(name), "%s/retval", function->name);
	snprintf(value, sizeof(value), "%#lx", -(long)function->error);
	set("fail_function", name, value);
}

/* Looking */

/* Clean, and nobody claims anything just now, so no block is left on its way; but the worker may be lending some. */
static void audit(void)
{
	static char text[16384];

	for (unsigned int i = 0; i < TRIES; i++) {
		if (!read_text(DEBUG "tagstorage/audit", text, sizeof(text)))
			fail("there is no audit");
		if (!strstr(text, "audit: clean"))
			break;
		if (strstr(text, " lending 0 ") && strstr(text, " claiming 0 "))
			return;
		short_sleep();
	}
	fail("%s", text);
}

static bool is_loaded(const char *module)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/module/%s/initstate", module);
	return !access(path, F_OK);
}

/* The active policy is the one that stands in brackets. */
static bool is_active(const char *policy)
{
	char text[256], word[64];

	snprintf(word, sizeof(word), "[%s]", policy);
	return read_text(SYSFS "/policy", text, sizeof(text)) && strstr(text, word);
}

static bool may_end_with(const struct operation *op, int error)
{
	for (size_t i = 0; i < ARRAY_SIZE(op->errors); i++)
		if (op->errors[i] == error)
			return true;
	return false;
}

/* Of one time; @function: what was to fail, NULL: an allocation. */
static void judge(const struct operation *op, const struct function *function, unsigned long nth, bool hit, int error)
{
	bool fine = !error || (hit && !function && may_end_with(op, error)) ||
		    (hit && function && op->own_errors && (error == function->error || may_end_with(op, error)));

	if (!fine)
		fail("%s %lu %s: error %d, %s", function ? function->name : "allocation", nth,
		     hit ? "failed" : "did not fail", error, strerror(error));
	op->check(error);
	expect_all(held, 0, HELD, 1);
	if (op->all_blocks && error)
		audit();
}

/*
 * The next position of those that are tried: all, or the first ones and a sample of the others, where there are many:
 * most are calls of one loop over all blocks or pages, or files in sysfs, or the module loader's own allocations.
 */
static unsigned long after(const struct operation *op, unsigned long nth)
{
	if (op->all_blocks)
		return nth + 1 + nth / (all_positions ? 48 : 1);
	if (all_positions)
		return nth + 1;
	return nth + (op->backwards ? nth < OWN ? 7 : nth / 4 : 1 + nth / 48);
}

static bool allocation_fails(const struct operation *op, unsigned long nth)
{
	unsigned long missing;
	int error;

	if (op->prepare)
		op->prepare();
	arm_allocation(nth);
	error = op->run();
	missing = disarm_allocation();
	judge(op, NULL, nth, !missing, error);
	return !missing;
}

/* As many as there are when nothing fails. */
static unsigned long count_allocations(const struct operation *op)
{
	unsigned long missing;
	int error;

	if (op->prepare)
		op->prepare();
	arm_allocation(ENDLESS);
	error = op->run();
	missing = disarm_allocation();
	judge(op, NULL, ENDLESS, false, error);
	return ENDLESS - missing;
}

static void allocations_fail(const struct operation *op)
{
	unsigned long count = count_allocations(op), failed = 0, i;

	if (op->backwards)
		for (i = 1; i <= count; i = after(op, i))
			failed += allocation_fails(op, count + 1 - i);
	else
		for (i = 1; allocation_fails(op, i); i = after(op, i))
			failed++;
	if (!failed && count)
		fail("no allocation failed");
	dprintf(STDOUT_FILENO, "# %s: %lu allocations, %lu times one of them failed\n", op->name, count, failed);
}

static bool function_fails(const struct operation *op, const struct function *function, unsigned long nth,
			   unsigned int times)
{
	unsigned long failed;
	int error;

	if (op->prepare)
		op->prepare();
	arm_function(nth, times);
	error = op->run();
	failed = disarm_function(times);
	judge(op, function, nth, failed, error);
	failures[function - functions] += failed;
	return failed;
}

static void functions_fail(const struct operation *op)
{
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		const struct function *function = &functions[i];
		unsigned long nth;

		if (strcmp(function->set, mode))
			continue;
		choose_function(function);
		for (nth = 1; function_fails(op, function, nth, 1); nth = after(op, nth))
			;
		dprintf(STDOUT_FILENO, "# %s: %s failed as far as its call %lu\n", op->name, function->name, nth - 1);
		nth = 1;
		while (function_fails(op, function, nth, TIMES) && !op->all_blocks)
			nth = after(op, nth + TIMES - 1);
		set("fail_function", "inject", " ");
	}
}

/* Policies */

static const char *policy(void)
{
	const char *name = getenv("POLICY");

	return name ? name : "cma";
}

static void choose(const char *name)
{
	if (!write_text(SYSFS "/policy", name))
		fail("%s can't be chosen: %s", name, strerror(errno));
}

/* Memory */

static void map_tagged(void)
{
	memory = map(PAGES, RW | PROT_MTE);
}

/* A page before it and one behind stay as they are: making it tagged takes a mapping of its own. */
static void map_populated(void)
{
	memory = map(PAGES + 2, RW) + PAGE;
	write_data(memory, 0, PAGES, 2);
}

static void map_written(void)
{
	map_tagged();
	write_all(memory, 0, PAGES, 2);
}

/* Nobody gets to see a fault that fails: it is repeated. */
static int touch(void)
{
	for (size_t page = 0; page < PAGES; page++)
		*(volatile char *)(memory + page * PAGE);
	write_all(memory, 0, PAGES, 2);
	return 0;
}

static int touch_huge(void)
{
	write_all(memory, 0, HUGE_PAGES, 2);
	return 0;
}

static void check_written(int error)
{
	(void)error;
	expect_all(memory, 0, PAGES, 2);
	munmap(memory, PAGES * PAGE);
}

/* What becomes tagged stays for a while, so that each time there is a block to be claimed. */
static char *kept;
static size_t nr_kept;

static void map_next(void)
{
	if (!kept)
		kept = map(KEPT, RW | PROT_MTE);
	if (nr_kept + PAGES > KEPT) {
		madvise(kept, KEPT * PAGE, MADV_DONTNEED);
		nr_kept = 0;
	}
	memory = kept + nr_kept * PAGE;
	nr_kept += PAGES;
}

static void check_kept(int error)
{
	(void)error;
	expect_all(memory, 0, PAGES, 2);
}

static void map_huge_tagged(void)
{
	memory = map_huge(RW | PROT_MTE);
}

/* The room around it stays mapped, without memory. */
static void check_huge(int error)
{
	(void)error;
	expect_all(memory, 0, HUGE_PAGES, 2);
	munmap(memory, HUGE);
}

static int make_tagged(void)
{
	return mprotect(memory, PAGES * PAGE, RW | PROT_MTE) ? errno : 0;
}

/* What could not be made tagged can be the next time. */
static void check_tagged(int error)
{
	expect_data(memory, 0, PAGES, 2);
	if (error)
		protect(memory, PAGES, RW | PROT_MTE);
	write_tags(memory, 0, PAGES, 2);
	check_written(0);
}

static int make_tagged_and_touch(void)
{
	int error = make_tagged();

	if (!error)
		write_tags(memory, 0, PAGES, 2);
	return error;
}

static struct turns child;

/* The child sees what its parent wrote before, whatever that writes now. */
static int do_fork(void)
{
	child.child = fork();
	if (!child.child) {
		take(child.to_child[0]);
		expect_all(memory, 0, PAGES, 2);
		write_all(memory, 0, PAGES, 3);
		expect_all(memory, 0, PAGES, 3);
		_exit(PASSED);
	}
	return child.child < 0 ? errno : 0;
}

static void prepare_fork(void)
{
	map_written();
	if (pipe(child.to_child))
		fail("pipe: %s", strerror(errno));
}

static void end_fork(void)
{
	if (child.child > 0)
		end_child(&child);
	close(child.to_child[0]);
	close(child.to_child[1]);
}

static void check_fork(int error)
{
	(void)error;
	write_all(memory, 0, PAGES / 2, 4);
	end_fork();
	expect_all(memory, 0, PAGES / 2, 4);
	expect_all(memory, PAGES / 2, PAGES / 2, 2);
	munmap(memory, PAGES * PAGE);
}

static void prepare_copy(void)
{
	prepare_fork();
	if (do_fork())
		fail("fork: %s", strerror(errno));
}

static int copy(void)
{
	write_all(memory, 0, PAGES / 2, 4);
	return 0;
}

static void prepare_collapse(void)
{
	memory = map_huge(RW | PROT_MTE);
	madvise(memory, HUGE, MADV_NOHUGEPAGE);
	write_all(memory, 0, HUGE_PAGES, 2);
	madvise(memory, HUGE, MADV_HUGEPAGE);
}

static int collapse(void)
{
	return madvise(memory, HUGE, MADV_COLLAPSE) ? errno : 0;
}

/* Claims find lent pages in use: of data that is verified */

static char *users;
static size_t nr_users;
static uint64_t migrated;

/* This policy lends such pages before any other. */
static void use_all(void)
{
	choose("metadata");
	nr_users = total("free_pages");
	users = map(nr_users, RW);
	write_data(users, 0, nr_users, 5);
	if (total("free_pages") > total("lent_pages") / 16)
		fail("%" PRIu64 " lent pages are not used", total("free_pages"));
	migrated = total("claims_migrated");
}

static void end_users(void)
{
	if (kept)
		munmap(kept, KEPT * PAGE);
	expect_data(users, 0, nr_users, 5);
	if (total("claims_migrated") == migrated)
		fail("no claim had to migrate anything");
	choose(policy());
}

/* Modules, and one policy after the other */

static const char *module;
static const char *wanted;
static int file;

static int load(void)
{
	return syscall(SYS_finit_module, file, "", 0) ? errno : 0;
}

static int unload(void)
{
	return syscall(SYS_delete_module, module, O_NONBLOCK) ? errno : 0;
}

static void expect_unload(void)
{
	int error = unload();

	if (error)
		fail("%s can't be unloaded: %s", module, strerror(error));
}

static void expect_load(void)
{
	int error = load();

	if (error)
		fail("%s can't be loaded: %s", module, strerror(error));
}

static void open_module(const char *name)
{
	struct utsname machine;
	char path[256];

	module = name;
	if (uname(&machine))
		fail("uname: %s", strerror(errno));
	snprintf(path, sizeof(path), "/usr/lib/modules/%s/extra/%s.ko", machine.release, module);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		fail("%s: %s", path, strerror(errno));
	if (is_loaded(module))
		expect_unload();
}

static void begin_engine(void)
{
	open_module("tagstorage");
}

static void check_load(int error)
{
	if (!error)
		expect_unload();
	if (is_loaded(module))
		fail("%s is there", module);
}

static void check_engine(int error)
{
	check_load(error);
	if (!access(SYSFS, F_OK) || !access(DEBUG "tagstorage", F_OK))
		fail("the engine is gone and its files are not");
}

static void prepare_unload(void)
{
	expect_load();
}

static void check_unload(int error)
{
	if (error)
		fail("%s can't be unloaded: %s", module, strerror(error));
	check_engine(error);
}

static void end_file(void)
{
	close(file);
}

static void begin_policy(void)
{
	static char name[64];

	snprintf(name, sizeof(name), "tagstorage_%s", policy());
	open_module(name);
}

static void end_policy(void)
{
	expect_load();
	end_file();
}

/* A policy that can't start is there all the same, and nothing is lent. */
static void check_policy(int error)
{
	if (!error && !is_active(policy()) && !is_active("carveout"))
		fail("no policy is active");
	check_load(error);
	if (!is_active("carveout"))
		fail("%s is gone, and carveout is not active", module);
}

static void begin_swap(void)
{
	file = open(SYSFS "/policy", O_WRONLY | O_CLOEXEC);
	if (file < 0)
		fail(SYSFS "/policy: %s", strerror(errno));
}

static void prepare_start(void)
{
	choose("carveout");
	wanted = policy();
}

static void prepare_stop(void)
{
	choose(policy());
	wanted = "carveout";
}

static void prepare_other(void)
{
	choose(policy());
	wanted = "metadata";
}

static int swap(void)
{
	return write(file, wanted, strlen(wanted)) < 0 ? errno : 0;
}

static void check_swap(int error)
{
	if (error ? !is_active("carveout") && !is_active(policy()) : !is_active(wanted))
		fail("another policy is active than should be");
	choose("carveout");
}

static void end_swap(void)
{
	choose(policy());
	end_file();
}

static const struct operation operations[] = {
	{ .name = "fault", .prepare = map_tagged, .run = touch, .check = check_written },
	{ .name = "fault-huge", .prepare = map_huge_tagged, .run = touch_huge, .check = check_huge },
	{ .name = "mprotect", .prepare = map_populated, .run = make_tagged, .check = check_tagged,
	  .errors = { ENOMEM } },
	{ .name = "mprotect-fault", .prepare = map_populated, .run = make_tagged_and_touch, .check = check_tagged,
	  .errors = { ENOMEM } },
	{ .name = "fork", .prepare = prepare_fork, .run = do_fork, .check = check_fork, .errors = { ENOMEM, EAGAIN } },
	{ .name = "copy-on-write", .prepare = prepare_copy, .run = copy, .check = check_fork },
	{ .name = "collapse", .prepare = prepare_collapse, .run = collapse, .check = check_huge,
	  .errors = { ENOMEM, EAGAIN, EBUSY, EINVAL }, .own_errors = true },
	/* metadata must be loaded, with order=first. */
	{ .name = "fault-used", .begin = use_all, .prepare = map_next, .run = touch, .check = check_kept,
	  .end = end_users },
	{ .name = "fault-huge-used", .begin = use_all, .prepare = map_huge_tagged, .run = touch_huge,
	  .check = check_huge, .end = end_users },
	/* Nothing must be loaded; after unload, nothing is. */
	{ .name = "load", .begin = begin_engine, .run = load, .check = check_engine, .end = end_file,
	  .errors = { ENOMEM }, .backwards = true },
	{ .name = "unload", .begin = begin_engine, .prepare = prepare_unload, .run = unload, .check = check_unload,
	  .end = end_file },
	/* After each of these, the policy is active. */
	{ .name = "load-policy", .begin = begin_policy, .run = load, .check = check_policy, .end = end_policy,
	  .errors = { ENOMEM }, .own_errors = true, .backwards = true, .all_blocks = true },
	{ .name = "unload-policy", .begin = begin_policy, .prepare = prepare_unload, .run = unload,
	  .check = check_policy, .end = end_policy, .all_blocks = true },
	{ .name = "start-policy", .begin = begin_swap, .prepare = prepare_start, .run = swap, .check = check_swap,
	  .end = end_swap, .errors = { ENOMEM, EBUSY }, .own_errors = true, .all_blocks = true },
	{ .name = "stop-policy", .begin = begin_swap, .prepare = prepare_stop, .run = swap, .check = check_swap,
	  .end = end_swap, .all_blocks = true },
	{ .name = "other-policy", .begin = begin_swap, .prepare = prepare_other, .run = swap, .check = check_swap,
	  .end = end_swap, .errors = { ENOMEM, EBUSY }, .own_errors = true, .all_blocks = true },
};

static void one(const struct operation *op)
{
	bool loaded = is_loaded("tagstorage");
	uint64_t before;

	fail_nth = open("/proc/self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fail_nth < 0)
		fail("/proc/self/fail-nth: %s", strerror(errno));
	held = map(HELD, RW | PROT_MTE);
	write_all(held, 0, HELD, 1);
	before = total("tagged_pages");
	if (op->begin)
		op->begin();
	if (strcmp(mode, "allocations"))
		functions_fail(op);
	else
		allocations_fail(op);
	if (op->end)
		op->end();
	expect_all(held, 0, HELD, 1);
	if (loaded) {
		audit();
		expect_back("tagged_pages", before);
	}
}

static const struct operation *current;

static void run_current(void)
{
	one(current);
}

static const struct operation *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		if (!strcmp(operations[i].name, name))
			return &operations[i];
	die("there is no operation %s", name);
}

/* Each of them must have failed: else what follows from that is not tested. */
static bool report_functions(void)
{
	bool missed = false;

	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		if (strcmp(functions[i].set, mode))
			continue;
		missed |= !failures[i];
		printf("%s - %s failed\n", failures[i] ? "ok" : "not ok", functions[i].name);
		printf("# %s: %lu times\n", functions[i].name, failures[i]);
	}
	return missed;
}

int main(int argc, char **argv)
{
	const char *tier = getenv("TIER");
	bool failed = false;

	if (argc < 3)
		die("usage: faults allocations|memory|policies|hotplug NAME...");
	mode = argv[1];
	all_positions = tier && !strcmp(tier, "full");
	failures = mmap(NULL, sizeof(*failures) * ARRAY_SIZE(functions), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (failures == MAP_FAILED)
		die("there is no memory: %s", strerror(errno));
	set_up();
	for (int i = 2; i < argc; i++) {
		current = find(argv[i]);
		failed |= directed_tests(&(struct directed_test){ current->name, run_current }, 1, 1, argv);
	}
	return failed | report_functions();
}
