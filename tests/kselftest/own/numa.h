/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kselftest/own/numa.h - what the kernel's own tests use of libnuma, which Debian has not for cross compiling
 */
#ifndef TESTS_KSELFTEST_OWN_NUMA_H
#define TESTS_KSELFTEST_OWN_NUMA_H

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#define numa_all_nodes_ptr	NULL

static inline int numa_available(void)
{
	return access("/sys/devices/system/node/node0", F_OK);
}

static inline int numa_num_task_cpus(void)
{
	cpu_set_t cpus;

	return sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : CPU_COUNT(&cpus);
}

static inline int numa_max_possible_node(void)
{
	return 64;
}

static inline int numa_bitmask_isbitset(const void *all, unsigned int node)
{
	char path[64];

	(void)all;
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u", node);
	return !access(path, F_OK);
}

#endif /* TESTS_KSELFTEST_OWN_NUMA_H */
