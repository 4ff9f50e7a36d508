/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Putting pages out and back, verified (see <umemd/residency.h>).
 *
 * The page-wise form below is for those who chose the pages themselves and have
 * a map already: reclaim, and whoever restores residency as it was.
 */
#ifndef UMEM_OP_PAGEOUT_H
#define UMEM_OP_PAGEOUT_H

#include "lib/mem/pageset.h"
#include "lib/mem/residency.h"

/**
 * umem_pageout_pages - put out exactly these pages, in batches.
 * @map: a fresh map of the target; tells what the regions are. Not refreshed.
 * @pages: resident pages, to be put out; not changed.
 * @deadline_ns: CLOCK_MONOTONIC; no further batch begins after it; 0 means none. What was
 *	not tried by then is not asked.
 * @went: gets the pages that are out by a second look; added.
 *
 * @ret_result: as umem_pageout(); @already_bytes is 0.
 *
 * Return: 0, UMEM_GONE, -EPERM, -ENOSYS, -ENOMEM.
 */
int umem_pageout_pages(struct umem_target *target, struct umem_residency *map,
	struct umem_pageset *pages, uint64_t deadline_ns, struct umem_pageset *went,
	struct umem_pageout *ret_result, struct umem_note *note);

/**
 * struct umem_pageout_watcher - for who shows how pages go, and chose among them.
 * @progress: told after each batch; what it returns true for ends the work, and what was
 *	not tried by then is not asked. May be NULL.
 * @user: for @progress.
 * @leave: pages that are not asked at all; may be NULL.
 * @unwatched: pages that are refused, because nobody can say whether they were
 *	written; may be NULL.
 */
struct umem_pageout_watcher {
	bool (*progress)(void *user, uint64_t done_bytes, uint64_t total_bytes);
	void *user;
	struct umem_pageset *leave;
	struct umem_pageset *unwatched;
};

/** umem_pageout_watched - umem_pageout() with a watcher, or NULL. */
int umem_pageout_watched(struct umem_target *target,
	const struct umem_pageout_options *options,
	const struct umem_pageout_watcher *watcher, struct umem_pageout *ret_result,
	struct umem_note *note);

/** umem_pagein_watched - umem_pagein() with a watcher (its @progress alone), or NULL. */
int umem_pagein_watched(struct umem_target *target,
	const struct umem_pageout_options *options,
	const struct umem_pageout_watcher *watcher, struct umem_pageout *ret_result,
	struct umem_note *note);

#endif
