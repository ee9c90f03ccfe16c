/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Private to the engine: its types, and who calls whom.
 *
 *	main.c     -> everything
 *	registry.c -> lend.c
 *	replace.c  -> place.c -> claim.c
 *	lend.c -> hotplug.c
 *	lend.c, claim.c -> kept.c, block.c -> region.c -> devicetree.c -> geometry.h
 */
#ifndef TAGSTORAGE_ENGINE_H
#define TAGSTORAGE_ENGINE_H

#include <linux/atomic.h>
#include <linux/mutex.h>
#include <linux/numa.h>
#include <linux/percpu.h>
#include <linux/tag_storage.h>
#include <linux/types.h>
#include <linux/wait_bit.h>

#include "tagstorage.h"

struct folio;
struct tagstorage_dir;
struct vm_fault;

#define TAGSTORAGE_MAX_REGIONS	32

/**
 * enum tagstorage_state - what a block of tag storage is doing
 * @TAGSTORAGE_IDLE: Holds no tags and is not lent; looks as at boot.
 * @TAGSTORAGE_RESERVED: Holds the tags of at least one prepared page.
 * @TAGSTORAGE_LENDING: The worker is handing its pages to the page allocator.
 * @TAGSTORAGE_LENT: Its pages are ordinary memory.
 * @TAGSTORAGE_CLAIMING: One task takes it back because it must hold tags.
 * @TAGSTORAGE_DRAINING: It was lent, and comes back page by page.
 * @TAGSTORAGE_NR_STATES: how many there are
 *
 *	             get (first page)
 *	 +-> IDLE ------------------> RESERVED <--+ get, put
 *	 |    | <---------------------  ^  |      |
 *	 |    |     put (last page)     |  +------+
 *	 |    | lend                    |
 *	 |    v                         | claimed; comes with a pin
 *	 |  LENDING                     |
 *	 |    | all pages given         |
 *	 |    v         claim           |
 *	 |   LENT --------------------> |
 *	 |    | <----------------- CLAIMING --------> (drained) IDLE
 *	 |    |         failed       ^  |
 *	 |    | drain                |  |
 *	 |    v      claim, drain    |  |
 *	 |  DRAINING ----------------+  |
 *	 |       <----------------------+
 *	 |              failed
 *	 +-- (LENDING falls back to IDLE where the tag lines can't be cleaned)
 *
 * In IDLE and RESERVED every page of the block is PageReserved, has one reference
 * and is not managed, as at boot; or, of a region outside System RAM, there is no
 * page at all. In CLAIMING and DRAINING, pages that are freed are
 * captured, which PageReserved says of a page of such a block. CLAIMING has one
 * owner: a task that needs the block, or the one that drains it.
 *
 * Who: get and put from any context; claim by whoever needs the block; the rest
 * under tagstorage_lend_mutex.
 */
enum tagstorage_state {
	TAGSTORAGE_IDLE,
	TAGSTORAGE_RESERVED,
	TAGSTORAGE_LENDING,
	TAGSTORAGE_LENT,
	TAGSTORAGE_CLAIMING,
	TAGSTORAGE_DRAINING,
	TAGSTORAGE_NR_STATES
};

extern const char *const tagstorage_state_names[TAGSTORAGE_NR_STATES];

/**
 * struct tagstorage_stats - what one CPU counted in one region
 * @tagged: prepared pages; may be negative on one CPU, the sum is not
 * @claims_free: blocks claimed of which every page was free
 * @claims_migrated: blocks claimed of which a page had to be moved
 * @claims_failed: claims that gave up
 * @migrated: pages moved out of tag storage
 * @data_lines: data cache lines maintained, before a block holds tags
 * @tag_lines: tag cache lines maintained, before a block holds data
 */
struct tagstorage_stats {
	long tagged;
	long claims_free;
	long claims_migrated;
	long claims_failed;
	long migrated;
	long data_lines;
	long tag_lines;
};

/**
 * struct tagstorage_region - one run of tag storage and the data it covers
 * @geo: where it is; constant
 * @in_ram: its storage is System RAM, reserved at boot; constant
 * @nid: the NUMA node that the device tree names for the storage; constant
 * @zone: the zone of all its storage pages; of those that are hot-added, it changes
 *	while no block is out, followed by a grace period
 * @index: its number, as in sysfs and in events; constant
 * @name: the name of its device-tree node; constant
 * @blocks: one word a block, see block.c; changed by cmpxchg only
 * @prepared: one bit a covered page: it owns one count of its block
 * @idle: one bit a block: it became idle since the worker last looked
 * @held: one bit a block: claiming it failed since @held_since
 * @held_since: jiffies; soon after, @held counts no more
 * @place: the block where place.c looks next
 * @kept_lock: nests in zone->lock; guards @kept, @kept_pages and @nr_kept
 * @kept: one bit a storage page: it is on @kept_pages
 * @kept_pages: free pages of lent blocks that are not on the free lists, see kept.c
 * @nr_kept: how many; read without the lock as a hint
 * @keeping: pages that are freed are kept
 * @hand_out: the policy's; NULL: nothing is handed out
 * @attached: the active policy serves the region; guarded by tagstorage_lend_mutex
 * @added: pages of its storage, from the first one, that are memory that hotplug.c
 *	added; guarded by tagstorage_lend_mutex
 * @adding: hotplug.c adds them just now; others can't online what is storage
 * @present: its storage has struct pages; see tagstorage_pages_get()
 * @reserved: blocks in state RESERVED
 * @reserved_max: the most there were at a time
 * @out: blocks that are not IDLE, RESERVED or LENDING
 * @out_max: the most there were at a time
 * @stats: see there
 * @dir: its directory in sysfs
 */
struct tagstorage_region {
	struct tagstorage_geometry geo;
	bool in_ram;
	int nid;
	struct zone *zone;
	unsigned int index;
	const char *name;
	u16 *blocks;
	unsigned long *prepared;
	unsigned long *idle;
	unsigned long *held;
	unsigned long held_since;
	u64 place;
	spinlock_t kept_lock;	/* kept, kept_pages, nr_kept */
	unsigned long *kept;
	struct list_head kept_pages;
	unsigned long nr_kept;
	bool keeping;
	bool (*hand_out)(struct tagstorage_region *region, struct zone *zone);
	bool attached;
	u64 added;
	bool adding;
	bool present;
	atomic_long_t reserved;
	atomic_long_t reserved_max;
	atomic_long_t out;
	atomic_long_t out_max;
	struct tagstorage_stats __percpu *stats;
	struct tagstorage_dir *dir;
};

#define tagstorage_count(region, field, n)	\
	this_cpu_add((region)->stats->field, n)

/* Sum of a counter over all CPUs; approximate while it changes. */
#define tagstorage_sum(region, field) ({				\
	long sum = 0;							\
	int cpu;							\
									\
	for_each_possible_cpu(cpu)					\
		sum += per_cpu_ptr((region)->stats, cpu)->field;	\
	sum;								\
})

/* devicetree.c */
/**
 * struct tagstorage_found - a region that the device tree describes well
 * @name: of its node
 * @geo: where it is
 * @nid: the NUMA node that it names for the storage, or NUMA_NO_NODE
 * @in_ram: its storage is System RAM, reserved at boot; else none of it is
 */
struct tagstorage_found {
	const char *name;
	struct tagstorage_geometry geo;
	int nid;
	bool in_ram;
};

typedef int tagstorage_region_fn(const struct tagstorage_found *found);
int tagstorage_devicetree_read(tagstorage_region_fn *add);

/* region.c */
extern struct tagstorage_region *tagstorage_regions[TAGSTORAGE_MAX_REGIONS];
extern unsigned int tagstorage_nr_regions;

#define tagstorage_for_each_region(region, i)				\
	for ((i) = 0; (i) < tagstorage_nr_regions &&			\
	     ((region) = tagstorage_regions[i]); (i)++)

int tagstorage_regions_probe(void);
void tagstorage_regions_free(void);
struct tagstorage_region *tagstorage_region_of_data(u64 pfn);
struct tagstorage_region *tagstorage_region_of_storage(u64 pfn);
bool tagstorage_pages_get(struct tagstorage_region *region);
void tagstorage_pages_put(void);
void tagstorage_pages_set(struct tagstorage_region *region, bool present);

/* block.c */
enum tagstorage_state tagstorage_block_state(const struct tagstorage_region *r,
					     u64 block);
unsigned int tagstorage_block_count(const struct tagstorage_region *region,
				    u64 block);
bool tagstorage_block_change(struct tagstorage_region *region, u64 block,
			     enum tagstorage_state from,
			     enum tagstorage_state to);
int tagstorage_block_get(struct tagstorage_region *region, u64 block,
			 unsigned int nr);
void tagstorage_block_put(struct tagstorage_region *region, u64 block,
			  unsigned int nr);
int tagstorage_prepare_run(struct tagstorage_region *region, u64 pfn,
			   unsigned int nr);
bool tagstorage_is_prepared(struct page *page, unsigned int nr);
void tagstorage_freed(struct page *page, unsigned int nr);

/* claim.c */
int tagstorage_reserve(struct page *page, unsigned int nr);
int tagstorage_claim(struct page *page, unsigned int nr, gfp_t gfp);
bool tagstorage_capture(struct page *page, unsigned int nr);
bool tagstorage_is_storage(struct page *page, unsigned int nr);
bool tagstorage_is_held(const struct tagstorage_region *region, u64 block);
unsigned int tagstorage_take_free(struct tagstorage_region *region, u64 block);
bool tagstorage_block_is_poisoned(const struct tagstorage_region *region,
				  u64 block);
unsigned int tagstorage_isolate_users(struct tagstorage_region *region,
				      u64 block, struct list_head *folios);
void tagstorage_claim_end(struct tagstorage_region *region, u64 block,
			  enum tagstorage_state to);
unsigned int tagstorage_evict_folios(struct list_head *folios, gfp_t gfp,
				     bool wait);

/* kept.c */
bool tagstorage_kept_add(struct tagstorage_region *region, struct page *page);
bool tagstorage_kept_take(struct tagstorage_region *region, struct page *page);
struct page *tagstorage_hand_out(struct zone *zone);
void tagstorage_kept_begin(struct tagstorage_region *region,
			   const struct tagstorage_policy *policy);
void tagstorage_kept_stop(struct tagstorage_region *region);
void tagstorage_kept_end(struct tagstorage_region *region);

/* place.c */
struct page *tagstorage_place(int nid, gfp_t gfp);

/* replace.c */
extern atomic_long_t tagstorage_nr_replaced;
extern atomic_long_t tagstorage_nr_waited;
vm_fault_t tagstorage_replace(struct vm_fault *vmf, struct folio *folio);
vm_fault_t tagstorage_wait(struct vm_fault *vmf);

/* lend.c */
extern struct mutex tagstorage_lend_mutex;
void tagstorage_lend_kick(void);
bool tagstorage_lend_suits(const struct tagstorage_policy *policy);
int tagstorage_lend_start(const struct tagstorage_policy *policy);
void tagstorage_lend_stop(const struct tagstorage_policy *policy);
void tagstorage_lend_exit(void);
const char *tagstorage_lend_state(void);
bool tagstorage_lend_bar(bool bar);

/* hotplug.c */
#ifdef CONFIG_MEMORY_HOTREMOVE
bool tagstorage_hotplug_remove(struct tagstorage_region *region);
#else
static inline bool tagstorage_hotplug_remove(struct tagstorage_region *region)
{
	return true;
}
#endif

/* registry.c */
int tagstorage_policy_select(const char *name);
ssize_t tagstorage_policy_show(char *buf);
const struct tagstorage_policy *tagstorage_policy_active(void);

/* cache.c */
void tagstorage_clean_data_lines(struct tagstorage_region *region, u64 block);
int tagstorage_clean_tag_lines(struct tagstorage_region *region, u64 block);

/* sysfs.c, audit.c */
int tagstorage_sysfs_init(void);
void tagstorage_sysfs_exit(void);
void tagstorage_audit_init(void);
void tagstorage_audit_exit(void);

#endif /* TAGSTORAGE_ENGINE_H */
