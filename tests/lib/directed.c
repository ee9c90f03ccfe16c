// SPDX-License-Identifier: GPL-2.0
/*
 * lib/directed.c - see directed.h
 */

#define _GNU_SOURCE
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "directed.h"

#define SPLIT	"/sys/kernel/debug/split_huge_pages"

#define KPF_THP		22
#define PAGEMAP_SWAPPED	62

void finish(int status, const char *format, ...)
{
	va_list values;

	va_start(values, format);
	vdprintf(3, format, values);
	va_end(values);
	_exit(status);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)context;
	fail("signal %d, code %d%s, address %p", signal, info->si_code,
	     signal == SIGSEGV && info->si_code == SEGV_MTESERR ? " (a tag did not match)" : "",
	     info->si_addr);
}

/* Memory */

char *map(size_t pages, int prot)
{
	char *memory = mmap(NULL, pages * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	madvise(memory, pages * PAGE, MADV_NOHUGEPAGE);
	return memory;
}

int make_file(size_t pages)
{
	int file = memfd_create("directed", MFD_CLOEXEC);

	if (file < 0 || ftruncate(file, pages * PAGE))
		fail("memfd_create: %s", strerror(errno));
	return file;
}

char *map_file(int file, size_t pages, int prot, int flags)
{
	char *memory = mmap(NULL, pages * PAGE, prot, flags, file, 0);

	if (memory == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	return memory;
}

char *map_huge(int prot)
{
	char *room = map(2 * HUGE_PAGES, prot);
	char *memory = room + (-(uint64_t)room & (HUGE - 1));

	if (madvise(memory, HUGE, MADV_HUGEPAGE))
		fail("madvise(MADV_HUGEPAGE): %s", strerror(errno));
	return memory;
}

void protect(void *address, size_t pages, int prot)
{
	if (mprotect(address, pages * PAGE, prot))
		fail("mprotect: %s", strerror(errno));
}

uint64_t read_entry(const char *path, uint64_t index)
{
	uint64_t entry;
	int file = open(path, O_RDONLY | O_CLOEXEC);

	if (file < 0 || pread(file, &entry, 8, index * 8) != 8)
		fail("%s can't be read: %s", path, strerror(errno));
	close(file);
	return entry;
}

bool page_has(uint64_t pfn, unsigned int flag)
{
	return read_entry("/proc/kpageflags", pfn) >> flag & 1;
}

uint64_t pagemap_entry(pid_t pid, const void *address)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	return read_entry(path, (uint64_t)address / PAGE);
}

size_t swapped(pid_t pid, const char *memory, size_t pages)
{
	size_t count = 0;

	for (size_t page = 0; page < pages; page++)
		count += pagemap_entry(pid, memory + page * PAGE) >> PAGEMAP_SWAPPED & 1;
	return count;
}

bool is_huge(const void *address)
{
	return page_has(get_pfn(address), KPF_THP);
}

void expect_huge(const void *address, bool huge)
{
	if (is_huge(address) != huge)
		fail("the page is %shuge", huge ? "not " : "still ");
}

void split_huge(const char *memory)
{
	const char *end = memory + HUGE;
	char text[96];

	snprintf(text, sizeof(text), "%d,%p,%p", getpid(), memory, end);
	for (unsigned int i = 0; i < TRIES; i++) {
		if (!write_text(SPLIT, text))
			fail("%s: %s", SPLIT, strerror(errno));
		if (!is_huge(end - PAGE))
			break;
		short_sleep();
	}
	expect_huge(end - PAGE, false);
}

unsigned int tag_for(size_t granule, unsigned int version)
{
	return (granule / GRANULES * 7 + granule * 3 + version * 5 + 1) & 15;
}

/* 8 words in a row differ in one byte: a page of them can be compressed to less than a page. */
uint64_t word_for(size_t word, unsigned int version)
{
	return (word / 8 + 1) * 0x9e3779b97f4a7c15ULL ^ word % 8 ^ (uint64_t)version << 56;
}

void write_data(char *memory, size_t first, size_t pages, unsigned int version)
{
	uint64_t *words = (uint64_t *)memory;

	checks_off();
	for (size_t i = first * WORDS; i < (first + pages) * WORDS; i++)
		words[i] = word_for(i, version);
	checks_on();
}

void write_tags(char *memory, size_t first, size_t pages, unsigned int version)
{
	for (size_t g = first * GRANULES; g < (first + pages) * GRANULES; g++)
		set_tag(memory + g * GRANULE, tag_for(g, version));
}

void expect_data(const char *memory, size_t first, size_t pages, unsigned int version)
{
	const uint64_t *words = (const uint64_t *)memory;

	checks_off();
	for (size_t i = first * WORDS; i < (first + pages) * WORDS; i++)
		if (words[i] != word_for(i, version))
			fail("word %zu of page %zu is %#" PRIx64 " instead of %#" PRIx64, i % WORDS, i / WORDS,
			     words[i], word_for(i, version));
	checks_on();
}

void expect_tags(const char *memory, size_t first, size_t pages, unsigned int version)
{
	for (size_t g = first * GRANULES; g < (first + pages) * GRANULES; g++) {
		unsigned int wanted = tag_for(g, version), found = get_tag(memory + g * GRANULE);

		if (found != wanted)
			fail("granule %zu of page %zu has tag %u instead of %u", g % GRANULES, g / GRANULES, found,
			     wanted);
		(void)*(volatile char *)with_tag(memory + g * GRANULE, wanted);
	}
}

void expect_no_tags(const char *memory, size_t first, size_t pages)
{
	for (size_t g = first * GRANULES; g < (first + pages) * GRANULES; g++) {
		unsigned int found = get_tag(memory + g * GRANULE);

		if (found)
			fail("granule %zu of page %zu has tag %u instead of none", g % GRANULES, g / GRANULES, found);
	}
}

void expect_zeros(const char *memory, size_t first, size_t pages)
{
	const uint64_t *words = (const uint64_t *)memory;

	checks_off();
	for (size_t i = first * WORDS; i < (first + pages) * WORDS; i++)
		if (words[i])
			fail("word %zu of page %zu is %#" PRIx64 " instead of 0", i % WORDS, i / WORDS, words[i]);
	checks_on();
}

void expect_tags_of_copy(char *memory, size_t pages)
{
	protect(memory, pages, RW | PROT_MTE);
	expect_data(memory, 0, pages, 2);
	expect_tags(memory, 0, pages, 1);
}

void write_all(char *memory, size_t first, size_t pages, unsigned int version)
{
	write_data(memory, first, pages, version);
	write_tags(memory, first, pages, version);
}

void expect_all(const char *memory, size_t first, size_t pages, unsigned int version)
{
	expect_data(memory, first, pages, version);
	expect_tags(memory, first, pages, version);
}

/* move_pages() begins with that, even of no pages. */
void empty_batches(void)
{
	long unused;

	if (syscall(SYS_move_pages, 0, 0UL, &unused, &unused, &unused, 0))
		fail("move_pages: %s", strerror(errno));
}

void expect_back(const char *name, uint64_t before)
{
	uint64_t now = 0;

	for (unsigned int i = 0; i < TRIES; i++) {
		now = total(name);
		if (now <= before)
			return;
		empty_batches();
		short_sleep();
	}
	fail("%s is %" PRIu64 ", not back to %" PRIu64, name, now, before);
}

int node_of(const void *address)
{
	void *page = (void *)address;
	int node = -1;

	for (unsigned int i = 0; i < TRIES; i++) {
		if (syscall(SYS_move_pages, 0, 1, &page, NULL, &node, 0) < 0)
			fail("move_pages: %s", strerror(errno));
		if (node >= 0)
			return node;
		short_sleep();
	}
	fail("move_pages does not tell the node of %p: %s", address, strerror(-node));
}

/* Processes */

bool start_child(struct turns *t)
{
	if (pipe(t->to_child) || pipe(t->to_parent))
		fail("pipe: %s", strerror(errno));
	t->child = fork();
	if (t->child < 0)
		fail("fork: %s", strerror(errno));
	return !t->child;
}

void give(int pipe)
{
	if (write(pipe, "", 1) != 1)
		fail("the other process is gone");
}

void take(int pipe)
{
	char byte;

	if (read(pipe, &byte, 1) != 1)
		fail("the other process is gone");
}

void let_child(struct turns *t)
{
	give(t->to_child[1]);
	take(t->to_parent[0]);
}

void let_parent(struct turns *t)
{
	give(t->to_parent[1]);
	take(t->to_child[0]);
}

void end_child(struct turns *t)
{
	int status;

	give(t->to_child[1]);
	if (waitpid(t->child, &status, 0) != t->child || !WIFEXITED(status))
		fail("the child died");
	if (WEXITSTATUS(status))
		_exit(WEXITSTATUS(status));
}

void short_sleep(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
}

/* Returns true if the test failed. */
static bool run(const struct directed_test *test)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	char reason[512] = "";
	int ends[2], status;
	pid_t pid;

	fflush(stdout);
	if (pipe2(ends, O_NONBLOCK))
		die("pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (!pid) {
		if (dup2(ends[1], 3) != 3 || sigaction(SIGSEGV, &action, NULL) ||
		    sigaction(SIGBUS, &action, NULL) || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
			_exit(FAILED);
		check_tags();
		test->function();
		_exit(PASSED);
	}
	close(ends[1]);
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid: %s", strerror(errno));
	if (read(ends[0], reason, sizeof(reason) - 1) < 0)
		reason[0] = 0;
	close(ends[0]);
	if (WIFEXITED(status) && WEXITSTATUS(status) == PASSED) {
		printf("ok - %s\n", test->name);
		return false;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
		printf("skip - %s: %s\n", test->name, reason);
		return false;
	}
	if (WIFSIGNALED(status))
		snprintf(reason, sizeof(reason), "died of signal %d", WTERMSIG(status));
	printf("not ok - %s: %s\n", test->name, reason);
	return true;
}

int directed_tests(const struct directed_test *tests, size_t count, int argc, char **argv)
{
	bool failed = false;

	if (!have_mte())
		die("this machine has no MTE");
	if (argc == 1 || !strcmp(argv[1], "all")) {
		for (size_t i = 0; i < count; i++)
			failed |= run(&tests[i]);
		return failed;
	}
	for (int n = 1; n < argc; n++) {
		size_t i = 0;

		while (i < count && strcmp(tests[i].name, argv[n]))
			i++;
		if (i == count)
			die("there is no test %s", argv[n]);
		failed |= run(&tests[i]);
	}
	return failed;
}
