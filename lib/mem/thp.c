// SPDX-License-Identifier: LGPL-2.1-or-later
/* Transparent huge pages that tracking splits, and putting them back. */
#include "lib/mem/thp.h"

#include <errno.h>
#include <sys/mman.h>
#include <time.h>

#include "lib/kern/pagemap.h"
#include "lib/kern/pidfd.h"

#define BLOCK_BYTES (2ull << 20)

/* So often, and so long apart, a block that is busy is tried again. */
#define TRIES    5
#define PAUSE_NS 1000000

/* Collapse [start, end). Return: bytes done. */
static uint64_t collapse(const struct umem_target *target, uint64_t start, uint64_t end)
{
	uint64_t sum = 0;

	/* A block at a time: one that fails must not end the others. */
	for (uint64_t at = start; at < end; at += BLOCK_BYTES) {
		struct iovec iov = { (void *)(uintptr_t)at, BLOCK_BYTES };
		uint64_t bytes;
		int r = -EAGAIN;

		/* A page that somebody holds just now (a read of ours, a batch) is in the way. */
		for (int i = 0; i < TRIES && (r == -EAGAIN || r == -EBUSY); i++) {
			if (i > 0)
				nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
			r = umem_pidfd_madvise(target->pidfd, &iov, 1, MADV_COLLAPSE, &bytes);
		}
		if (r == -ESRCH || r == -EPERM || r == -ENOSYS)
			break;
		sum += r == 0 ? bytes : 0;
	}
	return sum;
}

uint64_t umem_thp_restore(const struct umem_target *target, const struct umem_ranges *ranges)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < ranges->n; i++) {
		struct umem_scan scan = {
			.at = ranges->v[i].start,
			.end = ranges->v[i].end,
			.inverted = PAGE_IS_HUGE,
			.all = PAGE_IS_HUGE,
			.any = PAGE_IS_PRESENT,
			.wanted = PAGE_IS_PRESENT,
		};

		while (scan.at < scan.end) {
			struct page_region small[64];
			size_t n;

			if (umem_pagemap_scan(target->pagemap_fd, &scan, small,
				    UMEM_ARRAY_LEN(small), &n) < 0)
				return sum;
			for (size_t k = 0; k < n; k++) {
				/* Only full blocks: collapsing fills holes with memory. */
				sum += collapse(target,
					umem_align_up(small[k].start, BLOCK_BYTES),
					umem_align_down(small[k].end, BLOCK_BYTES));
			}
		}
	}
	return sum;
}
