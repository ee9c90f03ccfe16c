/* SPDX-License-Identifier: GPL-2.0 */
/*
 * paths/gup_test.h - of mm/gup_test.h, which is not for user space: pages are pinned until the file
 * /sys/kernel/debug/gup_test is told to stop, or closed
 */
#ifndef TESTS_GUP_TEST_H
#define TESTS_GUP_TEST_H

#include <stdint.h>
#include <sys/ioctl.h>

struct pin_longterm_test {
	uint64_t addr, size;
	uint32_t flags;
};

#define PIN_LONGTERM_TEST_START	_IOW('g', 7, struct pin_longterm_test)
#define PIN_LONGTERM_TEST_STOP	_IO('g', 8)
#define PIN_WRITE		1

#endif /* TESTS_GUP_TEST_H */
