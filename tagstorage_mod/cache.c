// SPDX-License-Identifier: GPL-2.0
/*
 * Cache maintenance when a block changes its role.
 *
 * Data and tags of one DRAM location are different cache lines: data lines are
 * addressed by the storage page itself, tag lines by the data pages that they
 * belong to, and the hardware does not keep one coherent with the other. So
 *
 *  - before a block starts to hold tags, no dirty data line of it may remain:
 *    written back later, it would overwrite tags (DC CIVAC on the block);
 *  - before it holds data, no dirty tag line of the pages that it covers may
 *    remain (DC CIGVAC on these pages).
 *
 * Clean and invalidate rather than invalidate: under a hypervisor the latter may
 * be promoted to it anyway, and what is written back has no owner at that moment.
 * Once per change of role of a block, never per page, never in an interrupt.
 */
#include <linux/cache.h>
#include <linux/cpu.h>
#include <linux/error-injection.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/smp.h>
#include <linux/vmalloc.h>
#include <asm/asm-extable.h>
#include <asm/barrier.h>
#include <asm/sysreg.h>

#include "engine.h"

static unsigned long data_line, tag_line;

/*
 * CTR_EL0.TminLine and DminLine are the log2 of the number of words in the
 * smallest line. TminLine is 0 where it is not given (QEMU does that): taken
 * literally that would be four bytes. No cache line is smaller than 64 bytes on a
 * machine with MTE.
 */
static unsigned long line_size(u64 ctr, unsigned int shift, unsigned int width)
{
	unsigned long log2 = (ctr >> shift) & (BIT(width) - 1);

	return max(4UL << log2, 64UL);
}

/* On each CPU, one after the other: the sanitised register has no TminLine. */
static void smaller_tag_line(void *unused)
{
	tag_line = min(tag_line, line_size(read_sysreg(ctr_el0),
					   CTR_EL0_TminLine_SHIFT,
					   CTR_EL0_TminLine_WIDTH));
}

/*
 * Read once: the sanitised register is searched for. Assumed is that no CPU that comes
 * online after that has smaller lines.
 */
void tagstorage_cache_init(void)
{
	int cpu;

	data_line = line_size(read_sanitised_ftr_reg(SYS_CTR_EL0),
			      CTR_EL0_DminLine_SHIFT, CTR_EL0_DminLine_WIDTH);
	tag_line = ULONG_MAX;
	cpus_read_lock();
	for_each_online_cpu(cpu)
		smp_call_function_single(cpu, smaller_tag_line, NULL, 1);
	cpus_read_unlock();
	/* Eight are cleaned at a time; a smaller step only cleans some twice. */
	data_line = min(data_line, PAGE_SIZE / 8);
	tag_line = min(tag_line, PAGE_SIZE / 8);
}

/* Whole pages. The loop is a good part of what a claim costs: eight lines at a time. */
static long clean_data(unsigned long addr, unsigned long size)
{
	unsigned long end = addr + size, line = data_line;

	for (; addr < end; addr += 8 * line)
		asm volatile("dc civac, %0\n"
			     "dc civac, %1\n"
			     "dc civac, %2\n"
			     "dc civac, %3\n"
			     "dc civac, %4\n"
			     "dc civac, %5\n"
			     "dc civac, %6\n"
			     "dc civac, %7\n"
			     : : "r" (addr), "r" (addr + line),
			     "r" (addr + 2 * line), "r" (addr + 3 * line),
			     "r" (addr + 4 * line), "r" (addr + 5 * line),
			     "r" (addr + 6 * line), "r" (addr + 7 * line)
			     : "memory");
	return size / line;
}

/* DC CIGVAC, spelled so that no assembler option is needed; a fault ends all eight. */
#define CLEAN_TAGS(addr)					\
	"1:	sys #3, c7, c14, #3, " addr "\n"		\
	_ASM_EXTABLE_KACCESS_ERR(1b, 2f, %w0)

/* As clean_data(), a page. False if it is not mapped at @addr. */
static bool clean_tags(unsigned long addr)
{
	unsigned long end = addr + PAGE_SIZE, line = tag_line;
	int err = 0;

	for (; addr < end && !err; addr += 8 * line)
		asm volatile(CLEAN_TAGS("%1")
			     CLEAN_TAGS("%2")
			     CLEAN_TAGS("%3")
			     CLEAN_TAGS("%4")
			     CLEAN_TAGS("%5")
			     CLEAN_TAGS("%6")
			     CLEAN_TAGS("%7")
			     CLEAN_TAGS("%8")
			     "2:\n"
			     : "+r" (err)
			     : "r" (addr), "r" (addr + line),
			     "r" (addr + 2 * line), "r" (addr + 3 * line),
			     "r" (addr + 4 * line), "r" (addr + 5 * line),
			     "r" (addr + 6 * line), "r" (addr + 7 * line)
			     : "memory");
	return !err;
}

/**
 * tagstorage_clean_data_lines - blocks are about to hold tags
 * @region: the region
 * @block: the first of them; every page of them is captured and mapped
 * @nr: how many blocks
 *
 * Context: any but interrupts.
 */
void tagstorage_clean_data_lines(struct tagstorage_region *region, u64 block,
				 unsigned int nr)
{
	u64 pfn = tagstorage_block_pfn(&region->geo, block);
	long lines = clean_data((unsigned long)pfn_to_kaddr(pfn),
				nr * region->geo.block_pages * PAGE_SIZE);

	dsb(sy);
	tagstorage_count(region, data_lines, lines);
}

/**
 * tagstorage_clean_stray - a page was freed that holds tags, or may soon
 * @region: the region
 * @page: the page; if free pages are not mapped (debug_pagealloc), nothing is done
 *
 * Context: any.
 */
void tagstorage_clean_stray(struct tagstorage_region *region,
			    struct page *page)
{
	long lines;

	if (debug_pagealloc_enabled_static())
		return;
	lines = clean_data((unsigned long)page_address(page), PAGE_SIZE);
	dsb(sy);
	tagstorage_count(region, data_lines, lines);
}

/*
 * Memory that is not the kernel's (no-map, as firmware keeps it, or no memory at
 * all) never becomes tagged, and must not be touched.
 *
 * A page may be missing from the linear map: free with debug_pagealloc, or owned
 * by secretmem or KFENCE. Any alias will do, as long as it is mapped tagged.
 */
static bool clean_tags_alias(u64 pfn)
{
	struct page *page = pfn_to_page(pfn);
	void *addr = vmap(&page, 1, VM_MAP, pgprot_tagged(PAGE_KERNEL));
	bool done;

	if (!addr)
		return false;
	done = clean_tags((unsigned long)addr);
	vunmap(addr);
	return done;
}

/**
 * tagstorage_clean_tag_lines - the block is about to hold data
 * @region: the region
 * @block: a block in state LENDING
 *
 * Context: may sleep.
 * Return: 0, or -ENOMEM: the block must not be lent now.
 */
int tagstorage_clean_tag_lines(struct tagstorage_region *region, u64 block)
{
	u64 pfn = tagstorage_span_pfn(&region->geo, block);
	u64 end = pfn + region->geo.span_pages;

	for (; pfn < end; pfn++)
		if (pfn_is_map_memory(pfn) &&
		    !clean_tags((unsigned long)pfn_to_kaddr(pfn)) &&
		    !clean_tags_alias(pfn))
			return -ENOMEM;
	dsb(sy);
	tagstorage_count(region, tag_lines,
			 region->geo.span_pages * (PAGE_SIZE / tag_line));
	return 0;
}
ALLOW_ERROR_INJECTION(tagstorage_clean_tag_lines, ERRNO);
