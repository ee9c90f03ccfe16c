// SPDX-License-Identifier: GPL-2.0
/*
 * anon/anonstress.c - random operations on private anonymous memory; every byte and every tag is verified
 *
 * usage: anonstress [--seed N] [--ops N] [--seconds N] [--workers N] [--threads N] [--areas N] [--huge N]
 *                   [--no-thp]
 *
 *   --seed N      of all random choices (default: from the clock; it is printed)
 *   --ops N       operations of each thread (default: 2000)
 *   --seconds N   no new operation after that time
 *   --workers N   processes (default: 2)
 *   --threads N   threads of each (default: 1); each has its own mappings in the common address space
 *   --areas N     mappings of up to 48 pages that a thread has at once (default: 12)
 *   --huge N      mappings of 2 MiB that a thread has at once (default: 1)
 *   --no-thp      never asks for huge pages. Needed on unpatched kernels: they lose tags when a huge page
 *                 is split that is tagged in part
 *
 * Each mapping has a shadow: what its data and its tags must be. Operations take a random part of a random
 * mapping: write data, write tags, verify, mprotect to PROT_MTE, to PROT_READ and PROT_NONE and back, map
 * anew, free, move (mremap, move_pages, mbind, compaction), make huge and split, lock, read and write through
 * a pipe, fork. A forked child verifies its inheritance and goes on with operations of its own while its
 * parent does the same. Tag checks are on, and part of all accesses go through pointers that carry the
 * expected tag, so a wrong tag is fatal at once.
 *
 * What must hold: data and tags of a page stay as they were last written, whatever moves, copies, protects or
 * shares it; a page that comes into being has only zeros, and so have the tags of one that becomes tagged.
 * The kernel never takes PROT_MTE away from a mapping. But a child that adds it makes pages tagged that are,
 * in its parent, in a mapping without it.
 *
 * SIGTERM, to any of its processes or to all of them, ends it as --seconds does: no new operation, everything is
 * verified once more, and the last line says what was done.
 *
 * Exit status: 0 if all was right; 1 if data or tags were wrong (what, where and in which operation is
 * printed); 2 on other errors.
 */

#define _GNU_SOURCE
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "common.h"

#define SMALL_PAGES	48
#define MAX_AREAS	64
#define CHILD_OPS	40
#define ARENAS		0x1000000000UL
#define ARENA		(256 * MIB)

#define MPOL_BIND	2
#define MPOL_MF_MOVE	2

#define COMPACT		"/proc/sys/vm/compact_memory"
#define SPLIT		"/sys/kernel/debug/split_huge_pages"

enum access { NO_ACCESS, READ_ONLY, READ_WRITE };

struct page {
	enum access access;
	bool mte;			/* its mapping has PROT_MTE now */
};

struct area {
	char *start;
	size_t pages;
	struct page *page;
	uint8_t (*data)[PAGE];		/* the shadow */
	uint8_t (*tags)[GRANULES];
};

struct worker {
	unsigned int process, thread, depth;
	uint64_t random;
	size_t operation;
	const char *name;		/* of the current operation */
	struct area areas[MAX_AREAS];
	size_t small_count, huge_count;
	pid_t child;
	int pipe[2];
};

struct range {
	struct area *area;
	size_t first, end;		/* pages */
};

struct counts {
	uint64_t operations, granules, forks, huge, moved;
	volatile sig_atomic_t stop;	/* no new operation */
};

static struct {
	uint64_t seed;
	size_t ops, workers, threads, areas, huge;
	time_t deadline;
	bool thp;
	unsigned int nodes;
} settings = { .ops = 2000, .workers = 2, .threads = 1, .areas = 12, .huge = 1, .thp = true };

static struct counts *counts;		/* shared by all processes */
static __thread struct worker *self;

static void count(uint64_t *number, uint64_t more)
{
	__atomic_fetch_add(number, more, __ATOMIC_RELAXED);
}

static const char *where(char text[32])
{
	snprintf(text, 32, "%u.%u.%u", self->process, self->thread, self->depth);
	return text;
}

__attribute__((noreturn, format(printf, 3, 4)))
static void wrong(const struct area *area, size_t page, const char *format, ...)
{
	char text[32], message[256];
	va_list values;

	va_start(values, format);
	vsnprintf(message, sizeof(message), format, values);
	va_end(values);
	dprintf(1, "anonstress: WRONG: %s; page %zu of %zu at %p (%s%s, physical %#" PRIx64
		"), worker %s, operation %zu (%s), --seed %" PRIu64 "\n", message, page, area->pages,
		area->start + page * PAGE, area->page[page].access == READ_ONLY ? "read-only" : "writable",
		area->page[page].mte ? ", PROT_MTE" : "", get_pfn(area->start + page * PAGE) * PAGE, where(text),
		self->operation, self->name, settings.seed);
	_exit(1);
}

__attribute__((noreturn))
static void failed(const char *what)
{
	char text[32];

	dprintf(1, "anonstress: %s: %s; worker %s, operation %zu (%s), --seed %" PRIu64 "\n", what,
		strerror(errno), where(text), self->operation, self->name, settings.seed);
	_exit(2);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	char text[32];

	(void)context;
	dprintf(1, "anonstress: WRONG: signal %d, code %d%s, address %p; worker %s, operation %zu (%s), --seed %"
		PRIu64 "\n", signal, info->si_code,
		signal == SIGSEGV && info->si_code == SEGV_MTESERR ? " (a tag did not match)" : "", info->si_addr,
		where(text), self->operation, self->name, settings.seed);
	_exit(1);
}

/* For all: who has it sent to one process need not know of the others. */
static void on_stop(int signal)
{
	(void)signal;
	counts->stop = 1;
}

static size_t pick(size_t bound)
{
	return below(&self->random, bound);
}

static void *get_memory(size_t size, int prot, void *address)
{
	void *memory = mmap(address, size, prot,
			    MAP_PRIVATE | MAP_ANONYMOUS | (address ? MAP_FIXED : 0), -1, 0);

	if (memory == MAP_FAILED)
		failed("mmap");
	return memory;
}

/*
 * New mappings go to random places of the thread's own part of the address space, which are used again and
 * again: where one thread unmaps, no other may map in between.
 */
static char *new_place(size_t pages, int prot)
{
	char *arena = (char *)ARENAS + (self->process * settings.threads + self->thread) * ARENA;
	size_t align = pages < HUGE_PAGES ? PAGE : HUGE;

	for (unsigned int i = 0; i < 1000; i++) {
		char *wanted = arena + pick((ARENA - HUGE) / align) * align;
		char *place = mmap(wanted, pages * PAGE, prot,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

		if (place == wanted)
			return place;
		if (place != MAP_FAILED || errno != EEXIST)
			break;
	}
	failed("mmap");
}

/* Areas */

static char *page_address(const struct area *area, size_t page)
{
	return area->start + page * PAGE;
}

static int prot_of(enum access access, bool mte)
{
	static const int prots[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };

	return prots[access] | (mte ? PROT_MTE : 0);
}

/* The pages of a range are new: all zero. */
static void reset_shadow(const struct range *r)
{
	memset(r->area->data[r->first], 0, (r->end - r->first) * PAGE);
	memset(r->area->tags[r->first], 0, (r->end - r->first) * GRANULES);
}

static void set_pages(const struct range *r, enum access access, bool mte)
{
	for (size_t i = r->first; i < r->end; i++)
		r->area->page[i] = (struct page){ access, mte };
}

/* A new entry of the table, with a shadow of zeros but without memory; NULL if there are enough. */
static struct area *new_area(size_t pages)
{
	bool huge = pages > SMALL_PAGES;

	if (huge ? self->huge_count >= settings.huge : self->small_count >= settings.areas)
		return NULL;
	for (size_t i = 0; i < MAX_AREAS; i++) {
		struct area *area = &self->areas[i];

		if (area->start)
			continue;
		*(huge ? &self->huge_count : &self->small_count) += 1;
		area->pages = pages;
		area->page = get_memory(pages * sizeof(struct page), PROT_READ | PROT_WRITE, NULL);
		area->data = get_memory(pages * PAGE, PROT_READ | PROT_WRITE, NULL);
		area->tags = get_memory(pages * GRANULES, PROT_READ | PROT_WRITE, NULL);
		return area;
	}
	return NULL;
}

static void drop_area(struct area *area)
{
	if (munmap(area->start, area->pages * PAGE) ||
	    munmap(area->page, area->pages * sizeof(struct page)) ||
	    munmap(area->data, area->pages * PAGE) || munmap(area->tags, area->pages * GRANULES))
		failed("munmap");
	*(area->pages > SMALL_PAGES ? &self->huge_count : &self->small_count) -= 1;
	memset(area, 0, sizeof(*area));
}

static struct area *pick_area(void)
{
	size_t start = pick(MAX_AREAS);

	for (size_t i = 0; i < MAX_AREAS; i++) {
		struct area *area = &self->areas[(start + i) % MAX_AREAS];

		if (area->start)
			return area;
	}
	return NULL;
}

/* A random part of a random area; its area is NULL if there is none. */
static struct range pick_range(size_t longest)
{
	struct range r = { .area = pick_area() };

	if (!r.area)
		return r;
	r.first = pick(r.area->pages);
	r.end = r.first + 1 + pick(r.area->pages - r.first);
	if (r.end - r.first > longest)
		r.end = r.first + 1 + pick(longest);
	return r;
}

/* Verification */

static void verify_tags(const struct area *area, size_t page)
{
	const char *address = page_address(area, page);

	for (size_t g = 0; g < GRANULES; g++) {
		unsigned int tag = get_tag(address + g * GRANULE);

		if (tag != area->tags[page][g])
			wrong(area, page, "granule %zu has tag %u instead of %u", g, tag, area->tags[page][g]);
	}
	count(&counts->granules, GRANULES);
}

static void verify_data(const struct area *area, size_t page)
{
	const uint8_t *shadow = area->data[page];
	uint8_t copy[PAGE];

	if (area->page[page].mte && pick(2)) {
		for (size_t g = 0; g < GRANULES; g++)
			memcpy(copy + g * GRANULE,
			       with_tag(page_address(area, page) + g * GRANULE, area->tags[page][g]), GRANULE);
	} else {
		checks_off();
		memcpy(copy, page_address(area, page), PAGE);
		checks_on();
	}
	if (!memcmp(copy, shadow, PAGE))
		return;
	for (size_t i = 0; i < PAGE; i++)
		if (copy[i] != shadow[i])
			wrong(area, page, "byte %zu is %#x instead of %#x", i, copy[i], shadow[i]);
}

static void verify_page(const struct area *area, size_t page)
{
	if (area->page[page].access == NO_ACCESS)
		return;
	if (area->page[page].mte)
		verify_tags(area, page);
	verify_data(area, page);
}

static void verify_everything(void)
{
	for (size_t i = 0; i < MAX_AREAS; i++)
		for (size_t page = 0; page < self->areas[i].pages; page++)
			verify_page(&self->areas[i], page);
}

/* Operations */

static void op_map(void)
{
	size_t pages = pick(8) ? 1 + pick(SMALL_PAGES) : HUGE_PAGES;
	struct area *area = new_area(pages);
	bool mte = pick(2);

	if (!area)
		return;
	area->start = new_place(pages, prot_of(READ_WRITE, mte));
	if (pages == HUGE_PAGES && settings.thp && pick(4) && madvise(area->start, HUGE, MADV_HUGEPAGE))
		failed("madvise(MADV_HUGEPAGE)");
	set_pages(&(struct range){ area, 0, pages }, READ_WRITE, mte);
}

static void op_unmap(void)
{
	struct area *area = pick_area();

	if (area)
		drop_area(area);
}

static void op_map_anew(void)
{
	struct range r = pick_range(HUGE_PAGES);
	enum access access = pick(3) ? READ_WRITE : NO_ACCESS;
	bool mte = pick(2);

	if (!r.area)
		return;
	get_memory((r.end - r.first) * PAGE, prot_of(access, mte), page_address(r.area, r.first));
	reset_shadow(&r);
	set_pages(&r, access, mte);
}

static void write_page(const struct area *area, size_t page)
{
	uint8_t *shadow = area->data[page];
	char *address = page_address(area, page);

	for (size_t i = 0; i < PAGE; i += 8) {
		uint64_t word = random64(&self->random);

		memcpy(shadow + i, &word, 8);
	}
	if (area->page[page].mte && pick(2)) {
		for (size_t g = 0; g < GRANULES; g++)
			memcpy(with_tag(address + g * GRANULE, area->tags[page][g]), shadow + g * GRANULE,
			       GRANULE);
	} else {
		checks_off();
		memcpy(address, shadow, PAGE);
		checks_on();
	}
}

static void op_write(void)
{
	struct range r = pick_range(pick(8) ? 16 : HUGE_PAGES);

	for (size_t i = r.first; r.area && i < r.end; i++)
		if (r.area->page[i].access == READ_WRITE)
			write_page(r.area, i);
}

static void tag_page(const struct area *area, size_t page)
{
	uint8_t *tags = area->tags[page];
	size_t step = 1 + pick(6);

	for (size_t g = pick(GRANULES); g < GRANULES; g += step) {
		char *granule = page_address(area, page) + g * GRANULE;
		unsigned int tag = pick(16);

		switch (pick(4)) {
		case 0:
			if (g + 1 < GRANULES) {
				set_tag2(granule, tag);
				tags[g + 1] = tag;
				break;
			}
			/* fallthrough */
		default:
			set_tag(granule, tag);
			break;
		case 1:
			set_tag_zero(granule, tag);
			memset(area->data[page] + g * GRANULE, 0, GRANULE);
			break;
		}
		tags[g] = tag;
	}
}

static void op_tag(void)
{
	struct range r = pick_range(pick(8) ? 24 : HUGE_PAGES);

	for (size_t i = r.first; r.area && i < r.end; i++)
		if (r.area->page[i].access == READ_WRITE && r.area->page[i].mte)
			tag_page(r.area, i);
}

static void op_verify(void)
{
	struct range r = pick_range(64);

	for (size_t i = r.first; r.area && i < r.end; i++)
		verify_page(r.area, i);
}

/* The heart of it: populated pages become tagged. */
static void op_protect(void)
{
	struct range r = pick_range(HUGE_PAGES);
	enum access access = pick(4) ? READ_WRITE : pick(2);
	bool mte = pick(2);

	if (!r.area)
		return;
	if (mprotect(page_address(r.area, r.first), (r.end - r.first) * PAGE, prot_of(access, mte)))
		failed("mprotect");
	for (size_t i = r.first; i < r.end; i++) {
		r.area->page[i].access = access;
		r.area->page[i].mte |= mte;
	}
}

static void op_free(void)
{
	struct range r = pick_range(HUGE_PAGES);

	if (!r.area)
		return;
	if (madvise(page_address(r.area, r.first), (r.end - r.first) * PAGE, MADV_DONTNEED))
		failed("madvise(MADV_DONTNEED)");
	reset_shadow(&r);
}

/* These change nothing that can be seen; the kernel may refuse them. */
static void op_advise(void)
{
	static const int advice[] = {
		MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_HUGEPAGE, MADV_NOHUGEPAGE
	};
	struct range r = pick_range(HUGE_PAGES);

	if (r.area)
		madvise(page_address(r.area, r.first), (r.end - r.first) * PAGE,
			advice[pick(settings.thp ? ARRAY_SIZE(advice) : 4)]);
}

static void op_collapse(void)
{
	if (!settings.thp)
		return;
	for (size_t i = 0; i < MAX_AREAS; i++) {
		struct area *area = &self->areas[i];

		if (area->pages == HUGE_PAGES && !madvise(area->start, HUGE, MADV_COLLAPSE))
			count(&counts->huge, 1);
	}
}

static void op_split(void)
{
	struct area *area = pick_area();
	char text[96];

	if (!area)
		return;
	snprintf(text, sizeof(text), "%d,%#lx,%#lx", getpid(), (unsigned long)area->start,
		 (unsigned long)(area->start + area->pages * PAGE));
	write_text(SPLIT, text);
}

/* Moves a part to a new area; its old place is mapped as before, and empty. */
static void op_remap(void)
{
	struct range r = pick_range(SMALL_PAGES);
	struct page *page;
	struct area *area;
	size_t pages = 1;
	void *target;

	if (!r.area)
		return;
	page = &r.area->page[r.first];
	while (r.first + pages < r.end && page[pages].access == page->access && page[pages].mte == page->mte)
		pages++;
	r.end = r.first + pages;
	area = new_area(pages);
	if (!area)
		return;
	area->start = new_place(pages, PROT_NONE);
	target = mremap(page_address(r.area, r.first), pages * PAGE, pages * PAGE,
			MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, area->start);
	if (target == MAP_FAILED) {
		/* What looks uniform to us may be several mappings to the kernel. */
		if (errno != EFAULT)
			failed("mremap");
		drop_area(area);
		return;
	}
	memcpy(area->page, page, pages * sizeof(struct page));
	memcpy(area->data, r.area->data[r.first], pages * PAGE);
	memcpy(area->tags, r.area->tags[r.first], pages * GRANULES);
	reset_shadow(&r);
	count(&counts->moved, 1);
}

/* Moves all of an area to another address. */
static void op_relocate(void)
{
	struct area *area = pick_area();
	void *place, *target;

	if (!area)
		return;
	place = new_place(area->pages, PROT_NONE);
	target = mremap(area->start, area->pages * PAGE, area->pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			place);
	if (target == MAP_FAILED) {
		if (errno != EFAULT)
			failed("mremap");
		munmap(place, area->pages * PAGE);
		return;
	}
	area->start = target;
	count(&counts->moved, 1);
}

static void op_migrate(void)
{
	struct range r = pick_range(64);
	void *addresses[64];
	int nodes[64], status[64];
	unsigned long mask = 1UL << pick(settings.nodes);
	size_t pages = r.end - r.first;

	if (!r.area || settings.nodes < 2)
		return;
	if (pick(2)) {
		syscall(SYS_mbind, page_address(r.area, r.first), pages * PAGE, MPOL_BIND, &mask, 64, MPOL_MF_MOVE);
		/* Back to the default, so that a full node is no end. */
		syscall(SYS_mbind, page_address(r.area, r.first), pages * PAGE, 0, NULL, 0, 0);
		return;
	}
	for (size_t i = 0; i < pages; i++) {
		addresses[i] = page_address(r.area, r.first + i);
		nodes[i] = pick(settings.nodes);
	}
	syscall(SYS_move_pages, 0, pages, addresses, nodes, status, MPOL_MF_MOVE);
	count(&counts->moved, 1);
}

static void op_compact(void)
{
	if (pick(20) == 0)
		write_text(COMPACT, "1");
}

static void op_lock(void)
{
	struct range r = pick_range(16);
	void *address;
	size_t size;

	if (!r.area)
		return;
	address = page_address(r.area, r.first);
	size = (r.end - r.first) * PAGE;
	/* Fails where there is no access, and locks nevertheless. */
	mlock(address, size);
	for (size_t i = r.first; i < r.end; i++)
		verify_page(r.area, i);
	if (munlock(address, size))
		failed("munlock");
}

/* The kernel reads one granule and writes another; it uses the tags in the pointers as well. */
static void op_pipe(void)
{
	struct range from = pick_range(1), to = pick_range(1);
	size_t source = pick(GRANULES), target = pick(GRANULES);
	void *address;

	if (!from.area || from.area->page[from.first].access == NO_ACCESS ||
	    to.area->page[to.first].access != READ_WRITE)
		return;
	address = page_address(from.area, from.first) + source * GRANULE;
	if (from.area->page[from.first].mte)
		address = with_tag(address, from.area->tags[from.first][source]);
	if (write(self->pipe[1], address, GRANULE) != (ssize_t)GRANULE)
		failed("write");
	address = page_address(to.area, to.first) + target * GRANULE;
	if (to.area->page[to.first].mte)
		address = with_tag(address, to.area->tags[to.first][target]);
	if (read(self->pipe[0], address, GRANULE) != (ssize_t)GRANULE)
		failed("read");
	memmove(to.area->data[to.first] + target * GRANULE, from.area->data[from.first] + source * GRANULE,
		GRANULE);
}

static void operate(size_t ops);

static void reap(void)
{
	int status;

	if (!self->child)
		return;
	if (waitpid(self->child, &status, 0) != self->child)
		failed("waitpid");
	if (!WIFEXITED(status))
		wrong(self->areas, 0, "the child died of signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status))
		_exit(WEXITSTATUS(status));
	self->child = 0;
}

static void op_fork(void)
{
	pid_t child;

	reap();
	if (self->depth || pick(2))
		return;
	child = fork();
	if (child < 0)
		failed("fork");
	if (child) {
		self->child = child;
		count(&counts->forks, 1);
		return;
	}
	self->depth++;
	self->child = 0;
	self->random += child + self->operation;
	/* The pipe of the parent may be in use by it. */
	if (pipe(self->pipe))
		failed("pipe");
	verify_everything();
	operate(CHILD_OPS);
	verify_everything();
	_exit(0);
}

static const struct {
	const char *name;
	void (*function)(void);
	unsigned int weight;
} operations[] = {
	{ "map", op_map, 10 },
	{ "unmap", op_unmap, 4 },
	{ "map anew", op_map_anew, 5 },
	{ "write", op_write, 20 },
	{ "tag", op_tag, 25 },
	{ "verify", op_verify, 20 },
	{ "protect", op_protect, 25 },
	{ "free", op_free, 6 },
	{ "advise", op_advise, 6 },
	{ "collapse", op_collapse, 1 },
	{ "split", op_split, 2 },
	{ "remap", op_remap, 4 },
	{ "relocate", op_relocate, 3 },
	{ "migrate", op_migrate, 8 },
	{ "compact", op_compact, 1 },
	{ "lock", op_lock, 2 },
	{ "pipe", op_pipe, 6 },
	{ "fork", op_fork, 2 },
};

static void operate(size_t ops)
{
	unsigned int sum = 0;

	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		sum += operations[i].weight;
	for (size_t n = 0; n < ops; n++) {
		unsigned int choice = pick(sum);
		size_t i = 0;

		if (counts->stop || (settings.deadline && time(NULL) >= settings.deadline))
			return;
		while (choice >= operations[i].weight)
			choice -= operations[i++].weight;
		self->operation++;
		self->name = operations[i].name;
		operations[i].function();
		count(&counts->operations, 1);
	}
	self->name = "the end";
}

static void *run_thread(void *argument)
{
	self = argument;
	check_tags();
	if (pipe(self->pipe))
		failed("pipe");
	operate(settings.ops);
	verify_everything();
	reap();
	return NULL;
}

static void run_process(unsigned int process)
{
	struct worker *workers = get_memory(settings.threads * sizeof(*workers), PROT_READ | PROT_WRITE, NULL);
	pthread_t threads[settings.threads];

	for (size_t i = 0; i < settings.threads; i++) {
		uint64_t state = settings.seed ^ (uint64_t)process << 32 ^ (uint64_t)i << 48;

		workers[i].process = process;
		workers[i].thread = i;
		workers[i].random = random64(&state);
		workers[i].name = "the start";
		if (pthread_create(&threads[i], NULL, run_thread, &workers[i]))
			die("there are no threads");
	}
	for (size_t i = 0; i < settings.threads; i++)
		pthread_join(threads[i], NULL);
	exit(0);
}

static unsigned int count_nodes(void)
{
	char path[64];
	unsigned int nodes = 0;

	do
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%u", nodes++);
	while (!access(path, F_OK));
	return nodes > 1 ? nodes - 1 : 1;
}

static void get_settings(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "ops", required_argument, NULL, 'o' },
		{ "seconds", required_argument, NULL, 't' },
		{ "workers", required_argument, NULL, 'w' },
		{ "threads", required_argument, NULL, 'n' },
		{ "areas", required_argument, NULL, 'a' },
		{ "huge", required_argument, NULL, 'h' },
		{ "no-thp", no_argument, NULL, 'x' },
		{ NULL, 0, NULL, 0 }
	};
	struct timespec now;
	int option;

	clock_gettime(CLOCK_REALTIME, &now);
	settings.seed = now.tv_nsec ^ (uint64_t)now.tv_sec << 30;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		uint64_t number = optarg ? strtoull(optarg, NULL, 0) : 0;

		switch (option) {
		case 's':
			settings.seed = number;
			break;
		case 'o':
			settings.ops = number;
			break;
		case 't':
			settings.deadline = time(NULL) + number;
			break;
		case 'w':
			settings.workers = number;
			break;
		case 'n':
			settings.threads = number;
			break;
		case 'a':
			settings.areas = number;
			break;
		case 'h':
			settings.huge = number;
			break;
		case 'x':
			settings.thp = false;
			break;
		default:
			exit(2);
		}
	}
	if (settings.areas + settings.huge > MAX_AREAS)
		die("no more than %d mappings", MAX_AREAS);
	settings.nodes = count_nodes();
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	/* Whoever waits for a child goes on waiting. */
	struct sigaction stop = { .sa_handler = on_stop, .sa_flags = SA_RESTART };
	int status, result = 0;

	get_settings(argc, argv);
	if (!have_mte())
		die("this machine has no MTE");
	/* Nothing that was said is lost if a signal ends this. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("anonstress: --seed %" PRIu64 "\n", settings.seed);
	counts = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED)
		die("there is no memory: %s", strerror(errno));
	if (sigaction(SIGSEGV, &action, NULL) || sigaction(SIGBUS, &action, NULL) || sigaction(SIGTERM, &stop, NULL))
		die("signals can't be caught");

	for (size_t i = 0; i < settings.workers; i++) {
		pid_t worker = fork();

		if (worker < 0)
			die("fork: %s", strerror(errno));
		if (!worker)
			run_process(i);
	}
	while (wait(&status) > 0) {
		if (WIFSIGNALED(status))
			printf("anonstress: WRONG: a worker died of signal %d\n", WTERMSIG(status));
		if (status && result != 1)
			result = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
	}
	printf("anonstress: %" PRIu64 " operations, %" PRIu64 " tags verified, %" PRIu64 " forks, %" PRIu64
	       " moves, %" PRIu64 " collapses: %s\n", counts->operations, counts->granules, counts->forks,
	       counts->moved, counts->huge, result ? "failed" : "all right");
	return result;
}
