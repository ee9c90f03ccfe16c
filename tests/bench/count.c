// SPDX-License-Identifier: GPL-2.0
/*
 * bench/count.c - what single operations cost, in instructions, on a machine whose time counts them
 *
 * usage: count [--full]
 *
 *   --full   fills memory as well, so that lent tag storage is in use, and measures claims of such blocks
 *
 * For the profile `count`: one CPU, each instruction takes one nanosecond of the counter. Each operation is measured
 * by itself. One in which the timer's interrupt fell is left out, and each series begins right after an interrupt, so
 * that it falls on the same ones in every run.
 *
 * Prints "metric NAME N MEAN MEDIAN MIN MAX SKIPPED" for each operation; of claims "samples NAME VALUE..." as well;
 * and "state NAME VALUE". Exit status: 0, or 2 on errors.
 */

#define _GNU_SOURCE
#include <sys/wait.h>
#include <time.h>

#include "common.h"

#define PAGES		4096UL
#define CLAIMS		256UL
#define HUGE_AREAS	8UL
#define MAX_SAMPLES	(1200UL << 10)
#define HZ		100
#define STORAGE_PAGES	(64UL << 10)	/* at most, of all regions */
#define FILE_PAGES	1024UL
#define FORK_PAGES	256UL		/* that the parent has written */

struct metric {
	const char *name;
	uint32_t *samples;
	size_t count;
	size_t skipped;
	uint32_t interrupted;	/* the last one that was left out */
};

static uint64_t tick, phase;	/* the timer's interrupts: every @tick, at @phase */
static struct region regions[MAX_REGIONS];
static unsigned int region_count;

static inline uint64_t now(void)
{
	uint64_t count;

	asm volatile("isb\n\tmrs %0, cntvct_el0" : "=r" (count) : : "memory");
	return count;
}

static inline void touch(char *page)
{
	*(volatile char *)page = 1;
}

/* A stretch of time in which nothing is done, and yet more passes than it takes to look, is an interrupt. */
static void find_ticks(void)
{
	uint64_t frequency, last, next, seen = 0;

	asm volatile("mrs %0, cntfrq_el0" : "=r" (frequency));
	if (frequency != 1000000000)
		die("the counter does not count nanoseconds: it has %" PRIu64 " Hz", frequency);
	tick = frequency / HZ;
	for (int i = 0; i < 3; i++) {
		for (last = now(); (next = now()) - last < 500; last = next)
			;
		if (i && (last + tick - seen % tick) % tick > 1000 && (seen + tick - last % tick) % tick > 1000)
			i = 0;
		seen = last;
	}
	phase = seen % tick;
	printf("state tick_phase %" PRIu64 "\n", phase);
}

/* Right after an interrupt, and what it has the kernel do. */
static void wait_for_tick(void)
{
	uint64_t next = (now() - phase) / tick * tick + tick + phase + 200000;

	while (now() < next)
		;
}

static void start(struct metric *m, const char *name)
{
	m->name = name;
	m->count = 0;
	m->skipped = 0;
	if (!m->samples)
		m->samples = mmap(NULL, MAX_SAMPLES * 4, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (m->samples == MAP_FAILED || madvise(m->samples, MAX_SAMPLES * 4, MADV_DONTFORK))
		die("there is no memory for samples");
	wait_for_tick();
}

static void add(struct metric *m, uint64_t begin, uint64_t end, unsigned int parts)
{
	/* With some room: where in an interrupt the time was seen is not exact. */
	if ((begin - 1000 - phase) / tick != (end + 1000 - phase) / tick) {
		m->skipped++;
		m->interrupted = (end - begin) * 16 / parts;
	} else if (m->count < MAX_SAMPLES) {
		m->samples[m->count++] = (end - begin) * 16 / parts;
	}
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double mean(const struct metric *m)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < m->count; i++)
		sum += m->samples[i];
	return m->count ? (double)sum / 16 / m->count : 0;
}

/* Samples are 1/16 of an instruction. */
static void finish(struct metric *m)
{
	uint32_t *s = m->samples;

	if (!m->count && !m->skipped)
		die("%s: nothing was measured", m->name);
	/* What takes longer than from one interrupt to the next can't be had without. */
	if (!m->count)
		s[m->count++] = m->interrupted;
	qsort(s, m->count, sizeof(*s), compare);
	printf("metric %s %zu %.2f %.2f %.2f %.2f %zu\n", m->name, m->count, mean(m), s[m->count / 2] / 16.0,
	       s[0] / 16.0, s[m->count - 1] / 16.0, m->skipped);
	fflush(stdout);
}

static char *map(size_t size, int prot, int advice)
{
	char *area = mmap(NULL, size + HUGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	area += -(uint64_t)area & (HUGE - 1);
	if (madvise(area, size, advice))
		die("madvise: %s", strerror(errno));
	return area;
}

static char *map_small(size_t pages, int prot)
{
	return map(pages * PAGE, prot, MADV_NOHUGEPAGE);
}

static void discard(char *area, size_t size)
{
	if (madvise(area, size, MADV_DONTNEED))
		die("madvise(MADV_DONTNEED): %s", strerror(errno));
}

/* All of @area is freed and mapped no more, but for what it takes to map it again. */
static void unmap(char *area, size_t size)
{
	if (munmap(area, size))
		die("munmap: %s", strerror(errno));
}

/* Until all that can be lent is lent again. */
static void settle(void)
{
	uint64_t before, lent = total("lent_pages");

	do {
		before = lent;
		usleep(300000);
		lent = total("lent_pages");
	} while (lent != before);
}

/* System calls */

static void measure_pipe(struct metric *m)
{
	static char buffer[PAGE];
	int ends[2];

	if (pipe(ends))
		die("pipe: %s", strerror(errno));
	start(m, "pipe");
	for (int i = 0; i < 2000; i++) {
		uint64_t begin = now();

		if (write(ends[1], buffer, PAGE) != (ssize_t)PAGE || read(ends[0], buffer, PAGE) != (ssize_t)PAGE)
			die("the pipe does not work");
		add(m, begin, now(), 1);
	}
	finish(m);
	close(ends[0]);
	close(ends[1]);
}

static void measure_mmap(struct metric *m)
{
	start(m, "mmap_munmap");
	for (int i = 0; i < 2000; i++) {
		uint64_t begin = now();
		char *area = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (area == MAP_FAILED || munmap(area, 64 * PAGE))
			die("mmap: %s", strerror(errno));
		add(m, begin, now(), 1);
	}
	finish(m);
}

static void measure_fork(struct metric *m)
{
	char *area = map_small(FORK_PAGES, PROT_READ | PROT_WRITE);

	for (size_t i = 0; i < FORK_PAGES; i++)
		touch(area + i * PAGE);
	start(m, "fork_exit");
	for (int i = 0; i < 400; i++) {
		uint64_t begin = now();
		pid_t child = fork();

		if (!child)
			_exit(0);
		if (child < 0 || waitpid(child, NULL, 0) != child)
			die("fork: %s", strerror(errno));
		add(m, begin, now(), 1);
	}
	finish(m);
	unmap(area, FORK_PAGES * PAGE);
}

/* A file is written, read from the page cache, and removed; no page of it reaches the disk. */
static void measure_file(struct metric *written, struct metric *m)
{
	static char buffer[16 * PAGE];
	const char *path = "/mnt/scratch/file";
	int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (file < 0)
		die("%s can't be made: %s", path, strerror(errno));
	for (int round = 0; round < 2; round++) {
		start(written, round ? "file_rewrite" : "file_write");
		for (size_t i = 0; i < FILE_PAGES / 16; i++) {
			uint64_t begin = now();

			if (pwrite(file, buffer, sizeof(buffer), i * sizeof(buffer)) != (ssize_t)sizeof(buffer))
				die("write: %s", strerror(errno));
			add(written, begin, now(), 16);
		}
		finish(written);
	}
	start(m, "file_read");
	for (size_t i = 0; i < 2 * FILE_PAGES / 16; i++) {
		uint64_t begin = now();

		if (pread(file, buffer, sizeof(buffer), i % (FILE_PAGES / 16) * sizeof(buffer)) !=
		    (ssize_t)sizeof(buffer))
			die("read: %s", strerror(errno));
		add(m, begin, now(), 16);
	}
	finish(m);
	close(file);
	unlink(path);
}

/* Faults */

/* Each page of @area for the first time; page tables are there. */
static void measure_faults(struct metric *m, const char *name, char *area, size_t pages, size_t step)
{
	start(m, name);
	for (size_t i = step - 1; i < pages; i += step) {
		uint64_t begin = now();

		touch(area + i * PAGE);
		add(m, begin, now(), 1);
	}
	finish(m);
}

/* Each @step-th page of @area is freed, one by one. */
static void measure_frees(struct metric *m, const char *name, char *area, size_t pages, size_t step)
{
	start(m, name);
	for (size_t i = step - 1; i < pages; i += step) {
		uint64_t begin = now();

		discard(area + i * PAGE, PAGE);
		add(m, begin, now(), 1);
	}
	finish(m);
}

static void measure_free_range(struct metric *m, const char *name, char *area, size_t pages)
{
	start(m, name);
	for (size_t i = 0; i < pages; i += 64) {
		uint64_t begin = now();

		discard(area + i * PAGE, 64 * PAGE);
		add(m, begin, now(), 64);
	}
	finish(m);
}

static void measure_untagged(struct metric *m)
{
	char *area = map_small(PAGES, PROT_READ | PROT_WRITE);

	for (size_t i = 0; i < PAGES; i++)
		touch(area + i * PAGE);
	discard(area, PAGES * PAGE);
	settle();
	measure_faults(m, "untagged_fault", area, PAGES, 1);
	measure_free_range(m, "untagged_free_range", area, PAGES);
	unmap(area, PAGES * PAGE);
}

/*
 * Twice as many pages: of what is fresh; then every second page is freed, and had again. Then the tags of each lie in
 * a block that holds others' as well.
 */
static void measure_tagged(struct metric *m)
{
	char *area = map_small(2 * PAGES, PROT_READ | PROT_WRITE | PROT_MTE);
	uint64_t claims;

	for (size_t i = 0; i < 2 * PAGES; i++)
		touch(area + i * PAGE);
	discard(area, 2 * PAGES * PAGE);
	settle();
	claims = total("claims_free");
	measure_faults(m, "tagged_fault", area, 2 * PAGES, 1);
	printf("state tagged_fault_claims %" PRIu64 "\n", total("claims_free") - claims);
	measure_frees(m, "tagged_free", area, 2 * PAGES, 2);
	claims = total("claims_free");
	measure_faults(m, "tagged_fault_reserved", area, 2 * PAGES, 2);
	printf("state tagged_fault_reserved_claims %" PRIu64 "\n", total("claims_free") - claims);
	measure_free_range(m, "tagged_free_range", area, 2 * PAGES);
	unmap(area, 2 * PAGES * PAGE);
	settle();
}

static bool is_huge(const char *area)
{
	uint64_t first = get_pfn(area);

	return first % HUGE_PAGES == 0 && get_pfn(area + HUGE - PAGE) == first + HUGE_PAGES - 1;
}

/* Frees the huge pages of @from, if there are any, one before each fault. */
static void measure_huge(struct metric *m, const char *name, char *from, int prot)
{
	char *area = map(HUGE_AREAS * HUGE, prot, MADV_HUGEPAGE);
	uint64_t claims = total("claims_free"), used = total("claims_migrated"), failed = total("claims_failed");

	start(m, name);
	for (size_t i = 0; i < HUGE_AREAS; i++) {
		uint64_t begin;

		if (from)
			discard(from + i * HUGE, HUGE);
		begin = now();
		touch(area + i * HUGE);
		add(m, begin, now(), 1);
		if (!is_huge(area + i * HUGE))
			printf("state %s_not_huge %zu\n", name, i);
	}
	finish(m);
	printf("state %s_claims %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", name, total("claims_free") - claims,
	       total("claims_migrated") - used, total("claims_failed") - failed);
	unmap(area, HUGE_AREAS * HUGE);
	settle();
}

/* A warm-up first: the page table, and what the allocator keeps at hand. */
static void measure_huge_fresh(struct metric *m)
{
	measure_huge(m, "warm_up", NULL, PROT_READ | PROT_WRITE);
	measure_huge(m, "huge_untagged_fault", NULL, PROT_READ | PROT_WRITE);
	measure_huge(m, "huge_tagged_fault", NULL, PROT_READ | PROT_WRITE | PROT_MTE);
}

/* Claims */

/* The storage page of a data page, counted through all regions; or none: STORAGE_PAGES. */
static uint64_t storage_of(uint64_t pfn)
{
	uint64_t before = 0;

	for (unsigned int i = 0; i < region_count; i++) {
		const struct region *r = &regions[i];

		if (pfn - r->data < r->pages * 32)
			return before + (pfn - r->data) / 32 / r->block * r->block;
		before += r->pages;
	}
	return STORAGE_PAGES;
}

/* A storage page, counted through all regions; or none: STORAGE_PAGES. */
static uint64_t storage_index(uint64_t pfn)
{
	uint64_t before = 0;

	for (unsigned int i = 0; i < region_count; i++) {
		if (pfn - regions[i].start < regions[i].pages)
			return before + pfn - regions[i].start;
		before += regions[i].pages;
	}
	return STORAGE_PAGES;
}

/* Which storage pages belong to @area? */
static void find_used(const uint64_t *pfns, size_t pages, uint8_t *used)
{
	for (size_t i = 0; i < pages; i++) {
		uint64_t index = pfns[i] ? storage_index(pfns[i]) : STORAGE_PAGES;

		if (index < STORAGE_PAGES)
			used[index] = 1;
	}
}

/*
 * Two pages of each of so many blocks. With @used, of those only whose storage is in use by the same area. Returns how
 * many blocks there are.
 */
static size_t pick(const uint64_t *pfns, size_t pages, const uint8_t *used, size_t picks[CLAIMS][2])
{
	static uint32_t first[STORAGE_PAGES];
	size_t count = 0;

	memset(first, 0, sizeof(first));
	for (size_t i = 0; i < pages && count < CLAIMS; i++) {
		uint64_t block = pfns[i] ? storage_of(pfns[i]) : STORAGE_PAGES;

		if (block >= STORAGE_PAGES || (used && !used[block]) || first[block] == UINT32_MAX)
			continue;
		if (!first[block]) {
			first[block] = i + 1;
			continue;
		}
		picks[count][0] = first[block] - 1;
		picks[count++][1] = i;
		first[block] = UINT32_MAX;
	}
	return count;
}

static void print_samples(const struct metric *m)
{
	printf("samples %s", m->name);
	for (size_t i = 0; i < m->count; i++)
		printf(" %.0f", m->samples[i] / 16.0);
	putchar('\n');
}

/* The next tagged page is the one that was freed just before: the first of each pair claims, the second need not. */
/* A claim is measured by itself, without the search for a good place that comes once for many pages. */
static void set_pack(const char *on)
{
	if (!write_text("/sys/module/tagstorage/parameters/pack", on))
		die("the parameter pack can't be set: %s", strerror(errno));
}

static void measure_claims(struct metric *m, const char *names[2], char *area, size_t picks[CLAIMS][2], size_t count,
			   const char *counter)
{
	char *tagged = map_small(2 * CLAIMS, PROT_READ | PROT_WRITE | PROT_MTE);

	/* The page table, once. */
	mprotect(tagged, PAGE, PROT_READ | PROT_WRITE);
	touch(tagged);
	discard(tagged, PAGE);
	mprotect(tagged, PAGE, PROT_READ | PROT_WRITE | PROT_MTE);
	set_pack("0");
	for (int second = 0; second < 2; second++) {
		size_t other = 0;

		start(m, names[second]);
		for (size_t i = 0; i < count; i++) {
			uint64_t before = total(counter), begin, end;
			char *page = tagged + (second * CLAIMS + i) * PAGE;

			discard(area + picks[i][second] * PAGE, PAGE);
			begin = now();
			touch(page);
			end = now();
			if (total(counter) == before + !second)
				add(m, begin, end, 1);
			else
				other++;
		}
		printf("state %s_other %zu\n", names[second], other);
		if (other == count)
			break;
		if (!second)
			print_samples(m);
		finish(m);
	}
	set_pack("1");
	unmap(tagged, 2 * CLAIMS * PAGE);
}

static void measure_free_claims(struct metric *m)
{
	const char *names[2] = { "claim_free", "claim_free_base" };
	static uint64_t pfns[CLAIMS * 64];
	static size_t picks[CLAIMS][2];
	char *area = map_small(CLAIMS * 64, PROT_READ | PROT_WRITE);

	for (size_t i = 0; i < CLAIMS * 64; i++)
		touch(area + i * PAGE);
	get_pfns(area, pfns, CLAIMS * 64);
	measure_claims(m, names, area, picks, pick(pfns, CLAIMS * 64, NULL, picks), "claims_free");
	unmap(area, CLAIMS * 64 * PAGE);
	settle();
}

/* With memory full */

static size_t fill(struct metric *m, char *area, size_t pages)
{
	size_t page = 0;
	uint64_t left;

	start(m, "untagged_fill");
	while (page < pages && (left = room())) {
		for (; left && page < pages; page++, left--) {
			uint64_t begin = now();

			touch(area + page * PAGE);
			add(m, begin, now(), 1);
		}
	}
	finish(m);
	printf("state filled_pages %zu\n", page);
	printf("state storage_free_when_full %" PRIu64 "\n", total("free_pages"));
	return page;
}

/* Frees ordinary pages at the end of @area until there is room for what migrates. */
static void leave_room(char *area, const uint64_t *pfns, size_t pages)
{
	size_t freed = 0;

	for (size_t i = pages; i-- && freed < 64 * MIB / PAGE;) {
		if (storage_index(pfns[i]) < STORAGE_PAGES)
			continue;
		discard(area + i * PAGE, PAGE);
		freed++;
	}
}

static void measure_full(struct metric *m)
{
	const char *names[2] = { "claim_used", "claim_used_base" };
	size_t pages = meminfo("MemTotal") / PAGE, filled, count;
	char *area = map_small(pages, PROT_READ | PROT_WRITE);
	char *huge = map(HUGE_AREAS * HUGE, PROT_READ | PROT_WRITE, MADV_HUGEPAGE);
	static uint8_t used[STORAGE_PAGES];
	static size_t picks[CLAIMS][2];
	uint64_t *pfns = mmap(NULL, pages * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
			      -1, 0);

	if (pfns == MAP_FAILED)
		die("there is no memory");
	for (size_t i = 0; i < HUGE_AREAS; i++)
		touch(huge + i * HUGE);
	filled = fill(m, area, pages);
	get_pfns(area, pfns, filled);
	find_used(pfns, filled, used);
	leave_room(area, pfns, filled);
	if (total("lent_pages")) {
		get_pfns(area, pfns, filled);
		count = pick(pfns, filled, used, picks);
		printf("state blocks_in_use %zu\n", count);
		measure_claims(m, names, area, picks, count, "claims_migrated");
	}
	measure_huge(m, "huge_tagged_fault_full", huge, PROT_READ | PROT_WRITE | PROT_MTE);
	measure_free_range(m, "untagged_free_full", area, filled / 64 * 64);
}

int main(int argc, char **argv)
{
	static struct metric m, m2;

	find_ticks();
	region_count = get_regions(regions);
	settle();
	printf("state lent_pages %" PRIu64 "\n", total("lent_pages"));
	measure_pipe(&m);
	measure_mmap(&m);
	measure_fork(&m);
	measure_file(&m2, &m);
	measure_untagged(&m);
	measure_tagged(&m);
	measure_huge_fresh(&m);
	if (total("lent_pages"))
		measure_free_claims(&m);
	if (argc > 1 && !strcmp(argv[1], "--full"))
		measure_full(&m);
	return 0;
}
