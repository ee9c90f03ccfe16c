/* SPDX-License-Identifier: GPL-2.0 */
/*
 * lib/common.h - what the tests' programs share: MTE instructions, tag storage as sysfs and pagemap
 * show it, random numbers
 */
#ifndef TESTS_COMMON_H
#define TESTS_COMMON_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#ifndef HWCAP2_MTE
#define HWCAP2_MTE	(1 << 18)
#endif
#ifndef PROT_MTE
#define PROT_MTE	0x20
#endif
#ifndef PR_SET_TAGGED_ADDR_CTRL
#define PR_SET_TAGGED_ADDR_CTRL	55
#define PR_TAGGED_ADDR_ENABLE	(1UL << 0)
#endif
#ifndef PR_MTE_TCF_SYNC
#define PR_MTE_TCF_SYNC		(1UL << 1)
#define PR_MTE_TAG_SHIFT	3
#endif
#ifndef SEGV_MTESERR
#define SEGV_MTESERR	9
#endif
#ifndef MADV_COLD
#define MADV_COLD	20
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif
#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif

#define PAGE		4096UL
#define HUGE		(2UL << 20)
#define HUGE_PAGES	(HUGE / PAGE)
#define GRANULE		16UL
#define GRANULES	(PAGE / GRANULE)	/* in a page */
#define WORDS		(PAGE / sizeof(uint64_t))
#define MIB		(1UL << 20)
#define MAX_REGIONS	64
#define SYSFS		"/sys/kernel/mm/tagstorage"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

__attribute__((noreturn, format(printf, 1, 2)))
static inline void die(const char *format, ...)
{
	va_list values;

	fflush(stdout);
	va_start(values, format);
	vfprintf(stderr, format, values);
	va_end(values);
	fputc('\n', stderr);
	exit(2);
}

/* MTE */

static inline bool have_mte(void)
{
	return getauxval(AT_HWCAP2) & HWCAP2_MTE;
}

/* From now on a load or store through a pointer with the wrong tag gives SIGSEGV. */
static inline void check_tags(void)
{
	if (prctl(PR_SET_TAGGED_ADDR_CTRL,
		  PR_TAGGED_ADDR_ENABLE | PR_MTE_TCF_SYNC | 0xfffeUL << PR_MTE_TAG_SHIFT, 0, 0, 0))
		die("tag checks can't be turned on: %s", strerror(errno));
}

static inline void *with_tag(const void *address, unsigned int tag)
{
	return (void *)(((uint64_t)address & ~(15ULL << 56)) | (uint64_t)tag << 56);
}

static inline void set_tag(void *granule, unsigned int tag)
{
	asm volatile("stg %0, [%0]" : : "r" (with_tag(granule, tag)) : "memory");
}

/* Two granules. */
static inline void set_tag2(void *granule, unsigned int tag)
{
	asm volatile("st2g %0, [%0]" : : "r" (with_tag(granule, tag)) : "memory");
}

/* Sets the granule to zero as well. */
static inline void set_tag_zero(void *granule, unsigned int tag)
{
	asm volatile("stzg %0, [%0]" : : "r" (with_tag(granule, tag)) : "memory");
}

static inline unsigned int get_tag(const void *granule)
{
	uint64_t address = (uint64_t)granule;

	asm volatile("ldg %0, [%0]" : "+r" (address) : : "memory");
	return address >> 56 & 15;
}

/* Between these two, tags are not checked. */
static inline void checks_off(void)
{
	asm volatile("msr tco, #1" : : : "memory");
}

static inline void checks_on(void)
{
	asm volatile("msr tco, #0" : : : "memory");
}

/* Files */

/* Reads a small file; false if it can't be read. */
static inline bool read_text(const char *path, char *text, size_t size)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length;

	if (file < 0)
		return false;
	length = read(file, text, size - 1);
	close(file);
	if (length < 0)
		return false;
	text[length] = 0;
	return true;
}

/*
 * As read_text(), of a file that is read over and over, and stays open: to open one takes memory, and who fills memory
 * would be killed for it when he is done. One that was removed is opened anew.
 */
static inline bool read_again(const char *path, char *text, size_t size)
{
	static _Thread_local struct {
		char path[96];
		int file;
	} known[24];
	unsigned int i = 0;
	ssize_t length;

	while (i < ARRAY_SIZE(known) && known[i].path[0] && strcmp(known[i].path, path))
		i++;
	if (i == ARRAY_SIZE(known) || strlen(path) >= sizeof(known[i].path))
		return read_text(path, text, size);
	if (!known[i].path[0]) {
		strcpy(known[i].path, path);
		known[i].file = -1;
	}
	length = known[i].file < 0 ? -1 : pread(known[i].file, text, size - 1, 0);
	if (length < 0) {
		if (known[i].file >= 0)
			close(known[i].file);
		known[i].file = open(path, O_RDONLY | O_CLOEXEC);
		length = known[i].file < 0 ? -1 : pread(known[i].file, text, size - 1, 0);
	}
	if (length < 0)
		return false;
	text[length] = 0;
	return true;
}

/* As a shell does it: the trace is emptied by that it is opened with O_TRUNC. */
static inline bool write_text(const char *path, const char *text)
{
	int file = open(path, O_WRONLY | O_CLOEXEC | O_TRUNC);
	bool done;

	if (file < 0)
		return false;
	done = write(file, text, strlen(text)) == (ssize_t)strlen(text);
	close(file);
	return done;
}

/* Bytes, of a line of /proc/meminfo. */
static inline uint64_t meminfo(const char *name)
{
	char text[4096], *line;
	size_t length = strlen(name);

	if (!read_again("/proc/meminfo", text, sizeof(text)))
		die("/proc/meminfo can't be read");
	for (line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, name, length) && line[length] == ':')
			return strtoull(line + length + 1, NULL, 10) << 10;
	}
	die("/proc/meminfo has no %s", name);
}

/* Tag storage */

struct region {
	uint64_t start;		/* page frame number */
	uint64_t pages;
	uint64_t data;		/* page frame number of the memory that it covers */
	uint64_t block;		/* pages */
};

/* A number of region @index; false if there is none. */
static inline bool region_number(unsigned int index, const char *name, uint64_t *number)
{
	char path[256], text[64];

	snprintf(path, sizeof(path), SYSFS "/region%u/%s", index, name);
	if (!read_again(path, text, sizeof(text)))
		return false;
	*number = strtoull(text, NULL, 0);
	return true;
}

/* How many regions the engine has; 0 if it is not loaded. */
static inline unsigned int get_regions(struct region regions[MAX_REGIONS])
{
	unsigned int count;

	for (count = 0; count < MAX_REGIONS; count++) {
		struct region *r = &regions[count];

		if (!region_number(count, "storage_start", &r->start) ||
		    !region_number(count, "total_pages", &r->pages) ||
		    !region_number(count, "data_start", &r->data) || !region_number(count, "block_pages", &r->block))
			break;
		r->start /= PAGE;
		r->data /= PAGE;
	}
	return count;
}

static inline uint64_t nanoseconds(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

/* Nanoseconds that all kernel workers have run. */
static inline uint64_t kernel_workers(void)
{
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	uint64_t sum = 0;

	if (!folder)
		die("/proc can't be read");
	while ((entry = readdir(folder))) {
		char path[300], text[64];

		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		if (!read_text(path, text, sizeof(text)) || strncmp(text, "kworker", 7))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/schedstat", entry->d_name);
		if (read_text(path, text, sizeof(text)))
			sum += strtoull(text, NULL, 10);
	}
	closedir(folder);
	return sum;
}

/* A number of all regions together. */
static inline uint64_t total(const char *name)
{
	uint64_t sum = 0, number;

	for (unsigned int i = 0; region_number(i, name, &number); i++)
		sum += number;
	return sum;
}

static inline bool on_storage(const struct region *regions, unsigned int count, uint64_t pfn)
{
	for (unsigned int i = 0; i < count; i++)
		if (pfn - regions[i].start < regions[i].pages)
			return true;
	return false;
}

/*
 * Page frame numbers of the @count pages from @address on in a process; 0 where no page is mapped. Returns how many
 * could be read: none if the process is gone.
 */
static inline size_t get_pfns_of(pid_t pid, const void *address, uint64_t *pfns, size_t count)
{
	ssize_t size = -1;
	char path[32];
	int file;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file >= 0) {
		size = pread(file, pfns, count * 8, (uint64_t)address / PAGE * 8);
		close(file);
	}
	count = size < 0 ? 0 : size / 8;
	for (size_t i = 0; i < count; i++)
		pfns[i] = pfns[i] >> 63 ? pfns[i] & ((1ULL << 55) - 1) : 0;
	return count;
}

static inline void get_pfns(const void *address, uint64_t *pfns, size_t count)
{
	if (get_pfns_of(getpid(), address, pfns, count) != count)
		die("/proc/self/pagemap can't be read");
}

static inline uint64_t get_pfn(const void *address)
{
	uint64_t pfn;

	get_pfns(address, &pfn, 1);
	return pfn;
}

/* How full memory is */

/*
 * Sums of all zones' watermarks, in bytes. Without their boosts: these are to go when kswapd has worked, and stay for
 * ever where it has nothing to reclaim and has given up.
 */
static inline void get_watermarks(uint64_t *min, uint64_t *high)
{
	/* As in read_again(); but a child would move its parent's position in the file. */
	static _Thread_local FILE *file;
	static _Thread_local pid_t owner;
	uint64_t number, boost = 0;
	char line[256];

	if (file && owner == getpid())
		rewind(file);
	else
		file = fopen("/proc/zoneinfo", "re");
	owner = getpid();
	if (!file)
		die("/proc/zoneinfo can't be read");
	*min = 0;
	*high = 0;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, " boost %" SCNu64, &number) == 1)
			boost = number;
		else if (sscanf(line, " min %" SCNu64, &number) == 1)
			*min += (number - boost) * PAGE;
		else if (sscanf(line, " high %" SCNu64, &number) == 1)
			*high += (number - boost) * PAGE;
	}
}

/* Is lent tag storage that is free part of MemFree? */
static inline bool storage_counts(void)
{
	char text[256];

	return read_again("/sys/kernel/mm/tagstorage/policy", text, sizeof(text)) && !strstr(text, "[metadata]");
}

/* Bytes of ordinary memory that are free, and that the kernel can use as well. */
static inline uint64_t free_ordinary(void)
{
	uint64_t free = meminfo("MemFree"), other = storage_counts() ? total("free_pages") * PAGE : meminfo("CmaFree");

	return free > other ? free - other : 0;
}

/*
 * Pages of untagged anonymous memory that may be asked for before it is time to look again; 0 if nothing is
 * left but what the kernel needs. Tag storage is used when ordinary memory has come down to the high
 * watermark; so ordinary memory that is short for a moment is no end. Nor is it if half of the min watermark is
 * left: what is missing lies on per-CPU lists (2,000 pages may), and stays there while nobody asks for any.
 */
static inline uint64_t room(void)
{
	for (unsigned int i = 0; i < 100; i++) {
		uint64_t lent = total("free_pages") * PAGE, ordinary = free_ordinary();
		uint64_t min, high;

		get_watermarks(&min, &high);
		if (ordinary > high + MIB)
			return (ordinary - high) / PAGE / 2;
		if (lent <= MIB)
			return 0;
		if (ordinary > min)
			return lent / PAGE / 4;
		if (i >= 10 && ordinary > min / 2)
			return 256;
		usleep(10000);
	}
	return 0;
}

/* Random numbers: splitmix64 */

static inline uint64_t random64(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/* Less than @bound. */
static inline uint64_t below(uint64_t *state, uint64_t bound)
{
	return random64(state) % bound;
}

#endif /* TESTS_COMMON_H */
