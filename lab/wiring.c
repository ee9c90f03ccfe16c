// SPDX-License-Identifier: GPL-2.0
/*
 * lab/wiring.c - makes QEMU keep allocation tags in guest RAM, where hardware keeps them
 *
 * QEMU holds the tags in a memory block of its own, the tag RAM: one byte for every 32 bytes of
 * guest RAM. Guest RAM is a file here, mapped shared. This library, preloaded into QEMU, wraps mmap:
 * it knows the RAM by the file, and the tag RAM by its size (RAM size / 32, anonymous, writable, at
 * a fixed address, after the RAM). The tag RAM of each data range is then mapped to the RAM file, at
 * the place of the tag storage that covers it: from there on tags ARE that memory. The rest of the tag
 * RAM (the tags of tag storage itself, and of anything that no region covers) goes to a file of its
 * own, in which the tag of an address stands at offset (address - RAM start) / 32.
 *
 * Environment:
 *   TAGSTORAGE_RAM     the RAM file
 *   TAGSTORAGE_TAIL    file for the rest, RAM size / 32 bytes long
 *   TAGSTORAGE_WIRING  RAM_SIZE:DATA,LENGTH,STORAGE[;DATA,LENGTH,STORAGE...], numbers as in C: bytes from the
 *                      start of RAM; DATA and LENGTH are multiples of 128 KiB, STORAGE of 4 KiB
 *   TAGSTORAGE_WIRED   file to create once the tags are wired: without it, they are not
 * Errors: whatever does not fit ends QEMU with one sentence and status 3.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TAG_RATIO	32
#define PAGE		4096
#define MAX_REGIONS	64

struct range {
	uint64_t data;
	uint64_t length;
	uint64_t storage;
};

static struct {
	bool ready;			/* the environment was read */
	bool wired;
	int ram_fd;			/* -1 until QEMU has mapped the RAM */
	uint64_t ram_size;
	int nr_regions;
	struct range region[MAX_REGIONS];
	struct stat ram;
} wiring = { .ram_fd = -1 };

static void __attribute__((noreturn, format(printf, 1, 2))) fail(const char *format, ...)
{
	va_list args;

	fputs("wiring: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	_exit(3);
}

static const char *need(const char *name)
{
	const char *value = getenv(name);

	if (!value)
		fail("%s is not set", name);
	return value;
}

static uint64_t number(const char **text, char end)
{
	char *rest;
	uint64_t value = strtoull(*text, &rest, 0);

	if (rest == *text || (*rest != end && *rest))
		fail("TAGSTORAGE_WIRING is not understood at '%s'", *text);
	*text = *rest ? rest + 1 : rest;
	return value;
}

static void add_region(const struct range *r)
{
	uint64_t storage_length = r->length / TAG_RATIO;

	if (wiring.nr_regions == MAX_REGIONS)
		fail("more than %d regions", MAX_REGIONS);
	if (!r->length || r->data % (TAG_RATIO * PAGE) || r->length % (TAG_RATIO * PAGE) || r->storage % PAGE)
		fail("the region at offset %#jx is not aligned", (uintmax_t)r->data);
	if (r->data + r->length > wiring.ram_size || r->storage + storage_length > wiring.ram_size)
		fail("the region at offset %#jx is not inside the RAM", (uintmax_t)r->data);
	wiring.region[wiring.nr_regions++] = *r;
}

static void read_environment(void)
{
	const char *text = need("TAGSTORAGE_WIRING");

	if (stat(need("TAGSTORAGE_RAM"), &wiring.ram))
		fail("the RAM file is not there");
	wiring.ram_size = number(&text, ':');
	if (!wiring.ram_size || wiring.ram_size % (TAG_RATIO * PAGE))
		fail("the RAM size is not a multiple of %d", TAG_RATIO * PAGE);
	while (*text) {
		struct range r;

		r.data = number(&text, ',');
		r.length = number(&text, ',');
		r.storage = number(&text, ';');
		add_region(&r);
	}
	wiring.ready = true;
}

static void *real_mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	return (void *)syscall(SYS_mmap, addr, length, prot, flags, fd, offset);
}

static void map_piece(char *addr, uint64_t length, int fd, uint64_t offset)
{
	if (length && real_mmap(addr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
				offset) == MAP_FAILED)
		fail("tags cannot be mapped at file offset %#jx", (uintmax_t)offset);
}

/* Lays the rest file over the whole tag RAM, then each region's storage over its part of it. */
static void wire(char *tag_ram)
{
	const char *wired = need("TAGSTORAGE_WIRED");
	int tail = open(need("TAGSTORAGE_TAIL"), O_RDWR | O_CLOEXEC);
	int fd, i;

	if (tail < 0)
		fail("the file for the rest of the tag RAM cannot be opened");
	map_piece(tag_ram, wiring.ram_size / TAG_RATIO, tail, 0);
	close(tail);
	for (i = 0; i < wiring.nr_regions; i++) {
		struct range *r = &wiring.region[i];

		map_piece(tag_ram + r->data / TAG_RATIO, r->length / TAG_RATIO, wiring.ram_fd,
			  r->storage);
	}
	fd = open(wired, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		fail("%s cannot be made", wired);
	close(fd);
	wiring.wired = true;
}

static bool is_ram_file(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && st.st_dev == wiring.ram.st_dev && st.st_ino == wiring.ram.st_ino;
}

static void saw_ram(size_t length, int fd, off_t offset)
{
	if (length != wiring.ram_size || offset)
		fail("QEMU mapped %#zx bytes of the RAM file at %#jx, not all of it", length, (uintmax_t)offset);
	if (wiring.ram_fd < 0)
		wiring.ram_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	void *result = real_mmap(addr, length, prot, flags, fd, offset);

	if (result == MAP_FAILED)
		return result;
	if (!wiring.ready)
		read_environment();
	if (!(flags & MAP_ANONYMOUS)) {
		if ((flags & MAP_SHARED) && is_ram_file(fd))
			saw_ram(length, fd, offset);
	} else if ((flags & MAP_FIXED) && (prot & PROT_WRITE) && wiring.ram_fd >= 0 &&
		   length == wiring.ram_size / TAG_RATIO) {
		if (wiring.wired)
			fail("QEMU made two memory blocks of the tag RAM's size; which one is it?");
		wire(result);
	}
	return result;
}

void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	return mmap64(addr, length, prot, flags, fd, offset);
}
