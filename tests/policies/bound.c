// SPDX-License-Identifier: GPL-2.0
/*
 * policies/bound.c - asks for memory of the node that tag storage is, untagged and tagged, in every way there is: for a
 * mapping (mbind) and for the whole process (set_mempolicy)
 *
 * usage: bound NODE [tagged]
 *
 *   tagged   leaves out what is untagged and bound, for which a full node has no room
 *
 * Untagged memory that is bound to the node lies there, and numa_maps says so; so does what is preferred there, and its
 * share of what is interleaved. Where that asks for huge pages, it gets small ones. Tagged memory never lies there,
 * whatever was asked for: preferred, interleaved, moved there, or there already when it becomes PROT_MTE; nor does the
 * memory of a file, tagged or not. What is bound to the node and can't lie there comes from elsewhere or ends its
 * process, which is what the kernel does when a node is full. And nothing can be moved there: mbind() and move_pages()
 * say so.
 *
 * Prints "ok - WHAT" or "not ok - WHAT"; exit status 0 if all was right, 1 if not, 2 on other errors.
 */

#define _GNU_SOURCE
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common.h"

#define PAGES			2048
#define SIZE			(PAGES * PAGE)
#define MPOL_DEFAULT		0
#define MPOL_PREFERRED		1
#define MPOL_BIND		2
#define MPOL_INTERLEAVE		3
#define MPOL_PREFERRED_MANY	5
#define MPOL_MF_STRICT		1
#define MPOL_MF_MOVE		2
#define HUGE_FLAG		22	/* of /proc/kpageflags: KPF_THP */
#define BOUND_PAGES		16

static struct region regions[MAX_REGIONS];
static unsigned int region_count;
static unsigned long node_mask;
static int failed;

static void result(bool good, const char *what, size_t number)
{
	printf("%s - %s: %zu\n", good ? "ok" : "not ok", what, number);
	fflush(stdout);
	failed |= !good;
}

static char *map(size_t size, int prot)
{
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE | prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		die("there is no memory: %s", strerror(errno));
	madvise(memory, size, MADV_NOHUGEPAGE);
	return memory;
}

/* The same of a file in memory. */
static char *map_file(size_t size, int prot)
{
	int file = memfd_create("bound", MFD_CLOEXEC);
	char *memory = MAP_FAILED;

	if (file >= 0 && !ftruncate(file, size))
		memory = mmap(NULL, size, PROT_READ | PROT_WRITE | prot, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED)
		die("there is no file in memory: %s", strerror(errno));
	close(file);
	return memory;
}

static void policy(char *memory, size_t size, int mode, unsigned long mask, int flags)
{
	if (syscall(SYS_mbind, memory, size, mode, &mask, 64, flags))
		die("mbind, mode %d: %s", mode, strerror(errno));
}

/* The same for the process: each mapping that has no policy of its own. */
static void task_policy(int mode, unsigned long mask)
{
	if (syscall(SYS_set_mempolicy, mode, &mask, 64))
		die("set_mempolicy, mode %d: %s", mode, strerror(errno));
}

/* For a mapping, or for all of the process. */
static void ask(char *memory, size_t size, int mode, unsigned long mask, bool task)
{
	if (task)
		task_policy(mode, mask);
	else
		policy(memory, size, mode, mask, 0);
}

static size_t count_on_storage(const char *memory, size_t pages)
{
	size_t count = 0;

	for (size_t page = 0; page < pages; page++)
		count += on_storage(regions, region_count, get_pfn(memory + page * PAGE));
	return count;
}

static void fill(char *memory, size_t pages)
{
	for (size_t word = 0; word < pages * WORDS; word++)
		((uint64_t *)memory)[word] = word * 0x9e3779b97f4a7c15ULL;
}

static void tag(char *memory, size_t pages)
{
	for (size_t granule = 0; granule < pages * GRANULES; granule++)
		set_tag(memory + granule * GRANULE, granule % 15 + 1);
}

/* Granules with wrong data or, where there are any, wrong tags. */
static size_t wrong(const char *memory, size_t pages, bool tagged)
{
	size_t count = 0;

	for (size_t granule = 0; granule < pages * GRANULES; granule++) {
		const uint64_t *words = (const uint64_t *)(memory + granule * GRANULE);

		count += (tagged && get_tag(words) != granule % 15 + 1) ||
			 words[0] != granule * 2 * 0x9e3779b97f4a7c15ULL ||
			 words[1] != (granule * 2 + 1) * 0x9e3779b97f4a7c15ULL;
	}
	return count;
}

/* Pages of a mapping that numa_maps has on a node. */
static size_t numa_maps(const char *memory, int node)
{
	FILE *maps = fopen("/proc/self/numa_maps", "r");
	char line[1024], wanted[16];
	unsigned long start;
	size_t pages = 0;

	if (!maps)
		die("numa_maps can't be read");
	snprintf(wanted, sizeof(wanted), " N%d=", node);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx", &start) != 1 || start != (unsigned long)memory)
			continue;
		if (strstr(line, wanted))
			pages = strtoul(strstr(line, wanted) + strlen(wanted), NULL, 10);
	}
	fclose(maps);
	return pages;
}

static void untagged_is_there(int node)
{
	char *memory = map(SIZE, 0);

	policy(memory, SIZE, MPOL_BIND, node_mask, 0);
	fill(memory, PAGES);
	result(count_on_storage(memory, PAGES) == PAGES, "untagged memory that is bound lies on tag storage",
	       count_on_storage(memory, PAGES));
	result(numa_maps(memory, node) == PAGES, "numa_maps has it on the node", numa_maps(memory, node));

	/* Now that it lies there, it becomes tagged. */
	if (mprotect(memory, SIZE, PROT_READ | PROT_WRITE | PROT_MTE))
		die("mprotect: %s", strerror(errno));
	tag(memory, PAGES);
	result(!count_on_storage(memory, PAGES), "on tag storage after it has become tagged",
	       count_on_storage(memory, PAGES));
	result(!wrong(memory, PAGES, true), "granules that are wrong", wrong(memory, PAGES, true));
	munmap(memory, SIZE);
}

static void untagged_goes_there(const char *what, int mode, unsigned long mask, size_t pages)
{
	char *memory = map(SIZE, 0);

	policy(memory, SIZE, mode, mask, 0);
	fill(memory, PAGES);
	printf("# untagged memory, %s: %zu pages are to lie there\n", what, pages);
	result(count_on_storage(memory, PAGES) == pages, "on tag storage", count_on_storage(memory, PAGES));
	munmap(memory, SIZE);
}

static size_t count_huge(const char *memory, size_t pages)
{
	int file = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	size_t count = 0;

	for (size_t page = 0; page < pages; page++) {
		uint64_t flags;

		if (pread(file, &flags, 8, get_pfn(memory + page * PAGE) * 8) != 8)
			die("/proc/kpageflags can't be read");
		count += flags >> HUGE_FLAG & 1;
	}
	close(file);
	return count;
}

/* Memory that is to be huge pages. */
static char *map_huge(int prot)
{
	char *memory = map(SIZE, prot);

	memory += -(uintptr_t)memory % HUGE;
	if (madvise(memory, HUGE, MADV_HUGEPAGE))
		die("madvise: %s", strerror(errno));
	return memory;
}

static char *untagged_huge(bool bound)
{
	char *memory = map_huge(0);

	if (bound)
		policy(memory, HUGE, MPOL_BIND, node_mask, 0);
	fill(memory, HUGE_PAGES);
	return memory;
}

static void huge_is_small_there(void)
{
	char *memory = untagged_huge(false);
	int err;

	result(count_huge(memory, HUGE_PAGES) == HUGE_PAGES, "pages of a huge page, without the node",
	       count_huge(memory, HUGE_PAGES));
	memory = untagged_huge(true);
	result(count_on_storage(memory, HUGE_PAGES) == HUGE_PAGES,
	       "on tag storage of what asks for huge pages and is bound", count_on_storage(memory, HUGE_PAGES));
	result(!count_huge(memory, HUGE_PAGES), "huge of them", count_huge(memory, HUGE_PAGES));
	err = madvise(memory, HUGE, MADV_COLLAPSE) ? errno : 0;
	result(err == ENOMEM, "they can't be made huge, errno", err);
	result(!count_huge(memory, HUGE_PAGES), "huge of them", count_huge(memory, HUGE_PAGES));
	result(!wrong(memory, HUGE_PAGES, false), "granules that are wrong", wrong(memory, HUGE_PAGES, false));
}

/* 0, or the errno for which the memory was not moved to the node. */
static int move(char *memory, int flags)
{
	return syscall(SYS_mbind, memory, SIZE, MPOL_BIND, &node_mask, 64, flags) ? errno : 0;
}

/* Of the memory, nothing is moved to the node; who wants to know is told. */
static void stays_elsewhere(char *memory, bool tagged)
{
	static void *pages[PAGES];
	static int nodes[PAGES], status[PAGES];
	long left;
	int err;

	err = move(memory, MPOL_MF_MOVE);
	result(!err, "mbind() that is to move what it can, errno", err);
	err = move(memory, MPOL_MF_MOVE | MPOL_MF_STRICT);
	result(err == EIO, "mbind() that must move all of it fails, errno", err);
	for (size_t page = 0; page < PAGES; page++) {
		pages[page] = memory + page * PAGE;
		nodes[page] = __builtin_ctzl(node_mask);
	}
	left = syscall(SYS_move_pages, 0, PAGES, pages, nodes, status, MPOL_MF_MOVE);
	err = left < 0 ? errno : 0;
	printf("# move_pages() returned %ld\n", left);
	result(left == PAGES || err == ENOMEM, "move_pages() moves none, errno", err);
	result(!count_on_storage(memory, PAGES), "on tag storage after all that", count_on_storage(memory, PAGES));
	result(!wrong(memory, PAGES, tagged), "granules that are wrong", wrong(memory, PAGES, tagged));
}

static void untagged_stays_elsewhere(bool file)
{
	char *memory = file ? map_file(SIZE, 0) : map(SIZE, 0);

	fill(memory, PAGES);
	printf("# untagged memory%s that is to be moved there\n", file ? " of a file" : "");
	result(!count_on_storage(memory, PAGES), "on tag storage before", count_on_storage(memory, PAGES));
	stays_elsewhere(memory, false);
	munmap(memory, SIZE);
}

/* Memory that the process has asked for like that becomes tagged. */
static void use_tagged(char *memory, size_t pages, int mode, unsigned long mask, bool task)
{
	ask(memory, pages * PAGE, mode, mask, task);
	fill(memory, pages);
	tag(memory, pages);
	task_policy(MPOL_DEFAULT, 0);
}

static void tagged_is_not(const char *what, int mode, unsigned long mask, bool task, bool file)
{
	char *memory = file ? map_file(SIZE, PROT_MTE) : map(SIZE, PROT_MTE);

	use_tagged(memory, PAGES, mode, mask, task);
	printf("# tagged memory%s, %s%s\n", file ? " of a file" : "", what, task ? ", as all of the process" : "");
	result(!count_on_storage(memory, PAGES), "on tag storage", count_on_storage(memory, PAGES));
	stays_elsewhere(memory, true);
	munmap(memory, SIZE);
}

/* Tagged memory that asks for huge pages and for the node gets them elsewhere; where there are none, small ones. */
static void tagged_huge_is_not(const char *what, int mode, unsigned long mask, bool task)
{
	char *memory = map_huge(PROT_MTE);

	use_tagged(memory, HUGE_PAGES, mode, mask, task);
	printf("# tagged memory that asks for huge pages, %s%s: %zu pages are huge\n", what,
	       task ? ", as all of the process" : "", count_huge(memory, HUGE_PAGES));
	result(!count_on_storage(memory, HUGE_PAGES), "on tag storage", count_on_storage(memory, HUGE_PAGES));
	result(!wrong(memory, HUGE_PAGES, true), "granules that are wrong", wrong(memory, HUGE_PAGES, true));
}

/* What is bound to the node and can't lie there */
struct kind {
	const char *name;
	bool file;
	bool tagged;
	bool huge;
};

/* In a process of its own, which the OOM killer takes first. 0 or 1; or it does not return. */
static int use_bound(const struct kind *kind, bool task)
{
	int prot = kind->tagged ? PROT_MTE : 0;
	char *memory = kind->file ? map_file(BOUND_PAGES * PAGE, prot) :
		       kind->huge ? map_huge(prot) : map(BOUND_PAGES * PAGE, prot);
	size_t size = kind->huge ? HUGE : BOUND_PAGES * PAGE;

	if (!write_text("/proc/self/oom_score_adj", "1000"))
		die("oom_score_adj can't be written");
	ask(memory, size, MPOL_BIND, node_mask, task);
	fill(memory, BOUND_PAGES);
	if (kind->tagged)
		tag(memory, BOUND_PAGES);
	return count_on_storage(memory, BOUND_PAGES) || wrong(memory, BOUND_PAGES, kind->tagged);
}

static void bound_ends_or_is_elsewhere(const struct kind *kind, bool task)
{
	pid_t child = fork();
	int status;

	if (!child)
		_exit(use_bound(kind, task));
	if (child < 0 || waitpid(child, &status, 0) != child)
		die("a child is lost");
	printf("# a process with %s that is bound to the node%s %s\n", kind->name, task ? " as a whole" : "",
	       WIFSIGNALED(status) ? "was ended" : "got it elsewhere");
	result((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || (WIFEXITED(status) && !WEXITSTATUS(status)),
	       "what is bound comes from elsewhere or ends the process, status", status);
}

static void ask_untagged(int node)
{
	untagged_is_there(node);
	untagged_goes_there("preferred there", MPOL_PREFERRED, node_mask, PAGES);
	untagged_goes_there("preferred there, of many", MPOL_PREFERRED_MANY, node_mask, PAGES);
	untagged_goes_there("interleaved over all nodes", MPOL_INTERLEAVE, (node_mask << 1) - 1, PAGES / 2);
	huge_is_small_there();
	untagged_stays_elsewhere(false);
	untagged_stays_elsewhere(true);
}

int main(int argc, char **argv)
{
	static const struct kind kinds[] = {
		{ "tagged memory", .tagged = true },
		{ "tagged memory that asks for huge pages", .tagged = true, .huge = true },
		{ "tagged memory of a file", .tagged = true, .file = true },
		{ "a file in memory", .file = true },
	};
	int node = argc == 2 || argc == 3 ? atoi(argv[1]) : -1;

	if (node < 0 || !have_mte())
		return 2;
	check_tags();
	checks_off();
	node_mask = 1UL << node;
	region_count = get_regions(regions);
	if (argc == 2)
		ask_untagged(node);
	for (int task = 0; task < 2; task++) {
		for (int file = 0; file < 2; file++) {
			tagged_is_not("preferred there", MPOL_PREFERRED, node_mask, task, file);
			tagged_is_not("preferred there, of many", MPOL_PREFERRED_MANY, node_mask, task, file);
			tagged_is_not("interleaved over all nodes", MPOL_INTERLEAVE, (node_mask << 1) - 1, task, file);
		}
		tagged_huge_is_not("preferred there", MPOL_PREFERRED, node_mask, task);
		tagged_huge_is_not("interleaved over all nodes", MPOL_INTERLEAVE, (node_mask << 1) - 1, task);
		for (size_t kind = 0; kind < ARRAY_SIZE(kinds); kind++)
			bound_ends_or_is_elsewhere(&kinds[kind], task);
	}
	return failed;
}
