// SPDX-License-Identifier: LGPL-2.1-or-later
/* What PAGEMAP_SCAN says of the huge page of zeros: read one, and look. */
#include "lib/mem/residency_zero.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/attr.h"
#include "lib/base/fd.h"
#include "lib/kern/pagemap.h"

#define HUGE_BYTES (2ull << 20)

/* Return: what a scan says of the page at @at, 0 when it fails. */
static uint64_t categories_at(uint64_t at)
{
	struct umem_scan scan = {
		.at = at,
		.end = at + 4096,
		.any = PAGE_IS_PRESENT,
		.wanted = PAGE_IS_PRESENT | PAGE_IS_HUGE | PAGE_IS_PFNZERO,
	};
	struct page_region range;
	UMEM_FD int fd = -1;
	size_t n = 0;

	if (umem_pagemap_open(getpid(), &fd) < 0 ||
		umem_pagemap_scan(fd, &scan, &range, 1, &n) < 0 || n == 0)
		return 0;
	return range.categories;
}

bool umem_zero_scan_tells(void)
{
	const uint64_t want = PAGE_IS_PRESENT | PAGE_IS_HUGE | PAGE_IS_PFNZERO;
	/* Room to begin at a multiple of its size. */
	char *map = mmap(NULL, 2 * HUGE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t at = umem_align_up((uintptr_t)map, HUGE_BYTES);
	bool tells;

	if (map == MAP_FAILED)
		return false;
	madvise((void *)at, HUGE_BYTES, MADV_HUGEPAGE);
	(void)*(volatile char *)at;
	tells = (categories_at(at) & want) == want;
	munmap(map, 2 * HUGE_BYTES);
	return tells;
}
