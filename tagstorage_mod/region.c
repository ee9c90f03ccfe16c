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
#include <linux/rwsem.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "engine.h"

struct tagstorage_region *tagstorage_regions[TAGSTORAGE_MAX_REGIONS];
unsigned int tagstorage_nr_regions;

/*
 * Guards region->present: held for reading by who looks at struct pages of storage
 * that is not out, for those may be removed. Taken within tagstorage_lend_mutex,
 * never around it. Pages of a block that is out stay, and need no lock.
 */
static DECLARE_RWSEM(pages_sem);

struct tagstorage_map tagstorage_data_map, tagstorage_storage_map;

static int map_init(struct tagstorage_map *map, bool data)
{
	struct tagstorage_region *region;
	u64 last = 0, granule;
	unsigned int i;

	map->first = U64_MAX;
	tagstorage_for_each_region(region, i) {
		u64 pfn = tagstorage_map_pfn(region, data);
		u64 end = pfn + tagstorage_map_pages(region, data);

		map->first = min(map->first, pfn >> TAGSTORAGE_MAP_SHIFT);
		last = max(last, (end - 1) >> TAGSTORAGE_MAP_SHIFT);
	}
	map->nr = last - map->first + 1;
	map->lowest = kvmalloc(map->nr, GFP_KERNEL);
	if (!map->lowest)
		return -ENOMEM;
	memset(map->lowest, U8_MAX, map->nr);

	tagstorage_for_each_region(region, i) {
		u64 pfn = tagstorage_map_pfn(region, data);
		u64 end = pfn + tagstorage_map_pages(region, data);

		for (granule = pfn >> TAGSTORAGE_MAP_SHIFT;
		     granule << TAGSTORAGE_MAP_SHIFT < end; granule++)
			map->lowest[granule - map->first] =
				min_t(u8, i, map->lowest[granule - map->first]);
	}
	return 0;
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

static void region_free(struct tagstorage_region *region)
{
	kvfree(region->blocks);
	kvfree(region->prepared);
	kvfree(region->idle);
	kvfree(region->waited);
	kvfree(region->held);
	kvfree(region->kept);
	kvfree(region->holes);
	kvfree(region->dense);
	kvfree(region->stuck);
	free_percpu(region->stash);
	free_percpu(region->stats);
	kfree(region->name);
	kfree(region);
}

static struct tagstorage_region *
region_alloc(const struct tagstorage_found *found)
{
	struct tagstorage_region *region = kzalloc(sizeof(*region), GFP_KERNEL);
	const struct tagstorage_geometry *geo = &found->geo;

	if (!region)
		return NULL;
	region->geo = *geo;
	region->in_ram = found->in_ram;
	region->present = found->in_ram;
	if (found->in_ram)
		region->zone = page_zone(pfn_to_page(geo->storage_pfn));
	region->nid = found->nid;
	region->index = tagstorage_nr_regions;
	region->name = kstrdup(found->name, GFP_KERNEL);
	region->blocks = kvcalloc(geo->nr_blocks, sizeof(u16), GFP_KERNEL);
	region->prepared = kvcalloc(BITS_TO_LONGS(tagstorage_data_pages(geo)),
				    sizeof(long), GFP_KERNEL);
	region->idle = kvcalloc(BITS_TO_LONGS(geo->nr_blocks), sizeof(long),
				GFP_KERNEL);
	region->waited = kvcalloc(BITS_TO_LONGS(geo->nr_blocks), sizeof(long),
				  GFP_KERNEL);
	region->held = kvcalloc(BITS_TO_LONGS(geo->nr_blocks), sizeof(long),
				GFP_KERNEL);
	region->kept = kvcalloc(BITS_TO_LONGS(tagstorage_storage_pages(geo)),
				sizeof(long), GFP_KERNEL);
	region->holes = kvcalloc(BITS_TO_LONGS(geo->nr_blocks), sizeof(long),
				 GFP_KERNEL);
	region->dense = kvcalloc(BITS_TO_LONGS(geo->nr_blocks), sizeof(long),
				 GFP_KERNEL);
	region->stuck = kvcalloc(BITS_TO_LONGS(geo->nr_blocks), sizeof(long),
				 GFP_KERNEL);
	region->stash = alloc_percpu(struct tagstorage_stash);
	region->stats = alloc_percpu(struct tagstorage_stats);
	if (region->name && region->blocks && region->prepared &&
	    region->idle && region->waited && region->held && region->kept &&
	    region->holes && region->dense && region->stuck &&
	    region->stash && region->stats)
		return region;
	region_free(region);
	return NULL;
}

static int region_add(const struct tagstorage_found *found)
{
	struct tagstorage_region *region = region_alloc(found);
	const struct tagstorage_geometry *geo = &found->geo;

	if (!region)
		return -ENOMEM;
	tagstorage_regions[tagstorage_nr_regions++] = region;
	pr_info("region %u, %s: %llu KiB of tag storage for %llu MiB, %llu blocks of %u pages%s\n",
		region->index, region->name,
		tagstorage_storage_pages(geo) << (PAGE_SHIFT - 10),
		tagstorage_data_pages(geo) >> (20 - PAGE_SHIFT),
		geo->nr_blocks, geo->block_pages,
		region->in_ram ? "" : ", outside System RAM");
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
	ret = map_init(&tagstorage_data_map, true);
	if (ret)
		goto err_data_map;
	ret = map_init(&tagstorage_storage_map, false);
	if (ret)
		goto err_storage_map;
	return 0;

err_storage_map:
	kvfree(tagstorage_data_map.lowest);
err_data_map:
err_read:
	while (tagstorage_nr_regions)
		region_free(tagstorage_regions[--tagstorage_nr_regions]);
	return ret;
}

/* Nothing may use the regions any more. */
void tagstorage_regions_free(void)
{
	kvfree(tagstorage_storage_map.lowest);
	kvfree(tagstorage_data_map.lowest);
	while (tagstorage_nr_regions)
		region_free(tagstorage_regions[--tagstorage_nr_regions]);
}
