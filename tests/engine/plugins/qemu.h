/* SPDX-License-Identifier: GPL-2.0 */
/*
 * engine/plugins/qemu.h - what the plugins use of QEMU's interface for plugins, version 3 (QEMU 9.1): no package of
 * Debian's has QEMU's own header
 */
#ifndef TESTS_ENGINE_PLUGINS_QEMU_H
#define TESTS_ENGINE_PLUGINS_QEMU_H

#include <stddef.h>
#include <stdint.h>

#define PLUGIN_VERSION	3
#define READS_REGISTERS	1
#define STORES		2

#define EXPORTED	__attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_register;
struct qemu_info_t;

/* GLib's GArray and GByteArray */
struct array {
	void *data;
	unsigned int len;
};

struct register_name {
	struct qemu_plugin_register *handle;
	const char *name;
	const char *feature;
};

/* What QEMU looks for in a plugin */
extern EXPORTED int qemu_plugin_version;
EXPORTED int qemu_plugin_install(uint64_t id, const struct qemu_info_t *info, int argc, char **argv);

struct array *g_byte_array_new(void);

struct array *qemu_plugin_get_registers(void);
int qemu_plugin_read_register(struct qemu_plugin_register *handle, struct array *value);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *code, size_t size);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*call)(uint64_t id, void *data), void *data);
void qemu_plugin_register_vcpu_init_cb(uint64_t id, void (*call)(uint64_t id, unsigned int cpu));
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*call)(uint64_t id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*call)(unsigned int cpu, void *data),
					    int flags, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
				      void (*call)(unsigned int cpu, uint32_t info, uint64_t address, void *data),
				      int flags, int which, void *data);

#endif
