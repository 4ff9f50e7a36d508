/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A tracker finds the pages of one target that changed.
 *
 * The caller keeps the target's space fresh and tells the tracker what
 * appeared and what vanished; the tracker registers, protects and collects.
 * Trackers differ in the kernel feature they stand on; umem_tracker_new()
 * chooses. One tracker per target; no locks; no call blocks on the target.
 */
#ifndef UMEM_TRACK_TRACK_H
#define UMEM_TRACK_TRACK_H

#include <stdbool.h>
#include <stdint.h>

#include <umemd/types.h>

#include "lib/base/ranges.h"
#include "lib/base/reasons.h"
#include "lib/mem/pageset.h"
#include "lib/mem/target.h"

struct umem_tracker;

/**
 * struct umem_tracker_ops - one way of tracking.
 * @name: what --tracker and the armed event call it.
 * @usable: can it work with these features?
 * @create: make one, with nothing watched. The base is filled in by the caller.
 * @watch: begin to watch @ranges (they appeared: nothing is known of them).
 *	Regions that cannot be watched get their @untrackable text. Populated
 *	pages are added to @fresh.
 * @forget: @ranges are mapped no longer, or by something else.
 * @collect: add every page that changed since the last collect or watch to
 *	@written, and watch on. Ranges whose mapping turned out to be another
 *	than the space says are added to @lost and forgotten: the caller has
 *	them watched again. What cannot be promised goes to @why.
 * @collect_punched: add pages whose backing was punched or truncated to
 *	@punched, and pages of shared objects that were written and unmapped to
 *	@written; NULL where @collect finds them itself.
 * @watched: the ranges under watch; lives until the next call.
 * @held: the part of them where content may be; likewise.
 * @memory: bytes of heap in use.
 * @destroy: free; protection is lifted by the target.
 *
 * Return of all: 0, UMEM_GONE, -errno.
 */
struct umem_tracker_ops {
	const char *name;
	bool (*usable)(const struct umem_feats *feats);
	int (*create)(struct umem_target *target, struct umem_tracker **ret_tracker);
	int (*watch)(struct umem_tracker *tracker, const struct umem_ranges *ranges,
		struct umem_pageset *fresh, struct umem_note *note);
	int (*forget)(struct umem_tracker *tracker, const struct umem_ranges *ranges);
	int (*collect)(struct umem_tracker *tracker, struct umem_pageset *written,
		struct umem_ranges *lost, struct umem_reasons *why, struct umem_note *note);
	int (*collect_punched)(struct umem_tracker *tracker, struct umem_pageset *written,
		struct umem_pageset *punched, struct umem_reasons *why);
	const struct umem_ranges *(*watched)(const struct umem_tracker *tracker);
	const struct umem_ranges *(*held)(const struct umem_tracker *tracker);
	uint64_t (*memory)(const struct umem_tracker *tracker);
	void (*destroy)(struct umem_tracker *tracker);
};

/** struct umem_tracker - what every tracker begins with. */
struct umem_tracker {
	const struct umem_tracker_ops *ops;
	struct umem_target *target;
};

extern const struct umem_tracker_ops umem_track_wp_async;
extern const struct umem_tracker_ops umem_track_soft_dirty;

/**
 * umem_tracker_new - the best tracker for @target.
 * @name: force this one, or NULL.
 *
 * Return: 0, -EINVAL no tracker of that name, -ENOTTY the kernel lacks what
 * it (or every one) needs, -ENOMEM.
 */
int umem_tracker_new(struct umem_target *target, const char *name,
	struct umem_tracker **ret_tracker, struct umem_note *note);

/** umem_tracker_choice - name of the tracker that umem_tracker_new() takes; NULL if none. */
const char *umem_tracker_choice(const struct umem_feats *feats);

/** umem_tracker_free - NULL is fine. Return: NULL. */
struct umem_tracker *umem_tracker_free(struct umem_tracker *tracker);

#endif
