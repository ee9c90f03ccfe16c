/* SPDX-License-Identifier: GPL-2.0 */
/*
 * obstruct/disk.h - swap space on a disk that is slow
 */
#ifndef TESTS_OBSTRUCT_DISK_H
#define TESTS_OBSTRUCT_DISK_H

#include <sys/swap.h>

#include "job.h"

#define NULLB	"/sys/kernel/config/nullb"

/**
 * struct disk - one of null_blk's
 * @name: what it is called
 * @mib: its size
 * @delay: ns that each request takes
 * @depth: how many requests it takes at once
 * @filled: all of it is written at once, for later there may be no memory for what it holds: then the disk reclaims
 *	memory, which can only be had by writing to the disk
 */
struct disk {
	const char *name;
	const char *mib;
	const char *delay;
	const char *depth;
	bool filled;
};

static bool disk_set(const struct disk *disk, const char *what, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), NULLB "/%s/%s", disk->name, what);
	return write_text(path, value);
}

static bool disk_format(const struct disk *disk, const char *path)
{
	static union {
		char page[PAGE];
		struct {
			char boot[1024];
			uint32_t version, last_page, bad_pages;
		} header;
	} swap;
	size_t pages = strtoul(disk->mib, NULL, 10) * MIB / PAGE;
	int file = open(path, O_WRONLY | O_CLOEXEC);
	bool done = file >= 0;

	memset(&swap, 0, sizeof(swap));
	for (size_t page = 1; done && disk->filled && page < pages; page++)
		done = pwrite(file, &swap, PAGE, page * PAGE) == (ssize_t)PAGE;
	swap.header.version = 1;
	swap.header.last_page = pages - 1;
	memcpy(swap.page + PAGE - 10, "SWAPSPACE2", 10);
	done = done && pwrite(file, &swap, PAGE, 0) == (ssize_t)PAGE && !fsync(file);
	if (file >= 0)
		close(file);
	return done;
}

/* As root. Why that can't be, or NULL. */
static const char *disk_make(const struct disk *disk)
{
	char path[64];

	mount("none", "/sys/kernel/config", "configfs", 0, NULL);
	snprintf(path, sizeof(path), NULLB "/%s", disk->name);
	if (mkdir(path, 0700) && errno != EEXIST)
		return "the kernel has no null_blk";
	if (!disk_set(disk, "memory_backed", "1") || !disk_set(disk, "size", disk->mib) ||
	    !disk_set(disk, "irqmode", "2") || !disk_set(disk, "completion_nsec", disk->delay) ||
	    !disk_set(disk, "submit_queues", "1") || !disk_set(disk, "hw_queue_depth", disk->depth) ||
	    !disk_set(disk, "power", "1"))
		return "null_blk can't be set up";
	snprintf(path, sizeof(path), "/dev/%s", disk->name);
	if (!disk_format(disk, path))
		return "the slow disk can't be written";
	return swapon(path, 0) ? "the slow disk can't be swap space" : NULL;
}

static void disk_remove(const struct disk *disk)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/%s", disk->name);
	swapoff(path);
	disk_set(disk, "power", "0");
	snprintf(path, sizeof(path), NULLB "/%s", disk->name);
	rmdir(path);
}

#endif /* TESTS_OBSTRUCT_DISK_H */
