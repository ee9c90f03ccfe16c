// SPDX-License-Identifier: GPL-2.0
/*
 * The regions, and from a page to its region.
 *
 * A region that the device tree describes badly is not in the tables, so none of it
 * is ever lent. Its data pages then look like memory that needs no preparation,
 * which is true.
 */
#define pr_fmt(fmt) "tagstorage: " fmt

#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "engine.h"

struct tagstorage_region *tagstorage_regions[TAGSTORAGE_MAX_REGIONS];
unsigned int tagstorage_nr_regions;

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
region_alloc(const char *name, const struct tagstorage_geometry *geo)
{
	struct tagstorage_region *region = kzalloc(sizeof(*region), GFP_KERNEL);

	if (!region)
		return NULL;
	region->geo = *geo;
	region->zone = page_zone(pfn_to_page(geo->storage_pfn));
	region->index = tagstorage_nr_regions;
	region->name = kstrdup(name, GFP_KERNEL);
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

static int region_add(const char *name, const struct tagstorage_geometry *geo)
{
	struct tagstorage_region *region = region_alloc(name, geo);

	if (!region)
		return -ENOMEM;
	tagstorage_regions[tagstorage_nr_regions++] = region;
	pr_info("region %u, %s: %llu KiB of tag storage for %llu MiB, %llu blocks of %u pages\n",
		region->index, region->name,
		tagstorage_storage_pages(geo) << (PAGE_SHIFT - 10),
		tagstorage_data_pages(geo) >> (20 - PAGE_SHIFT),
		geo->nr_blocks, geo->block_pages);
	return 0;
}

/**
 * tagstorage_regions_probe - find all regions
 *
 * Return: 0; -ENODEV if there is none that can be used; -ENOMEM.
 */
int tagstorage_regions_probe(void)
{
	int ret = tagstorage_devicetree_read(region_add);

	if (ret)
		goto err_read;
	if (!tagstorage_nr_regions) {
		pr_err("no usable tag storage region, see the lines above\n");
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
err_read:
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
