// SPDX-License-Identifier: LGPL-2.1-or-later
/* Page sets out of a target's page tables. */
#include "lib/mem/scan.h"

#include "lib/base/attr.h"

int umem_scan_pages(const struct umem_target *target, struct umem_scan *scan,
	struct page_region *vec, size_t n_vec, struct umem_pageset *out)
{
	while (scan->at < scan->end) {
		size_t n;
		int r = umem_pagemap_scan(target->pagemap_fd, scan, vec, n_vec, &n);

		for (size_t i = 0; i < n && r == 0; i++)
			r = umem_pageset_add(out, vec[i].start, vec[i].end);
		if (r < 0)
			return r;
	}
	return 0;
}

int umem_scan_swapped(const struct umem_target *target, uint64_t start, uint64_t end,
	struct umem_pageset *out, struct umem_pageset *unknown)
{
	uint64_t words[512];
	int r = 0;

	for (uint64_t at = start; at < end && r == 0;) {
		size_t want = (size_t)umem_min_u64(UMEM_ARRAY_LEN(words),
			(end - at) >> UMEM_PAGE_SHIFT), n;

		r = umem_pagemap_words(target->pagemap_fd, at, words, want, &n);
		if (r < 0 || n == 0)
			break;
		for (size_t i = 0; i < n && r == 0; i++, at += UMEM_PAGE_BYTES) {
			bool hidden = (words[i] & ((1ull << 55) - 1)) == 0;

			if (!(words[i] & UMEM_PM_SWAPPED) || (words[i] & UMEM_PM_GUARD))
				continue;
			if (!hidden && UMEM_PM_SWAP_TYPE(words[i]) == UMEM_PM_MARKER_TYPE)
				continue;
			r = umem_pageset_add(hidden ? unknown : out, at, at + UMEM_PAGE_BYTES);
		}
	}
	return r;
}
