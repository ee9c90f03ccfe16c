// SPDX-License-Identifier: GPL-2.0
/*
 * engine/plugins/tlbi.c - a plugin of QEMU that counts the TLB invalidations of the guest's kernel
 *
 * Counted is from one `hint #127` in user space to the next, on all CPUs; see tests/bench/reserve.c. That instruction
 * does nothing.
 *
 * Argument: out=FILE, to which "tlbi COUNT" is written whenever counting ends
 * Errors: QEMU says that the plugin could not be loaded.
 */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "qemu.h"

#define KERNEL		(1UL << 63)		/* set in all of its addresses */
#define MARK		0xd5032fff		/* HINT #127 */
/* SYS with CRn 8: TLBI */
#define IS_TLBI(i)	(((i) & 0xfff8f000) == 0xd5088000)

static uint64_t count;
static bool counting;
static FILE *out;

int qemu_plugin_version = PLUGIN_VERSION;

static void invalidated(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	if (__atomic_load_n(&counting, __ATOMIC_RELAXED))
		__atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
}

static void marked(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	if (counting) {
		fprintf(out, "tlbi %lu\n", __atomic_exchange_n(&count, 0, __ATOMIC_RELAXED));
		fflush(out);
	}
	__atomic_store_n(&counting, !counting, __ATOMIC_RELAXED);
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	(void)id;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		bool kernel = qemu_plugin_insn_vaddr(insn) & KERNEL;
		uint32_t code = 0;

		qemu_plugin_insn_data(insn, &code, sizeof(code));
		if (kernel && IS_TLBI(code))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, invalidated, 0, NULL);
		else if (!kernel && code == MARK)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, marked, 0, NULL);
	}
}

int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4))
		return 1;
	out = fopen(argv[0] + 4, "w");
	if (!out)
		return 1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
