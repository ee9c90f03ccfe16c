// SPDX-License-Identifier: GPL-2.0
/*
 * paths/kvm.c - directed tests of a virtual machine with MTE
 *
 * usage: kvm [all | NAME...]
 *
 * The guest is a little program of ours, see guest.h. The VMM's mapping of the guest's memory is without PROT_MTE, as
 * that of real ones. Expects swap space.
 */

#define _GNU_SOURCE
#include <linux/kvm.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/ioctl.h>

#include "directed.h"
#include "guest.h"

#define PAGES		1024
#define POLICY		"/sys/kernel/mm/tagstorage/policy"

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
	static const char *const jobs[] = { "write", "verify", "find zeros", "look" };
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

static void copy_tags(const struct guest *g, uint64_t flags, uint8_t *tags)
{
	size_t done = 0, length = g->pages * PAGE;

	/* The kernel may stop at any page. */
	while (done < length) {
		struct kvm_arm_copy_mte_tags copy = {
			.guest_ipa = GUEST_MEMORY + done, .length = length - done,
			.addr = tags + done / GRANULE, .flags = flags,
		};
		int copied = must_ioctl(g->vm, KVM_ARM_MTE_COPY_TAGS, &copy, "KVM_ARM_MTE_COPY_TAGS");

		done += copied ?: (int)length;
	}
}

static void expect_guest_tags(const struct guest *g, unsigned int version)
{
	size_t granules = g->pages * GRANULES;
	uint8_t *tags = malloc(granules);

	copy_tags(g, KVM_ARM_TAGS_FROM_GUEST, tags);
	for (size_t i = 0; i < granules; i++)
		if (tags[i] != guest_tag(i, version))
			fail("page %zu, granule %zu: KVM_ARM_MTE_COPY_TAGS gives tag %u, %u expected",
			     i / GRANULES, i % GRANULES, tags[i], guest_tag(i, version));
	free(tags);
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

static void away(const struct guest *g)
{
	if (madvise(g->memory, g->pages * PAGE, MADV_PAGEOUT))
		fail("madvise(MADV_PAGEOUT): %s", strerror(errno));
}

static char *map_shared(size_t pages)
{
	int file = memfd_create("guest", 0);
	char *memory;

	if (file < 0 || ftruncate(file, pages * PAGE))
		fail("memfd_create: %s", strerror(errno));
	memory = mmap(NULL, pages * PAGE, RW, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	return memory;
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

static void huge(void)
{
	struct guest g;

	guest_make(&g, map_huge(RW), HUGE_PAGES);
	use(&g, 1);
	if (madvise(g.memory, HUGE, MADV_NOHUGEPAGE))
		fail("madvise: %s", strerror(errno));
	/* Split, with tags. */
	if (munmap(g.memory, PAGE) ||
	    mmap(g.memory, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		fail("munmap: %s", strerror(errno));
	guest_does(&g, 0, 1, GUEST_ZERO, 0);
	guest_does(&g, 1, HUGE_PAGES - 1, GUEST_VERIFY, 1);
}

/* What the VMM wrote before, on pages that may be lent ones. */
static void filled_by_vmm(void)
{
	struct guest g;
	uint64_t *words;

	guest_make(&g, map(PAGES, RW), PAGES);
	words = (uint64_t *)g.memory;
	memset(g.memory, 0, PAGES * PAGE);
	guest_does(&g, 0, PAGES, GUEST_ZERO, 0);
	for (size_t i = 0; i < PAGES * WORDS; i++)
		words[i] = guest_word(i / 2, 3);
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

static void tags_copied(void)
{
	uint8_t *tags = malloc(PAGES * GRANULES);
	struct guest g;

	guest_make(&g, map(PAGES, RW), PAGES);
	/* To pages that are not there, and to some that the VMM has written. */
	memset(g.memory, 0, PAGES / 2 * PAGE);
	for (size_t i = 0; i < PAGES * GRANULES; i++)
		tags[i] = guest_tag(i, 5);
	copy_tags(&g, 0, tags);
	for (size_t i = 0; i < PAGES * GRANULES; i++)
		for (unsigned int j = 0; j < 2; j++)
			((uint64_t *)g.memory)[2 * i + j] = guest_word(i, 5);
	guest_does(&g, 0, PAGES, GUEST_VERIFY, 5);
	expect_guest_tags(&g, 5);
}

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
	use(&g, 2);
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

/* A copy of the VMM shares the guest's pages until one of them writes. */
static void vmm_forks(void)
{
	struct guest g;
	struct turns t;

	guest_make(&g, map(PAGES, RW), PAGES);
	use(&g, 1);
	CHILD(&t, {
		expect_guest_data(&g, 1);
		memset(g.memory, 1, PAGES / 2 * PAGE);
	});
	guest_does(&g, 0, PAGES / 4, GUEST_WRITE, 1);
	end_child(&t);
	use(&g, 2);
}

/* While a guest works, its memory is moved about and the policy is changed. */
static bool disturbing;

static void *disturb(void *argument)
{
	const struct guest *g = argument;
	char policy[64], *name, *end;

	if (!read_text(POLICY, policy, sizeof(policy)))
		fail(POLICY " can't be read");
	name = strchr(policy, '[') + 1;
	end = strchr(name, ']');
	*end = 0;
	while (__atomic_load_n(&disturbing, __ATOMIC_RELAXED)) {
		write_text("/proc/sys/vm/compact_memory", "1");
		madvise(g->memory, g->pages * PAGE, MADV_PAGEOUT);
		write_text(POLICY, "carveout");
		madvise(g->memory, g->pages / 2 * PAGE, MADV_COLD);
		write_text(POLICY, name);
	}
	return NULL;
}

static void disturbed(void)
{
	struct guest g;
	pthread_t thread;

	guest_make(&g, map(PAGES, RW), PAGES);
	disturbing = true;
	if (pthread_create(&thread, NULL, disturb, &g))
		fail("there are no threads");
	for (unsigned int version = 1; version <= 12; version++)
		use(&g, version);
	__atomic_store_n(&disturbing, false, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	use(&g, 13);
}

static const struct directed_test tests[] = {
	{ "guest-anonymous", anonymous },
	{ "guest-shared", shared },
	{ "guest-huge", huge },
	{ "guest-filled-by-vmm", filled_by_vmm },
	{ "guest-only-reads", only_reads },
	{ "guest-tags-copied", tags_copied },
	{ "guest-swapped", swapped_out },
	{ "guest-shared-swapped", shared_swapped },
	{ "guest-ballooned", ballooned },
	{ "guest-dirty-logged", dirty_logged },
	{ "guest-mapping-grows", mapping_grows },
	{ "guest-vmm-forks", vmm_forks },
	{ "guest-disturbed", disturbed },
};

int main(int argc, char **argv)
{
	return directed_tests(tests, ARRAY_SIZE(tests), argc, argv);
}
