// SPDX-License-Identifier: GPL-2.0
/*
 * policies/bound.c - asks for memory of the node that tag storage is, untagged and tagged, in every way there is: for a
 * mapping (mbind) and for the whole process (set_mempolicy)
 *
 * usage: bound NODE [tagged]
 *
 *   tagged   leaves out what is untagged and bound, for which a full node has no room
 *
 * Untagged memory that is bound to the node lies there, and numa_maps says so. Tagged memory never does, whatever was
 * asked for: preferred, interleaved, moved there, or there already when it becomes PROT_MTE. What is bound to the node
 * and tagged either comes from elsewhere or ends its process, which is what the kernel does when a node is full.
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
#define MPOL_MF_MOVE		2
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

/* Granules with wrong data or wrong tags. */
static size_t wrong(const char *memory, size_t pages)
{
	size_t count = 0;

	for (size_t granule = 0; granule < pages * GRANULES; granule++) {
		const uint64_t *words = (const uint64_t *)(memory + granule * GRANULE);

		count += get_tag(words) != granule % 15 + 1 ||
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
	result(!wrong(memory, PAGES), "granules that are wrong", wrong(memory, PAGES));
	munmap(memory, SIZE);
}

static void tagged_is_not(const char *what, int mode, unsigned long mask, bool task)
{
	char *memory = map(SIZE, PROT_MTE);

	if (task)
		task_policy(mode, mask);
	else
		policy(memory, SIZE, mode, mask, 0);
	fill(memory, PAGES);
	tag(memory, PAGES);
	task_policy(MPOL_DEFAULT, 0);
	printf("# tagged memory, %s%s\n", what, task ? ", as all of the process" : "");
	result(!count_on_storage(memory, PAGES), "on tag storage", count_on_storage(memory, PAGES));
	/* And it can't be moved there. EIO or success, but it stays where it is. */
	syscall(SYS_mbind, memory, SIZE, MPOL_BIND, &node_mask, 64, MPOL_MF_MOVE);
	result(!count_on_storage(memory, PAGES), "on tag storage after it was to be moved there",
	       count_on_storage(memory, PAGES));
	result(!wrong(memory, PAGES), "granules that are wrong", wrong(memory, PAGES));
	munmap(memory, SIZE);
}

/* In a process of its own, which the OOM killer takes first. 0 or 1; or it does not return. */
static int tagged_and_bound(bool task)
{
	char *memory = map(BOUND_PAGES * PAGE, PROT_MTE);

	if (!write_text("/proc/self/oom_score_adj", "1000"))
		die("oom_score_adj can't be written");
	if (task)
		task_policy(MPOL_BIND, node_mask);
	else
		policy(memory, BOUND_PAGES * PAGE, MPOL_BIND, node_mask, 0);
	fill(memory, BOUND_PAGES);
	tag(memory, BOUND_PAGES);
	return count_on_storage(memory, BOUND_PAGES) || wrong(memory, BOUND_PAGES);
}

static void bound_ends_or_is_elsewhere(bool task)
{
	pid_t child = fork();
	int status;

	if (!child)
		_exit(tagged_and_bound(task));
	if (child < 0 || waitpid(child, &status, 0) != child)
		die("a child is lost");
	printf("# a process with tagged memory that is bound to the node%s %s\n", task ? " as a whole" : "",
	       WIFSIGNALED(status) ? "was ended" : "got it elsewhere");
	result((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) || (WIFEXITED(status) && !WEXITSTATUS(status)),
	       "tagged memory that is bound comes from elsewhere or ends the process, status", status);
}

int main(int argc, char **argv)
{
	int node = argc == 2 || argc == 3 ? atoi(argv[1]) : -1;

	if (node < 0 || !have_mte())
		return 2;
	check_tags();
	checks_off();
	node_mask = 1UL << node;
	region_count = get_regions(regions);
	if (argc == 2)
		untagged_is_there(node);
	for (int task = 0; task < 2; task++) {
		tagged_is_not("preferred there", MPOL_PREFERRED, node_mask, task);
		tagged_is_not("interleaved over all nodes", MPOL_INTERLEAVE, (node_mask << 1) - 1, task);
		bound_ends_or_is_elsewhere(task);
	}
	return failed;
}
