// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Touching pages of a target from outside.
 *
 * Theory of operation
 *
 * /proc/PID/mem and not process_vm_readv(2), although that takes a vector: it pins the
 * pages for the copy, and to pin a private page that parent and child share, the kernel
 * makes a copy of it (FAULT_FLAG_UNSHARE, since Linux 5.19), so that bringing 256 MiB
 * in after a fork took 499 MiB instead of 251. Both cost 2 us a page, and the page's own
 * way in more than that. The file also stays with the memory it was opened on.
 */
#include "lib/op/touch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/pagemap.h"
#include "lib/kern/procmem.h"
#include "lib/kern/smaps.h"

static int find_served(struct umem_toucher *toucher, const struct umem_target *target)
{
	struct umem_smaps smaps = { 0 };
	int r = umem_smaps_read(target->proc_fd, &smaps);

	for (size_t i = 0; i < smaps.n && r == 0; i++)
		if (smaps.v[i].flags & UMEM_SMAP_FAULTS)
			r = umem_ranges_add(&toucher->served, smaps.v[i].start, smaps.v[i].end);
	umem_smaps_deinit(&smaps);
	return r;
}

static int open_mem(const struct umem_target *target, int *ret_fd)
{
	int fd;

	if (!target->reach)
		return umem_procmem_open(target->tid, ret_fd);
	if (target->mem_fd < 0)
		return -EACCES;
	fd = fcntl(target->mem_fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int umem_toucher_init(struct umem_toucher *toucher, const struct umem_target *target)
{
	uint64_t word;
	size_t n = 0;
	int r;

	*toucher = (struct umem_toucher){ .mem_fd = -1 };
	r = open_mem(target, &toucher->mem_fd);
	if (r == 0)
		r = find_served(toucher, target);
	/* The memory that we know still is what the process has: then the file is of it. */
	if (r == 0)
		r = umem_pagemap_words(target->pagemap_fd, 0, &word, 1, &n);
	if (r == -ENOENT || r == -ESRCH || (r == 0 && n == 0))
		r = UMEM_GONE;
	if (r != 0)
		umem_toucher_deinit(toucher);
	return r;
}

void umem_toucher_deinit(struct umem_toucher *toucher)
{
	umem_fd_close(toucher->mem_fd);
	umem_ranges_deinit(&toucher->served);
	*toucher = (struct umem_toucher){ .mem_fd = -1 };
}

int umem_touch(const struct umem_toucher *toucher, uint64_t addr)
{
	char byte;
	ssize_t n;

	if (toucher->served.n && umem_ranges_has(&toucher->served, addr))
		return -EFAULT;
	do
		n = pread(toucher->mem_fd, &byte, 1, (off_t)addr);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return UMEM_GONE;
	return n < 0 ? -EFAULT : 0;
}
