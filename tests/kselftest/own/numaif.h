/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kselftest/own/numaif.h - see numa.h
 */
#ifndef TESTS_KSELFTEST_OWN_NUMAIF_H
#define TESTS_KSELFTEST_OWN_NUMAIF_H

#include <sys/syscall.h>
#include <unistd.h>

#define MPOL_MF_MOVE_ALL	4

static inline long move_pages(int pid, unsigned long count, void **pages, const int *nodes, int *status, int flags)
{
	return syscall(SYS_move_pages, pid, count, pages, nodes, status, flags);
}

#endif /* TESTS_KSELFTEST_OWN_NUMAIF_H */
