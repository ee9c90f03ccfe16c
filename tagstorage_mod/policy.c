// SPDX-License-Identifier: GPL-2.0
/*
 * Calling a policy, and looking at what it did.
 *
 * Every callback of a policy is called from here. What it returns is checked, and the
 * state in which it leaves the machine: interrupts and preemption, the page that it was
 * to give. Where that is wrong, it is set right as far as possible, so that all goes
 * on as if the policy had lent less, and the fault is noted. registry.c throws it out:
 * a first fault is told to it through an interrupt of this CPU's own, because whoever
 * finds it may hold zone->lock, under which no work can be queued.
 */
#define pr_fmt(fmt) "tagstorage: " fmt

#include <linux/err.h>
#include <linux/error-injection.h>
#include <linux/irq_work.h>
#include <linux/irqflags.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/sched.h>

#include "engine.h"

const struct tagstorage_fault_text tagstorage_faults[TAGSTORAGE_NR_FAULTS] = {
	[TAGSTORAGE_FAULT_SUITS]     = { "suits",
		"suits() returned neither NULL nor a text" },
	[TAGSTORAGE_FAULT_ATTACH]    = { "attach",
		"attach() returned neither 0 nor an error number" },
	[TAGSTORAGE_FAULT_ABSENT]    = { "absent",
		"attach() succeeded, and the storage is no memory" },
	[TAGSTORAGE_FAULT_NOT_GIVEN] = { "not-given",
		"after give(), the page was not with the page allocator, as MIGRATE_CMA" },
	[TAGSTORAGE_FAULT_OTHER]     = { "other-page",
		"it freed a page of tag storage that it was not told to give" },
	[TAGSTORAGE_FAULT_CONTEXT]   = { "context",
		"a callback returned with interrupts or preemption in another state" },
	[TAGSTORAGE_FAULT_SLEPT]     = { "slept",
		"hand_out() slept" },
	[TAGSTORAGE_FAULT_STAYED]    = { "stayed",
		"its module went without tagstorage_policy_unregister()" },
};

/*
 * What page->private of a stray page is, until the machine ends: it outlasts this module.
 * Pages that come from the page allocator have 0 there.
 */
#define STRAY		0x7374726179UL

/* The page that is being given, until it reaches the allocator; one at a time. */
static struct page *giving;
/* Pages freed that were not lent, since somebody last asked. */
static atomic_t strays;

static void tell_registry(struct irq_work *work)
{
	tagstorage_registry_kick();
}

static DEFINE_IRQ_WORK(fault_irq_work, tell_registry);

/* No fault is noted any more that the registry has not been told of. May sleep. */
void tagstorage_policy_sync(void)
{
	irq_work_sync(&fault_irq_work);
}

/**
 * tagstorage_fault_set - a policy did what it must not
 * @policy: the policy
 * @fault: what; the first one counts
 *
 * Context: any.
 */
void tagstorage_fault_set(struct tagstorage_choice *policy,
			  enum tagstorage_fault fault)
{
	if (atomic_cmpxchg(&policy->fault, TAGSTORAGE_FAULT_NONE, fault) ==
	    TAGSTORAGE_FAULT_NONE)
		irq_work_queue(&fault_irq_work);
}

enum tagstorage_fault tagstorage_fault_of(const struct tagstorage_choice *policy)
{
	return atomic_read(&policy->fault);
}

/* What a callback must leave as it was. */
struct context {
	int preempt;
	bool irqs_off;
};

static __always_inline struct context context_now(void)
{
	return (struct context){ preempt_count(), irqs_disabled() };
}

static __always_inline void context_check(struct tagstorage_choice *policy,
					  struct context before)
{
	if (likely(preempt_count() == before.preempt &&
		   irqs_disabled() == before.irqs_off))
		return;
	preempt_count_set(before.preempt);
	if (before.irqs_off)
		local_irq_disable();
	else
		local_irq_enable();
	tagstorage_fault_set(policy, TAGSTORAGE_FAULT_CONTEXT);
}

/* The callback, or NULL where there is none. */
const char *tagstorage_call_suits(struct tagstorage_choice *policy,
				  struct tagstorage_region *region)
{
	struct context before = context_now();
	const char *why;

	if (!policy->ops.suits)
		return NULL;
	why = policy->ops.suits(region);
	context_check(policy, before);
	if (!why || ((unsigned long)why >= PAGE_SIZE && !IS_ERR(why)))
		return why;
	tagstorage_fault_set(policy, TAGSTORAGE_FAULT_SUITS);
	return "got no sensible answer";
}

void tagstorage_call_detach(struct tagstorage_choice *policy,
			    struct tagstorage_region *region)
{
	struct context before = context_now();

	if (!policy->ops.detach)
		return;
	policy->ops.detach(region);
	context_check(policy, before);
}

/**
 * tagstorage_call_attach - the callback, and whether it did what it says
 * @policy: the policy
 * @region: the region
 *
 * Return: 0 if the region's storage is memory now; else a negative errno, and the
 * region is not attached.
 */
int tagstorage_call_attach(struct tagstorage_choice *policy,
			   struct tagstorage_region *region)
{
	struct context before = context_now();
	int ret = 0;

	if (policy->ops.attach)
		ret = policy->ops.attach(region);
	context_check(policy, before);
	if (ret > 0 || ret < -MAX_ERRNO) {
		tagstorage_fault_set(policy, TAGSTORAGE_FAULT_ATTACH);
		return -EINVAL;
	}
	if (!ret && !region->present) {
		tagstorage_fault_set(policy, TAGSTORAGE_FAULT_ABSENT);
		tagstorage_call_detach(policy, region);
		return -ENXIO;
	}
	return ret;
}
ALLOW_ERROR_INJECTION(tagstorage_call_attach, ERRNO);

bool tagstorage_call_may_lend(struct tagstorage_choice *policy,
			      struct tagstorage_region *region, u64 block)
{
	struct context before = context_now();
	bool may = true;

	if (policy->ops.may_lend)
		may = policy->ops.may_lend(region, block);
	context_check(policy, before);
	return may;
}

/**
 * tagstorage_call_give - have one page given, whatever the policy makes of it
 * @policy: the policy
 * @region: the region
 * @page: a page of a block that is being lent
 *
 * A page that is with the page allocator must have come through
 * tagstorage_capture() while the callback ran, because pages of MIGRATE_CMA
 * pageblocks are on no per-CPU list. One that the policy did not touch is given here,
 * so that all pages of a lent block are; one that it took for itself is as one that
 * somebody holds. A page that has a memory error since it was last looked at is given
 * in vain, and no fault of the policy.
 */
void tagstorage_call_give(struct tagstorage_choice *policy,
			  struct tagstorage_region *region, struct page *page)
{
	struct context before = context_now();
	bool given;

	if (!PageReserved(page)) {
		tagstorage_fault_set(policy, TAGSTORAGE_FAULT_OTHER);
		return;
	}
	if (tagstorage_fault_of(policy)) {
		free_reserved_page(page);
		return;
	}
	WRITE_ONCE(giving, page);
	policy->ops.give(region, page);
	given = !xchg(&giving, NULL);
	context_check(policy, before);
	if (tagstorage_strays_found())
		tagstorage_fault_set(policy, TAGSTORAGE_FAULT_OTHER);
	if (given || PageHWPoison(page))
		return;
	tagstorage_fault_set(policy, TAGSTORAGE_FAULT_NOT_GIVEN);
	if (PageReserved(page))
		free_reserved_page(page);
}

/* A page of a block that is being lent enters the free lists. zone->lock held. */
void tagstorage_give_seen(struct page *page)
{
	if (READ_ONCE(giving) == page)
		WRITE_ONCE(giving, NULL);
}

/**
 * tagstorage_stray - free pages that nobody lent: nobody gets them
 * @region: the region that they begin in; what lies behind its end is lost
 * @page: the first page, as it would enter the free lists
 * @nr: how many
 *
 * They count as at boot again, but are as free pages are: cleared, poisoned or not
 * mapped where the kernel does that. It can't be undone here, and later the block may
 * hold tags. So the page is marked, and its block not lent any more. What was written
 * to the page must not reach the memory later, when it holds tags; tags that it held
 * already are lost.
 *
 * Context: zone->lock held.
 */
void tagstorage_stray(struct tagstorage_region *region, struct page *page,
		      unsigned int nr)
{
	u64 end = region->geo.storage_pfn +
		  tagstorage_storage_pages(&region->geo);
	unsigned int i;

	nr = min_t(u64, nr, end - page_to_pfn(page));
	for (i = 0; i < nr; i++) {
		SetPageReserved(page + i);
		init_page_count(page + i);
		adjust_managed_page_count(page + i, -1);
		WRITE_ONCE(page_private(page + i), STRAY);
		tagstorage_clean_stray(region, page + i);
	}
	atomic_add(nr, &strays);
	irq_work_queue(&fault_irq_work);
}

bool tagstorage_is_stray(const struct page *page)
{
	return READ_ONCE(page_private(page)) == STRAY;
}

/* Were there any since somebody last asked? Context: no lock of the page allocator. */
bool tagstorage_strays_found(void)
{
	int found = atomic_xchg(&strays, 0);

	if (found)
		pr_err("pages of tag storage that were not lent have been freed (%d): tags that they held are lost, and their blocks are not lent again before the machine is booted\n",
		       found);
	return found;
}

/**
 * tagstorage_call_hand_out - the callback that faults of untagged memory meet
 * @policy: the policy
 * @region: the region
 * @zone: where a page is looked for
 *
 * Context: any; rcu_read_lock(), which is what keeps @policy. If the callback sleeps,
 * that need not wait for it (without CONFIG_PREEMPT_RCU it does not): then its module
 * may be gone when it goes on, and counting callers would cost every fault too much.
 */
bool tagstorage_call_hand_out(struct tagstorage_choice *policy,
			      struct tagstorage_region *region,
			      struct zone *zone)
{
	struct context before = context_now();
	unsigned long sleeps = current->nvcsw;
	bool now;

	if (unlikely(tagstorage_fault_of(policy)))
		return false;
	now = policy->ops.hand_out(region, zone);
	if (unlikely(current->nvcsw != sleeps))
		tagstorage_fault_set(policy, TAGSTORAGE_FAULT_SLEPT);
	context_check(policy, before);
	return now;
}
