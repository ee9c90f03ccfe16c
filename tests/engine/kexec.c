// SPDX-License-Identifier: GPL-2.0
/*
 * engine/kexec.c - starts another kernel from this one, at once, as `kexec -e` does: all processes are still there
 *
 * usage: kexec IMAGE COMMAND-LINE
 *
 * Returns only if that failed, with exit status 2.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <sys/syscall.h>

#include "common.h"

int main(int argc, char **argv)
{
	int image = argc == 3 ? open(argv[1], O_RDONLY) : -1;

	if (image < 0)
		die("usage: kexec IMAGE COMMAND-LINE");
	if (syscall(SYS_kexec_file_load, image, -1, strlen(argv[2]) + 1, argv[2], KEXEC_FILE_NO_INITRAMFS))
		die("kexec: the kernel can't be loaded: %s", strerror(errno));
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
	die("kexec: the kernel can't be started: %s", strerror(errno));
}
