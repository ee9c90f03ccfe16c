// SPDX-License-Identifier: GPL-2.0
/*
 * What the device tree says about tag storage, and what is wrong with it.
 *
 * All nodes are read before any is judged: where two contradict each other, nothing
 * tells which one is right, and neither is used. A node that is not used gets one
 * line in the log, and nothing of its storage is ever lent. The others go on working.
 */
#define pr_fmt(fmt) "tagstorage: " fmt

#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/of.h>
#include <linux/of_address.h>
#include <linux/of_reserved_mem.h>
#include <linux/slab.h>

#include "engine.h"

#define COMPATIBLE	"arm,mte-tag-storage"

/**
 * struct description - one node
 * @np: the node
 * @layout: what could be read of it, the rest 0
 * @found: the same for the engine; valid only where @why is NULL
 * @why: NULL, or why it can't be used, as the rest of a sentence that begins with
 *	the node's name
 * @other: NULL, or the node whose name ends that sentence
 */
struct description {
	struct device_node *np;
	struct tagstorage_layout layout;
	struct tagstorage_found found;
	const char *why;
	struct device_node *other;
};

enum range_fault {
	RANGE_GOOD,
	RANGE_MISSING,
	RANGE_CELLS,
	RANGE_NOWHERE,
	RANGE_SEVERAL,
};

static const char * const storage_faults[] = {
	[RANGE_MISSING] = "has no reg: it must say where the tag storage is",
	[RANGE_CELLS] = "has a reg that does not fit its parent's cells: correct one of them",
	[RANGE_NOWHERE] =
		"has a reg that is no address: it overflows, or a parent lacks ranges",
	[RANGE_SEVERAL] =
		"has several ranges in its reg: make each a region of its own",
};

static const char * const memory_faults[] = {
	[RANGE_MISSING] =
		"covers a memory node without reg: it must say where the memory is",
	[RANGE_CELLS] =
		"covers a memory node whose reg does not fit its parent's cells: correct one",
	[RANGE_NOWHERE] =
		"covers a memory node whose reg is no address: does it overflow?",
	[RANGE_SEVERAL] =
		"covers a memory node of several ranges: make each a node, and a region",
};

/* The first range of a node's reg, which should be the only one. */
static enum range_fault read_range(struct device_node *np, u64 *start, u64 *size)
{
	int pair = of_n_addr_cells(np) + of_n_size_cells(np);
	int cells = of_property_count_u32_elems(np, "reg");
	struct resource res;

	if (cells <= 0)
		return RANGE_MISSING;
	if (pair <= 0 || cells % pair)
		return RANGE_CELLS;
	if (of_address_to_resource(np, 0, &res))
		return RANGE_NOWHERE;
	*start = res.start;
	*size = resource_size(&res);
	return cells == pair ? RANGE_GOOD : RANGE_SEVERAL;
}

static const char *read_memory(struct device_node *np,
			       struct tagstorage_layout *l)
{
	struct device_node *memory;
	const char *why;

	if (of_count_phandle_with_args(np, "tagged-memory", NULL) > 1)
		return "has several nodes in tagged-memory: make each a region of its own";
	memory = of_parse_phandle(np, "tagged-memory", 0);
	if (!memory)
		return "has no tagged-memory that leads to a node: give the memory node";
	if (!of_node_is_type(memory, "memory"))
		why = "covers what is no memory node: give the one of the memory";
	else if (!of_device_is_available(memory))
		why = "covers a memory node that is disabled: change one of them";
	else
		why = memory_faults[read_range(memory, &l->data_start,
					       &l->data_size)];
	of_node_put(memory);
	return why;
}

static const char *read_block_size(struct device_node *np,
				   struct tagstorage_layout *l)
{
	u32 block_size;

	if (of_property_count_u32_elems(np, "block-size") != 1 ||
	    of_property_read_u32(np, "block-size", &block_size))
		return "has no block-size of one cell: give the hardware's, in bytes";
	l->block_size = block_size;
	return NULL;
}

/* Reads on after a fault: what is known of a bad node may contradict another. */
static const char *read_node(struct device_node *np, struct tagstorage_layout *l)
{
	const char *storage, *memory, *block_size;

	/* Boards do that to nodes that they share, so its ranges don't count. */
	if (!of_device_is_available(np))
		return "is disabled, so the kernel does not reserve its storage: enable it";
	storage = storage_faults[read_range(np, &l->storage_start,
					    &l->storage_size)];
	memory = read_memory(np, l);
	block_size = read_block_size(np, l);
	if (of_property_read_bool(np, "no-map"))
		return "is no-map, and nothing can be lent without a linear map: remove no-map";
	return storage ?: memory ?: block_size;
}

/* Ranges that could not be read have no size, and meet nothing. */
static bool ranges_meet(u64 a, u64 a_len, u64 b, u64 b_len)
{
	return a_len && b_len && tagstorage_overlap(a, a_len, b, b_len);
}

static bool storage_meets(const struct tagstorage_layout *l, u64 start, u64 size)
{
	return ranges_meet(l->storage_start, l->storage_size, start, size);
}

/*
 * What the other node says makes this one doubtful. Whoever covers the other's
 * storage is none the worse for it: storage is never tagged.
 */
static const char *contradiction(const struct tagstorage_layout *l,
				 const struct tagstorage_layout *other)
{
	if (storage_meets(l, other->storage_start, other->storage_size))
		return "shares tag storage with";
	if (ranges_meet(l->data_start, l->data_size,
			other->data_start, other->data_size))
		return "shares the memory that it covers with";
	if (storage_meets(l, other->data_start, other->data_size))
		return "lies in the memory that is covered by";
	return NULL;
}

static const char *check_others(struct description *d,
				const struct description *all, unsigned int nr)
{
	const struct description *other;
	const char *why;

	for (other = all; other < all + nr; other++) {
		why = other == d ? NULL :
			contradiction(&d->layout, &other->layout);
		if (why) {
			d->other = of_node_get(other->np);
			return why;
		}
	}
	return NULL;
}

static bool node_meets(struct device_node *np, const struct tagstorage_layout *l)
{
	struct resource res;
	int i;

	for (i = 0; !of_address_to_resource(np, i, &res); i++)
		if (storage_meets(l, res.start, resource_size(&res)))
			return true;
	return false;
}

/*
 * All that was reserved at boot looks the same, whoever reserved it: this was, for
 * this node, and for nobody else?
 */
static const char *check_reserved(struct description *d)
{
	struct reserved_mem *own = of_reserved_mem_lookup(d->np);
	struct device_node *parent, *np;

	if (!own || own->base != d->layout.storage_start ||
	    own->size != d->layout.storage_size)
		return "was not reserved at boot: move the node to /reserved-memory";
	parent = of_find_node_by_path("/reserved-memory");
	for_each_available_child_of_node(parent, np)
		if (!of_device_is_compatible(np, COMPATIBLE) &&
		    node_meets(np, &d->layout)) {
			d->other = np;
			break;
		}
	of_node_put(parent);
	return d->other ? "lies in memory that is reserved for" : NULL;
}

/*
 * The kernel's image is reserved as well. Of what modules may know of it, the first
 * is near its start, and the last near its end.
 */
static bool is_kernel_image(const struct tagstorage_layout *l)
{
	u64 first = __pa_symbol(_printk), last = __pa_symbol(empty_zero_page);

	return storage_meets(l, first, last - first + PAGE_SIZE);
}

/* Is storage in System RAM what a carve-out looks like at boot? */
static const char *check_pages(const struct tagstorage_geometry *geo)
{
	u64 pfn = geo->storage_pfn;
	u64 end = pfn + tagstorage_storage_pages(geo);
	struct zone *zone = NULL;

	for (; pfn < end; pfn++) {
		struct page *page = pfn_to_online_page(pfn);

		if (!page)
			return "has storage that is offline: boot with all memory online";
		if (!zone)
			zone = page_zone(page);
		if (page_zone(page) != zone)
			return "straddles two zones: split it, and its memory, at their border";
		if (!PageReserved(page) || page_count(page) != 1)
			return "is in use: nobody else may manage what is reserved for it";
	}
	return NULL;
}

/* The storage is System RAM, all of it or nothing. */
static const char *check_storage(struct tagstorage_found *found)
{
	u64 start = found->geo.storage_pfn;
	u64 pages = tagstorage_storage_pages(&found->geo);
	u64 i, ram = 0;

	for (i = 0; i < pages; i++)
		ram += pfn_is_map_memory(start + i);
	if (ram && ram < pages)
		return "has storage partly in System RAM: give memory nodes all of it, or nothing";
	found->in_ram = ram;
	if (ram)
		return check_pages(&found->geo);
	if (region_intersects(PFN_PHYS(start), PFN_PHYS(pages), IORESOURCE_MEM,
			      IORES_DESC_NONE) != REGION_DISJOINT)
		return "has storage where a device is: correct its reg";
	return NULL;
}

/*
 * Holes in the data are no harm, as firmware keeps some of it for itself. But each
 * page that is covered must have a struct page.
 */
static const char *check_data(const struct tagstorage_geometry *geo)
{
	u64 pfn = geo->data_pfn;
	u64 pages = tagstorage_data_pages(geo);
	u64 end = pfn + pages;
	bool there = region_intersects(PFN_PHYS(pfn), PFN_PHYS(pages),
				       IORESOURCE_SYSTEM_RAM,
				       IORES_DESC_NONE) != REGION_DISJOINT;

	for (; pfn < end && there; pfn = SUBSECTION_ALIGN_DOWN(pfn) +
					PAGES_PER_SUBSECTION)
		there = pfn_valid(pfn);
	return there ? NULL :
		"covers memory that is not System RAM: correct reg of its tagged-memory node";
}

static const char *judge(struct description *d, const struct description *all,
			 unsigned int nr)
{
	const char *why = tagstorage_geometry_init(&d->found.geo, &d->layout,
						   PAGE_SIZE);

	if (!why)
		why = check_others(d, all, nr);
	if (!why && is_kernel_image(&d->layout))
		why = "lies on the kernel's image: correct reg, or load the kernel elsewhere";
	if (!why)
		why = check_reserved(d);
	if (!why)
		why = check_storage(&d->found);
	if (!why)
		why = check_data(&d->found.geo);
	return why;
}

static int use(struct description *d, tagstorage_region_fn *add)
{
	if (!d->why)
		return add(&d->found);
	if (d->other)
		pr_err("region %pOF %s %pOF: correct one of them; nothing of it is lent\n",
		       d->np, d->why, d->other);
	else
		pr_err("region %pOF %s; nothing of it is lent\n", d->np, d->why);
	return 0;
}

static unsigned int count_nodes(void)
{
	struct device_node *np;
	unsigned int nr = 0;

	for_each_compatible_node(np, NULL, COMPATIBLE)
		nr++;
	return nr;
}

static unsigned int read_nodes(struct description *all, unsigned int nr)
{
	struct device_node *np = NULL;
	unsigned int i;
	u32 nid;

	for (i = 0; i < nr; i++) {
		np = of_find_compatible_node(np, NULL, COMPATIBLE);
		if (!np)
			break;
		all[i].np = of_node_get(np);
		all[i].found.name = kbasename(np->full_name);
		all[i].found.nid = of_property_read_u32(np, "numa-node-id", &nid) ?
				   NUMA_NO_NODE : (int)nid;
		all[i].why = read_node(np, &all[i].layout);
	}
	of_node_put(np);
	return i;
}

/**
 * tagstorage_devicetree_read - find all regions that are described well
 * @add: called for each of them, in the order of the device tree
 *
 * Return: 0; -ENODEV if there is no node; -ENOMEM; or what @add returned.
 */
int tagstorage_devicetree_read(tagstorage_region_fn *add)
{
	unsigned int i, good = 0, nr = count_nodes();
	struct description *all;
	int ret = 0;

	if (!nr) {
		pr_err("the device tree describes no tag storage (a node compatible with \"%s\")\n",
		       COMPATIBLE);
		return -ENODEV;
	}
	all = kvcalloc(nr, sizeof(*all), GFP_KERNEL);
	if (!all)
		return -ENOMEM;
	nr = read_nodes(all, nr);
	for (i = 0; i < nr; i++) {
		if (!all[i].why)
			all[i].why = judge(&all[i], all, nr);
		if (!all[i].why && good++ >= TAGSTORAGE_MAX_REGIONS)
			all[i].why =
				"is one more than the engine supports: make neighbours one region";
	}
	for (i = 0; i < nr && !ret; i++)
		ret = use(&all[i], add);
	for (i = 0; i < nr; i++) {
		of_node_put(all[i].other);
		of_node_put(all[i].np);
	}
	kvfree(all);
	return ret;
}
