/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside of the wp_async tracker, shared by wp_async.c, populate.c and
 * spans.c.
 */
#ifndef UMEM_TRACK_WP_ASYNC_H
#define UMEM_TRACK_WP_ASYNC_H

#include "lib/track/objects.h"
#include "lib/track/track.h"
#include "lib/track/vanish.h"

/**
 * struct umem_wp_async - a tracker by write protection.
 * @watched: registered ranges that the caller wants to know about.
 * @armed: the part of @watched where every page is protected or marked.
 * @huge: pages of the reserved pool are watched: no call may end inside one.
 * @spans, @unarmed, @touched, @scratch: made anew in each collect; kept for their memory.
 * @vanish: pages of private content that may go without a mark.
 * @objects: shared objects and their extents.
 * @vec, @n_vec: where scans put their ranges.
 */
struct umem_wp_async {
	struct umem_tracker base;
	struct umem_ranges watched;
	struct umem_ranges armed;
	bool huge;
	struct umem_ranges spans;
	struct umem_ranges unarmed;
	struct umem_ranges touched;
	struct umem_pageset scratch;
	struct umem_vanish vanish;
	struct umem_objects objects;
	struct page_region *vec;
	size_t n_vec;
};

/**
 * umem_wp_async_register - register a region with the target's userfaultfd.
 * @region: whole, so that it is not split; of an adopted userfaultfd only @piece.
 *	Gets its @registered, or its @untrackable text.
 *
 * Return: 0, also when the kernel refused; UMEM_AGAIN: something else is mapped there by
 * now, nothing was registered; UMEM_GONE.
 */
int umem_wp_async_register(struct umem_wp_async *self, struct umem_region *region,
	const struct umem_range *piece);

/**
 * umem_wp_async_scan - report and protect again in one pass.
 * @span: armed, or about to be.
 * @written: unprotected pages are added; may hold pages of an unfinished pass
 *           on failure.
 *
 * Return: 0, -EPERM when a mapping in it is not registered, -ESRCH, -ENOMEM.
 */
int umem_wp_async_scan(struct umem_wp_async *self, const struct umem_range *span,
	struct umem_pageset *written);

/**
 * umem_wp_async_spans - fill @self->spans: @ranges, joined where one call may pass.
 * @registered: over whatever is registered; else only where nothing is mapped.
 *
 * Return: 0 or -ENOMEM.
 */
int umem_wp_async_spans(struct umem_wp_async *self, const struct umem_ranges *ranges,
	bool registered);

/**
 * umem_wp_async_find_lost - mappings in @span that are not registered are added to @lost.
 *
 * Return: 0, -ESRCH, -ENOMEM, -errno of a scan.
 */
int umem_wp_async_find_lost(struct umem_wp_async *self, const struct umem_range *span,
	struct umem_ranges *lost);

/**
 * umem_wp_async_touched - the parts of @self->unarmed where something is populated.
 * @touched: overwritten; parts of regions, each to be passed to umem_wp_async_populate().
 *
 * Return: 0, -ESRCH, -ENOMEM, -errno of a scan.
 */
int umem_wp_async_touched(struct umem_wp_async *self, struct umem_ranges *touched);

/**
 * umem_wp_async_populate - find populated pages where nothing is armed, and arm their blocks.
 * @region: registered.
 * @piece: the part of it to look at.
 * @fresh: the mapping is new: report all that it shows, not only what differs
 *         from what it showed when nothing was mapped.
 * @out: pages to report are added.
 *
 * Return: 0, -EPERM when a mapping in it is not registered (then nothing was
 * reported), -ESRCH, -ENOMEM, -errno of a scan.
 */
int umem_wp_async_populate(struct umem_wp_async *self, const struct umem_region *region,
	const struct umem_range *piece, bool fresh, struct umem_pageset *out);

/**
 * umem_wp_async_arm_data - arm the blocks of pages of shared objects that are data now.
 * @data: addresses; they are reported already.
 * @out: other pages of these blocks that have to be reported are added.
 *
 * Return: 0, -ESRCH, -ENOMEM, -errno of a scan.
 */
int umem_wp_async_arm_data(struct umem_wp_async *self, struct umem_pageset *data,
	struct umem_pageset *out);

#endif
