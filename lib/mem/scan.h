/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Page sets out of a target's page tables.
 */
#ifndef UMEM_MEM_SCAN_H
#define UMEM_MEM_SCAN_H

#include "lib/kern/pagemap.h"
#include "lib/mem/pageset.h"
#include "lib/mem/target.h"

/**
 * umem_scan_pages - run a pass to its end and add all that it reports.
 * @scan: the pass; its @at ends at its @end.
 * @vec, @n_vec: scratch.
 *
 * Return: 0, -ENOMEM, or -errno of umem_pagemap_scan(); then @out has a part of it.
 */
int umem_scan_pages(const struct umem_target *target, struct umem_scan *scan,
	struct page_region *vec, size_t n_vec, struct umem_pageset *out);

/**
 * umem_scan_swapped - the pages of [@start, @end) that are swapped out.
 *
 * A scan takes marks for swapped pages; the raw word tells them apart. Readers
 * without CAP_SYS_ADMIN see no swap type: then neither can be excluded.
 *
 * @out: swapped pages are added.
 * @unknown: pages of which the swap type is hidden are added; may be @out.
 *
 * Return: 0, -ENOMEM, or -errno of umem_pagemap_words().
 */
int umem_scan_swapped(const struct umem_target *target, uint64_t start, uint64_t end,
	struct umem_pageset *out, struct umem_pageset *unknown);

#endif
