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

#include "directed.h"
#include "gup_test.h"

#define PAGES		128

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
	int file = memfd_create("minor", 0);
	char *other;

	if (file < 0 || ftruncate(file, PAGES * PAGE))
		fail("memfd_create: %s", strerror(errno));
	other = mmap(NULL, PAGES * PAGE, RW, MAP_SHARED, file, 0);
	s.memory = mmap(NULL, PAGES * PAGE, RW | PROT_MTE, MAP_SHARED, file, 0);
	if (other == MAP_FAILED || s.memory == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
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
	if (ptrace(PTRACE_ATTACH, t.child, NULL, NULL) || waitpid(t.child, NULL, 0) != t.child)
		fail("PTRACE_ATTACH: %s", strerror(errno));
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

/* The tags of a core file's segment, two in a byte. */
static void expect_core_tags(int core, const Elf64_Phdr *segment)
{
	unsigned char packed[GRANULES / 2];

	for (size_t page = 0; page < segment->p_memsz / PAGE; page++) {
		if (pread(core, packed, sizeof(packed), segment->p_offset + page * sizeof(packed)) != sizeof(packed))
			fail("the core file is too short");
		for (size_t g = 0; g < GRANULES; g++)
			if ((packed[g / 2] >> (g % 2 * 4) & 15) != tag_for(page * GRANULES + g, 1))
				fail("granule %zu of page %zu has another tag in the core file", g, page);
	}
}

static void core_dump(void)
{
	char *memory = map(PAGES, RW | PROT_MTE);
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	bool found = false;
	pid_t child;
	int core;

	write_all(memory, 0, PAGES, 1);
	if (!write_text("/proc/sys/kernel/core_pattern", "/tmp/core.tagstorage"))
		skip("core_pattern can't be written");
	child = fork();
	if (!child) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY });
		signal(SIGABRT, SIG_DFL);
		abort();
	}
	waitpid(child, NULL, 0);
	core = open("/tmp/core.tagstorage", O_RDONLY);
	if (core < 0 || pread(core, &header, sizeof(header), 0) != sizeof(header))
		fail("there is no core file");
	unlink("/tmp/core.tagstorage");
	for (unsigned int i = 0; i < header.e_phnum; i++) {
		if (pread(core, &segment, sizeof(segment), header.e_phoff + i * sizeof(segment)) != sizeof(segment))
			fail("the core file is too short");
		if (segment.p_type == PT_AARCH64_MEMTAG_MTE && segment.p_vaddr == (uint64_t)memory) {
			expect_core_tags(core, &segment);
			found = true;
		}
	}
	if (!found)
		fail("the core file has no tags of the memory");
	expect_all(memory, 0, PAGES, 1);
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

/* Pinned pages are copied by fork() itself, under the page-table lock. */
static void fork_of_pinned(void)
{
	struct pin_longterm_test pin = { .size = PAGES * PAGE, .flags = PIN_WRITE };
	char *memory = map(PAGES, RW | PROT_MTE);
	int file = open("/sys/kernel/debug/gup_test", O_RDWR);
	struct turns t;

	if (file < 0)
		skip("the kernel has no gup_test");
	write_all(memory, 0, PAGES, 1);
	pin.addr = (uint64_t)memory;
	if (ioctl(file, PIN_LONGTERM_TEST_START, &pin))
		fail("PIN_LONGTERM_TEST_START: %s", strerror(errno));
	for (unsigned int i = 0; i < 4; i++) {
		CHILD(&t, {
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

/* A uprobe replaces a page of a private, executable mapping by a copy. */
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
	char *shared, *memory;

	if (access(TRACING "uprobe_events", W_OK))
		skip("this kernel has no uprobes");
	if (file < 0 || ftruncate(file, PAGES * PAGE))
		fail(PROBED ": %s", strerror(errno));
	shared = mmap(NULL, PAGES * PAGE, RW | PROT_MTE, MAP_SHARED, file, 0);
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_EXEC | PROT_MTE, MAP_PRIVATE, file, 0);
	if (shared == MAP_FAILED || memory == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	for (size_t i = 0; i < PAGES * WORDS; i++)
		((uint64_t *)shared)[i] = NOPS;
	write_tags(shared, 0, PAGES, 1);
	expect_tags(memory, 0, PAGES, 1);
	for (size_t page = 0; page < PAGES; page++)
		add_probe(page);
	if (!write_text(PROBES "enable", "1"))
		fail("the probes can't be enabled: %s", strerror(errno));
	expect_probes(memory, true);
	expect_tags(memory, 0, PAGES, 1);
	write_text(PROBES "enable", "0");
	write_text(TRACING "uprobe_events", "");
	expect_probes(memory, false);
	expect_tags(memory, 0, PAGES, 1);
	expect_tags(shared, 0, PAGES, 1);
	unlink(PROBED);
}

/* mprotect(PROT_MTE) races with migration, again and again (P1, P2). */
static char *raced;
static bool race_over;

static void *race_compact(void *argument)
{
	(void)argument;
	while (!__atomic_load_n(&race_over, __ATOMIC_RELAXED))
		write_text("/proc/sys/vm/compact_memory", "1");
	return NULL;
}

static void *race_soft_move(void *argument)
{
	size_t page = 0;

	(void)argument;
	while (!__atomic_load_n(&race_over, __ATOMIC_RELAXED)) {
		madvise(raced + page * PAGE, PAGE, MADV_PAGEOUT);
		page = (page + 7) % PAGES;
	}
	return NULL;
}

static void protect_against_migration(void)
{
	pthread_t threads[2];

	raced = map(PAGES, RW);
	if (pthread_create(&threads[0], NULL, race_compact, NULL) ||
	    pthread_create(&threads[1], NULL, race_soft_move, NULL))
		fail("there are no threads");
	for (unsigned int round = 0; round < 40; round++) {
		write_data(raced, 0, PAGES, round);
		for (size_t page = 0; page < PAGES; page++)
			protect(raced + page * PAGE, 1, RW | PROT_MTE);
		expect_data(raced, 0, PAGES, round);
		write_tags(raced, 0, PAGES, round);
		expect_all(raced, 0, PAGES, round);
		if (madvise(raced, PAGES * PAGE, MADV_DONTNEED))
			fail("madvise(MADV_DONTNEED): %s", strerror(errno));
		protect(raced, PAGES, RW);
	}
	__atomic_store_n(&race_over, true, __ATOMIC_RELAXED);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
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
	{ "other-core-dump", core_dump },
	{ "other-other-process", other_process },
	{ "other-fork-of-pinned", fork_of_pinned },
	{ "other-uprobe", uprobe },
	{ "other-protect-against-migration", protect_against_migration },
};

int main(int argc, char **argv)
{
	return directed_tests(tests, ARRAY_SIZE(tests), argc, argv);
}
