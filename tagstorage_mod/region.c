// SPDX-License-Identifier: GPL-2.0
/*
 * From the device tree to regions, and from a page to its region.
 *
 * A region that is described badly gets one line in the log and stays a carve-out:
 * it is not in the tables, so none of it is ever lent. The others go on working.
 * Its data pages then look like memory that needs no preparation, which is true.
 */
#define pr_fmt(fmt) "tagstorage: " fmt

#include <linux/io.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/of.h>
#include <linux/of_address.h>
#include <linux/rwsem.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "engine.h"

#define pr_region(np, fmt, ...) \
	pr_err("region %s " fmt "; it stays a carve-out\n", \
	       kbasename((np)->full_name), ##__VA_ARGS__)

struct tagstorage_region *tagstorage_regions[TAGSTORAGE_MAX_REGIONS];
unsigned int tagstorage_nr_regions;

/*
 * Guards region->present: held for reading by who looks at struct pages of storage
 * that is not out, for those may be removed. Taken within tagstorage_lend_mutex,
 * never around it. Pages of a block that is out stay, and need no lock.
 */
static DECLARE_RWSEM(pages_sem);

/*
 * A page finds its region without a search: memory is divided into granules, and
 * a table holds for each granule the lowest region that reaches into it. Unless
 * two regions meet inside a granule, that is the only candidate.
 */
#define GRANULE_SHIFT	(27 - PAGE_SHIFT)

struct region_map {
	u64 first;
	u64 nr;
	u8 *lowest;
};

static struct region_map data_map, storage_map;

static u64 region_pfn(const struct tagstorage_region *region, bool data)
{
	return data ? region->geo.data_pfn : region->geo.storage_pfn;
}

static u64 region_pages(const struct tagstorage_region *region, bool data)
{
	return data ? tagstorage_data_pages(&region->geo) :
		      tagstorage_storage_pages(&region->geo);
}

static int map_init(struct region_map *map, bool data)
{
	struct tagstorage_region *region;
	u64 last = 0, granule;
	unsigned int i;

	map->first = U64_MAX;
	tagstorage_for_each_region(region, i) {
		u64 pfn = region_pfn(region, data);

		map->first = min(map->first, pfn >> GRANULE_SHIFT);
		last = max(last, (pfn + region_pages(region, data) - 1) >>
				 GRANULE_SHIFT);
	}
	map->nr = last - map->first + 1;
	map->lowest = kvmalloc(map->nr, GFP_KERNEL);
	if (!map->lowest)
		return -ENOMEM;
	memset(map->lowest, U8_MAX, map->nr);

	tagstorage_for_each_region(region, i) {
		u64 pfn = region_pfn(region, data);
		u64 end = pfn + region_pages(region, data);

		for (granule = pfn >> GRANULE_SHIFT;
		     granule << GRANULE_SHIFT < end; granule++)
			map->lowest[granule - map->first] =
				min_t(u8, i, map->lowest[granule - map->first]);
	}
	return 0;
}

static __always_inline struct tagstorage_region *
map_lookup(const struct region_map *map, u64 pfn, bool data)
{
	u64 granule = (pfn >> GRANULE_SHIFT) - map->first;
	unsigned int i;

	if (granule >= map->nr)
		return NULL;
	for (i = map->lowest[granule]; i < tagstorage_nr_regions; i++) {
		struct tagstorage_region *region = tagstorage_regions[i];

		if (pfn - region_pfn(region, data) < region_pages(region, data))
			return region;
	}
	return NULL;
}

/* The region that covers this data page, or NULL. Context: any. */
struct tagstorage_region *tagstorage_region_of_data(u64 pfn)
{
	return map_lookup(&data_map, pfn, true);
}

/* The region that this page of tag storage belongs to, or NULL. Context: any. */
struct tagstorage_region *tagstorage_region_of_storage(u64 pfn)
{
	return map_lookup(&storage_map, pfn, false);
}

const struct tagstorage_geometry *
tagstorage_region_geometry(const struct tagstorage_region *region)
{
	return &region->geo;
}
EXPORT_SYMBOL_NS_GPL(tagstorage_region_geometry, TAGSTORAGE);

bool tagstorage_region_in_ram(const struct tagstorage_region *region)
{
	return region->in_ram;
}
EXPORT_SYMBOL_NS_GPL(tagstorage_region_in_ram, TAGSTORAGE);

int tagstorage_region_nid(const struct tagstorage_region *region)
{
	return region->nid;
}
EXPORT_SYMBOL_NS_GPL(tagstorage_region_nid, TAGSTORAGE);

/**
 * tagstorage_pages_get - the caller is going to look at struct pages of storage
 * @region: the region
 *
 * Context: may sleep. If true, tagstorage_pages_put() follows soon.
 * Return: false if there are none.
 */
bool tagstorage_pages_get(struct tagstorage_region *region)
{
	down_read(&pages_sem);
	if (region->present)
		return true;
	up_read(&pages_sem);
	return false;
}

void tagstorage_pages_put(void)
{
	up_read(&pages_sem);
}

/* The struct pages of storage are there, or are about to go. May sleep. */
void tagstorage_pages_set(struct tagstorage_region *region, bool present)
{
	down_write(&pages_sem);
	WRITE_ONCE(region->present, present);
	up_write(&pages_sem);
}

/* What the device tree says, or the reason why it can't be used. */
static const char *read_node(struct device_node *np, struct tagstorage_layout *l)
{
	struct device_node *memory;
	struct resource res;
	u32 block_size;

	if (of_property_read_bool(np, "no-map"))
		return "is no-map: without a linear map nothing can be lent";
	if (of_address_to_resource(np, 0, &res))
		return "has no usable reg property";
	l->storage_start = res.start;
	l->storage_size = resource_size(&res);
	if (!of_address_to_resource(np, 1, &res))
		return "has more than one range in its reg property";

	if (of_property_read_u32(np, "block-size", &block_size))
		return "has no block-size property of one cell";
	l->block_size = block_size;

	memory = of_parse_phandle(np, "tagged-memory", 0);
	if (!memory)
		return "has no tagged-memory phandle, or it leads nowhere";
	if (of_address_to_resource(memory, 0, &res)) {
		of_node_put(memory);
		return "has a tagged-memory node with no usable reg property";
	}
	l->data_start = res.start;
	l->data_size = resource_size(&res);
	if (!of_address_to_resource(memory, 1, &res)) {
		of_node_put(memory);
		return "has a tagged-memory node with more than one range";
	}
	of_node_put(memory);
	return NULL;
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
			return "has storage that is offline";
		if (!zone)
			zone = page_zone(page);
		if (page_zone(page) != zone)
			return "straddles two zones";
		if (!PageReserved(page) || page_count(page) != 1)
			return "is in use: the kernel did not reserve it at boot";
	}
	return NULL;
}

/* Storage is System RAM, all of it or nothing; data is always. */
static const char *check_ram(const struct tagstorage_geometry *geo, bool *in_ram)
{
	u64 storage_pages = tagstorage_storage_pages(geo);
	u64 data_end = geo->data_pfn + tagstorage_data_pages(geo);
	u64 pfn, ram = 0;

	for (pfn = geo->data_pfn; pfn < data_end; pfn += PAGES_PER_SECTION)
		if (!pfn_valid(pfn))
			return "covers memory that is not in System RAM";
	for (pfn = 0; pfn < storage_pages; pfn++)
		ram += !!pfn_is_map_memory(geo->storage_pfn + pfn);
	if (ram && ram < storage_pages)
		return "has storage of which only a part is System RAM";
	*in_ram = ram;
	return ram ? check_pages(geo) : NULL;
}

static bool layouts_collide(const struct tagstorage_geometry *a,
			    const struct tagstorage_geometry *b)
{
	u64 a_data = tagstorage_data_pages(a), b_data = tagstorage_data_pages(b);
	u64 a_len = tagstorage_storage_pages(a);
	u64 b_len = tagstorage_storage_pages(b);

	return tagstorage_overlap(a->storage_pfn, a_len, b->storage_pfn, b_len) ||
	       tagstorage_overlap(a->data_pfn, a_data, b->data_pfn, b_data) ||
	       tagstorage_overlap(a->storage_pfn, a_len, b->data_pfn, b_data) ||
	       tagstorage_overlap(a->data_pfn, a_data, b->storage_pfn, b_len);
}

static const char *check_others(const struct tagstorage_geometry *geo)
{
	struct tagstorage_region *other;
	unsigned int i;

	if (tagstorage_nr_regions == TAGSTORAGE_MAX_REGIONS)
		return "is one more than the engine supports";
	tagstorage_for_each_region(other, i)
		if (layouts_collide(geo, &other->geo))
			return "overlaps another region";
	return NULL;
}

static void region_free(struct tagstorage_region *region)
{
	kvfree(region->blocks);
	kvfree(region->prepared);
	kvfree(region->idle);
	free_percpu(region->stats);
	kfree(region->name);
	kfree(region);
}

static struct tagstorage_region *
region_alloc(struct device_node *np, const struct tagstorage_geometry *geo,
	     bool in_ram)
{
	struct tagstorage_region *region = kzalloc(sizeof(*region), GFP_KERNEL);
	u32 nid;

	if (!region)
		return NULL;
	region->geo = *geo;
	region->in_ram = in_ram;
	region->present = in_ram;
	if (in_ram)
		region->zone = page_zone(pfn_to_page(geo->storage_pfn));
	region->nid = of_property_read_u32(np, "numa-node-id", &nid) ?
		      NUMA_NO_NODE : (int)nid;
	region->index = tagstorage_nr_regions;
	region->name = kstrdup(kbasename(np->full_name), GFP_KERNEL);
	region->blocks = kvcalloc(geo->nr_blocks, sizeof(u16), GFP_KERNEL);
	region->prepared = kvcalloc(BITS_TO_LONGS(tagstorage_data_pages(geo)),
				    sizeof(long), GFP_KERNEL);
	region->idle = kvcalloc(BITS_TO_LONGS(geo->nr_blocks), sizeof(long),
				GFP_KERNEL);
	region->stats = alloc_percpu(struct tagstorage_stats);
	if (region->name && region->blocks && region->prepared &&
	    region->idle && region->stats)
		return region;
	region_free(region);
	return NULL;
}

static int region_add(struct device_node *np)
{
	struct tagstorage_geometry geo;
	struct tagstorage_layout layout;
	struct tagstorage_region *region;
	const char *why;
	bool in_ram;

	why = read_node(np, &layout);
	if (!why)
		why = tagstorage_geometry_init(&geo, &layout, PAGE_SIZE);
	if (!why)
		why = check_others(&geo);
	if (!why)
		why = check_ram(&geo, &in_ram);
	if (why) {
		pr_region(np, "%s", why);
		return 0;
	}

	region = region_alloc(np, &geo, in_ram);
	if (!region)
		return -ENOMEM;
	tagstorage_regions[tagstorage_nr_regions++] = region;
	pr_info("region %u, %s: %llu KiB of tag storage for %llu MiB, %llu blocks of %u pages%s\n",
		region->index, region->name,
		tagstorage_storage_pages(&geo) << (PAGE_SHIFT - 10),
		tagstorage_data_pages(&geo) >> (20 - PAGE_SHIFT),
		geo.nr_blocks, geo.block_pages,
		in_ram ? "" : ", outside System RAM");
	return 0;
}

/**
 * tagstorage_regions_probe - find all regions
 *
 * Return: 0; -ENODEV if there is none that can be used; -ENOMEM.
 */
int tagstorage_regions_probe(void)
{
	struct device_node *np;
	bool any = false;
	int ret;

	for_each_compatible_node(np, NULL, "arm,mte-tag-storage") {
		any = true;
		ret = of_device_is_available(np) ? region_add(np) : 0;
		if (ret) {
			of_node_put(np);
			goto err_add;
		}
	}
	if (!tagstorage_nr_regions) {
		pr_err("%s\n", any ?
		       "no usable tag storage region, see the lines above" :
		       "the device tree describes no tag storage (a node compatible with \"arm,mte-tag-storage\")");
		return -ENODEV;
	}
	ret = map_init(&data_map, true);
	if (ret)
		goto err_data_map;
	ret = map_init(&storage_map, false);
	if (ret)
		goto err_storage_map;
	return 0;

err_storage_map:
	kvfree(data_map.lowest);
err_data_map:
err_add:
	while (tagstorage_nr_regions)
		region_free(tagstorage_regions[--tagstorage_nr_regions]);
	return ret;
}

/* Nothing may use the regions any more. */
void tagstorage_regions_free(void)
{
	kvfree(storage_map.lowest);
	kvfree(data_map.lowest);
	while (tagstorage_nr_regions)
		region_free(tagstorage_regions[--tagstorage_nr_regions]);
}
