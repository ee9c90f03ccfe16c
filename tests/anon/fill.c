// SPDX-License-Identifier: GPL-2.0
/*
 * anon/fill.c - fills memory with a pattern, and verifies it until it is told to stop
 *
 * usage: fill [--leave MIB] [--size MIB] [--file PATH] [--seed N] [--ready PATH] [--lent PAGES]
 *
 *   --leave MIB   fills until nothing is left, which is when lent tag storage is used, then frees ordinary
 *                 memory again until that much is free (default: 64)
 *   --size MIB    fills that much instead
 *   --file PATH   fills this file (--size is needed) and so the page cache, instead of anonymous memory
 *   --seed N      of the pattern and of the random choices (default: 1)
 *   --ready PATH  makes this file when memory is full
 *   --lent PAGES  fails if fewer pages of the filled memory lie on tag storage then
 *
 * Memory is untagged; each word of it depends on its address and on how often its page was written. From
 * then on fill goes round: it verifies all of it, writes some pages anew, frees others and fills them
 * again. SIGTERM ends it, after everything was verified once more. SIGUSR1 makes it fill all that has become
 * free, and free some of it, as at the start; it makes the file PATH again when that is done.
 *
 * Prints what was filled, the first word that is not as it was written (address, where it lies, expected,
 * found) and how many there are. Exit status: 0 if every word was right, 1 if not, 2 on other errors.
 */

#define _GNU_SOURCE
#include <getopt.h>
#include <signal.h>

#include "common.h"

#define STEP_PAGES	1024	/* verified in one go; then SIGTERM is looked at */
#define RUN_PAGES	16	/* freed in one go */

struct memory {
	int file;		/* -1: anonymous memory */
	char *start;
	size_t pages;
	uint8_t *writes;	/* for each page: how often it was written; 0: not there */
	uint64_t seed;
	uint64_t random;
	uint64_t destroyed;	/* words found wrong so far */
	uint64_t leave;		/* bytes */
	const char *ready;
	struct region regions[MAX_REGIONS];
	unsigned int region_count;
};

static volatile sig_atomic_t stop, again;

static void on_signal(int signal)
{
	if (signal == SIGTERM)
		stop = 1;
	else
		again = 1;
}

static uint64_t key_of(const struct memory *m, size_t page)
{
	uint64_t state = m->seed ^ (uint64_t)m->writes[page] << 32;

	return random64(&state);
}

/* What word @index of the memory holds. */
static uint64_t expected(uint64_t key, uint64_t index)
{
	return (index ^ key) * 0x9e3779b97f4a7c15ULL;
}

static void fill_page(struct memory *m, size_t page)
{
	uint64_t buffer[WORDS], key = key_of(m, page);
	uint64_t *words = m->file < 0 ? (uint64_t *)(m->start + page * PAGE) : buffer;

	for (size_t i = 0; i < WORDS; i++)
		words[i] = expected(key, page * WORDS + i);
	if (m->file >= 0 && pwrite(m->file, buffer, PAGE, page * PAGE) != (ssize_t)PAGE)
		die("the file can't be written: %s", strerror(errno));
}

static void write_page(struct memory *m, size_t page)
{
	m->writes[page] = m->writes[page] % 255 + 1;
	fill_page(m, page);
}

static void report(const struct memory *m, size_t page, size_t word, uint64_t wanted, uint64_t found)
{
	uint64_t pfn;

	if (m->file >= 0) {
		printf("fill: offset %#zx of the file: %#018" PRIx64 " instead of %#018" PRIx64 "\n",
		       page * PAGE + word * 8, found, wanted);
		return;
	}
	pfn = get_pfn(m->start + page * PAGE);
	printf("fill: address %p (physical %#" PRIx64 ", %s, written %u times): %#018" PRIx64
	       " instead of %#018" PRIx64 "\n", m->start + page * PAGE + word * 8, pfn * PAGE + word * 8,
	       on_storage(m->regions, m->region_count, pfn) ? "tag storage" : "ordinary memory",
	       m->writes[page], found, wanted);
}

static void verify_page(struct memory *m, size_t page)
{
	uint64_t buffer[WORDS], key, wrong = 0;
	const uint64_t *words = m->file < 0 ? (uint64_t *)(m->start + page * PAGE) : buffer;

	if (!m->writes[page])
		return;
	if (m->file >= 0 && pread(m->file, buffer, PAGE, page * PAGE) != (ssize_t)PAGE)
		die("the file can't be read: %s", strerror(errno));
	key = key_of(m, page);
	for (size_t i = 0; i < WORDS; i++)
		wrong |= words[i] ^ expected(key, page * WORDS + i);
	if (!wrong)
		return;
	for (size_t i = 0; i < WORDS; i++) {
		uint64_t wanted = expected(key, page * WORDS + i);
		uint64_t found = words[i];

		if (found != wanted && !m->destroyed++)
			report(m, page, i, wanted, found);
	}
	fflush(stdout);
	/* As it should be, so that a word that is destroyed once is counted once. */
	fill_page(m, page);
}

static void free_page(struct memory *m, size_t page)
{
	if (madvise(m->start + page * PAGE, PAGE, MADV_DONTNEED))
		die("memory can't be freed: %s", strerror(errno));
	m->writes[page] = 0;
}

static void fill_all(struct memory *m)
{
	size_t page = 0;
	uint64_t left;

	while (page < m->pages && !stop && (left = room())) {
		for (; left && page < m->pages; page++) {
			if (m->writes[page])
				continue;
			write_page(m, page);
			left--;
		}
	}
}

static size_t count_pages(const struct memory *m, bool lent_only)
{
	static uint64_t pfns[STEP_PAGES];
	size_t count = 0;

	for (size_t page = 0; page < m->pages; page += STEP_PAGES) {
		size_t nr = m->pages - page < STEP_PAGES ? m->pages - page : STEP_PAGES;

		if (lent_only)
			get_pfns(m->start + page * PAGE, pfns, nr);
		for (size_t i = 0; i < nr; i++)
			count += m->writes[page + i] &&
				 (!lent_only || on_storage(m->regions, m->region_count, pfns[i]));
	}
	return count;
}

/* Frees up to @most pages of a run, if they lie in ordinary memory. Returns how many. */
static size_t free_run(struct memory *m, size_t page, size_t run, size_t most)
{
	static uint64_t pfns[HUGE_PAGES];
	size_t freed = 0;

	if (run > m->pages - page)
		run = m->pages - page;
	get_pfns(m->start + page * PAGE, pfns, run);
	for (size_t i = 0; i < run && freed < most; i++) {
		if (!m->writes[page + i] || on_storage(m->regions, m->region_count, pfns[i]))
			continue;
		free_page(m, page + i);
		freed++;
	}
	return freed;
}

/* Frees ordinary memory, half of it in whole huge pages, half of it scattered, until @leave bytes are free. */
static void leave_free(struct memory *m)
{
	uint64_t free = free_ordinary();
	uint64_t missing = free < m->leave ? (m->leave - free) / PAGE : 0;
	uint64_t in_runs = missing / 2;

	if (missing > count_pages(m, false) / 2)
		die("there is not enough memory to leave %" PRIu64 " MiB of it free", m->leave / MIB);
	while (missing) {
		size_t run = missing > in_runs ? HUGE_PAGES : RUN_PAGES;

		missing -= free_run(m, below(&m->random, m->pages / run) * run, run, missing);
	}
}

static void fill_some(struct memory *m)
{
	for (size_t page = 0; page < m->pages && !stop; page++)
		write_page(m, page);
}

/* Writes some pages anew; frees some, and fills them again. */
static void churn(struct memory *m)
{
	for (size_t i = 0; i < 16; i++) {
		size_t page = below(&m->random, m->pages);

		if (!m->writes[page])
			continue;
		verify_page(m, page);
		if (i % 2 && m->file < 0) {
			uint8_t writes = m->writes[page];

			free_page(m, page);
			m->writes[page] = writes;
		}
		write_page(m, page);
	}
}

static void verify_all(struct memory *m)
{
	for (size_t page = 0; page < m->pages; page++)
		verify_page(m, page);
}

static void get_ready(struct memory *m, size_t needed)
{
	size_t lent = m->file < 0 ? count_pages(m, true) : 0;
	int file;

	printf("fill: %zu MiB filled, %zu pages of it on tag storage; free: %" PRIu64
	       " MiB, of which %" PRIu64 " pages of tag storage\n", count_pages(m, false) * PAGE / MIB, lent,
	       meminfo("MemFree") / MIB, total("free_pages"));
	fflush(stdout);
	if (lent < needed) {
		printf("fill: too little lies on tag storage: %zu pages are needed\n", needed);
		exit(2);
	}
	if (m->ready) {
		file = open(m->ready, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (file < 0)
			die("%s can't be made: %s", m->ready, strerror(errno));
		close(file);
	}
}

/* Until SIGTERM; returns how often all memory was gone through. */
static size_t go_round(struct memory *m)
{
	for (size_t rounds = 0;; rounds++) {
		for (size_t page = 0; page < m->pages; page++) {
			if (page % STEP_PAGES == 0) {
				if (stop)
					return rounds;
				if (again) {
					again = 0;
					fill_all(m);
					leave_free(m);
					get_ready(m, 0);
				}
				churn(m);
			}
			verify_page(m, page);
		}
	}
}

static void get_memory(struct memory *m, const char *path)
{
	if (path) {
		m->file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		if (m->file < 0)
			die("%s can't be made: %s", path, strerror(errno));
	} else {
		m->file = -1;
		m->start = mmap(NULL, m->pages * PAGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (m->start == MAP_FAILED)
			die("there is no memory: %s", strerror(errno));
		madvise(m->start, m->pages * PAGE, MADV_NOHUGEPAGE);
	}
	m->writes = mmap(NULL, m->pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->writes == MAP_FAILED)
		die("there is no memory: %s", strerror(errno));
	m->region_count = get_regions(m->regions);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "leave", required_argument, NULL, 'l' },
		{ "size", required_argument, NULL, 's' },
		{ "file", required_argument, NULL, 'f' },
		{ "seed", required_argument, NULL, 'r' },
		{ "ready", required_argument, NULL, 'o' },
		{ "lent", required_argument, NULL, 'n' },
		{ NULL, 0, NULL, 0 }
	};
	struct memory m = { .seed = 1, .leave = 64 * MIB };
	const char *path = NULL;
	size_t size = 0, needed = 0, rounds;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'l':
			m.leave = strtoul(optarg, NULL, 0) * MIB;
			break;
		case 's':
			size = strtoul(optarg, NULL, 0);
			break;
		case 'f':
			path = optarg;
			break;
		case 'r':
			m.seed = strtoull(optarg, NULL, 0);
			break;
		case 'o':
			m.ready = optarg;
			break;
		case 'n':
			needed = strtoul(optarg, NULL, 0);
			break;
		default:
			return 2;
		}
	}
	if (path && !size)
		die("--file needs --size");
	if (signal(SIGTERM, on_signal) == SIG_ERR || signal(SIGUSR1, on_signal) == SIG_ERR)
		die("signals can't be caught");

	m.random = m.seed;
	m.pages = (size ? size * MIB : meminfo("MemTotal") - meminfo("Hugetlb")) / PAGE;
	get_memory(&m, path);
	if (size) {
		fill_some(&m);
	} else {
		fill_all(&m);
		leave_free(&m);
	}
	get_ready(&m, needed);
	rounds = go_round(&m);
	verify_all(&m);
	printf("fill: %zu MiB verified, %zu rounds and the last, %" PRIu64 " words destroyed\n",
	       count_pages(&m, false) * PAGE / MIB, rounds, m.destroyed);
	return m.destroyed ? 1 : 0;
}
