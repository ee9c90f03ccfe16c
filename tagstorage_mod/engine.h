/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Private to the engine: its types, and who calls whom.
 *
 *	main.c     -> everything
 *	registry.c -> lend.c
 *	replace.c  -> place.c -> pack.c -> claim.c
 *	repack.c   -> pack.c; block.c kicks it
 *	lend.c -> hotplug.c
 *	lend.c, claim.c -> kept.c -> policy.c, which calls the policies, and upwards
 *		only tagstorage_registry_kick(), through an interrupt and a work item
 *	lend.c, claim.c -> block.c -> region.c -> devicetree.c -> geometry.h
 */
#ifndef TAGSTORAGE_ENGINE_H
#define TAGSTORAGE_ENGINE_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/numa.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
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
 *	 |    v                         | claimed; comes with a count
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
 * enum tagstorage_fault - what a policy did that it must not
 * @TAGSTORAGE_FAULT_NONE: Nothing that could be seen.
 * @TAGSTORAGE_FAULT_SUITS: suits() returned neither NULL nor a text.
 * @TAGSTORAGE_FAULT_ATTACH: attach() returned neither 0 nor an error number.
 * @TAGSTORAGE_FAULT_ABSENT: attach() succeeded, and the storage is no memory.
 * @TAGSTORAGE_FAULT_NOT_GIVEN: After give(), the page was not where it belongs.
 * @TAGSTORAGE_FAULT_OTHER: A page of tag storage was freed that was not lent.
 * @TAGSTORAGE_FAULT_CONTEXT: It left interrupts or preemption in another state.
 * @TAGSTORAGE_FAULT_SLEPT: hand_out() slept.
 * @TAGSTORAGE_FAULT_STAYED: Its module went, and it was registered still.
 * @TAGSTORAGE_NR_FAULTS: how many there are
 */
enum tagstorage_fault {
	TAGSTORAGE_FAULT_NONE,
	TAGSTORAGE_FAULT_SUITS,
	TAGSTORAGE_FAULT_ATTACH,
	TAGSTORAGE_FAULT_ABSENT,
	TAGSTORAGE_FAULT_NOT_GIVEN,
	TAGSTORAGE_FAULT_OTHER,
	TAGSTORAGE_FAULT_CONTEXT,
	TAGSTORAGE_FAULT_SLEPT,
	TAGSTORAGE_FAULT_STAYED,
	TAGSTORAGE_NR_FAULTS
};

/**
 * struct tagstorage_fault_text - how a fault is called
 * @name: in last_change
 * @text: in the log, after "because"
 */
struct tagstorage_fault_text {
	const char *name;
	const char *text;
};

extern const struct tagstorage_fault_text tagstorage_faults[TAGSTORAGE_NR_FAULTS];

/**
 * enum tagstorage_reason - why another policy became the active one
 * @TAGSTORAGE_BY_ENGINE: The engine was loaded, or the machine goes down.
 * @TAGSTORAGE_BY_USER: Somebody wrote its name to the file `policy`.
 * @TAGSTORAGE_BY_LOAD: Its module was loaded, and `carveout` was active.
 * @TAGSTORAGE_BY_UNLOAD: The module of the one before is being removed.
 * @TAGSTORAGE_BY_START: The one before could not attach any region, or lending could
 *	not begin.
 * @TAGSTORAGE_BY_FAULT: The one before did what it must not.
 * @TAGSTORAGE_NR_REASONS: how many there are
 */
enum tagstorage_reason {
	TAGSTORAGE_BY_ENGINE,
	TAGSTORAGE_BY_USER,
	TAGSTORAGE_BY_LOAD,
	TAGSTORAGE_BY_UNLOAD,
	TAGSTORAGE_BY_START,
	TAGSTORAGE_BY_FAULT,
	TAGSTORAGE_NR_REASONS
};

/* Of "REASON" or "REASON:FAULT". */
#define TAGSTORAGE_REASON_MAX	32

/**
 * struct tagstorage_choice - a policy as the engine knows it
 * @ops: a copy of what was registered
 * @policy: what was registered; for comparison only
 * @fault: an enum tagstorage_fault; once it is set, it stays. Set by cmpxchg
 * @reported: the log says what the fault is; guarded by tagstorage_lend_mutex
 * @first: its hand_out() is asked while memory is plenty, too; guarded as @reported
 * @list: of all policies; changed under tagstorage_lend_mutex, read under RCU, too
 * @rcu: frees it after readers of the list
 */
struct tagstorage_choice {
	struct tagstorage_policy ops;
	const struct tagstorage_policy *policy;
	atomic_t fault;
	bool reported;
	bool first;
	struct list_head list;
	struct rcu_head rcu;
};

/**
 * struct tagstorage_stats - what one CPU counted in one region
 * @claims_free: blocks claimed of which every page was free
 * @claims_migrated: blocks claimed of which a page had to be moved
 * @claims_failed: claims that gave up
 * @migrated: pages moved out of tag storage
 * @gathered: tagged pages that the worker moved, so that a block runs empty
 * @cleared: untagged pages that it moved, to make room for them
 * @data_lines: data cache lines maintained, before a block holds tags
 * @tag_lines: tag cache lines maintained, before a block holds data
 */
struct tagstorage_stats {
	long claims_free;
	long claims_migrated;
	long claims_failed;
	long migrated;
	long gathered;
	long cleared;
	long data_lines;
	long tag_lines;
};

/**
 * struct tagstorage_stash - free pages, prepared, for one CPU's next tagged requests
 * @word: a chunk, and a bit for each of its pages that is here; see pack.c
 * @seen: @word when the worker looked last; the worker's own
 */
struct tagstorage_stash {
	u64 word;
	u64 seen;
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
 * @idle: one bit a block: it became idle, and was not looked at to be lent
 * @waited: one bit a block: it was idle when the worker of lend.c last looked
 * @held: one bit a block: claiming it failed since @held_since
 * @held_since: jiffies; soon after, @held counts no more
 * @place: the block where place.c looks next
 * @stash: free pages, prepared, for the next tagged requests of each CPU; see pack.c
 * @holes: one bit a block: a hint that it is reserved and covers free pages
 * @hole_next: the block where pack.c looks next for such a block
 * @span_next: and for one that covers many free pages
 * @dense: one bit a block: the worker fills it; the worker's own
 * @stuck: one bit a block: the worker could not fill it lately; the worker's own
 * @sparse: how full a block may be that the worker empties; the worker's own
 * @seen: how many pages were prepared when it last looked; the worker's own
 * @quiet: that had hardly changed then; the worker's own
 * @fewer: it had become less; the worker's own
 * @kept: one bit a storage page: it is free, of a lent block, and not on the free lists;
 *	see kept.c
 * @kept_next: where @kept is searched from
 * @nr_kept: how many bits are set, or are about to be
 * @keeping: pages that are freed are kept
 * @keeper: the policy that says when they are handed out; NULL: never
 * @attached: the active policy serves the region; guarded by tagstorage_lend_mutex
 * @era: counts up when a policy is attached and when it goes: a claim that outlives its
 *	policy lends nothing; guarded by tagstorage_lend_mutex
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
	unsigned long *waited;
	unsigned long *held;
	unsigned long held_since;
	u64 place;
	struct tagstorage_stash __percpu *stash;
	unsigned long *holes;
	u64 hole_next;
	u64 span_next;
	unsigned long *dense;
	unsigned long *stuck;
	unsigned int sparse;
	unsigned long seen;
	bool quiet;
	bool fewer;
	unsigned long *kept;
	unsigned long kept_next;
	atomic_long_t nr_kept;
	bool keeping;
	struct tagstorage_choice *keeper;
	bool attached;
	u32 era;
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
		sum += READ_ONCE(per_cpu_ptr((region)->stats, cpu)->field); \
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

/**
 * struct tagstorage_map - from a page to its region, without a search
 * @first: number of the first granule
 * @nr: how many there are
 * @lowest: for each granule, the lowest region that reaches into it. Unless two
 *	regions meet inside a granule, that is the only candidate
 */
struct tagstorage_map {
	u64 first;
	u64 nr;
	u8 *lowest;
};

extern struct tagstorage_map tagstorage_data_map, tagstorage_storage_map;

#define TAGSTORAGE_MAP_SHIFT	(27 - PAGE_SHIFT)

static inline u64 tagstorage_map_pfn(const struct tagstorage_region *region,
				     bool data)
{
	return data ? region->geo.data_pfn : region->geo.storage_pfn;
}

static inline u64 tagstorage_map_pages(const struct tagstorage_region *region,
				       bool data)
{
	return data ? tagstorage_data_pages(&region->geo) :
		      tagstorage_storage_pages(&region->geo);
}

static __always_inline struct tagstorage_region *
tagstorage_map_lookup(const struct tagstorage_map *map, u64 pfn, bool data)
{
	u64 granule = (pfn >> TAGSTORAGE_MAP_SHIFT) - map->first;
	unsigned int i;

	if (granule >= map->nr)
		return NULL;
	for (i = map->lowest[granule]; i < tagstorage_nr_regions; i++) {
		struct tagstorage_region *region = tagstorage_regions[i];

		if (pfn - tagstorage_map_pfn(region, data) <
		    tagstorage_map_pages(region, data))
			return region;
	}
	return NULL;
}

/* The region that covers this data page, or NULL. Context: any. */
static inline struct tagstorage_region *tagstorage_region_of_data(u64 pfn)
{
	return tagstorage_map_lookup(&tagstorage_data_map, pfn, true);
}

/* The region that this page of tag storage belongs to, or NULL. Context: any. */
static inline struct tagstorage_region *tagstorage_region_of_storage(u64 pfn)
{
	return tagstorage_map_lookup(&tagstorage_storage_map, pfn, false);
}

bool tagstorage_pages_get(struct tagstorage_region *region);
void tagstorage_pages_put(void);
void tagstorage_pages_set(struct tagstorage_region *region, bool present);

/* block.c */
enum tagstorage_state tagstorage_block_state(const struct tagstorage_region *r,
					     u64 block);
bool tagstorage_block_change(struct tagstorage_region *region, u64 block,
			     enum tagstorage_state from,
			     enum tagstorage_state to);
int tagstorage_block_get(struct tagstorage_region *region, u64 block,
			 unsigned int nr);
void tagstorage_block_put(struct tagstorage_region *region, u64 block,
			  unsigned int nr);

/* The word of a block: its state, and below that the count; see block.c. */
#define TAGSTORAGE_COUNT_BITS	12
#define TAGSTORAGE_COUNT_MASK	((1u << TAGSTORAGE_COUNT_BITS) - 1)

static inline unsigned int
tagstorage_block_count(const struct tagstorage_region *region, u64 block)
{
	return READ_ONCE(region->blocks[block]) & TAGSTORAGE_COUNT_MASK;
}

/* Does a region cover this page, and is it prepared? False: look closer. */
static __always_inline bool tagstorage_page_is_prepared(u64 pfn)
{
	struct tagstorage_region *region = tagstorage_region_of_data(pfn);

	return region && test_bit(pfn - region->geo.data_pfn, region->prepared);
}

/*
 * Prepare a page whose block is reserved already, unless it is prepared itself: the
 * common case, in as few instructions as possible. The page is the caller's. False: it is
 * no such page, or somebody else was faster; look closer.
 */
static __always_inline bool tagstorage_prepare_page(u64 pfn)
{
	u64 granule = (pfn >> TAGSTORAGE_MAP_SHIFT) - tagstorage_data_map.first;
	struct tagstorage_region *region;
	u64 bit, block;
	u16 old;

	if (unlikely(granule >= tagstorage_data_map.nr ||
		     tagstorage_data_map.lowest[granule] >= TAGSTORAGE_MAX_REGIONS))
		return false;
	region = tagstorage_regions[tagstorage_data_map.lowest[granule]];
	bit = pfn - region->geo.data_pfn;
	if (unlikely(bit >= tagstorage_data_pages(&region->geo)))
		return false;
	if (unlikely(test_bit(bit, region->prepared)))
		return true;
	block = tagstorage_block_of_data(&region->geo, pfn);
	old = READ_ONCE(region->blocks[block]);
	if (old >> TAGSTORAGE_COUNT_BITS != TAGSTORAGE_RESERVED ||
	    (old & TAGSTORAGE_COUNT_MASK) == TAGSTORAGE_COUNT_MASK)
		return false;
	if (cmpxchg(&region->blocks[block], old, old + 1) != old)
		return false;
	if (unlikely(test_and_set_bit(bit, region->prepared)))
		tagstorage_block_put(region, block, 1);
	return true;
}

/*
 * A chunk is as many pages of data as share the tag storage of one page: they share
 * a block, and fit in a word.
 */
#define TAGSTORAGE_CHUNK	TAGSTORAGE_RATIO

static inline u64 tagstorage_chunk_pfn(const struct tagstorage_region *region,
				       u64 chunk)
{
	return region->geo.data_pfn + chunk * TAGSTORAGE_CHUNK;
}

static inline u64 tagstorage_chunk_block(const struct tagstorage_region *region,
					 u64 chunk)
{
	return chunk / region->geo.block_pages;
}

void tagstorage_repack_kick(void);

/*
 * As find_next_bit(), of a map in which others set and clear bits meanwhile: each word
 * is read once.
 */
static inline unsigned long tagstorage_next_bit(const unsigned long *map,
						unsigned long nr,
						unsigned long bit)
{
	unsigned long first = bit - bit % BITS_PER_LONG;
	unsigned long mask = BITMAP_FIRST_WORD_MASK(bit), word;

	for (; first < nr; first += BITS_PER_LONG, mask = ~0UL) {
		word = READ_ONCE(map[BIT_WORD(first)]) & mask;
		if (word)
			return min(first + __ffs(word), nr);
	}
	return nr;
}

/* The zone of a page that may be anybody's. */
static inline struct zone *tagstorage_zone(const struct page *page)
{
	/* Its owner changes other bits of the same word. */
	return data_race(page_zone(page));
}

/* A hint for pack.c: a reserved block covers a page that is free. Context: any. */
static inline void tagstorage_hole(struct tagstorage_region *region, u64 block)
{
	if (!test_bit(block, region->holes)) {
		set_bit(block, region->holes);
		tagstorage_repack_kick();
	}
}

unsigned long tagstorage_tagged(const struct tagstorage_region *region);
int tagstorage_prepare_chunk(struct tagstorage_region *region, u64 chunk,
			     u32 pages);
int tagstorage_prepare_run(struct tagstorage_region *region, u64 pfn,
			   unsigned int nr);
void tagstorage_prepare_claimed(struct tagstorage_region *region, u64 pfn,
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
unsigned int tagstorage_evict_folios(struct list_head *folios, gfp_t gfp);
void tagstorage_count_isolated(struct folio *folio);
bool tagstorage_isolate_user(struct page *page, struct list_head *folios);
void tagstorage_page_dress(struct page *page, gfp_t gfp);
void tagstorage_page_free(struct page *page);

/* policy.c */
void tagstorage_policy_sync(void);
void tagstorage_fault_set(struct tagstorage_choice *policy,
			  enum tagstorage_fault fault);
enum tagstorage_fault
tagstorage_fault_of(const struct tagstorage_choice *policy);
const char *tagstorage_call_suits(struct tagstorage_choice *policy,
				  struct tagstorage_region *region);
int tagstorage_call_attach(struct tagstorage_choice *policy,
			   struct tagstorage_region *region);
void tagstorage_call_detach(struct tagstorage_choice *policy,
			    struct tagstorage_region *region);
bool tagstorage_call_may_lend(struct tagstorage_choice *policy,
			      struct tagstorage_region *region, u64 block);
void tagstorage_call_give(struct tagstorage_choice *policy,
			  struct tagstorage_region *region, struct page *page);
bool tagstorage_call_hand_out(struct tagstorage_choice *policy,
			      struct tagstorage_region *region,
			      struct zone *zone);
void tagstorage_give_seen(struct page *page);
void tagstorage_stray(struct tagstorage_region *region, struct page *page,
		      unsigned int nr);
bool tagstorage_is_stray(const struct page *page);
bool tagstorage_strays_found(void);

/* kept.c */
bool tagstorage_kept_add(struct tagstorage_region *region, struct page *page);
unsigned int tagstorage_kept_take(struct tagstorage_region *region,
				  struct page *page, unsigned int nr);
struct page *tagstorage_hand_out(struct zone *zone);
void tagstorage_kept_begin(struct tagstorage_region *region,
			   struct tagstorage_choice *policy);
void tagstorage_kept_stop(struct tagstorage_region *region);
void tagstorage_kept_end(struct tagstorage_region *region);
void tagstorage_kept_first(const struct tagstorage_choice *policy);

/* pack.c */
bool tagstorage_packs(void);
struct page *tagstorage_packed(struct zone *zone);
struct page *tagstorage_pack(struct zone *zone, gfp_t gfp);
void tagstorage_stash(struct tagstorage_region *region, u64 chunk, u32 pages);
unsigned long tagstorage_stashed(const struct tagstorage_region *region);
bool tagstorage_stash_drain(struct tagstorage_region *region, bool all);
bool tagstorage_has_room(struct zone *zone, unsigned long nr);
u32 tagstorage_take_chunk(struct tagstorage_region *region, struct zone *zone,
			  u64 chunk);
unsigned int tagstorage_span_free(const struct tagstorage_region *region,
				  struct zone *zone, u64 block);
void tagstorage_pages_free(struct tagstorage_region *region, u64 chunk,
			   u32 pages);

/* repack.c */
int tagstorage_repack_init(void);
void tagstorage_repack_stop(void);
void tagstorage_repack_exit(void);

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
void tagstorage_drain_kick(void);
bool tagstorage_lend_suits(struct tagstorage_choice *policy);
int tagstorage_lend_start(struct tagstorage_choice *policy);
void tagstorage_lend_stop(struct tagstorage_choice *policy);
void tagstorage_lend_drain(void);
void tagstorage_lend_exit(void);
const char *tagstorage_lend_state(void);
ssize_t tagstorage_holders_show(char *buf);
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
int tagstorage_registry_init(void);
void tagstorage_registry_exit(void);
void tagstorage_registry_kick(void);
int tagstorage_policy_select(const char *name, enum tagstorage_reason reason);
ssize_t tagstorage_policy_show(char *buf);
ssize_t tagstorage_last_change_show(char *buf);
struct tagstorage_choice *tagstorage_policy_active(void);

/* cache.c */
void tagstorage_cache_init(void);
void tagstorage_clean_data_lines(struct tagstorage_region *region, u64 block,
				 unsigned int nr);
int tagstorage_clean_tag_lines(struct tagstorage_region *region, u64 block);
void tagstorage_clean_stray(struct tagstorage_region *region,
			    struct page *page);

/* sysfs.c, audit.c */
int tagstorage_sysfs_init(void);
void tagstorage_sysfs_exit(void);
void tagstorage_audit_init(void);
void tagstorage_audit_exit(void);

#endif /* TAGSTORAGE_ENGINE_H */
