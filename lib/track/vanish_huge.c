// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Huge pages of the reserved pool that go away without a mark; see vanish.h.
 *
 * Theory of operation
 *
 * `held` are the pages that held content at the last look. One that is not
 * there any more was discarded, and is reported.
 *
 * PAGEMAP_SCAN neither reports nor marks an empty entry of such a mapping
 * (Linux 6.18). So empty entries are marked by UFFDIO_WRITEPROTECT, and an
 * entry that is empty without a mark was written and discarded since:
 *
 *     mark       nothing happened, or a protected page was discarded (held?)
 *     empty      an unprotected page was discarded: reported, marked again
 *
 * Shared huge pages are data of a file that may be mapped elsewhere too. Not
 * being mapped proves nothing then, so the file is read: zeros are a hole (and
 * are what a hole reads as). Pages that got data elsewhere must become held, or
 * nobody would notice that they are punched; they are looked for when the file
 * has another number of pages than are held.
 */
#include "lib/track/vanish.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/kern/filecache.h"
#include "lib/kern/pagemap.h"
#include "lib/kern/uffd.h"
#include "lib/mem/scan.h"

/* The mapped pages of @piece. */
static int look(const struct umem_target *target, const struct umem_range *piece,
	struct umem_pageset *now, struct page_region *vec, size_t n_vec)
{
	struct umem_scan scan = {
		.at = piece->start,
		.end = piece->end,
		.all = PAGE_IS_PRESENT,
		.wanted = PAGE_IS_PRESENT,
	};

	return umem_scan_pages(target, &scan, vec, n_vec, now);
}

/* Empty entries without a mark: discarded after a write. Marks them, adds them to @out. */
static int mark_empty(const struct umem_target *target, const struct umem_range *piece,
	struct umem_pageset *out, struct page_region *vec, size_t n_vec)
{
	struct umem_scan scan = {
		.at = piece->start,
		.end = piece->end,
		.inverted = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.all = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.wanted = PAGE_IS_PRESENT,
	};

	while (scan.at < scan.end) {
		size_t n;
		int r = umem_pagemap_scan(target->pagemap_fd, &scan, vec, n_vec, &n);

		for (size_t i = 0; i < n && r == 0; i++) {
			r = umem_pageset_add(out, vec[i].start, vec[i].end);
			/* Unmapped or replaced meanwhile: the next refresh tells. */
			if (r == 0)
				umem_uffd_protect(target->uffd, vec[i].start, vec[i].end, 1);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* Does a huge page of a file hold anything but zeros? What cannot be read does. */
static bool holds_data(int fd, uint64_t offset, uint64_t end)
{
	static const char zero[16 * UMEM_PAGE_BYTES];
	char bytes[sizeof(zero)];

	while (offset < end) {
		ssize_t n = pread(fd, bytes, sizeof(bytes), (off_t)offset);

		if (n == 0)
			return false; /* past the end of the file */
		if (n < 0 || memcmp(bytes, zero, (size_t)n) != 0)
			return true;
		offset += (uint64_t)n;
	}
	return false;
}

/*
 * Pages of @piece of a shared object that are not mapped but hold data go to
 * @now. If the file has as many pages as are held, only held ones are read.
 */
static int look_behind(const struct umem_target *target, const struct umem_region *region,
	const struct umem_range *piece, struct umem_pageset *held, struct umem_pageset *now)
{
	const uint64_t size = region->page_size_bytes;
	uint64_t n_held = 0;
	struct stat st;
	UMEM_FD int fd = -1;
	bool all;
	int r = umem_target_open_mapped(target, region->start, region->end, O_RDONLY,
		&fd);

	for (uint64_t at = piece->start; at < piece->end; at += size)
		n_held += umem_pageset_has(held, at) || umem_pageset_has(now, at);
	all = r < 0 || fstat(fd, &st) < 0 || (uint64_t)st.st_blocks * 512 != n_held * size;
	r = 0;
	for (uint64_t at = piece->start; at < piece->end && r == 0; at += size) {
		uint64_t offset = at - region->start + region->offset;

		if (umem_pageset_has(now, at) || !(all || umem_pageset_has(held, at)))
			continue;
		if (holds_data(fd, offset, offset + size))
			r = umem_pageset_add(now, at, at + size);
	}
	return r;
}

int umem_vanish_collect_huge(struct umem_vanish *vanish, const struct umem_target *target,
	const struct umem_region *region, const struct umem_range *piece,
	struct umem_pageset *written, bool fresh, struct page_region *vec, size_t n_vec)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset now = { 0 };
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset empty = { 0 };
	int r = mark_empty(target, piece, &empty, vec, n_vec);

	if (r == 0)
		r = look(target, piece, &now, vec, n_vec);
	if (r == 0 && region->kind == UMEM_KIND_HUGETLB_SHARED)
		r = look_behind(target, region, piece, &vanish->held, &now);
	if (r == 0 && fresh)
		r = umem_pageset_union(written, &now);
	else if (r == 0)
		r = umem_pageset_union(written, &empty);
	for (uint64_t at = piece->start; at < piece->end && r == 0; at += region->page_size_bytes)
		if (umem_pageset_has(&vanish->held, at) && !umem_pageset_has(&now, at))
			r = umem_pageset_add(written, at, at + region->page_size_bytes);
	if (r == 0)
		r = umem_pageset_sub(&vanish->held, piece->start, piece->end);
	return r < 0 ? r : umem_pageset_union(&vanish->held, &now);
}
