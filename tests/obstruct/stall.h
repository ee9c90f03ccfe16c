/* SPDX-License-Identifier: GPL-2.0 */
/*
 * obstruct/stall.h - a FUSE file system with one file; who reads or writes it waits until the server is killed
 */
#ifndef TESTS_OBSTRUCT_STALL_H
#define TESTS_OBSTRUCT_STALL_H

#include <linux/fuse.h>

#include "job.h"

#define STALL_BUFFER	(1UL << 21)
#define STALL_NODE	2

static pid_t stall_server;

static void stall_reply(int device, uint64_t unique, int error, const void *data, size_t size)
{
	struct fuse_out_header header = { .len = sizeof(header) + size, .error = error, .unique = unique };
	struct iovec parts[] = { { &header, sizeof(header) }, { (void *)data, size } };

	if (writev(device, parts, size ? 2 : 1) < 0 && errno != ENOENT)
		_exit(1);
}

static void stall_attributes(struct fuse_attr *attr, uint64_t node)
{
	memset(attr, 0, sizeof(*attr));
	attr->ino = node;
	attr->mode = node == STALL_NODE ? S_IFREG | 0666 : S_IFDIR | 0777;
	attr->nlink = 1;
	attr->size = node == STALL_NODE ? FUSE_FILE_SIZE : 0;
	attr->blksize = PAGE;
}

static void stall_init(int device, const struct fuse_in_header *in, const struct fuse_init_in *init)
{
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_readahead = init->max_readahead,
		.flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_MAX_PAGES,
		.max_background = 4096,
		.congestion_threshold = 4096,
		.max_write = MIB,
		.time_gran = 1,
		.max_pages = 256,
	};

	stall_reply(device, in->unique, 0, &out, sizeof(out));
}

static void stall_request(int device, const struct fuse_in_header *in)
{
	struct fuse_entry_out entry = { .nodeid = STALL_NODE, .entry_valid = 1000, .attr_valid = 1000 };
	struct fuse_attr_out attr = { .attr_valid = 1000 };
	struct fuse_open_out open = { .open_flags = FOPEN_KEEP_CACHE };

	switch (in->opcode) {
	case FUSE_INIT:
		stall_init(device, in, (const void *)(in + 1));
		break;
	case FUSE_LOOKUP:
		stall_attributes(&entry.attr, STALL_NODE);
		stall_reply(device, in->unique, 0, &entry, sizeof(entry));
		break;
	case FUSE_GETATTR:
		stall_attributes(&attr.attr, in->nodeid);
		stall_reply(device, in->unique, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
		stall_reply(device, in->unique, 0, &open, sizeof(open));
		break;
	case FUSE_READ:		/* this is what it is for */
	case FUSE_WRITE:
	case FUSE_FORGET:	/* these get no answer */
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	default:
		stall_reply(device, in->unique, -EOPNOTSUPP, NULL, 0);
	}
}

/* Mounts it, and starts its server. As root; why that can't be, or NULL. */
static const char *stall_start(void)
{
	static char buffer[STALL_BUFFER];
	char options[128];
	int device;

	if (stall_server)
		return NULL;
	device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (device < 0)
		return "the kernel has no FUSE";
	mkdir(FUSE_MOUNT, 0777);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other", device,
		 NOBODY, NOBODY);
	if (mount("stall", FUSE_MOUNT, "fuse", MS_NOSUID | MS_NODEV, options))
		die("FUSE can't be mounted: %s", strerror(errno));
	stall_server = fork();
	if (!stall_server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			ssize_t size = read(device, buffer, sizeof(buffer));

			if (size >= (ssize_t)sizeof(struct fuse_in_header))
				stall_request(device, (void *)buffer);
			else if (errno == ENODEV)
				_exit(0);
		}
	}
	close(device);
	return NULL;
}

/* Whoever waits gets an error. */
static void stall_end(void)
{
	if (!stall_server)
		return;
	kill(stall_server, SIGKILL);
	waitpid(stall_server, NULL, 0);
	stall_server = 0;
	umount2(FUSE_MOUNT, MNT_DETACH);
}

#endif /* TESTS_OBSTRUCT_STALL_H */
