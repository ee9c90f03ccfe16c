// SPDX-License-Identifier: GPL-2.0
/*
 * paths/limits.c - directed tests of claims where somebody is at a limit: killed, out of memory, stopped, frozen,
 * locked in memory, charged to a cgroup
 *
 * usage: limits [all | NAME...]
 */

#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "pairs.h"

#define PAGES		512
#define HOARD		8192	/* pages that a process which is to be killed tags */
#define THREADS		4
#define CGROUPS		"/sys/fs/cgroup/"

/* Killed while blocks are claimed */

/* A process of several threads that tag memory, and wait for their end when they have all of it. */
struct hoard {
	pid_t pid;
	size_t *done;		/* pages tagged so far, seen by the parent as well */
	char *memory;
	size_t pages;
};

struct part {
	struct hoard *hoard;
	size_t first;
};

static void *tag_part(void *argument)
{
	struct part *part = argument;
	struct hoard *h = part->hoard;

	for (size_t page = part->first; page < h->pages; page += THREADS) {
		set_tag(h->memory + page * PAGE, 1);
		__atomic_fetch_add(h->done, 1, __ATOMIC_RELAXED);
	}
	pause();
	return NULL;
}

static void tag_all(struct hoard *h)
{
	struct part parts[THREADS];
	pthread_t thread;

	h->memory = map(h->pages, RW | PROT_MTE);
	for (size_t i = 0; i < THREADS; i++) {
		parts[i] = (struct part){ h, i };
		if (pthread_create(&thread, NULL, tag_part, &parts[i]))
			fail("there are no threads");
	}
	pause();
}

/* What @enter does, is done by the child first. */
static void start_hoard(struct hoard *h, size_t pages, void (*enter)(void))
{
	h->pages = pages;
	h->done = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (h->done == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	fflush(stdout);
	h->pid = fork();
	if (h->pid < 0)
		fail("fork: %s", strerror(errno));
	if (!h->pid) {
		if (enter)
			enter();
		tag_all(h);
	}
}

static void expect_killed(struct hoard *h)
{
	int status;

	if (waitpid(h->pid, &status, 0) != h->pid)
		fail("waitpid: %s", strerror(errno));
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail("the child was not killed: status %#x, %zu pages tagged", status, *h->done);
	munmap(h->done, PAGE);
}

/* A number of /proc/vmstat, or of another file with lines "NAME NUMBER". */
static uint64_t number_in(const char *path, const char *name)
{
	static char text[16384];
	size_t length = strlen(name);

	if (!read_text(path, text, sizeof(text)))
		fail("%s can't be read: %s", path, strerror(errno));
	for (char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, name, length) && line[length] == ' ')
			return strtoull(line + length, NULL, 10);
	}
	fail("%s has no %s", path, name);
}

/* Somebody else's tagged memory, and what is reserved without those who are going to die. */
struct survivor {
	char *memory;
	uint64_t reserved, tagged;
	uint64_t pfns[PAGES];
};

static void start_survivor(struct survivor *s)
{
	s->memory = map(PAGES, RW | PROT_MTE);
	write_all(s->memory, 0, PAGES, 1);
	empty_batches();
	get_pfns(s->memory, s->pfns, PAGES);
	s->reserved = total("reserved_pages");
	s->tagged = total("tagged_pages");
}

/* Where memory is short, compaction moves the survivor's pages; each may need a block where it lies now. */
static uint64_t may_be_reserved(const struct survivor *s)
{
	uint64_t pfns[PAGES], moved = 0;

	get_pfns(s->memory, pfns, PAGES);
	for (size_t page = 0; page < PAGES; page++)
		moved += pfns[page] != s->pfns[page];
	return s->reserved + moved;
}

static void expect_survived(const struct survivor *s)
{
	expect_back("tagged_pages", s->tagged);
	for (unsigned int i = 0; i < TRIES && total("reserved_pages") > may_be_reserved(s); i++)
		short_sleep();
	if (total("reserved_pages") > may_be_reserved(s))
		fail("reserved_pages is %" PRIu64 ", which was %" PRIu64 "; pages were moved, no more than %" PRIu64,
		     total("reserved_pages"), s->reserved, may_be_reserved(s) - s->reserved);
	expect_all(s->memory, 0, PAGES, 1);
	expect_clean_audit();
}

/* A fatal signal is pending in each of the threads' faults, wherever these are. */
static void killed(void)
{
	uint64_t ooms = number_in("/proc/vmstat", "oom_kill"), migrated = total("claims_migrated");
	struct survivor s;
	struct hoard h;

	start_survivor(&s);
	for (size_t round = 1; round <= 8; round++) {
		start_hoard(&h, HOARD, NULL);
		while (__atomic_load_n(h.done, __ATOMIC_RELAXED) < round * HOARD / 10)
			usleep(1000);
		kill(h.pid, SIGKILL);
		expect_killed(&h);
		expect_survived(&s);
	}
	if (number_in("/proc/vmstat", "oom_kill") != ooms)
		fail("somebody was killed for want of memory");
	if (total("lent_pages") && total("claims_migrated") == migrated)
		fail("no claim had to migrate anything");
}

/* Cgroups */

static const char *in_cgroup(const char *name, const char *file)
{
	static char path[256];

	snprintf(path, sizeof(path), CGROUPS "%s/%s", name, file);
	return path;
}

static void make_cgroup(const char *name)
{
	if (!write_text(CGROUPS "cgroup.subtree_control", "+memory"))
		skip("there is no memory cgroup: %s", strerror(errno));
	if (mkdir(in_cgroup(name, ""), 0700) && errno != EEXIST)
		fail("mkdir: %s", strerror(errno));
}

static void set_cgroup(const char *name, const char *file, const char *text)
{
	if (!write_text(in_cgroup(name, file), text))
		fail("%s of the cgroup can't be set: %s", file, strerror(errno));
}

static void enter_cgroup(const char *name)
{
	set_cgroup(name, "cgroup.procs", "0");
}

/* Bytes that are charged to it, as its users' memory and as the kernel's. */
static uint64_t charged_to(const char *name)
{
	return number_in(in_cgroup(name, "memory.stat"), "anon") + number_in(in_cgroup(name, "memory.stat"), "kernel");
}

/* As /proc/kpagecgroup names it. */
static uint64_t number_of_cgroup(const char *name)
{
	struct stat status;

	if (stat(in_cgroup(name, ""), &status))
		fail("stat: %s", strerror(errno));
	return status.st_ino;
}

/* Looks again where the kernel migrated the page meanwhile, for compaction say. */
static void expect_charged(const char *name, const char *address)
{
	uint64_t pfn, found;

	for (unsigned int i = 0; i < TRIES; i++) {
		pfn = get_pfn(address);
		found = read_entry("/proc/kpagecgroup", pfn);
		if (pfn && pfn == get_pfn(address))
			break;
		short_sleep();
	}
	if (found != number_of_cgroup(name))
		fail("a page is charged to cgroup %" PRIu64 " and not to %s, %" PRIu64, found, name,
		     number_of_cgroup(name));
}

/* One cgroup's process used the pages; as a member of another it claims the storage below them. */
static void charged(void)
{
	static struct pairs p;
	uint64_t before, now;
	char *own;

	make_cgroup("user");
	make_cgroup("claimer");
	enter_cgroup("user");
	take_pairs(&p);
	protect_pairs(&p);
	enter_cgroup("claimer");
	before = charged_to("claimer");
	expect_claims(&p, getpid());
	expect_users(&p);
	for (size_t i = 0; i < p.count; i++) {
		expect_charged("user", user_of(&p, i));
		expect_charged("user", data_page(&p, i));
	}
	now = charged_to("claimer");
	if (now > before + p.count * PAGE / 2)
		fail("%" PRIu64 " bytes are charged to who claims %zu pages of others", now - before, p.count);
	/* Of its own it pays each page. */
	own = map(PAGES, RW | PROT_MTE);
	write_all(own, 0, PAGES, 1);
	for (size_t page = 0; page < PAGES; page++)
		expect_charged("claimer", own + page * PAGE);
	expect_all(own, 0, PAGES, 1);
	enter_cgroup("");
}

static void be_the_victim(void)
{
	if (!write_text("/proc/self/oom_score_adj", "1000"))
		_exit(FAILED);
}

/* Not one page more may be charged to it: but claims need none. Who asked for one would be killed. */
static void at_its_limit(void)
{
	static struct pairs p;
	char current[64];

	be_the_victim();
	make_cgroup("full");
	enter_cgroup("full");
	take_pairs(&p);
	protect_pairs(&p);
	set_cgroup("full", "memory.swap.max", "0");
	if (!read_text(in_cgroup("full", "memory.current"), current, sizeof(current)))
		fail("memory.current can't be read");
	set_cgroup("full", "memory.max", current);
	expect_claims(&p, getpid());
	expect_users(&p);
	set_cgroup("full", "memory.max", "max");
	if (number_in(in_cgroup("full", "memory.events"), "oom"))
		fail("there was no memory for a claim");
	enter_cgroup("");
}

static void enter_small(void)
{
	be_the_victim();
	enter_cgroup("small");
}

/* A cgroup's out-of-memory killer comes while its threads claim. */
static void out_of_its_memory(void)
{
	struct survivor s;
	struct hoard h;

	make_cgroup("small");
	set_cgroup("small", "memory.max", "16M");
	set_cgroup("small", "memory.swap.max", "0");
	start_survivor(&s);
	for (size_t round = 0; round < 4; round++) {
		start_hoard(&h, HOARD, enter_small);
		expect_killed(&h);
		expect_survived(&s);
	}
	if (number_in(in_cgroup("small", "memory.events"), "oom_kill") < 4)
		fail("the cgroup did not run out of memory");
}

/* The machine is out of memory while blocks are claimed; the one who is killed has offered itself. */
static void out_of_memory(void)
{
	uint64_t ooms = number_in("/proc/vmstat", "oom_kill");
	struct survivor s;
	struct hoard h;

	start_survivor(&s);
	start_hoard(&h, meminfo("MemTotal") / PAGE, be_the_victim);
	expect_killed(&h);
	if (number_in("/proc/vmstat", "oom_kill") == ooms)
		fail("memory was not short");
	expect_survived(&s);
}

/* Users who can't help to move */

/* A child is the one who uses the storage; the parent has the pages whose tags belong there. */
static void part_pairs(const struct pairs *p, struct turns *t)
{
	for (size_t i = 0; i < p->count; i++)
		if (madvise(data_page(p, i), PAGE, MADV_DONTFORK))
			fail("madvise(MADV_DONTFORK): %s", strerror(errno));
	CHILD(t, {
		expect_users(p);
		let_parent(t);
		expect_users(p);
	});
	for (size_t i = 0; i < p->count; i++)
		if (madvise(user_of(p, i), PAGE, MADV_DONTNEED))
			fail("madvise(MADV_DONTNEED): %s", strerror(errno));
	let_child(t);
	protect_pairs(p);
}

static void stopped(void)
{
	static struct pairs p;
	struct turns t;
	int status;

	take_pairs(&p);
	part_pairs(&p, &t);
	kill(t.child, SIGSTOP);
	if (waitpid(t.child, &status, WUNTRACED) != t.child || !WIFSTOPPED(status))
		fail("the child does not stop");
	expect_claims(&p, t.child);
	kill(t.child, SIGCONT);
	end_child(&t);
}

static void frozen(void)
{
	static struct pairs p;
	struct turns t;
	char pid[32];

	make_cgroup("frozen");
	take_pairs(&p);
	part_pairs(&p, &t);
	snprintf(pid, sizeof(pid), "%d", t.child);
	set_cgroup("frozen", "cgroup.procs", pid);
	set_cgroup("frozen", "cgroup.freeze", "1");
	while (!number_in(in_cgroup("frozen", "cgroup.events"), "frozen"))
		usleep(1000);
	expect_claims(&p, t.child);
	set_cgroup("frozen", "cgroup.freeze", "0");
	end_child(&t);
}

/* Locked memory can be moved: it only can't be swapped out. */
static void locked(void)
{
	static struct pairs p;
	size_t left = 0;

	take_pairs(&p);
	protect_pairs(&p);
	for (size_t i = 0; i < p.count; i++)
		if (mlock(user_of(&p, i), PAGE))
			fail("mlock: %s", strerror(errno));
	empty_batches();
	expect_claims(&p, getpid());
	expect_users(&p);
	for (size_t i = 0; i < p.count; i++)
		left += !page_has(get_pfn(user_of(&p, i)), KPF_MLOCKED);
	if (left)
		fail("%zu pages that were moved are not locked any more", left);
}

/* mlock() and mlockall() bring tagged memory in themselves. */
static void locked_tagged(void)
{
	char *before = map(PAGES, RW | PROT_MTE), *after;

	write_all(before, 0, PAGES / 2, 1);
	if (mlock(before, PAGES * PAGE))
		fail("mlock: %s", strerror(errno));
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		fail("mlockall: %s", strerror(errno));
	after = map(PAGES, RW | PROT_MTE);
	for (size_t page = 0; page < PAGES; page++)
		if (!get_pfn(before + page * PAGE) || !get_pfn(after + page * PAGE))
			fail("page %zu is locked, and not there", page);
	expect_all(before, 0, PAGES / 2, 1);
	expect_no_tags(before, PAGES / 2, PAGES / 2);
	expect_no_tags(after, 0, PAGES);
	write_all(before, 0, PAGES, 2);
	write_all(after, 0, PAGES, 3);
	write_text("/proc/sys/vm/compact_memory", "1");
	expect_all(before, 0, PAGES, 2);
	expect_all(after, 0, PAGES, 3);
	munlockall();
	expect_all(before, 0, PAGES, 2);
}

/* Advice; expects swap space */

static void advise(int process, char *memory, int advice)
{
	struct iovec range = { memory, PAGES * PAGE };

	if (syscall(SYS_process_madvise, process, &range, 1, advice, 0) != (long)(PAGES * PAGE))
		fail("process_madvise(%d): %s", advice, strerror(errno));
}

static void advised_by_others(void)
{
	char *memory = map(PAGES, RW | PROT_MTE);
	size_t count = 0;
	struct turns t;
	int process;

	CHILD(&t, {
		write_all(memory, 0, PAGES, 1);
		let_parent(&t);
		expect_all(memory, 0, PAGES, 1);
		write_all(memory, 0, PAGES, 2);
		expect_all(memory, 0, PAGES, 2);
	});
	let_child(&t);
	process = syscall(SYS_pidfd_open, t.child, 0);
	if (process < 0)
		fail("pidfd_open: %s", strerror(errno));
	advise(process, memory, MADV_COLD);
	for (unsigned int i = 0; i < TRIES && count < PAGES - PAGES / 16; i++) {
		advise(process, memory, MADV_PAGEOUT);
		count = swapped(t.child, memory, PAGES);
	}
	if (count < PAGES - PAGES / 16)
		fail("only %zu of %d pages were swapped out", count, PAGES);
	end_child(&t);
}

/* Who writes a tag to a page that may be dropped wants to keep it. */
static void used_again(void)
{
	char *memory = map(PAGES, RW | PROT_MTE);

	write_all(memory, 0, PAGES, 1);
	if (madvise(memory, PAGES * PAGE, MADV_FREE))
		fail("madvise(MADV_FREE): %s", strerror(errno));
	write_tags(memory, 0, PAGES / 2, 2);
	for (unsigned int i = 0; i < TRIES && get_pfn(memory + (PAGES - 1) * PAGE); i++)
		if (madvise(memory, PAGES * PAGE, MADV_PAGEOUT))
			fail("madvise(MADV_PAGEOUT): %s", strerror(errno));
	expect_data(memory, 0, PAGES / 2, 1);
	expect_tags(memory, 0, PAGES / 2, 2);
	if (get_pfn(memory + (PAGES - 1) * PAGE))
		fail("nothing was dropped");
	expect_zeros(memory, PAGES - 1, 1);
	expect_no_tags(memory, PAGES - 1, 1);
	write_all(memory, 0, PAGES, 3);
	expect_all(memory, 0, PAGES, 3);
}

static const struct directed_test tests[] = {
	{ "limits-killed", killed },
	{ "limits-charged", charged },
	{ "limits-at-its-limit", at_its_limit },
	{ "limits-out-of-its-memory", out_of_its_memory },
	{ "limits-stopped", stopped },
	{ "limits-frozen", frozen },
	{ "limits-locked", locked },
	{ "limits-locked-tagged", locked_tagged },
	{ "limits-advised-by-others", advised_by_others },
	{ "limits-used-again", used_again },
	{ "limits-out-of-memory", out_of_memory },
};

int main(int argc, char **argv)
{
	return directed_tests(tests, ARRAY_SIZE(tests), argc, argv);
}
