// SPDX-License-Identifier: GPL-2.0
/*
 * paths/memory-error.c - directed tests of memory errors: in tagged pages, in pages that lie on lent tag storage,
 * and in storage that holds tags
 *
 * usage: memory-error [all | NAME...]
 *
 * Leaves pages behind that the kernel does not use any more.
 */

#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "gup_test.h"
#include "pairs.h"

#define PAGES		512
#define WAITS		20	/* that are watched */
#define CORRUPT		"/sys/kernel/debug/hwpoison/corrupt-pfn"
#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"
#define SOFT_OFFLINE	"/sys/devices/system/memory/soft_offline_page"
#define TRACING		"/sys/kernel/tracing/"
#define CLAIM_START	TRACING "events/tagstorage/tagstorage_claim_start/enable"

#ifndef BUS_MCEERR_AR
#define BUS_MCEERR_AR	4
#endif

static sigjmp_buf after_error;

static void on_error(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	if (info->si_code != BUS_MCEERR_AR)
		fail("SIGBUS with code %d, address %p", info->si_code, info->si_addr);
	siglongjmp(after_error, 1);
}

static void expect_sigbus(void)
{
	struct sigaction action = { .sa_sigaction = on_error, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGBUS, &action, NULL);
}

static void expect_gone(volatile const char *page)
{
	if (!sigsetjmp(after_error, 1)) {
		(void)*page;
		fail("a page with a memory error can be read");
	}
}

/* True if the kernel took it. */
static bool write_number(const char *path, uint64_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%#" PRIx64, number);
	return write_text(path, text);
}

/*
 * As the machine reports it, by address: MADV_HWPOISON would take a reference, and so move a lent page first. Who uses
 * the page is told when it does so again.
 */
static void poison(char *page)
{
	expect_sigbus();
	if (!write_number(CORRUPT, get_pfn(page)))
		fail("hwpoison/corrupt-pfn: %s", strerror(errno));
	expect_gone(page);
}

/* Claims, as the trace has them */

static void trace_claims(bool on)
{
	if (!write_text(CLAIM_START, on ? "1" : "0") || (on && !write_text(TRACING "trace", "")))
		fail("claims can't be traced: %s", strerror(errno));
}

/* Was a claim of this block begun? */
static bool claim_begun(uint64_t storage)
{
	struct region regions[MAX_REGIONS];
	unsigned int count = get_regions(regions);
	char line[512], wanted[64];
	bool found = false;
	FILE *file;

	for (unsigned int i = 0; i < count; i++)
		if (on_storage(&regions[i], 1, storage))
			snprintf(wanted, sizeof(wanted), "region=%u block=%" PRIu64 "\n", i,
				 (storage - regions[i].start) / regions[i].block);
	file = fopen(TRACING "trace", "r");
	if (!file)
		fail("the trace can't be read: %s", strerror(errno));
	while (!found && fgets(line, sizeof(line), file))
		found = strstr(line, wanted);
	fclose(file);
	return found;
}

/*
 * The first @bad pairs' storage has errors: whose tags belong there gets other places, without a claim. All others
 * are as if nothing had happened.
 */
static void expect_left_alone(struct pairs *p, size_t bad)
{
	struct pairs rest = *p;

	protect_pairs(p);
	trace_claims(true);
	for (size_t i = 0; i < bad; i++)
		use_tagged(p, i);
	trace_claims(false);
	for (size_t i = 0; i < bad; i++) {
		if (get_pfn(data_page(p, i)) == p->pair[i].data_pfn)
			fail("page %zu is tagged, and its tag storage has an error", p->pair[i].data);
		if (claim_begun(p->pair[i].user_pfn))
			fail("the block of page %zu has an error and was claimed", p->pair[i].data);
		expect_all(p->memory, p->pair[i].data, 1, 1);
	}
	rest.count -= bad;
	memmove(rest.pair, rest.pair + bad, rest.count * sizeof(rest.pair[0]));
	expect_claims(&rest, getpid());
	expect_users(&rest);
	expect_clean_audit();
}

/* Lent pages */

static void lent(void)
{
	static struct pairs p;
	size_t bad = 4;

	take_pairs(&p);
	for (size_t i = 0; i < bad; i++)
		poison(user_of(&p, i));
	expect_left_alone(&p, bad);
	for (size_t i = 0; i < bad; i++)
		expect_gone(user_of(&p, i));
}

/* Nobody loses anything: what lies on the page is moved first. */
static void lent_soft(void)
{
	static struct pairs p;
	size_t bad = 4;

	take_pairs(&p);
	for (size_t i = 0; i < bad; i++) {
		if (!write_number(SOFT_OFFLINE, p.pair[i].user_pfn * PAGE))
			fail("soft offline: %s", strerror(errno));
		if (get_pfn(user_of(&p, i)) == p.pair[i].user_pfn || !page_has(p.pair[i].user_pfn, KPF_HWPOISON))
			fail("the page is still in use");
	}
	expect_left_alone(&p, bad);
	expect_users(&p);
}

/* Lent and free: whoever frees it is too late. */
static void lent_free(void)
{
	static struct pairs p;
	size_t bad = 4;

	take_pairs(&p);
	for (size_t i = 0; i < bad; i++) {
		if (madvise(user_of(&p, i), PAGE, MADV_DONTNEED))
			fail("madvise(MADV_DONTNEED): %s", strerror(errno));
		empty_batches();
		if (!write_number(i % 2 ? SOFT_OFFLINE : CORRUPT, p.pair[i].user_pfn * (i % 2 ? PAGE : 1)))
			fail("the error is refused: %s", strerror(errno));
	}
	expect_left_alone(&p, bad);
}

/* Tagged pages */

static void tagged(void)
{
	char *memory = map(PAGES, RW | PROT_MTE);
	struct turns t;

	write_all(memory, 0, PAGES, 1);
	for (size_t page = 7; page < PAGES; page += 64)
		poison(memory + page * PAGE);
	for (size_t page = 0; page < PAGES; page++) {
		if (page % 64 == 7)
			continue;
		expect_all(memory, page, 1, 1);
		write_all(memory, page, 1, 2);
	}
	CHILD(&t, {
		for (size_t page = 0; page < PAGES; page++)
			if (page % 64 == 7)
				expect_gone(memory + page * PAGE);
			else
				expect_all(memory, page, 1, 2);
	});
	end_child(&t);
	/* Their addresses are as good as new. */
	if (madvise(memory, PAGES * PAGE, MADV_DONTNEED))
		fail("madvise(MADV_DONTNEED): %s", strerror(errno));
	expect_no_tags(memory, 0, PAGES);
	write_all(memory, 0, PAGES, 3);
	expect_all(memory, 0, PAGES, 3);
	expect_clean_audit();
}

/* Migration claims nothing in use: where all storage is, a tagged page may have to stay, with all that it has. */
static void tagged_soft(void)
{
	char *memory = map(PAGES, RW | PROT_MTE);
	size_t moved = 0;

	stir();
	write_all(memory, 0, PAGES, 1);
	empty_batches();
	for (size_t page = 7; page < PAGES; page += 64) {
		uint64_t pfn = get_pfn(memory + page * PAGE);
		bool taken = write_number(SOFT_OFFLINE, pfn * PAGE);

		if (!taken && errno != EBUSY)
			fail("soft offline: %s", strerror(errno));
		if ((get_pfn(memory + page * PAGE) == pfn) == taken || page_has(pfn, KPF_HWPOISON) != taken)
			fail("page %zu is where it %s", page, taken ? "was" : "was not");
		moved += taken;
	}
	expect_all(memory, 0, PAGES, 1);
	if (!moved)
		fail("no page was moved");
	expect_clean_audit();
}

/* Storage that holds tags */

/* Waits until all blocks but @bad that hold these pages' tags are lent again. */
static void wait_until_lent(const uint64_t *storages, uint64_t bad)
{
	for (unsigned int i = 0; i < TRIES; i++) {
		size_t held = 0;

		for (size_t page = 0; page < PAGES; page++)
			held += storages[page] != bad && page_has(storages[page], KPF_RESERVED);
		if (!held)
			return;
		empty_batches();
		short_sleep();
	}
	fail("what held tags is not lent again");
}

static void expect_lent_again(const uint64_t *storages, uint64_t bad, bool poisoned)
{
	wait_until_lent(storages, bad);
	if (poisoned && !page_has(bad, KPF_RESERVED))
		fail("a block with a memory error is lent");
	if (!poisoned && page_has(bad, KPF_RESERVED))
		fail("a block without a memory error is not lent");
	expect_clean_audit();
}

/* As on a stock kernel, the tags are used as long as they last. Lent it would be lost, and the engine with it. */
static void holds_tags(void)
{
	static uint64_t pfns[PAGES], storages[PAGES];
	char *memory = map(PAGES, RW | PROT_MTE);
	struct region regions[MAX_REGIONS];
	unsigned int count = get_regions(regions);
	uint64_t bad;

	write_all(memory, 0, PAGES, 1);
	get_pfns(memory, pfns, PAGES);
	for (size_t page = 0; page < PAGES; page++)
		storages[page] = storage_of(regions, count, pfns[page]);
	bad = storages[0];
	if (write_number(SOFT_OFFLINE, bad * PAGE) || page_has(bad, KPF_HWPOISON))
		fail("storage that holds tags goes offline");
	write_number(CORRUPT, bad);
	if (!page_has(bad, KPF_HWPOISON))
		skip("the kernel takes no error of a reserved page");
	expect_all(memory, 0, PAGES, 1);
	write_all(memory, 0, PAGES, 2);
	expect_all(memory, 0, PAGES, 2);
	expect_clean_audit();
	munmap(memory, PAGES * PAGE);
	expect_lent_again(storages, bad, true);
}

/* Claims and errors at the same time: each page is either moved or lost, and known to be. */
static void while_claimed(void)
{
	static struct pairs p;
	pid_t child;

	take_pairs(&p);
	protect_pairs(&p);
	child = fork();
	if (!child) {
		for (size_t i = 0; i < p.count; i += 16)
			write_number(SOFT_OFFLINE, p.pair[i].user_pfn * PAGE);
		_exit(PASSED);
	}
	for (size_t i = 0; i < p.count; i++)
		use_tagged(&p, i);
	waitpid(child, NULL, 0);
	expect_users(&p);
	for (size_t i = 0; i < p.count; i++)
		expect_all(p.memory, p.pair[i].data, 1, 1);
	expect_clean_audit();
}

static uint64_t fault_waits(void)
{
	char text[32];

	if (!read_text(SYSFS "/fault_waits", text, sizeof(text)))
		fail("fault_waits can't be read");
	return strtoull(text, NULL, 10);
}

/* A page that can't be moved, whose block can't be had: its user waits. */
static void wait_for_ever(void)
{
	struct pin_longterm_test pin = { .size = PAGE, .flags = PIN_WRITE };
	int file = open("/sys/kernel/debug/gup_test", O_RDWR);
	static struct pairs p;

	take_pairs(&p);
	poison(user_of(&p, 0));
	pin.addr = (uint64_t)data_page(&p, 0);
	if (file < 0 || ioctl(file, PIN_LONGTERM_TEST_START, &pin))
		skip("the kernel has no gup_test: %s", strerror(errno));
	if (get_pfn(data_page(&p, 0)) != p.pair[0].data_pfn)
		fail("the page was moved when it was pinned");
	protect(data_page(&p, 0), 1, RW | PROT_MTE);
	set_tag(data_page(&p, 0), 1);
	fail("a page is tagged whose block has an error");
}

static uint64_t microseconds(clockid_t clock)
{
	struct timespec time;

	if (clock_gettime(clock, &time))
		fail("the time can't be read: %s", strerror(errno));
	return time.tv_sec * 1000000ULL + time.tv_nsec / 1000;
}

static void await_waits(pid_t child, uint64_t count)
{
	int status;

	while (fault_waits() < count) {
		if (waitpid(child, &status, WNOHANG) == child)
			_exit(WIFEXITED(status) ? WEXITSTATUS(status) : FAILED);
		usleep(1000);
	}
}

/* Between two waits it only looks whether the block can be had by now. */
static void expect_asleep(pid_t child, uint64_t waits)
{
	uint64_t worked, elapsed;
	clockid_t clock;

	if (clock_getcpuclockid(child, &clock))
		fail("the child has no clock");
	await_waits(child, waits);
	elapsed = microseconds(CLOCK_MONOTONIC);
	worked = microseconds(clock);
	await_waits(child, waits + WAITS);
	elapsed = microseconds(CLOCK_MONOTONIC) - elapsed;
	worked = microseconds(clock) - worked;
	if (worked > elapsed / 10)
		fail("who waits works %" PRIu64 " us of %" PRIu64 " us", worked, elapsed);
}

/* It can be killed all the same, and does next to nothing. */
static void killed_while_waiting(void)
{
	uint64_t before = fault_waits(), reserved;
	pid_t child;
	int status;

	empty_batches();
	reserved = total("reserved_pages");
	child = fork();
	if (!child)
		wait_for_ever();
	expect_asleep(child, before + 4);
	kill(child, SIGKILL);
	if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		fail("the child was not killed: status %#x", status);
	expect_back("reserved_pages", reserved);
	expect_clean_audit();
}

/* Nothing else is left out when the policy goes; and as long as that is, the engine can't. */

static size_t poisoned_and_lent(void)
{
	struct region regions[MAX_REGIONS];
	unsigned int count = get_regions(regions);
	size_t found = 0;

	for (unsigned int i = 0; i < count; i++)
		for (uint64_t pfn = regions[i].start; pfn < regions[i].start + regions[i].pages; pfn++)
			found += page_has(pfn, KPF_HWPOISON) && !page_has(pfn, KPF_RESERVED);
	return found;
}

static void expect_state(const char *state)
{
	char text[32] = "";

	read_text(SYSFS "/state", text, sizeof(text));
	if (strncmp(text, state, strlen(state)))
		fail("the state is %s instead of %s", text, state);
}

static void keeps_the_engine(void)
{
	uint64_t lent_pages;
	size_t left;

	if (!write_text(SYSFS "/policy", "carveout"))
		fail("the policy can't be switched off: %s", strerror(errno));
	left = poisoned_and_lent();
	if (!left)
		skip("no lent page has an error");
	for (unsigned int i = 0; i < TRIES && total("lent_pages") > left; i++)
		short_sleep();
	lent_pages = total("lent_pages");
	if (lent_pages != left)
		fail("%" PRIu64 " pages are lent, and %zu have an error", lent_pages, left);
	expect_state("draining");
	expect_clean_audit();
	if (syscall(SYS_delete_module, "tagstorage_cma", O_NONBLOCK))
		fail("the policy can't be unloaded: %s", strerror(errno));
	if (!syscall(SYS_delete_module, "tagstorage", O_NONBLOCK))
		fail("the engine was unloaded while storage was lent");
	if (!write_text(SYSFS "/policy", "cma"))
		fail("the policy can't be switched on again: %s", strerror(errno));
	expect_state("lending");
	expect_clean_audit();
}

/* An error that was none: the block goes on as before. */
static void taken_back(void)
{
	static struct pairs p;

	take_pairs(&p);
	poison(user_of(&p, 0));
	if (madvise(user_of(&p, 0), PAGE, MADV_DONTNEED))
		fail("madvise(MADV_DONTNEED): %s", strerror(errno));
	if (!write_number(UNPOISON, p.pair[0].user_pfn))
		skip("errors can't be taken back: %s", strerror(errno));
	protect(data_page(&p, 0), 1, RW | PROT_MTE);
	use_tagged(&p, 0);
	if (get_pfn(data_page(&p, 0)) != p.pair[0].data_pfn)
		fail("the block is not claimed");
	expect_all(p.memory, p.pair[0].data, 1, 1);
	expect_clean_audit();
}

static const struct directed_test tests[] = {
	{ "error-holds-tags", holds_tags },
	{ "error-lent", lent },
	{ "error-lent-soft", lent_soft },
	{ "error-lent-free", lent_free },
	{ "error-tagged", tagged },
	{ "error-tagged-soft", tagged_soft },
	{ "error-while-claimed", while_claimed },
	{ "error-killed-while-waiting", killed_while_waiting },
	{ "error-taken-back", taken_back },
	{ "error-keeps-the-engine", keeps_the_engine },
};

int main(int argc, char **argv)
{
	return directed_tests(tests, ARRAY_SIZE(tests), argc, argv);
}
