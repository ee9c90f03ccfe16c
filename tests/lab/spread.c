// SPDX-License-Identifier: GPL-2.0
/*
 * tests/lab/spread.c - sets tags on pages all over memory, and says where they are
 *
 * Usage: spread PAGES SEED FOLDER
 *
 * Takes nearly all free memory, picks PAGES of its pages evenly by physical address, gives every granule of
 * each a random tag, and writes FOLDER/tagged: a line "PHYSICAL TAGS" per page, TAGS as the bytes in which
 * hardware keeps them. Then waits for the file FOLDER/poked, in which time the host may change tags, and
 * writes what it reads now to FOLDER/read, in the same form. Exits with 1 if the pages' data has changed.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE		4096UL
#define HUGE_PAGE	(2UL << 20)
#define GRANULE		16
#define GRANULES	(PAGE / GRANULE)
#define SPARE		(112UL << 20)	/* free memory that is left to others */
#define PFN_MASK	((1UL << 55) - 1)
#define PAGE_PRESENT	(1UL << 63)
#ifndef PROT_MTE
#define PROT_MTE	0x20
#endif

struct page {
	uint64_t physical;
	char *at;
};

static uint64_t seed;

static void fail(const char *what)
{
	perror(what);
	exit(2);
}

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static size_t available(void)
{
	char line[128];
	size_t kib = 0;
	FILE *f = fopen("/proc/meminfo", "r");

	if (!f)
		fail("/proc/meminfo");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %zu", &kib) == 1)
			break;
	fclose(f);
	return kib << 10;
}

static int by_address(const void *a, const void *b)
{
	const struct page *x = a, *y = b;

	return x->physical < y->physical ? -1 : x->physical > y->physical;
}

/* Takes memory and lists its pages by physical address. */
static struct page *take_memory(size_t *count)
{
	size_t size = (available() - SPARE) & ~(HUGE_PAGE - 1), pages = size / PAGE, i;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int pagemap = open("/proc/self/pagemap", O_RDONLY);
	struct page *page = malloc(pages * sizeof(*page));
	uint64_t *entry = malloc(pages * sizeof(*entry));

	if (memory == MAP_FAILED || pagemap < 0 || !page || !entry)
		fail("memory");
	madvise(memory, size, MADV_HUGEPAGE);
	for (i = 0; i < pages; i++)
		memcpy(memory + i * PAGE, &i, sizeof(i));
	if (pread(pagemap, entry, pages * sizeof(*entry), (uintptr_t)memory / PAGE * sizeof(*entry)) !=
	    (ssize_t)(pages * sizeof(*entry)))
		fail("pagemap");
	for (i = *count = 0; i < pages; i++)
		if (entry[i] & PAGE_PRESENT)
			page[(*count)++] = (struct page){ (entry[i] & PFN_MASK) * PAGE, memory + i * PAGE };
	free(entry);
	close(pagemap);
	qsort(page, *count, sizeof(*page), by_address);
	return page;
}

static void set_tags(char *at)
{
	size_t i;

	for (i = 0; i < GRANULES; i++) {
		uint64_t pointer = (uint64_t)(at + i * GRANULE) | (next_random() >> 20 & 15) << 56;

		asm volatile("stg %0, [%0]" : : "r" (pointer) : "memory");
	}
}

static void print_tags(FILE *f, const struct page *page)
{
	size_t i;

	fprintf(f, "%#" PRIx64 " ", page->physical);
	for (i = 0; i < GRANULES; i += 2) {
		uint64_t low = (uint64_t)(page->at + i * GRANULE), high = low + GRANULE;

		asm volatile("ldg %0, [%0]" : "+r" (low) : : "memory");
		asm volatile("ldg %0, [%0]" : "+r" (high) : : "memory");
		fprintf(f, "%02x", (unsigned int)((high >> 56 & 15) << 4 | (low >> 56 & 15)));
	}
	fputc('\n', f);
}

/* Written under another name, and renamed when it is whole. */
static void print_all(const struct page *page, size_t count, const char *folder, const char *name)
{
	char path[256], final[256];
	size_t i;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.new", folder, name);
	snprintf(final, sizeof(final), "%s/%s", folder, name);
	f = fopen(path, "w");
	if (!f)
		fail(path);
	for (i = 0; i < count; i++)
		print_tags(f, &page[i]);
	if (fclose(f) || rename(path, final))
		fail(path);
}

int main(int argc, char **argv)
{
	struct page *all, *page;
	size_t count, wanted, i;
	uint64_t *content;
	char poked[256];

	if (argc != 4) {
		fprintf(stderr, "usage: spread PAGES SEED FOLDER\n");
		return 2;
	}
	wanted = strtoul(argv[1], NULL, 0);
	seed = strtoul(argv[2], NULL, 0);
	all = take_memory(&count);
	if (count < wanted)
		wanted = count;
	page = calloc(wanted, sizeof(*page));
	content = calloc(wanted, sizeof(*content));
	if (!page || !content)
		fail("memory");
	for (i = 0; i < wanted; i++) {
		page[i] = all[wanted > 1 ? i * (count - 1) / (wanted - 1) : 0];
		memcpy(&content[i], page[i].at, sizeof(*content));
		if (mprotect(page[i].at, PAGE, PROT_READ | PROT_WRITE | PROT_MTE))
			fail("mprotect");
		set_tags(page[i].at);
	}
	print_all(page, wanted, argv[3], "tagged");
	snprintf(poked, sizeof(poked), "%s/poked", argv[3]);
	while (access(poked, F_OK))
		usleep(20000);
	print_all(page, wanted, argv[3], "read");
	for (i = 0; i < wanted; i++)
		if (memcmp(&content[i], page[i].at, sizeof(*content)))
			return 1;
	return 0;
}
