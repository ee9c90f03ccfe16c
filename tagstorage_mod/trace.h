/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The engine's events. They live here and not in a policy, because whoever is
 * attached to an event pins the module that defines it.
 *
 * `region` and `block` are numbers as in /sys/kernel/mm/tagstorage/region<N>.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM tagstorage

#if !defined(TAGSTORAGE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define TAGSTORAGE_TRACE_H

#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(tagstorage_block,

	TP_PROTO(unsigned int region, u64 block),

	TP_ARGS(region, block),

	TP_STRUCT__entry(
		__field(unsigned int, region)
		__field(u64, block)
	),

	TP_fast_assign(
		__entry->region = region;
		__entry->block = block;
	),

	TP_printk("region=%u block=%llu", __entry->region, __entry->block)
);

/* The block starts to hold tags. */
DEFINE_EVENT(tagstorage_block, tagstorage_reserve,
	TP_PROTO(unsigned int region, u64 block),
	TP_ARGS(region, block)
);

/* The block holds no tags any more. */
DEFINE_EVENT(tagstorage_block, tagstorage_release,
	TP_PROTO(unsigned int region, u64 block),
	TP_ARGS(region, block)
);

/* The pages of the block are usable as ordinary memory from now on. */
DEFINE_EVENT(tagstorage_block, tagstorage_lend,
	TP_PROTO(unsigned int region, u64 block),
	TP_ARGS(region, block)
);

/* A lent block is being taken back because it must hold tags. */
DEFINE_EVENT(tagstorage_block, tagstorage_claim_start,
	TP_PROTO(unsigned int region, u64 block),
	TP_ARGS(region, block)
);

/* The same task's claim is over: 0 or a negative errno; pages moved out of it. */
TRACE_EVENT(tagstorage_claim_finish,

	TP_PROTO(unsigned int region, u64 block, int err, unsigned int migrated),

	TP_ARGS(region, block, err, migrated),

	TP_STRUCT__entry(
		__field(unsigned int, region)
		__field(u64, block)
		__field(int, err)
		__field(unsigned int, migrated)
	),

	TP_fast_assign(
		__entry->region = region;
		__entry->block = block;
		__entry->err = err;
		__entry->migrated = migrated;
	),

	TP_printk("region=%u block=%llu err=%d migrated=%u", __entry->region,
		  __entry->block, __entry->err, __entry->migrated)
);

/* A region was drained: blocks that came back, blocks that are still out. */
TRACE_EVENT(tagstorage_drain,

	TP_PROTO(unsigned int region, u64 back, u64 left),

	TP_ARGS(region, back, left),

	TP_STRUCT__entry(
		__field(unsigned int, region)
		__field(u64, back)
		__field(u64, left)
	),

	TP_fast_assign(
		__entry->region = region;
		__entry->back = back;
		__entry->left = left;
	),

	TP_printk("region=%u back=%llu left=%llu", __entry->region,
		  __entry->back, __entry->left)
);

/* The worker was at work: tagged pages moved together, untagged ones moved away. */
TRACE_EVENT(tagstorage_repack,

	TP_PROTO(unsigned int region, unsigned long gathered,
		 unsigned long cleared),

	TP_ARGS(region, gathered, cleared),

	TP_STRUCT__entry(
		__field(unsigned int, region)
		__field(unsigned long, gathered)
		__field(unsigned long, cleared)
	),

	TP_fast_assign(
		__entry->region = region;
		__entry->gathered = gathered;
		__entry->cleared = cleared;
	),

	TP_printk("region=%u gathered=%lu cleared=%lu", __entry->region,
		  __entry->gathered, __entry->cleared)
);

/* Another policy is active, and why; err: why the one before could not go on. */
TRACE_EVENT(tagstorage_policy_switch,

	TP_PROTO(const char *from, const char *to, int err, const char *reason),

	TP_ARGS(from, to, err, reason),

	TP_STRUCT__entry(
		__string(from, from)
		__string(to, to)
		__field(int, err)
		__string(reason, reason)
	),

	TP_fast_assign(
		__assign_str(from);
		__assign_str(to);
		__entry->err = err;
		__assign_str(reason);
	),

	TP_printk("from=%s to=%s err=%d reason=%s", __get_str(from),
		  __get_str(to), __entry->err, __get_str(reason))
);

#endif /* TAGSTORAGE_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
