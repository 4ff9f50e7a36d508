/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Private content that goes away without a mark: pages of privately mapped
 * files that were written, and huge pages of the reserved pool.
 *
 * When such a page is discarded (MADV_DONTNEED) or punched, the kernel leaves
 * a write-protect mark behind, and a scan calls it clean although the content
 * went back to the file's, or to zeros. So the pages that hold such content
 * are remembered, and each round looks whether they still do.
 *
 * Huge pages are different in two more ways (Linux 6.18): a scan does not call
 * an empty entry written, so it cannot mark one either; and the file behind
 * shared ones has no extents to ask. See vanish_huge.c.
 */
#ifndef UMEM_TRACK_VANISH_H
#define UMEM_TRACK_VANISH_H

#include <stdint.h>

#include "lib/kern/uapi.h"
#include "lib/mem/pageset.h"
#include "lib/mem/target.h"

/** struct umem_vanish - @held: pages that held such content at the last look. */
struct umem_vanish {
	struct umem_pageset held;
};

/** umem_vanish_applies - has memory of this kind to be looked after? */
bool umem_vanish_applies(enum umem_kind kind);

/** umem_vanish_deinit - free what it owns. */
void umem_vanish_deinit(struct umem_vanish *vanish);

/** umem_vanish_forget - the mapping at @range is another now. Return: 0 or -ENOMEM. */
int umem_vanish_forget(struct umem_vanish *vanish, const struct umem_range *range);

/**
 * umem_vanish_collect - look at private file mappings.
 * @pieces: the watched parts of regions of UMEM_KIND_FILE_PRIVATE.
 * @written: pages that the scan found; pages whose content vanished are added.
 * @all: the mappings are new: look at every page, not only those held or written.
 * @vec, @n_vec: scratch for a scan.
 *
 * Return: 0, -ESRCH, -errno of umem_pagemap_scan(), -ENOMEM.
 */
int umem_vanish_collect(struct umem_vanish *vanish, const struct umem_target *target,
	const struct umem_ranges *pieces, struct umem_pageset *written, bool all,
	struct page_region *vec, size_t n_vec);

/**
 * umem_vanish_collect_huge - look at one mapping of huge pages.
 * @region: of the reserved pool.
 * @piece: the watched part of it, whole huge pages.
 * @fresh: the mapping is new: pages that hold data, mapped or not, are added
 *	to @written; nothing was discarded yet.
 * Others and return as umem_vanish_collect().
 */
int umem_vanish_collect_huge(struct umem_vanish *vanish, const struct umem_target *target,
	const struct umem_region *region, const struct umem_range *piece,
	struct umem_pageset *written, bool fresh, struct page_region *vec, size_t n_vec);

#endif
