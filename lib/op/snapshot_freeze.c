// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Snapshot by freezing: stop everything, copy, go on. What other tools do; exact,
 * as slow as the copy. Whether a page holds anything is looked at within the
 * stop, too.
 */
#include "lib/op/snapshot.h"

#include <errno.h>

static int look(struct umem_snapshotter *s, struct umem_note *note)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges appeared = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges vanished = { 0 };
	uint64_t bytes = 0;
	int r = 0;

	for umem_each_member(s, m) {
		if (r == 0)
			r = umem_target_refresh(m->target, &appeared, &vanished, note);
		if (r == 0)
			r = umem_content_find(m->target, &s->selected, &m->content, &m->why, note);
		bytes += umem_pageset_bytes(&m->content.data);
	}
	umem_snapshot_begin_round(s, bytes);
	s->result.stopped_bytes = bytes;
	return r;
}

static int take(struct umem_snapshotter *s, struct umem_note *note)
{
	int r = umem_snapshot_stop(s, note);

	if (r == 0)
		r = look(s, note);
	for umem_each_member(s, m)
		if (r == 0)
			r = umem_snapshot_copy(s, m, &m->content.data, &m->content.swapped);
	if (r == 0)
		r = umem_snapshot_describe(s);
	return umem_snapshot_go(s, r, note);
}

const struct umem_snapshot_ops umem_snapshot_freeze = {
	.method = UMEM_SNAPSHOT_FREEZE,
	.name = "freeze",
	.prepare = umem_snapshot_open,
	.take = take,
};
