// SPDX-License-Identifier: GPL-2.0
/*
 * lab/guest/prepare.c - what the guest's init does before all else, in one process: file systems, the host's folders,
 * the disk, the name, the loopback device
 *
 * prepare SCRATCH [TAG:MODE]... - SCRATCH is the folder for the disk, or empty; MODE is ro or rw, and the folder is
 * mounted at /mnt/TAG. A shell would need a process for each of these, and on a kernel that checks itself that is a
 * second of an emulator's time.
 *
 * Says what fails, on the console, and goes on: what needs it will fail.
 */

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHARE	"trans=virtio,version=9p2000.L,msize=262144,cache=none"

static void result(int failed, const char *what, const char *name)
{
	if (failed)
		fprintf(stderr, "prepare: %s %s: %s\n", what, name, strerror(errno));
}

static void mount_at(const char *path, const char *type, const char *source, unsigned long flags, const char *options)
{
	result(mkdir(path, 0755) && errno != EEXIST, "mkdir", path);
	result(mount(source, path, type, flags, options), "mount", path);
}

static void file_systems(void)
{
	static const struct {
		const char *path;
		const char *type;
	} all[] = {
		{ "/proc", "proc" },
		{ "/sys", "sysfs" },
		{ "/dev/pts", "devpts" },
		{ "/dev/shm", "tmpfs" },
		{ "/run", "tmpfs" },
		{ "/tmp", "tmpfs" },
		{ "/root", "tmpfs" },
		{ "/sys/kernel/debug", "debugfs" },
		{ "/sys/kernel/tracing", "tracefs" },
		{ "/sys/fs/cgroup", "cgroup2" },
	};

	/* The kernel may have done that. */
	if (mount("none", "/dev", "devtmpfs", 0, NULL) && errno != EBUSY)
		result(1, "mount", "/dev");
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		mount_at(all[i].path, all[i].type, "none", 0, NULL);
	result(chmod("/tmp", 01777), "chmod", "/tmp");
	result(chmod("/dev/shm", 01777), "chmod", "/dev/shm");
	result(mount("/mnt/run/modules", "/usr/lib/modules", NULL, MS_BIND, NULL), "mount", "/usr/lib/modules");
}

static void link_to(const char *target, const char *name)
{
	unlink(name);
	result(symlink(target, name), "symlink", name);
}

static void share(char *tag)
{
	char *mode = strchr(tag, ':'), path[128];

	if (!mode) {
		errno = EINVAL;
		result(1, "mount", tag);
		return;
	}
	*mode++ = 0;
	snprintf(path, sizeof(path), "/mnt/%s", tag);
	mount_at(path, "9p", tag, strcmp(mode, "ro") ? 0 : MS_RDONLY, SHARE);
}

static void loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int file = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	result(file < 0 || ioctl(file, SIOCSIFFLAGS, &request), "up", "lo");
	if (file >= 0)
		close(file);
}

int main(int argc, char **argv)
{
	file_systems();
	link_to("/proc/self/fd", "/dev/fd");
	link_to("/proc/self/fd/0", "/dev/stdin");
	link_to("/proc/self/fd/1", "/dev/stdout");
	link_to("/proc/self/fd/2", "/dev/stderr");
	result(sethostname("tagstorage", 10), "hostname", "tagstorage");
	loopback_up();
	for (int i = 2; i < argc; i++)
		share(argv[i]);
	if (argc > 1 && *argv[1])
		mount_at(argv[1], "ext4", "/dev/vdb", 0, NULL);
	return 0;
}
