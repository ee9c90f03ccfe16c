/* SPDX-License-Identifier: GPL-2.0 */
/*
 * paths/pairs.h - memory of which some pages lie on lent tag storage, each with another page whose tags belong
 * there: as soon as that one is used tagged, its user must go
 */
#ifndef TESTS_PAIRS_H
#define TESTS_PAIRS_H

#include "directed.h"

#define STIRRED		8192	/* pages whose storage is made free first */
#define MAX_PAIRS	256
#define MIN_PAIRS	32
#define RATIO		32

#define KPF_RESERVED	32
#define KPF_MLOCKED	33
#define KPF_HWPOISON	19

#define AUDIT		"/sys/kernel/debug/tagstorage/audit"

struct pair {
	size_t user;		/* this page of the memory lies on tag storage ... */
	size_t data;		/* ... where this one's tags are to be */
	uint64_t user_pfn, data_pfn;
};

struct pairs {
	char *memory;		/* of @pages, written as version 1; only those of pairs are there */
	size_t pages;
	struct pair pair[MAX_PAIRS];
	size_t count;
};

/* The first page of the block that holds the tags of this page; 0 if no region covers it. */
static inline uint64_t storage_of(const struct region *regions, unsigned int count, uint64_t pfn)
{
	for (const struct region *r = regions; r < regions + count; r++)
		if (pfn - r->data < r->pages * RATIO)
			return r->start + (pfn - r->data) / RATIO / r->block * r->block;
	return 0;
}

/* Where a page of another process is; 0 if it is not there. */
static inline uint64_t pfn_in(pid_t pid, const void *address)
{
	uint64_t pfn;

	return get_pfns_of(pid, address, &pfn, 1) ? pfn : 0;
}

/* For when nobody is tagging memory: no claim is under way then. */
static inline void expect_clean_audit(void)
{
	static char text[4096];

	if (!read_text(AUDIT, text, sizeof(text)))
		fail("the audit can't be read: %s", strerror(errno));
	if (!strstr(text, "audit: clean") || !strstr(text, " claiming 0 "))
		fail("%.400s", text);
}

/* Blocks that hold tags for a moment are lent again, and free: these are what this process gets next. */
static inline void stir(void)
{
	uint64_t reserved = total("reserved_pages");
	char *memory = map(STIRRED, RW | PROT_MTE);

	for (size_t page = 0; page < STIRRED; page++)
		set_tag(memory + page * PAGE, 1);
	munmap(memory, STIRRED * PAGE);
	expect_back("reserved_pages", reserved);
	for (unsigned int i = 0; i < TRIES && total("free_pages") < STIRRED / RATIO / 2; i++)
		short_sleep();
}

/* For each page of storage: 1 + the page of the memory whose tags belong there, or 0. */
static inline size_t *find_data(const struct pairs *p, const uint64_t *pfns, uint64_t first, uint64_t last)
{
	struct region regions[MAX_REGIONS];
	unsigned int count = get_regions(regions);
	size_t *data = calloc(last - first, sizeof(*data));

	for (size_t page = 0; page < p->pages; page++) {
		uint64_t storage = pfns[page] ? storage_of(regions, count, pfns[page]) : 0;

		if (storage)
			data[storage - first] = page + 1;
	}
	return data;
}

static inline void find_pairs(struct pairs *p, const uint64_t *pfns)
{
	struct region regions[MAX_REGIONS];
	unsigned int count = get_regions(regions);
	uint64_t first = UINT64_MAX, last = 0;
	size_t *data;

	for (unsigned int i = 0; i < count; i++) {
		first = regions[i].start < first ? regions[i].start : first;
		last = regions[i].start + regions[i].pages > last ? regions[i].start + regions[i].pages : last;
	}
	data = find_data(p, pfns, first, last);
	for (size_t page = 0; page < p->pages && p->count < MAX_PAIRS; page++)
		if (on_storage(regions, count, pfns[page]) && data[pfns[page] - first])
			p->pair[p->count++] = (struct pair){ page, data[pfns[page] - first] - 1, pfns[page],
							     pfns[data[pfns[page] - first] - 1] };
	free(data);
}

/* Only the pages of pairs are kept: those who are to go need room. */
static inline void free_others(const struct pairs *p)
{
	bool *keep = calloc(p->pages, 1);

	for (size_t i = 0; i < p->count; i++)
		keep[p->pair[i].user] = keep[p->pair[i].data] = true;
	for (size_t page = 0; page < p->pages; page++)
		if (!keep[page] && madvise(p->memory + page * PAGE, PAGE, MADV_DONTNEED))
			fail("madvise(MADV_DONTNEED): %s", strerror(errno));
	free(keep);
}

/* Uses memory until all is full, tag storage too. */
static inline void take_pairs(struct pairs *p)
{
	size_t limit = meminfo("MemTotal") / PAGE;
	uint64_t *pfns = calloc(limit, 8);

	if (!total("lent_pages"))
		skip("no tag storage is lent");
	memset(p, 0, sizeof(*p));
	stir();
	p->memory = map(limit, RW);
	for (uint64_t left; p->pages < limit && (left = room());)
		for (; left && p->pages < limit; left--)
			write_data(p->memory, p->pages++, 1, 1);
	get_pfns(p->memory, pfns, p->pages);
	find_pairs(p, pfns);
	free_others(p);
	free(pfns);
	if (p->count < MIN_PAIRS)
		fail("only %zu of %zu pages lie where tags of others belong", p->count, p->pages);
}

static inline char *user_of(const struct pairs *p, size_t i)
{
	return p->memory + p->pair[i].user * PAGE;
}

static inline char *data_page(const struct pairs *p, size_t i)
{
	return p->memory + p->pair[i].data * PAGE;
}

/* The other page of a pair is used tagged: by the fault, the block is claimed or the page is replaced. */
static inline void use_tagged(const struct pairs *p, size_t i)
{
	size_t page = p->pair[i].data;

	expect_data(p->memory, page, 1, 1);
	expect_no_tags(p->memory, page, 1);
	write_tags(p->memory, page, 1, 1);
}

static inline void protect_pairs(const struct pairs *p)
{
	for (size_t i = 0; i < p->count; i++)
		protect(data_page(p, i), 1, RW | PROT_MTE);
}

/*
 * All pairs' other pages are used tagged. Those whose block was claimed are where they were; then @owner's page is
 * not any more. That must be so for most: a page in some CPU's batch may be busy, whoever owns it.
 */
static inline void expect_claims(const struct pairs *p, pid_t owner)
{
	size_t claimed = 0;

	for (size_t i = 0; i < p->count; i++) {
		use_tagged(p, i);
		if (get_pfn(data_page(p, i)) != p->pair[i].data_pfn)
			continue;
		claimed++;
		if (pfn_in(owner, user_of(p, i)) == p->pair[i].user_pfn)
			fail("page %zu lies where the tags of page %zu are", p->pair[i].user, p->pair[i].data);
	}
	if (claimed < p->count / 2)
		fail("only %zu of %zu blocks in use were claimed", claimed, p->count);
	for (size_t i = 0; i < p->count; i++)
		expect_all(p->memory, p->pair[i].data, 1, 1);
}

static inline void expect_users(const struct pairs *p)
{
	for (size_t i = 0; i < p->count; i++)
		expect_data(p->memory, p->pair[i].user, 1, 1);
}

#endif /* TESTS_PAIRS_H */
