// SPDX-License-Identifier: LGPL-2.1-or-later
/* /proc/PID/pagemap: the PAGEMAP_SCAN ioctl and the classic words. */
#include "lib/kern/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/base/attr.h"

int umem_pagemap_open(int pid, int *ret_fd)
{
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int umem_pagemap_scan(int fd, struct umem_scan *scan, struct page_region *vec,
	size_t n_vec, size_t *ret_n)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.flags = scan->protect ? PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC : 0,
		.start = scan->at,
		.end = scan->end,
		.vec = (uintptr_t)vec,
		.vec_len = n_vec,
		.max_pages = scan->max_pages,
		.category_inverted = scan->inverted,
		.category_mask = scan->all,
		.category_anyof_mask = scan->any,
		.return_mask = scan->wanted,
	};
	int n;

	do
		n = ioctl(fd, PAGEMAP_SCAN, &arg);
	while (n < 0 && errno == EINTR && arg.walk_end <= arg.start);
	if (n < 0)
		return -errno;
	/*
	 * The kernel goes on from walk_end, not from the last range's end: what
	 * lies between is clean and was looked at. Standing still would be a loop.
	 */
	if (arg.walk_end <= scan->at && scan->at < scan->end)
		return -EIO;
	scan->at = arg.walk_end;
	*ret_n = (size_t)n;
	return 0;
}

int umem_pagemap_words(int fd, uint64_t start, uint64_t *words, size_t n_words,
	size_t *ret_n)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	ssize_t n;

	do
		n = pread(fd, words, n_words * sizeof(*words),
			(off_t)(start / page * sizeof(*words)));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	*ret_n = (size_t)n / sizeof(*words);
	return 0;
}
