// SPDX-License-Identifier: GPL-2.0
/*
 * paths/other.c - directed tests of what else touches tagged memory: userfaultfd, KSM, madvise, debuggers, core
 * dumps, pinned pages
 *
 * usage: other [all | NAME...]
 */

#define _GNU_SOURCE
#include <elf.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "gup_test.h"
#include "pairs.h"

#define PAGES		128
#define MPOL_MF_MOVE	2

#ifndef PTRACE_PEEKMTETAGS
#define PTRACE_PEEKMTETAGS	33
#define PTRACE_POKEMTETAGS	34
#endif
#ifndef PT_AARCH64_MEMTAG_MTE
#define PT_AARCH64_MEMTAG_MTE	0x70000002
#endif
#ifndef UFFDIO_MOVE
struct uffdio_move {
	uint64_t dst, src, len, mode;
	int64_t move;
};

#define UFFDIO_MOVE		_IOWR(UFFDIO, 0x05, struct uffdio_move)
#define UFFD_FEATURE_MOVE	(1 << 16)
#endif

static uint64_t vmstat(const char *name)
{
	size_t length = strlen(name);
	uint64_t number = 0;
	bool found = false;
	char line[256];
	FILE *file = fopen("/proc/vmstat", "r");

	while (file && !found && fgets(line, sizeof(line), file)) {
		found = !strncmp(line, name, length) && line[length] == ' ';
		number = strtoull(line + length, NULL, 10);
	}
	if (!found)
		fail("/proc/vmstat has no %s", name);
	fclose(file);
	return number;
}

/* A number of the engine's; 0 without one. */
static uint64_t number_of(const char *name)
{
	char path[256], text[32];

	snprintf(path, sizeof(path), SYSFS "/%s", name);
	return read_text(path, text, sizeof(text)) ? strtoull(text, NULL, 10) : 0;
}

/* Not PROT_MTE, and not copied yet: a private mapping of a file whose pages are all tagged. */
static char *map_tagged_file(void)
{
	int file = make_file(PAGES);

	write_all(map_file(file, PAGES, RW | PROT_MTE, MAP_SHARED), 0, PAGES, 1);
	return map_file(file, PAGES, RW, MAP_PRIVATE);
}

/* madvise */

static void forgotten(void)
{
	char *memory = map(PAGES, RW | PROT_MTE);

	for (unsigned int version = 1; version < 9; version++) {
		write_all(memory, 0, PAGES, version);
		if (madvise(memory, PAGES / 2 * PAGE, MADV_DONTNEED))
			fail("madvise(MADV_DONTNEED): %s", strerror(errno));
		expect_zeros(memory, 0, PAGES / 2);
		expect_no_tags(memory, 0, PAGES / 2);
		expect_all(memory, PAGES / 2, PAGES / 2, version);
	}
}

/* A page that may be dropped keeps data and tags, or loses both. */
static void freed_lazily(void)
{
	char *memory = map(PAGES, RW | PROT_MTE);

	write_all(memory, 0, PAGES, 1);
	if (madvise(memory, PAGES * PAGE, MADV_FREE))
		fail("madvise(MADV_FREE): %s", strerror(errno));
	madvise(memory, PAGES / 2 * PAGE, MADV_PAGEOUT);
	for (size_t page = 0; page < PAGES; page++) {
		uint64_t *words = (uint64_t *)(memory + page * PAGE);

		checks_off();
		if (words[0]) {
			checks_on();
			expect_all(memory, page, 1, 1);
		} else {
			checks_on();
			expect_zeros(memory, page, 1);
			expect_no_tags(memory, page, 1);
		}
	}
}

static void cold(void)
{
	char *memory = map(PAGES, RW | PROT_MTE);

	write_all(memory, 0, PAGES, 1);
	if (madvise(memory, PAGES * PAGE, MADV_COLD))
		fail("madvise(MADV_COLD): %s", strerror(errno));
	expect_all(memory, 0, PAGES, 1);
}

/* KSM */

/* Equal data with different tags must not be merged; equal data without tags is, and may be tagged then. */
static void same_page_merging(void)
{
	char *tagged = map(PAGES, RW | PROT_MTE), *plain = map(PAGES, RW), before[32], now[32];

	if (!write_text("/sys/kernel/mm/ksm/pages_to_scan", "10000") ||
	    !write_text("/sys/kernel/mm/ksm/sleep_millisecs", "10"))
		skip("the kernel has no KSM");
	for (size_t page = 0; page < PAGES; page++) {
		checks_off();
		memset(tagged + page * PAGE, 0x5a, PAGE);
		memset(plain + page * PAGE, 0xa5, PAGE);
		checks_on();
	}
	write_tags(tagged, 0, PAGES, 1);
	madvise(tagged, PAGES * PAGE, MADV_MERGEABLE);
	madvise(plain, PAGES * PAGE, MADV_MERGEABLE);
	write_text("/sys/kernel/mm/ksm/run", "1");
	if (!read_text("/sys/kernel/mm/ksm/full_scans", before, sizeof(before)))
		fail("full_scans can't be read");
	for (unsigned int i = 0; i < TRIES; i++) {
		read_text("/sys/kernel/mm/ksm/full_scans", now, sizeof(now));
		if (strtoul(now, NULL, 10) > strtoul(before, NULL, 10) + 3)
			break;
		short_sleep();
	}
	expect_tags(tagged, 0, PAGES, 1);
	if (get_pfn(tagged) == get_pfn(tagged + PAGE))
		fail("pages with different tags were merged");
	if (get_pfn(plain) != get_pfn(plain + PAGE))
		fail("untagged pages were not merged");
	/* A merged page becomes tagged: all its copies on their own. */
	protect(plain, PAGES, RW | PROT_MTE);
	expect_no_tags(plain, 0, PAGES);
	write_all(plain, 0, PAGES, 2);
	expect_all(plain, 0, PAGES, 2);
	write_text("/sys/kernel/mm/ksm/run", "2");
	expect_all(plain, 0, PAGES, 2);
	expect_tags(tagged, 0, PAGES, 1);
	write_text("/sys/kernel/mm/ksm/run", "0");
}

/* userfaultfd */

static int uffd_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
		skip("the kernel has no such userfaultfd: %s", strerror(errno));
	return uffd;
}

static void uffd_register(int uffd, char *memory, size_t pages, uint64_t mode)
{
	struct uffdio_register reg = { .range = { (uint64_t)memory, pages * PAGE }, .mode = mode };

	if (ioctl(uffd, UFFDIO_REGISTER, &reg))
		skip("UFFDIO_REGISTER: %s", strerror(errno));
}

/* A thread that serves faults: a page of data for one that is missing, permission for one that is protected. */
struct server {
	int uffd;
	char *memory;
	uint64_t served;
	bool minor;
};

static void serve_missing(struct server *s, uint64_t address)
{
	static uint64_t words[WORDS];
	struct uffdio_copy copy = { .dst = address, .src = (uint64_t)words, .len = PAGE };
	size_t first = (address - (uint64_t)s->memory) / 8;

	for (size_t word = 0; word < WORDS; word++)
		words[word] = word_for(first + word, 1);
	if (ioctl(s->uffd, UFFDIO_COPY, &copy) && errno != EEXIST)
		fail("UFFDIO_COPY: %s", strerror(errno));
}

static void *serve(void *argument)
{
	struct server *s = argument;
	struct uffd_msg message;

	for (;;) {
		ssize_t length = read(s->uffd, &message, sizeof(message));
		uint64_t address = message.arg.pagefault.address & ~(0xffULL << 56) & ~(PAGE - 1);

		if (length < 0 && errno == EAGAIN) {
			usleep(100);
			continue;
		}
		if (length != sizeof(message))
			return NULL;
		s->served++;
		if (message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
			struct uffdio_writeprotect wp = { .range = { address, PAGE } };

			if (ioctl(s->uffd, UFFDIO_WRITEPROTECT, &wp))
				fail("UFFDIO_WRITEPROTECT: %s", strerror(errno));
		} else if (message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR) {
			struct uffdio_continue go = { .range = { address, PAGE } };

			if (ioctl(s->uffd, UFFDIO_CONTINUE, &go) && errno != EEXIST)
				fail("UFFDIO_CONTINUE: %s", strerror(errno));
		} else {
			serve_missing(s, address);
		}
	}
}

static void start_server(struct server *s)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, serve, s))
		fail("there are no threads");
}

static void uffd_missing(void)
{
	struct server s = { .uffd = uffd_open(0), .memory = map(PAGES, RW | PROT_MTE) };

	uffd_register(s.uffd, s.memory, PAGES, UFFDIO_REGISTER_MODE_MISSING);
	start_server(&s);
	expect_data(s.memory, 0, PAGES, 1);
	expect_no_tags(s.memory, 0, PAGES);
	write_tags(s.memory, 0, PAGES, 1);
	expect_all(s.memory, 0, PAGES, 1);
	if (s.served < PAGES)
		fail("only %" PRIu64 " faults were served", s.served);
}

static void uffd_zero_page(void)
{
	char *memory = map(PAGES, RW | PROT_MTE);
	int uffd = uffd_open(0);
	struct uffdio_zeropage zero = { .range = { (uint64_t)memory, PAGES * PAGE } };

	uffd_register(uffd, memory, PAGES, UFFDIO_REGISTER_MODE_MISSING);
	if (ioctl(uffd, UFFDIO_ZEROPAGE, &zero))
		fail("UFFDIO_ZEROPAGE: %s", strerror(errno));
	expect_zeros(memory, 0, PAGES);
	expect_no_tags(memory, 0, PAGES);
	write_all(memory, 0, PAGES, 1);
	expect_all(memory, 0, PAGES, 1);
}

static void uffd_protect(void)
{
	struct server s = { .uffd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP), .memory = map(PAGES, RW | PROT_MTE) };
	struct uffdio_writeprotect wp = {
		.range = { (uint64_t)s.memory, PAGES * PAGE }, .mode = UFFDIO_WRITEPROTECT_MODE_WP
	};

	write_all(s.memory, 0, PAGES, 1);
	uffd_register(s.uffd, s.memory, PAGES, UFFDIO_REGISTER_MODE_WP);
	if (ioctl(s.uffd, UFFDIO_WRITEPROTECT, &wp))
		skip("UFFDIO_WRITEPROTECT: %s", strerror(errno));
	start_server(&s);
	expect_all(s.memory, 0, PAGES, 1);
	write_all(s.memory, 0, PAGES, 2);
	expect_all(s.memory, 0, PAGES, 2);
}

static void uffd_minor(void)
{
	struct server s = { .uffd = uffd_open(UFFD_FEATURE_MINOR_SHMEM) };
	int file = make_file(PAGES);
	char *other = map_file(file, PAGES, RW, MAP_SHARED);

	s.memory = map_file(file, PAGES, RW | PROT_MTE, MAP_SHARED);
	write_data(other, 0, PAGES, 1);
	uffd_register(s.uffd, s.memory, PAGES, UFFDIO_REGISTER_MODE_MINOR);
	start_server(&s);
	expect_data(s.memory, 0, PAGES, 1);
	expect_no_tags(s.memory, 0, PAGES);
	write_tags(s.memory, 0, PAGES, 1);
	expect_all(s.memory, 0, PAGES, 1);
}

static void uffd_move(void)
{
	char *from = map(PAGES, RW | PROT_MTE), *to = map(PAGES, RW | PROT_MTE);
	int uffd = uffd_open(UFFD_FEATURE_MOVE);
	struct uffdio_move move = { .dst = (uint64_t)to, .src = (uint64_t)from, .len = PAGES * PAGE };

	write_all(from, 0, PAGES, 1);
	uffd_register(uffd, to, PAGES, UFFDIO_REGISTER_MODE_MISSING);
	if (ioctl(uffd, UFFDIO_MOVE, &move))
		fail("UFFDIO_MOVE: %s", strerror(errno));
	expect_all(to, 0, PAGES, 1);
	expect_zeros(from, 0, PAGES);
	expect_no_tags(from, 0, PAGES);
}

/* Debuggers */

/* Tags of the child's page by ptrace; returns how many granules were done, or -1. */
static long tags(int request, pid_t child, char *address, unsigned char *buffer, size_t count)
{
	struct iovec io = { buffer, count };

	if (ptrace(request, child, address, &io))
		return -1;
	return io.iov_len;
}

static void attach(pid_t child)
{
	if (ptrace(PTRACE_ATTACH, child, NULL, NULL) || waitpid(child, NULL, 0) != child)
		fail("PTRACE_ATTACH: %s", strerror(errno));
}

static void debugger(void)
{
	char *memory = map(PAGES, RW | PROT_MTE), *fresh = map(PAGES, RW | PROT_MTE), *plain = map(1, RW);
	unsigned char buffer[GRANULES];
	struct turns t;
	long count;

	write_all(memory, 0, PAGES, 1);
	write_data(plain, 0, 1, 1);
	CHILD(&t, {
		let_parent(&t);
		expect_data(memory, 0, PAGES, 1);
		expect_tags(memory, 0, PAGES, 2);
		expect_tags(fresh, 0, PAGES, 3);
	});
	let_child(&t);
	attach(t.child);
	for (size_t page = 0; page < PAGES; page++) {
		if (tags(PTRACE_PEEKMTETAGS, t.child, memory + page * PAGE, buffer, GRANULES) != GRANULES)
			fail("PTRACE_PEEKMTETAGS: %s", strerror(errno));
		for (size_t g = 0; g < GRANULES; g++)
			if (buffer[g] != tag_for(page * GRANULES + g, 1))
				fail("granule %zu of page %zu is read as %u", g, page, buffer[g]);
		for (size_t g = 0; g < GRANULES; g++)
			buffer[g] = tag_for(page * GRANULES + g, 2);
		if (tags(PTRACE_POKEMTETAGS, t.child, memory + page * PAGE, buffer, GRANULES) != GRANULES)
			fail("PTRACE_POKEMTETAGS: %s", strerror(errno));
		/* Nothing is there yet. */
		for (size_t g = 0; g < GRANULES; g++)
			buffer[g] = tag_for(page * GRANULES + g, 3);
		if (tags(PTRACE_POKEMTETAGS, t.child, fresh + page * PAGE, buffer, GRANULES) != GRANULES)
			fail("PTRACE_POKEMTETAGS of a page that was never used: %s", strerror(errno));
	}
	count = tags(PTRACE_POKEMTETAGS, t.child, plain, buffer, GRANULES);
	if (count != -1 || errno != EIO)
		fail("PTRACE_POKEMTETAGS of untagged memory gives %ld (%s)", count, strerror(errno));
	ptrace(PTRACE_DETACH, t.child, NULL, NULL);
	end_child(&t);
	expect_all(memory, 0, PAGES, 1);
}

/*
 * Of every other pair, the page that lies on tag storage is to be tagged, so it must go; of the others, the one whose
 * tags belong there.
 */
static size_t to_be_tagged(const struct pairs *p, size_t i)
{
	return i % 2 ? p->pair[i].user : p->pair[i].data;
}

/* Now and then the debugger reads before it writes. */
static void debug_page(pid_t child, const struct pairs *p, size_t i)
{
	size_t page = to_be_tagged(p, i);
	char *address = p->memory + page * PAGE;
	unsigned char wanted[GRANULES], found[GRANULES];

	for (size_t g = 0; g < GRANULES; g++)
		wanted[g] = tag_for(page * GRANULES + g, 2);
	if (i % 4 < 2) {
		if (tags(PTRACE_PEEKMTETAGS, child, address, found, GRANULES) != GRANULES)
			fail("PTRACE_PEEKMTETAGS of a page without storage: %s", strerror(errno));
		for (size_t g = 0; g < GRANULES; g++)
			if (found[g])
				fail("granule %zu of page %zu is read as %u, and has no tag", g, page, found[g]);
	}
	if (tags(PTRACE_POKEMTETAGS, child, address, wanted, GRANULES) != GRANULES)
		fail("PTRACE_POKEMTETAGS of a page without storage: %s", strerror(errno));
	if (tags(PTRACE_PEEKMTETAGS, child, address, found, GRANULES) != GRANULES)
		fail("PTRACE_PEEKMTETAGS: %s", strerror(errno));
	if (memcmp(found, wanted, GRANULES))
		fail("page %zu has other tags than those that were written", page);
}

/* Is it as it was when the pairs were taken: is the storage in use? */
static bool pair_untouched(pid_t pid, const struct pairs *p, size_t i)
{
	return pfn_in(pid, user_of(p, i)) == p->pair[i].user_pfn && pfn_in(pid, data_page(p, i)) == p->pair[i].data_pfn;
}

/* Who was to be tagged is, where it was or elsewhere. True if the block was claimed. */
static bool expect_pair_parted(pid_t pid, const struct pairs *p, size_t i)
{
	bool claimed = pfn_in(pid, data_page(p, i)) == p->pair[i].data_pfn;

	if (claimed && pfn_in(pid, user_of(p, i)) == p->pair[i].user_pfn)
		fail("page %zu lies where the tags of page %zu are", p->pair[i].user, p->pair[i].data);
	return claimed;
}

/* Pages stay where they are, unless a claim moves them: those of blocks that hold few tags go to others else. */
static void set_worker(const char *percent)
{
	if (!write_text("/sys/module/tagstorage/parameters/pack_percent", percent))
		fail("pack_percent: %s", strerror(errno));
}

/* The storage of tags is in use as memory, and the first to touch the page is a debugger. */
static void debugger_without_storage(void)
{
	struct pairs *p = mmap(NULL, sizeof(*p), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	size_t missing = 0, claimed = 0;
	struct turns t;

	set_worker("0");
	CHILD(&t, {
		take_pairs(p);
		for (size_t i = 0; i < p->count; i++)
			protect(p->memory + to_be_tagged(p, i) * PAGE, 1, RW | PROT_MTE);
		let_parent(&t);
		for (size_t i = 0; i < p->count; i++) {
			expect_data(p->memory, p->pair[i].data, 1, 1);
			expect_tags(p->memory, to_be_tagged(p, i), 1, 2);
		}
		expect_users(p);
	});
	let_child(&t);
	attach(t.child);
	for (size_t i = 0; i < p->count; i++) {
		missing += pair_untouched(t.child, p, i);
		debug_page(t.child, p, i);
		if (i % 2 && pfn_in(t.child, user_of(p, i)) == p->pair[i].user_pfn)
			fail("page %zu is tagged, and lies on tag storage", p->pair[i].user);
		claimed += expect_pair_parted(t.child, p, i) && !(i % 2);
	}
	ptrace(PTRACE_DETACH, t.child, NULL, NULL);
	end_child(&t);
	if (missing < p->count / 2 || claimed < p->count / 4)
		fail("of %zu pages only %zu had no storage, and of half of them only %zu blocks were claimed",
		     p->count, missing, claimed);
	set_worker("5");
}

/* Core files */

#define CORE		"/tmp/core.tagstorage"

struct core {
	int file;
	size_t count;
	Elf64_Phdr *segments;
};

static void want_core(void)
{
	if (!write_text("/proc/sys/kernel/core_pattern", CORE))
		skip("core_pattern can't be written");
}

__attribute__((noreturn))
static void dump_core(void)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY });
	signal(SIGABRT, SIG_DFL);
	abort();
}

static struct core open_core(void)
{
	struct core core = { .file = open(CORE, O_RDONLY | O_CLOEXEC) };
	Elf64_Ehdr header;
	size_t size;

	if (core.file < 0 || pread(core.file, &header, sizeof(header), 0) != sizeof(header))
		fail("there is no core file");
	unlink(CORE);
	core.count = header.e_phnum;
	size = core.count * sizeof(*core.segments);
	core.segments = malloc(size);
	if (pread(core.file, core.segments, size, header.e_phoff) != (ssize_t)size)
		fail("the core file is too short");
	return core;
}

/* Reads what the core file has of a page: of its tags (two in a byte), or of its data. */
static void read_core(const struct core *core, unsigned int type, const char *address, void *buffer)
{
	size_t size = type == PT_LOAD ? PAGE : GRANULES / 2;

	for (const Elf64_Phdr *s = core->segments; s < core->segments + core->count; s++) {
		uint64_t offset = ((uint64_t)address - s->p_vaddr) / PAGE * size;

		if (s->p_type != type || (uint64_t)address - s->p_vaddr >= s->p_memsz)
			continue;
		if (offset >= s->p_filesz || pread(core->file, buffer, size, s->p_offset + offset) != (ssize_t)size)
			fail("the core file is too short");
		return;
	}
	fail("the core file has no %s of %p", type == PT_LOAD ? "data" : "tags", address);
}

static void expect_core_data(const struct core *core, const char *memory, size_t page, unsigned int version)
{
	uint64_t words[WORDS];

	read_core(core, PT_LOAD, memory + page * PAGE, words);
	for (size_t word = 0; word < WORDS; word++)
		if (words[word] != word_for(page * WORDS + word, version))
			fail("word %zu of page %zu is %#" PRIx64 " in the core file", word, page, words[word]);
}

static void expect_core_tags(const struct core *core, const char *memory, size_t page, unsigned int version)
{
	unsigned char packed[GRANULES / 2];

	read_core(core, PT_AARCH64_MEMTAG_MTE, memory + page * PAGE, packed);
	for (size_t g = 0; g < GRANULES; g++)
		if ((packed[g / 2] >> (g % 2 * 4) & 15) != tag_for(page * GRANULES + g, version))
			fail("granule %zu of page %zu has another tag in the core file", g, page);
}

static void expect_core_no_tags(const struct core *core, const char *memory, size_t page)
{
	unsigned char packed[GRANULES / 2];

	read_core(core, PT_AARCH64_MEMTAG_MTE, memory + page * PAGE, packed);
	for (size_t i = 0; i < sizeof(packed); i++)
		if (packed[i])
			fail("granule %zu of page %zu has a tag in the core file, and none in memory", i * 2, page);
}

static void core_dump(void)
{
	char *memory = map(PAGES, RW | PROT_MTE);
	struct core core;
	pid_t child;

	write_all(memory, 0, PAGES, 1);
	want_core();
	child = fork();
	if (!child)
		dump_core();
	waitpid(child, NULL, 0);
	core = open_core();
	for (size_t page = 0; page < PAGES; page++) {
		expect_core_data(&core, memory, page, 1);
		expect_core_tags(&core, memory, page, 1);
	}
	expect_all(memory, 0, PAGES, 1);
}

/* Of every other pair, the page on tag storage is not dumped: so it is there until the storage is claimed. */
static void choose_for_core(const struct pairs *p)
{
	madvise(p->memory, p->pages * PAGE, MADV_DONTDUMP);
	for (size_t i = 0; i < p->count; i++) {
		if (madvise(data_page(p, i), PAGE, MADV_DODUMP) ||
		    (i % 2 && madvise(user_of(p, i), PAGE, MADV_DODUMP)))
			fail("madvise(MADV_DODUMP): %s", strerror(errno));
	}
}

/* The storage of tags is in use as memory, and the first to touch the page is who dumps the core. */
static void core_dump_without_storage(void)
{
	size_t missing = 0, claimed = 0;
	static struct pairs p;
	struct core core;
	pid_t child;

	want_core();
	set_worker("0");
	take_pairs(&p);
	for (size_t i = 0; i < p.count; i++)
		missing += pair_untouched(getpid(), &p, i);
	child = fork();
	if (!child) {
		choose_for_core(&p);
		protect_pairs(&p);
		dump_core();
	}
	waitpid(child, NULL, 0);
	core = open_core();
	for (size_t i = 0; i < p.count; i++) {
		expect_core_data(&core, p.memory, p.pair[i].data, 1);
		expect_core_no_tags(&core, p.memory, p.pair[i].data);
		if (i % 2)
			expect_core_data(&core, p.memory, p.pair[i].user, 1);
		claimed += expect_pair_parted(getpid(), &p, i);
	}
	expect_users(&p);
	for (size_t i = 0; i < p.count; i++)
		expect_data(p.memory, p.pair[i].data, 1, 1);
	if (missing < p.count / 2 || claimed < p.count / 2)
		fail("of %zu pages, only %zu had no storage, and %zu blocks were claimed", p.count, missing, claimed);
	set_worker("5");
}

/* Another process reads and writes: as GUP does it for everybody. */
static void other_process(void)
{
	char *memory = map(PAGES, RW | PROT_MTE), buffer[PAGE];
	struct turns t;

	CHILD(&t, {
		write_all(memory, 0, PAGES / 2, 1);
		let_parent(&t);
		expect_tags(memory, 0, PAGES / 2, 1);
		expect_data(memory, 0, PAGES, 2);
		write_tags(memory, PAGES / 2, PAGES / 2, 2);
		expect_tags(memory, PAGES / 2, PAGES / 2, 2);
	});
	let_child(&t);
	for (size_t page = 0; page < PAGES; page++) {
		struct iovec local = { buffer, PAGE }, remote = { memory + page * PAGE, PAGE };

		for (size_t word = 0; word < WORDS; word++)
			((uint64_t *)buffer)[word] = word_for(page * WORDS + word, 2);
		if (process_vm_writev(t.child, &local, 1, &remote, 1, 0) != (ssize_t)PAGE)
			fail("process_vm_writev: %s", strerror(errno));
	}
	end_child(&t);
}

/* They stay pinned until the file that is returned is closed. */
static int pin(char *memory)
{
	struct pin_longterm_test range = { .addr = (uint64_t)memory, .size = PAGES * PAGE, .flags = PIN_WRITE };
	int file = open("/sys/kernel/debug/gup_test", O_RDWR);

	if (file < 0)
		skip("the kernel has no gup_test");
	if (ioctl(file, PIN_LONGTERM_TEST_START, &range))
		fail("PIN_LONGTERM_TEST_START: %s", strerror(errno));
	return file;
}

static void expect_copied(const char *memory, const uint64_t *pfns)
{
	for (size_t page = 0; page < PAGES; page++)
		if (get_pfn(memory + page * PAGE) == pfns[page])
			fail("page %zu is pinned, and fork() did not copy it", page);
}

/* Pinned pages are copied by fork() itself, under the page-table lock. */
static void fork_of_pinned(void)
{
	char *memory = map(PAGES, RW | PROT_MTE);
	uint64_t pfns[PAGES];
	struct turns t;
	int file;

	write_all(memory, 0, PAGES, 1);
	file = pin(memory);
	get_pfns(memory, pfns, PAGES);
	for (unsigned int i = 0; i < 4; i++) {
		CHILD(&t, {
			expect_copied(memory, pfns);
			expect_all(memory, 0, PAGES, 1);
			write_all(memory, 0, PAGES, 2);
			let_parent(&t);
			expect_all(memory, 0, PAGES, 2);
		});
		let_child(&t);
		expect_all(memory, 0, PAGES, 1);
		end_child(&t);
	}
	if (ioctl(file, PIN_LONGTERM_TEST_STOP))
		fail("PIN_LONGTERM_TEST_STOP: %s", strerror(errno));
	expect_all(memory, 0, PAGES, 1);
}

/* The same where only the source says that the copy has tags: the mapping is not PROT_MTE. */
static void fork_of_pinned_untagged(void)
{
	char *memory = map_tagged_file();
	uint64_t pfns[PAGES];
	struct turns t;

	write_data(memory, 0, PAGES, 2);
	pin(memory);
	get_pfns(memory, pfns, PAGES);
	for (unsigned int i = 0; i < 4; i++) {
		CHILD(&t, {
			expect_copied(memory, pfns);
			expect_tags_of_copy(memory, PAGES);
			write_all(memory, 0, PAGES, 3);
			let_parent(&t);
			expect_all(memory, 0, PAGES, 3);
		});
		let_child(&t);
		expect_data(memory, 0, PAGES, 2);
		end_child(&t);
	}
	expect_tags_of_copy(memory, PAGES);
}

/* Copy-on-write of a tagged page that is mapped, in a mapping that is not PROT_MTE: of a file's, then of our own. */
static void copied_after_reading(void)
{
	char *memory = map_tagged_file();
	struct turns t;

	expect_data(memory, 0, PAGES, 1);
	write_data(memory, 0, PAGES / 2, 2);
	CHILD(&t, {
		expect_data(memory, 0, PAGES / 2, 2);
		write_data(memory, 0, PAGES, 3);
		protect(memory, PAGES, RW | PROT_MTE);
		expect_data(memory, 0, PAGES, 3);
		expect_tags(memory, 0, PAGES, 1);
	});
	end_child(&t);
	write_data(memory, PAGES / 2, PAGES / 2, 2);
	expect_tags_of_copy(memory, PAGES);
}

/*
 * A uprobe replaces a page of a private, executable mapping by a copy, and when it goes, by another one. Only the
 * source says that they have tags: the mappings are not PROT_MTE yet.
 */
#define TRACING		"/sys/kernel/tracing/"
#define PROBES		TRACING "events/tagstorage_uprobes/"
#define PROBED		"/dev/shm/probed"
#define NOPS		0xd503201fd503201fULL

static void add_probe(size_t page)
{
	char text[128];
	int file = open(TRACING "uprobe_events", O_WRONLY | O_APPEND | O_CLOEXEC);

	snprintf(text, sizeof(text), "p:tagstorage_uprobes/page%zu " PROBED ":%#zx\n", page, page * PAGE);
	if (file < 0 || write(file, text, strlen(text)) < 0)
		fail("uprobe_events: %s", strerror(errno));
	close(file);
}

static void expect_probes(const char *memory, bool there)
{
	for (size_t page = 0; page < PAGES; page++) {
		const char *start = with_tag(memory + page * PAGE, tag_for(page * GRANULES, 1));
		uint64_t word = *(const volatile uint64_t *)start;
		bool probed = word != NOPS;

		if (probed != there)
			fail("page %zu begins with %#" PRIx64, page, word);
	}
}

static void uprobe(void)
{
	int file = open(PROBED, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char *shared, *probed, *left;

	if (access(TRACING "uprobe_events", W_OK))
		skip("this kernel has no uprobes");
	if (file < 0 || ftruncate(file, PAGES * PAGE))
		fail(PROBED ": %s", strerror(errno));
	shared = mmap(NULL, PAGES * PAGE, RW | PROT_MTE, MAP_SHARED, file, 0);
	probed = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
	left = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
	if (shared == MAP_FAILED || probed == MAP_FAILED || left == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	for (size_t i = 0; i < PAGES * WORDS; i++)
		((uint64_t *)shared)[i] = NOPS;
	write_tags(shared, 0, PAGES, 1);
	expect_probes(probed, false);
	for (size_t page = 0; page < PAGES; page++)
		add_probe(page);
	if (!write_text(PROBES "enable", "1"))
		fail("the probes can't be enabled: %s", strerror(errno));
	expect_probes(probed, true);
	expect_probes(left, true);
	protect(probed, PAGES, PROT_READ | PROT_EXEC | PROT_MTE);
	expect_tags(probed, 0, PAGES, 1);
	write_text(PROBES "enable", "0");
	write_text(TRACING "uprobe_events", "");
	expect_probes(probed, false);
	expect_probes(left, false);
	protect(left, PAGES, PROT_READ | PROT_EXEC | PROT_MTE);
	expect_tags(probed, 0, PAGES, 1);
	expect_tags(left, 0, PAGES, 1);
	expect_tags(shared, 0, PAGES, 1);
	unlink(PROBED);
}

/* mprotect(PROT_MTE) races with migration, again and again (P1, P2): between two nodes, else by compaction. */
#define RACED		256
#define SPREAD		32	/* one page of so many is left, so that compaction moves it */
#define ROUNDS		40
#define MOST_ROUNDS	400	/* where compaction finds little to do */

static char *raced;
static bool race_over;

static void *race_compact(void *argument)
{
	(void)argument;
	while (!__atomic_load_n(&race_over, __ATOMIC_RELAXED))
		write_text("/proc/sys/vm/compact_memory", "1");
	return NULL;
}

static void *race_nodes(void *argument)
{
	static void *addresses[RACED];
	static int nodes[RACED], status[RACED];

	(void)argument;
	for (int node = 1; !__atomic_load_n(&race_over, __ATOMIC_RELAXED); node = !node) {
		for (size_t i = 0; i < RACED; i++) {
			addresses[i] = raced + i * SPREAD * PAGE;
			nodes[i] = node;
		}
		/* What is not there is no error. */
		if (syscall(SYS_move_pages, 0, RACED, addresses, nodes, status, MPOL_MF_MOVE) < 0)
			fail("move_pages: %s", strerror(errno));
	}
	return NULL;
}

/* Anew, untagged, and with holes. */
static void prepare_race(unsigned int version)
{
	const size_t size = RACED * SPREAD * PAGE;

	if (mmap(raced, size, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != raced)
		fail("mmap: %s", strerror(errno));
	madvise(raced, size, MADV_NOHUGEPAGE);
	for (size_t page = 0; page < RACED * SPREAD; page++)
		raced[page * PAGE] = 1;
	for (size_t i = 0; i < RACED; i++) {
		write_data(raced, i * SPREAD, 1, version);
		madvise(raced + (i * SPREAD + 1) * PAGE, (SPREAD - 1) * PAGE, MADV_DONTNEED);
	}
}

static void race_pfns(uint64_t *pfns)
{
	for (size_t i = 0; i < RACED; i++)
		pfns[i] = get_pfn(raced + i * SPREAD * PAGE);
}

/* Returns how many pages were moved while they became tagged. */
static size_t race_round(unsigned int version)
{
	uint64_t before[RACED], after[RACED];
	size_t moved = 0;

	prepare_race(version);
	race_pfns(before);
	for (size_t i = 0; i < RACED; i++)
		protect(raced + i * SPREAD * PAGE, 1, RW | PROT_MTE);
	for (size_t i = 0; i < RACED; i++) {
		expect_data(raced, i * SPREAD, 1, version);
		write_tags(raced, i * SPREAD, 1, version);
	}
	race_pfns(after);
	for (size_t i = 0; i < RACED; i++) {
		expect_all(raced, i * SPREAD, 1, version);
		moved += before[i] != after[i];
	}
	return moved;
}

static void protect_against_migration(void)
{
	bool two_nodes = !access("/sys/devices/system/node/node1", F_OK);
	size_t moved = 0, wanted = two_nodes ? ROUNDS * RACED / 4 : RACED;
	uint64_t success = vmstat("pgmigrate_success"), replaced = number_of("pages_replaced");
	pthread_t thread;

	raced = map(RACED * SPREAD, RW);
	if (pthread_create(&thread, NULL, two_nodes ? race_nodes : race_compact, NULL))
		fail("there are no threads");
	for (unsigned int round = 0; round < ROUNDS || (moved < wanted && round < MOST_ROUNDS); round++)
		moved += race_round(round);
	__atomic_store_n(&race_over, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	replaced = number_of("pages_replaced") - replaced;
	success = vmstat("pgmigrate_success") - success;
	if (moved < wanted + replaced || success < moved)
		fail("only %zu pages were moved, %" PRIu64 " of them because they had no storage", moved, replaced);
}

/* Takes all memory, and leaves one page of 16 in use; only these are written as a whole. */
#define HOLES		16

static size_t fragment(char *memory, size_t limit)
{
	size_t pages = 0;

	for (uint64_t left; pages < limit && (left = room());)
		for (; left && pages < limit; left--, pages++)
			memory[pages * PAGE] = 1;
	for (size_t page = 0; page < pages; page += HOLES) {
		write_data(memory, page, 1, 1);
		madvise(memory + (page + 1) * PAGE, (HOLES - 1) * PAGE, MADV_DONTNEED);
	}
	return pages;
}

/* The first touch: was there a huge page for it, and did compaction have to make room? Others may compact, too. */
static bool compacts_for(char *area)
{
	uint64_t before = vmstat("compact_success");

	set_tag(area, 0);
	return vmstat("compact_success") != before && is_huge(area);
}

/*
 * Huge pages that compaction has to make room for. What it captures for the request has not been on a free list: it is
 * prepared all the same.
 */
static void huge_by_compaction(void)
{
	enum { AREAS = 24, MAX_ROUNDS = 8, WANTED = 4 };
	size_t limit = meminfo("MemTotal") / PAGE, compacted = 0;
	char *memory = map(limit + HOLES, RW), *areas[AREAS];

	for (unsigned int round = 0; round < MAX_ROUNDS && compacted < WANTED; round++) {
		size_t pages = fragment(memory, limit), count = 0;

		for (; count < AREAS && compacted < WANTED; count++) {
			areas[count] = map_huge(RW | PROT_MTE);
			compacted += compacts_for(areas[count]);
			write_all(areas[count], 0, HUGE_PAGES, count);
		}
		for (size_t i = 0; i < count; i++) {
			expect_all(areas[i], 0, HUGE_PAGES, i);
			munmap(areas[i], HUGE);
		}
		for (size_t page = 0; page < pages; page += HOLES)
			expect_data(memory, page, 1, 1);
		madvise(memory, limit * PAGE, MADV_DONTNEED);
	}
	if (compacted < WANTED)
		fail("compaction made room for %zu huge pages only", compacted);
}

static const struct directed_test tests[] = {
	{ "other-forgotten", forgotten },
	{ "other-freed-lazily", freed_lazily },
	{ "other-cold", cold },
	{ "other-same-page-merging", same_page_merging },
	{ "other-uffd-missing", uffd_missing },
	{ "other-uffd-zero-page", uffd_zero_page },
	{ "other-uffd-protect", uffd_protect },
	{ "other-uffd-minor", uffd_minor },
	{ "other-uffd-move", uffd_move },
	{ "other-debugger", debugger },
	{ "other-debugger-without-storage", debugger_without_storage },
	{ "other-core-dump", core_dump },
	{ "other-core-dump-without-storage", core_dump_without_storage },
	{ "other-other-process", other_process },
	{ "other-fork-of-pinned", fork_of_pinned },
	{ "other-fork-of-pinned-untagged", fork_of_pinned_untagged },
	{ "other-copied-after-reading", copied_after_reading },
	{ "other-uprobe", uprobe },
	{ "other-protect-against-migration", protect_against_migration },
};

/* On a machine of their own: when others have worn memory, compaction gives up before it has made room. */
static const struct directed_test fresh_tests[] = {
	{ "other-huge-by-compaction", huge_by_compaction },
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "fresh"))
		return directed_tests(fresh_tests, ARRAY_SIZE(fresh_tests), 1, argv);
	return directed_tests(tests, ARRAY_SIZE(tests), argc, argv);
}
