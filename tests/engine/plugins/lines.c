// SPDX-License-Identifier: GPL-2.0
/*
 * engine/plugins/lines.c - a plugin of QEMU that looks at each instruction of the guest's kernel that cleans a cache
 * line, writes tags, or writes to tag storage
 *
 * A page of tag storage holds tags at first. It may be written as data once each tag line of the 32 pages that it
 * covers was cleaned; and tags of these may be written again once each of its data lines was. No line is cleaned twice,
 * or without need; one that is written after that would be dirty again. All else is wrong.
 *
 * Seen is what the kernel does in the linear map. It clears a page there, and its tags, before user space has them. Not
 * seen are devices, which have no part in this, and user space, which comes later.
 *
 * Argument: out=FILE, for what is wrong, and in the end for the counts
 * Environment: TAGSTORAGE_WIRING (see lab/wiring.c)
 * Errors: QEMU says that the plugin could not be loaded.
 */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu.h"

#define LINEAR_MAP	0xffff000000000000UL	/* where it begins, and RAM with it */
#define KERNEL		(1UL << 63)		/* set in all of its addresses */
#define PAGE		4096UL
#define LINE		64
#define ALL_LINES	UINT64_MAX		/* of one page, a bit for each */
#define RATIO		32
#define MAX_REGIONS	64
#define MAX_MESSAGES	20

/* Instructions; DC and its like without the register */
#define DC_ZVA		0xd50b7420
#define DC_GVA		0xd50b7460
#define DC_GZVA		0xd50b7480
#define DC_CIVAC	0xd50b7e20
#define DC_CIGVAC	0xd50b7e60
#define IS_TAG_STORE(i)	(((i) & 0xff200000) == 0xd9200000)
#define REGISTER	31U

struct page {
	bool data;			/* not tags */
	bool written;			/* since its role changed */
	unsigned int covered;		/* pages whose tag lines are all clean */
	uint64_t data_clean;
	uint64_t tags_clean[RATIO];
};

struct region {
	uint64_t data;			/* offsets in RAM */
	uint64_t length;
	uint64_t storage;
	struct page *pages;
};

static struct region regions[MAX_REGIONS];
static unsigned int nr_regions;
static struct qemu_plugin_register *registers[REGISTER];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *out;

static struct {
	uint64_t data_lines;		/* cleaned */
	uint64_t tag_lines;
	uint64_t to_data;		/* changes of a page's role */
	uint64_t to_tags;
	uint64_t written;		/* of these: those after which it was written */
	uint64_t tagged;
	uint64_t wrong;
} counts;

int qemu_plugin_version = PLUGIN_VERSION;

static void note_wrong(const char *what, uint64_t offset, const struct page *page)
{
	if (counts.wrong++ < MAX_MESSAGES)
		fprintf(out, "wrong: %s, offset %#lx in RAM; its page of tag storage holds %s\n", what, offset,
			page->data ? "data" : "tags");
}

/* The page of tag storage at an offset in RAM */
static struct page *storage_page(uint64_t offset)
{
	for (unsigned int i = 0; i < nr_regions; i++)
		if (offset - regions[i].storage < regions[i].length / RATIO)
			return regions[i].pages + (offset - regions[i].storage) / PAGE;
	return NULL;
}

/* The one that holds the tags of what is at an offset, and which of the pages that it covers that is */
static struct page *tags_page(uint64_t offset, unsigned int *which)
{
	for (unsigned int i = 0; i < nr_regions; i++) {
		uint64_t page = (offset - regions[i].data) / PAGE;

		if (offset - regions[i].data < regions[i].length) {
			*which = page % RATIO;
			return regions[i].pages + page / RATIO;
		}
	}
	return NULL;
}

static void change(struct page *page, bool data)
{
	*page = (struct page) { .data = data };
	if (data)
		counts.to_data++;
	else
		counts.to_tags++;
}

/* Sets the bit of a line; true if it was set already. */
static bool is_set(uint64_t *lines, uint64_t offset)
{
	uint64_t bit = 1UL << (offset % PAGE / LINE);
	bool set = *lines & bit;

	*lines |= bit;
	return set;
}

static void data_cleaned(uint64_t offset)
{
	struct page *page = storage_page(offset);

	if (!page)
		return;
	counts.data_lines++;
	if (!page->data || is_set(&page->data_clean, offset))
		note_wrong("a data line is cleaned without a reason", offset, page);
	else if (page->data_clean == ALL_LINES)
		change(page, false);
}

static void tags_cleaned(uint64_t offset)
{
	unsigned int which = 0;
	struct page *page = tags_page(offset, &which);

	counts.tag_lines++;
	if (!page)
		note_wrong("a tag line is cleaned that no storage has", offset, &(struct page) { .data = false });
	else if (page->data || is_set(&page->tags_clean[which], offset))
		note_wrong("a tag line is cleaned without a reason", offset, page);
	else if (page->tags_clean[which] == ALL_LINES && ++page->covered == RATIO)
		change(page, true);
}

static void data_written(uint64_t offset)
{
	struct page *page = storage_page(offset);

	if (!page)
		return;
	if (!page->data || page->data_clean)
		note_wrong("data is written too early or too late", offset, page);
	counts.written += !page->written;
	page->written = true;
}

static void tags_written(uint64_t offset)
{
	unsigned int which = 0;
	struct page *page = tags_page(offset, &which);

	if (!page)
		return;
	if (page->data || page->tags_clean[which])
		note_wrong("tags are written too early or too late", offset, page);
	counts.tagged += !page->written;
	page->written = true;
}

/* Of a kernel address: the top byte may be anything. For other addresses this is in no region. */
static uint64_t offset_of(uint64_t address)
{
	return (uint64_t)((int64_t)(address << 8) >> 8) - LINEAR_MAP;
}

/* The value of a register of the CPU that executes an instruction */
static uint64_t value_of(unsigned int number)
{
	static _Thread_local struct array *value;
	uint64_t result = 0;

	if (number == REGISTER)
		return 0;
	if (!value)
		value = g_byte_array_new();
	value->len = 0;
	if (qemu_plugin_read_register(registers[number], value) == sizeof(result))
		memcpy(&result, value->data, sizeof(result));
	return result;
}

/* The address that a store of tags begins at. In the post-indexed kind its offset is added after. */
static uint64_t tag_store_address(uint32_t code)
{
	int64_t offset = (int64_t)((uint64_t)code << 43) >> 55;
	unsigned int kind = code >> 10 & 3;

	return value_of(code >> 5 & 31) + (kind >= 2 ? offset * 16 : 0);
}

static void executed(unsigned int cpu, void *data)
{
	uint32_t code = (uintptr_t)data;
	bool store = IS_TAG_STORE(code);
	uint64_t offset = offset_of(store ? tag_store_address(code) : value_of(code & 31));

	(void)cpu;
	pthread_mutex_lock(&lock);
	switch (store ? DC_GVA : code & ~31) {
	case DC_CIVAC:
		data_cleaned(offset);
		break;
	case DC_CIGVAC:
		tags_cleaned(offset);
		break;
	case DC_ZVA:
		data_written(offset);
		break;
	case DC_GZVA:
		data_written(offset);
		tags_written(offset);
		break;
	case DC_GVA:
		tags_written(offset);
		break;
	}
	pthread_mutex_unlock(&lock);
}

static void stored(unsigned int cpu, uint32_t info, uint64_t address, void *data)
{
	uint64_t offset = offset_of(address);

	(void)cpu;
	(void)info;
	(void)data;
	if (!storage_page(offset))
		return;
	pthread_mutex_lock(&lock);
	data_written(offset);
	pthread_mutex_unlock(&lock);
}

static bool is_interesting(uint32_t code)
{
	switch (code & ~31) {
	case DC_ZVA:
	case DC_GVA:
	case DC_GZVA:
	case DC_CIVAC:
	case DC_CIGVAC:
		return true;
	}
	/* Not the loads: LDG, LDGM */
	return IS_TAG_STORE(code) && ((code >> 10 & 3) || !(code >> 22 & 1));
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint32_t code = 0;

		if (!(qemu_plugin_insn_vaddr(insn) & KERNEL))
			continue;
		qemu_plugin_insn_data(insn, &code, sizeof(code));
		if (is_interesting(code))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, executed, READS_REGISTERS,
							       (void *)(uintptr_t)code);
		else
			qemu_plugin_register_vcpu_mem_cb(insn, stored, 0, STORES, NULL);
	}
}

static void find_registers(uint64_t id, unsigned int cpu)
{
	struct array *all = qemu_plugin_get_registers();
	struct register_name *names = all->data;
	unsigned int number;
	char end;

	(void)id;
	(void)cpu;
	for (unsigned int i = 0; i < all->len; i++)
		if (sscanf(names[i].name, "x%u%c", &number, &end) == 1 && number < REGISTER)
			registers[number] = names[i].handle;
}

static void finish(uint64_t id, void *data)
{
	(void)id;
	(void)data;
	fprintf(out, "data_lines %lu\ntag_lines %lu\nto_data %lu\nto_tags %lu\nwritten %lu\ntagged %lu\nwrong %lu\n",
		counts.data_lines, counts.tag_lines, counts.to_data, counts.to_tags, counts.written, counts.tagged,
		counts.wrong);
	fclose(out);
}

static bool find_regions(void)
{
	const char *text = getenv("TAGSTORAGE_WIRING");

	while (text && (text = strpbrk(text, ":;")) && *++text && nr_regions < MAX_REGIONS) {
		struct region *r = &regions[nr_regions++];

		if (sscanf(text, "%lu,%lu,%lu", &r->data, &r->length, &r->storage) != 3)
			return false;
		r->pages = calloc(r->length / RATIO / PAGE, sizeof(*r->pages));
		if (!r->pages)
			return false;
	}
	return nr_regions;
}

int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4) || !find_regions())
		return 1;
	out = fopen(argv[0] + 4, "w");
	if (!out)
		return 1;
	qemu_plugin_register_vcpu_init_cb(id, find_registers);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
