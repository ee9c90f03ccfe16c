// SPDX-License-Identifier: GPL-2.0
/*
 * paths/kvm.c - directed tests of a virtual machine with MTE
 *
 * usage: kvm [all | NAME... | numa]
 *
 * numa: those for which there must be two nodes, which are not among all.
 *
 * The guest is a little program of ours, see guest.h. The VMM's mapping of the guest's memory is without PROT_MTE, as
 * that of real ones. Expects swap space.
 */

#define _GNU_SOURCE
#include <linux/kvm.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "guest.h"
#include "pairs.h"

#define PAGES		1024
#define NEARLY(pages)	((pages) - (pages) / 16)	/* nearly all: some page may be busy */
#define POLICY		"/sys/kernel/mm/tagstorage/policy"
#define UNPOISON	"/sys/kernel/debug/hwpoison/unpoison-pfn"
#define MOVE_OWN	(1 << 1)			/* MPOL_MF_MOVE */

#define GUEST_MEMORY	0x40000000ULL
#define GUEST_PROGRAM	0x80000000ULL
#define GUEST_TABLE	GUEST_PROGRAM		/* the page table, then the program */
#define GUEST_START	(GUEST_PROGRAM + PAGE)

struct guest {
	int vm, vcpu;
	struct kvm_run *run;
	char *memory;		/* as this process sees it */
	size_t pages;
};

static int must_ioctl(int file, unsigned long request, const void *argument, const char *what)
{
	int result = ioctl(file, request, argument);

	if (result < 0)
		fail("%s: %s", what, strerror(errno));
	return result;
}

static void guest_set(const struct guest *g, uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uint64_t)&value };

	must_ioctl(g->vcpu, KVM_SET_ONE_REG, &reg, "KVM_SET_ONE_REG");
}

#define CORE_REG(name)	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(name))

static void guest_slot(const struct guest *g, unsigned int slot, unsigned int flags, uint64_t address,
		       void *memory, size_t pages)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot, .flags = flags, .guest_phys_addr = address,
		.memory_size = pages * PAGE, .userspace_addr = (uint64_t)memory,
	};

	must_ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION");
}

/* A page table that maps the first three GiB: device, the memory, the program. */
static void guest_load_program(const struct guest *g)
{
	char *program = mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t *table = (uint64_t *)program;

	if (program == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	table[0] = 0x0 | 0x1 | 1 << 2 | 1 << 10 | 1ULL << 53 | 1ULL << 54;
	table[1] = GUEST_MEMORY | 0x1 | 0 << 2 | 3 << 8 | 1 << 10 | 1ULL << 53 | 1ULL << 54;
	table[2] = GUEST_PROGRAM | 0x1 | 2 << 2 | 3 << 8 | 1 << 10 | 1ULL << 54;
	memcpy(program + PAGE, guest_program, guest_program_end - guest_program);
	__builtin___clear_cache(program, program + 4 * PAGE);
	guest_slot(g, 1, 0, GUEST_PROGRAM, program, 4);
}

static void guest_start_vcpu(struct guest *g, int kvm)
{
	struct kvm_vcpu_init init;
	int size;

	g->vcpu = must_ioctl(g->vm, KVM_CREATE_VCPU, NULL, "KVM_CREATE_VCPU");
	must_ioctl(g->vm, KVM_ARM_PREFERRED_TARGET, &init, "KVM_ARM_PREFERRED_TARGET");
	must_ioctl(g->vcpu, KVM_ARM_VCPU_INIT, &init, "KVM_ARM_VCPU_INIT");
	size = must_ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL, "KVM_GET_VCPU_MMAP_SIZE");
	g->run = mmap(NULL, size, RW, MAP_SHARED, g->vcpu, 0);
	if (g->run == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	/* Memory: 0 tagged, 1 device, 2 untagged. */
	guest_set(g, ARM64_SYS_REG(3, 0, 10, 2, 0), 0xff00f0);
	/* 4 KiB pages, 39 bits, cached, inner shareable, no TTBR1, 40 bits of output, top byte ignored. */
	guest_set(g, ARM64_SYS_REG(3, 0, 2, 0, 2),
		  25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 2ULL << 32 | 1ULL << 37);
	guest_set(g, ARM64_SYS_REG(3, 0, 2, 0, 0), GUEST_TABLE);
	guest_set(g, ARM64_SYS_REG(3, 0, 12, 0, 0), GUEST_START + (guest_vectors - guest_program));
	/* MMU and caches on, tags allowed and checked synchronously. */
	guest_set(g, ARM64_SYS_REG(3, 0, 1, 0, 0), 0x30d00800 | 1 | 1 << 2 | 1 << 12 | 1ULL << 40 | 1ULL << 43);
}

/* A virtual machine with MTE whose memory this is. */
static void guest_make(struct guest *g, char *memory, size_t pages)
{
	struct kvm_enable_cap mte = { .cap = KVM_CAP_ARM_MTE };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0)
		fail("/dev/kvm: %s", strerror(errno));
	g->memory = memory;
	g->pages = pages;
	g->vm = must_ioctl(kvm, KVM_CREATE_VM, NULL, "KVM_CREATE_VM");
	must_ioctl(g->vm, KVM_ENABLE_CAP, &mte, "KVM_CAP_ARM_MTE");
	guest_slot(g, 0, 0, GUEST_MEMORY, memory, pages);
	guest_load_program(g);
	guest_start_vcpu(g, kvm);
	close(kvm);
}

/* Returns what the program stored to GUEST_DONE. */
static uint64_t guest_run(const struct guest *g, size_t first, size_t pages, enum guest_job job,
			  unsigned int version)
{
	uint64_t result;

	guest_set(g, CORE_REG(regs.regs[0]), GUEST_MEMORY + first * PAGE);
	guest_set(g, CORE_REG(regs.regs[1]), GUEST_MEMORY + (first + pages) * PAGE);
	guest_set(g, CORE_REG(regs.regs[2]), version);
	guest_set(g, CORE_REG(regs.regs[3]), job);
	guest_set(g, CORE_REG(regs.pc), GUEST_START);
	guest_set(g, CORE_REG(regs.pstate), 0x3c5);
	do {
		if (ioctl(g->vcpu, KVM_RUN, NULL) && errno != EINTR)
			fail("KVM_RUN: %s", strerror(errno));
	} while (g->run->exit_reason == KVM_EXIT_INTR);
	if (g->run->exit_reason != KVM_EXIT_MMIO || !g->run->mmio.is_write ||
	    g->run->mmio.phys_addr != GUEST_DONE)
		fail("the guest exits with reason %u", g->run->exit_reason);
	memcpy(&result, g->run->mmio.data, 8);
	return result;
}

static void guest_does(const struct guest *g, size_t first, size_t pages, enum guest_job job,
		       unsigned int version)
{
	static const char *const jobs[] = { "write", "verify", "find zeros", "look", "tag", "rewrite" };
	uint64_t result = guest_run(g, first, pages, job, version);

	if (result >> 63)
		fail("the guest, to %s version %u: exception, syndrome %#" PRIx64, jobs[job], version,
		     result & INT64_MAX);
	if (result)
		fail("the guest, to %s version %u: page %zu, offset %#" PRIx64 " is wrong", jobs[job], version,
		     (size_t)((result - GUEST_MEMORY) / PAGE), result % PAGE);
}

/* The data as this process sees it, and the tags as KVM_ARM_MTE_COPY_TAGS gives them. */
static unsigned int guest_tag(uint64_t granule, unsigned int version)
{
	uint64_t address = GUEST_MEMORY + granule * GRANULE;

	return ((address >> 4) + (address >> 12) + version) & 15;
}

static uint64_t guest_word(uint64_t granule, unsigned int version)
{
	return (GUEST_MEMORY + granule * GRANULE) * 0x9e3779b97f4a7c15ULL + version;
}

static void copy_tags(const struct guest *g, size_t first, size_t pages, uint64_t flags, uint8_t *tags)
{
	size_t done = 0, length = pages * PAGE;

	/* The kernel may stop at any page. */
	while (done < length) {
		struct kvm_arm_copy_mte_tags copy = {
			.guest_ipa = GUEST_MEMORY + first * PAGE + done, .length = length - done,
			.addr = tags + done / GRANULE, .flags = flags,
		};
		int copied = must_ioctl(g->vm, KVM_ARM_MTE_COPY_TAGS, &copy, "KVM_ARM_MTE_COPY_TAGS");

		done += copied ?: (int)length;
	}
}

static void give_tags(const struct guest *g, size_t first, size_t pages, unsigned int version)
{
	uint8_t *tags = malloc(pages * GRANULES);

	for (size_t i = 0; i < pages * GRANULES; i++)
		tags[i] = guest_tag(first * GRANULES + i, version);
	copy_tags(g, first, pages, 0, tags);
	free(tags);
}

static void expect_tags_of(const struct guest *g, size_t first, size_t pages, unsigned int version)
{
	uint8_t *tags = malloc(pages * GRANULES);

	copy_tags(g, first, pages, KVM_ARM_TAGS_FROM_GUEST, tags);
	for (size_t i = 0; i < pages * GRANULES; i++)
		if (tags[i] != guest_tag(first * GRANULES + i, version))
			fail("page %zu, granule %zu: KVM_ARM_MTE_COPY_TAGS gives tag %u, %u expected",
			     first + i / GRANULES, i % GRANULES, tags[i], guest_tag(first * GRANULES + i, version));
	free(tags);
}

static void expect_guest_tags(const struct guest *g, unsigned int version)
{
	expect_tags_of(g, 0, g->pages, version);
}

/* The data that the guest expects, written by this process. */
static void vmm_writes(const struct guest *g, size_t first, size_t pages, unsigned int version)
{
	uint64_t *words = (uint64_t *)g->memory;

	for (size_t i = first * WORDS; i < (first + pages) * WORDS; i++)
		words[i] = guest_word(i / 2, version);
}

static void expect_guest_data(const struct guest *g, unsigned int version)
{
	const uint64_t *words = (uint64_t *)g->memory;

	for (size_t i = 0; i < g->pages * GRANULES; i++)
		if (words[2 * i] != guest_word(i, version))
			fail("page %zu, granule %zu: the VMM sees %#" PRIx64, i / GRANULES, i % GRANULES,
			     words[2 * i]);
}

/* The guest writes, and all who can look see it. */
static void use(const struct guest *g, unsigned int version)
{
	guest_does(g, 0, g->pages, GUEST_WRITE, version);
	guest_does(g, 0, g->pages, GUEST_VERIFY, version);
	expect_guest_tags(g, version);
	expect_guest_data(g, version);
}

static void verify(const struct guest *g, unsigned int version)
{
	guest_does(g, 0, g->pages, GUEST_VERIFY, version);
	expect_guest_tags(g, version);
	expect_guest_data(g, version);
}

__attribute__((format(printf, 1, 2)))
static void say(const char *format, ...)
{
	va_list values;

	va_start(values, format);
	vprintf(format, values);
	va_end(values);
	putchar('\n');
	fflush(stdout);
}

/* Pages that are neither in memory nor in the swap cache; all of them have been written. */
static size_t count_away(const struct guest *g)
{
	unsigned char *there = malloc(g->pages);
	size_t count = 0;

	if (mincore(g->memory, g->pages * PAGE, there))
		fail("mincore: %s", strerror(errno));
	for (size_t page = 0; page < g->pages; page++)
		count += !(there[page] & 1);
	free(there);
	return count;
}

/* Swaps out; a page may be busy for a moment, so it is tried until nearly all are. */
static void away(const struct guest *g)
{
	size_t count = 0;

	for (unsigned int i = 0; i < TRIES; i++) {
		if (madvise(g->memory, g->pages * PAGE, MADV_PAGEOUT))
			fail("madvise(MADV_PAGEOUT): %s", strerror(errno));
		count = count_away(g);
		if (count >= NEARLY(g->pages)) {
			say("swapped out: %zu of %zu pages", count, g->pages);
			return;
		}
		short_sleep();
	}
	fail("only %zu of %zu pages were swapped out", count, g->pages);
}

static char *map_shared(size_t pages)
{
	return map_file(make_file(pages), pages, RW, MAP_SHARED);
}

static void anonymous(void)
{
	struct guest g;

	guest_make(&g, map(PAGES, RW), PAGES);
	use(&g, 1);
	use(&g, 2);
}

static void shared(void)
{
	struct guest g;

	guest_make(&g, map_shared(PAGES), PAGES);
	use(&g, 1);
}

/* Unmapped in part, then split, with tags. */
static void huge(void)
{
	struct guest g;

	guest_make(&g, map_huge(RW), HUGE_PAGES);
	use(&g, 1);
	expect_huge(g.memory, true);
	if (madvise(g.memory, HUGE, MADV_NOHUGEPAGE))
		fail("madvise: %s", strerror(errno));
	if (munmap(g.memory, PAGE) ||
	    mmap(g.memory, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		fail("munmap: %s", strerror(errno));
	guest_does(&g, 0, 1, GUEST_ZERO, 0);
	guest_does(&g, 1, HUGE_PAGES - 1, GUEST_VERIFY, 1);
	split_huge(g.memory);
	guest_does(&g, 1, HUGE_PAGES - 1, GUEST_VERIFY, 1);
	expect_tags_of(&g, 1, HUGE_PAGES - 1, 1);
}

/* The blocks of a huge page are free, and that page is the one which the next who wants one gets. */
static void make_room_for_huge(void)
{
	char *memory = map_huge(RW | PROT_MTE);

	for (size_t page = 0; page < HUGE_PAGES; page++)
		set_tag(memory + page * PAGE, 1);
	munmap(memory, HUGE);
}

/*
 * Tagged pages become a huge page, in a mapping that does not say that they are tagged. The kernel can't claim there:
 * where blocks are in use, nothing is collapsed, and nothing is lost.
 */
static void collapsed(void)
{
	char *memory = map_huge(RW);
	unsigned int tries = 0;
	struct guest g;

	if (madvise(memory, HUGE, MADV_NOHUGEPAGE))
		fail("madvise: %s", strerror(errno));
	guest_make(&g, memory, HUGE_PAGES);
	use(&g, 1);
	expect_huge(memory, false);
	if (madvise(memory, HUGE, MADV_HUGEPAGE))
		fail("madvise: %s", strerror(errno));
	while (madvise(memory, HUGE, MADV_COLLAPSE)) {
		if (tries++ == TRIES)
			fail("madvise(MADV_COLLAPSE): %s", strerror(errno));
		if (tries == 1)
			verify(&g, 1);
		make_room_for_huge();
	}
	say("collapsed after %u failures", tries);
	expect_huge(memory, true);
	verify(&g, 1);
	use(&g, 2);
}

/* What the VMM wrote before. */
static void filled_by_vmm(void)
{
	struct guest g;

	guest_make(&g, map(PAGES, RW), PAGES);
	memset(g.memory, 0, PAGES * PAGE);
	guest_does(&g, 0, PAGES, GUEST_ZERO, 0);
	vmm_writes(&g, 0, PAGES, 3);
	expect_guest_data(&g, 3);
	use(&g, 4);
}

/* A guest that only reads has zero pages, and these have tags. */
static void only_reads(void)
{
	struct guest g, h;

	guest_make(&g, map(PAGES, RW), PAGES);
	guest_does(&g, 0, PAGES, GUEST_LOOK, 0);
	guest_does(&g, 0, PAGES, GUEST_ZERO, 0);
	guest_make(&h, map_huge(RW), HUGE_PAGES);
	guest_does(&h, 0, HUGE_PAGES, GUEST_LOOK, 0);
	guest_does(&h, 0, HUGE_PAGES, GUEST_ZERO, 0);
	use(&g, 1);
	use(&h, 1);
}

/* To pages that are not there, and to some that the VMM has written. */
static void tags_copied_to(char *memory)
{
	struct guest g;

	guest_make(&g, memory, PAGES);
	memset(g.memory, 0, PAGES / 2 * PAGE);
	give_tags(&g, 0, PAGES, 5);
	vmm_writes(&g, 0, PAGES, 5);
	verify(&g, 5);
}

static void tags_copied(void)
{
	tags_copied_to(map(PAGES, RW));
}

static void shared_tags_copied(void)
{
	tags_copied_to(map_shared(PAGES));
}

/* Lent pages */

/* How a pair's first page to be tagged is tagged; the last: it is where KVM is to write what tags its user has. */
enum tagging { TAGS_TO_USER, TAGS_TO_DATA, GUEST_TAGS_USER, GUEST_TAGS_DATA, TAGS_FROM_USER, TAGGINGS };

static enum tagging tagging_of(size_t i)
{
	return i % TAGGINGS;
}

static bool is_lent(const char *page)
{
	struct region regions[MAX_REGIONS];
	unsigned int count = get_regions(regions);

	return on_storage(regions, count, get_pfn(page));
}

/* KVM finds no tags on a page that is lent, and leaves it there. */
static void expect_untagged(const struct guest *g, const struct pairs *p)
{
	static const uint8_t zeros[GRANULES];
	uint8_t tags[GRANULES];
	size_t stayed = 0;

	for (size_t i = 0; i < p->count; i++) {
		vmm_writes(g, p->pair[i].user, 1, 1);
		vmm_writes(g, p->pair[i].data, 1, 1);
		for (unsigned int data = 0; data < 2; data++) {
			memset(tags, 0xff, sizeof(tags));
			copy_tags(g, data ? p->pair[i].data : p->pair[i].user, 1, KVM_ARM_TAGS_FROM_GUEST, tags);
			if (memcmp(tags, zeros, sizeof(tags)))
				fail("page %zu has tags", data ? p->pair[i].data : p->pair[i].user);
		}
		stayed += get_pfn(user_of(p, i)) == p->pair[i].user_pfn;
	}
	if (stayed < NEARLY(p->count))
		fail("only %zu of %zu pages are still on tag storage", stayed, p->count);
}

/* Where the buffer for tags is not there, KVM waits for its fault, and must not hold the page meanwhile. */
static void read_tags_of_user(const struct guest *g, const struct pairs *p, size_t i)
{
	uint8_t *tags = (uint8_t *)data_page(p, i);

	protect(tags, 1, RW | PROT_MTE);
	copy_tags(g, p->pair[i].user, 1, KVM_ARM_TAGS_FROM_GUEST, tags);
	for (size_t granule = 0; granule < GRANULES; granule++)
		if (tags[granule])
			fail("page %zu, granule %zu has tag %u", p->pair[i].user, granule, tags[granule]);
	vmm_writes(g, p->pair[i].data, 1, 1);
}

static void tag_page(const struct guest *g, size_t page, bool by_guest)
{
	if (by_guest)
		guest_does(g, page, 1, GUEST_TAG, 1);
	else
		give_tags(g, page, 1, 1);
}

/* Returns true if there was a lent page, and it had to go. */
static bool tag_first(const struct guest *g, const struct pairs *p, size_t i)
{
	enum tagging tagging = tagging_of(i);
	bool lent = is_lent(user_of(p, i)), by_guest = tagging == GUEST_TAGS_USER || tagging == GUEST_TAGS_DATA;

	if (tagging == TAGS_TO_USER || tagging == GUEST_TAGS_USER) {
		tag_page(g, p->pair[i].user, by_guest);
		if (is_lent(user_of(p, i)))
			fail("page %zu has tags and is on tag storage", p->pair[i].user);
		return lent;
	}
	if (tagging == TAGS_FROM_USER)
		read_tags_of_user(g, p, i);
	else
		tag_page(g, p->pair[i].data, by_guest);
	/* The block was claimed, or the page was replaced. */
	if (get_pfn(data_page(p, i)) != p->pair[i].data_pfn)
		return false;
	if (get_pfn(user_of(p, i)) == p->pair[i].user_pfn)
		fail("page %zu lies where the tags of page %zu are", p->pair[i].user, p->pair[i].data);
	return lent;
}

static void expect_tagged(const struct guest *g, size_t page)
{
	guest_does(g, page, 1, GUEST_VERIFY, 1);
	expect_tags_of(g, page, 1, 1);
}

/* Guest memory that lies on tag storage, and guest memory whose tags belong there. */
static void on_lent_pages(void)
{
	static const char *const names[] = { "tags to lent", "tags to others", "guest tags lent", "guest tags others",
					     "tags from lent" };
	size_t done[TAGGINGS] = {}, all[TAGGINGS] = {};
	static struct pairs p;
	struct guest g;

	take_pairs(&p);
	guest_make(&g, p.memory, p.pages);
	expect_untagged(&g, &p);
	for (size_t i = 0; i < p.count; i++) {
		all[tagging_of(i)]++;
		done[tagging_of(i)] += tag_first(&g, &p, i);
	}
	for (unsigned int tagging = 0; tagging < TAGGINGS; tagging++) {
		say("%s: %zu of %zu pages had to go", names[tagging], done[tagging], all[tagging]);
		if (done[tagging] < all[tagging] / 2)
			fail("%s: only %zu of %zu pages had to go", names[tagging], done[tagging], all[tagging]);
	}
	for (size_t i = 0; i < p.count; i++) {
		tag_page(&g, p.pair[i].user, true);
		tag_page(&g, p.pair[i].data, false);
	}
	for (size_t i = 0; i < p.count; i++) {
		expect_tagged(&g, p.pair[i].user);
		expect_tagged(&g, p.pair[i].data);
		if (is_lent(user_of(&p, i)))
			fail("page %zu has tags and is on tag storage", p.pair[i].user);
	}
	expect_clean_audit();
}

/* Swapped out, and moved */

static void swapped_out(void)
{
	struct guest g;

	guest_make(&g, map(PAGES, RW), PAGES);
	use(&g, 1);
	for (unsigned int i = 0; i < 3; i++) {
		away(&g);
		guest_does(&g, 0, PAGES, GUEST_VERIFY, 1);
		away(&g);
		expect_guest_data(&g, 1);
		expect_guest_tags(&g, 1);
	}
}

static void shared_swapped(void)
{
	struct guest g;

	guest_make(&g, map_shared(PAGES), PAGES);
	use(&g, 1);
	away(&g);
	guest_does(&g, 0, PAGES, GUEST_VERIFY, 1);
	away(&g);
	expect_guest_data(&g, 1);
	expect_guest_tags(&g, 1);
	away(&g);
	use(&g, 2);
}

/* Pages that the kernel takes out of use are moved, tags and all. It may use them again afterwards. */
static void migrated(void)
{
	uint64_t offline[PAGES / 16];
	size_t tried = 0, moved = 0;
	char text[32];
	struct guest g;

	guest_make(&g, map(PAGES, RW), PAGES);
	use(&g, 1);
	empty_batches();
	for (size_t page = 7; page < PAGES; page += 16, tried++) {
		uint64_t pfn = get_pfn(g.memory + page * PAGE);

		if (madvise(g.memory + page * PAGE, PAGE, MADV_SOFT_OFFLINE)) {
			if (errno != EBUSY)
				fail("madvise(MADV_SOFT_OFFLINE): %s", strerror(errno));
			continue;
		}
		if (get_pfn(g.memory + page * PAGE) == pfn)
			fail("page %zu was not moved", page);
		offline[moved++] = pfn;
	}
	say("moved: %zu of %zu pages", moved, tried);
	verify(&g, 1);
	use(&g, 2);
	for (size_t i = 0; i < moved; i++) {
		snprintf(text, sizeof(text), "%#" PRIx64, offline[i]);
		if (!write_text(UNPOISON, text))
			fail(UNPOISON ": %s", strerror(errno));
	}
	if (moved < tried / 2)
		fail("only %zu of %zu pages were moved", moved, tried);
	expect_clean_audit();
}

/*
 * Of pages, one in @step is what has to be moved: that of a huge page brings the others along. @least of them were on
 * another node.
 */
static void move_to(const struct guest *g, size_t step, int node, size_t least)
{
	size_t count = g->pages / step, moved = 0;
	uint64_t *before = malloc(g->pages * 8), *after = malloc(g->pages * 8);
	void **addresses = malloc(count * sizeof(*addresses));
	int *nodes = malloc(count * sizeof(*nodes)), *status = malloc(count * sizeof(*status));

	get_pfns(g->memory, before, g->pages);
	for (size_t i = 0; i < count; i++) {
		addresses[i] = g->memory + i * step * PAGE;
		nodes[i] = node;
	}
	for (unsigned int try = 0; try < TRIES && (!try || moved < least); try++) {
		if (syscall(SYS_move_pages, 0, count, addresses, nodes, status, MOVE_OWN) < 0)
			fail("move_pages: %s", strerror(errno));
		get_pfns(g->memory, after, g->pages);
		moved = 0;
		for (size_t page = 0; page < g->pages; page++)
			moved += status[page / step] == node && after[page] && after[page] != before[page];
	}
	say("moved: %zu of %zu pages, to node %d", moved, g->pages, node);
	if (moved < least)
		fail("only %zu of %zu pages were moved to node %d", moved, g->pages, node);
	free(before);
	free(after);
	free(addresses);
	free(nodes);
	free(status);
}

/* There and back, and the guest goes on; pages may be on any node before. */
static void move_between_nodes(char *memory, size_t pages, size_t step)
{
	struct guest g;
	int node;

	guest_make(&g, memory, pages);
	use(&g, 1);
	node = node_of(memory);
	/* All to where the first one is. */
	move_to(&g, step, node, 0);
	for (unsigned int round = 0; round < 4; round++) {
		node = !node;
		move_to(&g, step, node, NEARLY(pages));
		if (step > 1)
			expect_huge(memory, true);
		if (round % 2)
			guest_does(&g, 0, pages, GUEST_REWRITE, 1);
		verify(&g, 1);
	}
	use(&g, 2);
	expect_clean_audit();
}

static void between_nodes(void)
{
	move_between_nodes(map(PAGES, RW), PAGES, 1);
}

static void shared_between_nodes(void)
{
	move_between_nodes(map_shared(PAGES), PAGES, 1);
}

static void huge_between_nodes(void)
{
	move_between_nodes(map_huge(RW), HUGE_PAGES, HUGE_PAGES);
}

/* The balloon takes pages, and the guest finds new ones there. */
static void ballooned(void)
{
	struct guest g;

	guest_make(&g, map(PAGES, RW), PAGES);
	for (unsigned int i = 1; i < 4; i++) {
		use(&g, i);
		if (madvise(g.memory, PAGES / 2 * PAGE, MADV_DONTNEED))
			fail("madvise(MADV_DONTNEED): %s", strerror(errno));
		guest_does(&g, 0, PAGES / 2, GUEST_ZERO, 0);
		guest_does(&g, PAGES / 2, PAGES / 2, GUEST_VERIFY, i);
	}
}

/* Write protection, page by page, and the faults that end it. */
static void dirty_logged(void)
{
	struct guest g;

	guest_make(&g, map_huge(RW), HUGE_PAGES);
	use(&g, 1);
	guest_slot(&g, 0, KVM_MEM_LOG_DIRTY_PAGES, GUEST_MEMORY, g.memory, HUGE_PAGES);
	guest_does(&g, 0, HUGE_PAGES, GUEST_VERIFY, 1);
	guest_does(&g, 0, HUGE_PAGES, GUEST_WRITE, 2);
	guest_slot(&g, 0, 0, GUEST_MEMORY, g.memory, HUGE_PAGES);
	guest_does(&g, 0, HUGE_PAGES, GUEST_VERIFY, 2);
	use(&g, 3);
}

/* Write protection of single pages ends, and the fault maps the huge page as a whole. */
static void mapping_grows(void)
{
	struct guest g;

	guest_make(&g, map_huge(RW), HUGE_PAGES);
	memset(g.memory, 0, HUGE);
	expect_huge(g.memory, true);
	guest_slot(&g, 0, KVM_MEM_LOG_DIRTY_PAGES, GUEST_MEMORY, g.memory, HUGE_PAGES);
	guest_does(&g, 0, HUGE_PAGES / 2, GUEST_ZERO, 0);
	guest_slot(&g, 0, 0, GUEST_MEMORY, g.memory, HUGE_PAGES);
	use(&g, 1);
}

/* One word a page, the same as before. */
static void touch(const struct guest *g, size_t first, size_t pages)
{
	for (size_t page = first; page < first + pages; page++) {
		uint64_t *word = (uint64_t *)(g->memory + page * PAGE);

		__atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
	}
}

static void expect_copied(const struct guest *g, const uint64_t *before, size_t first, size_t pages)
{
	for (size_t page = first; page < first + pages; page++)
		if (get_pfn(g->memory + page * PAGE) == before[page])
			fail("page %zu was not copied", page);
}

/* The copy of the VMM: of what it does not share any more, and of what it does. */
static void forked_vmm(const struct guest *g, const uint64_t *before, struct turns *t)
{
	expect_guest_data(g, 1);
	touch(g, PAGES / 2, PAGES / 4);
	expect_copied(g, before, PAGES / 2, PAGES / 4);
	let_parent(t);
	protect(g->memory, PAGES, RW | PROT_MTE);
	checks_off();
	expect_guest_data(g, 1);
	checks_on();
	for (size_t i = 0; i < PAGES * GRANULES; i++)
		if (get_tag(g->memory + i * GRANULE) != guest_tag(i, 1))
			fail("in the copy, page %zu, granule %zu has tag %u instead of %u", i / GRANULES, i % GRANULES,
			     get_tag(g->memory + i * GRANULE), guest_tag(i, 1));
	for (size_t i = 0; i < PAGES * GRANULES; i++)
		set_tag_zero(g->memory + i * GRANULE, 3);
}

/*
 * A copy of the VMM shares the guest's pages until somebody writes: a quarter is for the VMM, one for the guest, one
 * for the copy, and one for nobody. The mappings do not say that there are tags, and all keep them.
 */
static void vmm_forks(void)
{
	uint64_t before[PAGES];
	struct guest g;
	struct turns t;

	guest_make(&g, map(PAGES, RW), PAGES);
	use(&g, 1);
	get_pfns(g.memory, before, PAGES);
	CHILD(&t, forked_vmm(&g, before, &t));
	touch(&g, 0, PAGES / 4);
	expect_copied(&g, before, 0, PAGES / 4);
	guest_does(&g, PAGES / 4, PAGES / 4, GUEST_REWRITE, 1);
	expect_copied(&g, before, PAGES / 4, PAGES / 4);
	verify(&g, 1);
	let_child(&t);
	verify(&g, 1);
	end_child(&t);
	verify(&g, 1);
	use(&g, 2);
}

/* While a guest works, its memory is moved about and the policy is changed. */
static struct disturbance {
	const struct guest *g;
	bool on;
	size_t rounds, moved, swapped, switches;
} disturbance;

static size_t compact(const struct guest *g)
{
	static uint64_t before[PAGES], after[PAGES];
	size_t moved = 0;

	get_pfns(g->memory, before, PAGES);
	write_text("/proc/sys/vm/compact_memory", "1");
	get_pfns(g->memory, after, PAGES);
	for (size_t page = 0; page < PAGES; page++)
		moved += before[page] && after[page] && before[page] != after[page];
	return moved;
}

static void *disturb(void *argument)
{
	struct disturbance *d = argument;
	char policy[64], *name, *end;

	if (!read_text(POLICY, policy, sizeof(policy)))
		fail(POLICY " can't be read");
	name = strchr(policy, '[') + 1;
	end = strchr(name, ']');
	*end = 0;
	while (__atomic_load_n(&d->on, __ATOMIC_RELAXED)) {
		d->rounds++;
		d->moved += compact(d->g);
		madvise(d->g->memory, d->g->pages * PAGE, MADV_PAGEOUT);
		d->swapped += count_away(d->g);
		d->switches += write_text(POLICY, "carveout");
		madvise(d->g->memory, d->g->pages / 2 * PAGE, MADV_COLD);
		d->switches += write_text(POLICY, name);
	}
	return NULL;
}

static void disturbed(void)
{
	struct disturbance *d = &disturbance;
	struct guest g;
	pthread_t thread;

	guest_make(&g, map(PAGES, RW), PAGES);
	*d = (struct disturbance){ .g = &g, .on = true };
	if (pthread_create(&thread, NULL, disturb, d))
		fail("there are no threads");
	for (unsigned int version = 1; version <= 12; version++)
		use(&g, version);
	__atomic_store_n(&d->on, false, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	say("in %zu rounds %zu pages were moved, %zu swapped out, the policy switched %zu times", d->rounds, d->moved,
	    d->swapped, d->switches);
	use(&g, 13);
	if (d->swapped < PAGES || d->moved < PAGES / 16 || !d->switches)
		fail("in %zu rounds only %zu pages were moved, %zu swapped out, the policy switched %zu times",
		     d->rounds, d->moved, d->swapped, d->switches);
}

static const struct directed_test tests[] = {
	{ "guest-anonymous", anonymous },
	{ "guest-shared", shared },
	{ "guest-huge", huge },
	{ "guest-collapsed", collapsed },
	{ "guest-filled-by-vmm", filled_by_vmm },
	{ "guest-only-reads", only_reads },
	{ "guest-tags-copied", tags_copied },
	{ "guest-shared-tags-copied", shared_tags_copied },
	{ "guest-on-lent-pages", on_lent_pages },
	{ "guest-swapped", swapped_out },
	{ "guest-shared-swapped", shared_swapped },
	{ "guest-migrated", migrated },
	{ "guest-ballooned", ballooned },
	{ "guest-dirty-logged", dirty_logged },
	{ "guest-mapping-grows", mapping_grows },
	{ "guest-vmm-forks", vmm_forks },
	{ "guest-disturbed", disturbed },
};

static const struct directed_test numa_tests[] = {
	{ "guest-between-nodes", between_nodes },
	{ "guest-shared-between-nodes", shared_between_nodes },
	{ "guest-huge-between-nodes", huge_between_nodes },
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "numa"))
		return directed_tests(numa_tests, ARRAY_SIZE(numa_tests), 1, argv);
	return directed_tests(tests, ARRAY_SIZE(tests), argc, argv);
}
